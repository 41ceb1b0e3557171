"""Beam search: a text goes in, the tree of its likeliest ways on comes out, those that were dropped beside those kept."""

import math
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import torch

from core import limits
from core.errors import NoSuchPart, TextTooLong
from core.models import Model
from core.results import Beam, Beams
from core.sampling import whole
from core.tokens import Spelling, token_label

DROPPED = 2  # of each way's continuations that are not kept, the likeliest are shown
likelihood = attrgetter("total")


@dataclass(slots=True, eq=False)
class Way:
    """A way on: what is before its last token, and that token."""

    number: int | None  # of the Beam it ends with; None before the first token and where it is not shown
    before: "Way | None"
    row: int  # the place of the way before it among those the network was shown
    token: int
    chance: float  # the logarithm of the token's probability
    total: float  # the same of the whole way
    spelling: Spelling | None = None
    ended: bool = False


@torch.inference_mode()
def search(
    model: Model, ids: list[int], tokens: tuple[int, ...], ends: set[int], width: int = 3, depth: int = 5
) -> Beams:
    """Follow the `width` likeliest ways on from a text and a story after it, all at once, `depth` tokens far.

    ids: the text; tokens: the story; ends: the tokens that end a text. A way that has ended keeps its place as long as it
    is among the likeliest. Every depth is one look of the network at all ways, and takes one turn at the device.
    Raises BadValue, NoSuchPart, and TextTooLong where all this does not fit in the model's context.
    Source: Graves 2012, section 2.2, with the full softmax and no bonus for length.
    """
    width, depth = whole("width", width, 1, limits.BEAMS), whole("depth", depth, 1, limits.BEAM_TOKENS)
    ways, cache, new = [beginning(model, ids, tokens, depth)], None, [[*ids, *tokens]]
    beams: list[Beam] = []
    for at in range(depth):
        likeliest, cache = model.run(partial(look, model, new, cache, width + DROPPED))
        found = [
            Way(None, way, row, token, chance, way.total + chance, ended=token in ends)
            for row, (way, pairs) in enumerate(zip(going_on(ways), likeliest, strict=True))
            for token, chance in pairs
        ]
        found.sort(key=likelihood, reverse=True)
        ways = sorted([*(way for way in ways if way.ended), *found], key=likelihood, reverse=True)[:width]
        for way in worth_showing(found, ways):
            way.number = len(beams)
            beams.append(show(model, way, at, kept=way in ways))
        if not going_on(ways):
            break
        cache.reorder_cache(torch.tensor([way.row for way in going_on(ways)], device=model.device.place))
        new = [[way.token] for way in going_on(ways)]
    return Beams(tuple(beams), width, tuple(way.number for way in ways))


def beginning(model: Model, ids: list[int], tokens: tuple[int, ...], depth: int) -> Way:
    """Return the way of no token yet. Raises NoSuchPart for a token the model does not know, and TextTooLong."""
    known = model.network.config.get_text_config().vocab_size
    for token in tokens:
        if type(token) is not int or not 0 <= token < known:
            raise NoSuchPart(part="token", found=str(token)[:40], limit=known - 1)
    found, most = len(ids) + len(tokens), model.context - depth
    if found > most:
        raise TextTooLong(field="prompt", found=found, limit=most, unit="tokens")
    spelling = Spelling(model.tokenizer, ids)
    for token in tokens:
        spelling.add(token)
    return Way(None, None, 0, -1, 0.0, 0.0, spelling)


def going_on(ways: list[Way]) -> list[Way]:
    """Return the ways that have not ended."""
    return [way for way in ways if not way.ended]


def look(model: Model, new: list[list[int]], cache, count: int) -> tuple[list[list[tuple[int, float]]], object]:
    """Return the `count` likeliest tokens after each way with the logarithms of their probabilities, and the longer cache.

    new: int[way, token], what the cache has not seen.
    """
    ids = torch.tensor(new, device=model.device.place)
    output = model.network(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    logs = output.logits[:, -1].float().log_softmax(-1)  # (way, vocabulary)
    best = logs.topk(min(count, logs.shape[-1]))
    values, tokens = best.values.tolist(), best.indices.tolist()
    return [list(zip(*pair, strict=True)) for pair in zip(tokens, values, strict=True)], output.past_key_values


def worth_showing(found: list[Way], kept: list[Way]) -> list[Way]:
    """Return the continuations that are kept, and of each way the likeliest few that are dropped, the likeliest first."""
    shown, dropped = [], {}
    for way in found:
        if way not in kept:
            dropped[way.row] = dropped.get(way.row, 0) + 1
        if way in kept or dropped[way.row] <= DROPPED:
            shown.append(way)
    return shown


def show(model: Model, way: Way, depth: int, kept: bool) -> Beam:
    """Return the record of a way's last token; the way learns how its text is spelled on."""
    way.spelling = way.before.spelling.fork()
    return Beam(
        parent=way.before.number,
        depth=depth,
        token=way.token,
        text="" if way.ended else way.spelling.add(way.token),
        label=token_label(model.tokenizer, way.token),
        probability=math.exp(way.chance),
        together=math.exp(way.total),
        kept=kept,
        ended=way.ended,
    )
