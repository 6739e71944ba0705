"""Cutting as the command line does it, from documents at hand."""

from typing import BinaryIO

import pytest

from tests.lab.handmade import Image
from twodfs.errors import TooLargeError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_INDEX, OCI_MANIFEST, Descriptor, Document
from twodfs.progress import Advance, silent
from twodfs.publish.cutting import FoundImage, find_image


class Held:
    """An image that is held in memory, as a source."""

    def __init__(self, image: Image) -> None:
        self._blobs = image.blobs

    def manifest(self, reference: str) -> Document:
        return Document(OCI_MANIFEST, Digest(reference), self._blobs[reference])

    def blob(self, digest: Digest, *, limit: int) -> bytes:
        assert len(self._blobs[digest]) <= limit
        return self._blobs[digest]

    def size(self, digest: Digest) -> int:
        return len(self._blobs[digest])

    def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        advance(file.write(self._blobs[blob.digest]))


@pytest.mark.parametrize("honest", [True, False])
def test_the_command_line_has_the_same_budget_also_for_descriptors_that_lie(honest: bool) -> None:  # noqa: FBT001
    image = Image()
    entries = []
    for at in range(9):
        manifest = image.manifest(annotations={"ballast": str(at) * 4_000_000})
        entry = image.descriptor(OCI_MANIFEST, manifest, platform={"os": f"o{at}"})
        entries.append(entry if honest else entry | {"size": 9})
    source = image.document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    with pytest.raises(TooLargeError, match="at most 33554432 are read for a partition"):
        find_image(lambda tag: FoundImage(Held(image), source, tag), "v1--0.0.0.0", repository="model")


def test_an_image_has_a_tag_of_its_own_unless_a_tag_is_called_so() -> None:
    image = Image()
    root = image.document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    tags = {"v1": FoundImage(Held(image), root, "v1")}
    assert find_image(tags.get, "v1--image", repository="model") == tags["v1"]
    assert find_image(tags.get, "v2--image", repository="model") is None
    assert find_image(tags.get, "v1--edge--image", repository="model") is None
    tags["v1--image"] = FoundImage(Held(image), root, "v1--image")
    assert find_image(tags.get, "v1--image", repository="model") == tags["v1--image"]
