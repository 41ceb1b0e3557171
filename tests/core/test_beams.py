"""Beam search finds what Transformers' own finds, and every probability in its tree is a true one."""

import math
from itertools import product

import numpy as np
import pytest

from core import beams, limits, tasks
from core.errors import BadValue, NoSuchPart, NothingTyped, TextTooLong
from core.results import Settings
from core.tasks import beams as look_ahead
from core.tasks import generate
from core.tokens import BROKEN, Spelling, encode

EVERY = pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3", "gemma3"])  # gemma3's window of 4 is passed
PROMPT = "the cat sat on the"
NEVER = frozenset()


@pytest.fixture
def writer(model, kind):
    return model(kind, "generation")


def ids_of(writer):
    return encode(writer, PROMPT, "prompt").ids


def logs(writer, ids):
    """Return the logarithms of the probabilities after every token of a text, from one look at the whole: [token, next]."""
    return writer.network(**writer.inputs(input_ids=ids)).logits[0].float().log_softmax(-1).double().numpy()


def tokens_of(found, number):
    return [found.beams[at].token for at in found.way(number)]


def searched(writer, ends, width, depth):
    """Search in the slowest way: every way kept is read anew, and all its continuations are weighed."""
    ways = [((), 0.0)]
    for _ in range(depth):
        longer = []
        for way, total in ways:
            if way and way[-1] in ends:
                longer.append((way, total))
                continue
            chances = logs(writer, [*ids_of(writer), *way])[-1]
            longer += [((*way, token), total + chances[token]) for token in range(len(chances))]
        ways = sorted(longer, key=lambda pair: -pair[1])[:width]
    return ways


@EVERY
@pytest.mark.parametrize(("width", "depth"), [(1, 6), (2, 8), (3, 5), (5, 8)])
def test_the_best_way_is_that_of_transformers(writer, width, depth):
    found = beams.search(writer, ids_of(writer), (), NEVER, width, depth)
    there = writer.network.generate(
        **writer.inputs(input_ids=ids_of(writer)), num_beams=width, num_return_sequences=width, do_sample=False,
        max_new_tokens=depth, length_penalty=0.0, eos_token_id=None, pad_token_id=1,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    ways = [tokens_of(found, number) for number in found.best]
    assert ways == there.sequences[:, len(ids_of(writer)) :].tolist()
    if width > 1:
        together = [math.log(found.beams[number].together) for number in found.best]
        assert together == pytest.approx(there.sequences_scores.tolist(), abs=1e-4)


@EVERY
def test_a_search_wide_enough_finds_the_likeliest_of_all_ways(writer, monkeypatch):
    size = writer.network.config.get_text_config().vocab_size
    monkeypatch.setattr(limits, "BEAMS", size)
    found = beams.search(writer, ids_of(writer), (), NEVER, size, 2)
    first = logs(writer, ids_of(writer))[-1]
    second = np.stack([logs(writer, [*ids_of(writer), token])[-1] for token in range(size)])
    every = np.exp(first[:, None] + second).ravel()
    likeliest = np.sort(every)[::-1][:size]
    assert [found.beams[number].together for number in found.best] == pytest.approx(likeliest.tolist(), rel=1e-3)
    best = np.unravel_index(every.argmax(), second.shape)
    assert tokens_of(found, found.best[0]) == [int(token) for token in best]


@EVERY
@pytest.mark.parametrize(("width", "depth"), list(product([1, 2, 4], [1, 3, 6])))
def test_ways_that_end_keep_their_place_while_they_are_likely(writer, width, depth):
    likely = np.argsort(-logs(writer, ids_of(writer))[-1])[1:40]  # all of these end a text
    ends = {int(token) for token in likely}
    found = beams.search(writer, ids_of(writer), (), ends, width, depth)
    wanted = searched(writer, ends, width, depth)
    assert [tuple(tokens_of(found, number)) for number in found.best] == [way for way, _ in wanted]
    together = [found.beams[number].together for number in found.best]
    assert together == pytest.approx([math.exp(total) for _, total in wanted], rel=1e-3)
    assert all(beam.ended == (beam.token in ends) and not (beam.ended and beam.text) for beam in found.beams)
    over = {number for number, beam in enumerate(found.beams) if beam.ended or not beam.kept}
    assert not over & {beam.parent for beam in found.beams}


@EVERY
def test_where_every_way_ends_the_search_does(writer):
    served = writer.device.queue.served
    found = beams.search(
        writer, ids_of(writer), (), set(range(writer.network.config.get_text_config().vocab_size)), 3, 8
    )
    assert len(found.best) == 3 and all(beam.depth == 0 for beam in found.beams)
    assert writer.device.queue.served == served + 1


@EVERY
@pytest.mark.parametrize("width", [1, 3, 5])
def test_every_probability_is_that_of_one_look_at_the_whole_text(writer, width):
    found = beams.search(writer, ids_of(writer), (20, 30), NEVER, width, 6)
    text = [*ids_of(writer), 20, 30]
    for number, beam in enumerate(found.beams):
        way = tokens_of(found, number)
        seen = logs(writer, [*text, *way])[len(text) - 1 : -1]
        chances = seen[range(len(way)), way]
        assert beam.probability == pytest.approx(math.exp(chances[-1]), abs=1e-5)
        assert beam.together == pytest.approx(math.exp(chances.sum()), abs=1e-5)


@EVERY
@pytest.mark.parametrize(("width", "depth"), [(1, 8), (3, 5), (5, 3)])
def test_the_tree_is_in_order(writer, width, depth):
    found = beams.search(writer, ids_of(writer), (), NEVER, width, depth)
    assert found.width == width and len(found.best) == width
    for at in range(depth):
        level = [beam for beam in found.beams if beam.depth == at]
        assert [beam.together for beam in level] == sorted((beam.together for beam in level), reverse=True)
        assert sum(beam.kept for beam in level) == width
        assert all(beam.kept for beam in level[:width])  # the likeliest together, whatever they come from
        for parent in {beam.parent for beam in level}:
            mine = [beam for beam in level if beam.parent == parent]
            assert len({beam.token for beam in mine}) == len(mine)
            assert sum(beam.probability for beam in mine) <= 1 + 1e-6
            assert sum(not beam.kept for beam in mine) == beams.DROPPED  # it is seen what was dropped
    assert [beam.depth for beam in found.beams] == sorted(beam.depth for beam in found.beams)
    for number, beam in enumerate(found.beams):
        before = 1.0 if beam.parent is None else found.beams[beam.parent].together
        assert beam.together == pytest.approx(before * beam.probability, rel=1e-6)
        assert (beam.parent is None) == (beam.depth == 0)
        if beam.parent is not None:
            assert beam.parent < number and found.beams[beam.parent].kept
            assert found.beams[beam.parent].depth == beam.depth - 1
    assert all(found.beams[number].depth == depth - 1 and found.beams[number].kept for number in found.best)


@EVERY
def test_one_way_alone_is_the_greedy_story(writer, monkeypatch):
    monkeypatch.setattr("core.tasks.generation.ends_of_text", lambda model: set())
    steps = list(generate(writer, PROMPT, Settings(temperature=0, length=8)))
    found = look_ahead(writer, PROMPT, width=1, depth=8)
    assert tokens_of(found, found.best[0]) == [step.token for step in steps]
    assert [found.beams[at].text for at in found.way(found.best[0])] == [step.text for step in steps]
    chances = [found.beams[at].probability for at in found.way(found.best[0])]
    assert chances == pytest.approx([step.probability for step in steps], abs=1e-5)


@EVERY
def test_a_search_goes_on_from_the_story_so_far(writer, monkeypatch):
    monkeypatch.setattr("core.tasks.generation.ends_of_text", lambda model: set())
    whole = look_ahead(writer, PROMPT, width=1, depth=6)
    story = tuple(tokens_of(whole, whole.best[0]))
    rest = look_ahead(writer, PROMPT, story[:3], width=1, depth=3)
    assert tuple(tokens_of(rest, rest.best[0])) == story[3:]


@EVERY
def test_the_text_of_every_way_is_whole(writer):
    found = beams.search(writer, ids_of(writer), (), NEVER, 5, 8)
    for number in found.best:
        spelling = Spelling(writer.tokenizer, ids_of(writer))
        told = [spelling.add(token) for token in tokens_of(found, number)]
        assert [found.beams[at].text for at in found.way(number)] == told
    assert all(BROKEN not in beam.text + beam.label and beam.label for beam in found.beams)


@EVERY
def test_a_search_takes_one_turn_a_token(writer):
    served = writer.device.queue.served
    beams.search(writer, ids_of(writer), (), NEVER, 5, 8)
    assert writer.device.queue.served == served + 8


@pytest.mark.parametrize("wrong", [0, -1, 1.5, math.nan, math.inf, 10**9, None, "3", [3], True, {}])
@pytest.mark.parametrize("field", ["width", "depth"])
def test_what_the_page_does_not_offer_is_refused(model, field, wrong):
    with pytest.raises(BadValue) as error:
        look_ahead(model("gpt2", "generation"), PROMPT, **{field: wrong})
    assert error.value.facts["field"] == field


def test_the_limits_themselves_are_offered(model):
    writer = model("gpt2", "generation")
    assert len(beams.search(writer, [5, 6], (), NEVER, limits.BEAMS, limits.BEAM_TOKENS).best) == limits.BEAMS
    for width, depth in [(limits.BEAMS + 1, 1), (1, limits.BEAM_TOKENS + 1)]:
        with pytest.raises(BadValue):
            beams.search(writer, [5, 6], (), NEVER, width, depth)


@pytest.mark.parametrize("wrong", [-1, 10**9, 1.0, "7", None, True, [7]])
def test_a_token_the_model_does_not_know_is_refused(model, wrong):
    with pytest.raises(NoSuchPart) as error:
        look_ahead(model("gpt2", "generation"), PROMPT, (5, wrong))
    assert error.value.facts["part"] == "token"


def test_what_does_not_fit_in_the_context_is_refused_and_what_just_fits_is_not(model):
    writer = model("gpt2", "generation")
    room = writer.context - len(ids_of(writer)) - 4
    assert look_ahead(writer, PROMPT, (5,) * room, width=2, depth=4).best
    with pytest.raises(TextTooLong) as error:
        look_ahead(writer, PROMPT, (5,) * (room + 1), width=2, depth=4)
    assert error.value.facts == {
        "field": "prompt", "found": writer.context - 3, "limit": writer.context - 4, "unit": "tokens",
    }  # fmt: skip
    with pytest.raises(NothingTyped):
        look_ahead(writer, " ")


def test_it_is_a_task_of_the_tab(model):
    assert look_ahead.__module__ == "core.tasks.generation"
    assert "beams" in tasks.__all__
