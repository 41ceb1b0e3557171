"""Sentiment: a text in, a verdict out, and how much every word pushed towards it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from core import attention, limits
from core.covering import cover_each
from core.errors import HiddenEverything, ListOutOfRange, NoSuchPart
from core.models import Model
from core.rankings import probabilities, rank
from core.results import Ranking, Saliency, Verdict, WhatIf
from core.tokens import encode

BATCH = 32  # texts in one forward pass


def judge(model: Model, text: str, what_if: WhatIf = WhatIf()) -> Verdict:
    """Say how a text feels, and weigh its words; `what_if.hidden_tokens` are numbers of the verdict's words.

    Raises NothingTyped, TextTooLong, NoSuchPart, HiddenEverything.
    """
    encoded = encode(model, text, "text")
    words = encoded.by_word()
    for word in what_if.hidden_tokens:
        if not 0 <= word < len(words):
            raise NoSuchPart(part="token", found=word + 1, limit=len(words))
    if len(what_if.hidden_tokens) == len(words):
        raise HiddenEverything()
    mask = [1] * len(encoded.ids)
    for word in what_if.hidden_tokens:
        for token in words[word]:
            mask[token] = 0
    inputs = model.inputs(input_ids=encoded.ids, attention_mask=mask)
    with model.turn(), attention.watch(model.network, silenced=what_if.silenced_heads):
        with torch.no_grad():
            chances = probabilities(model.network(**inputs).logits)[0]  # (labels,)
        winner = int(chances.argmax())
        pushes = integrated_gradients(model, **inputs, label=winner)
        lost = cover_each(model, inputs, words, winner)
    names = model.network.config.id2label
    saliency = Saliency(
        label=names[winner],
        tokens=encoded.written(words),
        scores=tuple(float(pushes[word].sum()) for word in words),
        covered=lost,
    )
    return Verdict(rank(chances.cpu(), names.get), saliency)


@torch.inference_mode()
def judge_all(model: Model, texts: Sequence[str]) -> Iterator[Ranking]:
    """Say how each text of a list feels.

    Raises ListOutOfRange, and for the first text that cannot be read what `judge` raises.
    """
    if not 1 <= len(texts) <= limits.SENTENCES:
        raise ListOutOfRange(found=len(texts), limit=limits.SENTENCES)
    encoded = [encode(model, text, "list", limits.SENTENCE_TOKENS).ids for text in texts]
    names = model.network.config.id2label
    for start in range(0, len(texts), BATCH):
        padded = model.tokenizer.pad({"input_ids": encoded[start : start + BATCH]}, return_tensors="pt")
        with model.turn():
            chances = probabilities(model.network(**model.inputs(**padded)).logits).cpu()  # (batch, labels)
        for row in chances:
            yield rank(row, names.get)


def integrated_gradients(
    model: Model, input_ids: torch.Tensor, attention_mask: torch.Tensor, label: int
) -> torch.Tensor:
    """Return how much each token moved the log-odds of a label, against a text of blanks: float32[token].

    The sum over the tokens approaches log-odds(text) - log-odds(blanks) as limits.GRADIENT_STEPS grows.
    Source: Sundararajan et al. 2017, eq. 3, by Gauss-Legendre quadrature.
    """
    embed = model.network.get_input_embeddings()
    tokenizer = model.tokenizer
    blank = tokenizer.pad_token_id if tokenizer.mask_token_id is None else tokenizer.mask_token_id
    special = torch.isin(input_ids, torch.tensor(tokenizer.all_special_ids, device=input_ids.device))
    text, blanks = embed(input_ids), embed(torch.where(special, input_ids, blank))  # (1, token, size)
    points, shares = np.polynomial.legendre.leggauss(limits.GRADIENT_STEPS)  # from -1 to 1, shares summing to 2
    along = text.new_tensor((points + 1) / 2)[:, None, None]
    path = (blanks + along * (text - blanks)).detach().requires_grad_()  # (step, token, size)
    with torch.enable_grad():
        logits = model.network(inputs_embeds=path, attention_mask=attention_mask.expand(len(path), -1)).logits.float()
        others = torch.cat([logits[:, :label], logits[:, label + 1 :]], -1).logsumexp(-1)
        (gradients,) = torch.autograd.grad((logits[:, label] - others).sum(), path)
    mean = (gradients * text.new_tensor(shares / 2)[:, None, None]).sum(0)  # (token, size)
    return (mean * (text - blanks)[0]).sum(-1).float().cpu().detach()
