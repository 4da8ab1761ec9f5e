"""ONNX Runtime on the processor: the ONNX file itself is the engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.compile.engine import Built, ShapeProfile
from hwnas.errors import BuildError, UnsupportedBuildError

if TYPE_CHECKING:
    from hwnas.targets import Target


class OnnxRuntime:
    """Loads the file as it will be loaded when it serves; writes nothing."""

    name = "onnxruntime"

    def check(self, target: Target, precision: str) -> None:
        """See `Runtime.check`."""
        if target.kind != "cpu":
            raise UnsupportedBuildError(
                f"runtime onnxruntime builds for the target cpu, not for {target.name}; use runtime tensorrt-rtx."
            )
        if precision == "bf16":
            raise UnsupportedBuildError(
                f"ONNX Runtime has no bfloat16 kernels on the processor, so {target.name} cannot be built in bf16; "
                "use fp32 (or fp16, which it computes partly in float32)."
            )

    def build(self, onnx_path: Path, target: Target, precision: str, shapes: ShapeProfile) -> Built:
        """See `Runtime.build`."""
        import onnxruntime

        from hwnas.compile.export import open_session

        session, refusal = open_session(onnx_path)
        if session is None:
            raise BuildError(f"ONNX Runtime does not accept {onnx_path.name}: {refusal}")
        return Built(None, onnxruntime.__version__)


RUNTIME = OnnxRuntime()
