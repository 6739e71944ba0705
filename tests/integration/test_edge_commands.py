"""Commands beside a running edge node, and the images that it brings when it is ordered to."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.documents import FieldStyle
from tests.lab.edge_commands import cache, cache_command, run_command
from tests.lab.engines import Skopeo
from tests.lab.images import PushedImage, push_field_image, push_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import Answer, RegistryClient, basic
from tests.lab.waiting import wait_until

CELLS = {(row, col): {f"models/{row}/{col}": os.urandom(20_000)} for row in range(3) for col in range(3)}
LARGE = {"large": os.urandom(600_000)}
SIZED = FieldStyle(sizes=True, media_types=True)
MODEL, BASE, BIG = "library/model", "library/base", "library/big"
LOGIN = ("alice", "wonder land")


@dataclass(frozen=True, slots=True)
class Node:
    """An edge node in front of a registry with three images."""

    registry: Registry
    proxy: Proxy
    edge: Path
    model: PushedImage
    base: PushedImage
    big: PushedImage

    def pull(self, image: PushedImage, tag: str) -> dict[str, bytes]:
        with Skopeo.start(self.edge.parent) as engine:
            reference = image.reference(self.proxy.address, tag)
            engine.pull(reference)
            return engine.files(reference)

    def prefetch(self, *arguments: str | Path, **options: Any) -> list[dict[str, Any]]:
        """Order images, and return what happened; it must work."""
        done = self.ordered(*arguments, **options)
        assert done[0] == 0, done
        return done[1]

    def ordered(self, *arguments: str | Path, docker_config: Path | None = None) -> tuple[int, list[dict[str, Any]]]:
        options = ("--edge", self.edge, "--node", self.proxy.admin_url, "--json")
        done = run_command("prefetch", *options, *arguments, docker_config=docker_config)
        assert not done.err, done.err
        return done.status, [json.loads(line) for line in done.out.splitlines()]

    def asked(self, method: str, token: str | None, body: bytes | None = None) -> Answer:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with RegistryClient(self.proxy.admin_url) as client:
            return client.request(method, "/edge/prefetch", headers=headers, body=body)

    @property
    def token(self) -> str:
        return (self.edge / "admin-token").read_text()

    def images(self) -> dict[str, dict[str, Any]]:
        return {one["reference"]: one for one in cache(self.edge, "ls", "--images", "--json").json["images"]}

    def blobs(self) -> dict[str, dict[str, Any]]:
        return {one["digest"]: one for one in cache(self.edge, "ls", "--json").json["blobs"]}


@contextmanager
def running(directory: Path, *arguments: str, config: str | None = None, **options: Any) -> Iterator[Node]:
    """Run a node in front of a registry of its own."""
    with Registry.start(directory, **options) as registry:
        login = LOGIN if options.get("htpasswd") else None
        model = push_field_image(
            registry.url, MODEL, "v1", cells=CELLS, platforms=("linux/amd64",), field_style=SIZED, credentials=login
        )
        base = push_image(registry.url, BASE, "v3", base={"base.txt": b"of its own"}, credentials=login)
        big = push_image(registry.url, BIG, "v1", base=LARGE, credentials=login)
        edge = directory / "edge"
        with Proxy.start(directory, registry.url, "--edge", str(edge), *arguments, config=config) as proxy:
            yield Node(registry, proxy, edge, model, base, big)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("node")) as started:
        yield started


def cell(node: Node, row: int, column: int) -> str:
    return node.model.allotments[row, column].blob.digest


def test_content_and_images_are_listed_with_what_of_each_is_there(node: Node) -> None:
    assert node.pull(node.model, "v1--0.0.0.1") == node.model.files(node.model.select((0, 0, 0, 1)))
    images = node.images()
    partition, model = images[f"{MODEL}:v1--0.0.0.1"], images[f"{MODEL}:v1"]
    assert (partition["complete"], partition["blobsThere"]) == (True, partition["blobs"])
    # Of the index, the manifest, the config, the base's layer, the field and nine cells, seven cells have not come.
    assert (model["complete"], model["blobs"], model["blobsThere"]) == (False, 14, 7)
    assert (model["bytesThere"] < model["bytes"], model["pinned"]) == (True, False)
    blobs = node.blobs()
    assert blobs[cell(node, 0, 1)]["kind"] == "allotment"
    assert blobs[node.model.field_blob.digest if node.model.field_blob else ""]["kind"] == "field"
    assert f"{MODEL}:v1--0.0.0.1" in blobs[cell(node, 0, 1)]["images"]
    assert abs(blobs[cell(node, 0, 1)]["usedAt"] - time.time()) < 60
    table = cache(node.edge, "ls", "--images").out
    assert "7 of 14 blobs" in table
    assert "complete" in table
    stats = cache(node.edge, "stats", "--json").json
    assert (stats["blobs"], stats["bytes"]) == (len(blobs), sum(one["bytes"] for one in blobs.values()))
    assert stats["bytesByKind"]["allotment"] > 40_000
    assert "2 of them complete" in cache(node.edge, "stats").out or stats["completeImages"] >= 1


def test_a_bit_that_the_disk_lost_is_found_and_the_blob_fetched_again(node: Node) -> None:
    node.pull(node.model, "v1--1.0.1.0")
    digest = cell(node, 1, 0)
    file = node.edge / "blobs/sha256" / digest[7:]
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = cache_command(node.edge, "verify", "--json")
    assert found.status == 1
    (rotten,) = found.json["rotten"]
    assert (rotten["digest"], rotten["removed"]) == (digest, False)
    assert f"{MODEL}:v1--1.0.1.0" in rotten["images"]
    assert file.exists()
    repaired = cache_command(node.edge, "verify", "--repair")
    assert (repaired.status, f"rotten: {digest}" in repaired.out) == (1, True)
    assert not file.exists()
    assert node.pull(node.model, "v1--1.0.1.0") == node.model.files([(1, 0)])
    assert cache(node.edge, "verify").out.endswith("all right\n")


def test_prune_leaves_what_is_pinned_and_what_is_read(node: Node) -> None:
    node.pull(node.model, "v1--2.0.2.1")
    node.pull(node.base, "v3")
    cache(node.edge, "pin", f"{MODEL}:v1--2.0.2.0")
    pinned, read, other = cell(node, 2, 0), cell(node, 2, 1), node.base.platform().base[0].blob.digest
    assert cache_command(node.edge, "prune").status == 2
    assert cache(node.edge, "prune", "--older-than", "7d", "--json").json["removed"] == []
    assert cache(node.edge, "prune", "--unused", "--json").json["removed"] == []
    would = cache(node.edge, "prune", "--to", "1kB", "--dry-run", "--json").json
    assert {read, other} <= set(would["removed"])
    assert pinned not in would["removed"]
    with (node.edge / "blobs/sha256" / read[7:]).open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        done = cache(node.edge, "prune", "--to", "1kB", "--json").json
    assert other in done["removed"]
    assert not {pinned, read} & set(done["removed"])
    assert done["inUse"] == 1
    left = node.blobs()
    assert {pinned, read} <= set(left)
    assert [one["reference"] for one in cache(node.edge, "pin", "--json").json["pins"]] == [f"{MODEL}:v1--2.0.2.0"]
    # The pin holds what the partition is cut from, too: nothing of it is asked for again.
    before = len(node.registry.requests())
    assert node.pull(node.model, "v1--2.0.2.0") == node.model.files([(2, 0)])
    gets = [one.target for one in node.registry.requests()[before:] if one.method == "GET"]
    assert not [one for one in gets if "/blobs/" in one and cell(node, 2, 0) in one]
    cache(node.edge, "unpin", f"{MODEL}:v1--2.0.2.0")
    again = cache_command(node.edge, "unpin", f"{MODEL}:v1--2.0.2.0")
    assert (again.status, "was not pinned" in again.out) == (1, True)


def test_what_was_ordered_is_pulled_while_the_registry_is_away(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        events = node.prefetch(f"{MODEL}:v1--0.0.1.1", f"{BASE}:v3")
        (plan,) = [one for one in events if one["event"] == "plan"]
        assert (plan["images"], plan["blobsThere"] < plan["blobs"]) == (2, True)
        assert {one["reference"] for one in events if one["event"] == "done"} == {f"{MODEL}:v1--0.0.1.1", f"{BASE}:v3"}
        again = node.prefetch(f"{MODEL}:v1--0.0.1.1")
        (plan,) = [one for one in again if one["event"] == "plan"]
        assert plan["blobsThere"] == plan["blobs"]
        node.registry.stop()
        assert node.pull(node.model, "v1--0.0.1.1") == node.model.files(node.model.select((0, 0, 1, 1)))
        assert node.pull(node.model, "v1--0.0.0.1") == node.model.files(node.model.select((0, 0, 0, 1)))  # never cut
        assert node.pull(node.base, "v3") == node.base.files()
        status, events = node.ordered(f"{BASE}:v4", f"{MODEL}:v1--9.9.9.9")
        assert (status, events[-1]["failed"]) == (1, 2)
        problems = [one["problem"] for one in events if one["event"] == "failed"]
        assert all("the registry" in one and "twodfs login" not in one for one in problems), problems


def test_a_cap_holds_until_a_client_wants_the_blob(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        began = time.monotonic()
        node.prefetch(f"{BIG}:v1", "--rate", "200kB")
        seconds = time.monotonic() - began
        assert seconds > 600_000 / 200_000 - 1
        cache(node.edge, "prune", "--to", "0")
        ordering = begun(node, f"{BIG}:v1", "--rate", "20kB")  # half a minute
        wait_until(lambda: any((node.edge / "ingest/sha256").glob("*.part")), "the blob is on its way")
        assert node.pull(node.big, "v1") == node.big.files()
        out, _ = ordering.communicate(timeout=20)
        assert json.loads(out.splitlines()[-1])["event"] == "end"


def begun(node: Node, *arguments: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-m", "proxy", "prefetch", "--edge", str(node.edge), "--node", node.proxy.admin_url]
    return subprocess.Popen(
        [*argv, "--json", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"DOCKER_CONFIG": "/nonexistent"},
    )


def jobs(node: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(node.asked("GET", node.token).body)["jobs"]
    return found


def test_a_platform_that_an_image_lacks_is_told(node: Node) -> None:
    for reference in (f"{MODEL}:v1", f"{MODEL}:v1--0.0.0.1"):
        status, told = node.ordered("--pin", "--platform", "linux/arm64", reference)
        assert status == 1
        assert "has no image for linux/arm64" in json.dumps(told)
    assert not any(one["pinned"] for one in node.images().values() if "v1--0.0.0.1" in one["reference"])


def test_a_job_ends_with_the_one_who_ordered_it_unless_it_is_detached(node: Node) -> None:
    hour = (time.localtime().tm_hour + 12) % 24
    window = f"{hour:02}:00-{(hour + 1) % 24:02}:00"
    leaving = begun(node, f"{BIG}:v1", "--window", window)
    assert leaving.stdout is not None
    events = [json.loads(leaving.stdout.readline()) for _ in range(2)]
    assert [one["event"] for one in events] == ["begun", "waiting"]
    leaving.send_signal(signal.SIGINT)
    assert leaving.wait(20) == 130
    leaving.stdout.close()
    wait_until(lambda: jobs(node)[0]["state"] == "cancelled", "the job ends")
    (event,) = node.prefetch(f"{BIG}:v1", "--window", window, "--detach")
    assert event["event"] == "detached"
    time.sleep(0.5)
    assert (jobs(node)[0]["job"], jobs(node)[0]["state"]) == (event["job"], "running")


def test_only_holders_of_the_token_give_orders(node: Node) -> None:
    order = json.dumps({"images": [{"reference": f"{BASE}:v3", "pin": False}]}).encode()
    for token in (None, "", "wrong", node.token + "x", node.token[:-1]):
        for method in ("GET", "POST"):
            answer = node.asked(method, token, order if method == "POST" else None)
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert node.asked("POST", node.token, b'{"images": [{"reference": "x:y", "pim": true}]}').status == 400
    wrong = node.edge.parent / "wrong-token"
    wrong.write_text("wrong\n")
    done = run_command("prefetch", "--node", node.proxy.admin_url, "--token-file", wrong, f"{BASE}:v3")
    assert (done.status, "does not take this admin token" in done.err) == (1, True)
    done = run_command("prefetch", "--node", node.proxy.admin_url, "--token-file", __file__, f"{BASE}:v3")
    assert (done.status, "holds no admin token" in done.err, "Traceback" in done.err) == (1, True, False), done.err
    with Proxy.start(node.edge.parent, node.registry.url) as plain, RegistryClient(plain.admin_url) as client:
        assert client.request("GET", "/edge/prefetch").status == 404


def test_the_users_credentials_serve_one_job_and_are_kept_nowhere(tmp_path: Path) -> None:
    with running(tmp_path, htpasswd={LOGIN[0]: LOGIN[1]}) as node:
        secret = basic(*LOGIN).removeprefix("Basic ")
        config = tmp_path / "docker"
        config.mkdir()
        status, events = node.ordered(f"{BASE}:v3")
        assert status == 1
        (failed,) = [one for one in events if one["event"] == "failed"]
        assert "log in with 'twodfs login'" in failed["problem"]
        (config / "config.json").write_text(json.dumps({"auths": {node.registry.address: {"auth": secret}}}))
        assert node.prefetch(f"{BASE}:v3", f"{MODEL}:v1--0.0.0.0", docker_config=config)[-1]["done"] == 2
        listed = node.asked("GET", node.token).body
    for content in (listed, *(one.read_bytes() for one in node.edge.rglob("*") if one.is_file())):
        assert secret.encode() not in content
        assert LOGIN[1].encode() not in content
    log = (tmp_path / "proxy.log").read_text()
    assert secret not in log
    assert LOGIN[1] not in log


def test_a_file_says_what_is_pinned_on_a_node_of_two_workers(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    image = '[[image]]\nreference = "{}"\npin = true\n'
    with running(tmp_path, config="workers = 2\n") as node:
        site.write_text('rate = "100Mbit"\n' + image.format(f"{MODEL}:v1--0.0.0.1") + image.format(f"{BASE}:v3"))
        node.prefetch("--file", site)
        assert {name for name, one in node.images().items() if one["pinned"]} == {f"{MODEL}:v1--0.0.0.1", f"{BASE}:v3"}
        site.write_text(image.format(f"{BASE}:v3"))
        assert node.prefetch("--file", site, "--prune-pins")[-1]["unpinned"] == [f"{MODEL}:v1--0.0.0.1"]
        before = len(node.registry.requests())
        assert node.pull(node.model, "v1--0.0.0.1") == node.model.files(node.model.select((0, 0, 0, 1)))
        asked = node.registry.requests()[before:]
        # A worker that does not know the partition's config yet asks for that, and is told 404.
        assert not [one for one in asked if one.method == "GET" and "/blobs/" in one.target and one.status == 200]
        site.write_text(image.format(f"{BASE}:v3").replace("pin", "pim"))
        wrong = run_command("prefetch", "--edge", node.edge, "--file", site)
        assert wrong.status == 2
        assert f"{site}: image[0].pim is not known, did you mean pin?" in wrong.err


def test_mistakes_are_told_in_a_line(tmp_path: Path) -> None:
    for arguments, status, told in (
        (("cache", "ls"), 2, "which directory? name it with --edge DIR"),
        (("cache", "ls", "--edge", tmp_path), 1, "is no edge directory"),
        (("cache", "pin", "--edge", tmp_path, "model"), 2, "'model' has no tag; write it out, as model:v1"),
        (("prefetch", "--edge", tmp_path), 2, "what is to be brought?"),
        (("prefetch", "--edge", tmp_path, "a:b"), 1, "has no admin-token"),
    ):
        done = run_command(*arguments)
        assert (done.status, told in done.err, done.err.count("\n")) == (status, True, 1), done.err
