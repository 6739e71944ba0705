"""The commands of an edge node in front of two registries that have a repository of the same name."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.documents import FieldStyle
from tests.lab.edge_commands import cache, cache_command, run_command
from tests.lab.images import PushedImage, push_field_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient, basic

MODEL = "library/model"
LOGIN = ("bob", "builder")


@dataclass(frozen=True, slots=True)
class House:
    """An edge node, the default registry behind it, and one called hub that wants a login."""

    proxy: Proxy
    edge: Path
    config: Path
    default: Registry
    hub: Registry
    ours: PushedImage
    hubs: PushedImage

    def prefetch(self, *references: str, docker_config: Path | None = None) -> tuple[int, list[dict[str, Any]]]:
        options = ("--edge", self.edge, "--node", self.proxy.admin_url, "--json")
        done = run_command("prefetch", *options, *references, docker_config=docker_config)
        assert not done.err, done.err
        return done.status, [json.loads(line) for line in done.out.splitlines()]

    def images(self) -> dict[str, dict[str, Any]]:
        return {one["reference"]: one for one in cache(self.edge, "ls", "--images", "--json").json["images"]}


def image(registry: Registry, content: bytes, login: tuple[str, str] | None = None) -> PushedImage:
    cells = {(0, column): {f"{column}": content * (column + 1)} for column in range(2)}
    style = FieldStyle(sizes=True, media_types=True)
    return push_field_image(
        registry.url, MODEL, "v1", cells=cells, platforms=("linux/amd64",), field_style=style, credentials=login
    )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("house")
    for name in ("default", "hub"):
        (directory / name).mkdir()
    with (
        Registry.start(directory / "default") as default,
        Registry.start(directory / "hub", htpasswd=dict([LOGIN])) as hub,
    ):
        ours, hubs = image(default, b"ours"), image(hub, b"hub's", LOGIN)
        tables = f'[[upstream]]\nname = "default"\nurl = "{default.url}"\n'
        tables += f'[[upstream]]\nname = "hub"\nurl = "{hub.url}"\nprefix = "hub"\n'
        edge = directory / "edge"
        with Proxy.start(directory, default.url, "--edge", str(edge), config=tables) as proxy:
            yield House(proxy, edge, directory / "config.toml", default, hub, ours, hubs)


def logged_in(directory: Path, registry: str) -> Path:
    """Return a directory of Docker's with Bob's login at `registry` alone."""
    auth = {"auth": basic(*LOGIN).removeprefix("Basic ")}
    (directory / "config.json").write_text(json.dumps({"auths": {registry: auth}}))
    return directory


def allotment(image: PushedImage, column: int) -> str:
    return image.allotments[0, column].blob.digest


def test_each_is_brought_from_its_own_registry_as_its_own_user(house: House, tmp_path: Path) -> None:
    name = f"hub@{MODEL}:v1--0.0.0.0"
    status, events = house.prefetch(name)
    assert (status, events[-1]["failed"]) == (1, 1)
    assert "log in with 'twodfs login'" in next(one["problem"] for one in events if one["event"] == "failed")

    # A login at the default registry is none at the other one.
    status, events = house.prefetch(name, docker_config=logged_in(tmp_path, house.default.address))
    assert (status, events[-1]["failed"]) == (1, 1)

    login = logged_in(tmp_path, house.hub.address)
    status, events = house.prefetch(name, f"{MODEL}:v1--0.1.0.1", docker_config=login)
    assert status == 0, events
    assert {one["reference"] for one in events if one["event"] == "done"} == {name, f"{MODEL}:v1--0.1.0.1"}
    blobs = {one["digest"] for one in cache(house.edge, "ls", "--json").json["blobs"]}
    assert allotment(house.hubs, 0) in blobs
    assert allotment(house.ours, 1) in blobs
    assert not {allotment(house.hubs, 1), allotment(house.ours, 0)} & blobs
    status, events = house.prefetch("quay@a/b:v1")
    assert (status, events[-1]["failed"]) == (1, 1)
    assert "this node has no [[upstream]] quay, but hub" in next(one["problem"] for one in events if "problem" in one)


def test_images_of_both_are_listed_pinned_carried_and_let_go_by_their_names(house: House, tmp_path: Path) -> None:
    login = logged_in(tmp_path, house.hub.address)
    ours, hubs = f"{MODEL}:v1--0.0.0.1", f"hub@{MODEL}:v1--0.0.0.1"
    assert house.prefetch(ours, hubs, docker_config=login)[0] == 0
    images = house.images()
    assert images[ours]["complete"]
    assert images[hubs]["complete"]
    assert images[ours]["digest"] != images[hubs]["digest"]

    cache(house.edge, "pin", hubs)
    assert [one["reference"] for one in cache(house.edge, "pin", "--json").json["pins"]] == [hubs]
    assert (house.images()[hubs]["pinned"], house.images()[ours]["pinned"]) == (True, False)
    assert cache_command(house.edge, "unpin", ours).status == 1
    gone = cache(house.edge, "prune", "--to", "1", "--dry-run", "--json").json["removed"]
    assert allotment(house.ours, 0) in gone
    assert allotment(house.hubs, 0) not in gone
    cache(house.edge, "unpin", hubs)

    archive, other = tmp_path / "images.tar", tmp_path / "other"
    cache(house.edge, "export", "-o", archive, hubs)
    again = tmp_path / "again.tar"
    cache(house.edge, "export", "-o", again, hubs)
    assert archive.read_bytes() == again.read_bytes()
    taken = cache(other, "import", archive, "--pin", "--json").json
    assert [(one["reference"], one["missing"]) for one in taken["images"]] == [(hubs, [])]
    assert "no [[upstream]] hub is in the configuration" in taken["notes"][0]
    known = cache(other, "import", archive, "--config", house.config, "--json").json
    assert "nobody may read this of hub" in known["notes"][0]
    listed = {one["reference"]: one for one in cache(other, "ls", "--images", "--json").json["images"]}
    assert set(listed) == {hubs, f"hub@{MODEL}:v1"}
    assert (listed[hubs]["complete"], listed[hubs]["pinned"]) == (True, True)


def test_what_was_carried_is_pulled_where_the_registry_is_away(house: House, tmp_path: Path) -> None:
    """And only as an image of that registry: the default one's repository of the same name has nothing of it."""
    hubs, target = f"hub@{MODEL}:v1--0.0.0.0", "/v2/hub/library/model/manifests/v1--0.0.0.0"
    assert house.prefetch(hubs, docker_config=logged_in(tmp_path, house.hub.address))[0] == 0
    archive, other = tmp_path / "images.tar", tmp_path / "other"
    cache(house.edge, "export", "-o", archive, hubs)
    cache(other, "import", archive)
    users, key = tmp_path / "users", tmp_path / "key"
    users.write_text((house.config.parent / "hub/htpasswd").read_text())
    key.write_text("builder")
    away = "http://127.0.0.1:1"
    tables = f'[[upstream]]\nname = "default"\nurl = "{away}"\n'
    tables += '[[upstream]]\nname = "hub"\nurl = "http://127.0.0.1:2"\nprefix = "hub"\n[upstream.credentials]\n'
    tables += f'kind = "file"\nusername = "bob"\nfile = "{key}"\n[upstream.auth.clients]\nhtpasswd = "{users}"\n'
    with (
        Proxy.start(tmp_path, away, "--edge", str(other), config=tables) as proxy,
        RegistryClient(proxy.url) as client,
    ):
        headers = {"Authorization": basic(*LOGIN)}
        answer = client.request("GET", target, headers=headers)
        assert answer.status == 200, answer.body
        assert client.request("GET", target).status == 401
        blob = f"library/model/blobs/{allotment(house.hubs, 0)}"
        assert client.request("GET", f"/v2/hub/{blob}", headers=headers).status == 200
        assert client.request("GET", f"/v2/{blob}", headers=headers).status == 503
        assert client.request("GET", target.replace("/hub", ""), headers=headers).status == 503
