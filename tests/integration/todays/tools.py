"""Tools that copy, check and list: skopeo, crane and oras, on partitions and on the whole image."""

import json
from typing import Any

from tests.integration.todays import pullers
from tests.integration.todays.check import Checks
from tests.integration.todays.laboratory import MODEL, OTHER_PLATFORM, PLATFORM, Laboratory
from tests.lab.layouts import layout_files
from tests.lab.todays_root import LAB
from twodfs.oci.digest import digest_of

CHECKS = Checks()
check = CHECKS.add

_SBOM = "application/spdx+json"


@check("skopeo copy", "copies all platforms of a partition (--all) to a layout and to another repository")
def _(lab: Laboratory) -> None:
    source = ("--src-tls-verify=false", f"docker://{lab.reference('v1--0.1.1.1')}")
    lab.run("skopeo", "copy", "--quiet", "--all", *source, f"oci:{LAB}/skopeo-all:v1")
    layout = lab.root.directory / "skopeo-all"
    for platform in (PLATFORM, OTHER_PLATFORM):
        assert layout_files(layout, platform) == lab.files([(0, 1), (1, 1)], platform)
    target = ("--dest-tls-verify=false", f"docker://{lab.reference('v1', 'todays/skopeo-all')}")
    lab.run("skopeo", "copy", "--quiet", "--all", *source, *target)
    assert lab.manifest("v1", "todays/skopeo-all", url=lab.registry.url) == lab.manifest("v1--0.1.1.1")


@check("skopeo copy", "copies the whole image (--all) to another repository, which is cut there")
def _(lab: Laboratory) -> None:
    source = ("--src-tls-verify=false", f"docker://{lab.reference('v1')}")
    target = ("--dest-tls-verify=false", f"docker://{lab.reference('v1', 'todays/skopeo-whole')}")
    lab.run("skopeo", "copy", "--quiet", "--all", *source, *target)
    _is_cut(lab, "todays/skopeo-whole")


@check("skopeo inspect", "tells a partition's digest")
def _(lab: Laboratory) -> None:
    told = lab.run("skopeo", "inspect", "--tls-verify=false", f"docker://{lab.reference('v1--0.1.1.1')}")
    assert json.loads(told)["Digest"] == digest_of(lab.manifest("v1--0.1.1.1"))


@check("crane validate", "finds a partition whole")
def _(lab: Laboratory) -> None:
    lab.run("crane", "validate", "--remote", lab.reference("v1--0.0.2.2"))


@check("crane validate", "finds the whole image's manifests and configs whole (--fast)")
def _(lab: Laboratory) -> None:
    lab.run("crane", "validate", "--fast", "--remote", lab.reference("v1"))


@check("crane validate", "finds the whole image's layers whole")
def _(lab: Laboratory) -> None:
    lab.run("crane", "validate", "--remote", lab.reference("v1"))


@check("crane copy", "copies a partition to another repository")
def _(lab: Laboratory) -> None:
    target = lab.reference("v1", "todays/crane-copy")
    lab.run("crane", "copy", lab.reference("v1--0.0.1.1"), target)
    assert lab.manifest("v1", "todays/crane-copy", url=lab.registry.url) == lab.manifest("v1--0.0.1.1")
    lab.run("crane", "validate", "--remote", target.replace(lab.proxy.address, lab.registry.address))


@check("crane copy", "copies the whole image to another repository, which is cut there")
def _(lab: Laboratory) -> None:
    lab.run("crane", "copy", lab.reference("v1"), lab.reference("v1", "todays/crane-whole"))
    _is_cut(lab, "todays/crane-whole")


@check("crane tag", "gives a partition a tag of its own, in the registry")
def _(lab: Laboratory) -> None:
    lab.run("crane", "tag", lab.reference("v1--0.0.1.0"), "crane-tagged")
    _is_there(lab, "crane-tagged", "v1--0.0.1.0")


@check("oras tag", "gives a partition a tag of its own, in the registry")
def _(lab: Laboratory) -> None:
    lab.run("oras", "tag", "--plain-http", lab.reference("v1--0.0.2.0"), "oras-tagged")
    _is_there(lab, "oras-tagged", "v1--0.0.2.0")


@check("crane mutate", "writes a partition with a label of its own, in the registry")
def _(lab: Laboratory) -> None:
    target = lab.reference("v1", "todays/crane-mutate")
    lab.run("crane", "mutate", "--label", "a=b", "--tag", target, lab.reference("v1--0.1.2.1"))
    direct = target.replace(lab.proxy.address, lab.registry.address)
    lab.run("crane", "validate", "--remote", direct)
    assert pullers.crane(lab, direct, None) == lab.files([(0, 1), (1, 1), (2, 1)])


@check("crane digest", "tells a partition's digest")
def _(lab: Laboratory) -> None:
    told = lab.run("crane", "digest", lab.reference("v1--edge"))
    assert told.strip() == digest_of(lab.manifest("v1--edge"))


@check("crane tag", "is told that a partition's tag cannot be written")
def _(lab: Laboratory) -> None:
    repository = lab.copied("crane-tag")
    said = lab.refusal("crane", "tag", lab.reference("v1", repository), "v1--0.0.0.0")
    assert f"v1--0.0.0.0 names a partition of {repository}:v1" in said
    assert "v1--0.0.0.0" not in lab.run("crane", "ls", lab.reference("v1", repository).rpartition(":")[0])


@check("crane mutate", "is told that a partition's tag cannot be written")
def _(lab: Laboratory) -> None:
    target = lab.reference("v1--0.0.0.0", lab.copied("crane-mutate-lost"))
    said = lab.refusal("crane", "mutate", "--label", "a=b", "--tag", target, lab.reference("v1--0.1.2.1"))
    assert "names a partition of" in said


@check("oras tag", "is told that a partition's tag cannot be written")
def _(lab: Laboratory) -> None:
    source = lab.reference("v1", lab.copied("oras-tag"))
    assert "names a partition of" in lab.refusal("oras", "tag", "--plain-http", source, "v1--edge")


@check("skopeo copy", "is told that a partition's tag cannot be written")
def _(lab: Laboratory) -> None:
    places = [lab.reference("v1--0.1.2.1"), lab.reference("v1--0.0.0.0", lab.copied("skopeo-lost"))]
    tls = ("--src-tls-verify=false", "--dest-tls-verify=false")
    copy = ("skopeo", "--insecure-policy", "copy", *tls, *(f"docker://{one}" for one in places))
    assert "names a partition of" in lab.refusal(*copy)


@check("oras manifest fetch", "fetches a partition's manifest")
def _(lab: Laboratory) -> None:
    told = lab.run("oras", "manifest", "fetch", "--plain-http", lab.reference("v1--0.1.2.1"))
    assert told.encode() == lab.manifest("v1--0.1.2.1")


@check("oras discover", "lists what is attached to a partition")
def _(lab: Laboratory) -> None:
    found = _discovered(lab, lab.reference("v1--0.1.2.2"))
    assert found  # the proxy's own signature


@check("oras discover", "lists what is attached to the whole image")
def _(lab: Laboratory) -> None:
    assert _discovered(lab, lab.reference("v1", lab.copied("oras-discover"))) == set()


@check("oras attach", "attaches an SBOM to the whole image and finds it")
def _(lab: Laboratory) -> None:
    reference = lab.reference("v1", lab.copied("oras-attach"))
    _attach(lab, reference)
    assert _discovered(lab, reference) == {_SBOM}


@check("oras attach", "attaches an SBOM to a partition and finds it, beside the proxy's signature")
def _(lab: Laboratory) -> None:
    reference = lab.reference("v1--0.1.2.2", lab.copied("oras-attach-partition"))
    _attach(lab, reference)
    assert _discovered(lab, reference) > {_SBOM}


@check("oras cp -r", "copies a partition with what is attached to another repository")
def _(lab: Laboratory) -> None:
    _copy(lab, "v1--1.0.1.1", "todays/oras-cp")
    assert lab.manifest("v1", "todays/oras-cp", url=lab.registry.url) == lab.manifest("v1--1.0.1.1")


@check("oras cp -r", "copies a partition with what is attached to a layout")
def _(lab: Laboratory) -> None:
    copy = ("oras", "cp", "-r", "--from-plain-http", "--to-oci-layout")
    lab.run(*copy, lab.reference("v1--1.0.1.1"), f"{LAB}/oras-layout:v1")
    index = json.loads((lab.root.directory / "oras-layout" / "index.json").read_bytes())
    digest = digest_of(lab.manifest("v1--1.0.1.1"))
    assert digest in {one["digest"] for one in index["manifests"]}


@check("oras cp -r", "copies the whole image to another repository, which is cut there")
def _(lab: Laboratory) -> None:
    _copy(lab, "v1", "todays/oras-whole")
    _is_cut(lab, "todays/oras-whole")


def _copy(lab: Laboratory, tag: str, repository: str) -> None:
    over = ("--from-plain-http", "--to-plain-http", "--no-tty")
    lab.run("oras", "cp", "-r", *over, lab.reference(tag), lab.reference("v1", repository))


def _attach(lab: Laboratory, reference: str) -> None:
    (lab.root.directory / "sbom.json").write_text('{"spdxVersion": "SPDX-2.3"}')
    options = ("--plain-http", "--no-tty", "--disable-path-validation", "--artifact-type", _SBOM)
    lab.run("oras", "attach", *options, reference, f"{LAB}/sbom.json:{_SBOM}")


def _discovered(lab: Laboratory, reference: str) -> set[str]:
    """Return the kinds of what is attached."""
    discover = ("oras", "discover", "--plain-http", "--format", "json")
    told: dict[str, Any] = json.loads(lab.run(*discover, reference))
    return {one["artifactType"] for one in told.get("referrers") or told.get("manifests") or ()}


def _is_cut(lab: Laboratory, repository: str) -> None:
    """Check that a copy of the whole image is one: the registry has all of it, and the proxy cuts it."""
    assert lab.manifest("v1", repository, url=lab.registry.url) == lab.manifest("v1", MODEL)
    tag = "v1--2.2.2.2"
    assert pullers.crane(lab, lab.reference(tag, repository), None) == lab.files([(2, 2)])


def _is_there(lab: Laboratory, tag: str, partition: str) -> None:
    """Check that the registry itself has a partition under this tag, whole."""
    assert lab.manifest(tag, url=lab.registry.url) == lab.manifest(partition)
    lab.run("crane", "validate", "--remote", f"{lab.registry.address}/{MODEL}:{tag}")
