"""A tiny network for every runtime: running it loads what a runtime loads with its first network only."""

from __future__ import annotations

from pathlib import Path

import numpy as np

TOKENS = 8
"""Tokens of its sequences."""

VOCABULARY = 16
"""Token ids that it knows."""

WIDTH = 64
"""Numbers for each token."""


def write_onnx(path: Path) -> None:
    """Write it as an ONNX file: an embedding, a product, a normalisation, attention and a head, in float32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def ones(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.ones(shape, dtype=np.float32), name)

    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["embedded"]),
        helper.make_node("LayerNormalization", ["embedded", "scale", "bias"], ["normed"]),
        helper.make_node("MatMul", ["normed", "square"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["states"]),
        helper.make_node("Transpose", ["states"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["states", "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"]),
        helper.make_node("MatMul", ["shares", "states"], ["mixed"]),
        helper.make_node("Erf", ["mixed"], ["active"]),
        helper.make_node("ReduceMean", ["active"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["pooled", "head"], ["logits"]),
    ]
    weights = [
        ones("words", VOCABULARY, WIDTH),
        ones("scale", WIDTH),
        ones("bias", WIDTH),
        ones("square", WIDTH, WIDTH),
        ones("head", WIDTH, 2),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "tiny", [ids], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
