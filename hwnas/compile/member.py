"""One sub-network in one folder: weights, configuration, tokenizer, ONNX, engine and manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hwnas.compile.engine import ShapeProfile, build_engine, plan_build
from hwnas.compile.export import export_onnx, max_sequence_length, verify_onnx
from hwnas.compile.manifest import FILE_NAME, Numbers, check_manifest, write_manifest
from hwnas.errors import CheckpointError, RunFolderError, UsageError
from hwnas.locks import lock
from hwnas.provenance import hash_json, versions
from hwnas.training.seal import disk_errors

if TYPE_CHECKING:
    from hwnas.spaces.architecture import Architecture
    from hwnas.targets import Target

ONNX_NAME = "model.onnx"
ENGINE_NAME = "model.engine"


def build_member(
    model: nn.Module,
    tokenizer: Any,
    arch: Architecture,
    folder: str | os.PathLike[str],
    *,
    target: Target,
    precision: str,
    shapes: ShapeProfile,
    numbers: Numbers | None = None,
    runtime: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Extract a sub-network and build everything that is needed to serve it.

    The folder is made beside its final place and swapped in when it is complete; a folder that is there already is
    kept if its files and its inputs (weights, architecture, target, precision, shapes, versions) agree: then
    only the numbers in the manifest are brought up to date.

    Args:
        model: The fine-tuned super-network, a Hugging Face classification module.
        tokenizer: Its tokenizer.
        arch: The sub-network.
        folder: Where it goes. Replaced only if it is a built member or empty.
        target, precision, shapes, runtime: See `build_engine`.
        numbers: What is known of this sub-network.
        progress: Called with the name of each step as it starts.

    Returns:
        The manifest. Its key `reused` is not in the file: True if nothing was built.

    Raises:
        UsageError: The shapes ask for longer inputs than the model has positions for.
        BuildError: The export, the comparison with PyTorch, or the engine failed; nothing is left behind.
        UnsupportedBuildError, MissingExtraError, DeviceNotFoundError: See `plan_build`; raised before any work.
        RunFolderError: The folder holds something else, or cannot be written.
    """
    from hwnas.slicing.extract import extract, save_extracted

    folder, say, numbers = Path(folder), progress or _silent, numbers or Numbers()
    runtime = plan_build(target, precision, runtime=runtime)
    longest = max_sequence_length(model)
    if shapes.sequence_length[2] > longest:
        raise UsageError(
            f"the shapes go up to {shapes.sequence_length[2]} tokens, but the model has positions for {longest}; ask "
            f"for at most {longest}."
        )
    say("extract")
    module = extract(model, arch).eval()
    config: Any = module.config
    inputs = {
        "weights": hash_weights(module),
        "config": hash_json(json.loads(config.to_json_string(use_diff=False))),
        "tokenizer": _hash_tokenizer(tokenizer),
        "architecture": arch.to_json(),
        "target": target.name,
        "compute_capability": list(target.compute_capability or ()),
        "precision": precision,
        "shapes": shapes.to_json(),
        "runtime": runtime,
        "versions": versions(),
    }
    temporary = folder.with_name(f".{folder.name}.tmp")
    alone = ExitStack()
    try:
        alone.enter_context(_alone_in(folder.parent))
        alone.callback(_discard, temporary)  # before the folder is let go
        kept = _kept(folder, inputs)
        if kept is not None:
            if kept["numbers"] != _plain(numbers.to_json()):
                content = {key: value for key, value in kept.items() if key not in ("versions", "files")}
                kept = _plain(write_manifest(folder, {**content, "numbers": numbers.to_json()}))
            return {**kept, "reused": True}
        _discard(temporary)
        temporary.mkdir(parents=True)
        say("save")
        with disk_errors():
            save_extracted(module, temporary, tokenizer)
        say("export")
        export_onnx(module, temporary / ONNX_NAME, precision=precision, sequence_length=shapes.sequence_length[1])
        say("verify")
        checked = verify_onnx(module, temporary / ONNX_NAME, shapes=_verified(shapes))
        say("engine")
        engine = build_engine(
            temporary / ONNX_NAME, temporary / ENGINE_NAME, target, precision, shapes, runtime=runtime
        )
        say("manifest")
        content = {
            "architecture": arch.to_json(),
            "target": _facts(target),
            "precision": precision,
            "shapes": shapes.to_json(),
            "engine": engine.to_json(),
            "verification": checked.to_json(),
            "numbers": numbers.to_json(),
            "inputs": inputs,
        }
        manifest = write_manifest(temporary, content)
        _swap(temporary, folder)
    except OSError as error:
        raise RunFolderError(
            f"cannot write {error.filename or folder}: {error.strerror or error}; choose a folder that is writable."
        ) from error
    finally:
        alone.close()
    return {**_plain(manifest), "reused": False}


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process builds in a folder, and keep others out; not where folders cannot be locked."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle)
        yield
    finally:
        os.close(handle)


def hash_weights(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of a module's state, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy() if value.numel() else b"")
    return digest.hexdigest()


def _hash_tokenizer(tokenizer: Any) -> str:
    """Hash of what decides the token ids; padding and truncation are left out, every call changes them."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return hash_json({"class": type(tokenizer).__name__, "vocabulary": dict(tokenizer.get_vocab())})
    content = json.loads(backend.to_str())
    return hash_json({key: value for key, value in content.items() if key not in ("padding", "truncation")})


def _kept(folder: Path, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of a folder that need not be built again, else None. RunFolderError if it must not be replaced."""
    if not folder.exists():
        return None
    if not folder.is_dir() or (not (folder / FILE_NAME).is_file() and any(folder.iterdir())):
        raise RunFolderError(f"{folder} exists and is no built member; choose another folder or remove it.")
    try:
        manifest = check_manifest(folder)
    except CheckpointError:  # empty, damaged, or of another schema: it is built again
        return None
    whole = {ONNX_NAME, "config.json"} <= set(manifest["files"])
    return manifest if whole and manifest.get("inputs") == _plain(inputs) and "numbers" in manifest else None


def _verified(shapes: ShapeProfile) -> tuple[tuple[int, int], ...]:
    """Shapes to compare: one token, an odd padded batch, and the profile's own corners with small batches."""
    shortest, tuned, longest = shapes.sequence_length
    wanted = ((1, shortest), (3, min(7, longest)), (2, tuned), (1, longest))
    return tuple(dict.fromkeys(wanted))


def _facts(target: Target) -> dict[str, Any]:
    """The target's fields as JSON types."""
    names = [item.name for item in fields(target)] if is_dataclass(target) else list(vars(target))
    values = {name: getattr(target, name) for name in names}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}


def _plain(data: Any) -> Any:
    """What comes back when `data` is written as JSON and read again."""
    return json.loads(json.dumps(data))


def _swap(temporary: Path, folder: Path) -> None:
    """Put a complete folder in the place of an old one."""
    old = folder.with_name(f".{folder.name}.old")
    _discard(old)
    if folder.exists():
        os.rename(folder, old)
    os.rename(temporary, folder)
    _discard(old)


def _discard(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _silent(_: str) -> None:
    """No progress."""
