"""Attention: a text in, who looks at whom in every layer and head out, and what the model says with it."""

from functools import partial

import numpy as np
import torch

from core import attention, limits, reading
from core.errors import ModelUnusable
from core.models import Model
from core.rankings import probabilities, rank
from core.results import Attention, Ranking, WhatIf
from core.tokens import encode, token_label


@torch.inference_mode()
def attend(model: Model, text: str, what_if: WhatIf = WhatIf()) -> Attention:
    """Weigh every token against every other, in every layer and head.

    Raises NothingTyped, TextTooLong above limits.ATTENTION_TOKENS, NoSuchPart, and ModelUnusable for a network that
    shows no weights. A silenced head still looks, and its weights are there, but nothing of it goes further.
    Source: Vaswani et al. 2017, eq. 1.
    """
    encoded = encode(model, text, "text", limits.ATTENTION_TOKENS, blanks=model.tokenizer.mask_token is not None)
    inputs = model.inputs(input_ids=encoded.ids, attention_mask=encoded.mask(what_if.hidden_tokens))
    with model.turn(), attention.watch(model.network, record=True, silenced=what_if.silenced_heads) as probe:
        logits = model.network(**inputs).logits
    if not probe.weights:
        raise ModelUnusable(name=model.card.name, lacks="attention weights")
    weights = torch.cat(probe.weights).float().cpu().numpy()  # [layer, head, query, key]
    return Attention(
        encoded.shown, weights.astype(np.float16), prediction(model, encoded.ids, logits), reading.find_sink(weights)
    )


def prediction(model: Model, ids: list[int], logits: torch.Tensor) -> Ranking | None:
    """Return what the model says: its verdict, its next token, or what fills the first blank; None without a blank."""
    if logits.ndim == 2:  # (1, labels)
        return rank(probabilities(logits)[0].cpu(), model.network.config.id2label.get)
    at = len(ids) - 1
    if model.tokenizer.mask_token_id is not None:
        if model.tokenizer.mask_token_id not in ids:
            return None
        at = ids.index(model.tokenizer.mask_token_id)
    return rank(probabilities(logits[0, at]).cpu(), partial(token_label, model.tokenizer))
