"""Models as programs leave them on the disk, small, written with the formats' own libraries."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.external_data_helper import set_external_data
from safetensors.numpy import save_file

Tensors = dict[str, npt.NDArray[np.generic]]

_PER_LAYER = {
    "input_layernorm.weight": (1, 0),
    "mlp.down_proj.weight": (1, 2),
    "mlp.gate_proj.weight": (2, 1),
    "mlp.up_proj.weight": (2, 1),
    "post_attention_layernorm.weight": (1, 0),
    "self_attn.k_proj.weight": (1, 1),
    "self_attn.o_proj.weight": (1, 1),
    "self_attn.q_proj.weight": (1, 1),
    "self_attn.v_proj.weight": (1, 1),
}
"""Tensors of a layer, with rows and columns in multiples of the width; 0 for a vector."""


def llama(directory: Path, *, width: int = 32, layers: int = 24, words: int = 256, shards: int = 5) -> Path:
    """Write a model with the names of Llama's tensors, tied embeddings, half of it bfloat16; return ``directory``.

    numpy has no bfloat16, so matrices are written as 16-bit integers and the headers then say what they are.
    """
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    names: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (words, width))]
    for layer in range(layers):
        for name, (rows, columns) in _PER_LAYER.items():
            shape = (rows * width, columns * width) if columns else (width,)
            names.append((f"model.layers.{layer}.{name}", shape))
    names.append(("model.norm.weight", (width,)))
    per_shard = -(-len(names) // shards)
    weight_map = {}
    total = 0
    for at in range(shards):
        file = f"model-{at + 1:05}-of-{shards:05}.safetensors"
        tensors = {}
        for name, dimensions in names[at * per_shard : (at + 1) * per_shard]:
            kind = np.uint16 if len(dimensions) > 1 else np.uint32
            tensors[name] = random.integers(0, np.iinfo(kind).max, dimensions, kind)
            weight_map[name] = file
            total += tensors[name].nbytes
        save_file(tensors, directory / file, metadata={"format": "pt"})
        rename_dtypes(directory / file, {"U16": "BF16", "U32": "F32"})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True})
    )
    (directory / "tokenizer.json").write_text("{}")
    (directory / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    return directory


def rename_dtypes(path: Path, names: Mapping[str, str]) -> None:
    """Let the header of a safetensors file call types otherwise."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for name, tensor in header.items():
        if name != "__metadata__":
            tensor["dtype"] = names.get(tensor["dtype"], tensor["dtype"])
    write_safetensors(path, header, content[8 + length :])


def write_safetensors(path: Path, header: object, data: bytes = b"") -> None:
    """Write a file of this header, which may be wrong, and what follows it."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write_gguf(directory: Path, *, shards: int) -> Path:
    """Write a model as GGUF files that belong together, with a licence beside them; return ``directory``."""
    directory.mkdir(parents=True)
    random = np.random.default_rng(1)
    layers = 2 * shards
    writer = gguf.GGUFWriter(directory / "tiny.gguf", "llama", split_max_tensors=layers // shards)
    writer.add_block_count(layers)
    for layer in range(layers):
        writer.add_tensor(f"blk.{layer}.ffn_up.weight", random.random((64, 64), np.float32).astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (directory / "LICENSE").write_text("free")
    return directory


def write_onnx(directory: Path) -> Path:
    """Write a model as ONNX whose weights are files beside it, two in one file and one alone; return ``directory``."""
    directory.mkdir(parents=True)
    random = np.random.default_rng(1)
    weights = [numpy_helper.from_array(random.random((16, 16), np.float32), f"w{at}") for at in range(3)]
    nodes = [onnx.helper.make_node("MatMul", [f"x{at}", f"w{at}"], [f"x{at + 1}"]) for at in range(3)]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 16]) for name in ("x0", "x3")]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "tiny", ends[:1], ends[1:], weights))
    for at, file in enumerate(("model.onnx_data", "model.onnx_data", "onnx__MatMul_2")):
        set_external_data(model.graph.initializer[at], file)
    onnx.save(model, directory / "model.onnx")
    return directory


def hub_cache(root: Path, model: Path) -> Path:
    """Copy a model into a cache as ``huggingface_hub`` has it; return the repository's directory."""
    repository = root / "models--lab--tiny"
    snapshot = repository / "snapshots" / "0123abcd"
    for one in (repository / "blobs", repository / "refs", snapshot):
        one.mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abcd")
    for file in model.iterdir():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        (repository / "blobs" / digest).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(f"../../blobs/{digest}")
    return repository
