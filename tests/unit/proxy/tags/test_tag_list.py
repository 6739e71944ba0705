"""Pages of tags and partitions: the manners of registries, failures, and the work that is done."""

import asyncio
import json

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.tags.look_ups import AT_A_TIME
from proxy.tags.pages import ListedTags, TagsQuestion, tags_before
from proxy.tags.tag_list import TagPage
from proxy.upstream.replies import Reply, UpstreamError
from tests.lab.tag_registry import CLIENT, OWN_ORDER, REPOSITORY, TagRegistry, followed, read

ANSWER = {"name": "team/model", "tags": ["v1", "v2"]}


def reply(content: object, link: str = "") -> Reply:
    headers = CIMultiDict({"Link": link} if link else {})
    return Reply(200, "OK", CIMultiDictProxy(headers), json.dumps(content).encode())


@pytest.mark.parametrize(
    ("last", "tags"),
    [
        ("", []),
        ("v1", ["v1"]),
        ("v1-", ["v1", "v1-"]),
        ("v1-rc", ["v1-rc"]),
        ("v1--edge", ["v1"]),
        ("v1---edge", ["v1", "v1-"]),
        ("v1--Edge", ["v1", "v1--Edge"]),
        ("--edge", []),
    ],
)
def test_tags_that_may_have_partitions_behind_another(last: str, tags: list[str]) -> None:
    assert tags_before(last) == tags


@pytest.mark.parametrize(
    ("content", "link"),
    [
        ([], ""),
        ({"tags": [1]}, ""),
        ({"tags": "v1"}, ""),
        (ANSWER, '</v2/team/model/tags/list?last=ukD72mdD%2FmjM%3D&n=2>; rel="next"'),
        (ANSWER, '</v2/team/model/tags/list?next_page=2>; rel="next"'),
        (ANSWER, '</v2/team/other/tags/list?last=v2>; rel="next"'),
        (ANSWER, '</v2/team/model/tags/list?last=v2>; rel="prev"'),
        ({"tags": []}, '</v2/team/model/tags/list?last=v2>; rel="next"'),
        ({"tags": ["v2", "v1"]}, '</v2/team/model/tags/list?last=v1>; rel="next"'),
        ({"tags": ["v1", "v1", "v2"]}, '</v2/team/model/tags/list?last=v2>; rel="next"'),
    ],
)
def test_pages_that_nothing_can_be_put_into(content: object, link: str) -> None:
    assert ListedTags.of(reply(content, link), TagsQuestion(REPOSITORY, CLIENT, 2), "") is None


def test_a_repository_without_tags_may_have_null() -> None:
    listed = ListedTags.of(reply({"name": "a", "tags": None}), TagsQuestion(REPOSITORY, CLIENT, 2), "")
    assert listed is not None
    assert (listed.tags, listed.is_last) == ((), True)


async def test_the_page_keeps_what_else_the_registry_says() -> None:
    registry = TagRegistry(["v1"], {"v1": ["edge"]})
    page = await registry.tag_list().page(REPOSITORY, CLIENT, most=None, last="")
    assert isinstance(page, TagPage)
    assert page.document == {"name": "team/model", "tags": ["v1", "v1--edge"]}


@pytest.mark.parametrize("most", [None, 2, 3])
async def test_a_list_of_ordinary_images_is_the_registrys(most: int | None) -> None:
    registry = TagRegistry(["v1", "v2", "v3"])
    for last in ("", "v2"):
        page = await registry.tag_list().page(REPOSITORY, CLIENT, most=most, last=last)
        assert isinstance(page, Reply) or (most == 3 and page.document["tags"] == registry.tags)


async def test_a_registry_in_another_order_is_answered_for_with_its_own_pages() -> None:
    registry = TagRegistry(["v2", "v10", "v9", "v1"], {tag: ["edge"] for tag in ("v1", "v2", "v9")}, OWN_ORDER)
    tags = registry.tag_list()
    for most, last in ((2, ""), (2, "v10"), (4, ""), (4, "v9"), (3, "")):
        answer = await tags.page(REPOSITORY, CLIENT, most=most, last=last)
        assert read(answer) == read(await registry.get(f"/v2/team/model/tags/list?n={most}&last={last}", CLIENT))
    # All of them on one page: nothing can follow.
    entries, following = read(await tags.page(REPOSITORY, CLIENT, most=None, last=""))
    assert (entries, following) == (registry.everything, None)


async def test_pages_of_a_whole_list_in_any_order_are_ours_once_the_registry_showed_its_manner() -> None:
    registry = TagRegistry(["v2", "v10", "v9", "v1"], {"v9": ["edge"]}, "everything")
    tags = registry.tag_list()
    for _ in range(2):
        entries = [entry for page in await followed(tags, 4) for entry in page]
        assert entries == registry.everything
    assert sum(target.endswith("last=v1&n=1") for target in registry.asked) == 1


async def test_the_registry_is_asked_for_places_behind_its_own_tags() -> None:
    """Also where a page of other tags is between a tag and its partition."""
    others = [f"v1--0.0.{number}.1" for number in range(3)]
    registry = TagRegistry(["v1", *others, "v2"], {"v1": ["edge"]})
    entries = [entry for page in await followed(registry.tag_list(), 1) for entry in page]
    assert entries == ["v1", *others, "v1--edge", "v2"]
    assert not any("edge" in target for target in registry.asked)


async def test_of_many_tags_between_a_tag_and_its_partition_some_pages_are_asked_for() -> None:
    registry = TagRegistry(["v1", *(f"v1--0.0.{number:02}.1" for number in range(20)), "v2"], {"v1": ["edge"]})
    page = await registry.tag_list().page(REPOSITORY, CLIENT, most=1, last="v1--edge")
    assert read(page)[0] == ["v2"]
    assert [target.rpartition("last=")[2] for target in registry.asked] == [
        *("v1&n=1", "v1--0.0.00.1&n=1", "v1--0.0.01.1&n=1", "v1--0.0.02.1&n=1", "v1--edge&n=1")
    ]


async def test_so_many_tags_are_looked_up_at_a_time() -> None:
    running = most = 0
    all_places = asyncio.Event()

    async def look_up(_: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == AT_A_TIME:
            all_places.set()
        await all_places.wait()
        await asyncio.sleep(0)
        running -= 1

    registry = TagRegistry([f"v{number:03}" for number in range(100)], look_up=look_up)
    tags = registry.tag_list()
    await asyncio.gather(*(tags.page(REPOSITORY, CLIENT, most=None, last="") for _ in range(3)))
    assert most == AT_A_TIME


async def test_no_more_tags_are_looked_up_than_the_page_needs() -> None:
    names = {f"v{number:03}": ["a", "b", "c"] for number in range(100)}
    registry = TagRegistry(list(names), names)
    assert len(read(await registry.tag_list().page(REPOSITORY, CLIENT, most=100, last=""))[0]) == 100
    assert len(registry.looked_up) <= 25 + AT_A_TIME


async def test_a_page_ends_before_what_cannot_be_known_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.tags.look_ups._SECONDS", 0.05)

    async def hang(tag: str) -> None:
        if tag == "v2":
            await asyncio.Event().wait()

    registry = TagRegistry(["v1", "v2", "v3"], {"v1": ["edge"], "v3": ["edge"]}, look_up=hang)
    tags = registry.tag_list()
    page = await tags.page(REPOSITORY, CLIENT, most=None, last="")
    assert read(page) == (["v1", "v1--edge"], "/v2/team/model/tags/list?last=v1--edge")
    with pytest.raises(UpstreamError, match="in time") as failed:
        await tags.page(REPOSITORY, CLIENT, most=None, last="v1--edge")
    assert failed.value.status == 504


async def test_partitions_whose_tag_would_be_too_long_are_left_out() -> None:
    tag = "v" * 123
    registry = TagRegistry([tag], {tag: ["gpu", "edge"]})
    assert read(await registry.tag_list().page(REPOSITORY, CLIENT, most=None, last=""))[0] == [tag, f"{tag}--gpu"]
