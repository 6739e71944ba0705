"""Image references: ``[registry/]repository[:tag][@digest]`` (distribution-spec, Docker's short names)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from twodfs.errors import DigestError, InvalidReferenceError
from twodfs.oci.digest import Digest, parse_digest

# distribution-spec, "Pulling manifests": the grammars of <name> and <reference> as a tag.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
MAX_REPOSITORY_LENGTH = 255

_REGISTRY = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::[0-9]{1,5})?")
DOCKER_HUB = "docker.io"
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an image lives. ``tag`` and ``digest`` may both be given; the digest then decides."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return the reference that ``text`` writes; Docker's short names mean Docker Hub.

        A name without tag and digest gets the tag ``latest``. The tag may be a partition tag in the paper's
        ``+`` form.

        Raises:
            InvalidReferenceError: some part breaks the grammar; the message names the part.
        """
        rest, at, digest_text = text.partition("@")
        try:
            digest = parse_digest(digest_text) if at else None
        except DigestError as error:
            raise InvalidReferenceError(f"reference {text!r}: {error}") from None
        registry, repository = _split_registry(rest)
        repository, colon, tag_text = repository.partition(":")
        tag = tag_text if colon else (None if digest else "latest")
        if tag is not None and not TAG.fullmatch(tag.replace("+", ".")):
            raise InvalidReferenceError(
                f"reference {text!r}: {tag!r} is no tag; "
                f"expected up to 128 of A-Z a-z 0-9 _ . - that do not begin with . or -"
            )
        if registry == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        if len(repository) > MAX_REPOSITORY_LENGTH or not REPOSITORY.fullmatch(repository):
            raise InvalidReferenceError(
                f"reference {text!r}: {repository!r} is no repository; "
                f"expected lower-case letters, digits and single separators . _ - between slashes"
            )
        return cls(registry, repository, tag, digest)

    @property
    def name(self) -> str:
        """The part that goes into ``/manifests/<name>``: the digest, else the tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def _split_registry(text: str) -> tuple[str, str]:
    """Split off the registry: the first component, when it has a dot, a colon, or is localhost."""
    first, slash, rest = text.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    if not is_host:
        return DOCKER_HUB, text
    if not _REGISTRY.fullmatch(first):
        raise InvalidReferenceError(f"reference {text!r}: {first!r} is no registry; expected host or host:port")
    host, _, port = first.rpartition(":")
    if host and not port.endswith("]") and not 1 <= int(port) <= _MAX_PORT:
        raise InvalidReferenceError(f"reference {text!r}: the port {port} is outside 1..{_MAX_PORT}")
    return first, rest


def is_loopback(registry: str) -> bool:
    """Say whether ``registry`` (``host[:port]``) is this machine, where plain HTTP needs no flag."""
    host = registry.rsplit(":", 1)[0] if not registry.endswith("]") else registry
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
