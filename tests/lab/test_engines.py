"""The oracle of every end-to-end test: engines unpack exactly the files that `images` says they will."""

from pathlib import Path
from typing import get_args

import pytest

from tests.lab import images
from tests.lab.engines import Containerd, DockerEngine, Engine, Podman, PullFailed, RunningEngine, podman
from tests.lab.images import Kind, push_image
from tests.lab.peers import require
from tests.lab.process import StartError
from tests.lab.registry import Registry

ALL = ["docker_engine", "containerd_engine", "podman_engine", "skopeo_engine"]
RUNNING = ["docker_engine", "containerd_engine", "podman_engine"]


@pytest.fixture(params=ALL)
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=RUNNING)
def running_engine(request: pytest.FixtureRequest) -> RunningEngine:
    found: RunningEngine = request.getfixturevalue(request.param)
    return found


def test_every_engine_unpacks_busybox_byte_for_byte(registry: Registry, engine: Engine) -> None:
    pushed = push_image(registry.url, "lab/busybox", "v1", base=[images.busybox_base(), {"etc/motd": b"hi\n"}])
    engine.pull(pushed.reference())
    files = engine.files(pushed.reference())
    assert files == pushed.files()
    assert sorted(files) == ["bin/busybox", "bin/sh", "etc/motd"]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_engine_unpacks_every_kind_of_image(registry: Registry, engine: Engine, kind: Kind) -> None:
    pushed = push_image(
        registry.url,
        f"lab/{kind}",
        "v1",
        kind=kind,
        base=[{"a": b"1"}, {"dir/b": b"2"}],
        base_compression="none",
    )
    engine.pull(pushed.reference())
    assert engine.files(pushed.reference()) == {"a": b"1", "dir/b": b"2"}


def test_every_engine_honours_whiteouts_and_replacements(registry: Registry, engine: Engine) -> None:
    base = [
        {"gone": b"1", "kept": b"1", "dir/gone": b"1", "opaque/gone": b"1", "file/becomes/dir": b"1"},
        {
            ".wh.gone": b"",
            "dir/.wh.gone": b"",
            "dir/new": b"2",
            "opaque/.wh..wh..opq": b"",
            "opaque/new": b"2",
        },
        {"kept": b"3"},
    ]
    pushed = push_image(registry.url, "lab/whiteouts", "v1", base=base)
    engine.pull(pushed.reference())
    assert engine.files(pushed.reference()) == pushed.files()
    assert pushed.files() == {"kept": b"3", "dir/new": b"2", "opaque/new": b"2", "file/becomes/dir": b"1"}


def test_every_engine_takes_the_platform_it_is_told(registry: Registry, engine: Engine) -> None:
    platforms = ("linux/amd64", "linux/arm64/v8")
    pushed = push_image(
        registry.url,
        "lab/platforms",
        "v1",
        platforms=platforms,
        platform_files={platform: {"platform": platform.encode()} for platform in platforms},
        attestations=True,
        anchor=True,
    )
    for platform in platforms:
        engine.pull(pushed.reference(), platform)
        assert engine.files(pushed.reference()) == pushed.files(platform=platform)
        engine.remove(pushed.reference())


def test_an_engine_pulls_by_digest(registry: Registry, engine: Engine) -> None:
    pushed = push_image(registry.url, "lab/digest", "v1")
    reference = f"{registry.address}/lab/digest@{pushed.digest}"
    engine.pull(reference)
    assert engine.files(reference) == pushed.files()


def test_a_failed_pull_carries_the_engines_own_words(registry: Registry, engine: Engine) -> None:
    with pytest.raises(PullFailed, match=rf"(?s){engine.name} could not pull .*\n.*(unknown|not found)"):
        engine.pull(f"{registry.address}/lab/absent:v1")


def test_engines_log_in(tmp_path: Path, engine: Engine) -> None:
    with Registry.start(tmp_path, htpasswd={"ada": "lovelace"}) as guarded:
        pushed = push_image(guarded.url, "lab/secret", "v1", credentials=("ada", "lovelace"))
        with pytest.raises(PullFailed):
            engine.pull(pushed.reference())
        engine.login(guarded.address, "ada", "lovelace")
        engine.pull(pushed.reference())
        assert engine.files(pushed.reference()) == pushed.files()


def test_a_container_prints_a_file(registry: Registry, running_engine: RunningEngine) -> None:
    pushed = push_image(registry.url, "lab/run", "v1", base=[images.busybox_base(), {"etc/motd": b"hello\n"}])
    running_engine.pull(pushed.reference())
    assert running_engine.run(pushed.reference(), "/bin/busybox", "cat", "/etc/motd") == "hello\n"
    assert running_engine.run(pushed.reference(), "/bin/sh", "-c", "echo $((40 + 2))") == "42\n"


def test_podman_works_without_overlays(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("podman", "runc")
    monkeypatch.setattr(podman, "holds_overlays", lambda _: False)
    pushed = push_image(registry.url, "lab/vfs", "v1")
    with Podman.start(tmp_path) as engine:
        engine.pull(pushed.reference())
        assert engine.files(pushed.reference()) == pushed.files()
        assert (tmp_path / "root" / "vfs").exists()


def test_an_engine_that_cannot_start_says_what_its_log_says(tmp_path: Path) -> None:
    require("dockerd", "docker")
    (tmp_path / "data").write_text("where dockerd wants a folder")
    with pytest.raises(StartError, match=r"(?s)dockerd .* ended before it was ready; .* points to a file"):
        DockerEngine.start(tmp_path)


def test_runtime_directories_are_gone_with_their_engines(tmp_path: Path) -> None:
    require("containerd", "ctr", "runc")
    with Containerd.start(tmp_path) as engine:
        runtime = engine.runtime
        assert (runtime / "containerd.sock").is_socket()
    assert not runtime.exists()
