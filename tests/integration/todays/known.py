"""What is known to fail, by the title of the check.

The check has the right value nevertheless. When it passes, its test fails until the line here is gone; when
it fails in another way than said here, its test fails as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Known:
    reason: str
    """What the page says of it."""
    says: str
    """A regular expression that is found in what the program, or the check, says."""


_REFERRERS: Final = Known(
    "With `signing.key`, the referrers API is answered for what the proxy made and for nothing else: oras "
    'takes the first answer for the registry\'s ability, and ends with "unsupported" at the next.',
    says="failed to query referrers API: unsupported",
)
_HIDDEN: Final = (
    "With `signing.key`, the referrers API names the proxy's own signature alone for a partition: it hides "
    "what users attach, in front of a registry without that API."
)

KNOWN: Final[Mapping[str, Known]] = {
    "crane validate: finds the whole image's manifests and configs whole (--fast)": Known(
        "The anchor's config has no `rootfs.type` and no platform.",
        says=r'(?s)invalid ConfigFile\.RootFS\.Type: "" .*missing platform fields',
    ),
    "crane validate: finds the whole image's layers whole": Known(
        "crane unpacks every layer, and the field is JSON: use `--fast`, or validate partitions.",
        says=r"Manifests\[0\].*validating layers: gzip: invalid header",
    ),
    "crane tag: is told that a partition's tag cannot be written": Known(
        "The registry takes the tag and lists it, and the proxy goes on to cut the partition.",
        says="ended well",
    ),
    "oras discover: lists what is attached to a partition": _REFERRERS,
    "oras attach: attaches an SBOM to a partition and finds it, beside the proxy's signature": _REFERRERS,
    "oras cp -r: copies a partition with what is attached to another repository": _REFERRERS,
    "oras cp -r: copies a partition with what is attached to a layout": _REFERRERS,
    "cosign: signs a partition as a bundle and finds the signature good": Known(
        _HIDDEN, says="no matching signatures"
    ),
    "cosign: signs a partition in the old format and finds the signature good": Known(
        "cosign adds its signature to the proxy's and pushes both, but the registry lacks the payload that "
        "the proxy signed.",
        says="MANIFEST_BLOB_UNKNOWN",
    ),
    "cosign: attests a partition and downloads the attestation": Known(_HIDDEN, says="found no attestations"),
    "notation: signs a partition, lists and verifies the signature": Known(
        _HIDDEN, says="has no associated signature"
    ),
}
