"""What is read off attention, on matrices one can work out by hand."""

import numpy as np
import pytest

from core import reading


def attention(layers=2, heads=3, tokens=6, seed=0):
    """Return random weights [layer, head, query, key] whose rows sum to 1."""
    weights = np.random.default_rng(seed).random((layers, heads, tokens, tokens)).astype(np.float32)
    return weights / weights.sum(-1, keepdims=True)


def leaning_on(token, share, tokens=6):
    """Return weights that give one token a share and the others the rest evenly."""
    weights = np.full((2, 3, tokens, tokens), (1 - share) / (tokens - 1), np.float32)
    weights[..., token] = share
    return weights


@pytest.mark.parametrize("token", [0, 2, 5])
def test_a_token_everybody_rests_on_is_the_sink(token):
    assert reading.find_sink(leaning_on(token, 0.6)) == token


def test_even_attention_has_no_sink():
    assert reading.find_sink(leaning_on(0, 1 / 6)) is None


def test_the_first_query_of_a_decoder_does_not_make_a_sink():
    weights = leaning_on(0, 1 / 6)
    weights[:, :, 0] = np.eye(6)[0]
    assert reading.find_sink(weights) is None


def test_a_text_of_three_tokens_has_no_sink():
    assert reading.find_sink(leaning_on(0, 0.9, tokens=3)) is None


def test_setting_a_token_aside_shares_its_part_among_the_others():
    weights = attention()
    aside = reading.set_aside(weights, 2)
    assert aside[..., 2].max() == 0
    np.testing.assert_allclose(aside.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(aside[..., 0] / aside[..., 1], weights[..., 0] / weights[..., 1], rtol=1e-4)


def test_setting_aside_changes_nothing_that_was_given():
    weights = attention()
    before = weights.copy()
    reading.set_aside(weights, 2)
    assert np.array_equal(weights, before)
    assert reading.set_aside(weights, None) is weights


def test_a_row_that_looked_only_at_the_token_set_aside_is_empty_and_not_nan():
    weights = np.zeros((1, 1, 2, 2), np.float16)
    weights[..., 0] = 1
    assert reading.set_aside(weights, 0).tolist() == [[[[0, 0], [0, 0]]]]


def test_rollout_rows_sum_to_1_and_stay_causal():
    weights = np.tril(attention())
    weights /= weights.sum(-1, keepdims=True)
    flow = reading.rollout(weights.astype(np.float16))
    np.testing.assert_allclose(flow.sum(-1), 1, atol=1e-5)
    assert np.triu(flow, 1).max() == 0 and flow.min() >= 0


def test_rollout_of_layers_that_look_at_themselves_goes_nowhere():
    np.testing.assert_allclose(reading.rollout(np.broadcast_to(np.eye(4), (3, 2, 4, 4))), np.eye(4), atol=1e-6)


def test_rollout_multiplies_the_layers_in_their_order():
    weights = attention(layers=2)
    mixed = [0.5 * layer.mean(0) + 0.5 * np.eye(6) for layer in weights]
    np.testing.assert_allclose(reading.rollout(weights), mixed[1] @ mixed[0], atol=1e-5)


@pytest.mark.parametrize("place", [(0, 0), (1, 2), (0, 1)])
def test_the_sharpest_head_is_the_one_that_points_at_others(place):
    weights = leaning_on(0, 1 / 6)
    weights[place] = np.roll(np.eye(6), 1, axis=1)
    assert reading.sharpest_head(weights) == place


def test_a_head_that_looks_at_itself_is_not_sharp():
    weights = leaning_on(0, 1 / 6)
    weights[1, 1] = np.eye(6)
    assert reading.sharpest_head(weights) != (1, 1)


def test_one_token_alone_can_be_read_too():
    alone = np.ones((2, 3, 1, 1), np.float16)
    assert reading.sharpest_head(alone) == (0, 0)
    assert reading.find_sink(alone) is None
    assert reading.rollout(alone).tolist() == [[1]]
