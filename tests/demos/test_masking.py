"""Fill in: words are blanked and put back, guesses are told and put in."""

import gradio as gr
import pytest

from core import limits
from core.errors import HiddenEverything
from core.results import Filling, Ranking, Saliency, WhatIf
from demos import masking
from demos.masking import fill, spans, toggle, word_strip, words_in
from demos.words import Words

EN = Words("en")
TEXTS = [
    "The cat sat on the [MASK].",
    "It's the dog's mother-in-law, isn't it?",
    "  two  spaces,\nand a line\t[mask]! ",
    "我喜欢喝[MASK]茶。",
    "mixed 中文 and English…",
    "a_b __ <b>x</b> 3.5% 👩‍👩‍👧",
    "",
    "   ",
    "\ud83d\x00",
]
ALL_TEXTS = pytest.mark.parametrize("text", TEXTS, ids=ascii)


@ALL_TEXTS
def test_spans_are_in_order_and_hold_every_letter(text):
    found = spans(text)
    assert all(start < end for start, end in found)
    assert all(end <= start for (_, end), (start, _) in zip(found, found[1:], strict=False))
    inside = {at for start, end in found for at in range(start, end)}
    left = [mark for at, mark in enumerate(text) if at not in inside]
    assert not any(mark.isalnum() for mark in left)


def test_a_contraction_is_one_word_and_a_mark_is_one():
    assert words_in("It's the mother-in-law, isn’t it?") == ["It's", "the", "mother-in-law", ",", "isn’t", "it", "?"]


def test_a_chinese_character_is_a_word():
    assert words_in("我喝[MASK]茶。") == ["我", "喝", "[MASK]", "茶", "。"]


@ALL_TEXTS
def test_a_strip_shows_the_words_and_marks_the_blanks(text):
    strip = word_strip(text)
    assert [token.text for token in strip] == words_in(text)
    assert [token.marked for token in strip] == [word.upper() == "[MASK]" for word in words_in(text)]


@ALL_TEXTS
def test_blanking_a_word_and_clicking_it_again_gives_the_text_back(text):
    for number, word in enumerate(words_in(text)):
        blanked, taken = toggle(text, {}, number)
        assert words_in(blanked)[number].upper() == "[MASK]"
        if word.upper() != "[MASK]":
            assert blanked != text and len(words_in(blanked)) == len(words_in(text))
            assert toggle(blanked, taken, number)[0] == text


def test_blanks_are_put_back_in_any_order():
    text, taken = "The cat sat on the mat.", {}
    for number in (1, 5, 0, 2):
        text, taken = toggle(text, taken, number)
    assert text == "[MASK] [MASK] [MASK] on the [MASK]."
    for number in (5, 0, 2, 1):
        text, taken = toggle(text, taken, number)
    assert text == "The cat sat on the mat."


def test_words_taken_from_another_text_are_not_put_into_this_one():
    _, taken = toggle("The cat sat.", {}, 1)
    text, _ = toggle("My [MASK] ran.", taken, 1)
    assert text == "My [MASK] ran."


@pytest.mark.parametrize("number", [-1, 4, 10**9])
def test_a_word_that_is_not_there_cannot_be_blanked(number):
    assert toggle("The cat sat.", {}, number) == ("The cat sat.", {})


@pytest.mark.parametrize(
    ("text", "blank", "word", "filled"),
    [
        ("I drink [MASK].", 0, "tea", "I drink tea."),
        ("[MASK] is hot.", 0, "tea", "Tea is hot."),
        ("[MASK] flew to the moon.", 0, "NASA", "NASA flew to the moon."),
        ("Hot! [MASK] is good.", 0, "tea", "Hot! Tea is good."),
        ("[MASK] and [mask]", 1, "tea", "[MASK] and tea"),
        ("He is walk [MASK] home", 0, "…ing", "He is walking home"),
        ("我喝[MASK]。", 0, "茶", "我喝茶。"),
        ("a [MASK]", 1, "tea", "a [MASK]"),
        ("no blank", 0, "tea", "no blank"),
        ("a [MASK]", 0, r"\1 [MASK] {x}", r"a \1 [MASK] {x}"),
    ],
)
def test_fill_puts_a_word_into_a_blank_as_it_would_be_written(text, blank, word, filled):
    assert fill(text, blank, word) == filled


def test_pressing_the_button_asks_once_and_shows_every_part_of_the_answer(tab, run):
    shown = tab("masking").call("show_blanks", "I drink [MASK].", "english")
    assert run.calls == [("fill_mask", "english", "I drink [MASK].", limits.RIVALS_KEPT)]
    assert "tea0" in shown["say"] and "60" in shown["say"]
    assert "drink" in shown["why_say"] and "tea0" in shown["why_say"]
    assert [token.text for token in shown["why_strip"]] == ["I", "drink"]
    assert max(token.tint for token in shown["why_strip"]) == 1
    assert "0.71" in shown["why_say"] and len(shown["measures"].data) == 3
    assert shown["data"]["rankings"][0]["labels"] == ["tea0", "<b>0</b>", "…ing"]


def test_several_blanks_are_told_and_drawn_one_by_one(tab):
    shown = tab("masking").call("show_blanks", "[MASK] or [MASK]?", "english")
    assert "tea0" in shown["say"] and "tea1" in shown["say"]
    codes = [tuple(code) for code in shown["bars"].data[0].customdata]
    assert {(blank, place) for blank in (0, 1) for place in range(3)} <= set(codes)


def bar_named(shown: dict, label: str, blank: int) -> list[int]:
    """Return the customdata of the bar of a label, as a click on it carries it."""
    (bar,) = shown["bars"].data
    labels = ["tea0", "<b>0</b>", "…ing"] if blank == 0 else ["tea1", "<b>1</b>", "…ing"]
    place = [tuple(code) for code in bar.customdata].index((blank, labels.index(label)))
    assert bar.hovertext[place] == label.replace("<", "&lt;")
    return [int(number) for number in bar.customdata[place]]


@pytest.mark.parametrize(("blank", "filled"), [(0, "I drink tea0 or [MASK]."), (1, "I drink [MASK] or tea1.")])
def test_clicking_a_bar_fills_the_blank_it_stands_under(tab, blank, filled):
    made, text = tab("masking"), "I drink [MASK] or [MASK]."
    shown = made.call("show_blanks", text, "english")
    code = bar_named(shown, f"tea{blank}", blank)
    assert made.call("show_filled", text, shown["kept"], click=0, value={"customdata": code})["box"] == filled


def test_one_blank_can_be_filled_after_another_and_changed_again(tab):
    made, text = tab("masking"), "I drink [MASK] or [MASK]."
    shown = made.call("show_blanks", text, "english")
    kept = shown["kept"]
    for blank, label, expected in (
        (0, "tea0", "I drink tea0 or [MASK]."),
        (1, "tea1", "I drink tea0 or tea1."),
        (0, "<b>0</b>", "I drink <b>0</b> or tea1."),
    ):
        code = bar_named(shown, label, blank)
        found = made.call("show_filled", text, kept, click=0, value={"customdata": code})
        text, kept = found["box"], found.get("kept", kept)
        assert text == expected


def test_a_bar_fills_nothing_once_the_blanks_are_others(tab):
    made = tab("masking")
    shown = made.call("show_blanks", "I drink [MASK].", "english")
    for text in ("I eat [MASK] and [MASK].", "No blank.", ""):
        assert made.call("show_filled", text, shown["kept"], click=0, value={"customdata": [0, 0]})["box"] == text


@pytest.mark.parametrize("code", [[0, -1], [1, -1]])
def test_clicking_the_rest_fills_nothing(tab, code):
    made, text = tab("masking"), "[MASK] or [MASK]"
    kept = made.call("show_blanks", text, "english")["kept"]
    assert made.call("show_filled", text, kept, click=0, value={"customdata": code})["box"] == text


def test_clicking_a_bar_before_there_is_an_answer_changes_nothing(tab):
    found = tab("masking").call("show_filled", "I [MASK].", None, click=0, value={"customdata": [0, 0]})
    assert found["box"] == "I [MASK]."


def test_clicking_words_blanks_them_without_asking_the_model(tab, run):
    made = tab("masking")
    shown = made.call("show_blanked", "The cat sat.", {}, click=1)
    assert shown["box"] == "The [MASK] sat." and shown["strip"][1].marked
    again = made.call("show_blanked", shown["box"], shown["removed"], click=1)
    assert again["box"] == "The cat sat." and not any(token.marked for token in again["strip"])
    assert run.calls == []


def test_the_change_that_a_click_makes_to_the_box_does_not_forget_the_word(tab):
    made = tab("masking")
    shown = made.call("show_blanked", "The cat sat.", {}, click=1)
    changed = made.call("show_words", shown["box"], shown["removed"])
    assert made.call("show_blanked", shown["box"], changed["removed"], click=1)["box"] == "The cat sat."


def test_typing_another_text_forgets_the_words_taken_away(tab):
    made = tab("masking")
    taken = made.call("show_blanked", "The cat sat.", {}, click=1)["removed"]
    taken = made.call("show_words", "A [MASK] ran.", taken)["removed"]
    assert made.call("show_blanked", "A [MASK] ran.", taken, click=1)["box"] == "A [MASK] ran."


def test_comparing_asks_for_both_sentences_and_tells_the_biggest_difference(tab, run):
    def answer(text: str, count: int, what_if: WhatIf, why: bool) -> Filling:
        chances = (0.7, 0.2) if "doctor" in text else (0.3, 0.25)
        return Filling((), (0,), (Ranking(("he", "she"), chances),), Saliency("he", (), ()))

    run.answers["fill_mask"] = answer
    shown = tab("masking").call("show_compared", "A doctor [MASK].", "A nurse [MASK].", "english")
    texts = ("A doctor [MASK].", "A nurse [MASK].")
    assert run.calls == [("fill_mask", "english", text, limits.RIVALS_KEPT, WhatIf(), False) for text in texts]
    assert "“he”" in shown["both_say"] and "70" in shown["both_say"] and "30" in shown["both_say"]
    assert [list(row.x) for row in shown["both"].data] == [[0.7, 0.2], [0.3, 0.25]]


def test_a_guess_that_is_not_sure_says_so():
    sure, unsure = (masking.tell_ranking(Ranking(("a", "b"), (first, 0.05)), EN) for first in (0.5, 0.06))
    assert sure == EN.say("masking.sure", first="a", probability=EN.percent(0.5), second="b", next=EN.percent(0.05))
    assert unsure == EN.say(
        "masking.unsure", first="a", probability=EN.percent(0.06), second="b", next=EN.percent(0.05)
    )


def covering(made, text="I drink [MASK]."):
    """Ask, and return what the page remembers for covering words."""
    return made.call("show_blanks", text, "english")["looked"]


def test_covering_a_word_asks_again_and_shows_the_new_answer_beside_the_old(tab, run):
    made = tab("masking")
    looked = covering(made)
    shown = made.call("show_covered", looked, click=1)
    what_if = WhatIf(hidden_tokens=frozenset({1}))
    assert run.calls[1:] == [("fill_mask", "english", "I drink [MASK].", limits.RIVALS_KEPT, what_if, False)]
    assert [token.covered for token in shown["why_strip"]] == [False, True]
    before, now = shown["both_moved"].data
    assert list(before.x) == pytest.approx([0.6, 0.2, 0.1, 0]) and list(now.x) == pytest.approx([0.1, 0.05, 0, 0.7])
    for fact in ("“drink”", "“tea0”", "“coffee”", EN.percent(0.6), EN.percent(0.1)):
        assert fact in shown["moved"]


def test_covered_words_add_up_and_clicking_one_again_uncovers_it(tab, run):
    made = tab("masking")
    looked = covering(made)
    for word, covered in ((1, {1}), (0, {0, 1}), (1, {0}), (0, set())):
        shown = made.call("show_covered", looked, click=word)
        looked = shown["looked"]
        assert {at for at, token in enumerate(shown["why_strip"]) if token.covered} == covered
    assert len(run.calls) == 4  # nothing covered is the first answer: nobody has to be asked
    assert shown["moved"] == EN.say("why.whatif") and shown["both_moved"] is None


def test_covering_everything_is_told_and_the_page_goes_on(tab, run):
    made = tab("masking")
    looked = made.call("show_covered", covering(made), click=0)["looked"]
    run.answers["fill_mask"] = HiddenEverything()
    with pytest.raises(gr.Error, match="Uncover something"):
        made.call("show_covered", looked, click=1)
    assert made.call("show_covered", looked, click=0)["moved"] == EN.say("why.whatif")


def test_covering_before_there_is_an_answer_says_what_can_be_done(tab, run):
    assert tab("masking").call("show_covered", None, click=0) == {"moved": EN.say("why.whatif")}
    assert run.calls == []


def test_a_new_answer_uncovers_everything(tab):
    made = tab("masking")
    made.call("show_covered", covering(made), click=1)
    shown = made.call("show_blanks", "I drink [MASK].", "english")
    assert not any(token.covered for token in shown["why_strip"]) and shown["both_moved"] is None


def test_more_is_known_of_a_blank_than_is_shown(tab, run):
    chances = tuple(0.5**at for at in range(1, 21))
    whole = Filling((), (0,), (Ranking(tuple(map(str, range(20))), chances),), Saliency("0", (), ()))
    run.answers["fill_mask"] = lambda *_: whole
    shown = tab("masking").call("show_blanks", "[MASK]", "english")
    assert len(shown["data"]["rankings"][0]["labels"]) == limits.CHOICES
    assert len(shown["bars"].data[0].x) == limits.CHOICES + 1
    assert shown["bars"].data[0].x[-1] == pytest.approx(0.5**limits.CHOICES)  # everything else
    assert shown["measures"] is None and shown["why_strip"] == []


def test_a_long_text_is_told_by_its_start():
    assert masking.short("a" * 60) == "a" * 60
    assert len(masking.short("a" * 61)) == 60 and masking.short("a" * 61).endswith("…")
