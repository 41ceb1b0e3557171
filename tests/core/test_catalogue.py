"""One line a model, and each line holds."""

import importlib

import pytest
import transformers

from core import catalogue
from core.catalogue import CATALOGUE, ModelCard
from core.errors import UnknownModel


@pytest.mark.parametrize("card", CATALOGUE, ids=lambda card: card.name)
def test_a_card_names_tasks_that_exist_and_a_class_that_loads_it(card):
    assert card.tasks
    for task in card.tasks:
        importlib.import_module(f"core.tasks.{task}")
    assert card.auto.startswith("AutoModelFor") and hasattr(transformers, card.auto)
    assert card.repo.startswith("weights/")


def test_names_are_not_used_twice():
    names = [card.name for card in CATALOGUE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("task", ["generation", "masking", "sentiment", "vqa", "attention"])
def test_every_tab_has_a_model_and_its_own_come_first(task):
    places = [catalogue.find(name, task).tasks.index(task) for name in catalogue.offered(task)]
    assert places and places == sorted(places)


@pytest.mark.parametrize("name", ["gpt5", "", None, 7, "../english", "English"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(UnknownModel) as error:
        catalogue.find(name)
    assert all(card.name in error.value.facts["known"] for card in CATALOGUE)


def test_a_model_of_another_task_is_refused_with_those_of_this_one():
    stranger = next(card.name for card in CATALOGUE if "vqa" not in card.tasks)
    with pytest.raises(UnknownModel) as error:
        catalogue.find(stranger, "vqa")
    assert error.value.facts["known"] == ", ".join(catalogue.offered("vqa"))


def test_a_very_long_name_is_not_repeated_whole():
    with pytest.raises(UnknownModel) as error:
        catalogue.find("x" * 10_000)
    assert len(error.value.facts["found"]) <= 60


def test_one_line_adds_a_model(monkeypatch):
    added = ModelCard("new", ("masking",), "weights/new", "AutoModelForMaskedLM")
    monkeypatch.setattr(catalogue, "CATALOGUE", (*CATALOGUE, added))
    assert "new" in catalogue.offered("masking") and "new" not in catalogue.offered("vqa")
    assert catalogue.find("new", "masking") is added
