"""Made-up input: text, documents and their mutations."""

import json
from typing import Any

from hypothesis import strategies as st

from tests.lab.handmade import Image
from twodfs.oci.documents import (
    INDEX_TYPES,
    MANIFEST_TYPES,
)

DIGEST = "sha256:" + "ab" * 32


def pieces(*known: str, most: int = 12) -> st.SearchStrategy[str]:
    """Text that is put together from pieces that mean something and from any characters."""
    return st.lists(st.sampled_from(known) | st.text(max_size=3), max_size=most).map("".join)


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([DIGEST, "ab" * 32, "0.0.1.1", *INDEX_TYPES, *MANIFEST_TYPES]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        found += paths(member, (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


def mutations(valid: Any) -> st.SearchStrategy[Any]:
    """`valid` with up to three of its parts replaced by any JSON."""

    def once(document: Any) -> st.SearchStrategy[Any]:
        return st.builds(lambda path, by: replaced(document, path, by), st.sampled_from(paths(document)), ANY_JSON)

    first = once(valid)
    return first | first.flatmap(once) | first.flatmap(once).flatmap(once)


def as_bytes(documents: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Each document as JSON, now and then with some of its bytes replaced."""

    def written(document: Any) -> bytes:
        return json.dumps(document).encode()

    def spoiled(body: bytes, at: int, by: bytes) -> bytes:
        at %= len(body) + 1
        return body[:at] + by + body[at + len(by) // 2 :]

    pairs = st.binary(max_size=4) | st.sampled_from([b'"a":1,"a":2,', b'\\"', b"[[[[", b"\\u0000", b'"rows":0,'])
    whole = documents.map(written)
    return whole | st.builds(spoiled, whole, st.integers(0, 5000), pairs)


SOURCE = Image()


MANIFEST = SOURCE.manifest(partitions={"edge": "0.0.1.1"})


INDEX = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [
        SOURCE.descriptor(MANIFEST["mediaType"], MANIFEST, platform={"os": "linux", "architecture": "amd64"})
    ],
}


FIELD = json.loads(SOURCE.blobs[MANIFEST["layers"][1]["digest"]])


CONFIG = SOURCE.config()


CHALLENGES = pieces(
    *(
        "Bearer ",
        "Basic ",
        "Negotiate ",
        "realm=",
        '"https://auth.example/token"',
        '"http://[',
        "service=",
        ",",
    ),
    *(
        '"x"',
        '"a\\"b"',
        "scope=",
        '"repository:a:pull"',
        "abc==",
        '"',
        "=",
        " ",
        "error=",
        "\t",
        "bearer\trealm",
    ),
    most=20,
)


ADDRESSES = pieces(
    *(
        "http:",
        "https:",
        "//",
        "registry.example",
        ":5000",
        "@",
        "\\",
        "/",
        "/v2/a",
        "?",
        "#",
        "evil.example",
        "[::1]",
    ),
    *("%40", "%2f", " ", "\t", ".", "REGISTRY.example", "..", "user:pass@"),
)
