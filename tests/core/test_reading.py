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
    assert reading.find_sink(leaning_on(token, 0.6).mean((0, 1, 2))) == token


def test_even_attention_has_no_sink():
    assert reading.find_sink(np.full(6, 1 / 6)) is None


def test_a_text_of_three_tokens_has_no_sink():
    assert reading.find_sink(np.array([0.9, 0.05, 0.05])) is None


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


def shares(**found):
    """Return shares by habit of one layer with one head."""
    nothing = dict.fromkeys(("sink", "even", "previous", "next", "itself", "same", "after_same"), 0.0)
    return {name: np.array([[share]]) for name, share in (nothing | found).items()}


def test_chances_are_where_a_habit_would_show():
    chances = reading.chances_for([5, 6, 5, 7, 6], range(5))
    rows = {name: [np.flatnonzero(row).tolist() for row in chance] for name, chance in chances.items()}
    assert rows["previous"] == [[], [0], [1], [2], [3]]
    assert rows["next"] == [[1], [2], [3], [4], []]
    assert rows["itself"] == [[0], [1], [2], [3], [4]]
    assert rows["same"] == [[2], [4], [0], [], [1]]
    assert rows["after_same"] == [[], [], [], [], [2]]  # what followed the first 6; next to a token is not "after" it


def test_only_the_rows_asked_for_are_given_chances():
    assert reading.chances_for([5, 6, 5, 7, 6], [2, 4])["previous"].shape == (2, 5)


def test_a_head_is_named_by_its_strongest_habit_and_only_if_it_is_strong():
    (habit,) = reading.habits(shares(previous=0.8, itself=0.5))
    assert (habit.layer, habit.head, habit.name, habit.share) == (0, 0, "previous", 0.8)
    assert reading.habits(shares(previous=0.3, even=0.5)) == ()


def test_a_head_that_rests_on_the_sink_is_named_so_whatever_else_it_does():
    assert reading.habits(shares(sink=0.8, previous=0.95))[0].name == "sink"


def test_a_habit_the_text_gives_no_chance_to_show_is_not_named():
    assert reading.habits(shares(same=np.nan, previous=np.nan)) == ()


def test_heads_that_rest_or_look_everywhere_come_last():
    layers = [shares(sink=0.9), shares(previous=0.5), shares(even=0.95), shares(same=0.7)]
    together = {name: np.concatenate([one[name] for one in layers]) for name in layers[0]}
    assert [habit.name for habit in reading.habits(together)] == ["same", "previous", "even", "sink"]


def test_measures_in_the_same_order_agree_fully_whatever_their_size():
    assert reading.agreement([0.1, 0.5, 0.2], [1, 50, 2], [0.2, 0.5, 0.3]) == pytest.approx(1)


def test_attention_has_no_sign_so_a_strong_push_against_counts_as_much():
    assert reading.agreement([0.1, -0.5, 0.2], [1, -50, 2], [0.2, 0.5, 0.3]) == pytest.approx(1)


def test_opposite_orders_disagree_fully():
    assert reading.agreement([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)


def test_agreement_is_the_mean_of_the_pairs():
    covered, scores, looks = [1, 2, 3, 4], [2, 1, 4, 3], [1, 4, 2, 3]
    pairs = [reading.spearman(*map(np.array, pair)) for pair in ((covered, scores), (covered, looks), (scores, looks))]
    assert reading.agreement(covered, scores, looks) == pytest.approx(sum(pairs) / 3)


def test_equal_values_share_their_rank():
    assert reading.ranked(np.array([3, 1, 3, 2])).tolist() == [2.5, 0, 2.5, 1]


@pytest.mark.parametrize(
    "measures", [([1, 2], [1, 2]), ([1, 2, 3],), ([1, 1, 1], [1, 2, 3])], ids=["few words", "one measure", "all alike"]
)
def test_where_nothing_can_be_compared_there_is_no_agreement(measures):
    assert reading.agreement(*measures) is None


def test_one_token_alone_can_be_read_too():
    assert reading.rollout(np.ones((2, 3, 1, 1), np.float16)).tolist() == [[1]]
