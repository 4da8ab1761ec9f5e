"""Imports point only where the architecture allows, packaging names every folder, and `--help` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ORDER = (
    "errors", "files", "locks", "provenance", "targets", "kernels", "profilers", "tasks", "models", "spaces", "slicing",
    "importance", "training", "compile", "latency", "search", "baselines", "bench", "report", "pipeline", "cli",
)  # fmt: skip
"""A package may import those before it."""

OUTER = {"targets": {"errors"}, "kernels": {"errors"}, "profilers": {"errors", "targets"}, "tasks": {"errors"}}
"""These may import less."""


def sources() -> list[tuple[str, Path]]:
    """Every source file with the package it belongs to; a file directly under `hwnas/` is its own."""
    found = [(name, path) for name in ("targets", "kernels", "profilers") for path in (ROOT / name).rglob("*.py")]
    for path in (ROOT / "hwnas").rglob("*.py"):
        parts = path.relative_to(ROOT / "hwnas").parts
        found.append((parts[0] if len(parts) > 1 else path.stem, path))
    return found


def imported(path: Path) -> set[str]:
    """Packages of hwnas that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            modules = [node.module or ""]
            if node.module == "hwnas":
                modules = [f"hwnas.{alias.name}" for alias in node.names]
        else:
            continue
        names |= {module.split(".")[1] for module in modules if module.startswith("hwnas.")}
    return names - {"__version__"}


@pytest.mark.parametrize("package", ORDER)
def test_imports_go_only_where_the_architecture_allows(package: str) -> None:
    allowed = OUTER.get(package, set(ORDER[: ORDER.index(package)])) | {package}
    for owner, path in sources():
        if owner == package:
            assert imported(path) <= allowed, f"{path} imports {imported(path) - allowed}"


def test_every_file_is_covered() -> None:
    assert {owner for owner, _ in sources()} - set(ORDER) == {"__init__", "__main__"}


def test_the_package_list_equals_the_folders() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "hwnas").rglob("__init__.py")
    } | {f"hwnas.{name}" for name in ("targets", "kernels", "profilers")}  # fmt: skip
    assert set(settings["packages"]) == folders
    assert set(settings["package-dir"]) == {"hwnas.targets", "hwnas.kernels", "hwnas.profilers"}
    without = [path for path in (ROOT / "hwnas").rglob("*.py") if not (path.parent / "__init__.py").exists()]
    assert without == []


def test_there_is_no_package_of_tests() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['hwnas', '--help']\n"
        "from hwnas.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'matplotlib', 'pandas', 'sqlalchemy', 'syne_tune'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", [path for _, path in sources()], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_documented(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 350
    assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


def commands() -> dict[str, object]:
    """Every command by its full name, those of groups too: `"table ls"`."""
    import typer.main

    from hwnas.cli.app import app

    found: dict[str, object] = {}

    def walk(group: object, prefix: str) -> None:
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            if hasattr(command, "commands"):
                walk(command, f"{prefix}{name} ")
            else:
                found[prefix + name] = command

    walk(typer.main.get_command(app), "")
    return found


def test_help_reads_like_documentation() -> None:
    """Every option says what it does, and the command's text is more than a line."""
    found = commands()
    assert {"run", "train", "profile", "search", "build", "targets", "doctor"} <= set(found)
    for name, command in found.items():
        assert len(command.help) > 100, f"{name} has hardly any help"  # type: ignore[attr-defined]
        for parameter in command.params:  # type: ignore[attr-defined]
            assert getattr(parameter, "help", None), f"{name} {parameter.name} has no help"
        assert "as_json" in {parameter.name for parameter in command.params}, name  # type: ignore[attr-defined]


def test_the_documents_name_real_commands_and_options() -> None:
    import re

    found = commands()
    names = "|".join(sorted(map(re.escape, found), key=len, reverse=True))
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for name, rest in re.findall(rf"hwnas ({names})\b([^\n`|;&]*)", document.read_text()):
            known = {flag for parameter in found[name].params for flag in parameter.opts}  # type: ignore[attr-defined]
            known |= {flag for parameter in found[name].params for flag in parameter.secondary_opts}  # type: ignore[attr-defined]
            used = set(re.findall(r"(?<!\S)--[a-z-]+", rest))
            assert used <= known | {"--help"}, f"{document.name}: hwnas {name}{rest}"
