"""Visual question answering: a picture and a question in, ranked answers and where in the picture they came from out."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core import attention, limits, reading, saliency, sights
from core.models import Model
from core.pictures import open_picture
from core.rankings import probabilities
from core.results import Answer, PatchCover, PatchMap, Ranking, Saliency, WhatIf
from core.saliency import Inputs
from core.sights import Sight
from core.tokens import Encoded, encode

T = TypeVar("T")
Flow = tuple[Tensor, Tensor]  # what reached the answer from each (word token,) and each (patch,)


def answer(
    model: Model, picture: str | Path | Image.Image, question: str, what_if: WhatIf = WhatIf(), why: bool = True
) -> Answer:
    """Answer a question about a picture, and say where in picture and question the answer came from.

    `what_if.hidden_patches` are numbers of the answer's patches, row by row; `hidden_tokens` of its saliency's words. The
    maps are by rollout and by gradient x attention, from one run; none where the picture's tokens form no grid. Without
    `why` there are neither maps nor saliency.
    Raises NothingTyped, TextTooLong above limits.QUESTION_TOKENS, the Picture errors, NoSuchPart, HiddenEverything.
    """

    def look(encoded: Encoded, sight: Sight, inputs: Inputs) -> Answer:
        with torch.no_grad(), attention.watch(sight.model.network, silenced=what_if.silenced_heads):
            ranking, target = sight.rank(inputs)
        if not why:
            return Answer(ranking, (), unknown(model, encoded))
        rolled, weighed = flows(sight, inputs, target, what_if)
        words = weigh_words(sight, inputs, ranking, target, rolled[0], what_if)
        maps = zip((rolled[1], weighed[1]), ("rollout", "gradients"), strict=True) if sight.grid else ()
        patches = tuple(PatchMap(shaded(flow.cpu().numpy().reshape(sight.grid)), way) for flow, way in maps)
        return Answer(ranking, patches, unknown(model, encoded), words)

    return looking(model, picture, question, what_if, look)


def cover_patches(
    model: Model, picture: str | Path | Image.Image, question: str, what_if: WhatIf = WhatIf()
) -> PatchCover:
    """Hide each patch in turn and see what the answer loses (of a written answer, its first word).

    The map is of log-odds: of an answer that is all but certain no patch takes any probability to speak of. Of more than
    limits.COVERED_PATCHES patches, neighbours are hidden together, in squares. Raises what `answer` raises.
    Source: Zeiler & Fergus 2014 (occlusion).
    """

    def look(_: Encoded, sight: Sight, inputs: Inputs) -> PatchCover:
        grid = sight.grid or (1, sight.patches)
        with attention.watch(sight.model.network, silenced=what_if.silenced_heads), torch.no_grad():
            ranking, target = sight.rank(inputs)
            number = torch.from_numpy(blocks(*grid)).flatten().to(inputs["seen"].device)  # (patch): its block
            masks = inputs["seen"].repeat(int(number.max()) + 2, 1)  # the first one hides nothing more
            masks[1:][number[None] == torch.arange(len(masks) - 1, device=number.device)[:, None]] = 0
            logits = torch.cat([sight.ask(batch) for batch in saliency.batches(inputs, {"seen": masks})])
        rolled, weighed = flows(sight, inputs, target, what_if)
        chances, odds = probabilities(logits)[:, target], saliency.log_odds(logits, target)  # (1 + block)
        lost, weaker = ((one[0] - one[1:])[number].float().cpu().numpy().reshape(grid) for one in (chances, odds))
        agreement = reading.agreement(weaker.ravel().tolist(), weighed[1].tolist(), rolled[1].tolist())
        return PatchCover(ranking.labels[0], PatchMap(shaded(weaker), "covering"), lost, agreement)

    return looking(model, picture, question, what_if, look)


def looking(
    model: Model,
    picture: str | Path | Image.Image,
    question: str,
    what_if: WhatIf,
    look: Callable[[Encoded, Sight, Inputs], T],
) -> T:
    """Open a picture and read a question, and look at both in one turn at the device."""
    encoded = encode(model, question, "question", limits.QUESTION_TOKENS)
    opened = open_picture(picture)

    def at_the_device() -> T:
        sight = sights.look(model, opened, encoded)
        return look(encoded, sight, sight.inputs(what_if))

    return model.run(at_the_device)


def flows(sight: Sight, inputs: Inputs, target: int, what_if: WhatIf) -> tuple[Flow, Flow]:
    """Follow an answer back to words and patches: by attention alone, and by gradient x attention.

    Source: Abnar & Zuidema 2020 (rollout); Chefer et al. 2021, eq. 5-6: of what the gradient says moves the answer, that
    which moves it up, averaged over heads.
    """
    given = inputs | {"inputs_embeds": sight.embedded(inputs).detach().requires_grad_()}
    given.pop("input_ids")
    with torch.enable_grad(), sight.watched(what_if.silenced_heads) as looks:
        logit = sight.ask(given)[0, target]
    moving = [look for look in looks if look.requires_grad]  # BLIP's first word looks at itself alone: nothing moves
    slopes = iter(torch.autograd.grad(logit, moving, allow_unused=True, materialize_grads=True))
    gradients = [next(slopes) if look.requires_grad else torch.zeros_like(look) for look in looks]
    looks = [look.detach() for look in looks]
    rolled = [look.float().mean(1)[0] for look in looks]  # (query, key)
    weighed = [(look * slope).float().clamp_min(0).mean(1)[0] for look, slope in zip(looks, gradients, strict=True)]
    return sight.trace(rolled), sight.trace(weighed)


def weigh_words(
    sight: Sight, inputs: Inputs, ranking: Ranking, target: int, rolled: Tensor, what_if: WhatIf
) -> Saliency:
    """Say how much each word of the question pushed towards the answer; the picture stays as it is.

    rolled: what reached the answer from each of the question's tokens.
    """
    model, question = sight.model, sight.question
    with attention.watch(model.network, silenced=what_if.silenced_heads):
        covered = saliency.cover_each(model, sight.ask, inputs, question.words, target)
        pushes, error = saliency.push_each(model, sight.ask, inputs, target)
    scores = tuple(float(sum(pushes[token] for token in word)) for word in question.words) if pushes else ()
    shares = [float(rolled[word].sum()) for word in question.words]
    looks = tuple(share / sum(shares) for share in shares) if sum(shares) > 0 else ()
    agreement = reading.agreement(covered, scores, looks) if scores and looks else None
    return Saliency(ranking.labels[0], question.written, covered, scores, looks, error, agreement)


def blocks(rows: int, columns: int) -> np.ndarray:
    """Return the number of the block each patch is covered in, int64[row, column]; a block is a square of patches."""
    side = 1
    while math.ceil(rows / side) * math.ceil(columns / side) > limits.COVERED_PATCHES:
        side += 1
    across = math.ceil(columns / side)
    return (np.arange(rows) // side)[:, None] * across + (np.arange(columns) // side)[None]


def shaded(values: np.ndarray) -> np.ndarray:
    """Return values as a map shows them: what is above 0, the largest as 1, float32."""
    values = values.astype(np.float32).clip(0)
    return values / max(float(values.max()), 1e-12)


def unknown(model: Model, encoded: Encoded) -> tuple[str, ...]:
    """Return the words of the question that are not in the model's vocabulary."""
    return tuple(
        shown.strip()
        for token, shown in zip(encoded.ids, encoded.shown, strict=True)
        if token == model.tokenizer.unk_token_id
    )
