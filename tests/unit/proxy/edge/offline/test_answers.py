"""Last answers: which one a client gets, for how long, and how many are kept."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.edge.disk.state import State
from proxy.edge.offline import answers as module
from proxy.edge.offline.answers import AnswerRow, Answers, KnownTag, LastAnswer
from proxy.edge.offline.questions import class_of
from proxy.repository import DEFAULT_UPSTREAM, Repository
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import ACCEPT_IMAGES, OCI_INDEX, OCI_MANIFEST

MODEL = Repository(DEFAULT_UPSTREAM, "team/model")
ONE, TWO = digest_of(b"1"), digest_of(b"2")
ALL, MANIFESTS = class_of(ACCEPT_IMAGES), class_of(OCI_MANIFEST)
GONE = LastAnswer(404, None, "application/json", body=b'{"errors":[]}')


def image(digest: Digest, media_type: str = OCI_INDEX, *, age: float = 0) -> LastAnswer:
    return LastAnswer(200, digest, media_type, (("ETag", f'"{digest}"'),), asked_at=time.time() - age)


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with State.open(tmp_path / "state.sqlite", ()) as opened:
        yield opened


@pytest.fixture
async def answers(state: State) -> Answers:
    return await Answers.open(state, max_stale=100)


async def digest_found(answers: Answers, accept: str = ALL, resource: str = "manifests/v1") -> Digest | None:
    found = await answers.find(MODEL, resource, accept)
    return None if found is None else found.digest


async def test_an_answer_is_the_last_one_and_outlives_the_process(tmp_path: Path) -> None:
    async with State.open(tmp_path / "state.sqlite", ()) as state:
        kept = await Answers.open(state, max_stale=100)
        await kept.remember(MODEL, "manifests/v1", ALL, image(ONE))
        await kept.remember(MODEL, "manifests/v1", ALL, second := image(TWO))
    async with State.open(tmp_path / "state.sqlite", ()) as state:
        found = await (await Answers.open(state, max_stale=100)).find(MODEL, "manifests/v1", ALL)
    assert found == second


async def test_an_answer_is_for_its_repository_and_resource(answers: Answers) -> None:
    await answers.remember(MODEL, "manifests/v1", ALL, image(ONE))
    assert await answers.find(Repository(DEFAULT_UPSTREAM, "team/other"), "manifests/v1", ALL) is None
    assert await answers.find(MODEL, "manifests/v2", ALL) is None


async def test_an_answer_that_is_too_old_is_none(answers: Answers) -> None:
    await answers.remember(MODEL, "manifests/v1", ALL, image(ONE, age=99))
    assert await digest_found(answers) == ONE
    await answers.remember(MODEL, "manifests/v1", ALL, image(ONE, age=101))
    assert await digest_found(answers) is None
    await answers.remember(MODEL, "manifests/v1", ALL, image(ONE, age=-1000))  # a clock that was set back
    assert await digest_found(answers) == ONE


async def test_a_client_gets_anothers_answer_only_if_it_takes_the_type(answers: Answers) -> None:
    await answers.remember(MODEL, "manifests/v1", ALL, image(ONE))
    assert await digest_found(answers, MANIFESTS) is None
    assert await digest_found(answers, class_of(OCI_INDEX)) == ONE
    assert await digest_found(answers, "") == ONE
    await answers.remember(MODEL, "manifests/v1", MANIFESTS, image(TWO, OCI_MANIFEST))
    assert await digest_found(answers, MANIFESTS) == TWO
    assert await digest_found(answers, ALL) == ONE


async def test_a_no_is_remembered_and_ends_what_the_same_client_would_have_got(answers: Answers) -> None:
    await answers.remember(MODEL, "manifests/v1", ALL, image(ONE))
    await answers.remember(MODEL, "manifests/v1", MANIFESTS, image(TWO, OCI_MANIFEST))
    await answers.remember(MODEL, "manifests/v1", MANIFESTS, replace(GONE, asked_at=time.time()))
    assert await digest_found(answers, ALL) == ONE  # an index is nothing that it takes
    found = await answers.find(MODEL, "manifests/v1", MANIFESTS)
    assert found is not None
    assert (found.status, found.body) == (404, GONE.body)
    await answers.remember(MODEL, "manifests/v1", ALL, replace(GONE, asked_at=time.time() + 1))
    assert await digest_found(answers, class_of(OCI_INDEX)) is None


async def test_a_tag_that_came_after_a_no_is_found_by_all_that_take_it(answers: Answers) -> None:
    await answers.remember(MODEL, "manifests/v1", ALL, replace(GONE, asked_at=time.time() - 10))
    await answers.remember(MODEL, "manifests/v1", MANIFESTS, image(TWO, OCI_MANIFEST))
    assert await digest_found(answers, ALL) == TWO


async def test_tags_of_which_nobody_heard_push_out_none_that_are_there(
    answers: Answers, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_OTHERS", 10)
    monkeypatch.setattr(module, "_MOST_GOOD", 10)
    await answers.remember(MODEL, "manifests/v1", ALL, image(ONE, age=50))
    for number in range(2 * module._LOOKED_THROUGH_EVERY):
        await answers.remember(MODEL, f"manifests/made-up-{number}", ALL, replace(GONE, asked_at=time.time()))
    assert await digest_found(answers) == ONE
    rows = await state.run(lambda connection: connection.execute("SELECT count(*) FROM answers").fetchone()[0])
    assert rows <= 10 + module._LOOKED_THROUGH_EVERY


async def test_known_tags_are_listed_with_their_newest_digest(answers: Answers) -> None:
    await answers.remember(MODEL, "manifests/v1", ALL, image(ONE, age=5))
    await answers.remember(MODEL, "manifests/v1", MANIFESTS, image(TWO, OCI_MANIFEST))
    await answers.remember(MODEL, "manifests/gone", ALL, GONE)
    await answers.remember(MODEL, f"referrers/{ONE}", "", image(ONE))
    assert await answers.tags() == (KnownTag("team/model", "v1", TWO, OCI_MANIFEST),)
    assert await answers.media_type(MODEL, ONE) == OCI_INDEX
    assert await answers.media_type(Repository(DEFAULT_UPSTREAM, "team/other"), ONE) is None


async def test_answers_move_to_another_node_and_replace_no_younger_one(answers: Answers, tmp_path: Path) -> None:
    await answers.remember(MODEL, "manifests/v1", ALL, old := image(ONE, age=20))
    await answers.remember(MODEL, "manifests/v2", ALL, image(TWO))
    await answers.remember(Repository(DEFAULT_UPSTREAM, "team/other"), "manifests/v1", ALL, image(ONE))
    assert len(await answers.all()) == 3
    first, second = await answers.all(MODEL)
    assert first == AnswerRow("team/model", "manifests/v1", ALL, old)
    async with State.open(tmp_path / "other.sqlite", ()) as state:
        other = await Answers.open(state, max_stale=100)
        await other.remember(MODEL, "manifests/v1", ALL, younger := image(TWO, age=10))
        for row in (first, second):
            await other.put(row)
        assert [row.answer for row in await other.all()] == [younger, second.answer]
        await other.put(replace(first, answer=image(ONE)))
        assert await digest_found(other) == ONE
