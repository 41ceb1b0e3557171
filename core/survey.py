"""All heads of a trace at a glance: how strongly each looks where, and what it mostly does. Works a few heads at a time."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from core import limits, reading
from core.calls import Call, Seen
from core.traces import Trace

NUMBERS = 1_000_000  # weights worked out at a time
SCOUTS = 64  # tokens that are asked where they look, to find the sink


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found."""

    montage: np.ndarray  # uint8[layer, head, side, side]; 255 is the head's own strongest look
    sharpness: np.ndarray  # float32[layer, head]: how hard a token looks at its favourite other token, on average
    shares: dict[str, np.ndarray]  # by a habit's name: float32[layer, head]; NaN where the text gives no chance of it
    sink: int | None
    sink_share: float


def survey(trace: Trace, ids: Sequence[int]) -> Survey:
    """Look at every head of a trace; the sink, where there is one, is set aside in all but its own share."""
    tokens = len(ids)
    rows = spread(tokens, limits.SURVEY_ROWS)
    side = min(tokens, limits.MONTAGE_SIDE)
    sink = reading.find_sink(received(trace, tokens))
    device = trace.calls[0].weights([0], [0]).device
    chances = {name: torch.from_numpy(one).to(device) for name, one in reading.chances_for(ids, rows).items()}
    layers = []
    for call in trace.calls:
        found = [look_at(weights, sink, rows, side, chances) for weights in few_heads(call, rows)]
        layers.append([torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True)])
    montage, sharpness, shares = (np.stack(parts) for parts in zip(*layers, strict=True))
    by_name = {name: shares[..., at] for at, name in enumerate(["sink", "even", *chances])}
    rested = float(by_name["sink"].mean()) if sink is not None else 0.0
    return Survey(montage, sharpness, by_name, sink, rested)


def spread(tokens: int, most: int) -> list[int]:
    """Return at most `most` places, evenly spread over a text."""
    return sorted({round(at) for at in np.linspace(0, tokens - 1, min(tokens, most))})


def few_heads(call: Call | Seen, rows: Sequence[int]) -> Iterator[Tensor]:
    """Work out a layer's weights, some heads at a time: (head, row, key)."""
    step = max(1, NUMBERS // (len(rows) * call.tokens))
    for first in range(0, call.heads, step):
        yield call.weights(range(first, min(first + step, call.heads)), rows)[0]


def received(trace: Trace, tokens: int) -> np.ndarray:
    """Return the share of all looking each token gets, by a few of the tokens: float64[key]; the first token is not asked."""
    rows = [row for row in spread(tokens, SCOUTS) if row] or [0]
    sums = [weights.mean((0, 1)) * len(weights) for call in trace.calls for weights in few_heads(call, rows)]
    total = sum(call.heads for call in trace.calls)
    return (torch.stack(sums).sum(0) / total).double().cpu().numpy()


def look_at(weights: Tensor, sink: int | None, rows: list[int], side: int, chances: dict[str, Tensor]) -> tuple:
    """Return montage, sharpness and shares of a few heads: uint8 (head, side, side), (head), (head, habit).

    weights: (head, row, key), changed in place; chances: by habit, which looks would show it, (row, key).
    """
    asked = [at for at, row in enumerate(rows) if row] or [0]  # a writer's first token can look nowhere else
    rested = torch.zeros(len(weights), device=weights.device)
    left = weights.sum(-1)  # (head, row)
    seen = (weights > 0).sum(-1)  # how many tokens may be looked at
    if sink is not None:
        rested = weights[:, asked, sink].mean(1)
        weights[..., sink] = 0
        left = weights.sum(-1)
        weights /= torch.where(left > reading.LEFT, left, torch.inf)[..., None]
    small = adaptive_max_pool2d(weights[None], (side, side))[0]
    small = small / small.amax((1, 2), keepdim=True).clamp_min(1e-9)
    alive = left > reading.ALIVE
    shares = [
        rested,
        mean_where(torch.special.entr(weights).sum(-1).exp() / seen, alive & (seen >= reading.EVEN_TOKENS)),
    ]
    for chance in chances.values():
        shares.append(mean_where((weights * chance).sum(-1), alive & chance.any(-1)))
    weights[:, torch.arange(len(rows)), torch.tensor(rows)] = 0
    sharpness = weights.amax(-1).mean(-1)
    return (small * 255).round().byte(), sharpness, torch.stack(shares, -1)


def mean_where(values: Tensor, there: Tensor) -> Tensor:
    """Return the mean over rows of (head, row) where `there` is true; NaN where that is on fewer than 3 rows."""
    count = there.sum(-1)
    mean = (values * there).sum(-1) / count.clamp_min(1)
    return mean.masked_fill(count < reading.LEAST_ROWS, math.nan)
