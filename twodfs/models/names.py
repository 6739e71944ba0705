"""What a tensor belongs to, told from its name: the embedding, a layer, or the head. Pure.

Programs for training and serving name tensors by the modules of a network, as ``model.layers.7.mlp.up_proj.weight``.
The first of ``layers.N``, ``layer.N``, ``h.N``, ``blocks.N``, ``block.N`` … in a name is the layer. A network may have
several stacks of layers (an encoder and a decoder, an image model in front of a language model); the biggest is
taken for the last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twodfs.errors import FormatError

_LAYER: Final = re.compile(
    r"(?:^|\.)(?:layers?|h|blocks?|blk|decoder_layers?|encoder_layers?|resblocks)[._](\d{1,9})(?=\.)"
)
_HEAD: Final = re.compile(
    r"(?:^|\.)(?:lm_head|head|embed_out|unembed|output|score|classifier|qa_outputs|pooler|cls|prediction\w*"
    r"|ln_f|ln_out|ln_post|post_layernorm|norm|norm_f|final_norm|final_layer_?norm|layer_norm)(?:\.|$)"
)
_PROJECTION: Final = re.compile(r"(?:^|\.)(?:lm_head|embed_out|unembed|output|score|classifier|qa_outputs|cls)(?:\.|$)")
"""Of the head, what turns numbers into words or classes; where there is none, the embedding may do so."""
_EMBEDDING: Final = re.compile(r"embed|emb\.|wte|wpe|embeddings")
_MAX_PATTERN: Final = 500
"""Characters of a pattern for the names of layers."""


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """Tensors that stay together.

    Attributes:
        label: for people, as ``layer 7``.
        slug: the same in the name of a file, as ``layer-007``.
        tensors: their names, sorted.
    """

    label: str
    slug: str
    tensors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorGroups:
    """The tensors of a model, in the order in which a network applies them.

    Attributes:
        embedding: those in front of the first layer; it may have none.
        layers: at least one.
        head: those behind the last; it may have none.
        stacks: the names that the layers have, with ``N`` for the number.
    """

    embedding: TensorGroup
    layers: tuple[TensorGroup, ...]
    head: TensorGroup
    stacks: tuple[str, ...]

    @property
    def has_projection(self) -> bool:
        """Whether the head has a matrix of its own for the words that come out."""
        return any(_PROJECTION.search(name) for name in self.head.tensors)


def group(sizes: Mapping[str, int], pattern: re.Pattern[str] | None = None) -> TensorGroups | None:
    """Return the groups of the tensors in ``sizes`` (bytes by name); None where no name shows a layer.

    Linear in the names.

    Raises:
        FormatError: ``pattern`` finds something else than a number.
    """
    recognised = pattern or _LAYER
    layers: dict[tuple[str, int], list[str]] = {}
    embedding, head = [], []
    for name in sorted(sizes):
        found = recognised.search(name)
        if found:
            if not (found[1] or "").isdecimal():
                raise FormatError(f"the pattern for layers finds {found[1]!r} in {name[:200]!r}, which is no number")
            stack = f"{name[: found.start(1)]}N"
            layers.setdefault((stack, int(found[1])), []).append(name)
        elif _HEAD.search(name) and (not _EMBEDDING.search(name) or _PROJECTION.search(name)):
            head.append(name)
        else:
            embedding.append(name)
    if not layers:
        return None
    weights: dict[str, int] = {}
    for (stack, _), names in layers.items():
        weights[stack] = weights.get(stack, 0) + sum(sizes[name] for name in names)
    stacks = sorted(weights, key=lambda one: (weights[one], one))
    ordered = sorted(layers, key=lambda one: (stacks.index(one[0]), one[1]))
    return TensorGroups(
        TensorGroup("embedding", "embedding", tuple(embedding)),
        tuple(_layer(at, *one, layers[one], stacks) for at, one in enumerate(ordered)),
        TensorGroup("head", "head", tuple(head)),
        tuple(stacks),
    )


def _layer(at: int, stack: str, number: int, names: Sequence[str], stacks: Sequence[str]) -> TensorGroup:
    label = f"layer {number}" if len(stacks) == 1 else f"{stack[:-1]}{number}"
    slug = f"{number if len(stacks) == 1 else at:03}"
    return TensorGroup(label, f"layer-{slug}", tuple(names))


def parse_pattern(text: str) -> re.Pattern[str]:
    """Return the pattern in ``text``, a regular expression whose one group is the number of a layer.

    Raises:
        FormatError: it is none.
    """
    if len(text) > _MAX_PATTERN:
        raise FormatError(f"a pattern for layers has {_MAX_PATTERN} characters at most")
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise FormatError(f"{text!r} is no regular expression: {error}") from None
    if pattern.groups != 1:
        raise FormatError(
            f"{text!r} has {pattern.groups} groups; expected one, the layer's number, as 'stage(\\d+)\\.'"
        )
    return pattern


def shares_embedding(groups: TensorGroups, config: Mapping[str, Any]) -> bool:
    """Say whether the head of a model needs its embedding: their weights are tied, so that only one is stored.

    Where ``config`` (the model's ``config.json``) does not say ``tie_word_embeddings``, as for Gemma, a language model
    without a matrix for its words has them tied.
    """
    if groups.has_projection or not groups.embedding.tensors:
        return False
    for one in (config, config.get("text_config")):
        if isinstance(one, dict) and isinstance(said := one.get("tie_word_embeddings"), bool):
            return said
    architectures = config.get("architectures")
    return isinstance(architectures, list) and any(
        isinstance(one, str) and one.endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel"))
        for one in architectures
    )
