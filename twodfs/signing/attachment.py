"""Signatures as a registry keeps them: a manifest that a tag or a list of referrers names, and its blobs.

The output of this module depends on its arguments alone, as in ``signature``.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from twodfs.errors import FormatError
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import OCI_CONFIG, OCI_MANIFEST, Document, Json, annotation_in, expect, parse_object
from twodfs.oci.referrers import entry_of
from twodfs.signing.bundle import (
    BUNDLE_TYPE,
    CONTENT_ANNOTATION,
    PREDICATE_ANNOTATION,
    SIGNED_PREDICATE,
    bundle_of,
)
from twodfs.signing.signature import PAYLOAD_TYPE, SIGNATURE_ANNOTATION, SIGNATURE_TYPE

# Go's form of a time that is not set; cosign's own signature configs have it.
_NO_TIME: Final = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A signature as a registry keeps it.

    Attributes:
        manifest: the one that tag and referrers name.
        config: of the manifest; no other has the same.
        payload: its one layer: cosign's payload, or a bundle.
    """

    manifest: Document
    config: Document
    payload: Document

    @classmethod
    def of(cls, subject: Document, payload: bytes, signature: bytes) -> Attachment:
        """Return the documents that attach ``signature``, made over ``payload``, to ``subject``."""
        layer = Document(PAYLOAD_TYPE, digest_of(payload), payload)
        encoded = base64.b64encode(signature).decode()
        more: Json = {"annotations": {SIGNATURE_ANNOTATION: encoded}}
        return cls._of(subject, layer, SIGNATURE_TYPE, more, {})

    @classmethod
    def of_bundle(cls, subject: Document, statement: bytes, signature: bytes, hint: str) -> Attachment:
        """Return the same as a bundle: ``signature`` was made over ``encoded_for_signing(statement)``."""
        told = {CONTENT_ANNOTATION: "dsse-envelope", PREDICATE_ANNOTATION: SIGNED_PREDICATE}
        layer = bundle_of(statement, signature, hint)
        return cls._of(subject, layer, BUNDLE_TYPE, {}, {"annotations": told})

    @classmethod
    def _of(cls, subject: Document, layer: Document, artifact_type: str, of_layer: Json, more: Json) -> Attachment:
        # Not the empty config: every registry has it for many images, so it leads to no subject.
        config = Document.of(
            OCI_CONFIG,
            {
                "architecture": "",
                "created": _NO_TIME,
                "history": [{"created": _NO_TIME}],
                "os": "",
                "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
                "config": {},
            },
        )
        content: Json = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": config.descriptor,
            "layers": [{**layer.descriptor, **of_layer}],
            "subject": subject.descriptor,
            **more,
        }
        return cls(Document.of(OCI_MANIFEST, content), config, layer)

    @property
    def documents(self) -> dict[Digest, Document]:
        """Manifest, config and payload by digest."""
        return {one.digest: one for one in (self.manifest, self.config, self.payload)}

    @property
    def entry(self) -> Json:
        """The entry of a list of referrers."""
        return entry_of(self.manifest)

    @property
    def layer(self) -> Json:
        """The descriptor of its layer, with the annotations."""
        layers: list[Json] = parse_object(self.manifest.body)["layers"]
        return layers[0]


@dataclass(frozen=True, slots=True)
class Attachments:
    """A signature in both of cosign's formats: that of its ``.sig`` tags, and a bundle."""

    tagged: Attachment
    bundle: Attachment

    @property
    def documents(self) -> dict[Digest, Document]:
        """All that there is, by digest."""
        return self.tagged.documents | self.bundle.documents

    @property
    def entries(self) -> tuple[Json, ...]:
        """The entries of a list of referrers."""
        return self.tagged.entry, self.bundle.entry


def with_ours(theirs: Document, config: bytes | None, ours: Attachment) -> tuple[Document, ...]:
    """Return a signature manifest that carries the signatures of ``theirs``, and ``ours`` behind them.

    Args:
        theirs: the registry's manifest under the tag of signatures.
        config: its config's bytes; None where they could not be had, and the manifest keeps it as it is.
        ours: the signature to add.

    Returns:
        The manifest, and its config where that is another; empty when nothing is to be added: ours is
        among theirs, or theirs is no signature manifest.
    """
    try:
        raw = parse_object(theirs.body)
        layers = expect(raw.get("layers"), list, "layers")
    except FormatError:
        return ()
    is_manifest = raw.get("mediaType", theirs.media_type) == OCI_MANIFEST
    if not is_manifest or "manifests" in raw or any(_is_same(one, ours.layer) for one in layers):
        return ()
    content = {**raw, "layers": [*layers, ours.layer]}
    longer = None if config is None else _longer(config, ours.payload.digest, len(layers))
    if longer is None:
        return (Document.of(OCI_MANIFEST, content),)
    before = raw.get("config")
    pointed = {**(before if isinstance(before, dict) else {}), **longer.descriptor}
    return Document.of(OCI_MANIFEST, {**content, "config": pointed}), longer


def _is_same(layer: object, ours: Json) -> bool:
    if not isinstance(layer, dict) or layer.get("digest") != ours["digest"]:
        return False
    return annotation_in(layer, SIGNATURE_ANNOTATION) == annotation_in(ours, SIGNATURE_ANNOTATION)


def _longer(config: bytes, diff_id: Digest, layers: int) -> Document | None:
    """Return the config with one more layer; None where it does not count its layers."""
    try:
        raw = parse_object(config)
        rootfs = expect(raw.get("rootfs"), dict, "rootfs")
        diff_ids: Sequence[object] = expect(rootfs.get("diff_ids"), list, "rootfs.diff_ids")
        history = expect(raw.get("history", []), list, "history")
    except FormatError:
        return None
    if len(diff_ids) != layers:
        return None
    more: Json = {"rootfs": {**rootfs, "diff_ids": [*diff_ids, diff_id]}}
    if len(history) == layers:
        more["history"] = [*history, {"created": _NO_TIME}]
    return Document.of(OCI_CONFIG, {**raw, **more})
