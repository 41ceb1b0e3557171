"""Attention: choosing what to look at asks where one head looks; only a what-if runs the model again."""

import asyncio
import csv
import json
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
from gradio.state_holder import SessionState

from core import charts, limits
from core.errors import AttentionUnreadable, HiddenEverything, NoSuchPart, TextTooLong
from core.results import Attention, Gaze, Habit, Ranking, View, WhatIf
from demos import attention
from demos.attention import HEAD, ROLLOUT, Seen
from demos.chart import Chart, Marks
from demos.tokens import LeftOut, Token, TokenStrip
from demos.words import Words

EN = Words("en")
TEXT = "it was too [MASK] today"
TOKENS = 7  # [CLS] it was too [MASK] today [SEP]
LONG = " ".join(f"w{number}" for number in range(1_998))  # 2,000 tokens
A_VIEW = 500_000  # bytes to the browser


@pytest.fixture
def made(tab, run):
    """Return the tab after a text was looked into, and forget what was asked."""
    found = tab("attention")
    found.shown = found.call("show_attention", TEXT, "english", False, HEAD, False)
    run.calls.clear()
    return found


@pytest.fixture
def kept(made) -> Seen:
    """Return what the page remembers then."""
    return made.shown["kept"]


@pytest.fixture
def long(tab, run) -> dict:
    """Return what is shown of a text longer than a window."""
    found = tab("attention").call("show_attention", LONG, "english", True, HEAD, False)
    run.calls.clear()
    return found


def asked(run) -> list[str]:
    """Return the tasks that were run."""
    return [name for name, *_ in run.calls]


def tokens_of(strip: list) -> list[Token]:
    """Return what can be chosen of a strip."""
    return [one for one in strip if isinstance(one, Token)]


def test_looking_inside_asks_for_all_heads_and_for_one_in_full(tab, run):
    shown = tab("attention").call("show_attention", TEXT, "english", True, HEAD, False)
    view = View(0, 1, aside=True)
    assert run.calls == [("attend", "english", TEXT), ("look", "english", TEXT, view, WhatIf())]
    assert EN.say("attention.said", layers=2, heads=3, all=6, tokens=TOKENS) in shown["say"]
    assert np.array(shown["chart"].data[0].z).shape == (TOKENS, TOKENS)
    assert len(shown["strip"]) == TOKENS
    assert shown["data"]["tokens"] == ["[CLS]", " it", " was", " too", " [MASK]", " today", "[SEP]"]
    assert json.loads(json.dumps(shown["data"])) == shown["data"]


def test_the_resting_place_is_named_with_its_share_and_a_text_without_one_says_nothing_of_it(tab, run):
    shown = tab("attention").call("show_attention", TEXT, "english", True, HEAD, False)
    assert EN.say("attention.sink", token="[CLS]", share="40%") in shown["say"]
    run.answers["attend"] = replace(run.answers["attend"](TEXT), sink=None)
    shown = tab("attention").call("show_attention", TEXT, "english", True, HEAD, False)
    assert shown["say"] == EN.say("attention.said", layers=2, heads=3, all=6, tokens=TOKENS)


def test_the_first_token_looked_at_is_the_one_asked_for_else_the_last_plain_one():
    def first(*tokens: str, asked: int | None = None) -> int:
        return attention.first_token(Attention(tokens, np.zeros((1, 1, 1, 1)), (), (0, 0), None, 0.0, None, asked))

    assert first("[CLS]", " a", " [MASK]", " b", "[SEP]", asked=2) == 2
    assert first("[CLS]", " a", " b", "[SEP]") == 2
    assert first("<s>", "a", "b", "</s>") == 2
    assert first("[CLS]", "[SEP]") == 0


@pytest.mark.parametrize("layer", range(2))
@pytest.mark.parametrize("head", range(3))
def test_every_head_of_the_montage_can_be_chosen_at_all_its_corners(made, kept, run, layer, head):
    for down in (0, TOKENS - 1):
        for across in (0, TOKENS - 1):
            cell = [layer * (TOKENS + 1) + down, head * (TOKENS + 1) + across]
            assert charts.head_at(cell, kept.found) == (layer, head)
    shown = made.call("show_head", kept, click=cell)
    assert shown["kept"].head == (layer, head) and shown["ways"] == HEAD
    assert run.calls == [("look", "english", TEXT, replace(kept.view, layer=layer, head=head), WhatIf())]
    assert (shown["data"]["shown"]["layer"], shown["data"]["shown"]["head"]) == (layer + 1, head + 1)


def test_choosing_a_head_sends_new_outlines_and_not_the_montage_again(made, kept):
    shown = made.call("show_head", kept, click=[8, 8])
    assert isinstance(shown["montage"], Marks) and len(Chart().postprocess(shown["montage"])) < 500
    assert shown["chart"].data  # another head is another map


def test_heads_with_a_habit_are_offered_and_chosen_without_running_the_model(made, kept, run):
    choices = made.shown["habits"].choices
    assert (EN.say("attention.habit", layer=1, head=2, does="one token back, 83%"), "0.1") in choices
    assert len(choices) == 4 and made.shown["habits"].value == "0.1"
    shown = made.call("show_habit", kept, "1.2")
    assert shown["kept"].head == (1, 2) and shown["habits"] == "1.2"
    assert asked(run) == ["look"]
    assert made.call("show_head", kept, click=[0, 0])["habits"] is None  # a head without one


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["previous", "next", "itself", "sink", "same", "after_same", "even"])
def test_every_habit_has_a_name_in_both_languages(language, name):
    said = attention.habit_said(Habit(0, 0, name, 0.5), Words(language))
    assert said.strip() and "{" not in said


def test_of_many_habits_every_kind_is_offered_and_no_more_than_a_few():
    habits = [Habit(0, head, "previous", 1 - head / 100) for head in range(30)] + [Habit(1, 0, "same", 0.5)]
    found = Attention(("a",), np.zeros((2, 30, 1, 1)), tuple(habits), (0, 0), None, 0.0, None, None)
    offered = [value for _, value in attention.habits_offered(found, EN)]
    assert len(offered) == attention.HABITS and "1.0" in offered and offered[0] == "0.0"


@pytest.mark.parametrize("click", [3, [3, 6]])
def test_choosing_a_token_in_strip_or_map_outlines_its_row_and_says_where_it_looks(made, kept, run, click):
    shown = made.call("show_token", kept, click=click)
    assert shown["kept"].token == 3
    assert [at for at, token in enumerate(shown["strip"]) if token.marked] == [3]
    assert [token.tint for token in shown["strip"]] == [pytest.approx(0.25, abs=0.01), None, 1.0, *[None] * 4]
    (row,) = shown["chart"].shapes
    assert isinstance(shown["chart"], Marks) and (row["y0"], row["y1"]) == (2.5, 3.5)
    assert "“was”" in shown["look_say"] and "80%" in shown["look_say"]
    assert asked(run) == ["look"] and "montage" not in shown


def test_a_token_carries_where_it_looks_and_how_much(made):
    assert made.shown["strip"][3].looks == ((2, 80), (0, 20))
    assert made.shown["strip"][0].number == 0  # all are numbered on from there


def test_rollout_the_sink_and_what_is_carried_are_views(made, kept, run):
    made.call("show_view", kept, True, ROLLOUT, True)
    assert run.calls == [("look", "english", TEXT, replace(kept.view, rolled=True, aside=True, carried=True), WhatIf())]


def test_setting_the_sink_aside_takes_its_column_away(made, kept):
    shown = made.call("show_view", kept, True, HEAD, False)
    assert np.array(shown["chart"].data[0].z)[2:, 0].max() == 0
    assert np.array(made.shown["chart"].data[0].z)[2:, 0].max() > 0


def test_silencing_a_head_asks_with_it_and_again_lets_it_speak(made, kept, run):
    silent = made.call("show_silenced", kept)
    what_if = WhatIf(silenced_heads=frozenset({kept.head}))
    assert run.calls == [("attend", "english", TEXT, what_if), ("look", "english", TEXT, kept.view, what_if)]
    assert silent["kept"].what_if == what_if and len(silent["montage"].layout.shapes) == 3
    assert silent["silence"].value == EN.say("attention.silence_undo", layer=1, head=2)
    assert silent["look_say"] == EN.say("attention.silent", layer=1, head=2)
    run.calls.clear()
    again = made.call("show_silenced", silent["kept"])
    assert asked(run) == ["look"] and again["kept"].what_if == WhatIf()
    assert again["moved"] == EN.say("attention.whatif") and again["answer"] is None


def test_covering_the_chosen_token_asks_without_it(made, kept, run):
    shown = made.call("show_covered", replace(kept, token=2))
    what_if = WhatIf(hidden_tokens=frozenset({2}))
    assert run.calls == [("attend", "english", TEXT, what_if), ("look", "english", TEXT, kept.view, what_if)]
    assert [token.covered for token in shown["strip"]] == [at == 2 for at in range(TOKENS)]
    assert "“was”" in shown["moved"] and shown["cover"].value == EN.say("attention.cover_undo", token="was")
    assert made.call("show_covered", shown["kept"])["kept"].what_if == WhatIf()


def test_what_is_taken_away_adds_up_and_is_compared_with_the_whole_model(made, kept, run):
    one = made.call("show_silenced", kept)["kept"]
    two = made.call("show_silenced", one.at(layer=1, head=0))
    three = made.call("show_covered", two["kept"])
    assert three["kept"].what_if == run.calls[-1][-1]
    assert three["kept"].what_if.silenced_heads == {(0, 1), (1, 0)}
    before, after = three["answer"].data
    assert list(before.x) == pytest.approx([0.8, 0.1]) and list(after.x) == pytest.approx([0.5, 0.4])
    assert "80%" in three["moved"] and "50%" in three["moved"]


def test_every_later_view_keeps_the_what_if(made, kept, run):
    silent = made.call("show_silenced", kept)["kept"]
    run.calls.clear()
    made.call("show_head", silent, click=[0, 0])
    made.call("show_token", silent, click=1)
    made.call("show_view", silent, True, ROLLOUT, False)
    assert [call[-1] for call in run.calls] == [silent.what_if] * 3


def test_a_what_if_says_so_when_the_answer_changes_and_when_it_stays(kept):
    def moved(label: str) -> str:
        now = replace(kept.found, prediction=Ranking((label,), (0.5,)))
        return attention.tell_moved(replace(kept, found=now, what_if=WhatIf(frozenset({1}))), EN)

    facts = {"without": "“it”", "answer": "tired", "before": "80%"}
    assert moved("tired") == EN.say("attention.stayed", after="50%", **facts)
    assert moved("wide") == EN.say("attention.moved", after="less than 1 in 1,000", now="wide", **facts)


def test_a_what_if_where_nothing_is_asked_says_so(tab):
    made = tab("attention")
    kept = made.call("show_attention", "no blank here", "english", False, HEAD, False)["kept"]
    shown = made.call("show_silenced", kept)
    assert shown["moved"] == EN.say("attention.nothing_asked") and shown["answer"] is None


def test_the_lens_is_asked_for_by_its_button_alone(made, kept, run):
    assert made.shown["lens_chart"] is None
    shown = made.call("show_lens", kept)
    assert run.calls[0] == ("lens", "english", TEXT, 0, WhatIf())
    assert np.array(shown["lens_chart"].data[0].z).shape == (3, TOKENS)
    facts = {"token": "[MASK]", "answer": "layer 2", "layers": 2, "first": "layer 0"}
    assert shown["lens_say"] == EN.say("attention.lens_last", **facts)
    assert shown["data"]["lens"]["places"] == list(range(TOKENS))


def test_a_cell_of_the_lens_shows_that_layers_ranking(made, kept, run):
    kept = made.call("show_lens", kept)["kept"]
    run.calls.clear()
    shown = made.call("show_cell", kept, click=[1, 3])
    facts = {"token": "too", "answer": "layer 1", "layer": 1, "probability": "30%"}
    assert shown["lens_say"] == EN.say("attention.cell_layer", **facts)
    assert list(shown["lens_bars"].data[0].x)[:2] == pytest.approx([0.3, 0.1])
    assert isinstance(shown["lens_chart"], Marks) and run.calls == []


@pytest.mark.parametrize(
    ("said", "key"),
    [("aab", "lens_last"), ("abb", "lens_from"), ("bbb", "lens_early"), ("bab", "lens_last")],
)  # fmt: skip
def test_the_lens_says_from_which_layer_on_the_answer_is_there(made, kept, said, key):
    seen = made.call("show_lens", kept)["kept"]
    rankings = tuple((Ranking((label,), (0.5,)),) * TOKENS for label in said)
    seen = replace(seen, lens=replace(seen.lens, rankings=rankings))
    facts = {"token": "[MASK]", "answer": "b", "layers": 2, "first": said[0], "layer": 1}
    facts = {name: facts[name] for name in facts if "{" + name + "}" in EN.say(f"attention.{key}")}
    assert attention.tell_lens(seen, EN) == EN.say(f"attention.{key}", **facts)


def test_a_what_if_puts_the_lens_away(made, kept):
    seen = made.call("show_lens", kept)["kept"]
    shown = made.call("show_silenced", seen)
    assert shown["lens_chart"] is None and shown["lens_bars"] is None and shown["kept"].lens is None


def test_a_short_text_shows_no_window_to_move(made):
    assert made.shown["long_text"].visible is False and made.shown["overview"] is None
    assert not any(isinstance(one, LeftOut) for one in made.shown["strip"])


def test_a_long_text_begins_where_the_model_speaks_and_says_what_is_left_out(long):
    seen, strip = long["kept"], long["strip"]
    assert seen.token == 1998 and long["long_text"].visible is True and long["overview"].data
    assert seen.view.query == 2000 - limits.WINDOW_TOKENS == seen.view.key
    assert len(tokens_of(strip)) == limits.WINDOW_TOKENS
    assert strip[0] == LeftOut(EN.say("attention.before", count="1,488")) and isinstance(strip[-1], Token)
    assert tokens_of(strip)[0].number == 1488
    assert long["query"].value == long["query"].maximum == 1489


def test_the_window_moves_by_sliders_and_by_a_click_and_the_chosen_token_stays_in_it(tab, long, run):
    made = tab("attention")
    moved = made.call("show_window", long["kept"], 101, 51)
    assert (moved["kept"].view.query, moved["kept"].view.key) == (100, 50)
    assert moved["kept"].token == 100 + limits.WINDOW_TOKENS - 1
    assert "query" not in moved and "key" not in moved  # a slider has perhaps moved on while the answer was on its way
    clicked = made.call("show_window_there", long["kept"], click=[32, 16])
    assert clicked["kept"].view.query == 1016 - 256 and clicked["kept"].view.key == 516 - 256
    corner = made.call("show_window_there", long["kept"], click=[0, 63])
    assert (corner["kept"].view.query, corner["kept"].view.key) == (0, 2000 - 512)
    assert asked(run) == ["look"] * 3


def test_a_token_chosen_in_a_window_is_counted_from_the_windows_first(tab, long):
    made = tab("attention")
    kept = made.call("show_window", long["kept"], 101, 101)["kept"]
    assert made.call("show_token", kept, click=3)["kept"].token == 103
    assert made.call("show_token", kept, click=[7, 1])["kept"].token == 107


def test_a_text_too_long_for_rollout_is_looked_into_head_by_head(tab):
    shown = tab("attention").call("show_attention", LONG, "english", True, ROLLOUT, False)
    assert shown["kept"].view.rolled is False and shown["ways"] == HEAD


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoSuchPart(part="head", found=9, limit=3), "no head number 9"),
        (TextTooLong(field="text", found=2_000, limit=1_024, unit="tokens"), "1,024"),
        (AttentionUnreadable(name="sphinx"), "sphinx"),
        (HiddenEverything(), "Everything is covered"),
    ],
)
@pytest.mark.parametrize("task", ["look", "attend", "lens"])
def test_a_refusal_is_one_sentence_and_nothing_shown_is_touched(made, kept, run, task, error, said):
    run.answers[task] = error
    handler, inputs = {
        "look": ("show_view", (kept, True, ROLLOUT, False)), "attend": ("show_covered", (kept,)),
        "lens": ("show_lens", (kept,)),
    }[task]  # fmt: skip
    with pytest.raises(gr.Error, match=said):
        made.call(handler, *inputs)


EVENTS = [
    ("show_view", (True, HEAD, False), None), ("show_head", (), [0, 0]), ("show_habit", ("0.1",), None),
    ("show_token", (), 0), ("show_window", (1, 1), None), ("show_window_there", (), [0, 0]), ("show_silenced", (), None),
    ("show_covered", (), None), ("show_lens", (), None), ("show_cell", (), [0, 0]), ("show_table", (), None),
]  # fmt: skip


@pytest.mark.parametrize(("handler", "inputs", "click"), EVENTS)
def test_before_there_is_a_text_every_event_says_what_can_be_done(tab, run, handler, inputs, click):
    shown = tab("attention").call(handler, None, *inputs, click=click)
    assert shown == {"say": EN.say("attention.empty")}
    assert run.calls == []


def test_a_sentence_says_where_a_token_looks(made, kept):
    def said(target: int, share: float, **view: bool) -> str:
        row = np.full((TOKENS, 1), target, np.int32), np.full((TOKENS, 1), share, np.float32)
        gaze = Gaze(replace(kept.view, **view), np.zeros((TOKENS, TOKENS), np.uint8), 1.0, *row)
        return attention.tell_look(replace(kept, token=1), gaze, EN)

    head, all_layers = EN.say("attention.at_head", layer=1, head=2), EN.say("attention.at_all")
    facts = {"token": "it", "target": "today", "share": "50%"}
    assert said(5, 0.5) == EN.say("attention.looks", where=head, **facts)
    assert said(5, 0.5, rolled=True) == EN.say("attention.draws", where=all_layers, **facts)
    assert EN.say("attention.weighed") in said(5, 0.5, carried=True)
    assert said(1, 0.5) == EN.say("attention.itself", where=head, token="it", share="50%")
    assert said(5, 0.001) == EN.say("attention.nowhere", where=head, token="it")


def test_a_token_that_stands_there_twice_is_quoted_with_its_number():
    assert attention.named((" the", " fox", " The", "the", "\n"), 0) == "1 the"
    assert attention.named((" the", " fox", " The", "the", "\n"), 1) == "fox"
    assert attention.named((" the", " fox", " The", "the", "\n"), 4) == "⏎"


def test_the_table_holds_the_window_with_numbered_tokens_and_true_shares(made, kept, run):
    path = made.call("show_table", kept)["save"].value["path"]
    with open(path, encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["", "1 [CLS]", "2 it", "3 was", "4 too", "5 [MASK]", "6 today", "7 [SEP]"]
    assert [row[0] for row in rows] == header[1:]
    shares = np.array([row[1:] for row in rows], float)
    assert shares[3] == pytest.approx([0.2, 0, 0.8, 0, 0, 0, 0], abs=0.002)
    assert asked(run) == ["look"]


def test_another_view_takes_the_old_table_away(made, kept):
    assert made.call("show_head", kept, click=[0, 0])["save"].interactive is False


def big(heads: tuple[int, int], tokens: int, seed: int = 0) -> tuple[Attention, Gaze]:
    """Return the records of a large model and a full window of words as long as words are, with nothing compressible."""
    chance = np.random.default_rng(seed)
    side = limits.MONTAGE_SIDE
    names = tuple(f" {'abcdefghij'[: 2 + number % 7]}" for number in range(tokens))
    kinds = ("previous", "sink", "same", "even")
    habits = tuple(Habit(*at, kinds[at[1] % 4], 0.5) for at in np.ndindex(*heads) if at[1] % 3 == 0)
    said = Ranking(tuple(f"word{at}" for at in range(10)), (0.05,) * 10)
    montage = chance.integers(0, 256, (*heads, side, side), np.uint8)
    found = Attention(names, montage, habits, (0, 0), 0, 0.3, said, tokens - 1)
    window = min(tokens, limits.WINDOW_TOKENS)
    weights = chance.integers(0, 256, (window, window), np.uint8)
    targets = chance.integers(0, tokens, (window, limits.LOOKED_AT)).astype(np.int32)
    shares = np.full((window, limits.LOOKED_AT), 0.12, np.float32)
    whole = chance.integers(0, 256, (limits.WHOLE_SIDE,) * 2, np.uint8) if tokens > window else None
    return found, Gaze(View(query=tokens - window, key=tokens - window), weights, 1.0, targets, shares, whole)


def sent(made, name: str, *inputs) -> int:
    """Return how many bytes an event sends to the browser, through Gradio."""
    event = made.events[name]
    state = SessionState(made.blocks)
    inputs = [value for value in inputs]
    for part, value in zip(event.inputs, inputs, strict=True):
        if isinstance(part, gr.State):
            state[part._id] = value
    inputs = [None if isinstance(part, gr.State) else value for part, value in zip(event.inputs, inputs, strict=True)]
    answered = asyncio.run(made.blocks.process_api(event, inputs, state=state))
    return len(json.dumps(answered["data"], separators=(",", ":"), default=str).encode())


@pytest.mark.parametrize(("heads", "tokens"), [((6, 12), 512), ((12, 12), 512), ((28, 16), 512), ((28, 16), 4_096)])
def test_the_largest_view_is_less_than_half_a_megabyte(tab, run, heads, tokens):
    made = tab("attention")
    found, gaze = big(heads, tokens)
    run.answers |= {"attend": found, "look": gaze}
    whole = sent(made, "show_attention", "text", "english", True, HEAD, False)
    assert 350_000 < whole < A_VIEW
    seen = made.call("show_attention", "text", "english", True, HEAD, False)["kept"]
    assert sent(made, "show_view", seen, True, HEAD, False) < whole


def test_choosing_a_token_sends_next_to_nothing(tab, run):
    made = tab("attention")
    found, gaze = big((12, 12), 512)
    run.answers |= {"attend": found, "look": gaze}
    seen = made.call("show_attention", "text", "english", True, HEAD, False)["kept"]
    shown = made.call("show_token", seen, click=7)
    strip = TokenStrip(layout="words", lines=True).postprocess(shown["strip"])
    marks = Chart().postprocess(shown["chart"])
    assert len(strip) + len(marks) + len(json.dumps(shown["data"])) < 90_000


def test_what_the_page_remembers_is_small(tab, run):
    made = tab("attention")
    found, gaze = big((28, 16), 4_096)
    run.answers |= {"attend": found, "look": gaze}
    seen = made.call("show_attention", "text", "english", True, HEAD, False)["kept"]
    assert not any(isinstance(part, Gaze) for part in vars(seen).values())
    assert seen.found.montage.nbytes < 120_000
