"""`twodfs anchor` and `twodfs doctor`: what a stock registry loses, and what it keeps."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.documents import OCI
from tests.lab.images import Kind, push_field_image, push_image
from tests.lab.original import push_original
from tests.lab.programs import program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.workshop import Workshop

CELLS = {(row, col): {f"{row}/{col}": f"{row} {col}".encode()} for row in range(3) for col in range(3)}
NAME = "fix/tiny"


@pytest.fixture
def own(workshop: Workshop, tmp_path: Path) -> Iterator[Workshop]:
    """A workshop with a registry of its own, whose garbage may be collected."""
    (tmp_path / "registry").mkdir()
    with Registry.start(tmp_path / "registry") as registry:
        yield Workshop(workshop.directory, workshop.store, registry)


@pytest.fixture
def original(own: Workshop) -> Workshop:
    push_original(own.registry, NAME)
    return own


def missing_cells(registry: Registry, directory: Path, name: str = NAME) -> list[str]:
    """Pull each cell's partition through a proxy and return those with a blob that the registry lacks."""
    directory.mkdir()
    missing = []
    with Proxy.start(directory, registry.url) as proxy, RegistryClient(proxy.url) as client:
        for row, col in CELLS:
            index = client.get_manifest(name, f"v1--{row}.{col}.{row}.{col}")
            assert index.status == 200, index.body
            for entry in json.loads(index.body)["manifests"]:
                manifest = json.loads(client.get_manifest(name, entry["digest"]).body)
                blobs = (manifest["config"], *manifest["layers"])
                asked = [client.request("HEAD", f"/v2/{name}/blobs/{blob['digest']}") for blob in blobs]
                missing += [f"{row}/{col}" for answer in asked if answer.status != 200]
    return missing


def entries(workshop: Workshop, name: str = NAME) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = workshop.document(name, "v1")["manifests"]
    return found


def copy_all(source: Registry, target: Registry) -> None:
    argv = [program("skopeo"), "--insecure-policy", "copy", "--all"]
    argv += ["--src-tls-verify=false", "--dest-tls-verify=false"]
    places = [f"docker://{one.address}/{NAME}:v1" for one in (source, target)]
    subprocess.run([*argv, *places], check=True, capture_output=True)


def test_without_an_anchor_garbage_collection_takes_every_allotment(original: Workshop) -> None:
    before = original.twodfs("doctor", original.target(NAME), "--json")
    (field,) = before.json["fields"]
    assert (before.status, before.json["healthy"]) == (1, False)
    assert (field["allotments"], len(field["unprotected"]), field["missing"]) == (9, 9, [])
    original.registry.collect_garbage()
    original.registry.restart()
    after = original.twodfs("doctor", original.target(NAME), "--json")
    (field,) = after.json["fields"]
    assert (after.status, len(field["missing"]), field["unprotected"]) == (1, 9, [])
    assert "missing: 0/0, 0/1, 0/2, 1/0, 1/1, 1/2, 2/0, 2/1 and 1 more; push the image again" in (
        original.twodfs("doctor", original.target(NAME)).out
    )
    refused = original.twodfs("anchor", original.target(NAME))
    assert (refused.status, "an anchor brings nothing back" in refused.err) == (1, True)


def test_an_anchored_image_of_the_original_builder_survives(original: Workshop, tmp_path: Path) -> None:
    target = original.target(NAME)
    old = entries(original)
    done = original.made("anchor", target)
    assert "anchored 9 allotments, which nothing had protected" in done.err
    assert entries(original)[:-1] == old
    doctor = original.made("doctor", target)
    assert "all of them are anchored" in doctor.out
    original.registry.collect_garbage()
    original.registry.restart()
    assert missing_cells(original.registry, tmp_path / "kept") == []


def test_it_survives_the_deletion_of_other_tags_and_of_what_it_was(original: Workshop, tmp_path: Path) -> None:
    with RegistryClient(original.registry.url) as client:
        old = client.get_manifest(NAME, "v1")
        other = push_field_image(original.registry.url, NAME, "other", cells=CELLS)
        made = original.made("anchor", original.target(NAME), "--json").json
        assert made["before"] == old.headers["docker-content-digest"]
        for digest in (made["before"], other.digest):
            assert client.request("DELETE", f"/v2/{NAME}/manifests/{digest}").status == 202
    original.registry.collect_garbage()
    original.registry.restart()
    assert missing_cells(original.registry, tmp_path / "kept") == []


def test_a_copy_of_an_anchored_image_has_every_allotment(original: Workshop, tmp_path: Path) -> None:
    original.made("anchor", original.target(NAME))
    (tmp_path / "second").mkdir()
    with Registry.start(tmp_path / "second") as second:
        copy_all(original.registry, second)
        second.collect_garbage()
        assert missing_cells(second, tmp_path / "kept") == []


def test_anchoring_twice_changes_nothing(original: Workshop) -> None:
    target = original.target(NAME)
    first = original.made("anchor", target, "--json").json
    asked = len(original.registry.requests())
    again = original.made("anchor", target, "--json")
    assert "all allotments are anchored; nothing was done" in again.err
    assert (again.json["digest"], again.json["anchored"]) == (first["digest"], 0)
    assert {one.method for one in original.registry.requests()[asked:]} == {"GET", "HEAD"}


@pytest.mark.parametrize("kind", ["oci-manifest", "docker-manifest", "docker-list"])
def test_every_kind_of_image_gets_an_index_of_its_kind(workshop: Workshop, proxy: Proxy, kind: Kind) -> None:
    name = f"anchor/{kind}"
    image = push_field_image(workshop.registry.url, name, "v1", cells=CELLS, kind=kind)
    made = workshop.made("anchor", workshop.target(name), "--json").json
    assert made["wrapped"] == kind.endswith("manifest")
    index = workshop.document(name, "v1")
    assert ("docker" in index["mediaType"]) == kind.startswith("docker")
    assert index["manifests"][0]["digest"] == image.platform().manifest.digest
    assert index["manifests"][0]["platform"] == {"architecture": "amd64", "os": "linux"}
    (cut,) = workshop.images(name, "v1--0.0.0.0", proxy.url)
    assert len(cut["layers"]) == 2
    workshop.made("doctor", workshop.target(name))


def test_an_anchor_that_lacks_an_allotment_is_replaced(workshop: Workshop) -> None:
    name = "anchor/partial"
    first = push_field_image(workshop.registry.url, name, "v1", cells=CELLS, anchor=True)
    more = {**CELLS, (3, 0): {"more": b"more"}}
    grown = push_field_image(workshop.registry.url, name, "v1", cells=more)
    old = json.loads(first.top.content)["manifests"]
    index = json.loads(grown.top.content)
    index["manifests"].append(old[-1])
    with RegistryClient(workshop.registry.url) as client:
        headers = {"Content-Type": OCI.index}
        body = json.dumps(index).encode()
        assert client.request("PUT", f"/v2/{name}/manifests/v1", headers=headers, body=body).status == 201
    found = workshop.twodfs("doctor", workshop.target(name), "--json").json
    assert [(one["row"], one["col"]) for one in found["fields"][0]["unprotected"]] == [(3, 0)]
    assert workshop.made("anchor", workshop.target(name), "--json").json["anchored"] == 1
    kinds = [one.get("artifactType") for one in entries(workshop, name)]
    assert kinds == [None, old[-1]["artifactType"]]
    assert workshop.made("doctor", workshop.target(name), "--json").json["healthy"] is True


def test_an_anchor_of_an_earlier_release_is_replaced_once(workshop: Workshop, proxy: Proxy) -> None:
    """Validators take its empty config for that of an image, and refuse it."""
    name = "anchor/earlier"
    push_field_image(workshop.registry.url, name, "v1", cells=CELLS, anchor=True)
    before = entries(workshop, name)
    done = workshop.made("anchor", workshop.target(name), "--json")
    assert "replaced the anchor of an earlier release" in done.err
    assert (done.json["renewed"], done.json["anchored"]) == (True, 0)
    after = entries(workshop, name)
    assert after[:-1] == before[:-1]
    # What earlier releases know an anchor by.
    assert {k: after[-1][k] for k in ("artifactType", "platform", "mediaType")} == {
        k: before[-1][k] for k in ("artifactType", "platform", "mediaType")
    }
    anchors = [workshop.document(name, one[-1]["digest"]) for one in (before, after)]
    digests = [{layer["digest"] for layer in one["layers"]} for one in anchors]
    assert digests[0] == digests[1]
    workshop.made("doctor", workshop.target(name))
    again = workshop.made("anchor", workshop.target(name), "--json")
    assert (again.json["renewed"], again.json["digest"]) == (False, done.json["digest"])
    assert len(next(workshop.images(name, "v1--0.0.0.1", proxy.url))["layers"]) == 3


def test_what_was_built_here_needs_no_anchor(workshop: Workshop) -> None:
    workshop.made("build", "scratch", workshop.target("anchor/built"), "--push")
    workshop.made("doctor", workshop.target("anchor/built"))
    workshop.made("build", "scratch", workshop.target("anchor/bare"), "--push", "--anchor", "none")
    assert workshop.twodfs("doctor", workshop.target("anchor/bare")).status == 1
    repaired = workshop.made("anchor", workshop.target("anchor/bare"), "--json").json
    built = workshop.made("doctor", workshop.target("anchor/built"), "--json").json
    assert repaired["digest"] == built["digest"]


def test_manifests_that_are_gone_are_a_finding(own: Workshop) -> None:
    target = own.target("fix/gone")
    own.made("build", "scratch", target, "--push")
    listed = [one["digest"] for one in entries(own, "fix/gone")]
    own.registry.collect_garbage(delete_untagged=True)
    own.registry.restart()
    found = own.twodfs("doctor", target, "--json")
    assert (found.status, found.json["healthy"], found.json["missingManifests"]) == (1, False, listed)
    said = own.twodfs("doctor", target)
    assert (said.status, f"missing manifests: {listed[0][:19]}, " in said.out) == (1, True)
    refused = own.twodfs("anchor", target)
    assert (refused.status, "lacks the manifests" in refused.err) == (1, True)
    own.made("push", target)
    own.made("doctor", target)


def test_an_anchor_that_is_gone_is_made_again(own: Workshop) -> None:
    target = own.target("fix/unanchored")
    own.made("build", "scratch", target, "--push")
    (anchor,) = [one["digest"] for one in entries(own, "fix/unanchored") if "artifactType" in one]
    with RegistryClient(own.registry.url) as client:
        assert client.request("DELETE", f"/v2/fix/unanchored/manifests/{anchor}").status == 202
    assert own.twodfs("doctor", target, "--json").json["missingManifests"] == [anchor]
    own.made("anchor", target)
    own.made("doctor", target)


@pytest.mark.parametrize("command", ["anchor", "doctor"])
def test_an_image_without_a_field_has_nothing_to_look_after(workshop: Workshop, command: str) -> None:
    plain = push_image(workshop.registry.url, "anchor/plain", "v1")
    done = workshop.twodfs(command, plain.reference())
    assert (done.status, done.out) == (1, "")
    assert "has no field, so there is nothing to look after" in done.err
