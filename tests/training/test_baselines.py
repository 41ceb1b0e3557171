"""Counts that a network must beat: probabilities, and the better the more they are told."""

import math
import random

import pytest

from training.baselines import FALLBACK, KneserNey, NaiveBayes, characters, discounts, words

VOCABULARY = 9


def texts(seed: int, count: int = 60) -> list[list[int]]:
    """Make up documents in which a token hangs on the two before it."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        row = [rng.randrange(7), rng.randrange(7)]
        for _ in range(30):
            row.append((2 * row[-1] + row[-2]) % 7 if rng.random() < 0.8 else rng.randrange(7))
        found.append(row)
    return found


def probabilities(counts: KneserNey, before: list[int]) -> list[float]:
    """Return how likely each token is right after these."""
    known = counts.surprise(before)
    return [math.exp(known - counts.surprise([*before, token])) for token in range(VOCABULARY)]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("before", [[1], [1, 4], [0, 1, 2, 3], [8], [1, 8], [8, 8, 1], [7, 7, 7, 7, 7]])
def test_what_may_come_next_sums_to_one_after_anything_seen_or_unseen(order, before):
    found = probabilities(KneserNey(order).fit(texts(0), VOCABULARY), before)
    assert sum(found) == pytest.approx(1) and min(found) > 0


def test_who_looks_two_tokens_back_foretells_better_than_pairs_and_frequencies_do():
    held_out = texts(1)
    alone, pairs, threes = (
        sum(map(KneserNey(order).fit(texts(0), VOCABULARY).surprise, held_out)) for order in (1, 2, 3)
    )
    assert threes < 0.7 * min(alone, pairs)


def test_documents_are_strangers_to_one_another():
    counts = KneserNey(3).fit([[0, 1], [2, 3], [0, 1]] * 4, VOCABULARY)
    assert counts.levels[1][0].tolist() == [1, 2 * VOCABULARY + 3]  # 0 1 and 2 3; no 1 2, no 3 0
    assert len(counts.levels) == 2  # no document is three tokens long
    assert probabilities(counts, [0])[1] > probabilities(counts, [2])[1]


def test_a_token_that_follows_only_one_other_is_less_likely_elsewhere_than_one_that_follows_many():
    rows = [[0, 1]] * 20 + [[one, 2] for one in (3, 4, 5, 6)] * 4
    counts = KneserNey(2).fit(rows, VOCABULARY)
    elsewhere = probabilities(counts, [7])
    assert elsewhere[2] > elsewhere[1]  # though 1 came 20 times and 2 only 16


def test_discounts_are_those_of_chen_and_goodman_or_the_fallback_where_counts_are_too_few():
    share = 100 / (100 + 2 * 40)
    expected = (1 - 2 * share * 40 / 100, 2 - 3 * share * 20 / 40, 3 - 4 * share * 12 / 20)
    assert discounts([0, 100, 40, 20, 12]) == pytest.approx(expected)
    assert discounts([0, 5, 0, 0, 0]) == FALLBACK


def test_a_text_of_one_token_or_none_surprises_nobody():
    counts = KneserNey(3).fit(texts(0), VOCABULARY)
    assert counts.surprise([1]) == counts.surprise([]) == 0


@pytest.mark.parametrize(
    ("votes", "learned", "asked"),
    [
        (words, [("good film", 1), ("bad film", 0), ("very good", 1), ("very bad", 0)], ["a good one", "a bad one"]),
        (characters, [("很好", 1), ("很差", 0), ("不好", 0), ("不差", 1), ("很好", 1)], ["很好吃", "不好吃"]),
    ],
)
def test_naive_bayes_learns_pieces_and_pairs(votes, learned, asked):
    simple = NaiveBayes(learned, votes)
    assert [simple.label(text) for text in asked] == [1, 0]
