"""cosign and notation: users sign the whole image and partitions, beside the proxy's own signature."""

import json
from typing import Any, Final

from tests.integration.todays.check import Checks
from tests.integration.todays.laboratory import Laboratory
from tests.lab.command import CommandError
from tests.lab.todays_root import LAB
from twodfs.oci.digest import digest_of

CHECKS = Checks()
check = CHECKS.add

_OFFLINE: Final = ("--tlog-upload=false", "--use-signing-config=false", "--allow-insecure-registry", "--yes")
_UNLOGGED: Final = ("--insecure-ignore-tlog", "--allow-insecure-registry")
_COSIGN: Final = {"COSIGN_PASSWORD": ""}
_NOTATION: Final = {"XDG_CONFIG_HOME": f"{LAB}/notation"}
_FORMATS: Final = {
    "as a bundle": (),
    "in the old format": ("--new-bundle-format=false",),
}
_TARGETS: Final = {"the whole image": "v1", "a partition": "v1--0.0.1.2"}
_POLICY: Final = {
    "version": "1.0",
    "trustPolicies": [
        {
            "name": "lab",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:lab"],
            "trustedIdentities": ["*"],
        }
    ],
}


def _user_key(lab: Laboratory) -> str:
    """Return the path of a user's key, without its ending."""
    if not (lab.root.directory / "user.key").exists():
        lab.run("cosign", "generate-key-pair", "--output-key-prefix", f"{LAB}/user", **_COSIGN)
    return f"{LAB}/user"


def _sign(lab: Laboratory, reference: str, *options: str) -> None:
    key = f"{_user_key(lab)}.key"
    lab.run("cosign", "sign", "--key", key, *_OFFLINE, *options, reference, **_COSIGN)


def _verify(lab: Laboratory, key: str, reference: str, *options: str) -> None:
    told = lab.run("cosign", "verify", "--key", key, *_UNLOGGED, *options, reference, **_COSIGN)
    found: list[dict[str, Any]] = json.loads(told)
    signed = {one["critical"]["image"]["docker-manifest-digest"] for one in found}
    assert signed == {reference.partition("@")[2]}


for _what, _tag in _TARGETS.items():
    for _format, _options in _FORMATS.items():

        @check("cosign", f"signs {_what} {_format} and finds the signature good")
        def _(lab: Laboratory, tag: str = _tag, options: tuple[str, ...] = _options, name: str = _format) -> None:
            repository = lab.copied(f"cosign-{tag}-{name}".replace(" ", "-"))
            reference = lab.pinned(tag, repository)
            _sign(lab, reference, *options)
            _verify(lab, f"{_user_key(lab)}.pub", reference, *options)


for _format, _options in _FORMATS.items():

    @check("cosign", f"finds the proxy's signature of a partition good, asked for one {_format}")
    def _(lab: Laboratory, options: tuple[str, ...] = _options) -> None:
        key = lab.root.directory / "proxy.pub"
        key.write_bytes(lab.proxy_key.public.read_bytes())
        _verify(lab, f"{LAB}/proxy.pub", lab.pinned("v1--1.0.2.2"), *options)
        try:
            _verify(lab, f"{_user_key(lab)}.pub", lab.pinned("v1--1.0.2.2"), *options)
        except CommandError:
            return
        raise AssertionError("another key has verified it")


@check("cosign", "shows the proxy's signature of a partition (tree)")
def _(lab: Laboratory) -> None:
    told = lab.run("cosign", "tree", "--allow-insecure-registry", lab.reference("v1--1.0.2.2"))
    assert f"{digest_of(lab.manifest('v1--1.0.2.2')).replace(':', '-')}.sig" in told


@check("cosign", "downloads the proxy's signature of a partition")
def _(lab: Laboratory) -> None:
    options = ("signature", "--allow-insecure-registry")
    told = lab.run("cosign", "download", *options, lab.reference("v1--1.0.2.2"), **_COSIGN)
    assert len(told.splitlines()) == 1


for _what, _tag in _TARGETS.items():

    @check("cosign", f"attests {_what} and downloads the attestation")
    def _(lab: Laboratory, tag: str = _tag) -> None:
        reference = lab.pinned(tag, lab.copied(f"cosign-attest-{tag}"))
        (lab.root.directory / "predicate.json").write_text('{"made": "here"}')
        key = ("--key", f"{_user_key(lab)}.key", "--predicate", f"{LAB}/predicate.json", "--type", "custom")
        lab.run("cosign", "attest", *key, *_OFFLINE, reference, **_COSIGN)
        options = ("attestation", "--allow-insecure-registry")
        told = lab.run("cosign", "download", *options, reference, **_COSIGN)
        assert "dsseEnvelope" in json.loads(told.splitlines()[0])

    @check("notation", f"signs {_what}, lists and verifies the signature")
    def _(lab: Laboratory, tag: str = _tag) -> None:
        _notation_key(lab)
        reference = lab.pinned(tag, lab.copied(f"notation-{tag}"))
        lab.run("notation", "sign", "--insecure-registry", reference, **_NOTATION)
        listed = lab.run("notation", "list", "--insecure-registry", reference, **_NOTATION)
        assert "application/vnd.cncf.notary.signature" in listed
        lab.run("notation", "verify", "--insecure-registry", reference, **_NOTATION)


def _notation_key(lab: Laboratory) -> None:
    policy = lab.root.directory / "notation" / "notation" / "trustpolicy.json"
    if not policy.exists():
        lab.run("notation", "cert", "generate-test", "--default", "lab", **_NOTATION)
        policy.write_text(json.dumps(_POLICY))
