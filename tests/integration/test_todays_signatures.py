"""cosign 3 and oras of today, in front of registries with and without the referrers API."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import command
from tests.lab.images import PushedImage, push_field_image
from tests.lab.peers import require
from tests.lab.programs import environment
from tests.lab.proxy import Proxy
from tests.lab.referring_registry import ReferringRegistry
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.signing import BUNDLE_TYPE, SIGNATURE_TYPE, KeyPair, signature_tag
from tests.lab.todays import todays_program
from tests.lab.workshop import Workshop
from twodfs.oci.digest import digest_of

CELLS = {(row, col): {f"{row}/{col}": b"%d of %d" % (row, col)} for row in range(2) for col in range(2)}
OFFLINE = ("--use-signing-config=false", "--tlog-upload=false", "--yes", "--allow-http-registry")
UNLOGGED = ("--insecure-ignore-tlog", "--allow-http-registry")


@dataclass
class Bench:
    """Tools, their keys, and a proxy that signs and wants its sources signed by `builder`."""

    directory: Path
    keys: dict[str, Path]
    registry: str
    proxy: Proxy
    image: PushedImage

    def run(self, tool: str, *arguments: str) -> str:
        home = {"HOME": str(self.directory), "COSIGN_PASSWORD": "", "DOCKER_CONFIG": str(self.directory)}
        return command.run((todays_program(tool), *arguments), environment(**home))

    def sign(self, name: str, reference: str, *options: str) -> None:
        self.run("cosign", "sign", "--key", str(self.directory / f"{name}.key"), *OFFLINE, *options, reference)

    def verify(self, name: str, reference: str, *options: str) -> list[dict[str, object]]:
        out = self.run("cosign", "verify", "--key", str(self.keys[name]), *UNLOGGED, *options, reference)
        told: list[dict[str, object]] = json.loads(out)
        return told

    def pull(self, selection: str) -> str:
        """Return a partition, pinned."""
        with RegistryClient(self.proxy.url) as client:
            answer = client.get_manifest(self.image.repository, f"v1--{selection}")
        assert answer.status == 200, answer.body
        return f"{self.proxy.address}/{self.image.repository}@{digest_of(answer.body)}"

    def discovered(self, reference: str, *options: str) -> list[str]:
        out = self.run("oras", "discover", "--plain-http", "--format", "json", *options, reference)
        return sorted(one["artifactType"] for one in json.loads(out)["referrers"])


@pytest.fixture(scope="module", params=["without the API", "with the API"])
def bench(
    registry: Registry, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    require("openssl")
    directory = tmp_path_factory.mktemp("bench")
    KeyPair.generate(directory, "proxy")
    keys = {name: directory / f"{name}.pub" for name in ("proxy", "builder", "user")}
    has_api = request.param == "with the API"
    for name in ("builder", "user"):
        prefix = str(directory / name)
        argv = (todays_program("cosign"), "generate-key-pair", "--output-key-prefix", prefix)
        command.run(argv, environment(COSIGN_PASSWORD="", HOME=str(directory)))
    with ReferringRegistry.start(directory, registry.url) as referring:
        upstream = referring if has_api else registry
        signing = {
            "KEY": str(directory / "proxy.pem"),
            "REQUIRE_SOURCE_SIGNATURE": "true",
            "SOURCE_KEYS": str(keys["builder"]),
        }
        variables = {f"TWODFS_PROXY_SIGNING_{name}": value for name, value in signing.items()}
        name = f"todays/{'api' if has_api else 'tag'}"
        image = push_field_image(upstream.url, name, "v1", cells=CELLS, config_more={"x-test": name})
        with Proxy.start(directory, upstream.url, environment=variables) as proxy:
            bench = Bench(directory, keys, upstream.address, proxy, image)
            with RegistryClient(proxy.url) as client:
                assert client.get_manifest(image.repository, "v1--0.0.0.0").status == 403
            bench.sign("builder", f"{upstream.address}/{image.repository}@{image.top.digest}")
            yield bench


def test_cosign_signs_an_image_the_policy_cuts_it_and_both_are_verified(bench: Bench, workshop: Workshop) -> None:
    partition = bench.pull("0.0.0.1")
    source = f"{bench.proxy.address}/{bench.image.repository}@{bench.image.top.digest}"
    bench.verify("builder", source)
    (told,) = bench.verify("proxy", partition, "-a", f"2dfs.source.digest={bench.image.top.digest}")
    assert told["optional"] == {
        "2dfs.selection": "0.0.0.1",
        "2dfs.source.digest": bench.image.top.digest,
        "creator": "twodfs-proxy",
    }
    bench.verify("proxy", partition, "--new-bundle-format=false")
    with pytest.raises(command.CommandError):
        bench.verify("user", partition)
    keys = ("--key", str(bench.keys["proxy"]), "--source-key", str(bench.keys["builder"]))
    done = workshop.twodfs("verify", partition, *keys, "--recursive-source", "--json")
    assert (done.status, done.json["sourceImage"]["digest"]) == (0, bench.image.top.digest), done.err
    done = workshop.twodfs("verify", source, "--key", str(bench.keys["builder"]))
    assert (done.status, done.out.splitlines()[1:]) == (0, ["  signed"]), done.err


def test_what_a_user_attaches_to_a_partition_is_found_beside_ours(
    bench: Bench, workshop: Workshop, tmp_path: Path
) -> None:
    partition = bench.pull("0.1.1.1")
    sbom = tmp_path / "sbom.json"
    sbom.write_text("{}")
    ours = [SIGNATURE_TYPE, BUNDLE_TYPE]
    assert bench.discovered(partition) == ours
    bench.sign("user", partition)
    bench.run(
        *("oras", "attach", "--plain-http", "--artifact-type", "text/sbom", "--disable-path-validation"),
        *(partition, f"{sbom}:application/json"),
    )
    bench.run(
        *("cosign", "attest", "--key", str(bench.directory / "user.key"), *OFFLINE, "--type", "custom"),
        *("--predicate", str(sbom), partition),
    )
    for name in ("user", "proxy"):
        bench.verify(name, partition)
    bench.run(
        *("cosign", "verify-attestation", "--key", str(bench.keys["user"]), *UNLOGGED, "--type", "custom"),
        partition,
    )
    everything = sorted([*ours, BUNDLE_TYPE, BUNDLE_TYPE, "text/sbom"])
    assert bench.discovered(partition) == everything
    assert bench.discovered(partition, "--artifact-type", "text/sbom") == ["text/sbom"]
    assert bench.discovered(partition, "--artifact-type", BUNDLE_TYPE) == [BUNDLE_TYPE] * 3
    source = f"{bench.proxy.address}/{bench.image.repository}@{bench.image.top.digest}"
    assert bench.discovered(source) == [BUNDLE_TYPE]
    assert "text/sbom" in bench.run("cosign", "tree", "--allow-http-registry", partition)
    # All of it goes along into another registry.
    copy = f"{bench.registry}/{bench.image.repository}-copied:part"
    bench.run("oras", "cp", "--recursive", "--from-plain-http", "--to-plain-http", partition, copy)
    assert bench.discovered(copy) == everything
    # cosign reads the first page of such a list alone, so it is asked through the proxy, above.
    assert workshop.twodfs("verify", copy, "--key", str(bench.keys["proxy"])).status == 0


def test_a_client_that_keeps_the_list_under_the_tag_keeps_ours_in_it(bench: Bench, tmp_path: Path) -> None:
    partition = bench.pull("1.0.1.1")
    sbom = tmp_path / "sbom.json"
    sbom.write_text("{}")
    scheme = ("--distribution-spec", "v1.1-referrers-tag")
    for kind in ("text/sbom", "text/other"):
        bench.run(
            *("oras", "attach", "--plain-http", *scheme, "--artifact-type", kind),
            *("--disable-path-validation", partition, f"{sbom}:application/json"),
        )
    everything = sorted([BUNDLE_TYPE, SIGNATURE_TYPE, "text/other", "text/sbom"])
    assert bench.discovered(partition, *scheme) == everything
    assert bench.discovered(partition) == everything
    bench.verify("proxy", partition)


def test_a_client_that_adds_to_the_tag_of_signatures_keeps_ours_in_it(bench: Bench) -> None:
    partition = bench.pull("1.1.1.1")
    for name in ("user", "builder"):
        bench.sign(name, partition, "--new-bundle-format=false")
    for name in ("user", "builder", "proxy"):
        bench.verify(name, partition, "--new-bundle-format=false")
    digest = partition.partition("@")[2]
    with RegistryClient(bench.proxy.url) as client:
        signatures = client.get_manifest(bench.image.repository, signature_tag(digest))
    assert len(json.loads(signatures.body)["layers"]) == 3
    with RegistryClient(f"http://{bench.registry}") as direct:
        stored = direct.get_manifest(bench.image.repository, signature_tag(digest))
    assert stored.body == signatures.body, "nothing is to be added any more"
