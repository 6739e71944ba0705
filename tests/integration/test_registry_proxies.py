"""`twodfs` and registries that only a forward proxy leads to."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.certificates import Authority
from tests.lab.forward_proxy import forward_proxy
from tests.lab.programs import program
from tests.lab.registry import Registry
from tests.lab.workshop import Workshop, write_model

HOST = "registry.example"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Path]]:
    """A stock registry over TLS whose certificate is for `HOST`, and the folder with whom to trust."""
    directory = tmp_path_factory.mktemp("guarded")
    authority = Authority(directory)
    pair = authority.issue("registry", HOST)
    (directory / "trusted").mkdir()
    (directory / "trusted" / "ca.crt").write_bytes(authority.bundle.read_bytes())
    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
    with Registry.start(directory, extra_config={"http": {"tls": tls}}) as registry:
        yield registry, directory / "trusted"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_a_registry_with_tls_is_pushed_to_and_read_through_a_tunnel(
    guarded: tuple[Registry, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, trusted = guarded
    port = int(registry.address.partition(":")[2])
    write_model(tmp_path / "model")
    workshop = Workshop(tmp_path / "model", tmp_path / "store", registry)
    target = f"{HOST}:{port}/made/tunnelled:v1"
    ca_file = ("--ca-file", str(trusted / "ca.crt"))
    with forward_proxy({HOST: port}, "ann:s3:cret") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://ann:s3%3Acret@{proxy.address}")
        pushed = workshop.made("build", "scratch", target, "--push", "--json", *ca_file).json
        assert pushed["pushed"]["uploadedBlobs"] > 3
        found = workshop.made("inspect", target, "--json", *ca_file, store=tmp_path / "empty").json
        assert found["digest"] == pushed["digest"]
        assert set(proxy.asked) == {f"CONNECT {HOST}:{port} HTTP/1.1"}
        # What a client written in Go makes of the same proxy.
        tunnels = len(proxy.asked)
        argv = (program("skopeo"), "inspect", "--cert-dir", str(trusted), f"docker://{target}", "--raw")
        subprocess.run(argv, check=True, capture_output=True, env=dict(os.environ), timeout=60)
        assert len(proxy.asked) > tunnels
        monkeypatch.setenv("NO_PROXY", f"{HOST}:1,{HOST}:{port}")
        alone = workshop.twodfs("inspect", target, *ca_file, store=tmp_path / "empty")
        assert (alone.status, "cannot connect" in alone.err) == (1, True)
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        refused = workshop.twodfs("inspect", target, *ca_file, store=tmp_path / "empty")
        assert f"the proxy refuses the way to {HOST}:{port}: 407" in refused.err


def test_a_registry_without_tls_is_pushed_to_through_a_proxy(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(registry.address.partition(":")[2])
    write_model(tmp_path / "model")
    workshop = Workshop(tmp_path / "model", tmp_path / "store", registry)
    target = f"{HOST}:{port}/made/forwarded:v1"
    with forward_proxy({HOST: port}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        pushed = workshop.made("build", "scratch", target, "--push", "--plain-http", "--json").json
        asked = len(proxy.asked)
        assert f"PUT http://{HOST}:{port}/v2/made/forwarded/manifests/v1 HTTP/1.1" in proxy.asked
        here = workshop.made("inspect", workshop.target("made/forwarded"), "--json", store=tmp_path / "empty")
        assert (here.json["digest"], len(proxy.asked)) == (pushed["digest"], asked)
