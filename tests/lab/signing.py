"""Signatures without our code: openssl makes and checks them, and documents are written by hand."""

import base64
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.lab import command
from tests.lab.documents import OCI, document
from tests.lab.layers import Blob
from tests.lab.programs import environment, program
from tests.lab.registry_client import RegistryClient

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_TYPE = "application/vnd.dev.cosign.artifact.sig.v1+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ANNOTATION = "dev.cosignproject.cosign/signature"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An ECDSA key on P-256, as two files in PEM."""

    private: Path
    public: Path

    @classmethod
    def generate(cls, directory: Path, name: str, curve: str = "P-256") -> Self:
        private, public = directory / f"{name}.pem", directory / f"{name}.pub"
        options = ("-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}")
        command.run((program("openssl"), "genpkey", *options, "-out", str(private)), environment())
        command.run((program("openssl"), "pkey", "-in", str(private), "-pubout", "-out", str(public)), environment())
        return cls(private, public)

    def sign(self, payload: bytes) -> bytes:
        """Return an ASN.1 signature over a payload; another one each time."""
        return subprocess.run(
            (program("openssl"), "dgst", "-sha256", "-sign", str(self.private)),
            input=payload,
            capture_output=True,
            timeout=60,
            check=True,
        ).stdout

    def verifies(self, payload: bytes, signature: bytes) -> bool:
        file = self.public.with_suffix(".signature")
        file.write_bytes(signature)
        argv = (program("openssl"), "dgst", "-sha256", "-verify", str(self.public), "-signature", str(file))
        done = subprocess.run(argv, input=payload, capture_output=True, timeout=60, check=False)
        assert done.stdout.strip() in (b"Verified OK", b"Verification failure", b"Verification Failure"), done
        return done.returncode == 0


@dataclass(frozen=True, slots=True)
class Fetched:
    """A signature manifest with what it names, as plain HTTP brought it."""

    manifest: dict[str, Any]
    digest: str
    config: bytes
    payload: bytes
    signature: bytes

    @property
    def vouches_for(self) -> str:
        digest: str = json.loads(self.payload)["critical"]["image"]["docker-manifest-digest"]
        return digest

    @property
    def optional(self) -> dict[str, Any]:
        optional: dict[str, Any] = json.loads(self.payload)["optional"]
        return optional


def signature_tag(digest: str) -> str:
    return f"{digest.replace(':', '-')}.sig"


def fetch_signature(client: RegistryClient, repository: str, digest: str) -> Fetched:
    answer = client.get_manifest(repository, signature_tag(digest))
    assert answer.status == 200, answer.body
    manifest = json.loads(answer.body)
    blobs = [
        client.request("GET", f"/v2/{repository}/blobs/{one['digest']}")
        for one in (manifest["config"], manifest["layers"][0])
    ]
    assert [blob.status for blob in blobs] == [200, 200]
    signature = base64.b64decode(manifest["layers"][0]["annotations"][ANNOTATION])
    digest = answer.headers["docker-content-digest"]
    return Fetched(manifest, digest, blobs[0].body, blobs[1].body, signature)


def payload_of(digest: str, **changes: Any) -> bytes:
    """Write the payload that cosign writes."""
    critical = {
        "identity": {"docker-reference": "lab.example.org/model"},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return json.dumps({"critical": {**critical, **changes}, "optional": None}).encode()


def signature_manifest(signatures: Mapping[bytes, bytes]) -> tuple[Blob, list[Blob]]:
    """Return the manifest that attaches signatures by their payloads, and its blobs."""
    config = Blob(json.dumps({"rootfs": {"type": "layers", "diff_ids": []}}).encode(), OCI.config)
    payloads = [Blob(payload, PAYLOAD_TYPE) for payload in signatures]
    layers = [
        blob.descriptor(annotations={ANNOTATION: base64.b64encode(signatures[blob.content]).decode()})
        for blob in payloads
    ]
    content = {
        "schemaVersion": 2,
        "mediaType": OCI.manifest,
        "config": config.descriptor(),
        "layers": layers,
    }
    return document(content, OCI.manifest), [config, *payloads]


def statement_of(digest: str, **changes: Any) -> bytes:
    """Write the statement that cosign signs an image with."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.removeprefix("sha256:")}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    }
    return json.dumps(statement | changes).encode()


def enveloped(statement: bytes, keys: KeyPair, **changes: Any) -> bytes:
    """Write a bundle with a DSSE envelope that `keys` sign."""
    kind = "application/vnd.in-toto+json"
    signature = keys.sign(b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(statement), statement))
    envelope = {
        "payload": base64.b64encode(statement).decode(),
        "payloadType": kind,
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }
    return _bundle(dsseEnvelope=envelope | changes)


def message_signed(signature: bytes) -> bytes:
    """Write a bundle with a bare signature."""
    return _bundle(messageSignature={"signature": base64.b64encode(signature).decode()})


def _bundle(**content: Any) -> bytes:
    material = {"publicKey": {"hint": "none"}, "tlogEntries": []}
    return json.dumps({"mediaType": BUNDLE_TYPE, "verificationMaterial": material, **content}).encode()


def referrer(
    subject: Mapping[str, Any], content: bytes, kind: str = BUNDLE_TYPE, **more: Any
) -> tuple[Blob, list[Blob]]:
    """Return a manifest that attaches `content` to a subject, and its blobs."""
    config, layer = Blob(b"{}", "application/vnd.oci.empty.v1+json"), Blob(content, kind)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI.manifest,
        "artifactType": kind,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
        "subject": dict(subject),
        **more,
    }
    return document(manifest, OCI.manifest), [config, layer]


def push_signatures(client: RegistryClient, repository: str, digest: str, signatures: Mapping[bytes, bytes]) -> None:
    """Put signatures where cosign puts those of `digest`."""
    manifest, blobs = signature_manifest(signatures)
    for blob in blobs:
        client.push_blob(repository, blob)
    client.push_manifest(repository, signature_tag(digest), manifest)
