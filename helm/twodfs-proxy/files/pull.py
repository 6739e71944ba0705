"""Pull the documents of a partition through the proxy and check every digest: what `helm test` runs.

Usage: pull.py URL [REPOSITORY:TAG]. Without a reference it asks whether the registry's API answers. Name and
password come from REGISTRY_USERNAME and REGISTRY_PASSWORD. Needs nothing but Python.
"""

import base64
import hashlib
import json
import os
import re
import ssl
import sys
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

_SECONDS: Final = 30
_OWN_CERTIFICATE: Final = Path("/tls/tls.crt")
_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if _OWN_CERTIFICATE.exists():
        # The pod was handed the very certificate of the proxy: that is who has to answer, by whatever name.
        context.load_verify_locations(_OWN_CERTIFICATE)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
    return context


class Registry:
    """The registry's API behind one origin."""

    def __init__(self, origin: str, username: str, password: str) -> None:
        self._origin = origin
        self._tls = _tls()
        self._basic = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
        self._authorization = self._basic if username else ""

    def get(self, path: str) -> tuple[str, bytes]:
        """Return the digest that the answer claims, and its body; a challenge is met once."""
        try:
            return self._get(path)
        except HTTPError as error:
            challenge = error.headers.get("WWW-Authenticate", "")
            if error.code != 401 or not challenge.lower().startswith("bearer "):  # noqa: PLR2004 - RFC 9110
                sys.exit(f"GET {path}: {error.code} {error.read(4096).decode(errors='replace')}")
            self._authorization = f"Bearer {self._token(challenge)}"
        return self._get(path)

    def _get(self, path: str) -> tuple[str, bytes]:
        headers = {"Accept": ", ".join((*_INDEXES, *_MANIFESTS, "*/*"))}
        if self._authorization:
            headers["Authorization"] = self._authorization
        with urlopen(  # noqa: S310 - the origin is the chart's own
            Request(f"{self._origin}{path}", headers=headers),  # noqa: S310
            timeout=_SECONDS,
            context=self._tls,
        ) as answer:
            return answer.headers.get("Docker-Content-Digest", ""), answer.read()

    def _token(self, challenge: str) -> str:
        said = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        query = urlencode({name: said[name] for name in ("service", "scope") if name in said})
        headers = {"Authorization": self._basic} if self._authorization else {}
        request = Request(f"{said['realm']}?{query}", headers=headers)  # noqa: S310 - the registry's own
        with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            granted = json.load(answer)
        return str(granted.get("token") or granted["access_token"])


def _checked(registry: Registry, path: str, digest: str = "") -> tuple[str, Any]:
    claimed, body = registry.get(path)
    found = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if found != (digest or claimed):
        sys.exit(f"GET {path}: the digest is {found}, and should be {digest or claimed}")
    return found, json.loads(body)


def _pull(registry: Registry, reference: str) -> str:
    """Return what was pulled, in words."""
    repository, _, tag = reference.rpartition(":")
    if not repository:
        sys.exit(f"{reference} is not REPOSITORY:TAG")
    top, document = _checked(registry, f"/v2/{repository}/manifests/{tag}")
    images = [document]
    if document.get("mediaType") in _INDEXES:
        digests = [entry["digest"] for entry in document["manifests"]]
        images = [_checked(registry, f"/v2/{repository}/manifests/{one}", one)[1] for one in digests]
    for image in images:
        _checked(registry, f"/v2/{repository}/blobs/{image['config']['digest']}", image["config"]["digest"])
    layers = [len(image["layers"]) for image in images]
    return f"pulled {reference}: {top}, {len(images)} images with {layers} layers"


def main() -> None:
    """Run the test; any mistake ends it with a status other than 0."""
    origin, *references = sys.argv[1:]
    username = os.environ.get("REGISTRY_USERNAME", "")
    registry = Registry(origin, username, os.environ.get("REGISTRY_PASSWORD", ""))
    if not references:
        registry.get("/v2/")
        print("the registry's API answers; tests.reference names a partition to pull")  # noqa: T201
    for reference in references:
        print(_pull(registry, reference))  # noqa: T201


if __name__ == "__main__":
    main()
