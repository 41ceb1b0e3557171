"""Where tasks run: a runner is a function `run(task, model_name, *inputs)`."""

from collections.abc import Callable
from typing import Any

import core
from core import catalogue

Runner = Callable[..., Any]


def run_here(task: Callable, model_name: str, *inputs: Any) -> Any:
    """Run a task on a model in this process and return its result, or its iterator of results.

    Raises UnknownModel for a model that is not for this task, which bears the name of its module.
    """
    catalogue.find(model_name, task.__module__.rpartition(".")[2])
    return task(core.models.load(model_name), *inputs)
