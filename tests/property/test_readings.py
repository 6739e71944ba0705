"""What we read of a document is what an engine reads of it, whose keys have no case."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab import go_json
from tests.lab.cutting import cut_from
from tests.lab.handmade import Image
from tests.lab.work import grows_with_its_input
from tests.property.strategies import CONFIG, FIELD, INDEX, MANIFEST, SOURCE, as_bytes, mutations, paths
from twodfs.errors import FormatError, TwodfsError
from twodfs.field.field import Field
from twodfs.oci.documents import parse_manifest
from twodfs.oci.image_config import ImageConfig
from twodfs.signing.signature import Payload

LETTERS = {"s": "sSſ", "k": "kK\N{KELVIN SIGN}"}  # noqa: RUF001 - letters that Go takes for others
RUN = {"Env": ["a=b"], "Labels": {"env": "1"}, "Healthcheck": {"Test": ["NONE"]}}
SIGNED = {
    "critical": {
        "identity": {"docker-reference": "a"},
        "image": {"docker-manifest-digest": "sha256:" + "0" * 64},
        "type": "cosign container image signature",
    },
    "optional": {"by": "us"},
}


def spellings(key: str) -> st.SearchStrategy[str]:
    """`key` with each letter as it is or in another case, among them those of Unicode's simple folding."""
    letters = [st.sampled_from(LETTERS.get(one.lower(), one.lower() + one.upper())) for one in key]
    return st.tuples(*letters).map("".join)


def members(document: Any) -> list[tuple[Any, ...]]:
    """Return the path of each key in `document`."""
    return [path for path in paths(document) if path and isinstance(path[-1], str)]


def respelled(document: Any, path: tuple[Any, ...], key: str, value: Any, place: int) -> Any:
    """Put `key` into the object that `path` ends in: instead of its own (0), before (1) or behind it."""
    if len(path) > 1:
        copy = dict(document) if isinstance(document, dict) else list(document)
        copy[path[0]] = respelled(document[path[0]], path[1:], key, value, place)
        return copy
    if place == 0:
        return {(key if one == path[0] else one): member for one, member in document.items()}
    return {key: value} | document if place == 1 else document | {key: value}


def spoiled(document: Any) -> st.SearchStrategy[Any]:
    """`document` with one to three keys in another spelling, somewhere."""

    def once(content: Any) -> st.SearchStrategy[Any]:
        found = members(content)
        if not found:
            return st.just(content)
        return st.sampled_from(found).flatmap(
            lambda path: st.builds(
                lambda key, value, place: respelled(content, path, key, value, place),
                spellings(path[-1]),
                st.sampled_from([None, 1, "x", [], {}, *MANIFEST["layers"], MANIFEST["layers"]]),
                st.integers(0, 2),
            )
        )

    first = once(document)
    return first | first.flatmap(once) | first.flatmap(once).flatmap(once)


def held(shape: go_json.Struct, body: bytes) -> None:
    """Make sure that a document that was accepted means the same to both readers."""
    assert go_json.as_engines_read(shape, body) == go_json.as_written(shape, body)


MANIFESTS = spoiled(MANIFEST | {"annotations": {"Layers": "1"}, "subject": MANIFEST["layers"][0]}) | spoiled(INDEX)
CONFIGS = spoiled(CONFIG | {"config": RUN, "container_config": RUN})


@given(as_bytes(MANIFESTS | mutations(MANIFEST).flatmap(spoiled)))
def test_a_manifest_that_is_accepted_has_one_reading(body: bytes) -> None:
    try:
        parse_manifest(body, json.loads(body).get("mediaType", MANIFEST["mediaType"]))
    except (FormatError, ValueError, AttributeError, TypeError):
        return
    held(go_json.MANIFEST, body)


@given(as_bytes(CONFIGS))
def test_a_config_that_is_accepted_has_one_reading(body: bytes) -> None:
    try:
        ImageConfig.parse(body)
    except FormatError:
        return
    held(go_json.CONFIG, body)


@given(as_bytes(spoiled(FIELD | {"rows_size": 2, "owner": ""})))
def test_a_field_that_is_accepted_has_one_reading(body: bytes) -> None:
    try:
        field = Field.parse(body)
    except FormatError:
        return
    held(go_json.FIELD, body)
    rows = go_json.as_engines_read(go_json.FIELD, body).get("rows") or []
    cells = [one for row in rows for one in row.get("allotments") or [] if one.get("digest")]
    assert sorted((one["row"], one["col"], one["digest"]) for one in cells) == [
        (one.row, one.col, one.digest.removeprefix("sha256:")) for one in field
    ]


@given(as_bytes(spoiled(SIGNED)))
def test_a_payload_that_is_accepted_has_one_reading(body: bytes) -> None:
    try:
        Payload.parse(body)
    except FormatError:
        return
    held(go_json.PAYLOAD, body)


@given(MANIFESTS, CONFIGS, spoiled(FIELD), st.sampled_from(["0.0.0.1", "edge", "all", "base"]))
def test_what_we_write_has_one_reading(top: Any, config: Any, field: Any, selection: str) -> None:
    image = Image()
    image.blobs |= SOURCE.blobs
    spoiled_field = image.descriptor(MANIFEST["layers"][1]["mediaType"], json.dumps(field).encode())
    configured = image.descriptor(MANIFEST["config"]["mediaType"], json.dumps(config).encode())
    content = (
        top if "manifests" in top else top | {"config": configured, "layers": [MANIFEST["layers"][0], spoiled_field]}
    )
    try:
        partition = cut_from(image.blobs, image.document(content), selection)
    except (TwodfsError, KeyError):  # KeyError: it names a blob that this image does not have
        return
    for document in partition.documents if partition else ():
        shape = go_json.CONFIG if document.media_type == MANIFEST["config"]["mediaType"] else go_json.MANIFEST
        held(shape, document.body)


@given(
    st.sampled_from([MANIFEST, INDEX, CONFIG | {"config": RUN}, FIELD]).flatmap(
        lambda document: st.tuples(st.just(document), st.sampled_from(members(document)))
    ),
    st.data(),
)
def test_no_spelling_of_a_known_key_passes_but_its_own(found: Any, data: st.DataObject) -> None:
    document, path = found
    key = data.draw(spellings(path[-1]))
    free = any(one in ("partitions", "Labels") for one in path[:-1])
    if key == path[-1]:
        return
    body = json.dumps(respelled(document, path, key, None, data.draw(st.integers(0, 2)))).encode()
    read = ImageConfig.parse if "rootfs" in document else Field.parse if "rows" in document else _read_manifest
    try:
        refused = read(body)
    except FormatError as error:
        refused = str(error)
    assert free or "engines take the key" in str(refused)


def _read_manifest(body: bytes, media_type: str = "") -> object:
    try:
        return parse_manifest(body, media_type or json.loads(body).get("mediaType", MANIFEST["mediaType"]))
    except FormatError as error:
        return str(error)


@given(st.lists(spellings("mediaType") | st.text(max_size=8), min_size=1, max_size=20, unique=True))
@settings(max_examples=20, deadline=None)
def test_the_look_at_keys_takes_time_with_their_number(keys: list[str]) -> None:
    def read(times: int) -> Callable[[], object]:
        body = json.dumps({f"{key}{at}": at for at in range(times) for key in keys}).encode()
        return lambda: _read_manifest(body, MANIFEST["mediaType"])

    assert grows_with_its_input(read, 100)
