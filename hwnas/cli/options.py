"""Options that several commands share, spelled the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.", min=0)]
TargetName = Annotated[
    str, typer.Option("--target", help="Device to work for; `hwnas targets` lists them.", rich_help_panel="Device")
]
Runtime = Annotated[
    str, typer.Option("--runtime", help="Runtime that runs and times the networks.", rich_help_panel="Device")
]
Precision = Annotated[
    str, typer.Option("--precision", help="Arithmetic type: fp32, fp16 or bf16.", rich_help_panel="Device")
]
Batch = Annotated[int, typer.Option("--batch", help="Inputs per inference.", min=1, rich_help_panel="Device")]
SequenceLength = Annotated[
    int, typer.Option("--seq-len", help="Tokens per input of the timed networks.", min=1, rich_help_panel="Device")
]
Threads = Annotated[
    int,
    typer.Option("--threads", help="CPU threads of one inference (part of the table's key).", min=1,
                 rich_help_panel="Device"),
]
Table = Annotated[
    str | None,
    typer.Option("--table", help="Latency table: a SQLite file or an SQLAlchemy URL. [default: in the user's cache "
                 "folder]", rich_help_panel="Device"),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Hugging Face sequence-classification encoder: hub name or local folder. [default: "
                 "the MiniLM of the extra 'demo']", rich_help_panel="Model and task"),
]
Task = Annotated[
    str,
    typer.Option("--task", help="Task: 'docstrings' (embedded), a GLUE task, or 'custom' with --train-file.",
                 rich_help_panel="Model and task"),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder with one sub-folder a task. [default: $HWNAS_DATA, else the hub]",
                 rich_help_panel="Model and task"),
]
