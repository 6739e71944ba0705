from benchmarks.markdown import anchor, joined, table


def test_the_first_columns_are_text_and_the_others_numbers() -> None:
    assert table(("a", "b", "c"), [("x", "y", "1")], words=2).splitlines() == [
        "| a | b | c |",
        "| --- | --- | ---: |",
        "| x | y | 1 |",
    ]


def test_no_line_of_a_paragraph_is_longer_than_120_characters() -> None:
    page = joined(["word " * 60, "- item " * 40, "short"])
    assert max(map(len, page.splitlines())) <= 120
    assert page.count("\n\n") == 2


def test_lines_of_a_list_that_are_broken_stay_in_their_item() -> None:
    page = joined(["- " + "word " * 40 + "\n- other"])
    assert [line[:2] for line in page.splitlines()] == ["- ", "  ", "- "]


def test_tables_and_programs_stay_as_they_are() -> None:
    wide = table(("a",), [("x" * 200,)])
    code = "```bash\n" + "y " * 100 + "\n```"
    assert joined([wide, code]) == f"{wide}\n\n{code}\n"


def test_a_heading_is_linked_to_without_its_marks() -> None:
    assert anchor("An edge node's `directory` (figure 9)") == "an-edge-nodes-directory-figure-9"
