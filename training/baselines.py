"""Simple counts that a network must beat: n-grams for the next token, naive Bayes for praise and complaint."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import numpy as np

EDGE = -1  # stands before a document, where no n-gram reaches across
FALLBACK = (0.5, 1.0, 1.5)  # discounts where too few n-grams occur once, twice, three and four times


class KneserNey:
    """The next token from the few before: interpolated Kneser-Ney with three discounts an order.

    The n-grams of each order are numbered: n-gram number `i` is that of `keys[i]` = number of its first n - 1 tokens
    times the vocabulary + its last token. So an order is three flat arrays, and a whole text is looked up at once.
    Sources: Kneser and Ney 1995; Chen and Goodman 1998, section 3 ("modkn"); the fallback is KenLM's.
    """

    def __init__(self, order: int):
        self.order = order
        self.levels: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # n - 1: keys, shares, left over by context

    def fit(self, streams: Iterable[Sequence[int]], vocabulary: int) -> Self:
        """Count documents of tokens from 0 to vocabulary - 1; no n-gram reaches from one document into the next."""
        self.vocabulary, self.levels = vocabulary, []
        parts = [np.concatenate(([EDGE], np.asarray(one, np.int64))) for one in streams]
        tokens = np.concatenate([*parts, [EDGE]])
        numbers, contexts = np.zeros_like(tokens), 1  # of the empty n-gram before every token
        for n in range(1, self.order + 1):
            found = self.keys_at(tokens, numbers)
            inside = found != EDGE
            if not inside.any():  # no document is so long
                break
            keys, numbered, counts = np.unique(found[inside], return_inverse=True, return_counts=True)
            if n < self.order:  # what counts is how many different tokens go before, an edge being one of them
                before = tokens[np.flatnonzero(inside) - n] - EDGE
                kinds = np.unique(numbered * (vocabulary + 1) + before) // (vocabulary + 1)
                counts = np.bincount(kinds, minlength=len(keys))
            self.levels.append(discounted(keys // vocabulary, counts, contexts, keys))
            numbers = np.full_like(tokens, EDGE)
            numbers[inside] = numbered
            contexts = len(keys)
        return self

    def keys_at(self, tokens: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return the key of the n-gram that ends at each token, from the numbers of those one shorter; EDGE for none."""
        before = np.concatenate(([EDGE], numbers[:-1]))
        return np.where((before == EDGE) | (tokens == EDGE), EDGE, before * self.vocabulary + tokens)

    def surprise(self, stream: Sequence[int]) -> float:
        """Return the sum of -log probability, in nats, over all tokens of a document but the first."""
        tokens = np.concatenate(([EDGE], np.asarray(stream, np.int64)))
        numbers = np.zeros_like(tokens)
        likely = np.full(len(tokens), 1 / self.vocabulary)
        for keys, shares, left in self.levels:
            found = self.keys_at(tokens, numbers)
            at = np.searchsorted(keys, found).clip(max=len(keys) - 1)
            seen = keys[at] == found
            known = np.concatenate(([False], numbers[:-1] != EDGE))  # whether the context was ever met
            context = np.concatenate(([0], numbers[:-1]))
            likely = np.where(known, seen * shares[at] + left[context] * likely, likely)
            numbers = np.where(seen, at, EDGE)
        return -float(np.log(likely[2:]).sum())


def discounted(
    context: np.ndarray, counts: np.ndarray, contexts: int, keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the keys, the share of its context's tokens each n-gram keeps, and what every context leaves to shorter ones.

    `context` is the number of each n-gram's first n - 1 tokens, out of `contexts`.
    """
    cut = np.array([0.0, *discounts(np.bincount(counts, minlength=5))])[counts.clip(max=3)]
    total = np.bincount(context, counts, contexts)
    left = np.divide(np.bincount(context, cut, contexts), total, out=np.ones(contexts), where=total > 0)
    return keys, (counts - cut) / total[context], left


def discounts(times: np.ndarray) -> tuple[float, float, float]:
    """Return what is taken off counts of one, two, and more, from how many n-grams occur so many times."""
    _, once, twice, thrice, four = (float(count) for count in times[:5])
    if not (once and twice and thrice and four):
        return FALLBACK
    share = once / (once + 2 * twice)
    found = (1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * four / thrice)
    return found if all(0 < cut <= most for most, cut in enumerate(found, 1)) else FALLBACK


class NaiveBayes:
    """Positive or negative from the votes in a text alone, as if they were independent, add-one smoothed."""

    def __init__(self, examples: Iterable[tuple[str, int]], votes: Callable[[str], list[str]]):
        self.votes = votes
        self.counts = (Counter(), Counter())
        for text, label in examples:
            self.counts[label].update(votes(text))
        self.kinds = len(self.counts[0].keys() | self.counts[1].keys())
        self.totals = [one.total() for one in self.counts]

    def label(self, text: str) -> int:
        """Return 1 for positive, 0 for negative."""
        balance = 0.0
        for vote in self.votes(text):
            negative, positive = (one[vote] + 1 for one in self.counts)
            balance += math.log(positive / (self.totals[1] + self.kinds) * (self.totals[0] + self.kinds) / negative)
        return int(balance > 0)


def words(text: str) -> list[str]:
    """Return the words of a text and its pairs of neighbours."""
    return with_pairs(text.lower().split())


def characters(text: str) -> list[str]:
    """Return the characters of a text and its pairs of neighbours."""
    return with_pairs("".join(text.lower().split()))


def with_pairs(pieces: Sequence[str]) -> list[str]:
    """Return the pieces and the pairs of neighbours among them."""
    return [*pieces, *(f"{first} {second}" for first, second in zip(pieces, pieces[1:], strict=False))]
