"""The few requests of the distribution API that the lab makes, over plain HTTP."""

import base64
import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

from tests.lab.documents import DOCKER, OCI
from tests.lab.layers import Blob

_SECONDS = 30.0


class RegistryError(Exception):
    """A registry answered with a status that the lab did not expect."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class RegistryClient:
    """One connection to one registry, or to the proxy in front of it."""

    def __init__(self, url: str, credentials: tuple[str, str] | None = None) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_SECONDS)
        self._headers = {} if credentials is None else {"Authorization": basic(*credentials)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def request(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send one request; `target` is a path with its query. Any status is an answer."""
        self._connection.request(method, target, body, {**self._headers, **(headers or {})})
        response = self._connection.getresponse()
        content = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def push_blob(self, repository: str, blob: Blob) -> None:
        """Upload a blob unless the repository has it."""
        if self.request("HEAD", f"/v2/{repository}/blobs/{blob.digest}").status == http.client.OK:
            return
        opened = self._expect(http.client.ACCEPTED, "POST", f"/v2/{repository}/blobs/uploads/")
        place = urlsplit(opened.headers["location"])
        query = f"{place.query}&" if place.query else ""
        target = f"{place.path}?{query}{urlencode({'digest': blob.digest})}"
        headers = {"Content-Type": "application/octet-stream"}
        self._expect(http.client.CREATED, "PUT", target, headers=headers, body=blob.content)

    def push_manifest(self, repository: str, reference: str, manifest: Blob) -> None:
        target = f"/v2/{repository}/manifests/{reference}"
        headers = {"Content-Type": manifest.media_type}
        self._expect(http.client.CREATED, "PUT", target, headers=headers, body=manifest.content)

    def get_manifest(self, repository: str, reference: str) -> Answer:
        """Ask for a manifest of any kind: a registry answers 404 for an index nobody said they accept."""
        accept = f"{OCI.index}, {OCI.manifest}, {DOCKER.index}, {DOCKER.manifest}"
        return self.request("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": accept})

    def _expect(
        self,
        status: int,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        answer = self.request(method, target, headers=headers, body=body)
        if answer.status != status:
            raise RegistryError(f"{method} {target}: {answer.status} {answer.body.decode(errors='replace')}")
        return answer


def basic(user: str, password: str) -> str:
    """Return the value of an Authorization header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
