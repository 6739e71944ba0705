from twodfs.cli.listing import FILES_SHOWN, list_cells
from twodfs.field.allotment import Allotment
from twodfs.field.labels import NO_LABELS, Labels
from twodfs.oci.digest import digest_of
from twodfs.viewing.files import FileKind, LayerFile, LayerFiles

CELLS = [Allotment(row, 0, digest_of(b"%d" % row), digest_of(b""), size) for row, size in [(0, 10), (11, 2_000_000)]]


def test_cells_are_listed_in_columns() -> None:
    labels = Labels(cells={(0, 0): "first", (11, 0): "a longer name"})
    assert list(list_cells(CELLS, labels, {}, most=9)) == ["0/0   10 B  first", "11/0  2 MB  a longer name"]
    assert list(list_cells(CELLS, NO_LABELS, {}, most=1)) == ["0/0  10 B", "… 1 more; --json lists them"]
    assert list(list_cells([], NO_LABELS, {}, most=1)) == []


def test_a_single_file_stands_beside_its_cell_and_several_below() -> None:
    single = LayerFiles((LayerFile("/a", 5),))
    link = LayerFile("/c", 0, FileKind.LINK, "b")
    several = LayerFiles((LayerFile("/b", 1500), link), "it is compressed")
    files = {CELLS[0].digest: single, CELLS[1].digest: several}
    assert list(list_cells(CELLS, Labels(cells={(0, 0): "first"}), files, most=9)) == [
        "0/0   10 B  first  /a",
        "11/0  2 MB",
        "  1.5 kB  /b",
        "     0 B  /c -> b",
        "  … it is compressed",
    ]


def test_of_many_files_the_first_are_shown() -> None:
    many = LayerFiles(tuple(LayerFile(f"/{at}", 1) for at in range(FILES_SHOWN + 3)))
    lines = list(list_cells(CELLS[:1], NO_LABELS, {CELLS[0].digest: many}, most=9))
    assert len(lines) == 1 + FILES_SHOWN + 1
    assert lines[-1] == "  … 3 more files; --json lists them"
