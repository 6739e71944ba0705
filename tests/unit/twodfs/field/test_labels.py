import json
from collections.abc import Callable

import pytest

from tests.lab.work import grows_with_its_input
from twodfs.errors import FormatError
from twodfs.field.allotment import Allotment
from twodfs.field.document import read_field, write_field
from twodfs.field.field import Field
from twodfs.field.labels import NO_LABELS, Labels, read_labels
from twodfs.field.partition import Selection
from twodfs.oci.digest import Digest

DIGEST = Digest(f"sha256:{'ab' * 32}")
CELLS = [Allotment(row, col, DIGEST, DIGEST, 7) for row in range(2) for col in range(3)]
LABELS = Labels({0: "language", 1: "vision"}, {10: "last", 2: "third"}, {(0, 1): "two"})


def written(labels: Labels = LABELS) -> bytes:
    named = {"edge": Selection.parse("0.0.0.1")}
    return json.dumps(write_field(CELLS, partitions=named, labels=labels)).encode()


def test_labels_that_are_written_are_read() -> None:
    assert read_labels(written()) == LABELS
    assert json.loads(written())["labels"] == {
        "rows": {"0": "language", "1": "vision"},
        "columns": {"2": "third", "10": "last"},
    }
    assert json.loads(written())["rows"][0]["allotments"][1]["label"] == "two"


def test_a_field_without_labels_is_written_as_before() -> None:
    assert write_field(CELLS) == write_field(CELLS, labels=NO_LABELS)
    assert "label" not in written(NO_LABELS).decode()
    assert read_labels(written(NO_LABELS)) == NO_LABELS


def test_labels_select_nothing() -> None:
    assert read_field(written()) == read_field(written(NO_LABELS))
    assert Field.parse(written()).total_bytes == 42


def test_they_are_read_from_a_field_in_another_order() -> None:
    turned = dict(reversed(json.loads(written()).items()))
    assert read_labels(json.dumps(turned).encode()) == LABELS


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            ('"two"', '"a\\u001b[31m"'),
            "is no label; expected 1 to 256 printable characters in 'rows[0].allotments[1].label'",
        ),
        (('"language"', f'"{"x" * 257}"'), "printable characters in 'labels.rows.0'"),
        (
            ('"10": "last"', '"ten": "last"'),
            "'ten' is no number of a row or column; expected 0, 1, 2, ... in 'labels.columns'",
        ),
        (('"third"', "3"), "expected a string, found int in 'labels.columns.2'"),
    ],
)
def test_what_is_no_label_is_said_with_its_place(change: tuple[str, str], sentence: str) -> None:
    text = written().decode()
    assert change[0] in text
    with pytest.raises(FormatError) as failed:
        read_labels(text.replace(*change).encode())
    assert str(failed.value).endswith(sentence)


def test_the_work_grows_with_the_field() -> None:
    def read(many: int) -> Callable[[], object]:
        cells = [Allotment(0, col, DIGEST, DIGEST, 7) for col in range(many)]
        labels = Labels(columns=dict.fromkeys(range(many), "x"), cells={(0, col): "y" for col in range(many)})
        body = json.dumps(write_field(cells, labels=labels)).encode()
        return lambda: read_labels(body)

    assert grows_with_its_input(read, 2000)
