"""What can be read off attention: the sink, rollout, habits of heads, how far measures agree. Pure numpy, no model."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from core.results import Habit

SINK_SHARE = 0.25  # of all attention: one token that draws more than this, and draws it everywhere, is a sink
LEFT = 1e-3  # of a row: where less is left without the sink, nothing is
ALIVE = 0.2  # of a row: where less is left without the sink, a head is not asked for its habits
LEAST_ROWS = 3  # tokens that must have had the chance to show a habit
EVEN_TOKENS = 6  # that a token must be able to look at before "evenly" means anything
HABIT_SHARES = {"sink": 0.7, "even": 0.75}  # from here on a habit is one
HABIT_SHARE = 0.4  # the same, for all that is not named above


def find_sink(received: np.ndarray) -> int | None:
    """Return the token that heads rest on when they have nothing to look for, if there is one.

    received: [key], the share of all looking each token gets.
    Source: Xiao et al. 2024 ("attention sinks").
    """
    if len(received) < 4:
        return None
    sink = int(received.argmax())
    return sink if received[sink] > SINK_SHARE else None


def set_aside(weights: np.ndarray, token: int | None) -> np.ndarray:
    """Return the weights without what goes to one token, each row made to sum to 1 again where anything is left."""
    if token is None:
        return weights
    weights = weights.astype(np.float32)
    weights[..., token] = 0
    return shares_of(weights)


def shares_of(weights: np.ndarray) -> np.ndarray:
    """Return each row as shares of its sum; rows of next to nothing become nothing."""
    sums = weights.sum(-1, keepdims=True)
    return np.divide(weights, sums, out=np.zeros_like(weights), where=sums > LEFT)


def rollout(weights: np.ndarray) -> np.ndarray:
    """Return how much of each token reaches each place through all layers: float32[query, key], rows sum to 1.

    weights: [layer, head, query, key]. Heads are averaged, and half of every layer is what a token keeps of itself.
    Source: Abnar & Zuidema 2020, eq. 1.
    """
    flow = np.eye(weights.shape[-1], dtype=np.float32)
    for layer in weights.astype(np.float32).mean(1):  # [query, key]
        flow = roll(flow, layer)
    return flow / flow.sum(-1, keepdims=True)


def roll(flow: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Return the flow [query, key] one layer further on; layer: [query, key], its heads averaged."""
    return 0.5 * (layer @ flow) + 0.5 * flow


def chances_for(ids: Sequence[int], rows: Sequence[int]) -> dict[str, np.ndarray]:
    """Return by a habit's name which looks would show it: bool[row, key].

    "same": at the same word elsewhere; "after_same": at what followed the same word before (induction, Olsson et al. 2022).
    """
    ids, rows = np.asarray(ids), np.asarray(rows)
    keys = np.arange(len(ids))
    away = keys[None] - rows[:, None]  # [row, key]
    same = ids[rows][:, None] == ids[None]
    followed = np.zeros_like(same)
    followed[:, 1:] = (same & (away < 0))[:, :-1]
    return {
        "previous": away == -1,
        "next": away == 1,
        "itself": away == 0,
        "same": same & (away != 0),
        "after_same": followed & (away < -1),
    }


def habits(shares: dict[str, np.ndarray]) -> tuple[Habit, ...]:
    """Name what heads mostly do, where it has a name; shares: by name, float[layer, head].

    A habit is one whose share of the head's looking, the sink set aside but for "sink" itself, is at least HABIT_SHARES or
    HABIT_SHARE. Heads that rest or look everywhere come last, the clearest first among the others and among these.
    """
    found = []
    for layer, head in np.ndindex(next(iter(shares.values())).shape):
        mine = {name: float(share[layer, head]) for name, share in shares.items()}
        strong = [name for name, share in mine.items() if share >= HABIT_SHARES.get(name, HABIT_SHARE)]
        if strong:
            name = "sink" if "sink" in strong else max(strong, key=mine.get)
            found.append(Habit(layer, head, name, mine[name]))
    return tuple(sorted(found, key=lambda habit: (habit.name in HABIT_SHARES, -habit.share)))


def agreement(covered: Sequence[float], scores: Sequence[float] = (), looks: Sequence[float] = ()) -> float | None:
    """Return how far covering, gradients and attention put things in the same order: from -1 (opposite) to 1 (the same).

    The mean of Spearman's rank correlation of each pair; attention, which has no sign, against the others' magnitudes.
    None for fewer than 3 things, fewer than 2 measures, or a measure that makes no difference between them.
    """
    signed = [np.asarray(one, np.float64) for one in (covered, scores) if len(one)]
    measures = [(one, np.abs(one)) for one in signed] + [(None, np.asarray(looks, np.float64))] * bool(len(looks))
    if len(measures) < 2 or len(measures[0][1]) < 3:
        return None
    pairs = [
        (one[0], other[0]) if one[0] is not None and other[0] is not None else (one[1], other[1])
        for one, other in combinations(measures, 2)
    ]
    found = [spearman(*pair) for pair in pairs]
    return None if any(one is None for one in found) else float(np.mean(found))


def spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    """Return the rank correlation of two rows of numbers, None where one of them is all alike."""
    ranks = [ranked(values) - (len(values) - 1) / 2 for values in (one, other)]
    lengths = [np.sqrt((rank**2).sum()) for rank in ranks]
    return float(ranks[0] @ ranks[1] / (lengths[0] * lengths[1])) if min(lengths) > 0 else None


def ranked(values: np.ndarray) -> np.ndarray:
    """Return the rank of each number, from 0; equal ones share the mean of theirs."""
    below = (values[None] < values[:, None]).sum(1)
    equal = (values[None] == values[:, None]).sum(1)
    return below + (equal - 1) / 2
