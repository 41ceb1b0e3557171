"""A new model is one line of the catalogue."""

from pathlib import Path

import gradio as gr
import pytest

import core
from core import catalogue
from core.catalogue import ModelCard
from core.errors import ModelNotFetched, UnknownModel
from core.runner import run_here
from demos import shelf
from demos.words import Words
from tests.tiny import tiny


def test_a_model_added_in_one_line_is_offered_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tiny(tmp_path, "bert", "AutoModelForMaskedLM", "masking")
    line = ModelCard("newcomer", ("masking", "attention"), str(tmp_path), "AutoModelForMaskedLM")
    monkeypatch.setattr(catalogue, "CATALOGUE", (*catalogue.CATALOGUE, line))

    with gr.Blocks():
        menu = shelf.menu("masking", Words("en"))
    assert ("newcomer", "newcomer") in menu.choices
    filling = run_here(core.tasks.fill_mask, "newcomer", "The cat [MASK].")
    assert len(filling.rankings) == 1
    assert run_here(core.tasks.attend, "newcomer", "The cat [MASK].").montage.ndim == 4
    with pytest.raises(UnknownModel, match="newcomer"):
        run_here(core.tasks.judge, "newcomer", "The cat.")


@pytest.mark.parametrize(
    "card", [card for card in catalogue.CATALOGUE if card.shelf == "board"], ids=lambda card: card.name
)
def test_every_model_on_board_loads_in_plain_hugging_face_format(card):
    folder = core.models.ROOT / card.repo
    assert {"config.json", "model.safetensors", "README.md"} <= {file.name for file in folder.iterdir()}
    assert "license:" in (folder / "README.md").read_text("utf-8")
    assert core.models.load(card.name).network.training is False


def test_a_model_of_the_hub_is_one_line_and_answers_from_its_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    revision = "0123456789" * 4
    line = ModelCard(
        "far", ("masking", "attention"), "owner/far", "AutoModelForMaskedLM", shelf="hub", revision=revision
    )
    monkeypatch.setattr(catalogue, "CATALOGUE", (*catalogue.CATALOGUE, line))
    monkeypatch.setenv("GLASSBOX_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFetched):
        run_here(core.tasks.fill_mask, "far", "The cat [MASK].")
    tiny(tmp_path / "models" / f"owner--far--{revision}", "bert", "AutoModelForMaskedLM", "masking")
    assert len(run_here(core.tasks.fill_mask, "far", "The cat [MASK].").rankings) == 1
