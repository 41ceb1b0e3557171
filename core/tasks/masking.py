"""Masked-token prediction: a text with blanks in, what fills each blank out."""

from functools import partial

import torch

from core import attention, limits
from core.covering import cover_each
from core.errors import BlanksOutOfRange
from core.models import Model
from core.rankings import probabilities, rank
from core.results import Filling, Saliency, WhatIf
from core.tokens import encode, token_label


@torch.inference_mode()
def fill_mask(model: Model, text: str, count: int = limits.CHOICES, what_if: WhatIf = WhatIf()) -> Filling:
    """Rank what could stand in each [MASK], all blanks in one look.

    Raises NothingTyped, TextTooLong, and BlanksOutOfRange unless there are 1 to limits.BLANKS blanks.
    Source: Devlin et al. 2019.
    """
    encoded = encode(model, text, "text", blanks=True)
    blanks = tuple(at for at, token in enumerate(encoded.ids) if token == model.tokenizer.mask_token_id)
    if not 1 <= len(blanks) <= limits.BLANKS:
        raise BlanksOutOfRange(found=len(blanks), limit=limits.BLANKS)
    inputs = model.inputs(input_ids=encoded.ids, attention_mask=encoded.mask(what_if.hidden_tokens))
    words = [word for word in encoded.by_word() if not set(word) & set(blanks)]
    with model.turn(), attention.watch(model.network, silenced=what_if.silenced_heads):
        logits = model.network(**inputs).logits[0, list(blanks)]  # (blanks, vocabulary)
        chances = probabilities(logits).cpu()
        likeliest = int(chances[0].argmax())
        lost = cover_each(model, inputs, words, likeliest, at=blanks[0])
    name = partial(token_label, model.tokenizer)
    why = Saliency(name(likeliest), encoded.written(words), lost)
    return Filling(encoded.shown, blanks, tuple(rank(row, name, count) for row in chances), why)
