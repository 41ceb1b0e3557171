"""Sentiment: a text in, a verdict out, and how much every word pushed towards it."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from core import attention, limits
from core.errors import ListOutOfRange
from core.models import Model
from core.rankings import probabilities, rank
from core.results import Ranking, Verdict, WhatIf
from core.saliency import explain, hide, merge
from core.tokens import encode

BATCH = 32  # texts in one forward pass


@torch.no_grad()
def judge(model: Model, text: str, what_if: WhatIf = WhatIf(), why: bool = True) -> Verdict:
    """Say how a text feels, and weigh its words; `what_if.hidden_tokens` are numbers of the words of the saliency.

    Of a text of more than limits.COVERED_WORDS words neighbours are weighed together. why: weigh them; else there is only
    the ranking, at a tenth of the time.
    Raises NothingTyped, TextTooLong, NoSuchPart, HiddenEverything.
    """
    encoded = encode(model, text, "text")
    words = merge(encoded.by_word())
    inputs = model.inputs(input_ids=encoded.ids, attention_mask=[1] * len(encoded.ids))
    inputs = hide(model, inputs, words, what_if.hidden_tokens)
    names = model.network.config.id2label

    def look() -> Verdict:
        with attention.watch(model.network, silenced=what_if.silenced_heads):
            chances = probabilities(model.network(**inputs).logits)[0].cpu()  # (labels,)
        winner, reasons = int(chances.argmax()), None
        if why:
            shown = encoded.written(words)
            reasons = explain(model, inputs, words, shown, winner, names[winner], silenced=what_if.silenced_heads)
        return Verdict(rank(chances, names.get), reasons)

    return model.run(look)


@torch.inference_mode()
def judge_all(model: Model, texts: Sequence[str], what_if: WhatIf = WhatIf()) -> Iterator[Ranking]:
    """Say how each text of a list feels; of the what-if only the silenced heads count, for no two texts share words.

    Raises ListOutOfRange, NoSuchPart, and for the first text that cannot be read what `judge` raises.
    """
    if not 1 <= len(texts) <= limits.SENTENCES:
        raise ListOutOfRange(found=len(texts), limit=limits.SENTENCES)
    encoded = [encode(model, text, "list", limits.SENTENCE_TOKENS).ids for text in texts]
    names = model.network.config.id2label
    for start in range(0, len(texts), BATCH):
        padded = model.tokenizer.pad({"input_ids": encoded[start : start + BATCH]}, return_tensors="pt")
        for row in model.run(partial(look_at_all, model, padded, what_if)):
            yield rank(row, names.get)


def look_at_all(model: Model, padded: dict[str, Tensor], what_if: WhatIf) -> Tensor:
    """Return the probabilities of every label for a few texts of one length, (text, label)."""
    with attention.watch(model.network, silenced=what_if.silenced_heads):
        return probabilities(model.network(**model.inputs(**padded)).logits).cpu()
