"""Simple counts that a network must beat: n-grams for the next token, naive Bayes for sentiment."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence


class Bigrams:
    """The next token from the one before, mixed with how common it is at all.

    Source of the mixture: Witten and Bell 1991.
    """

    def __init__(self, stream: Sequence[int], vocabulary: int):
        self.vocabulary = vocabulary
        self.single = Counter(stream)
        self.total = len(stream)
        self.after: dict[int, Counter] = defaultdict(Counter)
        for first, second in zip(stream, stream[1:], strict=False):
            self.after[first][second] += 1
        self.seen = {first: seconds.total() for first, seconds in self.after.items()}

    def probability(self, first: int, second: int) -> float:
        """Return how likely `second` is right after `first`."""
        kinds = len(self.single)
        single = (self.single[second] + kinds / self.vocabulary) / (self.total + kinds)
        seconds = self.after.get(first)
        if not seconds:
            return single
        return (seconds[second] + len(seconds) * single) / (self.seen[first] + len(seconds))

    def surprise(self, stream: Sequence[int]) -> float:
        """Return the sum of -log probability, in nats, over all tokens but the first."""
        return -sum(math.log(self.probability(*pair)) for pair in zip(stream, stream[1:], strict=False))


class NaiveBayes:
    """Positive or negative from the words and pairs of words alone, as independent votes, add-one smoothed."""

    def __init__(self, examples: Iterable[tuple[str, int]]):
        self.counts = (Counter(), Counter())
        for text, label in examples:
            self.counts[label].update(votes(text))
        self.kinds = len(self.counts[0].keys() | self.counts[1].keys())
        self.totals = [one.total() for one in self.counts]

    def label(self, text: str) -> int:
        """Return 1 for positive, 0 for negative."""
        balance = 0.0
        for vote in votes(text):
            negative, positive = (one[vote] + 1 for one in self.counts)
            balance += math.log(positive / (self.totals[1] + self.kinds) * (self.totals[0] + self.kinds) / negative)
        return int(balance > 0)


def votes(text: str) -> list[str]:
    """Return the words of a text and its pairs of neighbours."""
    words = text.lower().split()
    return words + [f"{first} {second}" for first, second in zip(words, words[1:], strict=False)]
