"""Attention: a text in, who looks at whom out: all heads at a glance, one of them in full, and what each layer would say."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from core import attention, gaze, layers, limits, reading
from core.errors import AttentionUnreadable, NoSuchPart, TextTooLong
from core.models import Model
from core.rankings import probabilities, rank
from core.results import Attention, Gaze, Lens, Ranking, View, WhatIf
from core.survey import Survey, survey
from core.tokens import Encoded, encode, token_label
from core.traces import Trace, trace


@torch.inference_mode()
def attend(model: Model, text: str, what_if: WhatIf = WhatIf()) -> Attention:
    """Look at every head of every layer at a glance.

    Raises NothingTyped, TextTooLong above limits.ATTENTION_TOKENS, NoSuchPart, HiddenEverything, and AttentionUnreadable for
    a network that shows no weights. A silenced head still looks, but nothing of it goes further.
    Source: Vaswani et al. 2017, eq. 1.
    """
    encoded = read_text(model, text)
    found = trace(model, encoded, what_if)
    seen = surveyed(found, encoded)
    sharpest = np.unravel_index(int(seen.sharpness.argmax()), seen.sharpness.shape)
    return Attention(
        encoded.shown,
        seen.montage,
        reading.habits(seen.shares),
        (int(sharpest[0]), int(sharpest[1])),
        seen.sink,
        seen.sink_share,
        prediction(model, found),
        found.asked,
    )


@torch.inference_mode()
def look(model: Model, text: str, view: View = View(), what_if: WhatIf = WhatIf()) -> Gaze:
    """Look at one head, or through all layers together, in a window of the text. The network is not run again.

    Raises what `attend` raises, NoSuchPart for a layer or head that is not there, AttentionUnreadable where what heads carry
    is asked for and not known, and TextTooLong where a text above limits.ROLLOUT_TOKENS is to be followed through all layers.
    """
    encoded = read_text(model, text)
    found = trace(model, encoded, what_if)
    tokens = len(encoded.ids)
    check(view, found, tokens, model)
    sink = surveyed(found, encoded).sink if view.aside else None
    side = min(tokens, limits.WINDOW_TOKENS)
    query, key = (min(max(0, first), tokens - side) for first in (view.query, view.key))
    view = replace(view, query=query, key=key)
    rows = slice(query, query + side)
    if view.rolled:
        blocks = [gaze.rolled(found, sink, view.carried)]
        weights = blocks[0][rows]  # [row, key]
    else:
        blocks = gaze.in_blocks(found, view, sink, tokens)
        weights = gaze.head_rows(found, view, sink, rows)
    targets = np.argsort(-weights, -1)[:, : limits.LOOKED_AT].astype(np.int32)
    window = weights[:, key : key + side]
    most = float(window.max()) or 1.0
    return Gaze(
        view,
        np.round(window * (255 / most)).astype(np.uint8),
        most,
        targets,
        np.take_along_axis(weights, targets, -1),
        gaze.shrunk(blocks, tokens) if tokens > side else None,
    )


@torch.inference_mode()
def lens(model: Model, text: str, first: int = 0, what_if: WhatIf = WhatIf()) -> Lens:
    """Ask every layer what it would say, were it the last, in limits.LENS_TOKENS places from `first` on.

    Raises what `attend` raises; AttentionUnreadable for a network that gives the whole text a label.
    """
    encoded = read_text(model, text)
    tokens = len(encoded.ids)
    if not 0 <= first < tokens:
        raise NoSuchPart(part="token", found=first + 1, limit=tokens)
    first = max(0, min(first, tokens - limits.LENS_TOKENS))
    places = range(first, min(tokens, first + limits.LENS_TOKENS))
    inputs = model.inputs(input_ids=encoded.ids, attention_mask=encoded.mask(what_if.hidden_tokens))

    def look() -> Tensor:
        with attention.watch(model.network, silenced=what_if.silenced_heads):
            return probabilities(layers.say_all(model.network, inputs, places)).cpu()  # (layer, place, vocabulary)

    chances = model.run(look)
    name = partial(token_label, model.tokenizer)
    rankings = tuple(tuple(rank(place, name, limits.LOOKED_AT) for place in layer) for layer in chances)
    return Lens(tuple(encoded.shown[place] for place in places), tuple(places), rankings)


def read_text(model: Model, text: str) -> Encoded:
    """Tokenize a text; [MASK] is a blank where the model knows blanks. Raises NothingTyped, TextTooLong."""
    return encode(model, text, "text", limits.ATTENTION_TOKENS, blanks=model.tokenizer.mask_token is not None)


def surveyed(found: Trace, encoded: Encoded) -> Survey:
    """Return what all heads of a trace do, found out once."""
    if "survey" not in found.prepared:
        found.prepared["survey"] = survey(found, encoded.ids)
    return found.prepared["survey"]


def prediction(model: Model, found: Trace) -> Ranking | None:
    """Return what the model says: its verdict, its next token, or what fills the first blank; None without a blank."""
    if found.chances is None:
        return None
    labels = layers.says_labels(model.network)
    return rank(found.chances, model.network.config.id2label.get if labels else partial(token_label, model.tokenizer))


def check(view: View, found: Trace, tokens: int, model: Model) -> None:
    """Refuse a view of what is not there. Raises NoSuchPart, TextTooLong, AttentionUnreadable."""
    for part, number in (("layer", view.layer), ("head", view.head), ("token", view.query), ("token", view.key)):
        there = {"layer": len(found.calls), "head": found.calls[0].heads, "token": tokens}[part]
        if not 0 <= number < there:
            raise NoSuchPart(part=part, found=number + 1, limit=there)
    if view.rolled and tokens > limits.ROLLOUT_TOKENS:
        raise TextTooLong(field="all_layers", found=tokens, limit=limits.ROLLOUT_TOKENS, unit="tokens")
    if view.carried and not found.norms:
        raise AttentionUnreadable(name=model.card.name)
