"""Write: a story streams, branches, is kept, and is looked at without being written again."""

from dataclasses import replace

import gradio as gr
import numpy as np
import pytest

from core import limits
from core.errors import HiddenEverything, NothingTyped
from core.results import Ranking, Settings, Step, WhatIf
from demos import generation
from demos.generation import Desk, Story
from demos.words import Words
from tests.demos.conftest import reasons

EN = Words("en")
PROMPT = "Once upon"
KNOBS = (0.8, 0, 1)  # temperature, top-k, top-p
SETTINGS = (*KNOBS, 10, 1)  # and length, seed


@pytest.fixture
def made(tab, run):
    """Return the tab, with a function that writes a story and returns all it yielded."""
    found = tab("generation")
    found.write = lambda *settings: list(found.stream("show_story", PROMPT, "storyteller", *(settings or SETTINGS)))
    found.branch = lambda desk, rival, length=10: list(found.stream("show_branch", desk, *KNOBS, length, click=rival))
    return found


@pytest.fixture
def desk(made, run) -> Desk:
    """Return what the page remembers after a story of ten tokens; nobody has been asked since."""
    found = made.write()[-1]["kept"]
    run.calls.clear()
    return found


def tokens_of(desk: Desk) -> list[int]:
    """Return the tokens of the story shown."""
    return [step.token for step in desk.story.steps]


def test_a_story_grows_by_extension_one_token_at_a_time(made):
    told = made.write()
    strip = made.part("strip")
    sent = [strip.postprocess(part["strip"]) for part in told]
    assert all(longer.startswith(shorter) for shorter, longer in zip(sent, sent[1:], strict=False))
    assert [len(part["kept"].story.steps) for part in told] == [*range(11), 10]


def test_a_story_is_written_with_what_the_page_says(made, run):
    made.write(1.5, 20, 0.9, 12, 7)
    settings = Settings(temperature=1.5, top_k=20, top_p=0.9, length=12, seed=7)
    assert run.calls == [("generate", "storyteller", PROMPT, settings, ())]


def test_the_prompt_is_the_strips_first_token_and_the_story_follows(made):
    strip = made.write()[-1]["strip"]
    assert strip[0].text == PROMPT and strip[0].tint is None and strip[0].note == EN.say("generation.yours")
    assert len(strip) == 11
    assert [token.tint for token in strip[1:4]] == [0.4, 0.25, 0.15]


def test_at_its_end_a_story_is_told_and_all_its_numbers_can_be_taken_away(made):
    last = made.write()[-1]
    assert "10" in last["say"]
    assert last["data"]["text"] == PROMPT + "".join(token.text for token in last["strip"][1:])
    assert len(last["data"]["stories"][0]["steps"]) == 10


def test_a_new_story_forgets_the_branches_of_the_one_before(made, desk):
    branched = made.branch(replace(desk, token=2), 4)[-1]["kept"]
    assert len(branched.stories) == 2
    assert len(made.write()[-1]["kept"].stories) == 1


def test_a_model_that_ends_at_once_is_told_as_such(made, run):
    run.answers["generate"] = lambda *_: iter(())
    last = made.write()[-1]
    assert last["say"] == EN.say("generation.ended") and len(last["strip"]) == 1


@pytest.mark.parametrize("written", [0, 1, 4])
def test_stop_keeps_what_was_written_and_nobody_writes_on(made, run, written):
    stream = made.stream("show_story", PROMPT, "storyteller", *SETTINGS)
    for _ in range(written + 1):
        last = next(stream)
    stream.close()
    assert len(last["kept"].story.steps) == written
    assert run.stopped == ([written - 1] if written else [])
    found = made.call("show_rivals", last["kept"], *KNOBS, click=written)
    assert ("rivals" in found) == (written > 0)


def test_stop_ends_both_writing_and_branching(made):
    writing = {made.events["show_story"]._id, made.events["show_branch"]._id}
    stopped = {cancelled for event in made.blocks.fns.values() for cancelled in event.cancels}
    assert writing <= stopped


@pytest.mark.parametrize(
    "settings",
    [
        (float("nan"), 0, 1, 10, 1), (float("inf"), 0, 1, 10, 1), ("hot", 0, 1, 10, 1), (None, 0, 1, 10, 1),
        (0.8, 1.5, 1, 10, 1), (0.8, 0, 0, 10, 1), (0.8, 0, 1, 10**9, 1), (0.8, 0, 1, 10, -1), (0.8, 0, [1], 10, 1),
    ],
)  # fmt: skip
def test_numbers_the_sliders_do_not_offer_are_refused_before_anyone_is_asked(made, run, settings):
    with pytest.raises(gr.Error) as error:
        made.write(*settings)
    assert "has to be within" in error.value.message
    assert run.calls == []


@pytest.mark.parametrize("at", [0, 3])
def test_a_refusal_reaches_the_visitor_at_any_step_and_keeps_what_came_before(made, run, at):
    def fails(prompt, settings, forced):
        yield from list(run.story(prompt, settings, forced))[:at]
        raise NothingTyped(field="prompt")

    run.answers["generate"] = fails
    seen = []
    with pytest.raises(gr.Error, match="Type some text first"):
        for part in made.stream("show_story", PROMPT, "storyteller", *SETTINGS):
            seen.append(len(part["kept"].story.steps))
    assert seen == [*range(at + 1)]


def test_clicking_a_token_shows_its_rivals_and_what_it_hangs_on(made, desk, run):
    shown = made.call("show_rivals", desk, *KNOBS, click=3)  # the third token of the strip after the prompt
    assert run.calls == [("explain_step", "storyteller", PROMPT, (0, 1, 2))]
    assert shown["kept"].token == 2
    assert [at for at, token in enumerate(shown["strip"]) if token.marked] == [3]
    assert [token.text for token in shown["why_strip"]] == ["Once", "upon", "fox", "ran"]
    assert max(token.tint for token in shown["why_strip"]) == 1
    assert "“Once”" in shown["why_say"] and "−0.40" in shown["why_say"]
    assert len(shown["measures"].data) == 3
    assert list(shown["rivals"].data[0].x)[:3] == [0.4, 0.25, 0.15]


def test_covering_a_word_before_a_token_shows_what_would_stand_there_instead(made, desk, run):
    looked = made.call("show_rivals", desk, *KNOBS, click=3)["looked"]
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
    looked = made.call("show_rivals", desk, *KNOBS, click=3)["looked"]
    run.answers["explain_step"] = HiddenEverything()
    with pytest.raises(gr.Error, match="Uncover something"):
        made.call("show_covered", looked, click=0)
    run.answers["explain_step"] = reasons
    assert made.call("show_covered", looked, click=0)["both_moved"]


def test_covering_before_a_token_is_looked_at_says_what_can_be_done(made, run):
    assert made.call("show_covered", None, click=0) == {"moved": EN.say("generation.click")}
    assert run.calls == []


@pytest.mark.parametrize("click", [0, 11, 10**9])
def test_clicking_the_prompt_or_beyond_the_end_asks_nobody(made, desk, run, click):
    assert made.call("show_rivals", desk, *KNOBS, click=click) == {"rivals_say": EN.say("generation.click")}
    assert run.calls == []


def test_the_first_choice_and_another_are_told_apart(made, desk):
    first = made.call("show_rivals", desk, *KNOBS, click=1)["rivals_say"]
    other = made.call("show_rivals", desk, *KNOBS, click=2)["rivals_say"]
    assert first == EN.say("generation.first_choice", word="' fox'", probability=EN.percent(0.4))
    assert "' ran'" in other and "' fox'" in other and EN.percent(0.25) in other


def test_sliders_redraw_the_chances_without_asking(made, desk, run):
    looked = replace(desk, token=2)
    usual, greedy, narrow = (
        made.call("show_chances", looked, *knobs) for knobs in ((1, 0, 1), (0, 0, 1), (1, 2, 1))
    )  # fmt: skip
    assert run.calls == []
    own = [list(shown["rivals"].data[0].x) for shown in (usual, greedy, narrow)]
    assert own[0] == own[1] == own[2]  # the model's own probabilities stay
    assert list(usual["rivals"].data[1].x)[:7] == pytest.approx([0.4, 0.25, 0.15, 0.1, 0.06, 0.03, 0.01], abs=1e-6)
    assert list(greedy["rivals"].data[1].x) == [1, 0, 0, 0, 0, 0, 0, 0]
    assert list(narrow["rivals"].data[1].x)[:3] == pytest.approx([0.4 / 0.65, 0.25 / 0.65, 0], abs=1e-6)
    assert EN.say("generation.shut_out", count=5) in narrow["rivals_say"]


def test_a_bolder_setting_draws_rarer_words_more_often(made, desk):
    looked = replace(desk, token=2)
    rarest = [made.call("show_chances", looked, heat, 0, 1)["rivals"].data[1].x[5] for heat in (0.2, 1, 2)]
    assert rarest == sorted(rarest) and rarest[0] < rarest[2]


def test_sliders_moved_before_there_is_a_story_say_what_can_be_done(made, run):
    for desk in (Desk(), Desk((Story(PROMPT, "storyteller", Settings()),))):
        assert made.call("show_chances", desk, *KNOBS) == {"rivals_say": EN.say("generation.click")}
    assert run.calls == []


def test_sliders_out_of_range_are_refused(made, desk):
    with pytest.raises(gr.Error, match="has to be within"):
        made.call("show_chances", replace(desk, token=2), float("nan"), 0, 1)


@pytest.mark.parametrize("rival", range(7))
def test_clicking_a_rival_forces_what_came_before_and_then_that_rival(made, desk, run, rival):
    told = made.branch(replace(desk, token=2), rival)
    (_, model, prompt, _, forced), *_ = run.calls
    assert (model, prompt) == ("storyteller", PROMPT)
    assert forced == (*tokens_of(desk)[:2], desk.story.steps[2].rivals[rival])
    assert tokens_of(told[-1]["kept"])[:3] == list(forced)


def test_a_branch_is_shown_from_its_fork_and_the_story_it_left_is_kept(made, desk):
    told = made.branch(replace(desk, token=2), 4)
    after = told[-1]["kept"]
    assert len(after.stories) == 2 and after.shown == 1
    assert after.stories[0].steps == desk.story.steps
    assert (after.story.parent, after.story.left_at) == (0, 2)
    assert [len(part["kept"].story.steps) for part in told] == [0, *range(3, 11), 10]
    assert told[-1]["strip"][3].marked


def test_a_branch_is_as_long_as_its_fork_at_least_and_refused_beyond_the_limit(made, desk, run):
    made.branch(replace(desk, token=9), 4, length=1)
    assert run.calls[-1][3].length == 10
    with pytest.raises(gr.Error, match="has to be within"):
        made.branch(replace(desk, token=2), 4, length=limits.STORY_TOKENS + 1)


@pytest.mark.parametrize(("token", "rival"), [(None, 0), (2, 7), (99, 0)])
def test_clicking_where_there_is_no_rival_asks_nobody(made, desk, run, token, rival):
    assert made.branch(replace(desk, token=token), rival) == []
    assert made.branch(Desk(), 0) == []
    assert run.calls == []


def test_the_menu_of_stories_names_each_by_its_fork_once_there_are_two(made, desk):
    assert made.write()[-1]["branches"].visible is False
    menu = made.branch(replace(desk, token=2), 0)[-1]["branches"]
    assert menu.visible and menu.value == 1
    fork = EN.say("generation.from", word="fox")
    assert [name for name, _ in menu.choices] == [
        EN.say("generation.branch", number=1, fork=""), EN.say("generation.branch", number=2, fork=fork)
    ]  # fmt: skip


def test_going_back_to_a_story_shows_it_without_asking(made, desk, run):
    branched = made.branch(replace(desk, token=2), 4)[-1]["kept"]
    run.calls.clear()
    back = made.call("show_other", branched, 0)
    assert back["kept"].shown == 0 and back["kept"].token is None
    assert [token.text for token in back["strip"][1:]] == [step.text for step in desk.story.steps]
    assert len(back["kept"].stories) == 2
    assert run.calls == []


@pytest.mark.parametrize("number", [None, -1, 1, 10**9])
def test_a_story_that_is_not_there_cannot_be_gone_to(made, desk, number):
    assert made.call("show_other", desk, number) == {"kept": desk}


def test_stories_are_bounded_the_oldest_goes_first_and_every_fork_names_its_parent(made, desk):
    for number in range(limits.BRANCHES + 3):
        desk = made.branch(replace(desk, token=2 + number % 3), number % 7)[-1]["kept"]
        assert len(desk.stories) == min(number + 2, limits.BRANCHES)
        assert desk.shown == len(desk.stories) - 1
        for at, story in enumerate(desk.stories):
            if story.parent is not None and story.parent >= 0:
                assert story.parent < at
                own, parents = tokens_of(Desk((story,))), tokens_of(Desk((desk.stories[story.parent],)))
                assert own[: story.left_at] == parents[: story.left_at]
    assert [story.parent for story in desk.stories] == list(range(-1, limits.BRANCHES - 1))  # -1: its parent is gone


def test_a_story_of_line_breaks_and_markup_is_told_and_shown(made, run):
    def writes(*_):
        for text in ("\n", " ", "", " <b>", "\x00"):
            yield Step(text, 0, 0.5, Ranking((text,), (0.5,)), (0,), np.log(np.float32([0.5])), (0,), 2)

    run.answers["generate"] = writes
    last = made.write()[-1]
    html = made.part("strip").postprocess(last["strip"])
    assert html.count("<span") == 6 and "<b>" not in html
    assert last["say"]


def test_half_a_character_in_the_prompt_can_be_sent_back(made):
    told = list(made.stream("show_story", "Once \ud83d upon", "storyteller", *SETTINGS))
    assert told[-1]["data"]["prompt"] == "Once \ufffd upon"


def test_how_sure_a_story_was_is_its_geometric_mean(made):
    steps = tuple(Step("a", 0, chance, Ranking(("a",), (chance,)), (0,), np.zeros(1)) for chance in (0.1, 0.4))
    said = generation.tell(Story(PROMPT, "storyteller", Settings(), steps), EN)
    assert EN.percent(0.2) in said and EN.percent(0.1) in said and "5" in said
