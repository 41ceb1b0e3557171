"""Text generation: a prompt in, a story out, token by token, with all that each token could have been."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch

from core import attention, limits, sampling
from core.errors import TextTooLong
from core.models import Model
from core.rankings import probabilities, rank
from core.results import Ranking, Settings, Step, Verdict, WhatIf
from core.saliency import explain, hide
from core.tokens import FIRST_CJK, Encoded, Spelling, encode, token_label


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
    The same seed gives the same story, whoever else is writing. `what_if.hidden_tokens` are numbers of the prompt's words.
    Raises NothingTyped, TextTooLong, BadValue, NoSuchPart, HiddenEverything before the first step.
    """
    settings = sampling.check(settings)
    encoded = encode(model, prompt, "prompt")
    room = model.context - len(encoded.ids)
    if room < 1:
        raise TextTooLong(field="prompt", found=len(encoded.ids), limit=model.context - 1, unit="tokens")
    whole = model.inputs(input_ids=encoded.ids, attention_mask=[1] * len(encoded.ids))
    left = hide(model, whole, encoded.by_word(), what_if.hidden_tokens)
    prompt_ids, prompt_mask = left["input_ids"][0].tolist(), left["attention_mask"][0].tolist()
    length = min(settings.length, room)
    forced = forced[:length]
    generator = np.random.default_rng(settings.seed)
    spelling = Spelling(model.tokenizer, encoded.ids)
    ends = ends_of_text(model)
    rows, cache, new = [], None, [*prompt_ids, *forced]  # new: tokens the cache has not seen
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


@torch.no_grad()
def explain_step(
    model: Model, prompt: str, tokens: tuple[int, ...], what_if: WhatIf = WhatIf(), why: bool = True
) -> Verdict:
    """Rank what could stand in the place of the last of `tokens`, a story after a prompt, and say what that one hangs on.

    The last token is among the limits.RIVALS_KEPT likeliest that are ranked, whatever its place. Of a long text the last
    limits.COVERED_WORDS words are weighed; `what_if.hidden_tokens` are their numbers. why: weigh them; else there is only
    the ranking, at a tenth of the time.
    Raises NothingTyped, TextTooLong, NoSuchPart, HiddenEverything.
    """
    encoded = encode(model, prompt, "prompt")
    *story, last = tokens
    ids = [*encoded.ids, *story][: model.context]
    spelling = Spelling(model.tokenizer, encoded.ids)
    letters = [spelling.add(token) for token in story]
    words, shown = spell_on(encoded, letters[: len(ids) - len(encoded.ids)])
    words, shown = words[-limits.COVERED_WORDS :], shown[-limits.COVERED_WORDS :]
    inputs = hide(model, model.inputs(input_ids=ids, attention_mask=[1] * len(ids)), words, what_if.hidden_tokens)
    name = partial(token_label, model.tokenizer)
    with model.turn():
        with attention.watch(model.network, silenced=what_if.silenced_heads):
            chances = probabilities(model.network(**inputs, logits_to_keep=1).logits)[0, -1].cpu()  # (vocabulary,)
        reasons = explain(model, inputs, words, shown, last, name(last), -1, what_if.silenced_heads) if why else None
    ranking = rank(chances, name, limits.RIVALS_KEPT)
    if chances[last] < ranking.probabilities[-1]:
        ranking = Ranking((*ranking.labels, name(last)), (*ranking.probabilities, float(chances[last])))
    return Verdict(ranking, reasons)


def spell_on(encoded: Encoded, letters: Sequence[str]) -> tuple[list[list[int]], list[str]]:
    """Return the words of a prompt and of the tokens after it, as tokens and as letters; letters: what each token adds."""
    words = encoded.by_word()
    shown = list(encoded.written(words))
    for token, added in enumerate(letters, len(encoded.ids)):
        if shown and goes_on(shown[-1], added):
            words[-1].append(token)
            shown[-1] += added
        else:
            words.append([token])
            shown.append(added)
    return words, shown


def goes_on(word: str, added: str) -> bool:
    """Whether what a token adds belongs to the word before it: both touch with letters, or a character is not whole yet."""
    if not word:
        return True
    ends = word[-1] + added[:1]
    return len(ends) == 2 and ends.isalpha() and all(ord(letter) < FIRST_CJK for letter in ends)
