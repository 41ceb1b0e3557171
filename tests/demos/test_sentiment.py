"""Feel: verdicts are told as sure as they are, words are covered and uncovered, lists are read and written safely."""

from pathlib import Path

import gradio as gr
import pytest
from gradio.utils import get_upload_folder

from core import limits
from core.errors import HiddenEverything, NoSuchPart, TableUnreadable
from core.results import Ranking, Saliency, Verdict, WhatIf
from demos import sentiment
from demos.sentiment import read_table
from demos.words import Words
from tests.demos.conftest import verdict
from tests.tables import read_back

EN = Words("en")
TEXT = "a very fine film"


def test_pressing_the_button_asks_once_and_shows_every_part_of_the_verdict(tab, run):
    shown = tab("sentiment").call("show_feeling", TEXT, "english-sentiment")
    assert run.calls == [("judge", "english-sentiment", TEXT)]
    assert "positive" in shown["say"] and "90" in shown["say"]
    assert [token.text for token in shown["strip"]] == TEXT.split()
    assert not any(token.covered for token in shown["strip"])
    assert list(shown["bars"].data[0].x) == pytest.approx([0.9, 0.1])
    assert len(shown["measures"].data) == 3
    assert [token.tint for token in shown["strip"]] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert shown["data"]["ranking"]["labels"] == ["POSITIVE", "NEGATIVE"]


def test_covering_a_word_asks_again_and_shows_before_and_after(tab, run):
    made = tab("sentiment")
    kept = made.call("show_feeling", TEXT, "english-sentiment")["kept"]
    shown = made.call("show_covered", kept, click=2)
    assert run.calls[1:] == [("judge", "english-sentiment", TEXT, WhatIf(hidden_tokens=frozenset({2})), False)]
    assert [token.covered for token in shown["strip"]] == [False, False, True, False]
    assert [row.x[0] for row in shown["bars"].data] == pytest.approx([0.9, 0.7])
    assert "“fine”" in shown["moved"] and "90" in shown["moved"] and "70" in shown["moved"]


def test_covered_words_add_up_and_clicking_one_again_uncovers_it(tab, run):
    made = tab("sentiment")
    kept = made.call("show_feeling", TEXT, "english-sentiment")["kept"]
    for word, covered in ((2, {2}), (0, {0, 2}), (2, {0}), (0, set())):
        shown = made.call("show_covered", kept, click=word)
        kept = shown["kept"]
        assert {at for at, token in enumerate(shown["strip"]) if token.covered} == covered
    assert len(run.calls) == 4  # nothing covered is the first verdict: nobody has to be asked
    assert shown["moved"] == EN.say("why.whatif") and len(shown["bars"].data) == 1


def test_covering_before_there_is_a_verdict_says_what_can_be_done(tab, run):
    assert tab("sentiment").call("show_covered", None, click=0) == {"moved": EN.say("why.whatif")}
    assert run.calls == []


@pytest.mark.parametrize(("probability", "key"), [(0.51, "unsure"), (0.599, "unsure"), (0.61, "sure"), (1.0, "sure")])
def test_a_verdict_on_the_fence_is_not_told_as_one(probability, key):
    said = sentiment.tell(Ranking(("POSITIVE", "NEGATIVE"), (probability, 1 - probability)), EN)
    assert said == EN.say(f"sentiment.{key}", label="positive", probability=EN.percent(probability))


def test_blue_is_towards_positive_whatever_the_verdict():
    for label, sign in (("POSITIVE", 1), ("NEGATIVE", -1), ("LABEL_0", -1)):
        found = Verdict(Ranking((label, "x"), (0.9, 0.1)), Saliency(label, ("a", "b"), (0.1, 0.2), (-0.5, 2.0)))
        assert [token.tint for token in sentiment.word_strip(found, frozenset(), EN)] == [-0.25 * sign, sign]


@pytest.mark.parametrize("error", [HiddenEverything(), NoSuchPart(part="token", found=9, limit=4)])
def test_covering_what_cannot_be_covered_is_refused_and_what_was_covered_stays(tab, run, error):
    made = tab("sentiment")
    kept = made.call("show_feeling", TEXT, "english-sentiment")["kept"]
    kept = made.call("show_covered", kept, click=2)["kept"]
    run.answers["judge"] = error
    with pytest.raises(gr.Error):
        made.call("show_covered", kept, click=1)
    run.answers["judge"] = verdict
    assert made.call("show_covered", kept, click=2)["moved"] == EN.say("why.whatif")


def test_the_reason_names_the_verdict_in_the_visitors_language(tab):
    chinese = tab("sentiment", "zh")
    assert "正面" in chinese.call("show_feeling", TEXT, "english-sentiment")["why_say"]


def saved(folder: Path, content: bytes | str) -> str:
    """Save a file as a visitor would upload it."""
    path = folder / "list.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.mark.parametrize("name", ["text", "Sentence", " REVIEW ", "文本", "评论"])
def test_the_column_of_texts_is_found_by_its_header(tmp_path, name):
    assert read_table(saved(tmp_path, f"id,{name},stars\n1,good,5\n2,bad,1\n")) == ["good", "bad"]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("good,1\nbad,2\n", ["good", "bad"]),
        ("good\r\nbad\r\n", ["good", "bad"]),
        ("\ufefftext\ngood\n", ["good"]),
        ("text\n\n  \n,\ngood\n", ["good"]),
        ('text\n"one, two"\n"say ""hi"""\n', ["one, two", 'say "hi"']),
        ('text\n"two\nlines"\nthree', ["two\nlines", "three"]),
        ("text\nsplit\u2028nowhere\n", ["split\u2028nowhere"]),
        ("id,text\n1\n2,good\n", ["good"]),
        ("text\n我很高兴\n", ["我很高兴"]),
        ("", []),
        ("text\n", []),
    ],
    ids=ascii,
)
def test_a_table_is_read_as_a_spreadsheet_writes_it(tmp_path, content, texts):
    assert read_table(saved(tmp_path, content)) == texts


@pytest.mark.parametrize(
    "content",
    [b"text\n\xff\xfe\x00bad", "text\nüber".encode("utf-16"), b"\x89PNG\r\n\x1a\n\x00\xff", b"a" * 2_000_000],
    ids=["not utf-8", "utf-16", "a picture", "too large"],
)
def test_what_is_no_table_of_text_is_refused(tmp_path, content):
    with pytest.raises(TableUnreadable):
        read_table(saved(tmp_path, content))


def test_a_table_up_to_the_limit_is_read_and_one_byte_more_is_not(tmp_path):
    line = b"a sentence of twenty\n"
    content = line * (limits.TABLE_BYTES // len(line))
    content += b"\n" * (limits.TABLE_BYTES - len(content))
    assert len(read_table(saved(tmp_path, content))) == limits.TABLE_BYTES // len(line)
    with pytest.raises(TableUnreadable):
        read_table(saved(tmp_path, content + b"\n"))


def test_a_table_that_is_gone_is_refused(tmp_path):
    with pytest.raises(TableUnreadable):
        read_table(str(tmp_path / "gone.csv"))


def test_a_list_is_judged_line_by_line_and_counted(tab, run):
    shown = tab("sentiment").call("show_list", "Good!\n\n  \nBad.\nFine!", None, "english-sentiment")
    assert run.calls == [("judge_all", "english-sentiment", ["Good!", "Bad.", "Fine!"])]
    assert shown["list_say"] == EN.say("sentiment.list_said", glad=2, count=3, label="positive")
    assert [row[:2] for row in shown["table"]] == [["Good!", "positive"], ["Bad.", "negative"], ["Fine!", "positive"]]
    assert sum(shown["histogram"].data[0].y) == 3
    assert isinstance(shown["save"], gr.DownloadButton) and shown["save"].interactive
    assert read_back(shown["save"].value["path"])[1:] == [[*map(str, row)] for row in shown["table"]]


def test_a_saved_table_is_sent_from_where_gradio_cleans_up_and_lies_nowhere_else(tab):
    made = tab("sentiment")
    written = made.call("show_list", "Good!", None, "english-sentiment")["save"].value["path"]
    sent = made.visit("show_list", "Good!", None, "english-sentiment")["save"]["value"]["path"]
    for path in (written, sent):
        assert Path(path).is_relative_to(get_upload_folder())
    assert sent in set().union(*made.blocks.temp_file_sets)


def test_a_file_goes_before_the_lines_typed(tab, run, tmp_path):
    tab("sentiment").call("show_list", "typed", saved(tmp_path, "text\nfrom the file!\n"), "english-sentiment")
    assert run.calls == [("judge_all", "english-sentiment", ["from the file!"])]


def test_a_table_in_chinese_is_saved_with_its_headers_and_verdicts_in_chinese(tab):
    made = tab("sentiment", "zh")
    shown = made.call("show_list", "Good!", None, "english-sentiment")
    header, row = read_back(shown["save"].value["path"])
    assert header == [made.words.say(f"sentiment.column_{name}") for name in ("text", "verdict", "probability")]
    assert row[1] == made.words.label("positive")


@pytest.mark.parametrize("lines", ["", "   \n ", None])
def test_an_empty_list_is_left_to_the_task_to_refuse(tab, run, lines):
    run.answers["judge_all"] = TableUnreadable()
    with pytest.raises(gr.Error):
        tab("sentiment").call("show_list", lines, None, "english-sentiment")
    assert run.calls == [("judge_all", "english-sentiment", [])]
