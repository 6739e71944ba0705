"""One image, asked for as partitions need it: HEAD, digests, lengths, redirects and ranges."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from aiohttp import hdrs
from yarl import URL

from proxy.doctor.client import (
    ProbeAnswer,
    RegistryAccess,
    RegistryProbe,
    anonymous,
    authenticate,
    authority,
    http_address,
)
from proxy.doctor.finding import Finding, Level, ok, problem, skipped, warning
from proxy.upstream.replies import UpstreamError
from twodfs.errors import AuthError, DigestError, FormatError
from twodfs.oci.digest import digest_of, parse_digest, verify
from twodfs.oci.documents import ACCEPT_IMAGES, MAX_MANIFEST_BYTES, Descriptor, Index, Manifest, parse_manifest

_DIGEST_HEADER: Final = "Docker-Content-Digest"
_ACCEPT: Final[dict[str, str]] = {hdrs.ACCEPT: ACCEPT_IMAGES}
_ONE_BYTE: Final[dict[str, str]] = {hdrs.RANGE: "bytes=0-0"}
_FIRST_BYTE: Final = re.compile(r"bytes 0-0/(?:[0-9]+|\*)")
_MOST_SHOWN: Final = 140
"""Characters of a header that are shown."""
_REDIRECTS: Final = range(300, 400)


@dataclass(frozen=True, slots=True)
class ImageProbe:
    """The image to look at, and the token servers that may see credentials."""

    repository: str
    tag: str
    realm_hosts: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.repository}:{self.tag}"


async def check_image(registry: RegistryProbe, probe: ImageProbe) -> AsyncIterator[Finding]:
    """Yield findings on the registry's answers to the requests of a pull of ``probe``."""
    try:
        access, entry = await _enter(registry, probe)
    except (AuthError, UpstreamError) as error:
        yield problem(
            "auth",
            str(error),
            "log in with 'twodfs login' or 'docker login' as the user that runs this, or name an image that "
            "everyone may pull",
        )
        return
    yield entry
    try:
        async for finding in _manifests(registry, probe, access):
            yield finding
    except UpstreamError as error:
        yield problem("image", str(error), "look at the registry's own log for what happened")


async def _enter(registry: RegistryProbe, probe: ImageProbe) -> tuple[RegistryAccess, Finding]:
    """Find credentials with which the image can be read."""
    reply = await registry.ask("GET", _manifest_path(probe.repository, probe.tag), anonymous(), more=_ACCEPT)
    if reply.status != HTTPStatus.UNAUTHORIZED:
        return RegistryAccess(anonymous(), "anonymously"), ok(
            "access", f"{probe.name} is asked for without credentials"
        )
    access = await authenticate(registry, reply.challenges, probe.repository, probe.realm_hosts)
    return access, ok("access", f"{probe.name} is asked for {access.who}")


async def _manifests(registry: RegistryProbe, probe: ImageProbe, access: RegistryAccess) -> AsyncIterator[Finding]:
    path = _manifest_path(probe.repository, probe.tag)
    got = await registry.ask("GET", path, access.identity, limit=MAX_MANIFEST_BYTES, more=_ACCEPT)
    if got.status != HTTPStatus.OK:
        yield problem(
            "image",
            f"the registry answers {got.status} for {probe.name}, asked {access.who}",
            "check the names, and that this user may pull it"
            if got.status != HTTPStatus.UNAUTHORIZED
            else "log in with 'twodfs login' or 'docker login' as the user that runs this",
        )
        return
    yield _manifest_digest(got)
    yield _manifest_head(await registry.ask("HEAD", path, access.identity, more=_ACCEPT), got)
    try:
        manifest = await _image_manifest(registry, probe, access, got)
    except FormatError as error:
        yield problem("image", f"the manifest of {probe.name} is malformed: {error}", "push the image again")
        return
    if manifest is None:
        yield skipped("blobs", f"{probe.name} has no image in it whose blobs could be looked at")
        return
    yield _field(probe, manifest)
    blob = max((*manifest.layers, manifest.config), key=lambda one: one.size)
    async for finding in _blobs(registry, probe, access, blob):
        yield finding


def _manifest_digest(got: ProbeAnswer) -> Finding:
    claimed = got.headers.get(_DIGEST_HEADER)
    if claimed is None:
        return warning(
            "digest",
            f"the registry does not tell a manifest's digest ({_DIGEST_HEADER})",
            "the proxy hashes manifests itself, which takes a GET for each look-up of a tag",
        )
    if not _is_of(claimed, got.body):
        return problem(
            "digest",
            f"the registry calls a manifest {claimed[:_MOST_SHOWN]} that hashes to {digest_of(got.body)}",
            "something between here and the registry changes content (recoding, templating): take it out",
        )
    return ok("digest", "a manifest's digest is told, and true")


def _is_of(claimed: str, body: bytes) -> bool:
    try:
        verify(body, parse_digest(claimed))
    except DigestError:
        return False
    return True


def _manifest_head(head: ProbeAnswer, got: ProbeAnswer) -> Finding:
    if head.status != HTTPStatus.OK:
        return warning(
            "head",
            f"HEAD of a manifest answers {head.status} where GET answers {got.status}",
            "the proxy falls back to GET for each look-up of a tag; let fronts pass HEAD",
        )
    lacking = [
        name
        for name, value in (
            (_DIGEST_HEADER, head.headers.get(_DIGEST_HEADER)),
            ("Content-Length", _length(head)),
        )
        if value is None
    ]
    if lacking:
        return warning(
            "head",
            f"HEAD of a manifest lacks {' and '.join(lacking)}",
            "the proxy falls back to GET, which costs each look-up of a tag more; let these headers through",
        )
    told = head.headers[_DIGEST_HEADER]
    if not _is_of(told, got.body):
        return problem(
            "head",
            f"HEAD calls a manifest {told[:_MOST_SHOWN]}, GET gives one that hashes to {digest_of(got.body)}",
            "ask again, should the tag have been pushed to just now; else something before the registry "
            "answers HEAD from an old copy: take it out",
        )
    return ok("head", f"HEAD of a manifest tells digest and length ({head.seconds * 1000:.0f} ms)")


async def _image_manifest(
    registry: RegistryProbe, probe: ImageProbe, access: RegistryAccess, got: ProbeAnswer
) -> Manifest | None:
    """Return the first image of the tag."""
    parsed = parse_manifest(got.body, _media_type(got))
    if isinstance(parsed, Index):
        entry = next((entry for _, entry in parsed.image_entries()), None)
        if entry is None:
            return None
        path = _manifest_path(probe.repository, entry.digest)
        child = await registry.ask("GET", path, access.identity, limit=MAX_MANIFEST_BYTES, more=_ACCEPT)
        if child.status != HTTPStatus.OK:
            raise UpstreamError(f"{probe.name} is incomplete: the registry answers {child.status} for {entry.digest}")
        parsed = parse_manifest(child.body, _media_type(child))
    return parsed if isinstance(parsed, Manifest) else None


def _field(probe: ImageProbe, manifest: Manifest) -> Finding:
    if manifest.field_positions():
        return ok("field", f"{probe.name} is a 2DFS image: {probe.name}--ROW.COL.ROW.COL is a partition of it")
    return ok("field", f"{probe.name} has no field: it passes through, and has no partitions")


async def _blobs(
    registry: RegistryProbe, probe: ImageProbe, access: RegistryAccess, blob: Descriptor
) -> AsyncIterator[Finding]:
    path = f"/v2/{probe.repository}/blobs/{blob.digest}"
    yield _blob_head(await registry.ask("HEAD", path, access.identity), blob)
    reply = await registry.ask("GET", path, access.identity, more=_ONE_BYTE)
    location = reply.headers.get(hdrs.LOCATION)
    if reply.status in _REDIRECTS and location is not None:
        redirect = _redirect(registry.origin, location)
        yield redirect
        if redirect.level is Level.PROBLEM:
            return
        try:
            first = await registry.upstream.first_byte(path, access.identity)
        except UpstreamError as error:
            yield problem("range", str(error), "let the proxy reach what the registry redirects to")
            return
        yield _range(first.status, first.headers.get(hdrs.CONTENT_RANGE))
        return
    yield ok("redirect", "the registry serves blobs itself")
    yield _range(reply.status, reply.headers.get(hdrs.CONTENT_RANGE))


def _blob_head(head: ProbeAnswer, blob: Descriptor) -> Finding:
    if head.status in _REDIRECTS:
        return ok("blob-head", "HEAD of a blob is redirected as GET is")
    length = _length(head)
    if head.status != HTTPStatus.OK or length is None:
        seen = f"answers {head.status}" if head.status != HTTPStatus.OK else "lacks Content-Length"
        return warning(
            "blob-head",
            f"HEAD of a blob {seen}",
            "sizes that a field does not record are asked by a one-byte GET instead; rebuild images of the "
            "original builder with 'twodfs build', which records sizes",
        )
    if length != str(blob.size):
        return problem(
            "blob-head",
            f"HEAD says that a blob has {length} bytes, its manifest says {blob.size}",
            "something between here and the registry changes content (compression): take it out",
        )
    return ok("blob-head", f"HEAD of a blob tells its length ({head.seconds * 1000:.0f} ms)")


def _redirect(origin: str, location: str) -> Finding:
    at, target = urlsplit(origin), _target(origin, location)
    if target is None:
        return problem(
            "redirect",
            "blobs are redirected to what is no http(s) address",
            "correct the address of the object storage in the registry's configuration",
        )
    if at.scheme == "https" and target.scheme != "https":
        return problem(
            "redirect",
            f"blobs are redirected from https to {target.scheme}://{authority(target)}",
            "have the object storage speak TLS: clients and the proxy refuse to leave it",
        )
    if URL(target.geturl(), encoded=True).origin() == URL(origin).origin():
        return warning(
            "redirect",
            "blobs are redirected within the registry",
            "Location comes back pointing at this proxy; check that the path is one that clients may ask for",
        )
    return ok(
        "redirect",
        f"blobs come from {authority(target)}: clients must reach that themselves",
    )


def _target(origin: str, location: str) -> SplitResult | None:
    try:
        return http_address(urljoin(origin, location))
    except ValueError:
        return None


def _range(status: int, content_range: str | None) -> Finding:
    if status == HTTPStatus.PARTIAL_CONTENT and content_range and _FIRST_BYTE.fullmatch(content_range):
        return ok("range", "blobs can be read in part (206): broken downloads go on where they ended")
    if status == HTTPStatus.OK:
        return warning(
            "range",
            "Range is ignored: the whole blob comes",
            "let Range pass to the registry or its storage; a download that breaks off starts anew otherwise",
        )
    if status == HTTPStatus.PARTIAL_CONTENT and content_range:
        return problem(
            "range",
            f"a blob's first byte is asked for, and {content_range[:_MOST_SHOWN]} comes",
            "something between here and the blobs answers with another part: take it out; downloads that go "
            "on where they ended get wrong bytes",
        )
    if status == HTTPStatus.PARTIAL_CONTENT:
        return warning(
            "range",
            "206 comes without Content-Range",
            "let Content-Range pass: without it nobody knows what part it is",
        )
    return problem(
        "range",
        f"a blob's first byte is answered with {status}",
        "check that this user may pull, and the storage's log",
    )


def _length(reply: ProbeAnswer) -> str | None:
    return reply.headers.get(hdrs.CONTENT_LENGTH)


def _media_type(reply: ProbeAnswer) -> str:
    return reply.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip()


def _manifest_path(repository: str, reference: str) -> str:
    return f"/v2/{repository}/manifests/{reference}"
