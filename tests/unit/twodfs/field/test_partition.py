import pytest

from tests.lab.work import grows_with_its_input
from twodfs.errors import PartitionError
from twodfs.field.partition import Rectangle, Selection, is_name, mistyped, readings


@pytest.mark.parametrize("tag", ["v1--0.0.1.2", "v1+0.0.1.2"])
def test_both_separators_select_the_same(tag: str) -> None:
    (reading,) = readings(tag)
    assert (reading.base, str(reading.selection())) == ("v1", "0.0.1.2")
    assert str(reading) == "v1--0.0.1.2"


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "v1",
        "v1--",
        "v1--0.0.1",
        "v1--0.0.1.2.3",
        "v1--a.b.c.d",
        "v1--0.0.1.2--",
        "v1-0.0.1.2",
        "v1--0.0.1.-2",
        "v1--0.0.1.\u0663",
        "--0.0.0.0",
        "+0.0.0.0",
        ".v1--0.0.0.0",
        "v1 --0.0.0.0",
        "v1--0.0.0.0\n",
    ],
)
def test_other_tags_are_no_partitions(tag: str) -> None:
    assert readings(tag) == ()


def test_a_chain_can_be_read_in_several_ways_longest_first() -> None:
    found = [(one.base, one.chain) for one in readings("v1--1.2.3.4--0.0.0.1")]
    assert found == [("v1", ("1.2.3.4", "0.0.0.1")), ("v1--1.2.3.4", ("0.0.0.1",))]


def test_no_base_tag_contains_a_plus() -> None:
    assert [one.base for one in readings("v1+1.2.3.4--0.0.0.1")] == ["v1"]


def test_a_base_tag_may_end_in_the_separators_own_character() -> None:
    assert [one.base for one in readings("v1---0.0.0.1")] == ["v1-"]


def test_leading_zeros_and_huge_numbers_are_numbers() -> None:
    (reading,) = readings("v1--00.000.00001.99999999999999999999999")
    assert reading.selection() == Selection.of(Rectangle(0, 0, 1, 99999999999999999999999))


def test_a_tag_of_128_characters_is_a_tag_and_one_of_129_is_not() -> None:
    suffix = "--0.0.0.0"
    assert readings("t" * (128 - len(suffix)) + suffix)
    with pytest.raises(PartitionError, match="has 129 characters; a tag has at most 128"):
        readings("t" * (129 - len(suffix)) + suffix)


def test_text_far_beyond_a_tag_is_not_even_matched() -> None:
    assert readings("a" + "--1.1.1.1" * 5000 + "!") == ()
    with pytest.raises(PartitionError, match="at most 128"):
        readings("a" + "--1.1.1.1" * 5000)


def test_the_canonical_form_forgets_order_repetition_and_swallowed_rectangles() -> None:
    chains = ["3.0.3.2--0.0.1.1", "0.0.1.1--3.0.3.2--0.0.1.1", "0.0.1.1--1.0.1.1--3.0.3.2"]
    assert {str(Selection.parse(chain)) for chain in chains} == {"0.0.1.1--3.0.3.2"}


@pytest.mark.parametrize(("text", "axis"), [("2.0.1.0", "rows 2..1"), ("0.5.0.4", "columns 5..4")])
def test_an_inverted_rectangle_is_kept_and_refused_where_it_is_used(text: str, axis: str) -> None:
    selection = Selection.parse(f"0.0.9.9--{text}")
    (inverted,) = [one for one in selection.rectangles if str(one) == text]
    with pytest.raises(PartitionError, match=f"partition {text} is inverted: {axis} end before they begin"):
        inverted.check()


@pytest.mark.parametrize("text", ["", "0.0.1", "0.0.1.2--", "0.0.1.2+0.0.1.2", "X", "a.b"])
def test_text_of_another_form_is_no_selection(text: str) -> None:
    with pytest.raises(PartitionError, match="is no selection; expected"):
        Selection.parse(text)


@pytest.mark.parametrize("name", ["edge", "a", "gpu-2", "x86_64", "e0", "all", "base"])
def test_names_can_be_links(name: str) -> None:
    (reading,) = readings(f"v1--{name}")
    assert (reading.base, reading.chain) == ("v1", (name,))


@pytest.mark.parametrize("name", ["", "Edge", "0edge", "_edge", "-edge", "edge-", "a--b", "a.b", "edge\n", "é"])
def test_other_texts_are_no_names(name: str) -> None:
    assert not is_name(name)


def test_a_chain_may_mix_names_and_rectangles() -> None:
    found = [(one.base, str(one.selection())) for one in readings("v1--edge--3.0.3.2")]
    assert found == [("v1", "edge--3.0.3.2"), ("v1--edge", "3.0.3.2")]


def test_names_are_sorted_and_counted_once() -> None:
    assert str(Selection.parse("1.0.1.0--gpu--edge--gpu--1.0.1.0")) == "edge--gpu--1.0.1.0"


def test_base_adds_nothing() -> None:
    assert str(Selection.parse("base--0.0.1.1")) == "0.0.1.1"
    assert Selection.parse("base") == Selection.of()
    assert str(Selection.of()) == "base"


def test_a_tag_is_read_in_a_bounded_number_of_ways() -> None:
    assert len(readings("v1" + "--a" * 42)) == 14


def test_a_tag_that_is_too_long_and_names_no_rectangle_is_the_registrys_to_refuse() -> None:
    assert readings("t" * 128 + "--edge") == ()


@pytest.mark.parametrize(
    ("tag", "ways"),
    [
        ("v1--0.0.0", (("v1", "0.0.0"),)),
        ("v1--0.0.0.0.0", (("v1", "0.0.0.0.0"),)),
        ("v1+0.0.1", (("v1", "0.0.1"),)),
        ("v1--7", (("v1", "7"),)),
        ("v1--0.0.0.", (("v1", "0.0.0."),)),
        ("v1--gpu--0.0.1", (("v1", "0.0.1"), ("v1--gpu", "0.0.1"))),
        ("v1--0.0.1--gpu", (("v1", "0.0.1"),)),
        ("v1--0.0.0--1.1--2.2--3.3", (("v1", "0.0.0"), ("v1--0.0.0", "1.1"))),
        ("v1+gpu--0.0.1", (("v1", "0.0.1"),)),
        ("v1--0.0.1.2", ()),
        ("v1--gpu", ()),
        ("v1", ()),
        ("v1-0.0.0", ()),
        ("v1--a.b.c", ()),
        ("v1--", ()),
        ("--0.0.0", ()),
        ("t" * 128 + "--0.0.0", ()),
    ],
)
def test_a_mistyped_rectangle_is_told_from_a_partition(tag: str, ways: tuple[tuple[str, str], ...]) -> None:
    assert mistyped(tag) == ways


def test_looking_for_a_mistyped_rectangle_takes_linear_time() -> None:
    assert grows_with_its_input(lambda size: lambda: [mistyped("a" + "--1" * 40 + f"!{at}") for at in range(size)], 50)
