"""A pod of the chart as processes of this machine: what a kubelet would do, with paths below a directory."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.helm import Manifest, find
from tests.lab.programs import environment as peer_environment
from tests.lab.programs import program

Secrets = Mapping[str, Mapping[str, str]]
"""Content by key, by the Secret's name."""

_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


@dataclass(frozen=True, slots=True)
class Process:
    """How one container runs."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    """All of it: nothing is inherited but the search path."""
    ports: dict[str, int]


def container(rendered: Sequence[Manifest], pod: Manifest, name: str, secrets: Secrets, directory: Path) -> Process:
    """Lay out what a container of this pod (a Pod, or what makes some) mounts, and return how it runs.

    Mount paths become paths below the directory, in the arguments and in the files as well.
    """
    spec = pod["spec"]["template"]["spec"] if "template" in pod["spec"] else pod["spec"]
    (found,) = (one for one in spec["containers"] if one["name"] == name)
    volumes = {one["name"]: _content(rendered, one, secrets) for one in spec["volumes"]}
    volumes |= {one["metadata"]["name"]: {} for one in pod["spec"].get("volumeClaimTemplates", [])}
    mounts = found["volumeMounts"]
    places = {mount["mountPath"]: f"{directory}{mount['mountPath']}" for mount in mounts}
    for mount in mounts:
        _mount(volumes[mount["name"]], mount, places)
    variables: dict[str, str] = {}
    for one in found.get("env", []):
        variables[one["name"]] = _value(one, secrets, variables)
    argv = [_moved(_expanded(part, variables), places) for part in (*found["command"], *found.get("args", []))]
    ports = {one["name"]: one["containerPort"] for one in found.get("ports", [])}
    return Process((_installed(argv[0]), *argv[1:]), {"PATH": peer_environment()["PATH"], **variables}, ports)


def _content(rendered: Sequence[Manifest], volume: Mapping[str, Any], secrets: Secrets) -> dict[str, str]:
    """Return the files of a volume."""
    if "configMap" in volume:
        content: dict[str, str] = find(rendered, "ConfigMap", volume["configMap"]["name"])["data"]
        return content
    if "secret" in volume:
        available = secrets[volume["secret"]["secretName"]]
        items = volume["secret"].get("items") or [{"key": key, "path": key} for key in available]
        return {item["path"]: available[item["key"]] for item in items}
    assert {"emptyDir", "hostPath", "ephemeral", "persistentVolumeClaim"} & volume.keys()
    return {}


def _mount(files: Mapping[str, str], mount: Mapping[str, Any], places: Mapping[str, str]) -> None:
    place = Path(places[mount["mountPath"]])
    if "subPath" in mount:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(_moved(files[mount["subPath"]], places))
        return
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(_moved(text, places))


def _value(variable: Mapping[str, Any], secrets: Secrets, earlier: Mapping[str, str]) -> str:
    if "valueFrom" in variable:
        wanted = variable["valueFrom"]["secretKeyRef"]
        return secrets[wanted["name"]][wanted["key"]]
    return _expanded(variable["value"], earlier)


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), text)


def _moved(text: str, places: Mapping[str, str]) -> str:
    paths = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
    return re.sub(rf"(?<![\w/.-])(?:{paths})(?=/|\b)", lambda match: places[match[0]], text)


def _installed(name: str) -> str:
    """Return the program that this machine has in place of the image's."""
    if name == "python3":
        return sys.executable
    own = Path(sys.executable).with_name(name)
    return str(own) if own.exists() else program(name)
