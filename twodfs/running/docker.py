"""Text for Docker: commands, a Compose file, a Containerfile (podman and buildah read the last two as well). Pure."""

from __future__ import annotations

import json
import re
import shlex
from typing import Final

from twodfs.oci.documents import Json
from twodfs.running.subject import RunSubject, yaml_text

_NO_PROGRAM: Final = "/none"
"""A command for a container that is never started: ``docker create`` insists on one."""

_PLAIN: Final = re.compile(r"[\w./+:@-]+")
_MEANINGFUL: Final = re.compile(r"[\\$'\"]")
"""Characters that a word of a Containerfile has with a backslash before them."""


def docker_commands(subject: RunSubject) -> str:
    """Return commands that run the image, or copy its files out of it."""
    reference = shlex.quote(str(subject.reference))
    platform = f" --platform {subject.platform}" if subject.platform else ""
    labels = "".join(f" --label {shlex.quote(f'{key}={value}')}" for key, value in subject.annotations.items())
    if subject.is_program:
        return f"docker run --rm{platform}{labels} {reference}\n"
    lines = [
        "# It has files and no program: they are copied out of it, and nothing runs.",
        f"docker pull{platform} {reference}",
        f"docker create{platform}{labels} --name {subject.name} {reference} {_NO_PROGRAM}",
        *(f"docker cp {subject.name}:{shlex.quote(place)} ." for place in subject.places.all),
        f"docker rm {subject.name}",
    ]
    return "".join(f"{line}\n" for line in lines)


def compose_file(subject: RunSubject) -> str:
    """Return a Compose file whose service is the image, or has its files mounted.

    Raises:
        BuildError: as ``RunSubject.mounted``.
    """
    platform = {"platform": str(subject.platform)} if subject.platform else {}
    labels = {"labels": {key: _in_compose(one) for key, one in subject.annotations.items()}}
    more = {**platform, **(labels if subject.annotations else {})}
    if subject.is_program:
        return yaml_text({"services": {subject.name: {"image": str(subject.reference), **more}}})
    volumes = [_image_mount(subject, place, directory) for place, directory in subject.mounted().items()]
    serve = {"image": _in_compose(subject.server), **more, "volumes": volumes}
    return yaml_text(
        {"services": {"serve": serve}},
        "Volumes of the type image: Docker 28, Compose 2.35.",
    )


def _image_mount(subject: RunSubject, place: str, directory: str) -> Json:
    part = {"image": {"subpath": _in_compose(directory)}} if directory else {}
    return {"type": "image", "source": str(subject.reference), "target": _in_compose(place), **part}


def containerfile(subject: RunSubject) -> str:
    """Return a Containerfile that begins with the image, or takes its files into another one."""
    platform = f"--platform={subject.platform} " if subject.platform else ""
    labels = [f"LABEL {_in_containerfile(key)}={_in_containerfile(one)}" for key, one in subject.annotations.items()]
    if subject.is_program:
        lines = [f"FROM {platform}{subject.reference}", *labels]
    else:
        copies = [f"COPY --from={subject.reference} {_copied(place)}" for place in subject.places.all]
        lines = [f"FROM {platform}{subject.server}", *copies, *labels]
    return "".join(f"{line}\n" for line in lines)


def _copied(place: str) -> str:
    """Return source and target of a COPY, in the form for names with blanks where they are no plain words."""
    if _PLAIN.fullmatch(place):
        return f"{place} {place}"
    return json.dumps([_MEANINGFUL.sub(r"\\\g<0>", place)] * 2, ensure_ascii=False)


def _in_containerfile(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("$", "\\$")


def _in_compose(text: str) -> str:
    return text.replace("$", "$$")
