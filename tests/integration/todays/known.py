"""What is known to fail, by the title of the check, with the reason that the page gives.

The check has the right value nevertheless. When it passes, its test fails until the line here is gone.
"""

from collections.abc import Mapping
from typing import Final

_REFERRERS: Final = (
    "With `signing.key`, the referrers API is answered for what the proxy made and for nothing else: oras takes the "
    "first answer for the registry's ability, and ends with \"unsupported\" at the next."
)
_HIDDEN: Final = (
    "With `signing.key`, what refers to a partition is the proxy's own signature alone: it hides what users attach, "
    "in front of a registry without the referrers API."
)

KNOWN: Final[Mapping[str, str]] = {
    "crane validate: finds the whole image's manifests and configs whole (--fast)": (
        "The anchor's config has no `rootfs.type` and no platform."
    ),
    "crane validate: finds the whole image's layers whole": (
        "crane unpacks every layer, and the field is JSON: use `--fast`, or validate partitions."
    ),
    "crane tag: is told that a partition's tag cannot be written": (
        "The registry takes the tag and lists it, and the proxy goes on to cut the partition."
    ),
    "oras discover: lists what is attached to a partition": _REFERRERS,
    "oras attach: attaches an SBOM to a partition and finds it, beside the proxy's signature": _REFERRERS,
    "oras cp -r: copies a partition with what is attached to another repository": _REFERRERS,
    "oras cp -r: copies a partition to a layout": _REFERRERS,
    "cosign sign and verify: signs a partition as a bundle and finds the signature good": _HIDDEN,
    "cosign sign and verify: signs a partition in the old format and finds the signature good": (
        "cosign adds its signature to the proxy's and pushes both, but the registry lacks the payload that the "
        "proxy signed."
    ),
    "cosign attest and download: attests a partition and downloads the attestation": _HIDDEN,
    "notation: signs a partition, lists and verifies the signature": _HIDDEN,
}
