"""Where tasks run: a runner is a function `run(task, model_name, *inputs)`."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import core
from core import catalogue
from core.checkpoints import called
from core.errors import OutOfMemory, VisitorError

Runner = Callable[..., Any]


def run_here(task: Callable, model_name: str, *inputs: Any) -> Any:
    """Run a task on a model in this process and return its result, or its iterator of results.

    The model is on loan until the result is there, or the iterator is closed. Where memory runs out before there is
    anything, what nobody uses is put away and the task tried again, then once more on the processor.
    Raises UnknownModel for a model that is not for this task, which bears the name of its module; OutOfMemory.
    """
    catalogue.find(model_name, task_of(task))
    results = stream(task, model_name, inputs)
    if inspect.isgeneratorfunction(task):
        return results
    with closing(results):
        return next(results)


def task_of(task: Callable) -> str:
    """Return the name by which the catalogue knows a task."""
    return task.__module__.rpartition(".")[2]


def stream(task: Callable, model_name: str, inputs: tuple) -> Iterator[Any]:
    """Yield the results of a task, or its one result; see `run_here`."""
    models, begun = core.models, False
    for place in models.places(models.device()):
        with models.lend(model_name, task_of(task), place) as model:
            try:
                with closing(results_of(task, model, inputs)) as results:
                    for result in results:
                        begun = True
                        yield result
                return
            except (RuntimeError, MemoryError) as error:
                if not models.ran_out(error):
                    raise
            models.make_way(model)
        if begun:
            break
    raise OutOfMemory(name=called(catalogue.find(model_name, task_of(task))))


def results_of(task: Callable, model: Any, inputs: tuple) -> Iterator[Any]:
    """Yield what a task yields, or returns."""
    if inspect.isgeneratorfunction(task):
        yield from task(model, *inputs)
    else:
        yield task(model, *inputs)


def runner() -> Runner:
    """Return what runs tasks: `run_here`, or on a ZeroGPU Space the same in a process that has a card meanwhile.

    To be called while the app starts, for that is when a Space counts the functions that ask for a card.
    """
    if not catalogue.lends_cards():
        return run_here
    import spaces  # only there

    return partial(run_on_card, spaces.GPU(one_on_card), spaces.GPU(each_on_card))


def run_on_card(one: Callable, each: Callable, task: Callable, model_name: str, *inputs: Any) -> Any:
    """Run a task in a process with a card; the network is loaded here before, and goes along.

    one, each: what runs it there, with one result or many. Raises what `run_here` raises.
    """
    catalogue.find(model_name, task_of(task))
    results = stream_from_card(one, each, task, model_name, inputs)
    if inspect.isgeneratorfunction(task):
        return results
    with closing(results):
        return next(results)


def stream_from_card(one: Callable, each: Callable, task: Callable, model_name: str, inputs: tuple) -> Iterator[Any]:
    """Yield the results of a task that runs in a process with a card. Errors of the visitor's come as values."""
    many = inspect.isgeneratorfunction(task)
    with core.models.lend(model_name, task_of(task)):
        found = each(task, model_name, *inputs) if many else iter([one(task, model_name, *inputs)])
        for result in found:
            if isinstance(result, VisitorError):
                raise result
            yield result


def one_on_card(task: Callable, model_name: str, *inputs: Any) -> Any:
    """Return the result of a task, or its error: what is raised in the other process would arrive as a word."""
    try:
        return run_here(task, model_name, *inputs)
    except VisitorError as error:
        return error


def each_on_card(task: Callable, model_name: str, *inputs: Any) -> Iterator[Any]:
    """Yield the results of a task, and its error if there is one."""
    try:
        yield from run_here(task, model_name, *inputs)
    except VisitorError as error:
        yield error
