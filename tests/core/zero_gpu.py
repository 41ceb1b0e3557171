"""A ZeroGPU Space without a card, as a program: `spaces.GPU` forks, and sends inputs and results through pipes.

Says "all the same" where every task answers there as it does here; run by test_runner, so that no test is forked.
"""

import inspect
import multiprocessing
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from types import ModuleType

os.environ["SPACES_ZERO_GPU"] = "true"
FORK = multiprocessing.get_context("fork")
SCENE = "demos/static/scenes/two-red-circles.png"
counted: list[str] = []  # functions that ask for a card


def GPU(task: Callable) -> Callable:
    """Run a function in a process that is forked off for each call."""
    counted.append(task.__name__)

    def begin(inputs: tuple):
        here, there = FORK.Pipe()
        process = FORK.Process(target=in_thread, args=(there, pickle.dumps(inputs)), daemon=True)
        process.start()
        there.close()
        return here, process

    def in_thread(*sent) -> None:  # as the real one does: OpenMP hangs in a thread that comes along from before
        with ThreadPoolExecutor(1) as thread:
            thread.submit(work, *sent).result()

    def work(pipe, inputs: bytes) -> None:
        found = task(*pickle.loads(inputs))
        for one in found if inspect.isgeneratorfunction(task) else [found]:
            pipe.send((os.getpid(), one))
        pipe.close()

    if inspect.isgeneratorfunction(task):

        @wraps(task)
        def stream(*inputs) -> Iterator:
            pipe, process = begin(inputs)
            try:
                while True:
                    yield received(pipe)
            except EOFError:
                process.join()
            finally:
                process.kill()

        return stream

    @wraps(task)
    def call(*inputs):
        pipe, process = begin(inputs)
        found = received(pipe)
        process.join()
        return found

    return call


def received(pipe):
    process, one = pipe.recv()
    assert process != os.getpid()
    return one


sys.modules["spaces"] = ModuleType("spaces")
sys.modules["spaces"].GPU = GPU


def main() -> None:
    import core
    from core import halves, models, tasks
    from core.errors import NothingTyped, UnknownModel
    from core.results import Settings, as_data
    from core.runner import run_here, runner

    halves.serve = no  # as on a card, which these processes take their processor for
    run = runner()
    assert run is not run_here and counted == ["one_on_card", "each_on_card"]
    assert models.device().place.type == "cpu" and models.device().why == "cuda"
    questions = [
        (tasks.fill_mask, "english", "The cat sat on the [MASK]."),
        (tasks.judge, "english-sentiment", "A warm and funny film."),
        (tasks.answer, "shapes", SCENE, "How many red circles?"),
        (tasks.attend, "english", "The king loved his daughter."),
        (tasks.beams, "storyteller", "Once upon a time"),
    ]
    for question in questions:
        here, there = run_here(*question), run(*question)
        assert as_data(here) == as_data(there), question
    for question in [
        (tasks.generate, "storyteller", "Once upon a time", Settings(length=12, seed=3)),
        (tasks.judge_all, "english-sentiment", ["A warm film.", "A dull film."] * 20),
    ]:
        here, there = list(run_here(*question)), list(run(*question))
        assert [as_data(one) for one in here] == [as_data(one) for one in there], question

    stream = run(tasks.generate, "storyteller", "Once upon a time", Settings(length=150, seed=3))
    began = time.monotonic()
    next(stream)
    first = time.monotonic() - began
    assert len(list(stream)) > 50 and time.monotonic() - began > 2 * first, "it does not stream"
    stream = run(tasks.generate, "storyteller", "Once upon a time")
    next(stream)
    assert any(kept.users for kept in models._kept.values())  # the network it was forked with stays
    stream.close()
    assert not any(kept.users for kept in models._kept.values())

    refused(NothingTyped, lambda: run(tasks.judge, "english-sentiment", " "))
    refused(NothingTyped, lambda: list(run(tasks.generate, "storyteller", "")))
    refused(UnknownModel, lambda: run(tasks.judge, "storyteller", "A film."))

    with models._reading, models._guard:  # held by a thread that is not there afterwards: forking waits for it
        waiting = threading.Thread(target=run, args=questions[0])
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join(30)
    assert not waiting.is_alive()
    models.evict_idle()
    assert as_data(run(*questions[0])) == as_data(run_here(*questions[0]))
    assert core.models is models
    print("all the same")


def no(place) -> bool:
    return False


def refused(kind: type, work: Callable) -> None:
    try:
        work()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} did not arrive")


if __name__ == "__main__":
    main()
