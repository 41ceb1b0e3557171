"""Covering a word is asking again without it."""

import pytest
import torch

from core import covering
from core.covering import cover_each
from core.rankings import probabilities, rank
from core.tokens import encode


@pytest.fixture
def asked(model):
    """A model, a text as it takes it and the text's words."""
    model = model("bert", "sentiment")
    encoded = encode(model, "a film that i loved and hated", "text")
    return model, model.inputs(input_ids=encoded.ids, attention_mask=[1] * len(encoded.ids)), encoded.by_word()


def test_each_loss_is_the_probability_with_the_word_minus_without_it(asked):
    model, inputs, words = asked
    lost = cover_each(model, inputs, words, 0)
    whole = probabilities(model.network(**inputs).logits)[0, 0].item()
    for loss, word in zip(lost, words, strict=True):
        mask = inputs["attention_mask"].clone()
        mask[0, word] = 0
        without = probabilities(model.network(inputs["input_ids"], attention_mask=mask).logits)[0, 0].item()
        assert loss == pytest.approx(whole - without, abs=1e-5)
    assert max(map(abs, lost)) > 1e-3


def test_what_was_hidden_before_stays_hidden(asked):
    model, inputs, words = asked
    inputs["attention_mask"][0, words[0]] = 0
    assert cover_each(model, inputs, words, 0)[0] == pytest.approx(0, abs=1e-6)


def test_the_size_of_a_batch_changes_no_answer(asked, monkeypatch):
    at_once = cover_each(*asked, 0)
    monkeypatch.setattr(covering, "BATCH", 3)
    assert cover_each(*asked, 0) == pytest.approx(at_once, abs=1e-5)


def test_without_words_nothing_is_lost(asked):
    model, inputs, _ = asked
    assert cover_each(model, inputs, [], 0) == ()


def test_what_is_given_is_not_changed(asked):
    model, inputs, words = asked
    cover_each(model, inputs, words, 0)
    assert inputs["attention_mask"].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_probabilities_are_exact_whatever_the_network_computes_in(dtype):
    chances = probabilities(torch.randn(3, 1000, generator=torch.Generator().manual_seed(0)).to(dtype))
    assert chances.dtype == torch.float32
    torch.testing.assert_close(chances.sum(-1), torch.ones(3))


@pytest.mark.parametrize("count", [1, 3, 5, 100])
def test_a_ranking_falls_and_sums_with_its_rest_to_1(count):
    chances = torch.tensor([0.1, 0.4, 0.2, 0.25, 0.05])
    ranking = rank(chances, "label {}".format, count)
    assert ranking.labels == ("label 1", "label 3", "label 2", "label 0", "label 4")[:count]
    assert list(ranking.probabilities) == sorted(ranking.probabilities, reverse=True)
    assert sum(ranking.probabilities) + ranking.rest == pytest.approx(1)
