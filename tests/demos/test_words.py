"""What visitors read: both languages say everything, with the same facts."""

import re

import pytest

from core import errors
from core.catalogue import CATALOGUE
from core.errors import VisitorError
from demos import ui, words
from demos.words import LANGUAGES, Words, blanks, sentences

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not VisitorError]
BOTH = pytest.mark.parametrize("language", LANGUAGES)


def facts_of(kind: type[VisitorError]) -> set[str]:
    """Return the names of the facts that the docstring of an error promises."""
    return set(re.findall(r"\b[a-z]+\b", re.sub(r"\(.*?\)", "", kind.__doc__.removeprefix("Facts:")))) - {"none"}


def test_both_languages_have_the_same_keys_and_blanks():
    english, chinese = sentences("en"), sentences("zh")
    assert english.keys() == chinese.keys()
    assert all(blanks(english[key]) == blanks(chinese[key]) for key in english)


def test_no_sentence_is_empty():
    assert [key for name in LANGUAGES for key, said in sentences(name).items() if not said.strip()] == []


@pytest.mark.parametrize(
    ("english", "chinese"),
    [("a = 'one {x}'\nb = 'two'", "a = '{x}'"), ("a = 'one {x}'", "a = '{y}'"), ("a = 'one {x}'", "a = 'no blank'")],
)
def test_a_key_or_blank_missing_in_one_language_is_refused_by_name(tmp_path, monkeypatch, english, chinese):
    monkeypatch.setattr(words, "FOLDER", tmp_path)
    for name, text in zip(LANGUAGES, (english, chinese), strict=True):
        (tmp_path / f"{name}.toml").write_text(f"[tab]\n{text}", "utf-8")
    with pytest.raises(ValueError, match=r"tab\.[ab]"):
        sentences.__wrapped__("en")


def test_a_sentence_nobody_wrote_is_an_error_and_not_its_key():
    with pytest.raises(KeyError):
        Words("en").say("masking.nonsense")
    assert not Words("en").has("masking.nonsense")


def test_what_fills_a_blank_is_not_filled_itself():
    assert "{0} {id} {" in Words("en").say("why.none", answer="{0} {id} {")


@BOTH
def test_percent_says_a_probability_as_people_do(language):
    words = Words(language)
    for probability in (0, 1e-6, 0.0004):
        assert words.percent(probability) == words.say("number.hardly")
    assert words.percent(0.004) == words.say("number.one_in", number="250")
    assert words.percent(0.5) == words.say("number.percent", number=50)
    assert words.percent(0.996) == words.say("number.nearly_sure")
    assert words.percent(1) == words.say("number.percent", number=100)


def test_small_odds_are_told_within_a_tenth():
    for probability in (tenths / 10_000 for tenths in range(11, 100)):
        _, odds = re.findall(r"\d+", Words("en").percent(probability))
        assert int(odds) * probability == pytest.approx(1, abs=0.1)


@BOTH
def test_percent_never_says_certain_of_what_is_not(language):
    said = Words(language).percent
    assert said(0.9999999) != said(1) and said(1e-9) != said(0.5)


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_sentence_that_its_promised_facts_fill(kind, language):
    facts = {name: f"<{name}>" for name in facts_of(kind)}
    said = ui.say_error(kind(**facts), Words(language))
    assert "{" not in said and "<" not in said
    assert blanks(sentences(language)[f"error.{kind.__name__}"]) <= facts.keys()
    for name in blanks(sentences(language)[f"error.{kind.__name__}"]):
        assert f"&lt;{name}&gt;" in said


@BOTH
def test_fields_units_and_parts_that_errors_name_have_a_name_in_words(language):
    say = Words(language)
    for kind in KINDS:
        named = re.search(r"(unit|part) \((.*?)\)", kind.__doc__)
        for choice in re.findall(r'"(\w+)"', named[2]) if named else ():
            assert say.has(f"{named[1]}.{choice}"), f"{kind.__name__}: {choice}"


def test_numbers_in_an_error_are_grouped():
    error = errors.TextTooLong(field="text", found=123456, limit=5000, unit="characters")
    assert "123,456 characters" in ui.say_error(error, Words("en")) and "5,000" in ui.say_error(error, Words("en"))


@BOTH
@pytest.mark.parametrize("card", CATALOGUE, ids=lambda card: card.name)
def test_every_model_of_the_catalogue_has_a_name_and_a_sentence_about_it(card, language):
    assert Words(language).has(f"model.{card.name}") or (card.shelf == "hub" and card.title)
    assert Words(language).say(f"about.{card.name}").endswith((".", "。"))


def test_labels_are_told_in_the_visitors_language_and_unknown_ones_as_they_are():
    assert Words("zh").label("POSITIVE") == Words("zh").say("label.positive") != "POSITIVE"
    assert Words("zh").label("<b>coffee") == "<b>coffee"


def test_a_sentence_keeps_the_space_it_begins_or_ends_with():
    assert Words("en").say("number.comma").endswith(" ")
    assert not any(
        said.startswith("\n") or said.endswith("\n") for name in LANGUAGES for said in sentences(name).values()
    )


def test_listed_quotes_every_name():
    said = Words("en").listed(["tea", "coffee"])
    assert said == "“tea”, “coffee”"


def test_a_space_stands_beside_a_number_and_not_between_two_chinese_characters():
    words = Words("zh")
    said = words.say("sentiment.sure", probability=words.percent(0.9), label="正面")
    assert "有 90% 的" in said
    said = words.say("sentiment.sure", probability=words.percent(0.999), label="正面")
    assert "有 99% 以上的" in said
    said = words.say("vqa.changed", covered="一块", answer="红 色", before="37%", after=words.percent(0.0001), now="蓝")
    assert "从 37% 变成不到千分之一" in said and "红 色" in said
