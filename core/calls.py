"""One layer's attention as it was asked for, from which any of its weights can be worked out, now or later."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import repeat_kv

from core import limits


@dataclass(frozen=True, slots=True)
class Call:
    """What one layer's attention was asked, so that any of its weights can be worked out later."""

    query: Tensor  # (batch, head, query, size)
    key: Tensor  # (batch, key head, key, size)
    mask: Tensor | None  # (batch or 1, head or 1, query, key): boolean, or added
    bias: Tensor | None  # the same shape, added (T5)
    scaling: float | None
    causal: bool  # without a mask: nobody looks ahead
    softcap: float | None = None  # Gemma 2
    sinks: Tensor | None = None  # (head): a look at nothing (GPT-OSS)

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return self.query.shape[1]

    @property
    def tokens(self) -> int:
        """How many tokens look."""
        return self.query.shape[2]

    def weights(self, heads: Sequence[int] | None = None, rows: Sequence[int] | slice | None = None) -> Tensor:
        """Return float32 (batch, head, row, key); every row sums to 1, or to 0 where it may look at nothing.

        Source: Vaswani et al. 2017, eq. 1.
        """
        chosen = list(range(self.heads)) if heads is None else list(heads)
        groups = self.heads // self.key.shape[1]
        rows = slice(None) if rows is None else rows
        query = (self.query if heads is None else self.query[:, chosen])[:, :, rows].float()
        key = self.key if groups == 1 and heads is None else self.key[:, [head // groups for head in chosen]]
        scaling = self.query.shape[-1] ** -0.5 if self.scaling is None else self.scaling
        logits = query @ key.float().transpose(2, 3) * scaling
        if self.softcap is not None:
            logits = (logits / self.softcap).tanh() * self.softcap
        if self.bias is not None:
            logits = logits + part(self.bias, chosen, rows)
        if self.mask is not None:
            mask = part(self.mask, chosen, rows)[..., : logits.shape[-1]]
            logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
        elif self.causal and self.query.shape[2] > 1:
            place = torch.arange(self.query.shape[2], device=query.device)[rows, None]
            logits = logits.masked_fill(place < torch.arange(logits.shape[-1], device=query.device), -torch.inf)
        if self.sinks is None:
            return logits.softmax(-1).nan_to_num(0.0)
        sinks = self.sinks.float()[chosen].reshape(1, -1, 1, 1).expand(*logits.shape[:3], 1)
        return torch.cat([logits, sinks], -1).softmax(-1)[..., :-1]

    def kept(self, layers: int) -> "Call":
        """Return the call as it is kept: of a long text, all `layers` together above limits.EXACT_BYTES, in half precision."""
        numbers = layers * (self.query.numel() + self.key.numel())
        if self.query.dtype != torch.float32 or 4 * numbers <= limits.EXACT_BYTES:
            return replace(self, query=self.query.detach(), key=self.key.detach())
        return replace(self, query=self.query.detach().half(), key=self.key.detach().half())


@dataclass(frozen=True, slots=True)
class Seen:
    """The weights of a layer that runs eager: they are there already."""

    all: Tensor  # (batch, head, query, key)

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return self.all.shape[1]

    @property
    def tokens(self) -> int:
        """How many tokens look."""
        return self.all.shape[2]

    def weights(self, heads: Sequence[int] | None = None, rows: Sequence[int] | slice | None = None) -> Tensor:
        """Return float32 (batch, head, row, key)."""
        return part(self.all, heads, rows).float()

    def kept(self, layers: int) -> "Seen":
        """Return the call as it is kept."""
        return Seen(self.all.detach())


def part(array: Tensor, heads: Sequence[int] | None, rows: Sequence[int] | slice | None) -> Tensor:
    """Return some heads and rows of (batch, head or 1, row or 1, key)."""
    array = array if heads is None or array.shape[1] == 1 else array[:, list(heads)]
    return array if rows is None or array.shape[2] == 1 else array[:, :, rows]


def weighed_sum(weights: Tensor, value: Tensor) -> Tensor:
    """Return the values weighed, (batch, query, head, size)."""
    value = repeat_kv(value, weights.shape[1] // value.shape[1])
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous()
