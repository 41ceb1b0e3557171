"""One head of a trace in full, or all its layers together: the weights as they are shown, row by row."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from core import limits, reading
from core.results import View
from core.survey import NUMBERS, few_heads
from core.traces import Trace


def head_rows(trace: Trace, view: View, sink: int | None, rows: slice) -> np.ndarray:
    """Return how some tokens look in one head: float32[row, key], rows summing to 1, or to 0 where nothing is left."""
    weights = trace.calls[view.layer].weights([view.head], rows)[0, 0]  # (row, key)
    if view.carried:
        weights = weights * trace.norms[view.layer][view.head]
    return as_shown(weights, sink, view.carried)


def as_shown(weights: Tensor, sink: int | None, carried: bool) -> np.ndarray:
    """Return weights [..., key] without the sink, as shares of what is left."""
    found = weights.float().cpu().numpy()
    if sink is not None:
        return reading.set_aside(found, sink)
    return reading.shares_of(found) if carried else found


def rolled(trace: Trace, sink: int | None, carried: bool) -> np.ndarray:
    """Return how much of each token reaches each place through all layers: float32[query, key].

    Source: Abnar & Zuidema 2020, eq. 1; with `carried`, each look weighed by what it carries (Kobayashi et al. 2020).
    """
    name = f"rolled {sink} {carried}"
    if name not in trace.prepared:
        flow = None
        for layer in range(len(trace.calls)):
            mean = mean_head(trace, layer, sink, carried)
            flow = np.eye(len(mean), dtype=np.float32) if flow is None else flow
            flow = reading.roll(flow, mean)
        trace.prepared[name] = reading.shares_of(flow)
    return trace.prepared[name]


def mean_head(trace: Trace, layer: int, sink: int | None, carried: bool) -> np.ndarray:
    """Return a layer's heads, averaged as they are shown: float32[query, key]."""
    call, total, first = trace.calls[layer], 0.0, 0
    for weights in few_heads(call, range(call.tokens)):  # (head, query, key)
        if carried:
            weights = weights * trace.norms[layer][first : first + len(weights), None]
        total = total + as_shown(weights, sink, carried).sum(0)
        first += len(weights)
    return total / call.heads


def in_blocks(trace: Trace, view: View, sink: int | None, tokens: int) -> Iterator[np.ndarray]:
    """Return all rows of a head, some at a time."""
    step = max(1, NUMBERS // tokens)
    for first in range(0, tokens, step):
        yield head_rows(trace, view, sink, slice(first, min(first + step, tokens)))


def shrunk(blocks: Iterator[np.ndarray], tokens: int) -> np.ndarray:
    """Return a whole head as a small picture, uint8[side, side]: the strongest look of each stretch, by its square root.

    blocks: its rows, some at a time, [row, key].
    """
    side = min(tokens, limits.WHOLE_SIDE)
    edges = np.linspace(0, tokens, side + 1).astype(int)[:-1]
    small = np.zeros((side, side), np.float32)
    first = 0
    for block in blocks:
        across = np.maximum.reduceat(block, edges, -1)  # [row, side]
        bins = np.searchsorted(edges, np.arange(first, first + len(block)), "right") - 1
        np.maximum.at(small, bins, across)
        first += len(block)
    return np.round(255 * np.sqrt(small / max(float(small.max()), 1e-9))).astype(np.uint8)
