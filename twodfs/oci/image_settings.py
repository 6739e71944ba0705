"""How an image is run, and what it says of itself: settings put over those of its base. Pure.

They are those of a Containerfile: a new entrypoint takes the base's ``Cmd`` away, which were its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twodfs.errors import FormatError
from twodfs.oci.documents import Json, expect, list_in


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Settings of an image; None and empty ones leave the base's.

    Attributes:
        labels: go into its config.
        annotations: go into its index and manifests.
        env: environment variables by name.
        entrypoint: the program and its first arguments.
        cmd: the arguments behind them.
        workdir: an absolute path.
        user: ``user`` or ``user:group``.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] | None = None
    cmd: Sequence[str] | None = None
    workdir: str | None = None
    user: str | None = None

    def configured(self, config: Mapping[str, Any]) -> Json:
        """Return the JSON of an image config with these settings; the same where there are none.

        Raises:
            FormatError: the config's own settings are malformed; with the path.
        """
        own = config.get("config")
        run = {} if own is None else expect(own, dict, "config")
        changes: Json = {}
        if self.labels:
            labels = run.get("Labels")
            changes["Labels"] = {**({} if labels is None else expect(labels, dict, "config.Labels")), **self.labels}
        if self.env:
            changes["Env"] = self._environment(run)
        if self.entrypoint is not None:
            changes |= {"Entrypoint": list(self.entrypoint) or None, "Cmd": None}
        if self.cmd is not None:
            changes["Cmd"] = list(self.cmd) or None
        if self.workdir is not None:
            changes["WorkingDir"] = self.workdir
        if self.user is not None:
            changes["User"] = self.user
        if not changes:
            return dict(config)
        merged = {name: value for name, value in {**run, **changes}.items() if value is not None or name not in changes}
        return {**config, "config": merged}

    def annotated(self, document: Mapping[str, Any]) -> Json:
        """Return the JSON of a manifest or index with these annotations; the same where there are none.

        Raises:
            FormatError: its own are malformed.
        """
        if not self.annotations:
            return dict(document)
        own = document.get("annotations")
        kept = {} if own is None else expect(own, dict, "annotations")
        return {**document, "annotations": {**kept, **self.annotations}}

    def _environment(self, run: Mapping[str, Any]) -> list[str]:
        kept = {}
        try:
            for one in list_in(run, "Env"):
                kept[expect(one, str, "Env").partition("=")[0]] = one
        except FormatError as error:
            raise error.inside("config") from None
        return [*(kept | {name: f"{name}={value}" for name, value in self.env.items()}).values()]


NO_SETTINGS: Final = ImageSettings()
"""They leave everything as the base has it."""
