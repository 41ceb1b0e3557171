"""How a token is drawn: equal to Transformers' own warpers, and no number from a visitor gets past the check."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from core import limits, sampling
from core.errors import BadValue
from core.results import Settings

PLAIN = Settings(temperature=1.0)


def falling(logits):
    """Return log-probabilities, the likeliest first."""
    return torch.as_tensor(logits).float().log_softmax(-1).sort(descending=True).values.numpy()


def warped(logits, settings, said=()):
    """Return Transformers' own answer: the chances, the model's likeliest first. said: tokens of the text."""
    order = torch.as_tensor(logits).float().sort(descending=True).indices
    return by_token(logits, settings, said)[order].numpy()


def by_token(logits, settings, said=()):
    """Return Transformers' own answer: the chance of each token."""
    scores = torch.as_tensor(logits).float()[None]
    if settings.repetition > 1:
        scores = RepetitionPenaltyLogitsProcessor(settings.repetition)(torch.tensor([said]), scores)
    warpers = [TemperatureLogitsWarper(settings.temperature)]
    warpers += [TopKLogitsWarper(settings.top_k)] if settings.top_k else []
    warpers += [TopPLogitsWarper(settings.top_p)] if settings.top_p < 1 else []
    warpers += [MinPLogitsWarper(settings.min_p)] if settings.min_p else []
    for warper in warpers:
        scores = warper(None, scores)
    return scores[0].softmax(-1)


@pytest.mark.parametrize("repetition", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("min_p", [0.0, 0.05, 0.4, 1.0])
@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.7, 20, 1.0), (1.6, 0, 0.8), (1.0, 9, 0.9)]
)
def test_min_p_and_the_penalty_for_repetition_are_those_of_transformers(repetition, min_p, temperature, top_k, top_p):
    settings = Settings(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition=repetition)
    for seed in range(5):
        generator = np.random.default_rng(seed)
        logits, said = generator.normal(0, 3, 60), generator.choice(60, 12, replace=False)
        order = torch.as_tensor(logits).float().sort(descending=True).indices.tolist()
        offset = float(torch.as_tensor(logits).float().logsumexp(-1))
        repeats = [order.index(token) for token in said]
        found = sampling.stages(falling(logits), settings, 60, offset, repeats)
        np.testing.assert_allclose(found[-1].chances, warped(logits, settings, said.tolist()), atol=1e-5)
        assert all(one.chances.sum() + one.rest == pytest.approx(1, abs=1e-5) for one in found)


@pytest.mark.parametrize("temperature", [0.1, 0.8, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [0, 1, 7, 60])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 0.01])
def test_the_chances_are_those_of_transformers(temperature, top_k, top_p):
    settings = Settings(temperature=temperature, top_k=top_k, top_p=top_p)
    for seed in range(5):
        logits = np.random.default_rng(seed).normal(0, 3, 60)
        found = sampling.chances(falling(logits), settings, 60)
        np.testing.assert_allclose(found, warped(logits, settings), atol=1e-5)
        assert found.sum() == pytest.approx(1) and (np.diff(found) <= 1e-12).all()


def test_temperature_0_takes_the_likeliest_whatever_else_is_set():
    settings = Settings(temperature=0.0, top_k=5, top_p=0.5)
    assert sampling.chances(falling(np.arange(9.0)), settings, 9).tolist() == [1] + [0] * 8


def test_temperature_1_leaves_the_models_own_probabilities():
    log_probabilities = falling(np.arange(9.0))
    np.testing.assert_allclose(sampling.chances(log_probabilities, PLAIN, 9), np.exp(log_probabilities), rtol=1e-5)


def tailed():
    """Return log-probabilities of 50 tokens that differ, followed by 150 that share what is left evenly."""
    logits = np.concatenate([np.linspace(6, 1, 50), np.zeros(150)])
    return falling(logits)


@pytest.mark.parametrize(
    "settings",
    [
        PLAIN,
        replace(PLAIN, temperature=0.5),
        replace(PLAIN, temperature=1.7),
        replace(PLAIN, top_k=10),
        replace(PLAIN, top_k=50),
        replace(PLAIN, top_p=0.6),
        Settings(temperature=1.5, top_k=20, top_p=0.7),
    ],
)
def test_what_is_kept_gets_the_chances_it_has_in_the_whole_vocabulary(settings):
    whole = sampling.chances(tailed(), settings, 200)
    kept = sampling.chances(tailed()[:50], settings, 200)
    np.testing.assert_allclose(kept, whole[:50], atol=1e-5)
    assert 0 < kept.sum() <= 1 + 1e-9
    assert 1 - kept.sum() == pytest.approx(whole[50:].sum(), abs=1e-5)  # the rest


def test_the_smallest_temperatures_are_no_overflow():
    even = np.full(50, -math.log(200) - 1e-6, np.float32)  # rounding has left the others a little more than the first
    for temperature in (1e-4, 1e-12, 1e-300):
        assert np.isfinite(sampling.chances(even, Settings(temperature=temperature), 200)).all()


@pytest.mark.parametrize("field", ["temperature", "top_k", "top_p", "min_p", "repetition", "length", "seed"])
@pytest.mark.parametrize(
    "wrong", [math.nan, math.inf, -math.inf, True, "1", "", None, [1], -1, 1e9 * 10, 10**400, 1 + 2j, "\ud800" * 90]
)
def test_what_no_slider_offers_is_refused_with_the_bounds(field, wrong):
    with pytest.raises(BadValue) as error:
        sampling.check(replace(PLAIN, **{field: wrong}))
    assert error.value.facts["field"] == field
    assert len(error.value.facts["found"]) <= 40 and "…" in error.value.facts["needed"]


@pytest.mark.parametrize("field", ["top_k", "length", "seed"])
def test_half_a_token_is_refused_and_a_whole_number_with_a_point_is_not(field):
    with pytest.raises(BadValue):
        sampling.check(replace(PLAIN, **{field: 1.5}))
    assert getattr(sampling.check(replace(PLAIN, **{field: 2.0})), field) == 2


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(temperature=0, top_k=0, top_p=0.01, length=1, seed=0),
        Settings(temperature=2, top_k=limits.RIVALS_KEPT, top_p=1, length=limits.STORY_TOKENS, seed=2**31 - 1),
        Settings(min_p=1, repetition=2, stop=("The end", "。")),
    ],
)
def test_what_the_sliders_offer_passes_unchanged(settings):
    assert sampling.check(settings) == settings


@pytest.mark.parametrize("wrong", ["end", None, 3, [3], [None], ["x"] * 99, ["x" * 999], {"a": 1}])
def test_stop_words_that_are_no_few_short_texts_are_refused(wrong):
    with pytest.raises(BadValue) as error:
        sampling.check(replace(PLAIN, stop=wrong))
    assert error.value.facts["field"] == "stop" and len(error.value.facts["found"]) <= 40


def test_an_empty_stop_word_stops_nothing():
    assert sampling.check(replace(PLAIN, stop=["", "end"])).stop == ("end",)


def test_each_setting_is_shown_with_what_it_shut_out():
    log_probabilities = falling(np.log([0.4, 0.3, 0.15, 0.1, 0.04, 0.01]))
    settings = Settings(temperature=1.0, top_k=5, top_p=0.9, min_p=0.5)
    found = sampling.stages(log_probabilities, settings, 6)
    assert [one.name for one in found] == ["own", "repetition", "temperature", "top_k", "top_p", "min_p"]
    assert sampling.shut_out(found) == {5: "top_k", 4: "top_p", 3: "min_p", 2: "min_p"}
    np.testing.assert_allclose(found[-1].chances[:2], [4 / 7, 3 / 7], atol=1e-6)
    cold = sampling.shut_out(sampling.stages(log_probabilities, Settings(temperature=0), 6))
    assert cold == dict.fromkeys(range(1, 6), "temperature")


def test_nothing_is_shut_out_by_what_is_not_set():
    assert not sampling.shut_out(sampling.stages(tailed()[:50], Settings(repetition=1.5), 200, 3.0, [0, 7]))


def test_a_thousand_draws_come_as_often_as_their_chances_say():
    settings = Settings(temperature=1.0, top_k=3)
    last = sampling.stages(tailed()[:50], settings, 200)[-1]
    counts, rest = sampling.draws(last, 1000, seed=1)
    assert counts.sum() + rest == 1000 and not counts[3:].any() and not rest
    np.testing.assert_allclose(counts / 1000, last.chances, atol=0.05)
    assert (sampling.draws(last, 1000, seed=1)[0] == counts).all() and (
        sampling.draws(last, 1000, 2)[0] != counts
    ).any()
    counts, rest = sampling.draws(sampling.stages(tailed()[:50], PLAIN, 200)[-1], 1000, seed=1)
    assert counts.sum() + rest == 1000 and rest


def test_drawing_follows_the_chances_and_never_draws_what_is_shut_out():
    chances = np.array([0.5, 0.3, 0.2, 0.0, 0.0])
    even = np.random.default_rng(1).random(5000)
    shares = np.bincount([sampling.draw(number, chances) for number in even], minlength=5) / 5000
    np.testing.assert_allclose(shares, chances, atol=0.03)
    assert shares[3:].sum() == 0


def test_a_draw_at_the_very_end_of_rounding_is_a_token_that_may_be_drawn():
    chances = np.array([0.7, 0.1, 0.1, 0.1, 0.0]) * (1 - 1e-15)  # sums to a hair less than 1
    assert chances[sampling.draw(1 - 2**-53, chances)] > 0
