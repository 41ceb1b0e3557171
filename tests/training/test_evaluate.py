"""`python -m training.evaluate`: every model on board is measured, and what cannot be is named."""

import importlib
import sys
from pathlib import Path

import pytest

from core.catalogue import CATALOGUE
from tests.training.test_report import made
from training import card, evaluate, recipe, report
from training.loop import RecipeError
from training.sources import SOURCES

BOARD = [one for one in CATALOGUE if one.shelf == "board"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two folders of weights, one of them of a model that is there; what is written goes elsewhere."""
    (tmp_path / "weights" / "made").mkdir(parents=True)
    (tmp_path / "weights" / "made" / "config.json").write_text("{}")
    monkeypatch.setattr(evaluate, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(evaluate, "RECIPES", ("gone", "made"))
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.json")
    speed = {
        "device": "CPU",
        "cores": 2,
        "load_seconds": 0.5,
        "first_answer_seconds": 1.25,
        "a_second": 8,
        "unit": "answers",
    }
    monkeypatch.setattr(
        evaluate, "sizes", lambda name: {"megabytes": 3.5, "parameters": 2_000_000, "speed": {name: speed}}
    )
    monkeypatch.setitem(sys.modules, "training.made", made(0.95))
    return tmp_path


def run(*arguments: str) -> int:
    """Run the module as the terminal does; return its exit code."""
    try:
        recipe.run(lambda: evaluate.main(["--data", "nowhere", *arguments]))
    except SystemExit as stop:
        return stop.code
    return 0


def test_what_is_measured_is_kept_and_both_pages_are_written(place, capsys):
    assert run("--only", "made") == 0
    known = report.read(place / "results.json")["made"]
    assert known["figures"][0]["ours"] == 0.95 and known["megabytes"] == 3.5
    page = (place / "weights" / "README.md").read_text()
    assert "share right" in page and "0.950" in page and "0.50 (met)" in page and "1.25 (missed)" in page
    assert "3.5 MB" in (place / "weights" / "made" / "README.md").read_text()
    assert "share right" in capsys.readouterr().out


def test_a_missing_folder_is_named_in_one_line_the_others_are_measured_and_the_exit_is_2(place, capsys):
    assert run() == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "gone is missing" in said[0] and "Not measured: gone" in said[1]
    assert list(report.read(place / "results.json")) == ["made"]


def test_a_quick_look_writes_nothing(place):
    before = sorted(place.rglob("*"))
    assert run("--only", "made", "--quick") == 0
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("wrong", [["--only", "nobody"], ["--fast"]])
def test_a_wrong_option_is_one_line_and_exit_2(wrong, capsys):
    assert run(*wrong) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", [one.name for one in BOARD])
def test_every_model_on_board_is_timed(name, monkeypatch):
    monkeypatch.setattr(evaluate, "SECONDS", 0.1)
    found = evaluate.speed(name)
    assert found["a_second"] > 0 and found["load_seconds"] >= 0 and found["first_answer_seconds"] > 0
    assert found["unit"] == (
        "tokens" if "generation" in next(one for one in BOARD if one.name == name).tasks else "answers"
    )


@pytest.mark.parametrize("name", evaluate.RECIPES)
def test_every_recipe_says_what_its_card_needs(name):
    module = importlib.import_module(f"training.{name}")
    assert name == module.NAME and module.TITLE and module.LANGUAGE in ("en", "zh") and module.BAD_AT
    assert set(module.DATA) <= SOURCES.keys()
    assert all(callable(getattr(module, what)) for what in ("measure", "what_it_is", "examples", "main"))


def test_every_model_on_board_has_a_recipe():
    assert {one.repo for one in BOARD} == {f"weights/{name}" for name in evaluate.RECIPES}


def test_all_weights_together_are_small():
    assert sum(map(card.megabytes, (Path("weights") / name for name in evaluate.RECIPES))) < evaluate.SIZE_BAR


def test_parameters_are_counted_from_the_file_or_its_absence_said(tmp_path):
    assert 1e6 < evaluate.parameters(Path("weights/shapes")) < 5e6
    with pytest.raises(RecipeError, match="cannot be read"):
        evaluate.parameters(tmp_path)
