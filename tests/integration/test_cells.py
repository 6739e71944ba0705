"""`twodfs inspect` and `diff`: what cells hold and are called, what a partition costs, what an update moves."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.lab import command
from tests.lab.images import busybox_base, push_field_image, push_image
from tests.lab.original import push_original
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.workshop import Workshop

BIG = 20_000_000


def write(workshop: Workshop, *, second: bytes = b"two", **more: Any) -> None:
    """Write a build file with a row of two cells and a row of one, and the files that it names."""
    (workshop.directory / "second.bin").write_bytes(second)
    allotments = [
        {"src": "big.bin", "dst": "/models/", "row": 0, "col": 0, "label": "layers 0 to 7"},
        {"src": "second.bin", "dst": "/models/", "row": 0, "col": 1},
        {"src": "tokenizer", "dst": "/models/tokenizer", "row": 1, "col": 0, "label": "tokenizer"},
    ]
    content = {
        "allotments": allotments,
        "partitions": {"edge": "0.0.0.1", "words": "1.0.1.0"},
        "row_labels": {"0": "language"},
        "column_labels": {"0": "first half", "1": "second half"},
        **more,
    }
    (workshop.directory / "2dfs.json").write_text(json.dumps(content))


@pytest.fixture
def model(workshop: Workshop) -> str:
    """The reference of an image in the registry, which the store does not have."""
    (workshop.directory / "big.bin").write_bytes(os.urandom(BIG))
    write(workshop)
    base = push_image(workshop.registry.url, "cells/base", "v1", base=busybox_base())
    target = workshop.target("cells/model")
    workshop.made("build", base.reference(), target, "--push", "--compression", "none")
    workshop.made("rm", target)
    return target


def log_size(registry: Registry) -> int:
    return registry.log.stat().st_size


def test_labels_stand_beside_their_rows_columns_and_cells(workshop: Workshop, model: str) -> None:
    shown = workshop.made("inspect", model).out
    assert (
        "                     0            1\n"
        "            first half  second half\n"
        "0 language       20 MB      2.05 kB\n"
        "1              3.07 kB            ·\n"
        "  cells\n"
        "    0/0    20 MB  layers 0 to 7\n"
        "    1/0  3.07 kB  tokenizer\n"
    ) in shown
    (field,) = workshop.made("inspect", model, "--json").json["fields"].values()
    assert field["labels"] == {"rows": {"0": "language"}, "columns": {"0": "first half", "1": "second half"}}
    assert [one.get("label") for one in field["allotments"]] == ["layers 0 to 7", None, "tokenizer"]


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_files_of_a_registrys_cells_are_listed_for_some_kilobytes(workshop: Workshop, compression: str) -> None:
    target = workshop.target(f"cells/{compression}")
    workshop.made("build", "scratch", target, "--push", "--compression", compression)
    workshop.made("rm", target)
    before = log_size(workshop.registry)
    shown = workshop.made("inspect", target, "--files").out
    if compression == "none":
        sent = workshop.registry.requests(since=before)
        assert sum(one.size for one in sent) < 200_000
        assert [one.status for one in sent if one.status == 206]
    first = shown.partition("  cells\n")[2].splitlines()
    assert first[0].endswith("layers 0 to 7  /models/big.bin" if compression == "none" else "layers 0 to 7")
    assert "/models/second.bin" in shown
    assert "3 B  /models/tokenizer/merges.txt\n" in shown
    assert "2 B  /models/tokenizer/vocab.json\n" in shown
    (field,) = workshop.made("inspect", target, "--files", "--json").json["fields"].values()
    big, _, words = field["allotments"]
    assert big["files"] == [{"path": "/models/big.bin", "size": BIG, "kind": "file"}]
    assert ("filesMissing" in big) is (compression != "none")  # 8 MiB of noise are not all of it
    assert [one["path"] for one in words["files"]] == ["/models/tokenizer/merges.txt", "/models/tokenizer/vocab.json"]


@pytest.mark.usefixtures("model")
def test_files_are_those_of_the_store_as_well(workshop: Workshop) -> None:
    target = "registry.invalid/only/here:v1"
    workshop.made("build", "scratch", target, "--compression", "gzip")
    (field,) = workshop.made("inspect", target, "--files", "--json").json["fields"].values()
    assert [one["files"][0]["path"] for one in field["allotments"]] == [
        "/models/big.bin",
        "/models/second.bin",
        "/models/tokenizer/merges.txt",
    ]
    assert not [one for one in field["allotments"] if "filesMissing" in one]


@pytest.mark.parametrize("way", ["registry", "proxy", "digest"])
def test_a_partition_says_its_cells_and_its_costs(workshop: Workshop, model: str, proxy: Proxy, way: str) -> None:
    reference = f"{model}--edge"
    (manifest,) = workshop.images("cells/model", "v1--edge", proxy.url)
    if way != "registry":
        reference = reference.replace(workshop.registry.address, proxy.address)
    if way == "digest":
        digest = workshop.made("inspect", reference, "--json").json["digest"]
        reference = f"{proxy.address}/cells/model@{digest}"
    found = workshop.made("inspect", reference, "--files", "--json").json
    (image,) = found["images"]
    (costs,) = found["partition"]["images"]
    assert (costs["platform"], costs["digest"]) == (image["platform"], image["digest"])
    assert (costs["cells"], costs["baseLayers"], costs["layers"]) == (2, 1, image["layers"])
    sizes = [one["size"] for one in manifest["layers"]]
    assert (costs["baseBytes"], costs["cellBytes"], costs["bytes"]) == (sizes[0], sum(sizes[1:]), sum(sizes))
    assert [(one["row"], one["col"], one["size"]) for one in costs["selected"]] == [(0, 0, sizes[1]), (0, 1, sizes[2])]
    assert [one["files"][0]["path"] for one in costs["selected"]] == ["/models/big.bin", "/models/second.bin"]
    shown = workshop.made("inspect", reference).out
    assert ": 2 cells, 20 MB, on a base of 1 layer, " in shown
    assert ": 3 layers, " in shown
    assert "\n    0/0    20 MB  layers 0 to 7\n    0/1  2.05 kB\n" in shown


def test_an_image_of_the_original_builder_has_files_and_sizes_of_partitions(
    workshop: Workshop, registry: Registry
) -> None:
    push_original(registry, "cells/original")
    reference = workshop.target("cells/original")
    fields = workshop.made("inspect", reference, "--files", "--json").json["fields"]
    cells = [one for field in fields.values() for one in field["allotments"]]
    assert cells
    assert all(one["files"] and "filesMissing" not in one for one in cells)
    partition = workshop.made("inspect", f"{reference}--0.0.0.0", "--json").json["partition"]
    assert all(one["cells"] == 1 and one["cellBytes"] > 0 for one in partition["images"])


def test_a_partition_whose_image_is_gone_has_layers_alone(workshop: Workshop, model: str, tmp_path: Path) -> None:
    copy = workshop.target("cells/copied")
    archive = tmp_path / "part.oci"
    workshop.made("export", f"{model}--edge", str(archive), "--format", "oci")
    copying = ("copy", "--dest-tls-verify=false", f"oci-archive:{archive}", f"docker://{copy}")
    command.run([program("skopeo"), "--insecure-policy", *copying], environment())
    found = workshop.made("inspect", copy, "--json").json
    (costs,) = found["partition"]["images"]
    assert (costs["cells"], costs["layers"]) == (0, 3)


@pytest.fixture
def updated(workshop: Workshop, model: str) -> tuple[str, str]:
    """Two releases: another base, a cell changed, one added, one removed."""
    write(workshop, second=b"three")
    recipe = json.loads((workshop.directory / "2dfs.json").read_bytes())
    recipe["allotments"][2] |= {"row": 2}  # goes elsewhere
    recipe["partitions"] |= {"words": "2.0.2.0"}
    (workshop.directory / "2dfs.json").write_text(json.dumps(recipe))
    other = push_image(workshop.registry.url, "cells/base", "v2", base={"etc/other": b"o" * 5000})
    target = workshop.target("cells/model", "v2")
    workshop.made("build", other.reference(), target, "--push", "--compression", "none")
    return model, target


def blobs(workshop: Workshop, tag: str, proxy: Proxy) -> dict[str, int]:
    """Return the blobs that an engine pulls for a partition, and their sizes."""
    (manifest,) = workshop.images("cells/model", tag, proxy.url)
    return {one["digest"]: one["size"] for one in (manifest["config"], *manifest["layers"])}


def test_an_update_moves_what_the_old_image_lacks(workshop: Workshop, updated: tuple[str, str], proxy: Proxy) -> None:
    old, new = updated
    found = workshop.made("diff", old, new, "--partition", "all", "--json").json
    assert [found[side]["reference"] for side in ("old", "new")] == [f"{old}--all", f"{new}--all"]
    (image,) = found["images"]
    before, after = (blobs(workshop, f"{tag}--all", proxy) for tag in ("v1", "v2"))
    lacking = {digest: size for digest, size in after.items() if digest not in before}
    assert (image["moved"]["blobs"], image["moved"]["bytes"]) == (len(lacking), sum(lacking.values()))
    assert image["bytes"] == sum(after.values())
    assert [(one["row"], one["col"]) for one in image["changed"]] == [(0, 1)]
    assert [(one["row"], one["label"]) for one in image["added"]] == [(2, "tokenizer")]
    assert [one["row"] for one in image["removed"]] == [1]
    assert image["moved"]["cellBytes"] == image["changed"][0]["new"]["size"]
    assert image["moved"]["baseBytes"] > 0


def test_the_difference_is_told_in_lines_and_in_the_exit_status(workshop: Workshop, updated: tuple[str, str]) -> None:
    old, new = updated
    shown = workshop.made("diff", old, new).out
    assert shown.startswith(f"{old}  sha256:")
    assert ": 1 cell added, 1 removed, 1 changed, 1 as they were\n" in shown
    assert "\n  ~ 0/1  2.05 kB -> 2.05 kB\n  - 1/0  3.07 kB  tokenizer\n  + 2/0  3.07 kB  tokenizer\n" in shown
    assert "  an update moves 3 blobs, " in shown
    assert ": cells 2.05 kB, base " in shown
    assert workshop.twodfs("diff", old, new, "--exit-code").status == 3
    assert workshop.twodfs("diff", new, new, "--exit-code").status == 0
    same = workshop.made("diff", new, new).out
    assert ": 0 cells added, 0 removed, 0 changed, 3 as they were\n  an update moves 0 blobs, 0 B of 20" in same
    words = workshop.made("diff", old, new, "--partition", "words", "--json").json["images"][0]
    assert words["moved"]["cellBytes"] == 0
    assert workshop.twodfs("diff", old, f"{new}x").status == 1
    assert workshop.twodfs("diff", old).status == 2
    digest = workshop.made("inspect", old, "--json").json["digest"]
    refused = workshop.twodfs("diff", f"{old}@{digest}", new, "--partition", "edge")
    assert (refused.status, "--partition goes with tags" in refused.err) == (2, True)


@pytest.mark.usefixtures("updated")
def test_ordinary_images_are_compared_too(workshop: Workshop) -> None:
    lower, higher = (workshop.target("cells/base", tag) for tag in ("v1", "v2"))
    (image, *_) = workshop.made("diff", lower, higher, "--json").json["images"]
    assert (image["added"], image["changed"], image["moved"]["cellBytes"]) == ([], [], 0)
    assert image["moved"]["baseBytes"] > 0


def test_of_a_field_without_sizes_those_that_move_are_asked_for(workshop: Workshop, registry: Registry) -> None:
    cells = {(row, col): {f"m/{row}/{col}": b"%d" % (row * col)} for row in range(5) for col in range(5)}
    old = push_field_image(registry.url, "cells/many", "v1", cells=cells)
    new = push_field_image(registry.url, "cells/many", "v2", cells=cells | {(0, 0): {"m/0/0": b"changed"}})
    before = log_size(registry)
    found = workshop.made("diff", old.reference(), new.reference(), "--json").json
    asked = [one.method for one in registry.requests(since=before) if "/blobs/" in one.target]
    assert sorted(asked) == ["GET", "GET", "HEAD"]  # a field each, and the size of the cell that moves
    for image in found["images"]:
        assert (image["bytes"], len(image["changed"]), image["unchanged"]) == (None, 1, 24)
        assert image["moved"]["cellBytes"] == image["changed"][0]["new"]["size"] > 0
