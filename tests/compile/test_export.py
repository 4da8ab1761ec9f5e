from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from transformers import BertForSequenceClassification

from hwnas.compile.export import TOLERANCES, default_input_names, export_onnx, max_sequence_length, verify_onnx
from hwnas.compile.onnxfile import onnx_precision
from hwnas.errors import BuildError, UsageError

OnnxOf = Callable[[str, str], Path]


def test_inputs_follow_the_family(bert: nn.Module, roberta: nn.Module) -> None:
    assert default_input_names(bert) == ("input_ids", "attention_mask", "token_type_ids")
    assert default_input_names(roberta) == ("input_ids", "attention_mask")
    # RoBERTa numbers its positions after the padding index: 66 rows serve 64 tokens.
    assert (max_sequence_length(bert), max_sequence_length(roberta)) == (64, 64)


@pytest.mark.parametrize(("name", "precision"), [("bert", "fp32"), ("roberta", "fp32"), ("odd", "fp16")])
def test_every_shape_agrees_with_pytorch(
    name: str, precision: str, onnx_of: OnnxOf, request: pytest.FixtureRequest
) -> None:
    module = request.getfixturevalue(name)
    session = onnxruntime.InferenceSession(onnx_of(name, precision), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    # The example that was traced is 2 x 16: none of these may be fixed to it.
    for batch, length in ((1, 1), (1, 7), (3, 7), (5, 16), (2, 63), (1, 64), (3, 64)):
        mask = (np.arange(length) < rng.integers(1, length + 1, size=(batch, 1))).astype(np.int64)
        feed = {
            "input_ids": rng.integers(2, 200, size=(batch, length)),
            "attention_mask": mask,
            "token_type_ids": rng.integers(0, 2, size=(batch, length)),
        }
        feed = {key: feed[key] for key in default_input_names(module)}
        with torch.no_grad():
            expected = module(**{key: torch.from_numpy(value) for key, value in feed.items()}).logits.numpy()
        (got,) = session.run(None, feed)
        np.testing.assert_allclose(got, expected, atol=TOLERANCES[precision] * max(1.0, np.abs(expected).max()))


def test_file_is_clean(bert: nn.Module, onnx_of: OnnxOf) -> None:
    path = onnx_of("bert", "fp16")
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [file.name for file in path.parent.glob(f"{path.stem}*")] == [path.name]  # weights inside
    assert len(model.graph.value_info) == 0
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)  # no paths of this machine
    axes = {value.name: [dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in model.graph.input}
    assert axes == {name: ["batch", "sequence"] for name in default_input_names(bert)}
    (logits,) = model.graph.output
    assert (logits.name, logits.type.tensor_type.elem_type) == ("logits", onnx.TensorProto.FLOAT)
    assert {value.type.tensor_type.elem_type for value in model.graph.input} == {onnx.TensorProto.INT64}


def test_module_is_left_alone_and_nothing_is_printed(
    bert: BertForSequenceClassification, onnx_of: OnnxOf, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {name: value.clone() for name, value in bert.state_dict().items()}
    bert.train()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            path = export_onnx(bert, tmp_path / "new" / "model.onnx", precision="fp16", sequence_length=500)
        assert bert.training
    finally:
        bert.eval()
    assert path.read_bytes() == onnx_of("bert", "fp16").read_bytes()  # the same module gives the same bytes
    assert all(torch.equal(value, before[name]) for name, value in bert.state_dict().items())
    assert capfd.readouterr() == ("", "")
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("name", "precision"), [("bert", "fp32"), ("roberta", "fp32"), ("bert", "fp16"), ("odd", "fp16")]
)
def test_verification_passes(name: str, precision: str, onnx_of: OnnxOf, request: pytest.FixtureRequest) -> None:
    result = verify_onnx(request.getfixturevalue(name), onnx_of(name, precision))
    assert result.passed
    assert result.not_run is None
    assert (result.precision, onnx_precision(onnx_of(name, precision))) == (precision, precision)
    assert (1, 1) in result.batches
    assert (1, 64) in result.batches
    assert 0 < result.max_abs_error <= result.tolerance * result.scale
    assert result.to_json()["batches"][0] == [1, 1]


def test_bfloat16_says_that_it_was_not_run(bert: nn.Module, onnx_of: OnnxOf) -> None:
    result = verify_onnx(bert, onnx_of("bert", "bf16"), shapes=[(2, 9)])
    assert result.precision == "bf16"
    assert result.not_run is not None
    assert "compared the float32 export" in result.not_run
    assert result.tolerance == 1e-4


def test_other_weights_are_found(bert: nn.Module, onnx_of: OnnxOf, tmp_path: Path) -> None:
    model = onnx.load(onnx_of("bert", "fp32"))
    weight = next(item for item in model.graph.initializer if item.name.endswith("classifier.weight"))
    values = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(values + np.float32(0.01), weight.name))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(BuildError, match=r"other\.onnx differs from its PyTorch source by 0\.\d+"):
        verify_onnx(bert, tmp_path / "other.onnx")
    assert verify_onnx(bert, tmp_path / "other.onnx", tolerance=0.5).passed
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), weight.name))
    onnx.save(model, tmp_path / "nan.onnx")
    with pytest.raises(BuildError, match=r"nan\.onnx gives logits that are not finite"):
        verify_onnx(bert, tmp_path / "nan.onnx")


def test_damaged_files_are_refused(bert: nn.Module, onnx_of: OnnxOf, tmp_path: Path) -> None:
    data = onnx_of("bert", "fp32").read_bytes()
    for name, content in (("cut", data[: len(data) // 2]), ("text", b"hello" * 50), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BuildError, match=f"{name} is not a readable ONNX file"):
            verify_onnx(bert, tmp_path / name)
    with pytest.raises(BuildError, match="is not a readable ONNX file"):
        verify_onnx(bert, tmp_path / "absent")


def test_what_cannot_be_exported(bert: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="precision 'int8' cannot be exported; expected one of fp32, fp16, bf16"):
        export_onnx(bert, tmp_path / "model.onnx", precision="int8")

    class FixedLength(nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return (input_ids * attention_mask).float().view(-1, 16)

    with pytest.raises(BuildError, match="FixedLength could not be exported to ONNX in fp32") as error:
        export_onnx(FixedLength(), tmp_path / "model.onnx", sequence_length=16)
    assert "\n" not in str(error.value)
    (tmp_path / "file").write_text("in the way")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
