"""`build --push` asks the registry for what may be lacking, and for nothing else."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab.images import push_image
from tests.lab.registry import Registry, Request
from tests.lab.registry_client import RegistryClient
from tests.lab.workshop import CONTENT, Done, Workshop
from twodfs.storage.store import ImageStore

PLAIN = ("--compression", "none", "--json")


def asked_by(workshop: Workshop, *arguments: str) -> tuple[Done, list[Request]]:
    before = len(workshop.registry.requests())
    done = workshop.made(*arguments)
    return done, workshop.registry.requests()[before:]


def lines(requests: list[Request]) -> list[str]:
    return [f"{one.method} {one.target} {one.status}" for one in requests]


def blobs_asked_for(requests: list[Request]) -> set[str]:
    heads = (one.target for one in requests if one.method == "HEAD" and "/blobs/" in one.target)
    return {target.rpartition("/")[2] for target in heads}


def allotments(workshop: Workshop, name: str) -> set[str]:
    top = workshop.document(name, "v1")
    (manifest,) = workshop.images(name) if "manifests" in top else (top,)
    return {f"sha256:{cell['digest']}" for cell in workshop.field(name, manifest)}


def digest_of_cell(workshop: Workshop, name: str, row: int, col: int) -> str:
    (manifest,) = workshop.images(name)
    (found,) = (one for one in workshop.field(name, manifest) if (one["row"], one["col"]) == (row, col))
    return f"sha256:{found['digest']}"


def record_of(workshop: Workshop) -> Path:
    (record,) = (workshop.store / "pushed").iterdir()
    return record


def test_an_unchanged_image_costs_one_question(workshop: Workshop) -> None:
    arguments = ("build", "scratch", workshop.target("unchanged/scratch"), "--push", *PLAIN)
    first = workshop.made(*arguments).json
    again, asked = asked_by(workshop, *arguments)
    assert lines(asked) == ["HEAD /v2/unchanged/scratch/manifests/v1 200"]
    pushed = again.json.pop("pushed")
    sent = first.pop("pushed")
    assert {key: value for key, value in again.json.items() if key != "pushed"} == first
    assert (pushed["presentBlobs"], pushed["presentBytes"]) == (sent["uploadedBlobs"], sent["uploadedBytes"])
    assert (pushed["uploadedBlobs"], pushed["mountedBlobs"]) == (0, 0)


def test_the_tag_of_a_base_costs_a_question_more_and_its_digest_none(workshop: Workshop) -> None:
    base = push_image(workshop.registry.url, "base/unchanged", "v1", platforms=("linux/amd64", "linux/arm64"))
    target = workshop.target("unchanged/based")
    workshop.made("build", base.reference(), target, "--push")
    _, asked = asked_by(workshop, "build", base.reference(), target, "--push")
    tags = [f"HEAD /v2/{name}/manifests/v1 200" for name in ("base/unchanged", "unchanged/based")]
    assert sorted(lines(asked)) == tags
    pinned = f"{workshop.registry.address}/base/unchanged@{base.top.digest}"
    workshop.made("build", pinned, target, "--push")
    _, asked = asked_by(workshop, "build", pinned, target, "--push")
    assert lines(asked) == tags[1:]


def test_a_base_whose_tag_moved_is_taken_anew(workshop: Workshop) -> None:
    push_image(workshop.registry.url, "base/moving", "v1", base={"one": b"1"})
    arguments = ("build", workshop.target("base/moving"), workshop.target("unchanged/moving"), "--push", *PLAIN)
    first = workshop.made(*arguments).json
    base = push_image(workshop.registry.url, "base/moving", "v1", base={"two": b"2"})
    second, asked = asked_by(workshop, *arguments)
    assert second.json["digest"] != first["digest"]
    (manifest,) = workshop.images("unchanged/moving")
    assert [layer["digest"] for layer in manifest["layers"][:-1]] == [one.blob.digest for one in base.platforms[0].base]
    assert not allotments(workshop, "unchanged/moving") & blobs_asked_for(asked)
    assert workshop.made(*arguments).json["digest"] == second.json["digest"]


def test_a_base_whose_registry_is_down_is_tried_as_long_as_one_of_the_first_time(
    workshop: Workshop, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    with Registry.start(tmp_path / "own") as registry:
        base = push_image(registry.url, "base/down", "v1").reference()
        workshop.made("build", base, workshop.target("unchanged/down"), "--push")
    done = workshop.twodfs("build", base, workshop.target("unchanged/down"), "--push")
    assert done.status == 1
    assert f"HEAD {registry.url}/v2/base/down/manifests/v1: " in done.err


def test_of_a_changed_image_what_the_earlier_one_has_is_not_asked_for(workshop: Workshop) -> None:
    base = push_image(workshop.registry.url, "base/changing", "v1")
    name = "unchanged/changing"
    arguments = ("build", base.reference(), workshop.target(name), "--push", *PLAIN)
    workshop.made(*arguments)
    before = allotments(workshop, name)
    (workshop.directory / "a.bin").write_bytes(b"another")
    done, asked = asked_by(workshop, *arguments)
    assert len(before & allotments(workshop, name)) == 2
    # The allotment, the field, and the configs of image and anchor; the image, its anchor, and the index of both.
    counted = Counter((one.method, one.target.split("/")[4]) for one in asked)
    assert counted == {("HEAD", "manifests"): 2, ("POST", "blobs"): 4, ("PUT", "blobs"): 4, ("PUT", "manifests"): 3}
    assert done.json["pushed"]["uploadedBlobs"] == 4
    workshop.blob(name, (allotments(workshop, name) - before).pop())


def test_a_big_new_blob_is_asked_for_as_somebody_else_may_have_pushed_it(workshop: Workshop, tmp_path: Path) -> None:
    arguments = ("build", "scratch", workshop.target("unchanged/together"), "--push", *PLAIN)
    workshop.made(*arguments)
    (workshop.directory / "a.bin").write_bytes(os.urandom(2_000_000))
    workshop.made("build", "scratch", workshop.target("unchanged/together", "v2"), "--push", store=tmp_path / "other")
    done = workshop.made(*arguments).json
    assert done["pushed"]["uploadedBytes"] < 1_000_000
    assert done["pushed"]["presentBytes"] > 2_000_000


def moved_tag(workshop: Workshop, name: str) -> None:
    push_image(workshop.registry.url, name, "v1", base={"other": b"image"})


def lost_manifest(workshop: Workshop, name: str) -> None:
    with RegistryClient(workshop.registry.url) as client:
        digest = client.get_manifest(name, "v1").headers["docker-content-digest"]
        assert client.request("DELETE", f"/v2/{name}/manifests/{digest}").status == 202


@pytest.mark.parametrize("event", [moved_tag, lost_manifest])
def test_where_the_tag_names_another_image_or_none_all_is_asked_for(
    workshop: Workshop, event: Callable[[Workshop, str], None]
) -> None:
    name = f"unchanged/{event.__name__}"
    arguments = ("build", "scratch", workshop.target(name), "--push", *PLAIN)
    built = workshop.made(*arguments).json
    parts = allotments(workshop, name)
    event(workshop, name)
    again, asked = asked_by(workshop, *arguments)
    assert again.json["digest"] == built["digest"]
    assert parts < blobs_asked_for(asked)
    assert lines(asked)[-1] == f"PUT /v2/{name}/manifests/v1 201"
    assert allotments(workshop, name) == parts
    assert lines(asked_by(workshop, *arguments)[1]) == [f"HEAD /v2/{name}/manifests/v1 200"]


def test_what_the_registry_lost_behind_the_tag_is_brought_once_it_refuses_a_changed_image(workshop: Workshop) -> None:
    name = "unchanged/lost"
    arguments = ("build", "scratch", workshop.target(name), "--push", *PLAIN)
    workshop.made(*arguments)
    before = allotments(workshop, name)
    (workshop.directory / "a.bin").write_bytes(b"another")
    kept = before - {digest_of_cell(workshop, name, 0, 0)}
    lost = min(kept)
    with RegistryClient(workshop.registry.url) as client:
        assert client.request("DELETE", f"/v2/{name}/blobs/{lost}").status == 202
    done, asked = asked_by(workshop, *arguments)
    assert blobs_asked_for(asked) >= kept
    for digest in allotments(workshop, name):
        workshop.blob(name, digest)
    # The allotment that was lost; the new one, the field, and the configs of image and anchor.
    pushed = done.json["pushed"]
    assert (pushed["uploadedBlobs"], pushed["mountedBlobs"], pushed["presentBlobs"]) == (5, 0, 1)


def test_a_repair_leaves_a_tag_that_is_right_alone_as_some_registries_let_none_be_written(workshop: Workshop) -> None:
    name = "unchanged/repaired"
    arguments = ("build", "scratch", workshop.target(name), "--push", *PLAIN)
    workshop.made(*arguments)
    lost = min(allotments(workshop, name))
    with RegistryClient(workshop.registry.url) as client:
        assert client.request("DELETE", f"/v2/{name}/blobs/{lost}").status == 202
    done, asked = asked_by(workshop, "push", workshop.target(name), "--json")
    assert done.json["uploadedBlobs"] == 1
    assert [one.target for one in asked if one.method == "PUT" and "/manifests/" in one.target] == []
    workshop.blob(name, lost)


def test_a_registry_that_begins_anew_gets_everything(workshop: Workshop, tmp_path: Path) -> None:
    registries: list[str] = []
    for directory in (tmp_path / "first", tmp_path / "second"):
        directory.mkdir()
        with Registry.start(directory, port=int(registries[0].rpartition(":")[2]) if registries else None) as registry:
            registries.append(registry.address)
            own = Workshop(workshop.directory, workshop.store, registry)
            pushed = own.made("build", "scratch", own.target("anew"), "--push", *PLAIN).json["pushed"]
            assert pushed["uploadedBlobs"] == 6
            for digest in allotments(own, "anew"):
                own.blob("anew", digest)
    assert registries[0] == registries[1]


def test_a_record_that_is_not_as_it_was_written_counts_as_none(workshop: Workshop) -> None:
    name = "unchanged/broken"
    arguments = ("build", "scratch", workshop.target(name), "--push", *PLAIN)
    built = workshop.made(*arguments).json
    record = record_of(workshop)
    true = record.read_bytes()
    for lie in (b"", true[:-10], true.replace(b'"plan":"', b'"plan":"0'), b"{}", os.urandom(1000), b"\n{}"):
        record.write_bytes(lie)
        again, asked = asked_by(workshop, *arguments)
        assert (again.json["digest"], again.json["pushed"]["presentBlobs"]) == (built["digest"], 6)
        assert allotments(workshop, name) < blobs_asked_for(asked)
        assert record.read_bytes() == true


@pytest.mark.parametrize(
    "lie",
    [
        {"plan": "0" * 64},
        {"allotments": "0" * 64},
        {"documents": []},
        {"baseLayers": "1"},
    ],
)
def test_a_sealed_record_that_lies_changes_no_image(workshop: Workshop, lie: dict[str, Any]) -> None:
    target = workshop.target("unchanged/lying")
    arguments = ("build", "scratch", target, "--push", *PLAIN)
    built = workshop.made(*arguments).json
    records = ImageStore(workshop.store).pushes
    true = records.find(target)
    assert true is not None
    records.record(target, {**true, **lie})
    again = workshop.made(*arguments).json
    assert (again["digest"], again["field"], again["allotments"]) == (built["digest"], built["field"], 3)
    assert again["pushed"]["uploadedBlobs"] == 0
    assert records.find(target) == true


def test_a_record_of_an_image_that_is_not_in_the_registry_is_seen_through(workshop: Workshop) -> None:
    here, there = (workshop.target(f"unchanged/{name}") for name in ("here", "there"))
    workshop.made("build", "scratch", here, "--push", *PLAIN)
    records = ImageStore(workshop.store).pushes
    records.record(there, records.find(here) or {})
    done, asked = asked_by(workshop, "build", "scratch", there, "--push", *PLAIN)
    assert lines(asked)[0] == "HEAD /v2/unchanged/there/manifests/v1 404"
    assert done.json["pushed"]["presentBlobs"] == 0
    for digest in allotments(workshop, "unchanged/there"):
        workshop.blob("unchanged/there", digest)


@pytest.mark.parametrize("place", ["field", "root"])
def test_a_document_that_rots_in_the_store_is_mended_by_an_unchanged_build(workshop: Workshop, place: str) -> None:
    arguments = ("build", "scratch", workshop.target(f"unchanged/rotten-{place}"), "--push", *PLAIN)
    built = workshop.made(*arguments).json
    path = workshop.store / "blobs" / built["field" if place == "field" else "digest"].replace(":", "/")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"?")
    os.utime(path, ns=(0, 0))
    assert workshop.made(*arguments).json["digest"] == built["digest"]
    assert path.read_bytes() == whole


def test_allotments_without_an_anchor_are_asked_for_since_nothing_keeps_them(
    workshop: Workshop, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    with Registry.start(tmp_path / "own") as registry:
        own = Workshop(workshop.directory, workshop.store, registry)
        arguments = ("build", "scratch", own.target("loose"), "--push", *PLAIN, "--anchor", "none")
        own.made(*arguments)
        parts = allotments(own, "loose")
        _, asked = asked_by(own, *arguments)
        assert blobs_asked_for(asked) == parts
        registry.collect_garbage()
        registry.restart()  # it remembers the blobs that it had
        assert own.made(*arguments).json["pushed"]["uploadedBlobs"] == len(parts) == len(CONTENT)
        for digest in parts:
            own.blob("loose", digest)


@pytest.mark.parametrize("way", ["push", "--checksum"])
def test_everything_is_asked_for_on_demand(workshop: Workshop, way: str) -> None:
    name = f"unchanged/all{way.strip('-')}"
    target = workshop.target(name)
    workshop.made("build", "scratch", target, "--push", *PLAIN)
    arguments = ("push", target) if way == "push" else ("build", "scratch", target, "--push", *PLAIN, way)
    _, asked = asked_by(workshop, *arguments)
    assert len(blobs_asked_for(asked)) == 6
    assert {one.method for one in asked} == {"HEAD"}


def test_an_image_that_was_removed_here_is_named_again(workshop: Workshop) -> None:
    target = workshop.target("unchanged/removed")
    built = workshop.made("build", "scratch", target, "--push", *PLAIN).json
    workshop.made("rm", target)
    _, asked = asked_by(workshop, "build", "scratch", target, "--push", *PLAIN)
    assert len(asked) == 1
    assert [one["digest"] for one in workshop.made("images", "--json").json["images"]] == [built["digest"]]


def test_what_a_prune_took_is_made_again(workshop: Workshop) -> None:
    target = workshop.target("unchanged/pruned")
    built = workshop.made("build", "scratch", target, "--push", *PLAIN).json
    workshop.made("rm", target)
    workshop.made("prune", "--max-size", "0")
    assert list((workshop.store / "pushed").iterdir()) == []
    again = workshop.made("build", "scratch", target, "--push", *PLAIN).json
    assert (again["digest"], again["pushed"]["presentBlobs"]) == (built["digest"], 6)
    workshop.made("export", f"{target}--all", "all.tar")


@pytest.mark.parametrize("change", ["partitions", "order", "removed", "option"])
def test_other_wishes_make_another_image_of_the_same_files(workshop: Workshop, tmp_path: Path, change: str) -> None:
    target = workshop.target(f"unchanged/wish-{change}")
    options = ["build", "scratch", target, "--push", *PLAIN]
    first = workshop.made(*options).json
    recipe = json.loads((workshop.directory / "2dfs.json").read_bytes())
    if change == "partitions":
        recipe["partitions"] = {"edge": "0.0.0.0"}
    elif change == "order":
        one, other = recipe["allotments"][0], recipe["allotments"][2]
        one["row"], one["col"], other["row"], other["col"] = other["row"], other["col"], one["row"], one["col"]
    elif change == "removed":
        del recipe["allotments"][2]
    else:
        options += ["--platform", "linux/arm64"]
    (workshop.directory / "2dfs.json").write_text(json.dumps(recipe))
    second = workshop.made(*options).json
    assert second["digest"] != first["digest"]
    assert workshop.document(f"unchanged/wish-{change}", second["digest"])
    anew = workshop.made(*(one for one in options if one != "--push"), store=tmp_path / "other").json
    assert anew["digest"] == second["digest"] == workshop.made(*options).json["digest"]
