"""Covering: hide one word at a time and see what the answer loses. The check on every other "why"."""

from collections.abc import Sequence

import torch

from core.models import Model
from core.rankings import probabilities

BATCH = 32  # covered texts in one forward pass


@torch.inference_mode()
def cover_each(
    model: Model,
    inputs: dict[str, torch.Tensor],
    words: Sequence[Sequence[int]],
    answer: int,
    at: int | None = None,
    **options: object,
) -> tuple[float, ...]:
    """Return what an answer's probability loses when the model may not look at a word, for each word.

    inputs: input_ids and attention_mask, (1, token); words: the tokens of each; answer: a label's or token's number; at:
    the token in whose place it stands, None where a text has one answer.
    Source: Zeiler & Fergus 2014 (occlusion), on words; hidden by the attention mask rather than by another word.
    """
    mask = inputs["attention_mask"]
    masks = mask.repeat(len(words) + 1, 1)  # the first row hides nothing
    for row, word in zip(masks[1:], words, strict=True):
        row[list(word)] = 0
    found = []
    for batch in masks.split(BATCH):
        ids = inputs["input_ids"].expand(len(batch), -1)
        logits = model.network(ids, attention_mask=batch, **options).logits
        found.append(probabilities(logits if at is None else logits[:, at])[:, answer])
    whole, *covered = torch.cat(found).tolist()
    return tuple(whole - one for one in covered)
