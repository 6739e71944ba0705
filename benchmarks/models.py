"""Files as big as the layers of real models, in splits; their content is that of float32 weights."""

from __future__ import annotations

import itertools
import json
import random
from array import array
from dataclasses import dataclass
from pathlib import Path

SITUATIONS = ("cold", "unchanged", "first split changed", "last split changed")
"""What happened to a model before it is built, in this order."""
SPLITS = {"MobileNetV2": 10, "ResNet50": 10, "EfficientNetV2L": 41}
_SIZES = Path(__file__).with_name("model_layers.json")
_DRAWN = 2**18


class Noise:
    """Float32 values of a normal distribution (mean 0, deviation 0.05), the same for the same seed.

    The upper half of each value, with sign, exponent and the first bits of the mantissa, is one of 2^18 that
    were drawn; the lower half is random. So its entropy is that of real noise, made at 200 MB a second.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        drawn = array("f", (self._random.gauss(0, 0.05) for _ in range(_DRAWN))).tobytes()
        self._upper = drawn[2::4], drawn[3::4]

    def bytes(self, size: int) -> bytes:
        """Return ``size`` bytes that were not returned before."""
        values = -(-size // 4)
        noise = bytearray(self._random.randbytes(values * 4))
        shift = self._random.randrange(_DRAWN)
        for at, half in enumerate(self._upper, start=2):
            turned = half[shift:] + half[:shift]
            noise[at::4] = (turned * (values // _DRAWN + 1))[:values]
        return bytes(noise[:size])


@dataclass(frozen=True, slots=True)
class Model:
    """A model as files in ``directory``, one for each split, with a build file."""

    name: str
    directory: Path
    files: tuple[str, ...]
    base: str = "scratch"
    """The reference that images of it build on."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum((self.directory / name).stat().st_size for name in self.files)

    def change(self, count: int, noise: Noise, *, top_down: bool) -> None:
        """Write new content into the first ``count`` splits, or into the last."""
        for name in self.files[:count] if top_down else self.files[len(self.files) - count :]:
            path = self.directory / name
            path.write_bytes(noise.bytes(path.stat().st_size))


def prepare(model: Model, situation: str, noise: Noise) -> None:
    """Give the splits that the situation is about new content; all of them for ``cold``."""
    cold, unchanged, _, last = SITUATIONS
    count = {cold: len(model.files), unchanged: 0}.get(situation, 1)
    model.change(count, noise, top_down=situation != last)


def make_model(
    name: str,
    directory: Path,
    noise: Noise,
    *,
    splits: int | None = None,
    scale: float = 1.0,
    base: str = "scratch",
    by_layers: bool = False,
) -> Model:
    """Write the files of a model and its build file.

    Args:
        name: of the model.
        directory: that is made for it.
        noise: what fills the files.
        splits: number of files; None: as many as ``SPLITS`` says.
        scale: size of the files; 1: as they are.
        base: the reference that images of it build on.
        by_layers: whether splits have as many layers each, in place of as many bytes.
    """
    sizes = (layered_sizes if by_layers else split_sizes)(name, splits or SPLITS[name])
    directory.mkdir(parents=True)
    files = []
    for at, size in enumerate(sizes):
        files.append(f"split-{at:03}.bin")
        (directory / files[-1]).write_bytes(noise.bytes(max(1, round(scale * size))))
    allotments = [{"src": file, "dst": f"/model/{file}", "row": 0, "col": at} for at, file in enumerate(files)]
    (directory / "2dfs.json").write_text(json.dumps({"allotments": allotments}))
    return Model(name, directory, tuple(files), base)


def split_sizes(name: str, splits: int) -> list[int]:
    """Return the bytes of each split of a model: consecutive layers, as even as that allows.

    Where more splits are asked for than the model has layers, the layers are cut: all bytes in as many even pieces.
    """
    sizes = _layers(name)
    if splits > len(sizes):
        ends = [sum(sizes) * at // splits for at in range(splits + 1)]
        return [end - begin for begin, end in itertools.pairwise(ends)]
    grouped = []
    for splits_left in range(splits, 0, -1):
        share = sum(sizes) / splits_left
        taken = sizes.pop(0)
        while len(sizes) >= splits_left and taken + sizes[0] / 2 <= share:
            taken += sizes.pop(0)
        grouped.append(taken if splits_left > 1 else taken + sum(sizes))
    return grouped


def layered_sizes(name: str, splits: int) -> list[int]:
    """Return the bytes of each split of a model: as many consecutive layers in each, and what is left in the last."""
    sizes = _layers(name)
    count = -(-len(sizes) // splits)
    return [sum(sizes[at : at + count]) for at in range(0, len(sizes), count)]


def _layers(name: str) -> list[int]:
    return [size for _, size in json.loads(_SIZES.read_text())[name]]
