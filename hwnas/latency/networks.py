"""Networks to be timed, as files: built with random weights, exported once a pattern of blocks.

Tracing a network takes seconds, and networks that keep the same blocks differ in the shapes of their weights alone. So
one network of each pattern is traced, and the others are written by putting their weights into its graph: node by node
it is what the exporter would give. Every such file is compared with PyTorch before it is timed; where the graph
does not fit, the network is traced by itself. 8-bit files and engines are made from such a file.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from torch import nn

from hwnas.compile.engine import ShapeProfile, build_engine
from hwnas.compile.export import check_length, default_input_names, export_onnx, verify_onnx
from hwnas.compile.onnxfile import write_file
from hwnas.compile.quantize import TOLERANCES, Batch, initializer_bytes, quantize_dynamic, quantize_static
from hwnas.errors import BuildError, UsageError
from hwnas.models import get_family
from hwnas.profilers import Workload
from hwnas.profilers.base import random_inputs
from hwnas.profilers.bitsandbytes import weight_bytes
from hwnas.slicing.extract import build_extracted
from hwnas.spaces.architecture import Architecture

if TYPE_CHECKING:
    from hwnas.targets import Target

Pattern = tuple[tuple[int, int], ...]
"""Per remaining layer: 0, 1 or 2 for no, one or more heads, and 0 or 1 for no or some units."""

ARTIFACTS: Mapping[str, tuple[str, ...]] = {
    "onnx": ("fp32", "fp16", "bf16", "int8", "int8-dynamic"),
    "module": ("fp32", "fp16", "bf16", "int8", "nf4", "fp4"),
    "engine": ("fp32", "fp16", "bf16", "int8"),
}
"""The files there are, each with its precisions."""

_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_GRAPHS: dict[tuple[str, str, int, Pattern], _Graph | None] = {}  # without weights, so of some 10 kB each
_CHECKED = ((2, 9),)  # (batch, sequence) of the comparison with PyTorch
_CALIBRATION = 2  # sequences of random tokens


@dataclass(frozen=True)
class Network:
    """An exported network.

    Attributes:
        path: The file.
        weight_bytes: Bytes of its weights in its precision; of an 8-bit ONNX file those inside it, scales included; of
            a module for bitsandbytes those it will take, see `hwnas.profilers.bitsandbytes.weight_bytes`.
        traced: Whether it was traced by itself rather than written into another one's graph.
        file_bytes: Size of the file.
    """

    path: Path
    weight_bytes: int
    traced: bool
    file_bytes: int


class Exporter:
    """Writes sub-networks of one super-network as the files that a runtime opens.

    Args:
        config: Hugging Face configuration of the super-network.
        precision: One that `ARTIFACTS` lists.
        sequence_length: Tokens of the runs to come.
        seed: Seed of the random weights, and of the tokens that random networks are calibrated on.
        artifact: `"onnx"`, `"module"` (a float32 module written with `torch.save`, which the runtime casts) or
            `"engine"`.
        calibration: Inputs from the task that int8 files are calibrated on; None takes random tokens, which is enough
            for a latency.
        target: The device. Engines are built for it, and it decides what bitsandbytes leaves unquantised takes.
        batch: Sequences in a run: an engine serves this batch and this length alone.
        runtime: What builds engines: `"tensorrt"` or `"tensorrt-rtx"`; None lets `build_engine` choose.

    Raises:
        UsageError: The artifact does not exist, or not in this precision; an engine without a target.
    """

    def __init__(
        self,
        config: Any,
        precision: str,
        sequence_length: int,
        *,
        seed: int = 0,
        artifact: str = "onnx",
        calibration: Sequence[Batch] | None = None,
        target: Target | None = None,
        batch: int = 1,
        runtime: str | None = None,
    ) -> None:
        if precision not in ARTIFACTS.get(artifact, ()):
            have = "; ".join(f"{name}: {', '.join(precisions)}" for name, precisions in ARTIFACTS.items())
            raise UsageError(f"there is no artifact {artifact!r} of precision {precision!r}; there are {have}.")
        if artifact == "engine" and target is None:
            raise UsageError("an engine is built for a target; give the exporter one.")
        self._config, self._precision, self._length, self._seed = config, precision, sequence_length, seed
        self._artifact, self._calibration, self._target = artifact, calibration, target
        self._batch, self._runtime = batch, runtime
        self._float = precision if precision in _TYPES else "fp32"
        self._dimensions = get_family(config).dimensions(config)
        self._key = str(config.to_json_string(use_diff=False)), self._float, sequence_length

    def export(self, arch: Architecture, path: Path, *, module: nn.Module | None = None) -> Network:
        """Write a sub-network.

        Args:
            arch: The sub-network.
            path: The file.
            module: Its extracted module; None builds one with random weights.

        Raises:
            UsageError: The model has no positions for so many tokens.
            BuildError: The exporter, the quantiser or the builder failed, or the file does not agree with PyTorch.
        """
        module = build_random(self._config, arch, seed=self._seed) if module is None else module.eval()
        check_length(module, self._length)
        if self._artifact == "module":
            return self._export_module(module, path)
        unfinished = path.with_suffix(".float.onnx")
        quantised = path.with_suffix(".quantised.onnx")
        try:
            last = path if self._artifact == "onnx" else quantised
            if self._precision == self._float:
                traced = self._export_float(arch, last, module)
                size = self._float_bytes(module)
            else:
                traced = self._export_float(arch, unfinished, module)
                self._quantise(module, unfinished, last)
                size = initializer_bytes(last)
            if self._artifact == "engine":
                assert self._target is not None
                shapes = ShapeProfile((self._batch,) * 3, (self._length,) * 3)
                build_engine(last, path, self._target, self._float, shapes, runtime=self._runtime)
        finally:
            unfinished.unlink(missing_ok=True)
            quantised.unlink(missing_ok=True)
        return Network(path, size, traced, path.stat().st_size)

    def _float_bytes(self, module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters()) * _TYPES[self._float].itemsize

    def _export_module(self, module: nn.Module, path: Path) -> Network:
        """Write the module whole, in float32 on the processor; the one that was given stays as it is."""
        kind = "cpu" if self._target is None else self._target.kind
        floating = self._precision in _TYPES
        size = self._float_bytes(module) if floating else weight_bytes(module, self._precision, kind=kind)
        if any(value.device.type != "cpu" or value.dtype != torch.float32 for value in module.parameters()):
            module = copy.deepcopy(module).cpu().float()
        buffer = io.BytesIO()
        torch.save(module, buffer)
        write_file(path, buffer.getvalue())
        return Network(path, size, traced=False, file_bytes=path.stat().st_size)

    def _export_float(self, arch: Architecture, path: Path, module: nn.Module) -> bool:
        """Write the float ONNX file; whether the network had to be traced by itself."""
        graph = self._graph(arch, path.with_suffix(".graph.onnx"))
        if graph is not None:
            with suppress(BuildError):  # the graph of the pattern does not serve this network
                graph.write(module, path)
                self._verify(module, path)
                return False
        export_onnx(module, path, precision=self._float, sequence_length=self._length)
        self._verify(module, path)
        return True

    def _verify(self, module: nn.Module, path: Path) -> None:
        """BuildError if the file computes something else; then it does not stay."""
        if self._float == "bf16":
            return  # nothing on the processor runs it
        try:
            verify_onnx(module, path, shapes=_CHECKED)
        except BuildError:
            path.unlink(missing_ok=True)
            raise

    def _quantise(self, module: nn.Module, source: Path, path: Path) -> None:
        """Write the 8-bit file of a float32 one, and compare it with PyTorch."""
        if self._precision == "int8-dynamic":
            quantize_dynamic(source, path)
        else:
            activations = "int8" if self._artifact == "engine" else "uint8"
            quantize_static(source, path, self._calibration or self._random_tokens(module), activations=activations)
        found = verify_onnx(module, path, shapes=_CHECKED, tolerance=math.inf)
        allowed = TOLERANCES[self._precision] * found.scale
        if found.max_abs_error > allowed:
            path.unlink(missing_ok=True)
            raise BuildError(
                f"the {self._precision} file differs from PyTorch by {found.max_abs_error:.3g} at logits up to "
                f"{found.scale:.3g}, but may by {allowed:.3g}; calibrate it on more data, or use fp16 or fp32."
            )

    def _random_tokens(self, module: nn.Module) -> list[Batch]:
        workload = Workload(self._precision, _CALIBRATION, self._length, 1, int(self._config.vocab_size))
        return [random_inputs(default_input_names(module), workload, np.random.default_rng(self._seed))]

    def _graph(self, arch: Architecture, scratch: Path) -> _Graph | None:
        """The traced graph of an architecture's pattern of blocks; None if it cannot be filled with other weights."""
        # Attention with a single head is traced to one more reshape.
        pattern = tuple((min(heads, 2), min(units, 1)) for heads, units in arch.shape)
        key = (*self._key, pattern)
        if key not in _GRAPHS:
            size = self._dimensions
            dropped = (0,) * (size.layers - len(pattern))
            widest = Architecture(
                tuple((0, 1, size.heads)[heads] for heads, _ in pattern) + dropped,
                tuple((0, size.units)[units] for _, units in pattern) + dropped,
            )
            module = build_random(self._config, widest, seed=self._seed)
            try:
                export_onnx(module, scratch, precision=self._float, sequence_length=self._length)
                _GRAPHS[key] = _Graph(onnx.load(scratch), _arrays(module, self._float), self._float)
            except BuildError:
                _GRAPHS[key] = None
            finally:
                scratch.unlink(missing_ok=True)
        return _GRAPHS[key]


def build_random(config: Any, arch: Architecture, *, seed: int = 0) -> nn.Module:
    """An extracted module with random weights, no two vectors of them equal; the global generator is left as it was.

    Fresh biases are all zero, and the exporter would keep only one of them: a network with trained weights has more.

    Raises:
        UnsupportedModelError, UsageError: See `build_extracted`.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        module = build_extracted(config, arch)
        for parameter in module.parameters():
            if parameter.dim() < 2:
                parameter.add_(torch.empty_like(parameter).normal_(std=0.05))
    return module


class _Graph:
    """A traced network without its weights, and the place of each weight."""

    def __init__(self, proto: onnx.ModelProto, weights: Mapping[str, np.ndarray[Any, Any]], precision: str) -> None:
        """Find every weight of the module among the graph's initialisers, by value, as it is or transposed.

        Raises:
            BuildError: An initialiser is no weight of the module and no constant that all networks share.
        """
        self._proto, self._precision = proto, precision
        self._slots: list[tuple[int, str, bool]] = []
        for index, tensor in enumerate(proto.graph.initializer):
            if tensor.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16):
                continue
            found = _find(_raw(tensor), tuple(tensor.dims), weights)
            if found is not None:
                self._slots.append((index, *found))
                tensor.raw_data = b""
            elif tensor.dims and int(np.prod(tensor.dims)) > 1:
                raise BuildError(f"the graph's {tensor.name!r} is no weight of the module; export it by itself.")

    def write(self, module: nn.Module, path: Path) -> None:
        """Write the graph with a module's weights, which must have the names of the traced one's.

        Raises:
            BuildError: A weight is missing, or the file cannot be written.
        """
        weights = _arrays(module, self._precision)
        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        for index, name, transposed in self._slots:
            if name not in weights:
                raise BuildError(f"the network has no weight {name!r}; export it by itself.")
            array = weights[name].T if transposed else weights[name]
            tensor = proto.graph.initializer[index]
            del tensor.dims[:]
            tensor.dims.extend(array.shape)
            tensor.raw_data = array.tobytes()
        write_file(path, proto.SerializeToString(deterministic=True))


def _arrays(module: nn.Module, precision: str) -> dict[str, np.ndarray[Any, Any]]:
    """The floating-point weights by name in a precision, as bit patterns where numpy lacks the type."""
    made = {}
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            cast = tensor.detach().to(_TYPES[precision])
            made[name] = (cast.view(torch.int16) if precision == "bf16" else cast).cpu().numpy()
    return made


def _raw(tensor: onnx.TensorProto) -> bytes:
    """Little-endian bytes of a tensor."""
    return bytes(tensor.raw_data) if tensor.raw_data else bytes(onnx.numpy_helper.to_array(tensor).tobytes())


def _find(raw: bytes, dims: tuple[int, ...], weights: Mapping[str, np.ndarray[Any, Any]]) -> tuple[str, bool] | None:
    """(name, whether it is transposed) of the weight that has these bytes."""
    for name, weight in weights.items():
        if weight.shape == dims and weight.nbytes == len(raw) and weight.tobytes() == raw:
            return name, False
    for name, weight in weights.items():
        if weight.ndim == 2 and weight.T.shape == dims and weight.nbytes == len(raw) and weight.T.tobytes() == raw:
            return name, True
    return None
