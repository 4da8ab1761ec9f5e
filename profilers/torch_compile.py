"""PyTorch through `torch.compile`: inductor's C++ on the processor, CUDA graphs on the GPU."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import ProfilerError
from hwnas.profilers.base import Runner, Workload, first_line
from hwnas.profilers.library import check_workload
from hwnas.profilers.modules import opened
from hwnas.profilers.torch import torch_type, torch_version

if TYPE_CHECKING:
    from torch import nn

_NUMBER = itertools.count()


class TorchCompile:
    """`torch.compile` of the whole network, as one graph.

    `open` compiles for the workload's shape, which takes 10 to 60 seconds; no timed run compiles. The first other
    shape that `infer` is given is compiled again, for any batch and length, except that a batch or a length of 1 gets
    code of its own.

    On the processor a run is the wall time of one call. On the GPU the mode is `"reduce-overhead"`: a run replays a
    CUDA graph, and the copy of the inputs from their place on the device into the graph's is in it; transfers between
    host and device are not.
    """

    name = "torch-compile"
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16")
    kinds: tuple[str, ...] = ("cpu", "gpu")
    artifact = "module"
    extra: str | None = None
    distributions: tuple[str, ...] = ("torch",)
    purpose = "PyTorch compiled by inductor; needs a C++ compiler on the processor, Triton on the GPU"

    def version(self) -> str:
        """See `Profiler.version`; that of Transformers is in it, because a run is one of its modules' calls."""
        return torch_version()

    @contextmanager
    def open(self, path: Path, workload: Workload) -> Iterator[Runner]:
        """See `Profiler.open`; the module is cast to the precision and compiled.

        Raises:
            ProfilerError: PyTorch cannot compile the network here, for instance for want of a C++ compiler.
        """
        import torch

        check_workload(self, workload)
        mode = "reduce-overhead" if workload.device == "gpu" else None
        context = opened(
            self.name,
            path,
            workload,
            lambda module, device: module.to(device, torch_type(workload)),
            lambda module: _compiled(module, mode),
        )
        try:
            runner = context.__enter__()
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            raise ProfilerError(f"torch.compile failed: {_reason(error)}") from error
        try:
            yield runner
        finally:
            context.__exit__(None, None, None)


def _compiled(module: nn.Module, mode: str | None) -> Callable[..., Any]:
    """Compile a function of its own around a module.

    PyTorch keeps compiled code per Python function, gives up on a function after 8 of them, and all networks of a
    family share one `forward`. So each gets a function that is a copy, whose code goes when the network goes. The
    whole network must become one graph: parts that would run without being compiled are an error, not a slower time.
    """
    import torch

    def call(**inputs: Any) -> Any:
        output = module(**inputs)
        return getattr(output, "logits", output)

    name = f"network_{next(_NUMBER)}"
    own = types.FunctionType(
        call.__code__.replace(co_name=name), call.__globals__, name, call.__defaults__, call.__closure__
    )
    compiled: Callable[..., Any] = torch.compile(own, fullgraph=True, mode=mode)
    if mode is None:
        return compiled

    compiler: Any = torch.compiler

    def step(**inputs: Any) -> Any:
        compiler.cudagraph_mark_step_begin()
        return compiled(**inputs)

    return step


def _reason(error: BaseException) -> str:
    text = str(error)
    if "C++ compiler" in text:
        return "it needs a C++ compiler on the processor, and found none that works; install g++, or set CXX."
    return first_line(error)


RUNTIME = TorchCompile()
