"""Saliency: which words an answer hangs on, by three measures that know nothing of one another.

Covering hides a word and asks again; integrated gradients fade the text in from blanks; rollout follows the attention.
"""

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from core import attention, layers, limits, reading
from core.errors import HiddenEverything, NoSuchPart
from core.models import Model
from core.rankings import probabilities
from core.results import Saliency

Inputs = dict[str, Tensor]  # what a network takes, by name; the first dimension is the text
Ask = Callable[[Inputs], Tensor]  # inputs of any number of texts, as input_ids or inputs_embeds -> logits (text, label)

BATCH = 32  # texts in one forward pass


def explain(
    model: Model,
    inputs: Inputs,
    words: Sequence[Sequence[int]],
    tokens: Sequence[str],
    answer: int,
    label: str,
    at: int | None = None,
    silenced: frozenset[tuple[int, int]] = frozenset(),
    ask: Ask | None = None,
) -> Saliency:
    """Say how much each word of a text pushed towards an answer.

    inputs: of one text, input_ids and attention_mask (1, token) and whatever else the network takes (a picture), with
    what is hidden hidden already (`hide`); they are left as they are. words: the tokens of each word; tokens: the words as
    shown. answer: the number of a label, or of a token of the vocabulary; label: how it is shown. at: the token in whose
    place it stands, -1 the last, None where a text has one answer. silenced: heads that stay silent throughout. ask: how
    the network is asked, by default `network(**inputs).logits`, at `at`; it must pass on all the inputs it is given.
    The caller holds the turn at the device.

    Of an architecture that takes no inputs_embeds there are no scores, and of one that shows no attention no looks.
    Raises NoSuchPart for a head that is not there.
    """
    if not words:
        return Saliency(label, (), ())
    ask = ask or asker(model.network, at)
    with torch.inference_mode(False):  # gradients do not go through what was made in that mode
        inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        with attention.watch(model.network, silenced=silenced):
            covered = cover_each(model, ask, inputs, words, answer)
            pushes, error = push_each(model, ask, inputs, answer)
        looks = look_at_each(model, ask, inputs, words, at, silenced)
    scores = tuple(float(sum(pushes[token] for token in word)) for word in words) if error is not None else ()
    agreement = reading.agreement(covered, scores, looks)
    return Saliency(label, tuple(tokens), covered, scores, looks, error, agreement)


def asker(network: PreTrainedModel, at: int | None) -> Ask:
    """Return how a network is asked: for the logits of a text, or those at one token, which alone goes into the head.

    A vocabulary for each token of a batch would be the largest thing by far.
    """

    def ask(inputs: Inputs) -> Tensor:
        if at is None:
            return network(**inputs).logits
        with layers.narrowed(network, [at], inputs["attention_mask"].shape[1]) as options:
            logits = network(**inputs, **options).logits
        return logits[:, 0 if logits.shape[1] == 1 else at]

    return ask


def blank_of(tokenizer) -> int:
    """Return the token that says least about what stands in its place: a blank.

    The mask token has learnt to mean just that. A writer has none: what ends a text comes next, since it has learnt that
    nothing before it matters any more, then padding, which it has never met, and the unknown word.
    """
    kinds = ("mask", "eos", "pad", "unk")
    found = [getattr(tokenizer, f"{kind}_token_id") for kind in kinds]
    return next((token for token in found if token is not None), 0)


def hide(model: Model, inputs: Inputs, words: Sequence[Sequence[int]], hidden: Collection[int]) -> Inputs:
    """Return the inputs of one text without some of its words: nobody may look at them, and blanks stand in their place.

    The blank matters where the answer is read off a hidden word itself, as a writer's is off its last one.
    Raises NoSuchPart, and HiddenEverything when no word is left.
    """
    for word in hidden:
        if not 0 <= word < len(words):
            raise NoSuchPart(part="token", found=word + 1, limit=len(words))
    if words and len(set(hidden)) == len(words):
        raise HiddenEverything()
    left = inputs | {name: inputs[name].clone() for name in ("input_ids", "attention_mask")}
    for word in hidden:
        left["input_ids"][0, list(words[word])] = blank_of(model.tokenizer)
        left["attention_mask"][0, list(words[word])] = 0
    return left


def merge(words: Sequence[Sequence[int]], most: int = limits.COVERED_WORDS) -> list[list[int]]:
    """Return words, neighbours taken together as evenly as can be where there are more than `most`."""
    parts = np.array_split(np.arange(len(words)), min(most, len(words)) or 1)
    return [[token for word in part for token in words[word]] for part in parts if len(part)]


def batches(inputs: Inputs, rows: Inputs) -> Iterator[Inputs]:
    """Go through texts that differ in some of the inputs, `rows`, BATCH at a time; the other inputs are alike for all."""
    others = {name: tensor for name, tensor in inputs.items() if name not in rows}
    for start in range(0, len(next(iter(rows.values()))), BATCH):
        batch = {name: tensor[start : start + BATCH] for name, tensor in rows.items()}
        size = len(next(iter(batch.values())))
        yield batch | {name: tensor.expand(size, *tensor.shape[1:]) for name, tensor in others.items()}


@torch.no_grad()
def cover_each(
    model: Model, ask: Ask, inputs: Inputs, words: Sequence[Sequence[int]], answer: int
) -> tuple[float, ...]:
    """Return what an answer's probability loses when a word is hidden, for each word.

    Source: Zeiler & Fergus 2014 (occlusion), on words.
    """
    rows = {name: inputs[name].repeat(len(words) + 1, 1) for name in ("input_ids", "attention_mask")}
    for row, word in enumerate(words, 1):  # the first row hides nothing
        rows["input_ids"][row, list(word)] = blank_of(model.tokenizer)
        rows["attention_mask"][row, list(word)] = 0
    found = [probabilities(ask(batch))[:, answer] for batch in batches(inputs, rows)]
    whole, *covered = torch.cat(found).tolist()
    return tuple(whole - one for one in covered)


def push_each(model: Model, ask: Ask, inputs: Inputs, answer: int) -> tuple[list[float], float | None]:
    """Return how much each token moved the log-odds of an answer, against a text of blanks, and what that misses.

    The integral over the path from blanks to text is Clenshaw and Curtis': a finer rule takes over the points of a coarser
    one. The error is |sum of the scores - change of the log-odds| as a share of the change, which counts as no smaller than
    limits.GRADIENT_FLOOR; the stretches of the path are doubled from limits.GRADIENT_STEPS to GRADIENT_STEPS_MOST while it
    is above limits.GRADIENT_ERROR. Nothing and None for an architecture that takes no inputs_embeds.
    Source: Sundararajan et al. 2017, eq. 3 and proposition 1 (completeness).
    """
    if "inputs_embeds" not in inspect.signature(model.network.forward).parameters:
        return [], None
    text, blanks, others = ends_of_path(model, inputs)
    steps, known = limits.GRADIENT_STEPS, {}
    while True:
        points, shares = clenshaw_curtis(steps)
        new = [point for point in points if point not in known]
        known |= dict(zip(new, slopes(model, ask, text, blanks, others, answer, new), strict=True))
        change = known[1.0][0] - known[0.0][0]
        scores = sum(share * known[point][1] for point, share in zip(points, shares, strict=True)).tolist()
        error = abs(sum(scores) - change) / max(abs(change), limits.GRADIENT_FLOOR)
        if error <= limits.GRADIENT_ERROR or 2 * steps > limits.GRADIENT_STEPS_MOST:
            return scores, error
        steps *= 2


def clenshaw_curtis(steps: int) -> tuple[list[float], list[float]]:
    """Return the points of the rule on [0, 1], both ends among them, and their shares, summing to 1; steps: an even number.

    Those of half as many steps are the same numbers to the last bit.
    Source: Clenshaw & Curtis 1960; the weights: Waldvogel 2006, eq. 2.4.
    """
    points = [0.5 - 0.5 * math.cos(math.pi * (at / steps)) for at in range(steps + 1)]
    even = np.arange(1, steps // 2 + 1)
    bends = np.where(even == steps // 2, 1, 2) / (4 * even**2 - 1)
    waves = np.cos(2 * np.pi * np.outer(np.arange(steps + 1), even) / steps) @ bends
    shares = (1 - waves) / steps
    shares[[0, -1]] /= 2
    return points, shares.tolist()


@torch.no_grad()
def ends_of_path(model: Model, inputs: Inputs) -> tuple[Tensor, Tensor, Inputs]:
    """Return a text and the same text in blanks, float32 (1, token, size), and the inputs that both share.

    The model's own special tokens, blanks among them, stay; a word that is unknown to it is a word.
    """
    ids, tokenizer = inputs["input_ids"], model.tokenizer
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    stays = torch.isin(ids, torch.tensor(sorted(special), dtype=ids.dtype, device=ids.device))
    embed = model.network.get_input_embeddings()
    text, blanks = embed(ids), embed(torch.where(stays, ids, blank_of(tokenizer)))
    return text.float(), blanks.float(), {name: one for name, one in inputs.items() if name != "input_ids"}


@torch.enable_grad()
def slopes(
    model: Model, ask: Ask, text: Tensor, blanks: Tensor, others: Inputs, answer: int, points: Sequence[float]
) -> list[tuple[float, np.ndarray]]:
    """Return an answer's log-odds at points of the path, and how much each token moves them there: float64[token].

    text, blanks: the ends of the path at 1 and 0, float32 (1, token, size); others: the inputs beside them. The path is
    float32 whatever the network computes in, or rounding would be all one sees.
    """
    found = []
    for part in text.new_tensor(points)[:, None, None].split(BATCH):
        path = (blanks + part * (text - blanks)).requires_grad_()  # (point, token, size)
        (batch,) = batches(others, {"inputs_embeds": path.to(model.network.dtype)})
        odds = log_odds(ask(batch), answer)
        (gradients,) = torch.autograd.grad(odds.sum(), path)
        moves = ((text - blanks) * gradients).sum(-1)  # (point, token)
        found += zip(odds.tolist(), moves.double().cpu().numpy(), strict=True)
    return found


def log_odds(logits: Tensor, answer: int) -> Tensor:
    """Return the log-odds of an answer against all others together, in float32: (text,) from (text, label)."""
    logits = logits.float()
    others = torch.cat([logits[:, :answer], logits[:, answer + 1 :]], -1).logsumexp(-1)
    return logits[:, answer] - others


@torch.no_grad()
def look_at_each(
    model: Model,
    ask: Ask,
    inputs: Inputs,
    words: Sequence[Sequence[int]],
    at: int | None,
    silenced: frozenset[tuple[int, int]],
) -> tuple[float, ...]:
    """Return what share of what the words give to the place of the answer comes from each, through all layers.

    A text's one answer is read off its first token, or where nobody looks ahead off its last. What goes to special tokens,
    where attention rests, is left out by counting the words alone; where it rests on a word, that word is set aside.
    Source: Abnar & Zuidema 2020 (rollout); Xiao et al. 2024 (sinks).
    """
    extras = {} if model.network.config._attn_implementation == attention.NAME else {"output_attentions": True}
    with attention.watch(model.network, record=True, silenced=silenced) as probe:
        ask(inputs | extras)
    if not probe.weights:
        return ()
    weights = np.stack([probe.weights[layer][0].float().cpu().numpy() for layer in sorted(probe.weights)])
    sink = reading.find_sink(weights[:, :, 1:].mean((0, 1, 2)))  # a writer's first token can look nowhere else
    if any(sink in word for word in words):
        weights = reading.set_aside(weights, sink)
    flow = reading.rollout(weights)  # [query, key]
    if at is not None:
        row = flow[at]
    elif getattr(model.network.config, "classifier_pooling", "") == "mean":  # ModernBERT, where it is told to
        row = flow[inputs["attention_mask"][0].bool().cpu().numpy()].mean(0)
    else:
        row = flow[0 if np.triu(weights, 1).any() else -1]
    shares = np.array([row[list(word)].sum() for word in words], np.float64)
    return tuple((shares / shares.sum()).tolist()) if shares.sum() > 0 else ()
