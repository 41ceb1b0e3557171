"""What a network says comes next, and the pass that reads one token of each of several stories."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # of numbers that would be constants: see `traced`
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")  # torch.jit looks at every attribute


@dataclass(frozen=True, slots=True)
class Said:
    """What a network says comes after a token."""

    log_probabilities: np.ndarray  # float32[vocabulary], of the full softmax
    offset: float  # what they lack to be the network's logits


def said_by(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities in float32, (..., vocabulary), and what they lack to be the logits, (..., 1)."""
    logits = logits.float()
    found = logits.log_softmax(-1)
    return found, logits[..., :1] - found[..., :1]


def rows_of(logits: Tensor) -> list[Said]:
    """Return what is said in every row of (row, vocabulary)."""
    found, offsets = said_by(logits)
    return [Said(row, offset) for row, offset in zip(found.cpu().numpy(), offsets[:, 0].tolist(), strict=True)]


class Slots(Cache):
    """Keys and values of one more token for each of several stories, written into the columns they are handed."""

    def __init__(self, columns: Sequence[Tensor], slots: Tensor):
        """columns: of each layer the keys and the values, (row, head, column, size); slots: (row), the column to write."""
        self.columns, self.slots, self.layers = columns, slots, []

    def update(self, key: Tensor, value: Tensor, layer: int, *others, **options) -> tuple[Tensor, Tensor]:
        """Write (row, head, 1, size) in its columns and return all of them, (row, head, column, size)."""
        keys, values = self.columns[2 * layer], self.columns[2 * layer + 1]
        rows = torch.arange(self.slots.shape[0], device=self.slots.device)
        keys[rows, :, self.slots] = key[:, :, 0]
        values[rows, :, self.slots] = value[:, :, 0]
        return keys, values

    def get_seq_length(self, layer: int = 0) -> int:
        return 0

    def get_mask_sizes(self, *others, **options) -> tuple[int, int]:
        return self.columns[0].shape[2], 0


class Next(nn.Module):
    """One pass over one token of each of several stories."""

    def __init__(self, network: PreTrainedModel):
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, slots: Tensor, *columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is said after each token, (row, vocabulary) and (row, 1).

        ids, slots: (row), the tokens and the columns they go to; the first token of a story is in column 1. A row that
        nobody waits for writes to column 0, which no story reads. columns: see Slots.
        """
        places = torch.arange(columns[0].shape[2], device=ids.device)
        seen = (places >= slots.clamp(max=1)[:, None]) & (places <= slots[:, None])  # (row, column)
        mask = torch.where(seen, 0.0, -torch.inf).to(columns[0].dtype)
        output = self.network(
            input_ids=ids[:, None],
            position_ids=(slots - 1).clamp(min=0)[:, None],
            attention_mask=mask[:, None, None],
            past_key_values=Slots(columns, slots),
            use_cache=True,
        )
        return said_by(output.logits[:, -1])


@torch.inference_mode()
def traced(run: Next) -> Callable:
    """Return the pass without Python's share of it, where that says the same; else the pass itself."""
    cache = DynamicCache(config=run.network.config)
    run.network(input_ids=torch.tensor([[0, 1]]), past_key_values=cache, use_cache=True)
    parts = [part for layer in cache.layers for part in (layer.keys, layer.values)]  # (1, head, token, size)
    generator = torch.Generator().manual_seed(0)
    few, more = (
        [torch.randn(rows, part.shape[1], columns, part.shape[3], generator=generator).to(part.dtype) for part in parts]
        for rows, columns in ((2, 24), (3, 32))
    )
    ids, slots = torch.tensor([3, 5, 7]), torch.tensor([9, 0, 30])
    found = torch.jit.trace(run, (ids[:2], torch.tensor([3, 20]), *few), check_trace=False)
    answers = [one(ids, slots, *(column.clone() for column in more))[0][::2] for one in (run, found)]
    return found if torch.allclose(*answers, atol=1e-4) else run
