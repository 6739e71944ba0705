"""`twodfs build`, `push` and `inspect` as a user runs them, against a stock registry."""

import contextlib
import gzip
import hashlib
import http.server
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.lab.engines import Skopeo
from tests.lab.images import Kind, busybox_base, push_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.rootfs import apply_layers
from tests.lab.workshop import CONTENT, SOURCE, Workshop
from twodfs.cli import PROGRAM
from twodfs.registry.exchange import COMMIT_SECONDS, IDLE_SECONDS
from twodfs.registry.retries import Retries

ANCHOR_TYPE = "application/vnd.2dfs.allotments.v1"
GZIP_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEXES = {"oci": "application/vnd.oci.image.index.v1+json"}
INDEXES["docker"] = "application/vnd.docker.distribution.manifest.list.v2+json"

NEVER_LOADED = ("aiohttp", "asyncio", "typer", "pydantic", "rich")


def test_an_image_from_scratch_holds_what_the_build_file_says(workshop: Workshop) -> None:
    name = "made/scratch"
    done = workshop.made("build", "scratch", workshop.target(name), "--push", "--json", "--compression", "gzip")
    (manifest,) = workshop.images(name)
    config = json.loads(workshop.blob(name, manifest["config"]["digest"]))
    assert config == {
        "created": "1970-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [
            {
                "created": "1970-01-01T00:00:00Z",
                "created_by": f"2dfs field {manifest['layers'][-1]['digest']}",
                "empty_layer": True,
            }
        ],
    }
    assert len(manifest["layers"]) == 1
    cells = workshop.field(name, manifest)
    assert [(cell["row"], cell["col"]) for cell in cells] == list(CONTENT)
    for cell in cells:
        blob = workshop.blob(name, f"sha256:{cell['digest']}")
        tar = gzip.decompress(blob)
        assert (cell["size"], cell["mediaType"]) == (len(blob), GZIP_TYPE)
        assert cell["diffid"] == hashlib.sha256(tar).hexdigest()
        assert apply_layers([tar]) == CONTENT[cell["row"], cell["col"]]
    assert done.json["allotments"] == 3
    assert done.json["pushed"]["uploadedBlobs"] == 6


def test_the_same_input_gives_the_same_digests(workshop: Workshop, tmp_path: Path) -> None:
    first = workshop.made("build", "scratch", workshop.target("made/twice"), "--json", "--jobs", "1").json
    for file in workshop.directory.rglob("*"):
        os.utime(file, (1_000_000, 1_000_000))
    again = workshop.made("build", "scratch", workshop.target("made/twice"), "--json", store=tmp_path / "another").json
    assert again == first


def test_other_input_gives_other_digests(workshop: Workshop) -> None:
    first = workshop.made("build", "scratch", workshop.target("made/changed"), "--json").json
    (workshop.directory / "b.bin").write_bytes(b"b")
    assert workshop.made("build", "scratch", workshop.target("made/changed"), "--json").json != first


def test_a_base_keeps_its_platforms_and_layers(workshop: Workshop) -> None:
    platforms = ("linux/amd64", "linux/arm64/v8")
    base = push_image(
        workshop.registry.url,
        "base/busybox",
        "v1",
        base=busybox_base(),
        platforms=platforms,
        platform_files={platform: {"platform": platform.encode()} for platform in platforms},
        attestations=True,
    )
    name = "made/busybox"
    done = workshop.made("build", base.reference(), workshop.target(name), "--push")
    assert "left out 2 entries of the base that are no images" in done.err
    entries = workshop.document(name, "v1")["manifests"]
    assert [entry["platform"] for entry in entries] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
        {"architecture": "unknown", "os": "unknown"},
    ]
    for manifest, platform in zip(workshop.images(name), base.platforms, strict=True):
        config = json.loads(workshop.blob(name, manifest["config"]["digest"]))
        before = json.loads(platform.config.content)
        assert config.pop("history")[:-1] == before.pop("history")
        assert config == before
        assert [one["digest"] for one in manifest["layers"][:-1]] == [one.blob.digest for one in platform.base]
        assert len(workshop.field(name, manifest)) == 3
        for layer in platform.base:
            assert workshop.blob(name, layer.blob.digest) == layer.blob.content


def test_one_platform_of_a_base_can_be_chosen(workshop: Workshop) -> None:
    base = push_image(workshop.registry.url, "base/platforms", "v1", platforms=("linux/amd64", "linux/arm64"))
    target = workshop.target("made/platforms")
    done = workshop.made("build", base.reference(), target, "--platform", "linux/aarch64", "--json")
    assert done.json["platforms"] == ["linux/arm64"]
    refused = workshop.twodfs("build", base.reference(), target, "--platform", "linux/s390x")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err == (
        f"twodfs: {base.reference()} has no image for linux/s390x; it has linux/amd64, linux/arm64\n"
    )


@pytest.mark.parametrize("kind", ["oci-index", "oci-manifest", "docker-list", "docker-manifest"])
def test_every_kind_of_base_stays_what_it_is(workshop: Workshop, kind: Kind) -> None:
    base = push_image(workshop.registry.url, f"base/{kind}", "v1", kind=kind)
    name = f"made/{kind}"
    workshop.made("build", base.reference(), workshop.target(name), "--push")
    root = workshop.document(name, "v1")
    assert root["mediaType"] == INDEXES[kind.partition("-")[0]]
    (manifest,) = workshop.images(name)
    before = json.loads(base.platforms[0].manifest.content)
    assert {**manifest, "layers": manifest["layers"][:-1], "config": before["config"]} == before
    assert manifest["config"]["mediaType"] == before["config"]["mediaType"]
    assert root["manifests"][0]["platform"] == {"architecture": "amd64", "os": "linux"}


@pytest.mark.parametrize("kind", ["oci-manifest", "docker-manifest"])
def test_a_single_manifest_stays_single_without_an_anchor(workshop: Workshop, kind: Kind) -> None:
    base = push_image(workshop.registry.url, f"base/single-{kind}", "v1", kind=kind)
    name = f"made/single-{kind}"
    workshop.made("build", base.reference(), workshop.target(name), "--push", "--anchor", "none")
    manifest = workshop.document(name, "v1")
    assert manifest["mediaType"] == json.loads(base.top.content)["mediaType"]
    for cell in workshop.field(name, manifest):
        workshop.blob(name, f"sha256:{cell['digest']}")


def test_the_anchors_layers_are_the_allotments(workshop: Workshop) -> None:
    name = "made/anchor"
    workshop.made("build", "scratch", workshop.target(name), "--push")
    index = workshop.document(name, "v1")
    (entry,) = [one for one in index["manifests"] if "artifactType" in one]
    assert (entry["artifactType"], entry["platform"]["os"]) == (ANCHOR_TYPE, "unknown")
    anchor = workshop.document(name, entry["digest"])
    assert anchor["artifactType"] == ANCHOR_TYPE
    assert anchor["config"]["mediaType"] == "application/vnd.2dfs.allotments.config.v1+json"
    (manifest,) = workshop.images(name)
    cells = workshop.field(name, manifest)
    assert json.loads(workshop.blob(name, anchor["config"]["digest"])) == {
        **entry["platform"],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{cell['diffid']}" for cell in cells]},
    }
    assert anchor["layers"] == [
        {"mediaType": cell["mediaType"], "digest": f"sha256:{cell['digest']}", "size": cell["size"]} for cell in cells
    ]


@pytest.mark.parametrize("kind", ["oci-index", "oci-manifest", "docker-list", "docker-manifest"])
def test_the_proxy_cuts_what_was_built(workshop: Workshop, proxy: Proxy, kind: Kind) -> None:
    base = push_image(workshop.registry.url, f"base/cut-{kind}", "v1", kind=kind)
    name = f"made/cut-{kind}"
    workshop.made("build", base.reference(), workshop.target(name), "--push", "--compression", "none")
    (manifest,) = workshop.images(name)
    chosen = [f"sha256:{cell['digest']}" for cell in workshop.field(name, manifest) if cell["row"] == 0]
    (cut,) = workshop.images(name, "v1--0.0.0.2", proxy.url)
    assert [one["digest"] for one in cut["layers"]] == [
        *(layer.blob.digest for layer in base.platforms[0].base),
        *chosen,
    ]


def test_garbage_collection_leaves_the_allotments(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    with Registry.start(tmp_path / "own") as registry:
        own = Workshop(workshop.directory, workshop.store, registry)
        own.made("build", "scratch", own.target("made/kept"), "--push")
        registry.collect_garbage()
        (manifest,) = own.images("made/kept")
        for cell in own.field("made/kept", manifest):
            own.blob("made/kept", f"sha256:{cell['digest']}")


def test_skopeo_copies_everything(workshop: Workshop, skopeo_engine: Skopeo, tmp_path: Path) -> None:
    base = push_image(workshop.registry.url, "base/copied", "v1", platforms=("linux/amd64", "linux/arm64"))
    target = workshop.target("made/copied")
    workshop.made("build", base.reference(), target, "--push")
    skopeo_engine.copy(target, tmp_path / "copy", None, "--all")
    blobs = {path.name for path in (tmp_path / "copy" / "blobs" / "sha256").iterdir()}
    for manifest in workshop.images("made/copied"):
        assert {cell["digest"] for cell in workshop.field("made/copied", manifest)} < blobs


def test_other_tools_read_the_store(workshop: Workshop) -> None:
    target = workshop.target("made/stored")
    built = workshop.made("build", "scratch", target, "--json").json
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{workshop.store}:{target}"], capture_output=True, check=True
    ).stdout
    assert built["digest"] == f"sha256:{hashlib.sha256(raw).hexdigest()}"


def test_plain_layers_are_their_own_tar(workshop: Workshop) -> None:
    name = "made/plain"
    workshop.made("build", "scratch", workshop.target(name), "--push", "--compression", "none")
    (manifest,) = workshop.images(name)
    for cell in workshop.field(name, manifest):
        assert cell["digest"] == cell["diffid"]
        assert cell["mediaType"] == "application/vnd.oci.image.layer.v1.tar"


def test_a_push_sends_only_what_is_missing(workshop: Workshop) -> None:
    target = workshop.target("made/again")
    workshop.made("build", "scratch", target)
    assert workshop.made("push", target, "--json").json["uploadedBlobs"] == 6
    before = len(workshop.registry.requests())
    again = workshop.made("push", target, "--json").json
    assert (again["uploadedBlobs"], again["sparedBlobs"]) == (0, 6)
    asked = workshop.registry.requests()[before:]
    assert {request.method for request in asked} == {"HEAD"}
    assert all("/manifests/" in request.target for request in asked if request.method == "PUT")
    assert (again["mountedBlobs"], again["presentBlobs"], again["uploadedBytes"]) == (0, 6, 0)
    assert again["presentBytes"] > 0
    told = workshop.made("push", target).err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("pushed no blobs; 6 blobs, ")
    assert told[0].endswith(", were in the registry")


def test_layers_of_a_base_in_the_same_registry_do_not_travel(workshop: Workshop) -> None:
    base = push_image(workshop.registry.url, "base/mounted", "v1")
    target = workshop.target("made/mounted")
    workshop.made("build", base.reference(), target, "--quiet")
    pushed = workshop.made("push", target, "--json")
    counts = {key: pushed.json[key] for key in ("uploadedBlobs", "mountedBlobs", "presentBlobs", "sparedBlobs")}
    assert counts == {"uploadedBlobs": 6, "mountedBlobs": 1, "presentBlobs": 0, "sparedBlobs": 1}
    # A line for each that travelled, and the summary.
    lines = pushed.err.splitlines()
    assert sum(line.startswith("push sha256:") for line in lines) == len(lines) - 1 == 6
    assert "; 1 blob, " in lines[-1]
    assert lines[-1].endswith(", taken from other repositories there")


def test_what_is_pushed_names_its_cell_and_its_files(workshop: Workshop) -> None:
    target = workshop.target("made/named-lines")
    built = workshop.made("build", "scratch", target, "--push", "--checksum").err
    for place in ("row 0, column 0, a.bin", "row 0, column 2, b.bin and 1 more", "row 2, column 1, c.bin"):
        assert re.search(rf"^push sha256:[0-9a-f]{{12}}, {place}  ", built, re.MULTILINE)
    assert "allotment 0/2, b.bin and 1 more  " in built
    # The store does not know any more what the files were called.
    other = workshop.target("made/named-later")
    workshop.made("build", "scratch", other, "--quiet", "--compression", "zstd", "--level", "9")
    pushed = workshop.made("push", other).err
    assert re.search(r"^push sha256:[0-9a-f]{12}, row 2, column 1  ", pushed, re.MULTILINE)


def test_a_terminal_ends_with_lines_and_no_bar_is_left(workshop: Workshop) -> None:
    base = push_image(workshop.registry.url, "base/terminal", "v1")
    target = workshop.target("made/terminal")
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "TWODFS_STORE": str(workshop.store),
        "PYTHONPATH": str(SOURCE),
        "COLUMNS": "100",
        "TERM": "xterm",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "twodfs", "build", base.reference(), target, "--push"],
        cwd=workshop.directory,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # once nobody has the other end any more
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
        assert process.wait(60) == 0
    lines = on_the_screen(shown.decode())
    assert all(re.match(r"(allotment \d|push sha256:|built \d|pushed \d)", line) for line in lines), lines
    assert sum(line.startswith("push sha256:") for line in lines) == 6
    assert lines[-1].startswith("pushed 6 blobs, ")


def on_the_screen(written: str) -> list[str]:
    """Return the lines that a terminal shows at the end, without the empty ones."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[\??[0-9;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", written):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            column = 0
        elif not piece.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + piece + lines[row][column + len(piece) :]
            column += len(piece)
        elif piece.endswith("A"):
            row = max(row - int(piece[2:-1] or 1), 0)
        elif piece.endswith("K"):
            lines[row] = "" if piece[2:-1] == "2" else lines[row][:column]
    return [line.rstrip() for line in lines if line.strip()]


def test_what_another_image_of_the_store_has_in_the_registry_does_not_travel(workshop: Workshop) -> None:
    base = push_image(workshop.registry.url, "base/neighbours", "v1")
    for name in ("made/first", "made/second"):
        workshop.made("build", base.reference(), workshop.target(name))
    workshop.made("push", workshop.target("made/first"))
    pushed = workshop.made("push", workshop.target("made/second"), "--json").json
    assert pushed["uploadedBytes"] == 0
    for cell in workshop.field("made/second", next(workshop.images("made/second"))):
        workshop.blob("made/second", f"sha256:{cell['digest']}")


def test_what_no_other_image_has_pushed_is_uploaded(workshop: Workshop) -> None:
    recipe = json.loads((workshop.directory / "2dfs.json").read_bytes())
    (workshop.directory / "2dfs.json").write_text(json.dumps({**recipe, "partitions": {"own": "0.0.0.0"}}))
    for name in ("made/never", "made/alone"):
        (workshop.directory / "b.bin").write_bytes(b"not of any other test")
        workshop.made("build", "scratch", workshop.target(name))
    assert workshop.made("push", workshop.target("made/alone"), "--json").json["uploadedBlobs"] == 6


def test_children_are_pushed_before_the_index_that_names_them(workshop: Workshop) -> None:
    before = len(workshop.registry.requests())
    workshop.made("build", "scratch", workshop.target("made/order"), "--push")
    asked = workshop.registry.requests()[before:]
    puts = [one.target for one in asked if one.method == "PUT" and "/manifests/" in one.target]
    assert puts[-1] == "/v2/made/order/manifests/v1"
    assert len(puts) == 3


def test_inspect_draws_the_field_of_a_built_and_of_a_pushed_image(workshop: Workshop, tmp_path: Path) -> None:
    target = workshop.target("made/inspected")
    recipe = json.loads((workshop.directory / "2dfs.json").read_bytes())
    recipe["partitions"] = {"gpu": "2.0.2.1--0.0.0.0", "edge": "0.0.0.2"}
    (workshop.directory / "2dfs.json").write_text(json.dumps(recipe))
    workshop.made("build", "scratch", target, "--push", "--compression", "none")
    here = workshop.made("inspect", target)
    there = workshop.made("inspect", target, store=tmp_path / "empty")
    assert here == there
    assert not (tmp_path / "empty").exists()
    assert "3 allotments in rows 0..2, columns 0..2" in here.out
    assert here.out.endswith(
        "        0       1        2\n"
        "0  102 kB       ·  3.58 kB\n"
        "1       ·       ·        ·\n"
        "2       ·  102 kB        ·\n"
        "  3 of application/vnd.oci.image.layer.v1.tar\n"
        "  --all   3 allotments, 207 kB  0.0.2.2\n"
        "  --edge  2 allotments, 105 kB  0.0.0.2\n"
        "  --gpu   2 allotments, 204 kB  0.0.0.0--2.0.2.1\n"
    )
    (field,) = workshop.made("inspect", target, "--json").json["fields"].values()
    assert field["mediaTypes"] == {"application/vnd.oci.image.layer.v1.tar": 3}
    assert field["partitions"]["edge"] == {"selection": "0.0.0.2", "allotments": 2, "bytes": 105472}


def test_inspect_speaks_json(workshop: Workshop) -> None:
    target = workshop.target("made/json")
    built = workshop.made("build", "scratch", target, "--json").json
    found = workshop.made("inspect", target, "--json").json
    assert (found["reference"], found["digest"], found["anchored"]) == (target, built["digest"], True)
    (image,) = found["images"]
    assert (image["platform"], image["layers"], image["field"]) == ("linux/amd64", 0, built["field"])
    assert image["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    field = found["fields"][built["field"]]
    assert (field["rows"], field["columns"], field["bytes"]) == (3, 3, built["bytes"])
    assert [(one["row"], one["col"]) for one in field["allotments"]] == list(CONTENT)


def test_inspect_says_that_an_image_has_no_field(workshop: Workshop) -> None:
    base = push_image(workshop.registry.url, "base/fieldless", "v1", kind="docker-manifest")
    shown = workshop.made("inspect", base.reference()).out
    assert "1 layer, no field" in shown


def test_results_go_to_standard_output_and_the_rest_to_standard_error(workshop: Workshop) -> None:
    target = workshop.target("made/streams")
    loud = workshop.made("build", "scratch", target)
    quiet = workshop.made("build", "scratch", target, "--quiet")
    assert loud.out == quiet.out
    assert loud.out.startswith(f"{target}@sha256:")
    assert loud.out.count("\n") == 1
    assert "allotment 2/1" in loud.err
    assert quiet.err == ""


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("build", "scratch"), 2, "missing: TARGET; 'twodfs build --help' explains"),
        (("build", "scratch", "Upper/case"), 2, "'Upper/case' is no repository"),
        (("build", "scratch", "a/b@sha256:" + "0" * 64), 2, "cannot name a new image"),
        (("build", "scratch", "a/b:v1+0.0.1.1"), 2, "cannot name a new image"),
        (("build", "scratch", "a/b", "-f", "none.json"), 2, "cannot read the build file none.json"),
        (("build", "scratch", "a/b", "--platform", "amd64"), 2, "'amd64' is no platform"),
        (("build", "127.0.0.1:1/none", "127.0.0.1:1/a", "--quiet"), 1, "127.0.0.1:1/v2/none/manifests/latest: cannot"),
        (("push", "127.0.0.1:1/never/built:v1"), 1, "'twodfs build' makes one"),
        (("inspect", "127.0.0.1:1/none"), 1, "cannot connect"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(
    workshop: Workshop, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    done = workshop.twodfs(*arguments)
    assert (done.status, done.out) == (status, "")
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert done.err.startswith("twodfs: ")
    assert done.err.count("\n") == 1


def test_a_mistake_in_the_build_file_is_shown_with_its_place(workshop: Workshop) -> None:
    recipe = json.loads((workshop.directory / "2dfs.json").read_bytes())
    recipe["allotments"][2]["colour"] = 1
    (workshop.directory / "2dfs.json").write_text(json.dumps(recipe))
    done = workshop.twodfs("build", "scratch", "a/b")
    assert done.status == 2
    assert done.err == (
        "twodfs: 2dfs.json: unknown key 'colour'; allowed: src, dst, row, col, each, label, platform, ignore, mode, "
        "uid, gid, follow "
        "in 'allotments[2]'\n"
    )


@pytest.mark.parametrize(
    ("sources", "targets", "sentence"),
    [
        (["a.bin", "b.bin"], ["/a", "/a/b"], "'/a' is a file in 'allotments[0].src[0]', but a directory in "),
        (["tokenizer", "a.bin"], ["/t", "/t/vocab.json"], "'/t/vocab.json' comes twice: first in "),
        (["tokenizer", "a.bin"], ["/t/x", "/t"], "'/t' is a file in 'allotments[0].src[1]', but a directory"),
        (["a.bin"], ["/etc"], "'/etc' is a directory of every container, and a file would take its place; "),
        (["*.none"], ["/m"], "no file matches '*.none' in 'allotments[0].src[0]'"),
        (["n" * 256 + "*"], ["/m"], "no file matches"),
        (["n" * 256], ["/m"], "File name too long in 'allotments[0].src[0]'"),
        (["a.bin"], ["/" + "n" * 256], "has more than 255 bytes; no file can in 'allotments[0].dst[0]'"),
    ],
)
def test_what_is_wrong_with_sources_and_destinations_is_the_build_files_mistake(
    workshop: Workshop, sources: list[str], targets: list[str], sentence: str
) -> None:
    recipe = {"allotments": [{"src": sources, "dst": targets, "row": 0, "col": 0}]}
    (workshop.directory / "2dfs.json").write_text(json.dumps(recipe))
    done = workshop.twodfs("build", "scratch", "a/b")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("twodfs: 2dfs.json: ")
    assert sentence in done.err


def test_an_image_that_has_a_field_is_no_base(workshop: Workshop) -> None:
    target = workshop.target("made/fielded")
    workshop.made("build", "scratch", target, "--push")
    done = workshop.twodfs("build", target, workshop.target("made/other"))
    assert done.status == 1
    assert "has a field already; build from the image it was made from" in done.err


def test_help_and_version_answer(workshop: Workshop) -> None:
    for command in ("images", "rm", "prune"):
        assert "Example" in workshop.made(command, "--help").out
    for command in (
        "build",
        "push",
        "export",
        "inspect",
        "diff",
        "show",
        "anchor",
        "doctor",
        "verify",
        "login",
        "logout",
    ):
        shown = workshop.made(command, "-h").out
        assert shown == workshop.made(command, "--help").out
        assert "Example" in shown
        assert "registry.example.com" in shown
        assert "--json" in shown
        assert "--quiet" in shown
    shown = workshop.made("--help").out
    assert "registry.example.com/model:v1" in shown
    assert "Exit status" in shown
    assert workshop.made("--version").out.startswith("twodfs ")


def test_quiet_commands_print_data_and_nothing_else(workshop: Workshop) -> None:
    target = workshop.target("made/quiet")
    workshop.made("build", "scratch", target, "--push", "--quiet")
    for command in ("inspect", "doctor"):
        quiet, loud = workshop.made(command, target, "-q"), workshop.made(command, target)
        assert quiet == loud
    assert target in workshop.made("images", "-q").out
    for arguments in (("rm", target), ("prune", "--max-size", "0"), ("logout", "registry.example.com")):
        assert workshop.made(*arguments, "--quiet").out == ""
    assert workshop.made("prune", "--max-size", "0", "-q", "--json").json["blobs"] == 0
    assert "has no image" in workshop.twodfs("rm", target, "-q").err


@pytest.mark.parametrize(
    ("redirection", "sentence"),
    [
        (">&-", "twodfs: standard output is closed; >/dev/null throws results away\n"),
        (">/dev/full", "twodfs: cannot write standard output: No space left on device\n"),
        (">&- 2>&-", ""),
    ],
)
def test_results_that_cannot_be_printed_are_an_error_in_a_line(
    workshop: Workshop, redirection: str, sentence: str
) -> None:
    workshop.made("build", "scratch", workshop.target("made/unheard"))
    for command in ("images", "--help"):
        done = subprocess.run(
            ["sh", "-c", f"exec {sys.executable} -m twodfs {command} {redirection}"],
            env={**os.environ, "TWODFS_STORE": str(workshop.store), "PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)


def test_help_does_not_load_the_client(workshop: Workshop) -> None:
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "twodfs", "--help"],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "twodfs.cli" in loaded
    heavy = (
        *NEVER_LOADED,
        "hashlib",
        "sqlite3",
        "twodfs.layers.compression",
        "twodfs.oci.digest",
        "twodfs.field.field",
    )
    assert not [one for one in heavy if f" {one}" in loaded]
    assert workshop


def test_a_build_without_a_registry_does_not_load_the_client(workshop: Workshop) -> None:
    arguments = ("-X", "importtime", "-m", "twodfs", "build", "scratch", "lab/a:v1", "--quiet")
    loaded = subprocess.run(
        [sys.executable, *arguments],
        cwd=workshop.directory,
        env={**os.environ, "TWODFS_STORE": str(workshop.store), "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "twodfs.build.allotments" in loaded
    assert not [one for one in (*NEVER_LOADED, "twodfs.registry.session", "twodfs.models") if f" {one}" in loaded]


def test_a_push_over_plain_http_loads_what_it_needs(workshop: Workshop) -> None:
    program = (
        "import sys, twodfs.cli\n"
        "try:\n    twodfs.cli.main()\n"
        "finally:\n    print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    arguments = ("build", "scratch", workshop.target("made/light"), "--push", "--quiet")
    loaded = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=workshop.directory,
        env={**os.environ, "TWODFS_STORE": str(workshop.store), "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    ).stderr.splitlines()
    assert "twodfs.wire.connection" in loaded
    assert not {
        *NEVER_LOADED,
        "ssl",
        "http.client",
        "email",
        "twodfs.registry.auth",
        "twodfs.credentials.credentials",
        "twodfs.credentials.docker_config",
        "twodfs.credentials.programs",
        "subprocess",
    } & {*loaded}


def test_a_tag_that_reads_as_a_partition_names_no_new_image(workshop: Workshop) -> None:
    for tag in ("v1--0.0.0.1", "v1--all", "v1--base", "v1--0.0.0.1--edge"):
        done = workshop.twodfs("build", "scratch", workshop.target("made/part", tag))
        assert done.status == 2
        assert "reads the tag as a partition of 'v1'" in done.err
    assert workshop.made("build", "scratch", workshop.target("made/part", "v1--edge")).status == 0


def test_a_process_that_is_interrupted_ends_at_once_and_in_one_line(workshop: Workshop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}/made/silent:v1"
        with subprocess.Popen(
            [sys.executable, "-m", "twodfs", "build", "scratch", target, "--push", "--quiet"],
            cwd=workshop.directory,
            env={**os.environ, "TWODFS_STORE": str(workshop.store), "PYTHONPATH": str(SOURCE)},
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            silent.settimeout(30)
            connection, _ = silent.accept()
            with connection:
                running.send_signal(signal.SIGINT)
                _, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (130, "twodfs: interrupted\n")


class Unwell(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(503)
        self.send_header("Retry-After", "20")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_nobody_waits_for_a_registry_that_is_unwell_when_interrupted(workshop: Workshop) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unwell) as unwell:
        serving = threading.Thread(target=unwell.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        target = f"127.0.0.1:{unwell.server_port}/made/unwell:v1"
        workshop.made("build", "scratch", target)
        with subprocess.Popen(
            [sys.executable, "-m", "twodfs", "push", target, "--quiet"],
            cwd=workshop.directory,
            env={**os.environ, "TWODFS_STORE": str(workshop.store), "PYTHONPATH": str(SOURCE)},
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            with pytest.raises(subprocess.TimeoutExpired):  # it is patient
                running.communicate(timeout=5)
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=60)
        unwell.shutdown()
        serving.join()
    assert (running.returncode, err) == (130, "twodfs: interrupted\n")


def test_memory_does_not_grow_with_the_file(workshop: Workshop) -> None:
    with (workshop.directory / "b.bin").open("wb") as big:
        big.truncate(600_000_000)
    # Not ru_maxrss: a process keeps that of the one it was forked from, which is pytest.
    program = (
        "import twodfs.cli\n"
        "try:\n    twodfs.cli.main()\n"
        "finally:\n    print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    arguments = ("build", "scratch", workshop.target("made/big"), "--push", "--quiet")
    shown = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--compression", "none"],
        cwd=workshop.directory,
        env={**os.environ, "TWODFS_STORE": str(workshop.store), "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert int(shown.splitlines()[-1]) < 200 * 1024


def test_the_originals_form_on_request(workshop: Workshop, proxy: Proxy) -> None:
    name = "made/compat"
    platforms = ("--platform", "linux/amd64", "--platform", "linux/arm64")
    workshop.made(*("build", "scratch", workshop.target(name), "--push", *platforms), "--compat", "--anchor", "none")
    root = workshop.document(name, "v1")
    assert list(root) == ["schemaVersion", "mediaType", "manifests"]
    assert len(root["manifests"]) == 2
    manifest = next(workshop.images(name))
    cells = workshop.field(name, manifest)
    assert {tuple(cell) for cell in cells} == {("row", "col", "digest", "diffid")}
    assert [(cell["row"], cell["col"], bool(cell["digest"])) for cell in cells] == [
        (0, 0, True),
        (0, 2, False),
        (0, 2, True),
        (2, 1, False),
        (2, 1, True),
    ]
    for cell in cells:
        if cell["digest"]:
            tar = gzip.decompress(workshop.blob(name, f"sha256:{cell['digest']}"))
            assert apply_layers([tar]) == CONTENT[cell["row"], cell["col"]]
    cut = next(workshop.images(name, "v1--0.0.0.2", proxy.url))
    assert [one["mediaType"] for one in cut["layers"]] == [GZIP_TYPE] * 2


@pytest.mark.parametrize("kind", ["scratch", "oci-manifest", "docker-manifest", "docker-list"])
def test_the_originals_form_is_an_oci_index_whatever_the_base_and_the_name(workshop: Workshop, kind: str) -> None:
    """Its registry takes a single manifest or Docker's types, and then gives the whole image unasked."""
    base = kind
    if kind != "scratch":
        base = push_image(workshop.registry.url, f"base/compat-{kind}", "v1", kind=kind).reference()  # type: ignore[arg-type]
    names = (f"made/compat-{kind}", f"made/compat-{kind}-elsewhere")
    options = ("--push", "--compat", "--anchor", "none", "--json")
    first, second = (workshop.made("build", base, workshop.target(one), *options).json for one in names)
    assert first["digest"] == second["digest"]
    root = workshop.document(names[0], "v1")
    assert root["mediaType"] == "application/vnd.oci.image.index.v1+json"
    (manifest,) = workshop.images(names[0])
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    config = json.loads(workshop.blob(names[0], manifest["config"]["digest"]))
    assert not [one for one in config.get("history", ()) if "2dfs" in one.get("created_by", "")]


def test_an_unchanged_allotment_is_not_built_again(workshop: Workshop) -> None:
    target = workshop.target("made/unchanged")
    first = workshop.made("build", "scratch", target)
    assert first.err.count("allotment ") == 3
    again = workshop.made("build", "scratch", target)
    assert (again.out, again.err.count("allotment ")) == (first.out, 0)
    (workshop.directory / "b.bin").write_bytes(b"b")
    changed = workshop.made("build", "scratch", target)
    assert (changed.err.count("allotment "), "allotment 0/2" in changed.err) == (1, True)


def test_images_are_listed_removed_and_pruned(workshop: Workshop) -> None:
    targets = [workshop.target("made/kept"), workshop.target("made/removed")]
    for target in targets:
        workshop.made("build", "scratch", target, "--quiet")
        (workshop.directory / "a.bin").write_bytes(os.urandom(200_000))
    found = workshop.made("images", "--json").json["images"]
    assert [(one["reference"], one["allotments"]) for one in found] == [(target, 3) for target in targets]
    assert all(target in workshop.made("images").out for target in targets)
    assert workshop.made("rm", targets[1], "--json").json == {"removed": [targets[1]]}
    pruned = workshop.made("prune", "--max-size", "0", "--json").json
    assert (pruned["images"], 200_000 < pruned["freedBytes"] < 250_000) == ([], True)
    assert workshop.made("build", "scratch", targets[0], "--quiet").status == 0
    assert "forgot" in workshop.made("prune", "--max-size", "0", "--images").out
    assert workshop.made("images", "--json").json == {"images": []}
    assert workshop.twodfs("rm", targets[0]).status == 1
    assert workshop.twodfs("prune", "--max-size", "lots").status == 2


def test_a_blob_that_rots_on_the_disk_is_built_again_and_never_pushed(workshop: Workshop) -> None:
    target = workshop.target("made/rotten")
    built = workshop.made("build", "scratch", target, "--compression", "none", "--json").json
    (rotten,) = [one for one in workshop.store.glob("blobs/sha256/*") if one.stat().st_size == 101_888][:1]
    content = rotten.read_bytes()
    rotten.write_bytes(content[:-1] + b"?")
    os.utime(rotten, ns=(0, 0))
    refused = workshop.twodfs("push", target)
    assert refused.status == 1
    assert f"the store {workshop.store} has sha256:{rotten.name} damaged" in refused.err
    assert "build the image again" in refused.err
    assert not rotten.exists()
    rotten.write_bytes(content[:-1] + b"?")
    os.utime(rotten, ns=(0, 0))
    pushed = workshop.made("build", "scratch", target, "--compression", "none", "--json", "--push").json
    assert pushed["digest"] == built["digest"]
    assert workshop.blob("made/rotten", f"sha256:{rotten.name}") == content == rotten.read_bytes()


@pytest.mark.parametrize("option", ["--push", "--checksum"])
def test_whatever_rots_in_the_store_is_mended_by_the_next_build(workshop: Workshop, option: str) -> None:
    base = push_image(workshop.registry.url, "base/rotting", "v1")
    target = workshop.target(f"made/rotting{option}")
    arguments = ("build", base.reference(), target, "--json", "--compression", "none")
    built = workshop.made(*arguments).json
    whole = {path: path.read_bytes() for path in workshop.store.glob("blobs/sha256/*")}
    for path, content in whole.items():
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(path, ns=(0, 0))
    listed = workshop.made("images", "--json").json["images"]
    assert [(one["reference"], "damaged" in one["problem"]) for one in listed] == [(target, True)]
    assert target in workshop.made("images").out
    refused = workshop.twodfs("push", target)
    assert (refused.status, f"the store {workshop.store}" in refused.err) == (1, True)
    assert "build the image again" in refused.err
    assert workshop.made(*arguments, option).json["digest"] == built["digest"]
    assert {path: path.read_bytes() for path in workshop.store.glob("blobs/sha256/*")} == whole
    workshop.made("push", target)


def test_a_full_disk_is_told_with_the_place_that_is_full(workshop: Workshop) -> None:
    target = workshop.target("made/full")
    (workshop.directory / "a.bin").write_bytes(os.urandom(2_000_000))
    full = limited(workshop, "build", "scratch", target)
    assert full.returncode == 1
    assert f"twodfs: cannot write the store {workshop.store}: File too large; 'twodfs prune'" in full.stderr
    workshop.made("build", "scratch", target)
    full = limited(workshop, "export", f"{target}--all", "model.tar")
    assert (full.returncode, full.stderr) == (1, "twodfs: cannot write model.tar: File too large\n")
    assert not list(workshop.directory.glob("*model.tar*"))


def limited(workshop: Workshop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `twodfs` where no file may have more than a megabyte."""
    return subprocess.run(
        ["prlimit", "--fsize=1000000", sys.executable, "-m", "twodfs", *arguments],
        cwd=workshop.directory,
        env={**os.environ, "TWODFS_STORE": str(workshop.store), "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_store_that_may_only_be_read_is_read(workshop: Workshop) -> None:
    target = workshop.target("made/read-only")
    workshop.made("build", "scratch", target)
    (workshop.store / "use.lock").unlink()
    read_only = f"mount --bind {workshop.store} {workshop.store} && mount -o remount,ro,bind {workshop.store}"
    for arguments in ("images", f"inspect {target}", f"export {target}--all model.tar", f"push {target}"):
        run = f"{read_only} && exec {sys.executable} -m twodfs {arguments}"
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", run],
            cwd=workshop.directory,
            env={**os.environ, "TWODFS_STORE": str(workshop.store), "PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, target in done.stdout) == (0, True), done.stderr


def test_the_base_is_spoken_to_in_plain_http_on_its_own_demand(workshop: Workshop) -> None:
    push_image(workshop.registry.url, "base/plain", "v1")
    elsewhere = f"0.0.0.0:{workshop.registry.address.partition(':')[2]}"  # this machine, by no name that says so
    base, target = f"{elsewhere}/base/plain:v1", workshop.target("made/plain-base")
    refused = workshop.twodfs("build", base, target, "--plain-http")
    assert (refused.status, "or --base-plain-http where it has the base" in refused.err) == (1, True)
    workshop.made("build", base, target, "--push", "--base-plain-http")
    workshop.made("build", base, f"{elsewhere}/made/plain:v1", "--push", "--plain-http")


def test_an_upload_does_not_wait_for_the_last_allotment(workshop: Workshop) -> None:
    recipe = json.loads((workshop.directory / "2dfs.json").read_bytes())
    with (workshop.directory / "big").open("wb") as big:
        big.truncate(200_000_000)
    recipe["allotments"].append({"src": "big", "dst": "/big", "row": 3, "col": 0})
    (workshop.directory / "2dfs.json").write_text(json.dumps(recipe))
    arguments = ("--push", "--jobs", "1", "--compression", "gzip", "--level", "9")
    done = workshop.made("build", "scratch", workshop.target("made/early"), *arguments)
    assert done.err.index("push sha256:") < done.err.index("allotment 3/0")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_build_file_that_is_no_file_is_a_mistake_at_once(workshop: Workshop, kind: str) -> None:
    os.mkfifo(workshop.directory / "pipe")
    done = workshop.twodfs("build", "scratch", "a/b", "-f", "pipe" if kind == "pipe" else "/dev/zero")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert f"it is a {kind}, and has to be a regular file" in done.err


def test_the_time_outs_of_a_push_are_told(workshop: Workshop) -> None:
    told = " ".join(workshop.made("push", "--help").out.split())
    for words in (
        f"silent for {IDLE_SECONDS:g} seconds",
        f"for {COMMIT_SECONDS / 60:g} minutes once it has all of a blob",
        f"up to {Retries().attempts} times, and for {Retries().in_all / 60:g} minutes at most",
    ):
        assert words in told


def stored(workshop: Workshop, digests: list[str]) -> list[bool]:
    return [(workshop.store / "blobs" / digest.replace(":", "/")).exists() for digest in digests]


def test_layers_of_a_base_in_the_targets_registry_are_not_even_downloaded(workshop: Workshop, tmp_path: Path) -> None:
    base = push_image(workshop.registry.url, "base/near", "v1")
    target = workshop.target("made/near")
    done = workshop.made("build", base.reference(), target, "--push", "--json")
    (manifest,) = workshop.images("made/near")
    layers = [layer["digest"] for layer in manifest["layers"][:-1]]
    assert layers
    assert stored(workshop, layers) == [False] * len(layers)
    for layer in layers:
        workshop.blob("made/near", layer)
    assert workshop.made("push", target, "--json").json["uploadedBlobs"] == 0
    anew = workshop.made("build", base.reference(), target, "--json", store=tmp_path / "other").json
    assert anew["digest"] == done.json["digest"]
    workshop.made("build", base.reference(), target)
    assert stored(workshop, layers) == [False] * len(layers)
    # An archive needs their bytes.
    exported = workshop.made("export", f"{target}--all", "all.tar")
    assert exported.err.count("base sha256:") == len(layers)
    assert stored(workshop, layers) == [True] * len(layers)


def test_layers_of_a_base_in_another_registry_pass_through(workshop: Workshop, tmp_path: Path) -> None:
    with Registry.start(tmp_path) as other:
        base = push_image(other.url, "base/far", "v1", base=[{"one": os.urandom(70_000)}, {"two": b"2"}])
        target = workshop.target("made/far")
        workshop.made("build", base.reference(), target, "--json")
        (manifest,) = (one.manifest for one in base.platforms)
        layers = [layer["digest"] for layer in json.loads(manifest.content)["layers"]]
        pushed = workshop.made("push", target, "--json").json
        assert pushed["uploadedBytes"] > 70_000
        again = workshop.made("build", base.reference(), workshop.target("made/further"), "--push", "--json").json
        assert again["pushed"]["uploadedBytes"] < 70_000  # from where the first push brought them
    assert stored(workshop, layers) == [False] * len(layers)
    for name in ("made/far", "made/further"):
        for layer in layers:
            workshop.blob(name, layer)
    exported = workshop.made("export", f"{target}--all", "all.tar")
    assert "it comes from the registry instead" in exported.err


def test_an_archive_needs_the_registry_of_the_base_where_nothing_was_pushed(workshop: Workshop, tmp_path: Path) -> None:
    target = workshop.target("made/unpushed")
    with Registry.start(tmp_path) as other:
        base = push_image(other.url, "base/gone", "v1")
        workshop.made("build", base.reference(), target)
    refused = workshop.twodfs("export", f"{target}--all", "all.tar")
    assert (refused.status, f"a layer of {base.reference()}" in refused.err) == (1, True)


def test_layers_that_the_registry_does_not_mount_pass_through(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = push_image(workshop.registry.url, "base/unmounted", "v1")
    monkeypatch.setattr("twodfs.registry.session.RemoteRepository.mount", lambda *_: False)
    monkeypatch.setenv("TWODFS_STORE", str(workshop.store))
    monkeypatch.chdir(workshop.directory)
    PROGRAM.run(["build", base.reference(), workshop.target("made/unmounted"), "--push"])
    said = capsys.readouterr().err
    (manifest,) = workshop.images("made/unmounted")
    layers = [layer["digest"] for layer in manifest["layers"]]
    assert f"push {layers[0][:19]}" in said
    assert not any(stored(workshop, layers[:-1]))
    for layer in layers:
        workshop.blob("made/unmounted", layer)


@pytest.mark.parametrize("base", ["127.0.0.1:1/none", "oci:nowhere"])
@pytest.mark.parametrize(
    ("sources", "sentence"),
    [(["*.none"], "no file matches '*.none'"), (["a.bin", "?.bin"], "'/m/a.bin' comes twice")],
)
def test_mistakes_in_the_build_file_show_before_the_base_is_asked_for(
    workshop: Workshop, base: str, sources: list[str], sentence: str
) -> None:
    targets = ["/m/"] * len(sources)
    recipe = {"allotments": [{"src": sources, "dst": targets, "row": 0, "col": 0}]}
    (workshop.directory / "2dfs.json").write_text(json.dumps(recipe))
    done = workshop.twodfs("build", base, "a/b")
    assert (done.status, sentence in done.err) == (2, True), done.err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("inspect", "127.0.0.1:1/none", "--json"), 1),
        (("push", "127.0.0.1:1/never/built:v1", "--json"), 1),
        (("build", "scratch", "127.0.0.1:99999/a:v1", "--json"), 2),
        (("rm", "--json"), 2),
        (("nonsense", "--json"), 2),
    ],
)
def test_with_json_failures_are_json_as_well(workshop: Workshop, arguments: tuple[str, ...], status: int) -> None:
    done = workshop.twodfs(*arguments)
    error = done.json["error"]
    assert (done.status, error["exitStatus"]) == (status, status)
    assert done.err == f"twodfs: {error['message']}\n"
    assert workshop.twodfs(*(one for one in arguments if one != "--json")).out == ""


@pytest.mark.parametrize("where", ["store", "registry"])
def test_inspect_says_what_a_partition_selects_and_of_which_image(workshop: Workshop, where: str) -> None:
    recipe = json.loads((workshop.directory / "2dfs.json").read_bytes())
    recipe["partitions"] = {"edge": "0.0.0.2"}
    (workshop.directory / "2dfs.json").write_text(json.dumps(recipe))
    target = workshop.target(f"made/inspected-{where}")
    arguments = ("build", "scratch", target, "--compression", "none", "--json")
    built = workshop.made(*arguments, *(["--push"] if where == "registry" else [])).json
    store = workshop.store if where == "store" else workshop.directory / "empty"
    shown = workshop.made("inspect", f"{target}--edge", store=store).out
    assert f"a partition: 0.0.0.2, cut from v1, {built['digest']}" in shown
    assert "it has 2 allotments of that image, " in shown
    assert "are left out" in shown
    assert "anchor" not in shown
    assert "no field" not in shown
    content = workshop.made("inspect", f"{target}--edge", "--json", store=store).json
    partition = content["partition"]
    assert (partition["source"], partition["sourceTag"]) == (built["digest"], "v1")
    assert (partition["selection"], partition["allotments"]) == ("0.0.0.2", 2)
    assert partition["bytes"] + partition["leftOutBytes"] == built["bytes"]
    assert "partition" not in workshop.made("inspect", target, "--json", store=store).json
    missing = workshop.twodfs("inspect", f"{target}--none", store=store)
    assert (missing.status, "nor a partition of an image that is" in missing.err) == (1, True)


def test_more_allotments_than_layers_are_told_when_they_are_built(workshop: Workshop) -> None:
    allotments = [{"src": "b.bin", "dst": f"/{at}", "row": 0, "col": at} for at in range(126)]
    partitions = {"few": "0.0.0.124", "many": "0.0.0.125"}
    recipe = workshop.directory / "2dfs.json"
    recipe.write_text(json.dumps({"partitions": partitions, "allotments": allotments}))
    told = "an image has 125 layers at most, 0 of them the base's, so --all and --many cannot be pulled"
    assert told in workshop.made("build", "scratch", workshop.target("made/many")).err
    recipe.write_text(json.dumps({"allotments": allotments[1:]}))
    assert "layers at most" not in workshop.made("build", "scratch", workshop.target("made/many")).err
