import pytest

from twodfs.running.places import FilePlaces


@pytest.mark.parametrize(
    ("paths", "directories", "loose"),
    [
        ([], (), ()),
        (["/models/a.bin"], ("/models",), ()),
        (["/models/llama/a.bin", "/models/llama/stages/1of2/b.json"], ("/models/llama",), ()),
        (["/models/llama/a.bin", "/models/llamas/b.bin"], ("/models",), ()),
        (["/models/a/b", "/etc/model.json", "/models/a/c"], ("/etc", "/models/a"), ()),
        (["/a.bin", "/models/a.bin", "/b.bin"], ("/models",), ("/a.bin", "/b.bin")),
        (["/models/a/b/c", "/models/d"], ("/models",), ()),
    ],
)
def test_the_fewest_directories_hold_all_files(
    paths: list[str], directories: tuple[str, ...], loose: tuple[str, ...]
) -> None:
    assert FilePlaces.of(paths) == FilePlaces(directories, loose)
    assert FilePlaces.of(reversed(paths)) == FilePlaces(directories, loose)
