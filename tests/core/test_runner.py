"""run_here is a task, a model's name and its inputs, and nothing more; it keeps its model while it runs, and memory in mind."""

import gc
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import core
from core import runner
from core.errors import OutOfMemory, UnknownModel
from core.runner import run_here
from core.tasks import generate, judge

CARD, PROCESSOR = SimpleNamespace(place="card"), SimpleNamespace(place="processor")


class Shelf:
    """Lends models, and notes it."""

    def __init__(self):
        self.lent: list[str] = []  # now
        self.log: list = []
        self.device = CARD

    @contextmanager
    def lend(self, name, task=None, place=None):
        self.lent.append(name)
        self.log.append((name, task, place and place.place))
        try:
            yield f"model {name}"
        finally:
            self.lent.remove(name)

    def make_way(self, model):
        assert self.lent  # it is still in use
        self.log.append(f"make way for {model}")


@pytest.fixture(autouse=True)
def shelf(monkeypatch):
    made = Shelf()
    monkeypatch.setattr(core.models, "lend", made.lend)
    monkeypatch.setattr(core.models, "make_way", made.make_way)
    monkeypatch.setattr(core.models, "device", lambda: made.device)
    monkeypatch.setattr(core.models, "processor", lambda: PROCESSOR)
    return made


def fake(name, *inputs):
    return name, *inputs


def writes(name, *inputs):
    yield from (name, *inputs)


class Full:
    """A task that finds memory full so many times, after so many results."""

    def __init__(self, times: int, after: int = 0, error: Exception | None = None):
        self.times, self.after, self.error = times, after, error or torch.OutOfMemoryError("CUDA out of memory")

    def __call__(self, model):
        return next(iter(self.write(model)))

    def write(self, model):
        for at in range(3):
            if at == self.after and self.times:
                self.times -= 1
                raise self.error
            yield at


def masking(function):
    """Return a plain function of the task "masking" that calls another."""

    def one(*inputs):
        return function(*inputs)

    def each(*inputs):
        yield from function(*inputs)

    one.__module__ = each.__module__ = "core.tasks.masking"
    return one, each


fake.__module__ = writes.__module__ = "core.tasks.masking"


def test_a_task_gets_its_model_and_its_inputs():
    assert run_here(fake, "english", "text", 3) == ("model english", "text", 3)


def test_a_stream_is_handed_on_unread():
    assert list(run_here(writes, "english", "text")) == ["model english", "text"]


@pytest.mark.parametrize(("task", "name"), [(judge, "storyteller"), (generate, "english"), (fake, "nobody")])
def test_a_model_that_is_not_for_this_task_is_refused_before_it_is_loaded(task, name, shelf):
    with pytest.raises(UnknownModel):
        run_here(task, name, "text")
    assert shelf.log == []


def test_a_model_is_on_loan_until_the_result_is_there(shelf):
    one, _ = masking(lambda model: list(shelf.lent))
    assert run_here(one, "english") == ["english"] and shelf.lent == []


def exhaust(stream):
    list(stream)


def close(stream):
    next(stream)
    stream.close()


def drop(stream):
    next(stream)
    del stream
    gc.collect()


@pytest.mark.parametrize("end", [exhaust, close, drop])
def test_a_model_is_on_loan_as_long_as_a_stream_lives(shelf, end):
    stream = run_here(writes, "english", "text")
    assert shelf.lent == []  # nobody reads it yet
    next(stream)
    assert shelf.lent == ["english"]
    streams = [stream]
    del stream
    end(streams.pop())
    assert shelf.lent == []


def test_closing_a_stream_closes_the_task(shelf):
    ended = []

    def write(model):
        try:
            yield from range(9)
        finally:
            ended.append(list(shelf.lent))

    stream = run_here(masking(write)[1], "english")
    next(stream)
    stream.close()
    assert ended == [["english"]]  # while the model is still on loan


@pytest.mark.parametrize("error", [None, MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_where_memory_runs_out_way_is_made_and_the_task_tried_again(shelf, error):
    one, _ = masking(Full(1, error=error))
    assert run_here(one, "english") == 0
    assert shelf.log == [("english", "masking", "card"), "make way for model english", ("english", "masking", "card")]


def test_where_it_runs_out_twice_on_a_card_the_processor_helps_out(shelf):
    _, each = masking(Full(2).write)
    assert list(run_here(each, "english")) == [0, 1, 2]
    assert [entry[2] for entry in shelf.log if isinstance(entry, tuple)] == ["card", "card", "processor"]


@pytest.mark.parametrize(("device", "tries"), [(CARD, 3), (PROCESSOR, 2)])
def test_where_it_runs_out_everywhere_a_sentence_says_so(shelf, device, tries):
    shelf.device = device
    one, _ = masking(Full(9))
    with pytest.raises(OutOfMemory) as error:
        run_here(one, "english")
    assert error.value.facts == {"name": "english"} and shelf.lent == []
    assert len([entry for entry in shelf.log if isinstance(entry, tuple)]) == tries


def test_a_story_that_has_begun_does_not_begin_again(shelf):
    _, each = masking(Full(1, after=2).write)
    stream = run_here(each, "english")
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(OutOfMemory):
        next(stream)
    assert shelf.lent == []


def test_another_error_is_not_tried_again(shelf):
    one, _ = masking(Full(1, error=RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        run_here(one, "english")
    assert len(shelf.log) == 1


def test_away_from_zero_gpu_tasks_run_here(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert runner.runner() is run_here


def test_on_zero_gpu_every_task_answers_the_same_in_a_process_with_a_card():
    """In processes of their own: forked ones, and the one they are forked from."""
    root = Path(__file__).parent.parent.parent
    ran = subprocess.run(
        [sys.executable, "-m", "tests.core.zero_gpu"], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0 and ran.stdout.splitlines()[-1] == "all the same", ran.stdout + ran.stderr


def test_core_has_no_other_hidden_names():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = core.nonsense
