"""From a PyTorch module to one ONNX file, and the proof that the two agree.

`export_onnx` writes the file; `verify_onnx` runs it in ONNX Runtime on the processor and compares the logits with
those of the module. Both axes of every input (batch and sequence) stay dynamic.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from hwnas.compile.onnxfile import first_line, name_axes, onnx_precision, quiet, strip, write_file
from hwnas.errors import BuildError, UsageError
from hwnas.models.positions import learnt_positions
from hwnas.profilers.base import no_collection

PRECISIONS: tuple[str, ...] = ("fp32", "fp16", "bf16")
"""Precisions a module can be exported in."""

TOLERANCES: Mapping[str, float] = MappingProxyType({"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2})
"""Largest error of a logit that `verify_onnx` accepts, as a share of the largest logit of the reference (or of 1.0,
whichever is larger). The reference is the float32 module, so fp16 and bf16 include the rounding of the weights."""

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_ONE_FILE = 2**31 - 1  # protobuf's limit, bytes


@dataclass(frozen=True)
class Verification:
    """What `verify_onnx` compared.

    Attributes:
        precision: Precision of the ONNX file.
        max_abs_error: Largest absolute difference between two logits.
        scale: Largest absolute logit of the reference, at least 1.0.
        tolerance: Accepted `max_abs_error / scale`.
        passed: Whether `max_abs_error <= tolerance * scale`.
        batches: The (batch, sequence) shapes that ran.
        runtime: What ran the file, with its version.
        not_run: None if this very file ran; else why it could not, and then the figures are those of the float32
            export of the same module.
    """

    precision: str
    max_abs_error: float
    scale: float
    tolerance: float
    passed: bool
    batches: tuple[tuple[int, int], ...]
    runtime: str
    not_run: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {**self.__dict__, "batches": [list(shape) for shape in self.batches]}


class _Logits(nn.Module):
    """Positional inputs in a fixed order in, float32 logits out."""

    def __init__(self, module: nn.Module, input_names: Sequence[str]) -> None:
        super().__init__()
        self.module, self.input_names = module, tuple(input_names)

    def forward(self, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        output = self.module(**dict(zip(self.input_names, inputs, strict=True)))
        return getattr(output, "logits", output).float()  # type: ignore[no-any-return]


def default_input_names(module: nn.Module) -> tuple[str, ...]:
    """Inputs that the tokenizer of the module's family gives: segment ids only where there is more than one segment."""
    segments = getattr(getattr(module, "config", None), "type_vocab_size", None) or 0
    return ("input_ids", "attention_mask", *(("token_type_ids",) if segments > 1 else ()))


def max_sequence_length(module: nn.Module) -> int:
    """Longest input, in tokens, for which the module has positions."""
    rows = learnt_positions(module) or getattr(getattr(module, "config", None), "max_position_embeddings", None)
    return int(rows) if rows else 512


def check_length(module: nn.Module, tokens: int) -> None:
    """UsageError if the module has positions for fewer tokens."""
    longest = max_sequence_length(module)
    if tokens > longest:
        raise UsageError(
            f"sequences of {tokens} tokens, but the model has positions for {longest}; ask for at most {longest}."
        )


def export_onnx(
    module: nn.Module,
    path: str | os.PathLike[str],
    *,
    precision: str = "fp32",
    sequence_length: int = 128,
    input_names: Sequence[str] | None = None,
) -> Path:
    """Write a sequence classifier as one ONNX file with dynamic batch and sequence axes.

    The module itself is not changed: a copy on the processor, in evaluation mode, is cast to the precision and
    traced. Weights are inside the file, so it must stay under 2 GiB. The same module gives the same bytes.

    Args:
        module: Hugging Face classification module (or anything that returns logits or `.logits`).
        path: File to write; replaced in one step.
        precision: `"fp32"`, `"fp16"` or `"bf16"`: type of weights and activations. Logits are float32 always.
        sequence_length: Tokens of the example that is traced; the file serves any length all the same.
        input_names: Inputs, each int64 `[batch, sequence]`; None takes `default_input_names`.

    Returns:
        The path. The file's output is `logits`, float32 `[batch, labels]`.

    Raises:
        UsageError: Unknown precision.
        BuildError: The module cannot be traced, an axis would be fixed to the example's, or the file exceeds 2 GiB.
    """
    if precision not in _DTYPES:
        raise UsageError(f"precision {precision!r} cannot be exported; expected one of {', '.join(PRECISIONS)}.")
    path = Path(path)
    names = tuple(input_names) if input_names is not None else default_input_names(module)
    source = _prepared(module).to(_DTYPES[precision])
    longest = max_sequence_length(source)
    # 0 and 1 are always fixed by the tracer: the example has at least two of everything.
    inputs = _inputs(source, names, (2, max(2, min(sequence_length, longest))), np.random.default_rng(0))
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("sequence", min=1, max=longest)}
    try:
        with quiet(), no_collection(), torch.no_grad():
            traced = torch.export.export(
                _Logits(source, names).eval(),
                (tuple(inputs[name] for name in names),),
                dynamic_shapes=(tuple(axes for _ in names),),
                strict=False,
            )
            program = torch.onnx.export(
                traced, dynamo=True, input_names=list(names), output_names=["logits"], verbose=False, optimize=True
            )
            assert program is not None
            proto = program.model_proto
    except Exception as error:  # the exporter raises many types; all of them mean that there is no file
        raise BuildError(
            f"{type(module).__name__} could not be exported to ONNX in {precision}: {first_line(error)}"
        ) from error
    strip(proto)
    name_axes(proto)
    size = proto.ByteSize()
    if size > _ONE_FILE:
        raise BuildError(
            f"the ONNX model has {size / 2**30:.1f} GiB, but one file holds under 2 GiB; export it in fp16 or bf16."
        )
    write_file(path, proto.SerializeToString(deterministic=True))
    return path


def verify_onnx(
    module: nn.Module,
    path: str | os.PathLike[str],
    *,
    tolerance: float | None = None,
    shapes: Sequence[tuple[int, int]] | None = None,
    seed: int = 0,
) -> Verification:
    """Compare an ONNX file with its source on random, partly padded batches.

    The file runs in ONNX Runtime on the processor, the module in PyTorch in float32. ONNX Runtime has no processor
    kernels for bfloat16: such a file is reported as not run, and the float32 export of the module is compared in its
    place. In fp16 ONNX Runtime casts around operators that it has only in float32.

    Args:
        module: What the file was exported from.
        path: The ONNX file.
        tolerance: Accepted error as a share of the largest logit; None takes `TOLERANCES` of the file's precision.
        shapes: (batch, sequence) pairs to run; None takes one token, odd lengths, 128 and the longest input.
        seed: Seed of the random inputs.

    Raises:
        BuildError: The file cannot be read or run, logits are not finite, or the error exceeds the tolerance.
    """
    path = Path(path)
    precision = onnx_precision(path)
    accepted = TOLERANCES[precision] if tolerance is None else tolerance
    source = _prepared(module).float()
    longest = max_sequence_length(source)
    if shapes is None:
        shapes = tuple(dict.fromkeys((b, min(s, longest)) for b, s in ((1, 1), (3, 7), (2, 128), (1, longest))))
    not_run = None
    session, refusal = open_session(path)
    if session is None and precision == "bf16":
        not_run = f"ONNX Runtime has no bfloat16 kernels on the processor ({refusal}); compared the float32 export"
        with tempfile.TemporaryDirectory() as folder:
            names = tuple(value.name for value in onnx.load(path, load_external_data=False).graph.input)
            session, refusal = open_session(export_onnx(source, Path(folder) / "fp32.onnx", input_names=names))
        accepted = TOLERANCES["fp32"] if tolerance is None else tolerance
    if session is None:
        raise BuildError(f"ONNX Runtime does not accept {path.name}: {refusal}")
    error, scale = _compare(source, session, shapes, np.random.default_rng(seed), path.name)
    import onnxruntime

    result = Verification(
        precision=precision,
        max_abs_error=error,
        scale=scale,
        tolerance=accepted,
        passed=error <= accepted * scale,
        batches=tuple((int(b), int(s)) for b, s in shapes),
        runtime=f"onnxruntime {onnxruntime.__version__}",
        not_run=not_run,
    )
    if not result.passed:
        raise BuildError(
            f"{path.name} differs from its PyTorch source by {error:.3g} at logits up to {scale:.3g}, but {precision} "
            f"may differ by {accepted * scale:.3g}; keep the model in PyTorch, or build it in fp32."
        )
    return result


def _prepared(module: nn.Module) -> nn.Module:
    """A copy on the processor, in evaluation mode, with the attention that exports well."""
    source = copy.deepcopy(module).cpu().eval()
    choose: Any = getattr(source, "set_attn_implementation", None)
    if choose is not None:
        choose("sdpa")
    return source


def _inputs(
    source: nn.Module, names: Sequence[str], shape: tuple[int, int], rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Random token ids `[batch, sequence]`; every row but the first ends in padding of its own length."""
    config = getattr(source, "config", None)
    batch, length = shape
    pad = int(getattr(config, "pad_token_id", None) or 0)
    ids = rng.integers(0, int(getattr(config, "vocab_size", 2)), size=shape)
    ids[ids == pad] = pad + 1 if pad == 0 else pad - 1
    real = np.full(batch, length)
    real[1:] = rng.integers(1, length + 1, size=batch - 1)
    mask = (np.arange(length) < real[:, None]).astype(np.int64)
    segments = (np.arange(length) >= (real // 2)[:, None]).astype(np.int64) * mask
    made = {"input_ids": np.where(mask == 1, ids, pad), "attention_mask": mask, "token_type_ids": segments}
    unknown = [name for name in names if name not in made]
    if unknown:
        raise UsageError(f"input {unknown[0]!r} is not one of {', '.join(made)}.")
    return {name: torch.from_numpy(np.ascontiguousarray(made[name])) for name in names}


def open_session(path: Path) -> tuple[Any, str]:
    """(session, "") or (None, why not)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]), ""
    except Exception as error:  # ONNX Runtime's exceptions share no public base
        return None, first_line(error)


def _compare(
    source: nn.Module, session: Any, shapes: Sequence[tuple[int, int]], rng: np.random.Generator, name: str
) -> tuple[float, float]:
    """(largest absolute difference, largest absolute logit but at least 1.0) over all shapes."""
    names = [value.name for value in session.get_inputs()]
    worst, scale = 0.0, 1.0
    for shape in shapes:
        inputs = _inputs(source, names, shape, rng)
        with torch.no_grad():
            output = source(**inputs)
        expected = getattr(output, "logits", output).numpy()
        try:
            got = session.run(["logits"], {key: value.numpy() for key, value in inputs.items()})[0]
        except Exception as error:
            raise BuildError(
                f"{name} fails in ONNX Runtime at (batch, sequence) {shape}: {first_line(error)}"
            ) from error
        if got.shape != expected.shape:
            raise BuildError(f"{name} gives logits of shape {got.shape}, PyTorch {expected.shape}, at {shape}.")
        if not np.isfinite(expected).all():
            raise BuildError("the PyTorch module itself gives logits that are not finite; its weights are damaged.")
        if not np.isfinite(got).all():
            raise BuildError(
                f"{name} gives logits that are not finite at (batch, sequence) {shape}; build it in fp32 or bf16."
            )
        worst = max(worst, float(np.abs(got - expected).max()))
        scale = max(scale, float(np.abs(expected).max()))
    return worst, scale
