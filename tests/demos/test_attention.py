"""Attention: choosing what to look at redraws; only silencing a head asks the model again."""

import json
from dataclasses import replace

import numpy as np
import pytest

from core import charts, reading
from core.results import Attention, WhatIf
from demos import attention
from demos.attention import HEAD, ROLLOUT, View
from demos.words import Words

EN = Words("en")
TEXT = "it was too [MASK] today"
TOKENS = 7  # [CLS] it was too [MASK] today [SEP]


@pytest.fixture
def made(tab, run):
    """Return the tab after a text was looked into, and forget that the model was asked."""
    found = tab("attention")
    found.shown = found.call("show_attention", TEXT, "english", False, HEAD)
    run.calls.clear()
    return found


@pytest.fixture
def kept(made) -> View:
    """Return what the page remembers then."""
    return made.shown["kept"]


def look_of(figure) -> np.ndarray:
    """Return the numbers of a heat map."""
    return np.array(figure.data[0].z)


def test_looking_inside_asks_once_and_shows_every_part(tab, run):
    shown = tab("attention").call("show_attention", TEXT, "english", True, HEAD)
    assert run.calls == [("attend", "english", TEXT)]
    assert EN.say("attention.said", layers=2, heads=3, all=6, tokens=TOKENS) in shown["say"]
    assert look_of(shown["chart"]).shape == (TOKENS, TOKENS)
    assert len(shown["strip"]) == TOKENS
    assert shown["data"]["tokens"] == ["[CLS]", " it", " was", " too", " [MASK]", " today", "[SEP]"]
    assert json.loads(json.dumps(shown["data"])) == shown["data"]


def test_the_first_token_looked_at_is_the_blank_else_the_last_plain_one():
    def first(*tokens: str) -> int:
        return attention.first_token(Attention(tokens, np.zeros((1, 1, 1, 1)), None, None))

    assert first("[CLS]", " a", " [MASK]", " b", "[SEP]") == 2
    assert first("[CLS]", " a", " b", "[SEP]") == 2
    assert first("<s>", "a", "b", "</s>") == 2
    assert first("[CLS]", "[SEP]") == 0


@pytest.mark.parametrize(("aside", "head"), [(False, (0, 0)), (True, (1, 2))])
def test_the_head_to_begin_with_is_not_one_that_only_rests(tab, run, aside, head):
    weights = np.full((2, 3, TOKENS, TOKENS), 1 / TOKENS, np.float16)
    weights[0, 0], weights[1, 2] = np.eye(TOKENS)[0], np.roll(0.5 * np.eye(TOKENS), 1, -1) + 0.5 / TOKENS
    run.answers["attend"] = replace(run.answers["attend"](TEXT), weights=weights, sink=0)
    assert tab("attention").call("show_attention", TEXT, "english", aside, HEAD)["kept"].head == head


def test_choosing_a_head_redraws_it_without_asking(made, kept, run):
    side = TOKENS + 1
    shown = made.call("show_head", kept, False, click=[side + 3, 2 * side + 3])
    assert shown["kept"].head == (1, 2) and shown["ways"] == HEAD
    assert np.allclose(look_of(shown["chart"]), kept.attention.weights[1, 2])
    assert (shown["data"]["layer"], shown["data"]["head"]) == (2, 3)
    assert run.calls == []


@pytest.mark.parametrize("layer", range(2))
@pytest.mark.parametrize("head", range(3))
def test_every_head_of_the_montage_can_be_chosen_at_all_its_corners(made, kept, layer, head):
    for down in (0, TOKENS - 1):
        for across in (0, TOKENS - 1):
            cell = [layer * (TOKENS + 1) + down, head * (TOKENS + 1) + across]
            assert charts.head_at(cell, TOKENS) == (layer, head)
    assert made.call("show_head", kept, False, click=cell)["kept"].head == (layer, head)


@pytest.mark.parametrize("click", [3, [3, 6]])
def test_choosing_a_token_in_strip_or_map_shows_where_it_looks_without_asking(made, kept, run, click):
    shown = made.call("show_token", kept, False, HEAD, click=click)
    assert shown["kept"].token == 3
    assert [at for at, token in enumerate(shown["strip"]) if token.marked] == [3]
    row = kept.attention.weights[kept.head][3].astype(np.float32)
    assert [token.tint for token in shown["strip"]] == pytest.approx(list(row / row.max()))
    assert run.calls == []


def test_rollout_draws_all_layers_without_asking(made, kept, run):
    shown = made.call("show_view", kept, False, ROLLOUT)
    assert np.allclose(look_of(shown["chart"]), reading.rollout(kept.attention.weights), atol=1e-4)
    assert not np.allclose(look_of(shown["chart"]), look_of(made.shown["chart"]))
    assert run.calls == []


def test_setting_the_sink_aside_takes_its_column_away_without_asking(made, kept, run):
    shown = made.call("show_view", kept, True, HEAD)
    assert look_of(shown["chart"])[:, kept.attention.sink].max() == 0
    assert look_of(made.shown["chart"])[:, kept.attention.sink].max() > 0
    assert run.calls == []


def test_a_text_without_a_sink_says_nothing_of_one(tab, run):
    run.answers["attend"] = replace(run.answers["attend"](TEXT), sink=None)
    shown = tab("attention").call("show_attention", TEXT, "english", True, HEAD)
    assert shown["say"] == EN.say("attention.said", layers=2, heads=3, all=6, tokens=TOKENS)


def test_silencing_a_head_asks_with_it_and_again_lets_it_speak(made, kept, run):
    head = kept.head
    silent = made.call("show_silenced", kept, False, HEAD)
    assert run.calls == [("attend", "english", TEXT, WhatIf(silenced_heads=frozenset({head})))]
    assert silent["kept"].silenced == {head}
    assert silent["answer_say"] != EN.say("attention.whatif")
    again = made.call("show_silenced", silent["kept"], False, HEAD)
    assert run.calls[1:] == [("attend", "english", TEXT, WhatIf())]
    assert again["kept"].silenced == frozenset()
    assert again["answer_say"] == EN.say("attention.whatif") and again["answer"] is None


def test_silent_heads_add_up(made, kept, run):
    view = made.call("show_silenced", kept, False, HEAD)["kept"]
    other = next((layer, head) for layer in range(2) for head in range(3) if (layer, head) != view.head)
    view = made.call("show_silenced", replace(view, head=other), False, HEAD)["kept"]
    assert view.silenced == {kept.head, other} == run.calls[-1][-1].silenced_heads


def test_the_answer_is_compared_with_the_one_before_any_head_fell_silent(made, kept):
    view = made.call("show_silenced", kept, False, HEAD)["kept"]
    shown = made.call("show_silenced", replace(view, head=(1 - view.head[0], 0)), False, HEAD)
    before, after = shown["answer"].data
    assert list(before.x) == pytest.approx([0.8, 0.1]) and list(after.x) == pytest.approx([0.6, 0.3])
    assert "“tired”" in shown["answer_say"] and "80" in shown["answer_say"] and "60" in shown["answer_say"]


def test_a_silent_head_is_crossed_out_and_said_to_be_silent(made, kept):
    shown = made.call("show_silenced", kept, False, HEAD)
    assert len(shown["montage"].layout.shapes) == len(made.shown["montage"].layout.shapes) + 2
    layer, head = kept.head
    token = kept.attention.tokens[kept.token].strip()
    assert shown["look_say"] == EN.say("attention.silent", token=token, layer=layer + 1, head=head + 1)


def test_the_sink_stays_the_one_of_the_whole_model(made, kept, run):
    silenced = replace(run.answers["attend"](TEXT), sink=3)
    run.answers["attend"] = silenced
    assert made.call("show_silenced", kept, True, HEAD)["kept"].attention.sink == kept.attention.sink


def test_silencing_where_nothing_is_asked_says_so(tab):
    made = tab("attention")
    kept = made.call("show_attention", "no blank here", "english", False, HEAD)["kept"]
    shown = made.call("show_silenced", kept, False, HEAD)
    assert shown["answer_say"] == EN.say("attention.nothing_asked") and shown["answer"] is None


@pytest.mark.parametrize(
    ("handler", "inputs", "click"),
    [
        ("show_view", (True, HEAD), None), ("show_head", (True,), [0, 0]), ("show_token", (True, HEAD), 0),
        ("show_silenced", (True, HEAD), None),
    ],
)  # fmt: skip
def test_before_there_is_a_text_every_event_says_what_can_be_done(tab, run, handler, inputs, click):
    shown = tab("attention").call(handler, None, *inputs, click=click)
    assert shown == {"say": EN.say("attention.empty")}
    assert run.calls == []


def test_a_sentence_says_where_a_token_looks(made, kept):
    def said(matrix: np.ndarray, way: str = HEAD) -> str:
        return attention.tell_look(matrix, replace(kept, token=1), way, EN)

    facts = {"layer": kept.head[0] + 1, "head": kept.head[1] + 1, "token": "it", "share": EN.percent(1)}
    away, itself, nowhere = (np.zeros((TOKENS, TOKENS)) for _ in range(3))
    away[1, 5] = itself[1, 1] = 1
    assert said(away) == EN.say("attention.looks", target="today", **facts)
    assert said(away, ROLLOUT) == EN.say("attention.rolled", target="today", **facts)
    assert said(itself) == EN.say("attention.looks_at_itself", **facts)
    assert said(nowhere) == EN.say("attention.nowhere", **facts)


@pytest.mark.parametrize(("token", "quoted"), [(" it", "it"), ("\n", "⏎"), (" ", "␣"), ("[SEP]", "[SEP]")])
def test_a_token_is_quoted_so_that_it_is_seen(token, quoted):
    assert attention.written(token) == quoted
