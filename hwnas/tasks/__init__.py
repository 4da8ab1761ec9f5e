"""Tasks: what a model is trained and judged on. Importing this package loads neither torch nor transformers."""

from hwnas.tasks.data import Example, TaskData, load_task, load_user_task, task_names
from hwnas.tasks.encode import EncodedDataset, batches, collator, encode
from hwnas.tasks.metrics import compute_quality, constant_error, error, quality_name, worst_error
from hwnas.tasks.task import drawn

__all__ = [
    "EncodedDataset",
    "Example",
    "TaskData",
    "batches",
    "collator",
    "compute_quality",
    "constant_error",
    "drawn",
    "encode",
    "error",
    "load_task",
    "load_user_task",
    "quality_name",
    "task_names",
    "worst_error",
]
