"""What tasks return and charts draw: frozen records named by meaning, made of numpy arrays, numbers and text."""

import math
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
        """Return the probability of a listed label, of the likeliest one where several read alike, 0 for one not listed."""
        pairs = zip(self.labels, self.probabilities, strict=True)
        return next((probability for found, probability in pairs if found == label), 0.0)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What is taken away from the model before it answers. Nothing by default."""

    hidden_tokens: frozenset[int] = frozenset()  # numbers of the result's words or tokens that may not be looked at
    hidden_patches: frozenset[int] = frozenset()  # numbers of the picture's patches, row by row
    silenced_heads: frozenset[tuple[int, int]] = frozenset()  # (layer, head)


@dataclass(frozen=True, slots=True)
class Saliency:
    """How much each word pushed towards an answer, by three measures."""

    label: str  # the answer
    tokens: tuple[str, ...]  # as shown: the words, WhatIf.hidden_tokens counts them
    covered: tuple[float, ...]  # parallel to tokens: what the answer's probability loses when the word is covered
    scores: tuple[float, ...] = ()  # parallel to tokens: integrated gradients of its log-odds; above 0 pushed for it
    looks: tuple[float, ...] = ()  # parallel to tokens: share of the attention of all layers together (rollout)
    error: float | None = None  # completeness: what the scores miss of the change they explain, as a share of it
    agreement: float | None = (
        None  # of the three measures, from -1 (opposite) to 1 (the same order); None: too few words
    )


@dataclass(frozen=True, slots=True)
class Filling:
    """A text whose blanks are filled."""

    tokens: tuple[str, ...]  # as shown
    blanks: tuple[int, ...]  # which of the tokens are blanks
    rankings: tuple[Ranking, ...]  # parallel to blanks
    why: Saliency | None  # for the first blank's likeliest filling; None where it was not asked for


@dataclass(frozen=True, slots=True)
class Settings:
    """How the next token is drawn."""

    temperature: float = 0.8  # 0 takes the likeliest; 1 leaves the model's own probabilities
    top_k: int = 0  # only the k likeliest are drawn from; 0 lets all in
    top_p: float = 1.0  # only the likeliest that together reach this probability
    min_p: float = 0.0  # only those with at least this share of the likeliest one's probability
    repetition: float = 1.0  # above 1 what the text holds already becomes less likely
    length: int = 80  # tokens to write
    seed: int = 0  # the same seed draws the same story
    stop: tuple[str, ...] = ()  # the story ends where it has written one of these


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
    offset: float = 0.0  # what a log-probability lacks to be the model's logit
    repeats: tuple[int, ...] = ()  # places, of those kept, of tokens that the text before it holds already

    @property
    def surprise(self) -> float:
        """How much the token says, in bits: 0 for what was certain, one more each time the probability halves."""
        return -math.log2(max(self.probability, 1e-38))


@dataclass(frozen=True, slots=True)
class Beam:
    """One token that a beam search weighed."""

    parent: int | None  # the number of the Beam it goes on from; None for the first token
    depth: int  # tokens before it, from 0
    token: int  # its number in the vocabulary
    text: str  # what it adds to the story
    label: str  # as the name of a bar
    probability: float  # of the full softmax, after all that is before it
    together: float  # the probability of the whole way to it
    kept: bool  # among the likeliest ways of its depth: the search goes on from it
    ended: bool = False  # the model ends the text here


@dataclass(frozen=True, slots=True)
class Beams:
    """A beam search seen: every way on that was weighed, and those that were left."""

    beams: tuple[Beam, ...]  # depth by depth, the likeliest first
    width: int  # ways kept at every depth
    best: tuple[int, ...]  # numbers of the beams the ways that are left end with, the likeliest first

    def way(self, number: int) -> tuple[int, ...]:
        """Return the numbers of the beams from the first token to this one."""
        before = self.beams[number].parent
        return (number,) if before is None else (*self.way(before), number)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model says, and why."""

    ranking: Ranking
    saliency: Saliency | None  # None where it was not asked for


@dataclass(frozen=True, slots=True)
class PatchMap:
    """How much an answer drew on each part of a picture."""

    weights: np.ndarray = field(compare=False)  # float32[row, column], from 0 to 1
    way: str = "gradients"  # "rollout", "gradients" (gradient x attention) or "covering"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer about a picture and where it came from."""

    ranking: Ranking
    patches: tuple[PatchMap, ...]  # by rollout and by gradient x attention
    unknown: tuple[str, ...]  # words of the question the model has never met
    saliency: Saliency | None = None  # of the question's words


@dataclass(frozen=True, slots=True)
class PatchCover:
    """What an answer loses when each part of a picture is covered."""

    label: str  # the answer
    patches: PatchMap  # what its log-odds lose, the most as 1
    lost: np.ndarray = field(compare=False)  # float32[row, column], of probability; below 0 the answer gained
    agreement: float | None  # of the three maps, from -1 (opposite) to 1 (the same order); None: too little to compare


@dataclass(frozen=True, slots=True)
class View:
    """What is asked for of a text's attention."""

    layer: int = 0
    head: int = 0
    rolled: bool = False  # all layers together instead of one head: rollout
    aside: bool = True  # leave out what goes to the sink
    carried: bool = False  # weigh each look by the length of what it carries (value norms), not by the look alone
    query: int = 0  # the first token down the side of the window
    key: int = 0  # the first token across it


@dataclass(frozen=True, slots=True)
class Habit:
    """What a head mostly does, where that has a name."""

    layer: int
    head: int
    name: str  # "previous", "next", "itself", "sink", "same", "after_same" or "even"
    share: float  # of the head's looking that goes there


@dataclass(frozen=True, slots=True)
class Attention:
    """Every head's gaze over a text at a glance."""

    tokens: tuple[str, ...]  # as shown
    montage: np.ndarray = field(compare=False)  # uint8[layer, head, side, side]: the strongest look of each stretch
    habits: tuple[Habit, ...]  # the heads whose habit has a name, the clearest first
    sharpest: tuple[int, int]  # (layer, head) that looks hardest at single other tokens: a good one to begin with
    sink: int | None  # the token most heads rest on when they have nothing to look for
    sink_share: float  # of all looking
    prediction: Ranking | None  # what the model says with this attention; None where nothing is asked of it
    asked: int | None  # the token in whose place the prediction stands; None where a text has one answer


@dataclass(frozen=True, slots=True)
class Gaze:
    """Who looks at whom: one head, or all layers together, in a window of the text."""

    view: View  # as asked for, the window moved into the text
    weights: np.ndarray = field(compare=False)  # uint8[query, key] of the window; 255 stands for `most`
    most: float  # the strongest look of the window
    targets: np.ndarray = field(compare=False)  # int32[query, few]: the tokens a window's token looks at most, all text
    shares: np.ndarray = field(compare=False)  # float32[query, few]: parallel to targets
    whole: np.ndarray | None = field(
        compare=False, default=None
    )  # uint8[side, side]: all of a text longer than a window

    def row(self, token: int) -> np.ndarray:
        """Return how a token of the window looks at the window's tokens: float32[key]."""
        return self.weights[token - self.view.query].astype(np.float32) * (self.most / 255)


@dataclass(frozen=True, slots=True)
class Lens:
    """What each layer would have said, had it been the last (the logit lens)."""

    tokens: tuple[str, ...]  # as shown: the tokens in whose places is asked
    places: tuple[int, ...]  # parallel to tokens: their numbers in the text
    rankings: tuple[tuple[Ranking, ...], ...]  # [layer][place], the embeddings first; each layer's likeliest few


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
