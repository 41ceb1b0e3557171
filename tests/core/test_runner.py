"""run_here is a task, a model's name and its inputs, and nothing more."""

import pytest

import core
from core.errors import UnknownModel
from core.runner import run_here
from core.tasks import generate, judge


def fake(name, *inputs):
    return name, *inputs


def writes(name, *inputs):
    yield from (name, *inputs)


fake.__module__ = writes.__module__ = "core.tasks.masking"


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    asked = []
    monkeypatch.setattr(core.models, "load", lambda name: asked.append(name) or f"model {name}")
    return asked


def test_a_task_gets_its_model_and_its_inputs():
    assert run_here(fake, "english", "text", 3) == ("model english", "text", 3)


def test_a_stream_is_handed_on_unread():
    assert list(run_here(writes, "english", "text")) == ["model english", "text"]


@pytest.mark.parametrize(("task", "name"), [(judge, "storyteller"), (generate, "english"), (fake, "nobody")])
def test_a_model_that_is_not_for_this_task_is_refused_before_it_is_loaded(task, name, loaded):
    with pytest.raises(UnknownModel):
        run_here(task, name, "text")
    assert loaded == []


def test_core_has_no_other_hidden_names():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = core.nonsense
