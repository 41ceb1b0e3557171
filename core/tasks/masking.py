"""Masked-token prediction: a text with blanks in, what fills each blank out, and why the first one is filled so."""

from functools import partial

import torch

from core import attention, limits
from core.errors import BlanksOutOfRange
from core.models import Model
from core.rankings import probabilities, rank
from core.results import Filling, WhatIf
from core.saliency import explain, hide
from core.tokens import encode, token_label


@torch.no_grad()
def fill_mask(
    model: Model, text: str, count: int = limits.CHOICES, what_if: WhatIf = WhatIf(), why: bool = True
) -> Filling:
    """Rank what could stand in each [MASK], all blanks in one look, and say what the first one's best filling hangs on.

    `what_if.hidden_tokens` are numbers of the words of `why`: all but the blanks, of a long text the
    limits.COVERED_WORDS nearest to the first blank. why: say it; else there are only the rankings, at a tenth of the time.
    Raises NothingTyped, TextTooLong, NoSuchPart, HiddenEverything, and BlanksOutOfRange unless there are 1 to
    limits.BLANKS blanks.
    Source: Devlin et al. 2019.
    """
    encoded = encode(model, text, "text", blanks=True)
    blanks = tuple(at for at, token in enumerate(encoded.ids) if token == model.tokenizer.mask_token_id)
    if not 1 <= len(blanks) <= limits.BLANKS:
        raise BlanksOutOfRange(found=len(blanks), limit=limits.BLANKS)
    words = near([word for word in encoded.by_word() if not set(word) & set(blanks)], blanks[0])
    inputs = model.inputs(input_ids=encoded.ids, attention_mask=[1] * len(encoded.ids))
    inputs = hide(model, inputs, words, what_if.hidden_tokens)
    name = partial(token_label, model.tokenizer)

    def look() -> Filling:
        with attention.watch(model.network, silenced=what_if.silenced_heads):
            chances = probabilities(model.network(**inputs).logits[0, list(blanks)]).cpu()  # (blanks, vocabulary)
        likeliest, reasons = int(chances[0].argmax()), None
        if why:
            shown, label = encoded.written(words), name(likeliest)
            reasons = explain(model, inputs, words, shown, likeliest, label, blanks[0], what_if.silenced_heads)
        return Filling(encoded.shown, blanks, tuple(rank(row, name, count) for row in chances), reasons)

    return model.run(look)


def near(words: list[list[int]], token: int, most: int = limits.COVERED_WORDS) -> list[list[int]]:
    """Return the words nearest to a token, at most so many, in the order of the text."""
    before = sum(word[0] < token for word in words)
    first = max(0, min(before - most // 2, len(words) - most))
    return words[first : first + most]
