"""Whatever tags and names there are, and however a registry lists them: every entry comes once, in order."""

import asyncio
from itertools import pairwise
from unittest.mock import patch

from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.tags.names import may_have_partitions
from tests.lab.tag_registry import CLIENT, MANNERS, REPOSITORY, TagRegistry, followed, read
from twodfs.field.partition import PartitionTag, is_name, readings

PIECES = st.sampled_from(["v", "1", "-", "--", ".", "A", "e", "ed", "--e", "--ed", "--0.0.1.1", "_"])
TAGS = st.builds(lambda first, more: first + "".join(more), st.sampled_from("v1A_"), st.lists(PIECES, max_size=4))
NAMES = st.lists(st.sampled_from(["e", "ed", "e-1", "v", "x_"]), max_size=3, unique=True)
LIMITS = st.none() | st.integers(1, 6)


@st.composite
def registries(draw: st.DrawFn) -> TagRegistry:
    tags = draw(st.lists(TAGS, max_size=12, unique=True))
    names = {tag: draw(NAMES) for tag in tags if may_have_partitions(tag)}
    return TagRegistry(tags, names, draw(st.sampled_from(MANNERS)))


@given(registries(), LIMITS, st.integers(1, 4), st.integers(1, 4))
def test_following_the_pages_gives_every_tag_and_partition_once(
    registry: TagRegistry, most: int | None, looked_up: int, at_a_time: int
) -> None:
    with patch("proxy.tags.look_ups.MOST_LOOKED_UP", looked_up), patch("proxy.tags.look_ups.AT_A_TIME", at_a_time):
        pages = asyncio.run(followed(registry.tag_list(), most))
    entries = [entry for page in pages for entry in page]
    if len(pages) == 1 and not any(registry.names.values()):
        entries.sort()  # the registry's own, in an order of its own
    assert entries == registry.everything
    assert most is None or registry.manner.startswith("everything") or all(len(page) <= most for page in pages)


@given(registries(), LIMITS, st.data())
def test_a_page_behind_any_entry_is_what_comes_next(
    registry: TagRegistry, most: int | None, data: st.DataObject
) -> None:
    assume(registry.tags)
    last = data.draw(st.sampled_from(registry.everything))
    entries, following = read(asyncio.run(registry.tag_list().page(REPOSITORY, CLIENT, most=most, last=last)))
    behind = [entry for entry in registry.everything if entry > last]
    assert entries == behind[: len(entries)]
    assert most is None or len(entries) <= most
    if following is None:
        assert entries == behind
    assert entries or not behind


@given(TAGS, st.sampled_from(["e", "ed", "e-1", "v1", "x_"]))
def test_a_listed_partition_is_read_as_that_partition_alone(tag: str, name: str) -> None:
    assert is_name(name)
    assume(may_have_partitions(tag))
    assert readings(f"{tag}--{name}") == (PartitionTag(tag, (name,)),)


@given(registries())
def test_a_list_in_order_stays_in_order(registry: TagRegistry) -> None:
    assume(any(registry.names.values()))
    (entries, *_) = asyncio.run(followed(registry.tag_list(), None))
    assert all(one < other for one, other in pairwise(entries))
