import re

import pytest

from twodfs.errors import FormatError
from twodfs.models.names import TensorGroups, group, parse_pattern, shares_embedding


def groups(*names: str, pattern: str = "", size: int = 1) -> TensorGroups:
    found = group(dict.fromkeys(names, size), re.compile(pattern) if pattern else None)
    assert found is not None
    return found


# What networks of the hubs call the first, a middle and the last of their tensors.
NETWORKS = {
    "llama": (
        ["model.embed_tokens.weight"],
        "model.layers.{}.mlp.up_proj.weight",
        ["lm_head.weight", "model.norm.weight"],
    ),
    "gpt2": (["wpe.weight", "wte.weight"], "h.{}.attn.c_attn.weight", ["ln_f.bias", "ln_f.weight"]),
    "gpt-neox": (
        ["gpt_neox.embed_in.weight"],
        "gpt_neox.layers.{}.attention.dense.weight",
        ["embed_out.weight", "gpt_neox.final_layer_norm.weight"],
    ),
    "bert": (
        ["bert.embeddings.LayerNorm.weight", "bert.embeddings.word_embeddings.weight"],
        "bert.encoder.layer.{}.output.dense.weight",
        ["bert.pooler.dense.weight", "cls.predictions.bias"],
    ),
    "bloom": (
        ["transformer.word_embeddings.weight", "transformer.word_embeddings_layernorm.weight"],
        "transformer.h.{}.mlp.dense_h_to_4h.weight",
        ["transformer.ln_f.weight"],
    ),
    "mistral": (["tok_embeddings.weight"], "layers.{}.feed_forward.w1.weight", ["norm.weight", "output.weight"]),
    "mixtral": (
        ["model.embed_tokens.weight"],
        "model.layers.{}.block_sparse_moe.experts.3.w1.weight",
        ["lm_head.weight"],
    ),
    "rwkv": (["rwkv.embeddings.weight"], "rwkv.blocks.{}.ffn.key.weight", ["head.weight", "rwkv.ln_out.weight"]),
    "swin": (["swin.embeddings.norm.weight"], "swin.encoder.layers.{}.blocks.1.output.weight", ["classifier.weight"]),
    "mamba": (["backbone.embeddings.weight"], "backbone.layers.{}.mixer.in_proj.weight", ["backbone.norm_f.weight"]),
}


@pytest.mark.parametrize(("embedding", "layer", "head"), NETWORKS.values(), ids=NETWORKS)
def test_networks_are_told_from_their_names(embedding: list[str], layer: str, head: list[str]) -> None:
    numbers = [0, 1, 2, 10]
    found = groups(*head, *(layer.format(one) for one in numbers[::-1]), *embedding)
    assert found.embedding.tensors == tuple(embedding)
    assert found.head.tensors == tuple(head)
    assert [one.tensors for one in found.layers] == [(layer.format(one),) for one in numbers]
    assert [one.label for one in found.layers] == ["layer 0", "layer 1", "layer 2", "layer 10"]
    assert found.layers[-1].slug == "layer-010"
    assert found.stacks == (layer.partition("{")[0] + "N",)


def test_no_layers_are_no_groups() -> None:
    assert group({"conv1.weight": 1, "fc.weight": 1, "layers": 1, "h.x.y": 1}) is None


def test_of_several_stacks_the_biggest_is_the_last() -> None:
    found = group({"decoder.block.0.w": 5, "decoder.block.1.w": 5, "encoder.block.0.w": 4, "encoder.block.1.w": 4})
    assert found is not None
    assert [one.label for one in found.layers] == [
        *("encoder.block.0", "encoder.block.1", "decoder.block.0", "decoder.block.1")
    ]
    assert [one.slug for one in found.layers] == ["layer-000", "layer-001", "layer-002", "layer-003"]


def test_a_pattern_tells_layers_where_names_are_others() -> None:
    found = groups("net.stage1.w", "net.stage2.w", "net.stem.w", pattern=r"stage(\d+)\.")
    assert [one.tensors for one in found.layers] == [("net.stage1.w",), ("net.stage2.w",)]
    assert found.stacks == ("net.stageN",)
    with pytest.raises(FormatError, match=r"finds 'w' in 'net.w', which is no number"):
        groups("net.w", pattern=r"net\.(\w)")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("layer", "has 0 groups; expected one"),
        ("(a)(b)", "has 2 groups"),
        ("(", "is no regular expression"),
        ("(a)" + "a" * 500, "has 500 characters at most"),
    ],
)
def test_a_pattern_has_one_group(text: str, rule: str) -> None:
    with pytest.raises(FormatError, match=re.escape(rule)):
        parse_pattern(text)


CAUSAL = {"architectures": ["GemmaForCausalLM"]}


@pytest.mark.parametrize(
    ("head", "config", "shared"),
    [
        ("model.norm.weight", {"tie_word_embeddings": True}, True),
        ("model.norm.weight", {"text_config": {"tie_word_embeddings": True}}, True),
        ("model.norm.weight", CAUSAL, True),
        ("model.norm.weight", CAUSAL | {"tie_word_embeddings": False}, False),
        ("model.norm.weight", {"architectures": ["BertModel"]}, False),
        ("model.norm.weight", {}, False),
        ("model.norm.weight", {"architectures": "x", "text_config": 1, "tie_word_embeddings": "yes"}, False),
        ("lm_head.weight", {"tie_word_embeddings": True}, False),
    ],
)
def test_a_head_without_a_matrix_shares_the_embedding(head: str, config: dict[str, object], shared: bool) -> None:  # noqa: FBT001
    assert shares_embedding(groups("model.embed_tokens.weight", "model.layers.0.w", head), config) is shared
    assert not shares_embedding(groups("model.layers.0.w", head), config)
