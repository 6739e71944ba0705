"""Keys that differ from known ones by case alone; images here are those of the flattening's tests."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.lab.cutting import cut_from
from tests.lab.handmade import Image
from tests.lab.signing import payload_of
from tests.lab.work import grows_with_its_input
from twodfs.errors import AuthError, FormatError
from twodfs.field.field import Field
from twodfs.images.archive import Directory
from twodfs.images.saved import _table
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_INDEX, OCI_MANIFEST, Document, parse_manifest
from twodfs.oci.image_config import ImageConfig
from twodfs.oci.referrers import merged_referrers
from twodfs.oci.spelling import Keys, folded
from twodfs.registry.auth import TokenAnswer, answer, parse_challenges
from twodfs.signing.attachment import Attachment
from twodfs.signing.signature import Payload

LONG_S = "\N{LATIN SMALL LETTER LONG S}"
IMAGE = Image()
MANIFEST = IMAGE.manifest(partitions={"edge": "0.0.1.1"}) | {
    "annotations": {"a": "b"},
    "subject": IMAGE.descriptor(OCI_MANIFEST, b"{}", platform={"os": "linux"}),
}
INDEX = {
    "schemaVersion": 2,
    "mediaType": OCI_INDEX,
    "manifests": [IMAGE.descriptor(OCI_MANIFEST, MANIFEST, platform={"os": "linux", "os.version": "1"})],
}
HEALTH = {"Test": ["NONE"], "StartPeriod": 1}
CONFIG = IMAGE.config(
    config={"Env": ["a=b"], "Cmd": ["sh"], "WorkingDir": "/", "Healthcheck": HEALTH},
    container_config={"Env": []},
)
FIELD = orjson.loads(IMAGE.blobs[MANIFEST["layers"][1]["digest"]])
SIGNED = orjson.loads(payload_of(Digest("sha256:" + "0" * 64)))


def read_manifest(content: Any) -> object:
    return parse_manifest(orjson.dumps(content), content.get("mediaType", OCI_MANIFEST))


def read_config(content: Any) -> object:
    return ImageConfig.parse(orjson.dumps(content))


def read_field(content: Any) -> object:
    return Field.parse(orjson.dumps(content))


def read_payload(content: Any) -> object:
    return Payload.parse(orjson.dumps(content))


def read_referrers(content: Any) -> object:
    return merged_referrers(content, ())


# The document, who reads it, and the keys of it whose spelling counts, by their paths.
PLACES: list[tuple[Callable[[Any], object], Any, str]] = [
    *((read_manifest, MANIFEST, path) for path in ("layers", "config", "mediaType", "subject", "annotations")),
    *((read_manifest, MANIFEST, path) for path in ("config.digest", "layers[1].size", "layers[0].mediaType")),
    *((read_manifest, MANIFEST, path) for path in ("subject.digest", "subject.platform.os")),
    *((read_manifest, INDEX, path) for path in ("manifests", "mediaType", "manifests[0].platform")),
    *((read_manifest, INDEX, path) for path in ("manifests[0].platform.os", "manifests[0].platform.os.version")),
    *((read_config, CONFIG, path) for path in ("rootfs", "history", "os", "created", "config")),
    *((read_config, CONFIG, path) for path in ("rootfs.diff_ids", "history[0].created_by", "config.Env")),
    *((read_config, CONFIG, path) for path in ("config.Healthcheck.Test", "container_config.Env")),
    *((read_field, FIELD, path) for path in ("rows", "partitions", "rows[0].allotments")),
    *((read_field, FIELD, f"rows[0].allotments[0].{key}") for key in ("row", "col", "digest", "diffid")),
    *((read_payload, SIGNED, path) for path in ("critical", "optional", "critical.image")),
    (read_payload, SIGNED, "critical.image.docker-manifest-digest"),
    (read_payload, SIGNED, "critical.identity.docker-reference"),
    *((read_referrers, INDEX, path) for path in ("manifests", "manifests[0].digest")),
]


def steps(path: str) -> list[str | int]:
    found: list[str | int] = []
    for part in path.replace("os.version", "os\0version").split("."):
        name, _, at = part.replace("\0", ".").partition("[")
        found += [name, int(at[:-1])] if at else [name]
    return found


def respelled(content: Any, path: list[str | int], spell: Callable[[str], str], *, beside: bool) -> Any:
    """Return `content` with the last key of `path` in another spelling, in its place or behind it."""
    here, *rest = path
    if isinstance(here, int):
        return [respelled(one, rest, spell, beside=beside) if at == here else one for at, one in enumerate(content)]
    if rest:
        return content | {here: respelled(content[here], rest, spell, beside=beside)}
    kept = {key: value for key, value in content.items() if beside or key != here}
    return kept | {spell(here): content[here]}


def swapped(key: str) -> str:
    return key[0].swapcase() + key[1:]


def shouted(key: str) -> str:
    return key.swapcase()


def foreign(key: str) -> str:
    """Write s and k as the two letters outside ASCII that fold to them; without them, the first otherwise."""
    other = key.replace("s", LONG_S).replace("k", "\N{KELVIN SIGN}")
    return swapped(key) if other == key else other


@pytest.mark.parametrize(("read", "content", "path"), PLACES)
@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("spell", [swapped, shouted, foreign])
def test_a_known_key_in_another_spelling_is_refused_with_its_path(
    read: Callable[[Any], object], content: Any, path: str, spell: Callable[[str], str], *, beside: bool
) -> None:
    assert read(content)
    *parents, key = steps(path)
    assert isinstance(key, str)
    place = path.removesuffix(key) + spell(key)
    with pytest.raises(FormatError) as refused:
        read(respelled(content, [*parents, key], spell, beside=beside))
    # A payload's "critical" says itself which keys it has.
    assert refused.value.path == place or (path, refused.value.path) == ("critical.image", "critical")


@pytest.mark.parametrize("digest", ["", None, "ab" * 32])
def test_holes_and_cells_of_any_shape_are_looked_at(digest: str | None) -> None:
    cell = {"row": 0, "col": 0, "digest": digest, "diffid": "ab" * 32}
    for odd in ({"Digest": "cd" * 32}, {"DIFFID": ""}, {f"{LONG_S}ize": 1}, {"size": 1, "mediatype": "x"}):
        for one in (cell | odd, {**odd, "digest": digest, "row": 0, "x": 1}):
            with pytest.raises(FormatError, match=r"engines take the key .* in 'rows\[0\].allotments\[1\]\."):
                read_field({"rows": [{"allotments": [cell | {"col": 1}, one]}]})


def test_people_name_annotations_labels_and_partitions_as_they_like() -> None:
    names = {"layers": "1", "Layers": "2", "LAYERS": "3", LONG_S: "4"}
    assert read_manifest(MANIFEST | {"annotations": names})
    assert read_config(CONFIG | {"config": {"Labels": names, "Volumes": {"/A": {}, "/a": {}}}})
    assert read_field(FIELD | {"partitions": {"rows": "0.0.0.0", "edge": "0.0.0.0"}})
    assert read_payload(SIGNED | {"optional": {"Critical": 1, "critical": 2}})


def test_unknown_keys_survive_in_every_spelling() -> None:
    odd = {"x.more": 1, "X.More": 2, "layer": 3, "Ökosystem": 4}
    image = Image()
    cut = cut_from(image.blobs, image.document(image.manifest(config=image.config(**odd)) | odd), "0.0.0.1")
    assert cut is not None
    for document in cut.documents:
        content = orjson.loads(document.body)
        assert {key: content[key] for key in odd} == odd


def test_engines_letters_outside_ascii_are_two() -> None:
    letters = {chr(one) for one in range(128, sys.maxunicode + 1) if folded(chr(one)).isascii()}
    assert letters == {LONG_S, "\N{KELVIN SIGN}"}


def test_a_token_answer_that_reads_in_two_ways_gives_no_token() -> None:
    challenge = parse_challenges(['Bearer realm="https://auth.example/token"'])
    for body, is_taken in ((b'{"token":"a"}', True), (b'{"token":"a","Token":"b"}', False)):
        flow = answer(challenge, None, registry="registry.example")
        next(flow)
        with pytest.raises(StopIteration if is_taken else AuthError):
            flow.send(TokenAnswer(200, body))


def test_our_own_list_of_referrers_has_no_foreign_keys() -> None:
    ours = Attachment.of(Document.of(OCI_MANIFEST, {}), b"{}", b"")
    merged = orjson.loads(merged_referrers({"manifests": []}, [ours.entry]).body)
    assert read_manifest(merged)


@pytest.mark.parametrize(
    ("entry", "said"),
    [('"layers":[]', "engines take the key 'layers'"), ('"Layers":[]', "the same key twice")],
)
def test_the_table_of_a_saved_image_has_one_reading(entry: str, said: str, tmp_path: Path) -> None:
    table = '[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l.tar"],%s}]' % entry  # noqa: UP031 - of braces
    (tmp_path / "manifest.json").write_text(table)
    with pytest.raises(FormatError, match=said):
        _table(Directory(tmp_path))


def test_many_keys_cost_no_more_than_their_number() -> None:
    known = Keys("layers", "config")

    def checked(many: int) -> Callable[[], object]:
        members = {f"Layers{at}": at for at in range(many)}
        return lambda: known.check(members)

    assert grows_with_its_input(checked, 10_000)
