"""Text generation: a prompt in, a story out, token by token, with all that each token could have been."""

from collections.abc import Iterator

import numpy as np
import torch

from core import attention, limits, sampling
from core.covering import cover_each
from core.errors import TextTooLong
from core.models import Model
from core.results import Ranking, Saliency, Settings, Step, WhatIf
from core.tokens import Spelling, encode, token_label


@torch.inference_mode()
def generate(
    model: Model,
    prompt: str,
    settings: Settings = Settings(),
    forced: tuple[int, ...] = (),
    what_if: WhatIf = WhatIf(),
) -> Iterator[Step]:
    """Write on after a prompt, one Step a token; the first tokens are `forced` ones, to go on along a branch.

    Stops at the model's end of text, at `settings.length` tokens or at the end of its context, and when nobody listens.
    The same seed gives the same story, whoever else is writing.
    Raises NothingTyped, TextTooLong, BadValue before the first step.
    """
    settings = sampling.check(settings)
    encoded = encode(model, prompt, "prompt")
    room = model.context - len(encoded.ids)
    if room < 1:
        raise TextTooLong(field="prompt", found=len(encoded.ids), limit=model.context - 1, unit="tokens")
    prompt_mask = encoded.mask(what_if.hidden_tokens)
    length = min(settings.length, room)
    forced = forced[:length]
    generator = np.random.default_rng(settings.seed)
    spelling = Spelling(model.tokenizer, encoded.ids)
    ends = ends_of_text(model)
    rows, cache, new = [], None, [*encoded.ids, *forced]  # new: tokens the cache has not seen
    for at in range(length):
        if not rows:
            inputs = model.inputs(input_ids=new, attention_mask=prompt_mask + [1] * max(at, len(forced)))
            with model.turn(), attention.watch(model.network, silenced=what_if.silenced_heads):
                output = model.network(**inputs, past_key_values=cache, use_cache=True)
                wanted = output.logits[0, -1 if at else -1 - len(forced) :]  # (tokens to name, vocabulary)
                rows = list(wanted.float().log_softmax(-1).cpu())
            cache = output.past_key_values
        log_probabilities, order = (array.numpy() for array in rows.pop(0).sort(descending=True, stable=True))
        drawn = sampling.draw(generator, sampling.chances(log_probabilities, settings, len(order)))
        place = int(np.flatnonzero(order == forced[at])[0]) if at < len(forced) else drawn
        token = int(order[place])
        if token in ends:
            return
        yield step(model, spelling.add(token), place, order, log_probabilities)
        new = [token]


def step(model: Model, text: str, place: int, order: np.ndarray, log_probabilities: np.ndarray) -> Step:
    """Return the record of one token: the one at `place` of the vocabulary in falling order."""
    ranks = list(range(min(limits.CHOICES, len(order))))
    if place not in ranks:
        ranks.append(place)
    rivals = tuple(int(order[rank]) for rank in ranks)
    labels = tuple(token_label(model.tokenizer, token) for token in rivals)
    chances = tuple(float(np.exp(log_probabilities[rank])) for rank in ranks)
    return Step(
        text=text,
        token=int(order[place]),
        probability=float(np.exp(log_probabilities[place])),
        alternatives=Ranking(labels, chances),
        rivals=rivals,
        ranks=tuple(ranks),
        log_probabilities=log_probabilities[: limits.RIVALS_KEPT].copy(),
        vocabulary=len(order),
    )


def ends_of_text(model: Model) -> set[int]:
    """Return the tokens that end a text."""
    found = model.network.generation_config.eos_token_id
    ends = found if isinstance(found, list) else [found]
    return {token for token in [*ends, model.tokenizer.eos_token_id] if token is not None}


@torch.inference_mode()
def explain_step(model: Model, prompt: str, tokens: tuple[int, ...]) -> Saliency:
    """Say which words before the last of `tokens`, a story after a prompt, it hangs on: cover each and look again.

    Of a long text the last limits.COVERED_WORDS words are tried. Raises what `generate` raises.
    """
    encoded = encode(model, prompt, "prompt")
    story, last = tokens[:-1], tokens[-1]
    spelling = Spelling(model.tokenizer, encoded.ids)
    texts = [spelling.add(token) for token in story]
    first = len(encoded.ids)
    words = [*encoded.by_word(), *([first + at] for at in range(len(story)))][-limits.COVERED_WORDS :]
    shown = (*encoded.written(encoded.by_word()), *texts)[-limits.COVERED_WORDS :]
    ids = [*encoded.ids, *story][: model.context]
    inputs = model.inputs(input_ids=ids, attention_mask=[1] * len(ids))
    with model.turn():
        lost = cover_each(model, inputs, words, last, at=-1, logits_to_keep=1)
    return Saliency(token_label(model.tokenizer, last), shown, lost)
