from typing import Any

import pytest

from twodfs.errors import FormatError
from twodfs.oci.image_settings import NO_SETTINGS, ImageSettings

BASE = {
    "architecture": "amd64",
    "config": {
        "Env": ["PATH=/bin", "LANG=C", "FLAG"],
        "Entrypoint": ["/entry"],
        "Cmd": ["--help"],
        "Labels": {"kept": "1", "replaced": "2"},
        "WorkingDir": "/srv",
    },
    "rootfs": {"type": "layers", "diff_ids": []},
}


def run(base: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    found: dict[str, Any] = ImageSettings(**settings).configured(BASE if base is None else base)["config"]
    return found


def test_without_settings_a_config_stays() -> None:
    configs: list[dict[str, Any]] = [BASE, {"rootfs": {}}, {"config": None}]
    for config in configs:
        assert list(NO_SETTINGS.configured(config).items()) == list(config.items())
    assert NO_SETTINGS.annotated({"layers": []}) == {"layers": []}


def test_variables_and_labels_come_beside_the_bases() -> None:
    found = run(env={"LANG": "de", "NEW": "a=b", "FLAG": ""}, labels={"replaced": "3", "new": "4"})
    assert found["Env"] == ["PATH=/bin", "LANG=de", "FLAG=", "NEW=a=b"]
    assert found["Labels"] == {"kept": "1", "replaced": "3", "new": "4"}
    assert (found["Entrypoint"], found["Cmd"], found["WorkingDir"]) == (["/entry"], ["--help"], "/srv")


def test_an_entrypoint_takes_the_bases_arguments_away() -> None:
    assert "Cmd" not in run(entrypoint=["/serve"])
    assert run(entrypoint=["/serve"], cmd=["x"])["Cmd"] == ["x"]
    only = run(cmd=["x"])
    assert (only["Entrypoint"], only["Cmd"]) == (["/entry"], ["x"])
    assert not {"Entrypoint", "Cmd"} & set(run(entrypoint=[], cmd=[]))


def test_a_base_without_settings_gets_some() -> None:
    for base in ({}, {"config": None}, {"config": {"Env": None, "Labels": None}}):
        found = run(base, env={"A": "1"}, labels={"b": "2"}, user="10", workdir="/w")
        assert found == {"Env": ["A=1"], "Labels": {"b": "2"}, "User": "10", "WorkingDir": "/w"}


def test_annotations_come_beside_those_that_are_there() -> None:
    settings = ImageSettings(annotations={"b": "2"})
    assert settings.annotated({"annotations": {"a": "1", "b": "0"}})["annotations"] == {"a": "1", "b": "2"}
    assert settings.annotated({})["annotations"] == {"b": "2"}


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ({"config": []}, "expected an object, found list in 'config'"),
        ({"config": {"Env": "A"}}, "expected an array, found str in 'config.Env'"),
        ({"config": {"Env": [1]}}, "expected a string, found int in 'config.Env'"),
        ({"config": {"Labels": []}}, "expected an object, found list in 'config.Labels'"),
    ],
)
def test_a_malformed_base_is_said_with_its_place(base: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FormatError) as failed:
        run(base, env={"A": "1"}, labels={"b": "2"})
    assert str(failed.value) == sentence
