"""What tasks return and charts draw: frozen records named by meaning, made of numpy arrays, numbers and text."""

from dataclasses import dataclass, field, fields, is_dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Ranking:
    """The likeliest of many labels."""

    labels: tuple[str, ...]  # most likely first
    probabilities: tuple[float, ...]  # parallel to labels, of the full softmax; what is not listed is the rest

    @property
    def rest(self) -> float:
        """The probability of everything that is not listed."""
        return max(0.0, 1.0 - sum(self.probabilities))

    def probability_of(self, label: str) -> float:
        """Return the probability of a listed label, 0 for one that is not listed."""
        return dict(zip(self.labels, self.probabilities, strict=True)).get(label, 0.0)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What is taken away from the model before it answers. Nothing by default."""

    hidden_tokens: frozenset[int] = frozenset()  # numbers of the result's tokens that may not be looked at
    hidden_patches: frozenset[int] = frozenset()  # numbers of the picture's patches, row by row
    silenced_heads: frozenset[tuple[int, int]] = frozenset()  # (layer, head)


@dataclass(frozen=True, slots=True)
class Saliency:
    """How much each token pushed towards an answer."""

    label: str  # the answer
    tokens: tuple[str, ...]  # as shown
    covered: tuple[float, ...]  # parallel to tokens: what the answer's probability loses when the token is covered
    scores: tuple[float, ...] = ()  # parallel to tokens: integrated gradients of its log-odds; above 0 pushed for it


@dataclass(frozen=True, slots=True)
class Filling:
    """A text whose blanks are filled."""

    tokens: tuple[str, ...]  # as shown
    blanks: tuple[int, ...]  # which of the tokens are blanks
    rankings: tuple[Ranking, ...]  # parallel to blanks
    why: Saliency  # for the first blank's likeliest filling


@dataclass(frozen=True, slots=True)
class Settings:
    """How the next token is drawn."""

    temperature: float = 0.8  # 0 takes the likeliest; 1 leaves the model's own probabilities
    top_k: int = 0  # only the k likeliest are drawn from; 0 lets all in
    top_p: float = 1.0  # only the likeliest that together reach this probability
    length: int = 80  # tokens to write
    seed: int = 0  # the same seed draws the same story


@dataclass(frozen=True, slots=True)
class Step:
    """One token of a story, and what else it could have been."""

    text: str  # what it adds to the story; "" while a character is not whole yet
    token: int  # its number in the vocabulary
    probability: float  # of the full softmax
    alternatives: Ranking  # the likeliest, and the chosen one whatever its rank
    rivals: tuple[int, ...]  # parallel to alternatives: their numbers in the vocabulary
    log_probabilities: np.ndarray = field(repr=False, compare=False)  # float32[kept], falling
    ranks: tuple[int, ...] = ()  # parallel to alternatives: their places in the whole vocabulary, from 0
    vocabulary: int = 0  # tokens the model knows


@dataclass(frozen=True, slots=True)
class Verdict:
    """A text's class and why."""

    ranking: Ranking
    saliency: Saliency


@dataclass(frozen=True, slots=True)
class PatchMap:
    """How much an answer drew on each part of a picture."""

    weights: np.ndarray = field(compare=False)  # float32[row, column], from 0 to 1


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer about a picture and where it came from."""

    ranking: Ranking
    patches: PatchMap
    unknown: tuple[str, ...]  # words of the question the model has never met


@dataclass(frozen=True, slots=True)
class Attention:
    """Who looks at whom, in every layer and head."""

    tokens: tuple[str, ...]  # as shown
    weights: np.ndarray = field(compare=False)  # float16[layer, head, query, key]; every row sums to 1
    prediction: Ranking | None  # what the model says with this attention; None where nothing is asked of it
    sink: int | None  # the token most heads rest on when they have nothing to look for, set aside in charts


def as_data(result: object) -> object:
    """Return a result as numbers, text, lists and dictionaries, for JSON."""
    if is_dataclass(result):
        return {part.name: as_data(getattr(result, part.name)) for part in fields(result) if part.repr}
    if isinstance(result, np.ndarray):
        return np.round(result.astype(np.float64), 5).tolist()
    if isinstance(result, dict):
        return {name: as_data(value) for name, value in result.items()}
    if isinstance(result, tuple | list | frozenset):
        return [as_data(one) for one in result]
    return round(result, 6) if isinstance(result, float) else result
