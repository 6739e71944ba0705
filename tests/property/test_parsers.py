"""Whatever comes in, a parser gives its value or its own error; and what it gives obeys these laws.

`make fuzz` runs the same tests for as long as it is told, and counts.
"""

import json
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.addresses import ClientAddresses
from proxy.handlers.documents import byte_range
from proxy.handlers.headers import LocationRewriter
from proxy.requests.kinds import ContentPull, InvalidRequest, ManifestWrite, PartitionPull
from proxy.requests.parsing import parse
from tests.lab.cutting import cut_from, documents_of
from tests.lab.handmade import Image
from tests.property.strategies import (
    ADDRESSES,
    ANY_JSON,
    CHALLENGES,
    CONFIG,
    DIGEST,
    FIELD,
    INDEX,
    MANIFEST,
    SOURCE,
    as_bytes,
    mutations,
    pieces,
)
from twodfs.credentials.credentials import Credentials
from twodfs.errors import AuthError, DigestError, FormatError, PartitionError, TwodfsError
from twodfs.field.field import Field
from twodfs.field.partition import MAX_TAG_LENGTH, Selection, readings
from twodfs.flatten.validate import validate
from twodfs.oci.digest import Digest, digest_of, is_digest, verify
from twodfs.oci.documents import INDEX_TYPES, MANIFEST_TYPES, Document, parse_manifest, parse_object
from twodfs.oci.image_config import ImageConfig
from twodfs.oci.reference import REPOSITORY, TAG
from twodfs.registry.auth import TokenAnswer, TokenRequest, answer, parse_challenges

TARGETS = pieces(
    *(
        "/v2/",
        "/",
        "a",
        "lib/model",
        "manifests/",
        "blobs/",
        "tags/list",
        "referrers/",
        "uploads/",
        "v1",
        DIGEST,
    ),
    *(
        "--0.0.1.1",
        "+0.0.1.1",
        "%2B",
        "%2f",
        "%2e",
        "..",
        ".",
        "//",
        "\\",
        "%5c",
        "%00",
        "\x00",
        "%",
        "#",
        "?x=y",
    ),
    *("%6d", "A", ":", "sha256:", ";", "\r\n", "http://other.example", "é", "%C3%A9", "--edge", "%252e"),
)
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "BREW"])


@given(METHODS, TARGETS)
def test_a_target_has_one_meaning_or_is_refused(method: str, text: str) -> None:
    routed = parse(method, text)
    if isinstance(routed, InvalidRequest):
        return
    target = routed.target
    path = unquote(target.partition("?")[0], errors="surrogateescape")
    assert ".." not in path.replace("\\", "/").split("/")
    assert "\x00" not in path
    assert "\n" not in path
    if isinstance(routed, PartitionPull | ContentPull | ManifestWrite):
        assert REPOSITORY.fullmatch(routed.repository.name)
        assert target.startswith(f"/v2/{routed.repository.name}/")
    if isinstance(routed, PartitionPull):
        assert all(TAG.fullmatch(one.base) for one in routed.readings)


TAGS = pieces("v1", "--", "+", "0.0.1.1", "3.2.1.0", "1.2.3", "edge", "all", "base", "-", ".", "_", "99999999999")


@given(TAGS)
def test_every_reading_of_a_tag_writes_the_tag(tag: str) -> None:
    try:
        found = readings(tag)
    except PartitionError:
        assert len(tag) > MAX_TAG_LENGTH
        return
    for one in found:
        assert str(one) == tag.replace("+", "--")
        selection = one.selection()
        assert Selection.parse(str(selection)) == selection


@given(pieces("0.0.1.1", "--", "9" * 50, ".", "edge", "-1"))
def test_a_selection_is_read_or_refused(text: str) -> None:
    try:
        selection = Selection.parse(text)
    except PartitionError:
        return
    assert Selection.parse(str(selection)) == selection


@given(as_bytes(mutations(FIELD) | ANY_JSON) | st.binary(max_size=200))
def test_a_field_is_read_or_refused(body: bytes) -> None:
    try:
        field = Field.parse(body)
    except FormatError as error:
        assert str(error)
        return
    assert field.count == len(list(field))
    assert all(is_digest(one.digest) and is_digest(one.diff_id) for one in field)


@given(
    as_bytes(mutations(MANIFEST) | mutations(INDEX) | mutations(CONFIG) | ANY_JSON),
    st.sampled_from(sorted(INDEX_TYPES | MANIFEST_TYPES)) | st.text(max_size=5),
)
def test_manifests_indexes_and_configs_are_read_or_refused(body: bytes, media_type: str) -> None:
    for read in (lambda: parse_manifest(body, media_type), lambda: ImageConfig.parse(body)):
        try:
            read()
        except FormatError as error:
            assert str(error)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise KeyError
    return members


@given(as_bytes(ANY_JSON | mutations(MANIFEST)))
def test_what_is_read_as_json_is_what_another_parser_reads(body: bytes) -> None:
    try:
        mine = parse_object(body)
    except FormatError as error:
        if "same key twice" in str(error):
            try:
                json.loads(body, object_pairs_hook=_members)
            except KeyError:
                return
            raise
        return
    theirs = json.loads(body, object_pairs_hook=_members)
    assert orjson.dumps(mine) == orjson.dumps(orjson.loads(orjson.dumps(mine)))
    assert list(mine) == list(theirs)


@given(
    mutations(INDEX) | mutations(MANIFEST),
    mutations(FIELD),
    mutations(CONFIG),
    st.sampled_from(["0.0.1.1", "edge", "all", "base", "1.0.0.0", "0.0.0.0--5.5.6.6"]),
)
def test_an_image_is_cut_validly_or_refused(top: Any, field: Any, config: Any, selection: str) -> None:
    image = Image()
    image.blobs |= SOURCE.blobs
    base = image.descriptor(MANIFEST["layers"][0]["mediaType"], b"base layer")
    spoiled = image.descriptor(MANIFEST["layers"][1]["mediaType"], json.dumps(field).encode())
    configured = image.descriptor(MANIFEST["config"]["mediaType"], json.dumps(config).encode())
    manifest = json.dumps(MANIFEST | {"config": configured, "layers": [base, spoiled]}).encode()
    sources = [(MANIFEST["mediaType"], manifest)]
    if isinstance(top, dict) and isinstance(top.get("mediaType"), str):
        sources.append((top["mediaType"], json.dumps(top).encode()))
    documents = [Document(media_type, digest_of(body), body) for media_type, body in sources]
    image.blobs |= {document.digest: document.body for document in documents}
    for source in documents:
        try:
            partition = cut_from(image.blobs, source, selection)
        except (TwodfsError, KeyError):  # KeyError: it names a blob that this image does not have
            continue
        if partition is not None:
            validate(partition.root, documents_of(partition))


TOKENS = st.builds(TokenAnswer, st.sampled_from([200, 401, 404, 500]), as_bytes(mutations({"token": "t"})))
LOGINS = st.none() | st.builds(Credentials, st.text(max_size=3), st.text(max_size=3), st.text(max_size=3))


@given(st.lists(CHALLENGES, max_size=3), LOGINS, TOKENS)
def test_a_challenge_is_met_or_refused(headers: list[str], login: Credentials | None, token: TokenAnswer) -> None:
    challenges = parse_challenges(headers)
    assert len(challenges) <= 16
    flow = answer(challenges, login, registry="registry.example")
    try:
        request = next(flow)
        while True:
            assert isinstance(request, TokenRequest)
            assert urlsplit(request.url).scheme in ("http", "https")
            request = flow.send(token)
    except StopIteration as done:
        assert "\n" not in done.value.header
        assert "\r" not in done.value.header
    except AuthError as error:
        assert str(error)


@given(pieces("bytes=", "0", "5", "-", "99999999999999999999", ",", " ", "lines=", "٣"), st.integers(0, 10**20))
def test_a_range_lies_within_the_content_or_is_told_apart(header: str, size: int) -> None:
    asked = byte_range(header, size)
    if asked is not None:
        assert 0 <= asked.start <= max(asked.stop, asked.start)
        assert asked.start >= size or asked.stop <= size


ORIGINS = LocationRewriter(("http://registry.example:5000",), ClientAddresses(public_url="https://public.example"))


@given(ADDRESSES)
def test_an_address_that_comes_back_as_ours_is_ours(location: str) -> None:
    own = ORIGINS._own_path(location)
    if own is not None:
        assert "registry.example" in location.lower()
        assert own[0] in "/?#"
        assert urlsplit(f"https://public.example{own}").netloc == "public.example"


@given(pieces("sha256:", "sha512:", "ab" * 32, "AB", ":", "\n", "0"))
def test_a_digest_is_read_or_refused(text: str) -> None:
    if is_digest(text):
        assert text.isascii()
        assert text.partition(":")[0] in ("sha256", "sha512")
        assert text == text.strip().lower()


@given(st.binary(max_size=40), pieces("sha256:", "ab" * 32))
def test_verification_never_passes_by_accident(body: bytes, text: str) -> None:
    if is_digest(text):
        try:
            verify(body, Digest(text))
        except DigestError:
            return
        raise AssertionError("a made-up digest was met")
