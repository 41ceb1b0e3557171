"""Write: a story streams, branches, is kept, and is looked at without being written again."""

import json
import time
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest

from core import limits
from core.errors import HiddenEverything, NothingTyped
from core.results import Beam, Beams, Ranking, Settings, Step, WhatIf
from demos import generation, storytelling
from demos.stories import Desk, Story
from demos.words import LANGUAGES, Words
from tests.demos.conftest import VOCABULARY, reasons, step

EN = Words("en")
PROMPT = "Once upon"
KNOBS = (0.8, 0, 1, 0, 1)  # temperature, top-k, top-p, min-p, repetition
SETTINGS = (0.8, 0, 1, 10, 1)  # temperature, top-k, top-p, length, seed
WAYS = ("show_story", "show_branch", "show_way")  # all that write


@pytest.fixture
def made(tab, run):
    """Return the tab, with functions that write a story or a branch and return all that was yielded."""
    found = tab("generation")
    found.write = lambda *settings: list(found.stream("show_story", PROMPT, "storyteller", *(settings or SETTINGS)))
    found.branch = lambda desk, place, rival, length=10, knobs=KNOBS, parent=1: list(
        found.stream("show_branch", desk, place if place is None else (parent, place), *knobs, length, click=rival)
    )
    found.rivals = lambda desk, click, before=None, knobs=KNOBS: found.call(
        "show_rivals", desk, before, *knobs, click=click
    )
    return found


@pytest.fixture
def desk(made, run) -> Desk:
    """Return what the page remembers after a story of ten tokens; nobody has been asked since."""
    found = made.write()[-1]["kept"]
    run.calls.clear()
    return found


@pytest.fixture
def forked(made, desk, run) -> Desk:
    """Return the same after a branch that leaves the story at its third token."""
    found = last(made.branch(desk, 2, 4), "kept")
    run.calls.clear()
    return found


def last(parts: list[dict], name: str) -> object:
    """Return what a part of the page was filled with last."""
    return [part[name] for part in parts if name in part][-1]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_branch_before_the_fork_of_a_branch_leaves_the_story_that_one_came_from(made, forked, at):
    found = last(made.branch(forked, at, 5, parent=2), "kept")
    assert [(story.id, story.parent, story.left_at) for story in found.stories] == [(1, None, 0), (2, 1, 2), (3, 1, at)]
    assert found.story.tokens(at) == forked.find(1).tokens(at)


FAMILY, FLAGS = ["👩", "\u200d", "👧", " and"], ["🇫", "🇷", "🇩", "🇪", "!"]


@pytest.mark.parametrize(
    ("texts", "shown"),
    [(FAMILY, ["👩\u200d👧", " and"]), (FLAGS, ["🇫🇷", "🇩🇪", "!"]), (["e", "\u0301", "t"], ["e\u0301", "t"])],
)
def test_parts_of_a_family_a_flag_or_an_accented_letter_are_shown_together_streaming_too(made, run, texts, shown):
    steps = [replace(step(at % 7), text=text) for at, text in enumerate(texts)]
    story = Story(PROMPT, "storyteller", Settings(), tuple(steps))
    assert [token.text for token in storytelling.strip_of(story, (), EN)[1:]] == shown
    run.answers["generate"] = lambda *inputs: iter(steps)
    told = [made.part("strip").postprocess(part["strip"]) for part in made.write() if "strip" in part]
    assert all(piece in told[-2] for piece in shown)  # the last one of the stream, before all is drawn once more
    assert told[-2].count("gb-token") == told[-1].count("gb-token") == 1 + len(shown)


def test_a_branch_behind_the_fork_of_a_branch_leaves_that_branch(made, forked):
    found = last(made.branch(forked, 3, 5, parent=2), "kept")
    assert (found.story.parent, found.story.left_at) == (2, 3)


def tokens_of(story: Story) -> list[int]:
    """Return the tokens of a story."""
    return [step.token for step in story.steps]


def choices(menu: gr.Dropdown) -> list[tuple[str, int]]:
    """Return what a menu offers."""
    return [tuple(choice) for choice in menu.choices]


# 1. Writing


def test_a_story_grows_by_extension_one_token_at_a_time(made):
    told = [part for part in made.write() if "kept" in part]
    strip = made.part("strip")
    sent = [strip.postprocess(part["strip"]) for part in told]
    assert all(longer.startswith(shorter) for shorter, longer in zip(sent, sent[1:], strict=False))
    assert [len(part["kept"].story.steps) for part in told] == [*range(1, 11), 10]
    assert sent[5].count("<span") == 7  # the prompt, and the tokens so far


@pytest.mark.parametrize("language", LANGUAGES)
def test_bytes_of_a_character_wait_for_the_one_that_makes_it_whole(tab, run, language):
    made = tab("generation", language)
    texts = ("", "", "你", "", "", "好", " ", "🎉", "")

    def writes(*_):
        yield from (replace(step(0), text=text, probability=0.5) for text in texts)

    run.answers["generate"] = writes
    told = list(made.stream("show_story", PROMPT, "storyteller", *SETTINGS))
    strip = made.part("strip")
    for part in told:
        assert "∅" not in strip.postprocess(part.get("strip")) and "\ufffd" not in strip.postprocess(part.get("strip"))
    tokens = told[-1]["strip"][1:]
    assert [token.text for token in tokens] == ["你", "好", " ", "🎉", "…"]
    assert tokens[0].tint == 0.125 and "3" in tokens[0].note  # three tokens of one half each


def test_each_token_of_a_character_is_reached_by_clicking_it_again(made, run):
    run.answers["generate"] = lambda *_: (replace(step(at), text=text) for at, text in enumerate(("", "", "你", "好")))
    desk = made.write()[-1]["kept"]
    places, before = [], None
    for _ in range(4):
        before = made.rivals(desk, 1, before)["token"]
        places.append(before)
    assert places == [(1, 0), (1, 1), (1, 2), (1, 0)]
    assert made.rivals(desk, 2, before)["token"] == (1, 3)


def test_a_story_is_written_with_what_the_page_says(made, run):
    made.write(1.5, 20, 0.9, 12, 7, 0.05, 1.2, "the end, \nfin，完")
    settings = Settings(1.5, 20, 0.9, 0.05, 1.2, 12, 7, ("the end", "fin", "完"))
    assert run.calls == [("generate", "storyteller", PROMPT, settings, ())]


def test_what_was_asked_before_there_was_more_to_set_is_asked_still(made, run):
    made.write(1.5, 20, 0.9, 12, 7)
    assert run.calls[0][3] == Settings(temperature=1.5, top_k=20, top_p=0.9, length=12, seed=7)


def test_the_prompt_is_the_strips_first_token_and_the_story_follows(made):
    strip = made.write()[-1]["strip"]
    assert strip[0].text == PROMPT and strip[0].tint is None and strip[0].note == EN.say("generation.yours")
    assert [token.tint for token in strip[1:4]] == [0.4, 0.25, 0.15]


def test_at_its_end_a_story_is_told_and_all_its_numbers_can_be_taken_away(made):
    told = made.write()[-1]
    assert "10" in told["say"]
    assert told["data"]["text"] == PROMPT + "".join(VOCABULARY[at % 7] for at in range(10))
    (story,) = told["data"]["stories"]
    assert (story["id"], story["parent"], story["begins_at"]) == (1, None, 0)
    assert story["settings"]["min_p"] == 0 and len(story["steps"]) == 10
    first = story["steps"][0]
    assert (first["probability"], first["surprise"]) == (0.4, pytest.approx(1.32193, abs=1e-5))
    assert sum(first["alternatives"]["probabilities"]) == pytest.approx(1)
    json.dumps(told["data"], allow_nan=False)


def test_a_model_that_ends_at_once_is_told_as_such(made, run):
    run.answers["generate"] = lambda *_: iter(())
    told = made.write()[-1]
    assert told["say"] == EN.say("generation.ended") and len(told["strip"]) == 1


def test_how_sure_a_story_was_is_told_as_perplexity_and_as_bits():
    steps = tuple(Step("a", 0, chance, Ranking(("a",), (chance,)), (0,), np.zeros(1)) for chance in (0.125, 0.5))
    said = storytelling.tell(Story(PROMPT, "storyteller", Settings(), steps), EN)
    assert "4.0 equally likely" in said and "2.0 bits" in said and EN.percent(0.125) in said


def test_a_story_of_line_breaks_and_markup_is_told_and_shown(made, run):
    def writes(*_):
        for text in ("\n", " ", " <b>", "\x00"):
            yield Step(text, 0, 0.5, Ranking((text,), (0.5,)), (0,), np.log(np.float32([0.5])), (0,), 2)

    run.answers["generate"] = writes
    told = made.write()[-1]
    html = made.part("strip").postprocess(told["strip"])
    assert html.count("<span") == 5 and "<b>" not in html
    assert told["say"]


def test_half_a_character_in_the_prompt_can_be_sent_back(made):
    told = list(made.stream("show_story", "Once \ud83d upon", "storyteller", *SETTINGS))
    assert told[-1]["data"]["prompt"] == "Once \ufffd upon"


def test_a_token_costs_the_page_as_little_at_the_end_of_a_long_story_as_at_its_beginning(made):
    took = []
    for _ in range(3):
        stream = made.stream("show_story", PROMPT, "storyteller", 0.8, 0, 1, limits.STORY_TOKENS, 1)
        times = [time.perf_counter()]
        for _ in stream:
            times.append(time.perf_counter())
        steps = np.diff(times)[2:-1]
        took.append((np.median(steps[:100]), np.median(steps[-100:])))
    first, end = np.min(took, 0)
    assert end < 0.003 and end < 4 * first + 0.001


# 2. What is refused, and Stop


@pytest.mark.parametrize("written", [1, 4])
def test_stop_keeps_what_was_written_and_nobody_writes_on(made, run, written):
    stream = made.stream("show_story", PROMPT, "storyteller", *SETTINGS)
    for _ in range(written + 1):
        part = next(stream)
    stream.close()
    assert run.stopped == [written - 1]
    stopped = made.call("show_stopped", part["kept"])
    assert str(written) in stopped["say"] and len(stopped["data"]["stories"][0]["steps"]) == written
    strip = made.part("strip")
    assert strip.postprocess(stopped["strip"]) == strip.postprocess(part["strip"])
    assert "rivals" in made.rivals(part["kept"], written)


def test_stop_before_the_first_token_takes_nothing_away(made, run):
    stream = made.stream("show_story", PROMPT, "storyteller", *SETTINGS)
    assert set(next(stream)) == {"say"}
    stream.close()
    assert made.call("show_stopped", Desk()) == {"say": EN.say("generation.refused")}


def test_a_stopped_branch_keeps_the_tree_and_can_be_taken_away(made, desk):
    stream = made.stream("show_branch", desk, (1, 2), *KNOBS, 10, click=4)
    parts = [next(stream) for _ in range(3)]
    stream.close()
    stopped = made.call("show_stopped", parts[-1]["kept"])
    assert [story["id"] for story in stopped["data"]["stories"]] == [1, 2]
    assert [name for name, _ in choices(stopped["other"])] == [EN.say("generation.story_number", number=1)]
    assert stopped["tree"]


def test_only_one_story_is_written_at_a_time_and_stop_ends_it(made):
    ids = {name: made.events[name]._id for name in WAYS}
    stops = {}
    for event in made.blocks.fns.values():
        for target, kind in event.targets:
            stops.setdefault((target, kind), set()).update(event.cancels)
    (stop,) = (part for part in made.blocks.blocks.values() if getattr(part, "variant", None) == "stop")
    for part, kind in ((stop, "click"), (made.part("tree"), "select")):
        assert stops[part._id, kind] == set(ids.values())
    for name in WAYS:
        (event,) = (event for event in made.blocks.fns.values() if event._id == ids[name])
        for target in event.targets:
            assert set(ids.values()) - {ids[name]} <= stops[target]


@pytest.mark.parametrize(
    "settings",
    [
        (float("nan"), 0, 1, 10, 1), (float("inf"), 0, 1, 10, 1), ("hot", 0, 1, 10, 1), (None, 0, 1, 10, 1),
        (0.8, 1.5, 1, 10, 1), (0.8, 0, 0, 10, 1), (0.8, 0, 1, 10**9, 1), (0.8, 0, 1, 10, -1), (0.8, 0, [1], 10, 1),
        (*SETTINGS, 1.5), (*SETTINGS, float("nan")), (*SETTINGS, 0, 0.5), (*SETTINGS, 0, True),
        (*SETTINGS, 0, 1, "x" * 41), (*SETTINGS, 0, 1, "a,b,c,d,e,f,g,h,i"),
    ],
)  # fmt: skip
def test_numbers_the_sliders_do_not_offer_are_refused_before_anyone_is_asked(made, run, settings):
    with pytest.raises(gr.Error) as error:
        made.write(*settings)
    assert "has to be within" in error.value.message
    assert run.calls == []


@pytest.mark.parametrize("typed", [None, 3, ["a"], "", " , \n"])
def test_what_is_no_stop_word_stops_nothing(typed):
    assert generation.stop_words(typed) == ()


@pytest.mark.parametrize("at", [0, 3])
def test_a_refusal_reaches_the_visitor_at_any_step_and_keeps_what_came_before(made, run, at):
    def fails(prompt, settings, forced):
        yield from list(run.story(prompt, settings, forced))[:at]
        raise NothingTyped(field="prompt")

    run.answers["generate"] = fails
    seen = []
    with pytest.raises(gr.Error, match="Type some text first"):
        for part in made.stream("show_story", PROMPT, "storyteller", *SETTINGS):
            seen.append(part)
    if at == 0:
        assert [set(part) for part in seen] == [{"say"}] * 2  # nothing on the page is taken away
        assert seen[-1]["say"] == EN.say("generation.refused")
    else:
        assert len(seen[-1]["kept"].story.steps) == at == len(seen[-1]["data"]["stories"][0]["steps"])
        assert str(at) in seen[-1]["say"]


def test_a_refused_branch_leaves_the_tree_as_it_was(made, desk, run):
    run.answers["generate"] = NothingTyped(field="prompt")
    with pytest.raises(gr.Error):
        for part in made.stream("show_branch", desk, (1, 2), *KNOBS, 10, click=4):
            assert "kept" not in part and "tree" not in part


# 3. What a token could have been


def test_clicking_a_token_shows_its_rivals_without_asking_and_then_what_it_hangs_on(made, desk, run):
    first = made.rivals(desk, 3)  # the third token after the prompt
    assert run.calls == [] and first["token"] == (1, 2)
    assert list(first["rivals"].data[0].x)[:3] == [0.4, 0.25, 0.15]
    shown = made.call("show_reasons", desk, (1, 2))
    assert run.calls == [("explain_step", "storyteller", PROMPT, (0, 1, 2))]
    assert [token.text for token in shown["why_strip"]] == ["Once", "upon", "fox", "ran"]
    assert max(token.tint for token in shown["why_strip"]) == 1
    assert "“Once”" in shown["why_say"] and "−0.40" in shown["why_say"]
    assert len(shown["measures"].data) == 3


def test_what_a_token_hangs_on_is_asked_whenever_another_is_looked_at(made):
    assert made.events["show_reasons"].targets == [(made.part("token")._id, "change")]


@pytest.mark.parametrize("chosen", [None, (2, 0), (1, 10)])
def test_where_no_token_is_looked_at_nothing_is_asked(made, desk, run, chosen):
    assert made.call("show_reasons", desk, chosen)["looked"] is None
    assert run.calls == []


def test_covering_a_word_before_a_token_shows_what_would_stand_there_instead(made, desk, run):
    looked = made.call("show_reasons", desk, (1, 2))["looked"]
    shown = made.call("show_covered", looked, click=1)
    what_if = WhatIf(hidden_tokens=frozenset({1}))
    assert run.calls[1:] == [("explain_step", "storyteller", PROMPT, (0, 1, 2), what_if, False)]
    assert [token.covered for token in shown["why_strip"]] == [False, True, False, False]
    assert [list(row.x) for row in shown["both_moved"].data] == [[0.6, 0.3], [0.3, 0.6]]
    assert "“upon”" in shown["moved"] and "“owl”" in shown["moved"]
    shown = made.call("show_covered", shown["looked"], click=3)
    assert run.calls[-1][-2:] == (WhatIf(hidden_tokens=frozenset({1, 3})), False)
    for word in (1, 3):
        shown = made.call("show_covered", shown["looked"], click=word)
    assert not any(token.covered for token in shown["why_strip"])
    assert shown["moved"] == EN.say("why.whatif") and shown["both_moved"] is None


def test_covering_everything_before_a_token_is_told_and_the_page_goes_on(made, desk, run):
    looked = made.call("show_reasons", desk, (1, 2))["looked"]
    run.answers["explain_step"] = HiddenEverything()
    with pytest.raises(gr.Error, match="Uncover something"):
        made.call("show_covered", looked, click=0)
    run.answers["explain_step"] = reasons
    assert made.call("show_covered", looked, click=0)["both_moved"]


def test_covering_before_a_token_is_looked_at_says_what_can_be_done(made, run):
    assert made.call("show_covered", None, click=0) == {"moved": EN.say("generation.click")}
    assert run.calls == []


@pytest.mark.parametrize("click", [0, 11, 10**9, -1])
def test_clicking_the_prompt_or_beyond_the_end_asks_nobody(made, desk, run, click):
    assert made.rivals(desk, click) == {"rivals_say": EN.say("generation.click")}
    assert made.rivals(Desk(), click) == {"rivals_say": EN.say("generation.click")}
    assert run.calls == []


def test_the_first_choice_and_another_are_told_apart_with_their_surprise(made, desk):
    first, other = (made.rivals(desk, click)["rivals_say"] for click in (1, 2))
    facts = {"word": "' fox'", "probability": EN.percent(0.4), "bits": "1.3"}
    assert first == EN.say("generation.first_choice", **facts)
    assert "' ran'" in other and "' fox'" in other and EN.percent(0.25) in other and "2.0 bits" in other


def test_the_chosen_token_is_marked_among_the_bars(made, desk):
    for place in range(7):
        names = made.call("show_chances", desk, (1, place), *KNOBS)["rivals"].layout.yaxis.ticktext
        assert [at for at, name in enumerate(names) if "▸" in name] == [place]


def test_sliders_redraw_the_chances_without_asking_and_say_what_each_shut_out(made, desk, run):
    usual, greedy, narrow, both = (
        made.call("show_chances", desk, (1, 2), *knobs)
        for knobs in ((1, 0, 1, 0, 1), (0, 0, 1, 0, 1), (1, 2, 1, 0, 1), (1, 5, 0.7, 0, 1))
    )
    assert run.calls == []
    own = [list(shown["rivals"].data[0].x) for shown in (usual, greedy, narrow)]
    assert own[0] == own[1] == own[2]  # the model's own probabilities stay
    assert list(usual["rivals"].data[1].x)[:7] == pytest.approx([0.4, 0.25, 0.15, 0.1, 0.06, 0.03, 0.01], abs=1e-6)
    assert list(greedy["rivals"].data[1].x) == [1, 0, 0, 0, 0, 0, 0, 0]
    assert list(narrow["rivals"].data[1].x)[:3] == pytest.approx([0.4 / 0.65, 0.25 / 0.65, 0], abs=1e-6)
    assert list(narrow["rivals"].data[1].text)[2:7] == ["✕ top-k"] * 5
    assert "shut out 5" in narrow["rivals_say"] and "top-k 5" in narrow["rivals_say"]
    assert list(both["rivals"].data[1].text)[3:7] == ["✕ top-p", "✕ top-p", "✕ top-k", "✕ top-k"]
    assert "shut out 4" in both["rivals_say"] and "top-p 2" in both["rivals_say"] and "top-k 2" in both["rivals_say"]
    assert "shut out" not in usual["rivals_say"]


def test_min_p_and_the_repetition_penalty_have_their_say(made, desk):
    stories = (replace(desk.story, steps=tuple(replace(one, repeats=(0,)) for one in desk.story.steps)),)
    repeating = Desk(stories)
    least = made.call("show_chances", repeating, (1, 2), 1, 0, 1, 0.2, 1)
    assert "min-p 3" in least["rivals_say"]  # 0.06, 0.03 and 0.01 are less than a fifth of 0.4
    usual, punished = (made.call("show_chances", repeating, (1, 2), 1, 0, 1, 0, much)["rivals"] for much in (1, 1.5))
    assert punished.data[1].x[0] < usual.data[1].x[0] and punished.data[1].x[1] > usual.data[1].x[1]


def test_a_bolder_setting_draws_rarer_words_more_often(made, desk):
    rarest = [made.call("show_chances", desk, (1, 2), heat, 0, 1, 0, 1)["rivals"].data[1].x[5] for heat in (0.2, 1, 2)]
    assert rarest == sorted(rarest) and rarest[0] < rarest[2]


def test_a_chosen_token_that_is_not_kept_has_its_share_of_all_others_until_they_are_shut_out():
    kept = np.log(np.float32([0.5, 0.25]))
    far = Step("owl", 90, 0.001, Ranking(("a", "b", "owl"), (0.5, 0.25, 0.001)), (1, 2, 90), kept, (0, 1, 60), 102)
    chances, shut_out = generation.chances_of(far, Settings(temperature=1.0))
    assert chances == pytest.approx([0.5, 0.25, 0.0025]) and shut_out == ["", "", ""]
    chances, shut_out = generation.chances_of(far, Settings(temperature=1.0, top_k=2))
    assert chances == pytest.approx([2 / 3, 1 / 3, 0]) and shut_out == ["", "", "top_k"]


def test_a_slider_is_answered_in_well_under_a_tenth_of_a_second(made):
    chances = np.random.default_rng(1).dirichlet(np.full(1_024, 0.1))[:1_024]
    falling = np.sort(chances)[::-1]
    names = tuple(f"word{at}" for at in range(10))
    big = Step(
        "word", 0, float(falling[0]), Ranking(names, tuple(map(float, falling[:10]))), tuple(range(10)),
        np.log(np.maximum(falling, 1e-30)).astype(np.float32), tuple(range(10)), 150_000, 3.0, tuple(range(300)),
    )  # fmt: skip
    desk = Desk((Story(PROMPT, "storyteller", Settings(), (big,)),))
    took = []
    for _ in range(5):
        began = time.perf_counter()
        made.part("rivals").postprocess(made.call("show_chances", desk, (1, 0), 0.7, 40, 0.9, 0.02, 1.2)["rivals"])
        took.append(time.perf_counter() - began)
    assert min(took) < 0.1


def test_sliders_moved_before_there_is_a_story_say_what_can_be_done(made, run):
    for desk in (Desk(), Desk((Story(PROMPT, "storyteller", Settings()),))):
        for place in (None, (1, 0)):
            assert made.call("show_chances", desk, place, *KNOBS)["rivals_say"] == EN.say("generation.click")
            assert made.call("show_draws", desk, place, *KNOBS, 1) == {"draws_say": EN.say("generation.click")}
    assert run.calls == []


def test_sliders_out_of_range_are_refused(made, desk):
    with pytest.raises(gr.Error, match="has to be within"):
        made.call("show_chances", desk, (1, 2), float("nan"), 0, 1, 0, 1)
    with pytest.raises(gr.Error, match="has to be within"):
        made.call("show_draws", desk, (1, 2), *KNOBS, -1)


def test_a_thousand_draws_come_as_the_sliders_let_them_and_the_same_seed_draws_the_same(made, desk, run):
    once, again, other = (made.call("show_draws", desk, (1, 2), 1, 5, 1, 0, 1, seed) for seed in (1, 1, 2))
    assert run.calls == []
    came, expected = once["draws"].data
    assert sum(came.x) == pytest.approx(1) and len(came.x) == 5  # what is shut out has no bar
    assert list(came.x) == pytest.approx(list(expected.x), abs=0.08)
    assert once == again and list(other["draws"].data[0].x) != list(came.x)
    assert came.text[0] in once["draws_say"] and "1,000" in once["draws_say"] and "5 different" in once["draws_say"]


def test_greedy_draws_are_told_as_the_one_thing_they_are(made, desk):
    shown = made.call("show_draws", desk, (1, 2), 0, 0, 1, 0, 1, 1)
    assert shown["draws_say"] == EN.say("generation.drew_one", times="1,000", word="' fox'", count="1,000")


def test_draws_go_when_a_slider_moves_or_another_token_is_clicked(made, desk):
    for shown in (made.call("show_chances", desk, (1, 2), *KNOBS), made.rivals(desk, 3)):
        assert shown["draws"] is None and shown["draws_say"] == ""


# 4. Branches


@pytest.mark.parametrize("rival", range(7))
def test_clicking_a_rival_forces_what_came_before_and_then_that_rival(made, desk, run, rival):
    told = made.branch(desk, 2, rival)
    (_, model, prompt, _, forced), *_ = run.calls
    assert (model, prompt) == ("storyteller", PROMPT)
    assert forced == (*tokens_of(desk.story)[:2], desk.story.steps[2].rivals[rival])
    assert tokens_of(last(told, "kept").story)[:3] == list(forced)


def test_a_branch_goes_on_with_the_sliders_as_they_are_and_the_seed_and_stop_words_of_its_story(made, run):
    desk = made.write(0.8, 0, 1, 10, 7, 0, 1, "end")[-1]["kept"]
    made.branch(desk, 2, 4, 20, (1.1, 9, 0.9, 0.1, 1.3))
    assert run.calls[-1][3] == Settings(1.1, 9, 0.9, 0.1, 1.3, 20, 7, ("end",))


def test_a_branch_is_drawn_from_its_fork_and_shares_the_story_it_left(made, desk):
    told = made.branch(desk, 2, 4)
    after = last(told, "kept")
    assert [story.id for story in after.stories] == [1, 2] and after.shown == 2
    assert after.find(1).steps == desk.story.steps
    assert (after.story.parent, after.story.left_at) == (1, 2)
    assert all(mine is theirs for mine, theirs in zip(after.story.steps[:2], desk.story.steps[:2], strict=True))
    assert [len(part["kept"].story.steps) for part in told if "kept" in part] == [*range(3, 11), 10]
    assert [at for at, token in enumerate(last(told, "strip")) if token.marked] == [3]


def test_a_branch_shows_the_rivals_of_its_own_first_token(made, desk):
    (part,) = (part for part in made.branch(desk, 2, 4) if "rivals" in part)
    assert "▸" in part["rivals"].layout.yaxis.ticktext[4]
    assert part["why_strip"] is None and part["looked"] is None  # of the token that stood there before


def test_what_a_branchs_first_token_hangs_on_is_asked_once_it_is_written(made, desk):
    told = made.branch(desk, 2, 4)
    assert [part["token"] for part in told if "token" in part] == [told[-1]["token"]] == [(2, 2)]


def test_a_branch_is_as_long_as_its_fork_at_least_and_refused_beyond_the_limit(made, desk, run):
    made.branch(desk, 9, 4, length=1)
    assert run.calls[-1][3].length == 10
    with pytest.raises(gr.Error, match="has to be within"):
        made.branch(desk, 2, 4, length=limits.STORY_TOKENS + 1)


@pytest.mark.parametrize(("place", "rival"), [(None, 0), (2, 7), (99, 0)])
def test_clicking_where_there_is_no_rival_asks_nobody(made, desk, run, place, rival):
    assert made.branch(desk, place, rival) == []
    assert made.branch(Desk(), place, 0) == []
    assert run.calls == []


def test_the_tree_names_each_story_by_its_fork_once_there_are_two(made, forked):
    assert made.write()[-1]["tree"] is None
    drawn = storytelling.draw_stories(forked, EN)
    assert sorted(drawn.data[0].customdata) == [1, 2]
    assert list(drawn.data[0].text) == ["story 1", "2 “⏎”"]
    marked_up = storytelling.draw_stories(last(made.branch(forked, 2, 2, parent=2), "kept"), EN)
    assert any("&lt;b>home" in name for name in marked_up.data[0].text)


def test_going_to_a_story_shows_it_without_asking_and_forgets_the_token_looked_at(made, desk, forked, run):
    back = made.call("show_other", forked, click=0, value={"customdata": 1})
    assert back["kept"].shown == 1 and back["token"] is None and back["rivals"] is None
    assert [token.text for token in back["strip"][1:7]] == [step.text for step in desk.story.steps][:6]
    assert back["data"]["shown"] == 1 and len(back["data"]["stories"]) == 2
    assert [id for _, id in choices(back["other"])] == [2]
    assert run.calls == []


@pytest.mark.parametrize("value", [None, {}, {"customdata": None}, {"customdata": 9}, {"customdata": "1"}])
def test_a_story_that_is_not_there_cannot_be_gone_to(made, desk, value):
    assert made.call("show_other", desk, click=0, value=value) == {"kept": desk}


def test_stories_are_bounded_the_oldest_goes_first_and_no_number_is_given_twice(made, desk):
    for number in range(limits.BRANCHES + 3):
        desk = last(made.branch(desk, 2 + number % 3, number % 7, parent=desk.shown), "kept")
        assert [story.id for story in desk.stories] == [*range(1, number + 3)][-limits.BRANCHES :]
        assert desk.shown == desk.stories[-1].id
        for story in desk.stories:
            if parent := desk.find(story.parent):
                assert tokens_of(story)[: story.left_at] == tokens_of(parent)[: story.left_at]
    assert desk.find(desk.stories[0].parent) is None
    data = desk.data()
    assert data["stories"][0]["begins_at"] == 0  # what its parent cannot tell any more, it tells itself
    for story in data["stories"]:
        assert len(story["steps"]) == 10 - story["begins_at"]
    assert storytelling.draw_stories(desk, EN)


def test_a_new_story_forgets_the_branches_and_all_that_was_looked_at(made, forked):
    assert len(made.write()[-1]["kept"].stories) == 1
    forgot = made.call("show_nothing")
    assert forgot["rivals"] is None and forgot["looked"] is None and forgot["ahead"] is None and forgot["token"] is None
    assert forgot["other"].visible is False


# 5. Two stories side by side


def test_two_stories_are_compared_by_what_they_share_where_they_part_and_which_is_likelier(made, forked):
    shown = made.call("show_comparison", forked, 1)
    both = [shown["one_strip"], shown["other_strip"]]
    assert [[at for at, token in enumerate(strip) if token.marked] for strip in both] == [[3], [3]]
    assert "first 2 tokens" in shown["compared"] and "“\n”" not in shown["compared"]
    one, other = forked.find(2), forked.find(1)
    likelier = min((one, other), key=lambda story: story.surprise)
    assert EN.say("generation.likelier", number=likelier.id) in shown["compared"]
    for said, story in ((shown["one_say"], one), (shown["other_say"], other)):
        assert f"{story.surprise:.1f} bits" in said and EN.percent(story.usual) in said


@pytest.mark.parametrize("id", [None, 2, 9, "1"])
def test_a_story_is_not_compared_with_itself_or_with_none(made, forked, id):
    shown = made.call("show_comparison", forked, id)
    assert shown["compared"] == "" and shown["one_strip"] is None


def test_two_stories_of_which_one_ends_where_they_part_are_told(made):
    steps = tuple(step(at) for at in range(5))
    one, other = (Story(PROMPT, "storyteller", Settings(), steps[:count], id) for id, count in ((1, 5), (2, 3)))
    desk = Desk((one, other))
    assert (
        EN.say("generation.part_end", count=3, one="", other="").split("{")[0]
        in made.call("show_comparison", desk, 2)["compared"]
    )


# 6. Beams


def test_looking_ahead_begins_at_the_clicked_token_or_where_the_story_ends(made, desk, run):
    for place, count in (((1, 4), 4), ((1, 0), 0), (None, 10), ((9, 9), 10)):
        shown = made.call("show_beams", desk, place, 3, 5)
        assert run.calls[-1] == ("beams", "storyteller", PROMPT, tuple(tokens_of(desk.story)[:count]), 3, 5)
        assert shown["ahead"][0] == (1, count)
        assert len(shown["beams"].data[0].x) == 10
    assert "ran ran ran ran ran" in shown["beams_say"] and "same words" in shown["beams_say"]


def test_looking_ahead_needs_a_story(made, run):
    assert made.call("show_beams", Desk(), None, 3, 5) == {"beams_say": EN.say("generation.click")}
    assert run.calls == []


def test_clicking_a_beam_goes_on_along_its_way(made, desk, run):
    memory = made.call("show_beams", desk, (1, 4), 3, 5)["ahead"]
    told = list(made.stream("show_way", desk, memory, *KNOBS, 12, click=5, value={"trace": 0}))
    assert run.calls[-1][-1] == (*tokens_of(desk.story)[:4], 1, 1, 3)
    after = last(told, "kept")
    assert (after.story.parent, after.story.left_at) == (1, 4) and tokens_of(after.story)[:7] == [0, 1, 2, 3, 1, 1, 3]
    assert [len(part["kept"].story.steps) for part in told if "kept" in part][0] == 7  # not drawn before its end
    assert last(told, "token") == (2, 4)


@pytest.mark.parametrize(("click", "value"), [(0, {"trace": 1}), (99, {"trace": 0}), (0, None)])
def test_clicking_beside_a_beam_asks_nobody(made, desk, run, click, value):
    memory = made.call("show_beams", desk, (1, 4), 3, 5)["ahead"]
    run.calls.clear()
    assert list(made.stream("show_way", desk, memory, *KNOBS, 12, click=click, value=value)) == []
    assert list(made.stream("show_way", desk, None, *KNOBS, 12, click=0, value={"trace": 0})) == []
    assert list(made.stream("show_way", Desk(), memory, *KNOBS, 12, click=0, value={"trace": 0})) == []
    assert run.calls == []


def beam(parent: int | None, depth: int, word: str, probability: float, together: float, **more) -> Beam:
    """Return a beam of one word."""
    return Beam(parent, depth, depth, word, word, probability, together, **{"kept": True, **more})


GREEDY_LOSES = Beams(
    (
        beam(None, 0, " the", 0.5, 0.5), beam(None, 0, " an", 0.4, 0.4),
        beam(1, 1, " owl", 0.9, 0.36), beam(0, 1, " fox", 0.3, 0.15), beam(0, 1, " cat", 0.2, 0.1, kept=False),
    ), 2, (2, 3),
)  # fmt: skip
GREEDY_LEFT = Beams((*GREEDY_LOSES.beams[:2], GREEDY_LOSES.beams[2]), 1, (2,))


def test_it_is_said_that_the_likeliest_way_need_not_begin_with_the_likeliest_token():
    said = storytelling.tell_beams(GREEDY_LOSES, EN)
    assert "“an owl”" in said and EN.percent(0.36) in said and "“the fox”" in said and EN.percent(0.15) in said
    left = storytelling.tell_beams(GREEDY_LEFT, EN)
    assert EN.say("generation.greedy_left", way="the", together=EN.percent(0.5)) in left


def test_a_way_that_ends_is_gone_along_up_to_its_end(made, desk, run):
    ends = Beams((beam(None, 0, " the", 0.5, 0.5), beam(0, 1, "</s>", 0.9, 0.45, ended=True)), 1, (1,))
    run.answers["beams"] = ends
    memory = made.call("show_beams", desk, (1, 4), 3, 5)["ahead"]
    list(made.stream("show_way", desk, memory, *KNOBS, 12, click=1, value={"trace": 0}))
    assert run.calls[-1][-1] == (*tokens_of(desk.story)[:4], 0)
