from pathlib import Path

import pytest

from tests.lab.images import PushedImage, push_field_image
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient, RegistryError


def _missing_allotments(registry: Registry, pushed: PushedImage) -> int:
    with RegistryClient(registry.url) as client:
        paths = [f"/v2/{pushed.repository}/blobs/{one.blob.digest}" for one in pushed.allotments.values()]
        return sum(client.request("HEAD", path).status == 404 for path in paths)


def test_blobs_survive_a_restart_on_the_same_port(tmp_path: Path) -> None:
    with Registry.start(tmp_path) as registry:
        pushed = push_field_image(registry.url, "lab/restart", "v1", cells={(0, 0): {"a": b"1"}})
        registry.restart()
        with RegistryClient(registry.url) as client:
            answer = client.get_manifest("lab/restart", "v1")
        assert (answer.status, answer.body) == (200, pushed.top.content)


def test_garbage_collection_takes_allotments_without_an_anchor(tmp_path: Path) -> None:
    cells = {(row, column): {"a": b"%d%d" % (row, column)} for row in range(3) for column in range(3)}
    with Registry.start(tmp_path) as registry:
        bare = push_field_image(registry.url, "lab/bare", "v1", cells=cells)
        registry.collect_garbage()
        assert _missing_allotments(registry, bare) == 9
        anchored = push_field_image(registry.url, "lab/anchored", "v1", cells=cells, anchor=True)
        registry.collect_garbage()
        assert _missing_allotments(registry, anchored) == 0


def test_htpasswd_turns_away_strangers(tmp_path: Path) -> None:
    with Registry.start(tmp_path, htpasswd={"ada": "lovelace"}) as registry:
        for credentials, status in ((None, 401), (("ada", "wrong"), 401), (("ada", "lovelace"), 200)):
            with RegistryClient(registry.url, credentials) as client:
                assert client.request("GET", "/v2/").status == status
        with pytest.raises(RegistryError, match="401"):
            push_field_image(registry.url, "lab/closed", "v1", cells={(0, 0): {"a": b"1"}})


def test_extra_config_is_merged_into_the_configuration(tmp_path: Path) -> None:
    extra = {"http": {"headers": {"X-Lab": ["yes"]}}}
    with (
        Registry.start(tmp_path, extra_config=extra) as registry,
        RegistryClient(registry.url) as client,
    ):
        assert client.request("GET", "/v2/").headers["x-lab"] == "yes"


def test_a_registry_without_delete_refuses_it(tmp_path: Path) -> None:
    with Registry.start(tmp_path, delete=False) as registry, RegistryClient(registry.url) as client:
        pushed = push_field_image(registry.url, "lab/kept", "v1", cells={(0, 0): {"a": b"1"}})
        target = f"/v2/lab/kept/manifests/{pushed.digest}"
        assert client.request("DELETE", target).status == 405


def test_requests_are_what_the_access_log_says(tmp_path: Path) -> None:
    with Registry.start(tmp_path) as registry, RegistryClient(registry.url) as client:
        client.request("GET", "/v2/?n=1")
        client.request("HEAD", "/v2/lab/absent/manifests/v1")
        seen = [(one.method, one.target, one.status) for one in registry.requests()]
    assert seen == [("GET", "/v2/?n=1", 200), ("HEAD", "/v2/lab/absent/manifests/v1", 404)]
