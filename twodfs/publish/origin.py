"""Where a partition is from: the image that it was cut from, and the selection."""

from __future__ import annotations

from dataclasses import dataclass

from twodfs.flatten.cut import SELECTION_ANNOTATION, SOURCE_ANNOTATION
from twodfs.oci.documents import Json, annotation_in, parse_object
from twodfs.publish.cutting import CutImage, FoundImage


@dataclass(frozen=True, slots=True)
class PartitionOrigin:
    """The annotations of a partition.

    Attributes:
        source: the digest of the image that it was cut from.
        selection: the selected part, as rectangles; empty for the base alone.
        tag: of the image, where this process has cut it; otherwise None, as the following ones.
        allotments: how many were taken.
        size: their bytes.
        left_out: the bytes of the others.
    """

    source: str
    selection: str
    tag: str | None = None
    allotments: int | None = None
    size: int | None = None
    left_out: int | None = None

    @classmethod
    def of(cls, image: FoundImage) -> PartitionOrigin | None:
        """Return where ``image`` is from; None when it is no partition."""
        raw = parse_object(image.root.body)
        source, selection = annotation_in(raw, SOURCE_ANNOTATION), annotation_in(raw, SELECTION_ANNOTATION)
        if source is None or selection is None:
            return None
        if not isinstance(image.source, CutImage):
            return cls(source, selection)
        cut = image.source.partition
        return cls(source, selection, image.base, cut.allotments, cut.selected_bytes, cut.left_out_bytes)

    @property
    def named(self) -> str:
        """The image, by its tag where that is known."""
        return f"{self.tag}, {self.source}" if self.tag else self.source

    def to_dict(self) -> Json:
        """Return it as JSON, sizes in bytes."""
        return {
            "source": self.source,
            "sourceTag": self.tag,
            "selection": self.selection,
            "allotments": self.allotments,
            "bytes": self.size,
            "leftOutBytes": self.left_out,
        }
