"""What the previous release answered, kept in Redis, counted and logged, today's proxy does the same.

How it was recorded: `tests/fixtures/previous-release/README.md`.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.lab.peers import require
from tests.lab.recorded_release import service
from tests.lab.recorded_release.content import Release, recorded
from tests.lab.recorded_release.record import AGAIN

Json = dict[str, Any]
TODAY = Release()
IMAGES = recorded("registry")
QUESTIONS = recorded("questions")
SERVICE = recorded("service")
DUMPS = {False: recorded("redis"), True: recorded("redis-sealed")}
PINNED = [one for one in QUESTIONS if service.is_pinned(one)]
PINNED_ANSWERS = [answer for one, answer in zip(QUESTIONS, SERVICE["answers"], strict=True) if service.is_pinned(one)]
# Seconds between an answer and the look at Redis.
_LATE = 120


@pytest.fixture(autouse=True)
def _peers() -> None:
    require("docker-registry", "redis-server")


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Json:
    require("docker-registry", "redis-server")
    return service.play(tmp_path_factory.mktemp("today") / "scene", TODAY, IMAGES, QUESTIONS)


def values(dumped: Json) -> dict[str, str]:
    return {key: one["value"] for key, one in dumped.items() if not key.startswith("twodfs:canary:")}


def test_every_request_is_answered_as_before(today: Json) -> None:
    for one, was, is_now in zip(QUESTIONS, SERVICE["answers"], today["answers"], strict=True):
        assert is_now == was, one
    assert today["status"] == 0


def test_the_registry_is_asked_the_same(today: Json) -> None:
    assert today["upstream"] == SERVICE["upstream"]


def test_redis_holds_the_same_bytes_under_the_same_keys_as_long(today: Json) -> None:
    before, now = DUMPS[False], today["redis"]
    assert {key.split(":")[1] for key in values(before)} == {
        *("content", "field", "size", "partition", "recipe", "subject", "signature")
    }
    assert values(now) == values(before)
    for key in values(before):
        assert now[key]["seconds"] == pytest.approx(before[key]["seconds"], abs=_LATE), key
    canaries = [one for dumped in (before, now) for one in dumped if one not in values(dumped)]
    assert [one.split(":")[:2] for one in canaries] == [["twodfs", "canary"]] * 2


def test_with_a_secret_the_seals_are_the_same(tmp_path: Path) -> None:
    tags = [one for one in QUESTIONS if "sha256" not in one["target"] and one["method"] in ("GET", "HEAD")]
    now = service.play(tmp_path / "scene", TODAY, IMAGES, tags, service.SEALED)
    written, before = values(now["redis"]), values(DUMPS[True])
    assert {key.split(":")[1] for key in written} >= {"content", "field", "size", "partition", "recipe"}
    assert written == {key: before[key] for key in written}
    assert not {*written.values()} & {*values(DUMPS[False]).values()}


@pytest.mark.parametrize("name", AGAIN)
def test_what_the_previous_release_left_in_redis_answers_for_its_digests(name: str, tmp_path: Path) -> None:
    is_sealed, gone = AGAIN[name]
    left = service.without(DUMPS[is_sealed], *gone)
    now = service.play(tmp_path / "scene", TODAY, IMAGES, PINNED, service.SEALED if is_sealed else {}, left)
    for one, was, is_now in zip(PINNED, PINNED_ANSWERS, now["answers"], strict=True):
        assert service.content_of(is_now) == service.content_of(was), one
    assert now["upstream"] == recorded("upstream-again")[name]


def test_what_is_sealed_with_another_secret_counts_as_not_there(tmp_path: Path) -> None:
    """So the answers above come out of Redis, and nowhere else."""
    documents = [one for one in PINNED if "/manifests/sha256:" in one["target"]][:3]
    left = service.without(DUMPS[True])
    now = service.play(tmp_path / "scene", TODAY, IMAGES, documents, {}, left)
    assert {one["status"] for one in now["answers"]} == {404}


def test_every_metric_has_its_name_its_type_and_its_labels(today: Json) -> None:
    before, now = recorded("metrics"), today["metrics"]
    for name, family in before.items():
        assert now[name]["type"] == family["type"], name
        assert now[name]["help"], name
        assert not [one for one in family["series"] if one not in now[name]["series"]], name
    assert today["types"] == SERVICE["types"]
    assert today["counted"] == SERVICE["counted"]


def test_the_line_of_each_request_says_the_same(today: Json) -> None:
    assert {**today["lines"], **SERVICE["lines"]}.keys() == SERVICE["lines"].keys()
    for name, line in SERVICE["lines"].items():
        assert today["lines"][name] == line


def test_other_events_keep_their_names_levels_and_fields(today: Json) -> None:
    assert_events_are_kept(SERVICE["events"], today["events"])


def assert_events_are_kept(before: Json, now: Json) -> None:
    for name, event in before.items():
        assert name in now
        assert now[name]["level"] == event["level"], name
        # Which request, and which worker's, it happens in is a matter of time.
        assert {*event["fields"]} - {*now[name]["fields"]} <= {"request_id", "worker"}, name


def test_workers_that_lose_redis_and_registry_say_the_same(tmp_path: Path) -> None:
    before, now = recorded("failures"), service.fail(tmp_path / "scene", TODAY, IMAGES)
    assert now["answers"] == before["answers"]
    assert now["status"] == before["status"] == 0
    assert_events_are_kept(before["events"], now["events"])
    series = {(name, *labels) for name, family in before["metrics"].items() for _, labels in family["series"]}
    assert series <= {(name, *labels) for name, family in now["metrics"].items() for _, labels in family["series"]}


def test_clients_of_the_proxy_itself_are_let_in_and_refused_as_before(tmp_path: Path) -> None:
    before, now = recorded("access"), service.guard(tmp_path / "scene", TODAY, IMAGES)
    assert now["answers"] == before["answers"]
    assert {200, 401, 403} == {one["status"] for one in before["answers"]}
    assert now["lines"] == before["lines"]
    assert_events_are_kept(before["events"], now["events"])
