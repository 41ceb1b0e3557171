"""Logits in, rankings out."""

from collections.abc import Callable

import torch

from core import limits
from core.results import Ranking


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return the softmax over the last dimension in float32, whatever the network computes in."""
    return logits.float().softmax(-1)


def rank(chances: torch.Tensor, name: Callable[[int], str], count: int = limits.CHOICES) -> Ranking:
    """Return the `count` likeliest of a vector of probabilities, (labels,); `name` gives a label's text."""
    values, indices = chances.topk(min(count, len(chances)))
    return Ranking(tuple(name(index) for index in indices.tolist()), tuple(values.tolist()))
