"""A long conversation with a registry over the whole distribution API, recorded to be compared."""

import contextlib
import hashlib
import http.client
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from urllib.parse import unquote, urlsplit

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCTETS = "application/octet-stream"

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_BOUNDARY = re.compile(r"(?<=boundary=)[0-9a-f]{60}|(?<=--)[0-9a-f]{60}")
_STATE = re.compile(r"_state=[^&\s>\"]+")
# The whole list of headers that may differ, each with its reason.
_EXCUSED = {
    "date",  # the clock's, not the registry's
    "connection",  # ends at each hop (RFC 9110, 7.6.1)
    "transfer-encoding",  # framing is each hop's own business
}


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


# What breaks the grammar of the API is answered by the proxy, and never reaches the registry.
AGAINST_THE_GRAMMAR = (
    "/v2/A/manifests/v1",
    "/v2/a//manifests/v1",
    "/v2/a/manifests/",
    "/v2/a/manifests/.bad",
    "/v2/a/manifests/" + "t" * 129,
    "/v2/" + "a" * 256 + "/manifests/v1",
    "/v2/a/manifests/sha256:abc",
    "/v2/a/blobs/sha256:" + "F" * 64,
    "/v2/a%2Fb/manifests/v1",
    "/v2/a/manifests/v1%20x",
    "/v2/a/manifests/%C3%A9",
    "/v2/a/../b/manifests/v1",
    "/v2/a/%2e%2e/b/manifests/v1",
    "/v2/./",
    "//v2/",
    "/v2/a/manifests/v1;x=y",
    "/v2/a/manifests/a/b",
    "/v2/a/manifests/v1/",
    "/v2/a/manifests/~",
    "/v2/a/manifests/'()*!$&,=@",
    "/v2/a/manifests/[x]|{y}",
    "/v2/a/manifests/--0.0.0.0",
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what came back, with what is new in every run replaced by its name."""

    request: str
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: str


class Conversation:
    """Speaks to one registry and records everything."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.exchanges: list[Exchange] = []

    def say(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterator[bytes] | None = None,
    ) -> http.client.HTTPResponse:
        """Send a request exactly as written and record the answer."""
        if target.startswith("http"):
            parts = urlsplit(target)
            assert parts.netloc == self._address, f"{target} leaves {self._address}"
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        target = self._as_asked(target)
        with contextlib.closing(http.client.HTTPConnection(self._address, timeout=20)) as connection:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            chunked = body is not None and not isinstance(body, bytes)
            if isinstance(body, bytes):
                connection.putheader("Content-Length", str(len(body)))
            elif chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(body, encode_chunked=chunked)
            response = connection.getresponse()
            try:
                content = response.read()
            except http.client.IncompleteRead as short:  # the registry itself does this with some 416
                content = short.partial + b"(short)"
        self._record(method, target, headers or {}, response, content)
        return response

    def _record(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        response: http.client.HTTPResponse,
        content: bytes,
    ) -> None:
        kept = sorted((n.lower(), v) for n, v in response.getheaders() if n.lower() not in _EXCUSED)
        self.exchanges.append(
            Exchange(
                request=self._anonymous(f"{method} {target} {dict(headers)}"),
                status=response.status,
                reason=response.reason,
                headers=tuple((name, self._anonymous(value)) for name, value in kept),
                body=self._anonymous(content.decode("latin-1")),
            )
        )

    def _anonymous(self, text: str) -> str:
        for pattern, name in ((_UUID, "UUID"), (_STATE, "_state=STATE"), (_BOUNDARY, "BOUNDARY")):
            text = pattern.sub(name, text)
        return text.replace(self._address, "REGISTRY")

    def _as_asked(self, target: str) -> str:
        """Return a registry's own target as it is asked for here."""
        return target

    def upload(self, repository: str, content: bytes) -> str:
        """Upload a blob in one piece and return its digest."""
        started = self.say("POST", f"/v2/{repository}/blobs/uploads/")
        digest = digest_of(content)
        location = f"{started.headers['Location']}&digest={digest}"
        self.say("PUT", location, {"Content-Type": OCTETS}, content)
        return digest


def is_explained(direct: Exchange, proxied: Exchange) -> bool:
    """Say whether an image's reader hears why a tag is no partition, with the registry's status and code."""
    method, path, _ = direct.request.split(" ", 2)
    is_lookalike = unquote(path).startswith(("/v2/lib/image/manifests/oci--", "/v2/lib/image/manifests/oci+"))
    why = '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"lib/image:oci is an ordinary image'
    return (
        (direct.status, proxied.status, is_lookalike) == (404, 404, True)
        and method in ("GET", "HEAD")
        and (proxied.body.startswith(why) if method == "GET" else not proxied.body)
    )


def manifest_of(config: bytes, *layers: bytes, media_type: str = OCI_MANIFEST, padding: int = 0) -> bytes:
    docker = media_type == DOCKER_MANIFEST
    config_type = "docker.container.image.v1+json" if docker else "oci.image.config.v1+json"
    layer_type = "docker.image.rootfs.diff.tar.gzip" if docker else "oci.image.layer.v1.tar+gzip"
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(f"application/vnd.{config_type}", config),
        "layers": [_descriptor(f"application/vnd.{layer_type}", layer) for layer in layers],
    }
    if padding:
        document["annotations"] = {"padding": "x" * padding}
    return json.dumps(document).encode()


def index_of(*manifests: tuple[str, bytes], media_type: str = OCI_INDEX) -> bytes:
    entries = [
        _descriptor(kind, one) | {"platform": {"os": "linux", "architecture": ["amd64", "arm64"][at % 2]}}
        for at, (kind, one) in enumerate(manifests)
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def whole_api(talk: Conversation) -> None:
    """Say everything a client can say, good and bad."""
    _versions_and_nonsense(talk)
    _uploads(talk)
    _blob_reads(talk)
    _manifests(talk)
    _large_manifests(talk)
    _look_alike_tags(talk)
    _lists(talk)
    _deletes(talk)
    _content_management(talk)


def _versions_and_nonsense(talk: Conversation) -> None:
    for method, target in product(
        ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
        ("/v2/", "/v2", "/", "/nowhere", "/v2/_catalog", "/v2/a/manifests/v1", "/v2/a/blobs/uploads/"),
    ):
        talk.say(method, target, body=b"" if method in {"POST", "PUT", "PATCH"} else None)
    for target in (
        "/v2/a/manifests/" + "t" * 128,
        "/v2/a/manifests/sha256:" + "0" * 64,
        "/v2/a/manifests/sha512:" + "0" * 128,
        "/v2/a/blobs/sha256:" + "0" * 64,
        "/v2/a/blobs/md5:0",
        "/v2/a/manifests/a:b",
        "/v2/a/b/c/d/manifests/v1?ns=example.org",
        "/v2/a/tags/list?n=-1",
        "/v2/a/tags/list",
        "/v2/a/referrers/sha256:" + "0" * 64,
        "/v2/_catalog?n=0",
        "/v2/a/blobs/uploads/11111111-1111-4111-8111-111111111111",
        "/v2/a/blobs/uploads/not-a-uuid",
        "/v2/?q=%00",
        "/v2/a/manifests/v1?a=b&a=c&%41=%42+%2B",
        "/v2//",
        "/v2/a/manifests/v1?",
        "/v2/a/manifests/v1??x",
        "/v2/a/tags/list?n=1&last=%2F%2f%26",
    ):
        for method in ("GET", "HEAD"):
            talk.say(method, target)


def _uploads(talk: Conversation) -> None:
    blob = bytes(range(256)) * 64
    digest = digest_of(blob)
    talk.upload("lib/one", blob)

    start = talk.say("POST", "/v2/lib/one/blobs/uploads/", body=b"")
    middle = len(blob) // 2
    first = {"Content-Type": OCTETS, "Content-Range": f"0-{middle - 1}"}
    step = talk.say("PATCH", start.headers["Location"], first, blob[:middle])
    talk.say("GET", step.headers["Location"])
    second = {"Content-Type": OCTETS, "Content-Range": f"{middle}-{len(blob) - 1}"}
    step = talk.say("PATCH", step.headers["Location"], second, blob[middle:])
    talk.say("PUT", f"{step.headers['Location']}&digest={digest}", body=b"")

    start = talk.say("POST", "/v2/lib/two/blobs/uploads/")
    pieces = (blob[at : at + 1000] for at in range(0, len(blob), 1000))
    step = talk.say("PATCH", start.headers["Location"], {"Content-Type": OCTETS}, pieces)
    talk.say("PUT", f"{step.headers['Location']}&digest={digest}")

    # Mount from another repository; from one that does not have it; in one request.
    talk.say("POST", f"/v2/lib/three/blobs/uploads/?mount={digest}&from=lib/one", body=b"")
    talk.say("POST", f"/v2/lib/three/blobs/uploads/?mount={digest_of(b'no')}&from=lib/one", body=b"")
    talk.say("POST", f"/v2/lib/three/blobs/uploads/?digest={digest}", {"Content-Type": OCTETS}, blob)

    # Wrong digest, no digest, wrong range, cancelled, used after it was cancelled.
    start = talk.say("POST", "/v2/lib/one/blobs/uploads/")
    talk.say("PUT", f"{start.headers['Location']}&digest={digest_of(b'other')}", {"Content-Type": OCTETS}, blob)
    start = talk.say("POST", "/v2/lib/one/blobs/uploads/")
    talk.say("PUT", start.headers["Location"], {"Content-Type": OCTETS}, blob)
    start = talk.say("POST", "/v2/lib/one/blobs/uploads/")
    gap = {"Content-Type": OCTETS, "Content-Range": "500-999"}
    talk.say("PATCH", start.headers["Location"], gap, blob[:500])
    talk.say("DELETE", start.headers["Location"])
    talk.say("GET", start.headers["Location"])
    talk.say("PATCH", start.headers["Location"].split("?")[0], {"Content-Type": OCTETS}, b"late")
    talk.say("PUT", f"/v2/lib/one/blobs/uploads/?digest={digest}", {"Content-Type": OCTETS}, blob)
    for encoding in ("gzip", "deflate", "br"):
        start = talk.say("POST", "/v2/lib/one/blobs/uploads/")
        said = {"Content-Type": OCTETS, "Content-Encoding": encoding}
        talk.say("PUT", f"{start.headers['Location']}&digest={digest_of(b'plain')}", said, b"plain")


def _blob_reads(talk: Conversation) -> None:
    blob = bytes(range(256)) * 64
    target = f"/v2/lib/one/blobs/{digest_of(blob)}"
    ranges = ("bytes=0-0", "bytes=0-99", "bytes=100-", "bytes=-5", "bytes=-0", "bytes=99999999-", "bytes=5-2")
    odd = ("bytes=0-1,5-6", "bytes=a-b", "lines=1-2", "bytes=0-99999999", "bytes=16383-16383", "bytes=16384-")
    for method in ("GET", "HEAD"):
        talk.say(method, target)
        for asked in (*ranges, *odd):
            talk.say(method, target, {"Range": asked})
        talk.say(method, target, {"If-None-Match": f'"{digest_of(blob)}"'})
        talk.say(method, target, {"If-None-Match": '"other"'})
        talk.say(method, target, {"If-Range": '"other"', "Range": "bytes=0-9"})
        talk.say(method, target, {"Accept-Encoding": "gzip"})
        talk.say(method, f"/v2/lib/nothing/blobs/{digest_of(blob)}")
        talk.say(method, target.replace("sha256:", "sha256%3A"))
    for method in ("POST", "PUT", "PATCH"):
        talk.say(method, target, body=b"x")


def _manifests(talk: Conversation) -> None:
    config, layer = (
        b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}',
        b"layer",
    )
    talk.upload("lib/image", config)
    talk.upload("lib/image", layer)
    kinds = {OCI_MANIFEST: "oci", DOCKER_MANIFEST: "docker"}
    children = {kind: manifest_of(config, layer, media_type=kind) for kind in kinds}
    for kind, name in kinds.items():
        talk.say("PUT", f"/v2/lib/image/manifests/{name}", {"Content-Type": kind}, children[kind])
        talk.say(
            "PUT",
            f"/v2/lib/image/manifests/{digest_of(children[kind])}",
            {"Content-Type": kind},
            children[kind],
        )
    for kind, child, name in ((OCI_INDEX, OCI_MANIFEST, "index"), (DOCKER_LIST, DOCKER_MANIFEST, "list")):
        document = index_of((child, children[child]), media_type=kind)
        talk.say("PUT", f"/v2/lib/image/manifests/{name}", {"Content-Type": kind}, document)
    accepts = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, "*/*", "text/plain", "")
    digest = digest_of(children[OCI_MANIFEST])
    for name, accept in product(("oci", "docker", "index", "list", "missing", digest), accepts):
        for method in ("GET", "HEAD"):
            talk.say(method, f"/v2/lib/image/manifests/{name}", {"Accept": accept})
    talk.say("GET", "/v2/lib/image/manifests/oci", {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX};q=0.5"})
    talk.say("GET", "/v2/lib/image/manifests/oci", {"Accept": OCI_MANIFEST, "If-None-Match": f'"{digest}"'})
    talk.say("GET", "/v2/lib/image/manifests/oci", {"Accept": OCI_MANIFEST, "If-None-Match": digest})
    talk.say("GET", "/v2/lib/image/manifests/oci", {"Accept": OCI_MANIFEST, "Range": "bytes=0-9"})
    missing = manifest_of(config, b"never uploaded")
    for body, kind in (
        (missing, OCI_MANIFEST),
        (b"not json", OCI_MANIFEST),
        (b"", OCI_MANIFEST),
        (b"{}", OCI_MANIFEST),
        (children[OCI_MANIFEST], "text/plain"),
        (children[OCI_MANIFEST], DOCKER_MANIFEST),
        (index_of((OCI_MANIFEST, missing)), OCI_INDEX),
    ):
        talk.say("PUT", "/v2/lib/image/manifests/bad", {"Content-Type": kind}, body)
    talk.say("PUT", "/v2/lib/image/manifests/oci", {"Content-Type": OCI_MANIFEST}, iter([children[OCI_MANIFEST]]))
    talk.say("PUT", f"/v2/lib/image/manifests/{digest_of(b'x')}", {"Content-Type": OCI_MANIFEST}, missing)


def _large_manifests(talk: Conversation) -> None:
    """Up to the 4 MiB that the distribution-spec names."""
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    for size in (1_000_000, 2_000_000, 4 * 2**20 - 1000):
        document = manifest_of(config, b"layer", padding=size)
        talk.say("PUT", f"/v2/lib/image/manifests/large-{size}", {"Content-Type": OCI_MANIFEST}, document)
        for method in ("GET", "HEAD"):
            talk.say(method, f"/v2/lib/image/manifests/large-{size}", {"Accept": OCI_MANIFEST})


def _look_alike_tags(talk: Conversation) -> None:
    """Tags that merely look like partitions are tags."""
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    document = manifest_of(config, b"layer")
    accept = {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}"}
    for tag in ("plain--0.0.0.1", "oci--0.0.0.1", "oci--3.0.1.0", "a--1.2.3.4--0.0.0.0", "v1--1.2.3"):
        talk.say("PUT", f"/v2/lib/image/manifests/{tag}", {"Content-Type": OCI_MANIFEST}, document)
        for method, headers in product(("GET", "HEAD"), (accept, {})):
            talk.say(method, f"/v2/lib/image/manifests/{tag}", headers)
    for tag in (
        "nothing--0.0.0.1",
        "oci--9.9.9.9",
        "oci--5.5.1.1",
        "oci--0.0.0",
        "oci--a.b.c.d",
        "oci--0.0.0.0.0",
        "oci--",
        "oci--0.0.0.0--",
        "oci--00000000000000000.0.0.99999999999999999999999999",
        "oci" + "--0.0.0.0" * 13,
        "oci+0.0.0.1",
        "oci%2B0.0.0.1",
    ):
        for method in ("GET", "HEAD"):
            talk.say(method, f"/v2/lib/image/manifests/{tag}", accept)
    talk.say("DELETE", "/v2/lib/image/manifests/plain--0.0.0.1")
    talk.say("PUT", "/v2/lib/image/manifests/oci+0.0.0.1", {"Content-Type": OCI_MANIFEST}, document)


def _lists(talk: Conversation) -> None:
    for query in ("", "?n=1", "?n=2&last=docker", "?n=100", "?n=x", "?last=zzz", "?n=1&last=index"):
        talk.say("GET", f"/v2/lib/image/tags/list{query}")
        talk.say("GET", f"/v2/_catalog{query}")
    talk.say("HEAD", "/v2/lib/image/tags/list")


def _deletes(talk: Conversation) -> None:
    blob = bytes(range(256)) * 64
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    document = manifest_of(config, b"layer", media_type=DOCKER_MANIFEST)
    for target in (
        "/v2/lib/image/manifests/docker",
        f"/v2/lib/image/manifests/{digest_of(document)}",
        f"/v2/lib/image/manifests/{digest_of(document)}",
        f"/v2/lib/image/manifests/{digest_of(b'unknown')}",
        f"/v2/lib/one/blobs/{digest_of(blob)}",
        f"/v2/lib/one/blobs/{digest_of(blob)}",
        f"/v2/lib/one/blobs/{digest_of(b'unknown')}",
        "/v2/lib/image/tags/oci",
    ):
        talk.say("DELETE", target)
    talk.say("GET", "/v2/lib/image/manifests/docker", {"Accept": DOCKER_MANIFEST})
    talk.say("GET", f"/v2/lib/one/blobs/{digest_of(blob)}")


def _content_management(talk: Conversation) -> None:
    """What the conformance suite asks besides: pages of lists, and mounts of what is there and what is not."""
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    digests = [talk.upload("lib/pages", one) for one in (config, b"layer")]
    for tag in ("a", "b", "c", "d", "e"):
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        talk.say("PUT", f"/v2/lib/pages/manifests/{tag}", kind, manifest_of(config, b"layer"))
    for start in ("/v2/_catalog?n=1", "/v2/lib/pages/tags/list?n=2"):
        target: str | None = start
        while target is not None:
            link = talk.say("GET", target).headers.get("Link")
            target = None if link is None else re.findall(r"<([^>]*)>", link)[0]
    for source in ("lib/pages", "lib/nothing", "LIB", ""):
        talk.say("POST", f"/v2/lib/mounted/blobs/uploads/?mount={digests[1]}&from={source}", body=b"")
    talk.say("GET", f"/v2/lib/mounted/blobs/{digests[1]}")
    talk.say("DELETE", f"/v2/lib/pages/manifests/{digest_of(manifest_of(config, b'layer'))}")
    talk.say("GET", "/v2/lib/pages/tags/list")
