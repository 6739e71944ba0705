import re
from pathlib import Path
from typing import Any

import pytest

from twodfs.errors import FormatError
from twodfs.models.request import ModelRequest, Split


def test_what_is_left_out_has_its_default() -> None:
    assert ModelRequest.parse({"dir": "llama"}, Path("/m")) == ModelRequest(Path("/m/llama"), max_layer=9 * 10**9)


def test_all_may_be_said() -> None:
    asked = ModelRequest.parse(
        {
            "dir": "/m",
            "name": "n",
            "split": "layers",
            "stages": 4,
            "at": "/x",
            "max_layer": "1GiB",
            "layer_pattern": r"s(\d)",
            "row": 3,
        },
        Path("/elsewhere"),
    )
    assert asked == ModelRequest(Path("/m"), "n", Split.LAYERS, 4, "/x", 2**30, re.compile(r"s(\d)"), 3)
    assert ModelRequest.parse({"dir": "m", "split": "2GB"}, Path()).split == 2 * 10**9


@pytest.mark.parametrize(
    ("told", "mistake"),
    [
        ([], "expected an object, found list"),
        ({}, "expected a string, found nothing in 'dir'"),
        ({"dir": ""}, "expected a text, found none in 'dir'"),
        ({"dir": "a\0"}, "a text has no NUL in it in 'dir'"),
        ({"dir": "m", "layers": 2}, "unknown key 'layers'; allowed: dir, name, split"),
        ({"dir": "m", "split": "rows"}, "expected files, layers or a size, as 2GB, found 'rows' in 'split'"),
        ({"dir": "m", "split": "0GB"}, "expected files, layers or a size, as 2GB, found '0GB' in 'split'"),
        ({"dir": "m", "stages": 0}, "0 is outside 1..1000 in 'stages'"),
        ({"dir": "m", "stages": True}, "expected an integer, found bool in 'stages'"),
        ({"dir": "m", "stages": "4"}, "expected an integer, found str in 'stages'"),
        ({"dir": "m", "max_layer": "big"}, "'big' is no size; expected a number and a unit, as 10GB in 'max_layer'"),
        ({"dir": "m", "layer_pattern": "x"}, "has 0 groups; expected one"),
        ({"dir": "m", "layer_pattern": r"(\d)", "split": "files"}, "it tells layers, and the split is 'files'"),
        ({"dir": "m", "name": "a/b"}, "'a/b' is no name of a file in 'name'"),
        ({"dir": "m", "row": -1}, "-1 is outside 0..2147483638 in 'row'"),
    ],
)
def test_mistakes_are_named(told: Any, mistake: str) -> None:
    with pytest.raises(FormatError, match=re.escape(mistake)):
        ModelRequest.parse(told, Path())
