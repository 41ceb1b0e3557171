"""What is said of a squeezed model's answer: what it takes, and what the same model says with all its bits."""

from types import SimpleNamespace

import pytest

import core
from core.errors import OutOfMemory, UnknownModel
from core.results import Ranking
from demos.squeezing import told
from demos.words import LANGUAGES, Words

NOW, BEFORE = Ranking(("table", "floor"), (0.5, 0.25)), Ranking(("floor", "table"), (0.75, 0.125))


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Whom the same was asked; models weigh 36 and 9 MB."""
    sizes = {"english": 36e6, "english@4": 9.1e6}
    monkeypatch.setitem(vars(core), "models", SimpleNamespace(load=lambda name, task: name, size=sizes.__getitem__))
    return []


def answered(asked: list[str]):
    return lambda name: asked.append(name) or BEFORE


def test_of_a_model_with_all_its_bits_nothing_more_is_said_or_asked(asked):
    assert told("So it is.", "english", "masking", NOW, answered(asked), Words("en")) == "So it is." and not asked


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_a_squeezed_one_both_sizes_and_both_probabilities_are_told(asked, language):
    said = told("So it is.", "english@4", "masking", NOW, answered(asked), Words(language))
    assert said.startswith("So it is. ") and asked == ["english"]
    for fact in ("4", "9.1 MB", "36.0 MB", "floor", "75%", "25%"):
        assert fact in said


def test_a_squeezed_name_of_nobody_is_unknown(asked):
    with pytest.raises(UnknownModel):
        told("So it is.", "nobody@4", "masking", NOW, answered(asked), Words("en"))


def test_an_answer_is_not_lost_where_the_other_model_has_none(asked):
    def full(name: str) -> Ranking:
        raise OutOfMemory(name=name)

    assert told("So it is.", "english@4", "masking", NOW, full, Words("en")) == "So it is."
