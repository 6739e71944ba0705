"""What a stock registry answers, and how long it takes."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.documents import DOCKER, OCI
from tests.lab.images import PushedImage
from tests.lab.registry_client import RegistryClient

ACCEPT = f"{OCI.index}, {OCI.manifest}, {DOCKER.index}, {DOCKER.manifest}"
UNKNOWN = "sha256:" + "0" * 64
_ROUNDS = 40


@dataclass(frozen=True, slots=True)
class Recording:
    """Whole answers by method and target, and samples of seconds by kind of answer."""

    answers: dict[str, bytes]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        encoded = {key: base64.b64encode(answer).decode() for key, answer in self.answers.items()}
        file.write_text(json.dumps({"answers": encoded, "seconds": self.seconds}))

    @classmethod
    def load(cls, file: Path) -> Recording:
        content: dict[str, Any] = json.loads(file.read_text())
        answers = {key: base64.b64decode(answer) for key, answer in content["answers"].items()}
        return cls(answers, content["seconds"])

    def medians_ms(self) -> dict[str, float]:
        return {kind: round(1000 * sorted(samples)[len(samples) // 2], 2) for kind, samples in self.seconds.items()}


def kind_of(method: str, target: str, *, is_known: bool) -> str:
    """Return the class whose times are alike: method, what is asked for, and whether it is there."""
    what = "manifest" if "/manifests/" in target else "blob" if "/blobs/" in target else "ping"
    return f"{method} {what}" if is_known else f"{method} {what} unknown"


def record(url: str, image: PushedImage) -> tuple[Recording, int]:
    """Ask the registry for everything of `image`, some times over; returns how many requests that took."""
    recording = Recording({})
    asked = 0
    with RegistryClient(url) as client:
        for _ in range(_ROUNDS):
            for method, target in _questions(image):
                started = time.perf_counter()
                answer = client.request(method, target, headers={"Accept": ACCEPT})
                spent = time.perf_counter() - started
                asked += 1
                kind = kind_of(method, target, is_known=answer.status == 200)
                recording.seconds.setdefault(kind, []).append(spent)
                recording.answers[f"{method} {target}"] = _written(answer.status, answer.headers, answer.body)
    return recording, asked


def _questions(image: PushedImage) -> Iterator[tuple[str, str]]:
    root = f"/v2/{image.repository}"
    manifests = [image.tag, UNKNOWN, *(one.digest for one in image.manifests)]
    blobs = [UNKNOWN, *(one.digest for one in image.blobs)]
    for method in ("HEAD", "GET"):
        yield method, "/v2/"
        yield from ((method, f"{root}/manifests/{one}") for one in manifests)
        yield from ((method, f"{root}/blobs/{one}") for one in blobs)


def _written(status: int, headers: Any, body: bytes) -> bytes:
    kept = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name != "connection")
    return f"HTTP/1.1 {status} Recorded\r\n{kept}\r\n".encode() + body
