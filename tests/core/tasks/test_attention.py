"""Attention of every architecture: rows sum to 1, what is hidden is not looked at, and the prediction is the model's."""

import numpy as np
import pytest

from core import limits
from core.errors import HiddenEverything, ModelUnusable, NoSuchPart, NothingTyped, TextTooLong
from core.rankings import probabilities
from core.results import WhatIf
from core.tasks import attend

TEXT = "the cat sat on the mat"
EVERY = pytest.mark.parametrize(
    ("kind", "task"),
    [("gpt2", "generation"), ("llama", "generation"), ("qwen3", "generation"), ("bert", "masking"),
     ("roberta", "masking"), ("distilbert", "masking"), ("modernbert", "masking"), ("bert", "sentiment"),
     ("roberta", "sentiment"), ("distilbert", "sentiment"), ("modernbert", "sentiment")],
)  # fmt: skip


@EVERY
def test_every_row_sums_to_1_in_every_layer_and_head(model, kind, task):
    found = attend(model(kind, task), TEXT)
    tokens = len(found.tokens)
    assert found.weights.shape == (3, 4, tokens, tokens)
    np.testing.assert_allclose(found.weights.sum(-1, dtype=np.float32), 1, atol=5e-3)  # float16
    assert found.weights.min() >= 0
    if task == "generation":
        assert np.triu(found.weights, 1).max() == 0  # a writer does not look ahead


@EVERY
def test_the_prediction_is_what_the_network_says(model, kind, task):
    model = model(kind, task)
    text = TEXT + "[MASK]" if task == "masking" else TEXT
    found = attend(model, text).prediction
    assert list(found.probabilities) == sorted(found.probabilities, reverse=True)
    assert sum(found.probabilities) + found.rest == pytest.approx(1)
    plain = model.tokenizer(text.replace("[MASK]", model.tokenizer.mask_token or ""), return_tensors="pt")
    chances = probabilities(model.network(**plain).logits)[0]
    if task == "masking":
        chances = chances[plain["input_ids"][0] == model.tokenizer.mask_token_id][0]
    elif task == "generation":
        chances = chances[-1]
    assert found.probabilities[0] == pytest.approx(chances.max().item(), abs=1e-4)


def test_without_a_blank_a_blank_filler_is_asked_nothing(model):
    assert attend(model("bert", "masking"), TEXT).prediction is None


@EVERY
def test_nobody_looks_at_a_hidden_token(model, kind, task):
    model = model(kind, task)
    seen, hidden = attend(model, TEXT), attend(model, TEXT, WhatIf(hidden_tokens=frozenset({2})))
    assert seen.tokens == hidden.tokens
    assert seen.weights[..., 2].max() > 0.01
    assert hidden.weights[..., 2].max() == 0


@EVERY
def test_a_silenced_head_still_looks_and_is_no_longer_heard(model, kind, task):
    model = model(kind, task)
    text = TEXT + " [MASK]" if task == "masking" else TEXT
    loud = attend(model, text)
    silent = attend(model, text, WhatIf(silenced_heads=frozenset((0, head) for head in range(4))))
    assert np.array_equal(loud.weights[0], silent.weights[0])
    assert not np.array_equal(loud.weights[1], silent.weights[1])
    assert loud.prediction.probabilities != silent.prediction.probabilities


@EVERY
def test_what_is_not_there_is_refused_and_the_next_call_works(model, kind, task):
    model = model(kind, task)
    for what_if in (
        WhatIf(hidden_tokens=frozenset({99})),
        WhatIf(silenced_heads=frozenset({(3, 0)})),
        WhatIf(silenced_heads=frozenset({(0, 4)})),
    ):
        with pytest.raises(NoSuchPart):
            attend(model, TEXT, what_if)
    everything = frozenset(range(len(attend(model, TEXT).tokens)))
    with pytest.raises(HiddenEverything):
        attend(model, TEXT, WhatIf(hidden_tokens=everything))
    with pytest.raises(NothingTyped):
        attend(model, "  ")
    assert attend(model, TEXT).weights.size


def test_a_text_too_long_to_draw_is_refused(model, monkeypatch):
    monkeypatch.setattr(limits, "ATTENTION_TOKENS", 5)
    with pytest.raises(TextTooLong) as error:
        attend(model("gpt2", "generation"), TEXT)
    assert error.value.facts["limit"] == 5


def test_a_network_that_shows_no_weights_is_refused(model, monkeypatch):
    found = model("bert", "masking")
    monkeypatch.setattr(found.network.config, "_attn_implementation", "sdpa")
    with pytest.raises(ModelUnusable):
        attend(found, TEXT)
