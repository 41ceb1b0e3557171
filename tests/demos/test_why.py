"""Why, and what if: the strongest word, how far the measures agree and how complete they are, in plain and true words."""

import pytest

from core import charts
from core.results import Ranking, Saliency
from demos import why
from demos.words import LANGUAGES, Words

EN = Words("en")
BOTH = pytest.mark.parametrize("language", LANGUAGES)
FULL = Saliency("tea", ("I", " drink", "\n"), (0.1, 0.5, -0.2), (-0.2, 1.5, 0.1), (0.3, 0.6, 0.1), 0.02, 0.71)


@BOTH
def test_the_strongest_word_the_agreement_and_the_completeness_are_told(language):
    words = Words(language)
    said = why.tell(FULL, "tea", 0.6, words)
    for fact in ("“drink”", "“tea”", words.percent(0.6), words.percent(0.1), "0.71", words.percent(0.98)):
        assert fact in said
    assert "{" not in said and "  " not in said


@BOTH
@pytest.mark.parametrize(
    ("agreement", "band"),
    [(1.0, "largely"), (0.6, "largely"), (0.59, "partly"), (0.2, "partly"), (0.19, "hardly"), (-1.0, "hardly")],
)
def test_the_agreement_is_one_number_and_one_of_three_meanings(language, agreement, band):
    words = Words(language)
    written = f"{agreement:.2f}".replace("-", "−")
    said = why.tell(Saliency("tea", ("a", "b", "c"), (0.1, 0.2, 0.3), agreement=agreement), "tea", 0.6, words)
    assert words.say(f"why.agree_{band}", agreement=written) in said


def test_what_is_not_known_is_not_told():
    assert why.tell(Saliency("tea", ("a", "b"), (0.1, 0.3)), "tea", 0.6, EN) == EN.say(
        "why.word", answer="tea", word="b", before=EN.percent(0.6), after=EN.percent(0.3)
    )


@pytest.mark.parametrize(
    ("covered", "scores", "key"),
    [
        ((), (), "no_words"),
        ((0.5,), (1.0,), "one"),
        ((0.0, 0.001), (), "none"),
        ((-0.3, -0.1), (-1.0, 0.0), "none"),
        ((0.0, 0.001), (2.0, 1.0), "none_pushes"),
        ((0.1, 0.3), (0.9, 0.1), "word"),
    ],
)
def test_the_strongest_word_is_named_as_far_as_there_is_one(covered, scores, key):
    tokens = ("good", " film")[: len(covered)]
    facts = {"answer": "tea", "word": "film" if key == "word" else "good"}
    facts |= {"before": EN.percent(0.6), "after": EN.percent(0.3)}
    found = why.tell_strongest(Saliency("tea", tokens, covered, scores), "tea", 0.6, EN)
    assert found == EN.say(f"why.{key}", **facts)


def test_of_a_long_text_it_is_said_how_many_words_the_chart_shows():
    count = charts.SALIENT + 1
    long = Saliency("tea", ("a",) * count, (0.1,) * count)
    assert str(charts.SALIENT) in why.tell(long, "tea", 0.6, EN)
    assert len(why.draw(long, EN).data[0].x) == charts.SALIENT


@pytest.mark.parametrize(("by", "values"), [("covered", FULL.covered), ("scores", FULL.scores)])
def test_a_strip_is_tinted_by_one_measure_and_notes_them_all(by, values):
    found = why.strip(FULL, EN, {1}, by=by, sign=-1)
    assert [token.tint for token in found] == pytest.approx([-value / max(map(abs, values)) for value in values])
    assert [token.text for token in found] == ["I", "drink", "⏎"]
    assert [token.covered for token in found] == [False, True, False]
    assert found[2].note.splitlines() == [
        EN.say("why.note_covering", moved="+20.0"), EN.say("why.note_gradients", push="+0.10"),
        EN.say("why.note_looks", share=EN.percent(0.1)),
    ]  # fmt: skip


def test_a_strip_without_gradients_is_tinted_by_covering_and_notes_no_more_than_is_known():
    found = why.strip(Saliency("tea", ("a", "b"), (0.1, 0.2)), EN, by="scores")
    assert [token.tint for token in found] == [0.5, 1]
    assert found[0].note == EN.say("why.note_covering", moved="−10.0")


def test_the_chart_shows_the_measures_there_are():
    assert len(why.draw(FULL, EN).data) == 3
    assert len(why.draw(Saliency("tea", ("a", "b"), (0.1, 0.2)), EN).data) == 1
    assert why.draw(Saliency("tea", (), ()), EN) is None


def test_what_moved_is_told_and_drawn_beside_what_was():
    before, now = Ranking(("tea", "milk"), (0.6, 0.2)), Ranking(("milk", "rum", "tea"), (0.5, 0.3, 0.1))
    facts = {"words": EN.listed(["I", "drink"]), "answer": "tea", "before": EN.percent(0.6), "after": EN.percent(0.1)}
    assert why.tell_moved(FULL, before, now, {1, 0}, EN) == EN.say("why.changed", **facts, now="milk")
    less = Ranking(("tea", "milk"), (0.4, 0.3))
    facts["after"] = EN.percent(0.4)
    assert why.tell_moved(FULL, before, less, {1, 0}, EN) == EN.say("why.moved", **facts)
    facts["after"] = EN.percent(0.6)
    facts.pop("before")
    assert why.tell_moved(FULL, before, before, {1, 0}, EN) == EN.say("why.stayed", **facts)
    assert why.tell_moved(FULL, before, now, set(), EN) == EN.say("why.whatif")
    assert [list(row.x) for row in why.draw_moved(before, now, EN).data] == [[0.6, 0.2, 0], [0.1, 0.5, 0.3]]


def test_of_tokens_that_are_written_alike_the_likeliest_counts():
    twice = Ranking((",", "and", ","), (0.5, 0.3, 0.001))
    assert list(why.draw_moved(twice, twice, EN).data[0].x) == [0.5, 0.3]


@pytest.mark.parametrize(
    ("number", "digits", "written"),
    [(0.04, 1, "0.0"), (-0.04, 1, "0.0"), (0.05, 2, "+0.05"), (-1.234, 2, "−1.23"), (100, 1, "+100.0")],
)
def test_a_number_has_its_sign_unless_it_is_rounded_to_nothing(number, digits, written):
    assert why.signed(number, digits) == written
