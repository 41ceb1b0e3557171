"""Ask a picture: the answer, where it came from, and what is left of it with squares covered."""

from dataclasses import replace

import gradio as gr
import pytest
from PIL import Image

from core.errors import HiddenEverything
from core.pictures import open_picture
from core.results import Ranking, WhatIf
from demos import vqa
from demos.words import Words

EN, ZH = Words("en"), Words("zh")
PICTURE, QUESTION = vqa.EXAMPLES[0]


@pytest.fixture
def kept(tab) -> tuple:
    """Return what the page remembers after an answer."""
    return tab("vqa").call("show_answer", PICTURE, QUESTION, "shapes")["kept"]


def test_asking_runs_the_task_once_and_shows_every_part_of_the_answer(tab, run):
    shown = tab("vqa").call("show_answer", PICTURE, QUESTION, "shapes")
    assert run.calls == [("answer", "shapes", PICTURE, QUESTION)]
    assert "“red”" in shown["say"] and "70" in shown["say"] and "“blue”" in shown["say"]
    assert list(shown["bars"].data[0].x)[:3] == [0.7, 0.2, 0.1]
    assert len(shown["heat"].data[0].z) == 3 and len(shown["heat"].data[0].z[0]) == 4
    assert not shown["heat"].layout.shapes
    assert shown["data"]["ranking"]["labels"] == ["red", "blue", "two"]


def test_covering_a_square_asks_with_its_number_row_by_row(tab, run, kept):
    tab("vqa").call("show_covered", kept, click=[2, 1])
    assert run.calls[1:] == [("answer", "shapes", PICTURE, QUESTION, WhatIf(hidden_patches=frozenset({9})))]


def test_a_covered_square_is_crossed_out_where_it_was_clicked(tab, kept):
    shown = tab("vqa").call("show_covered", kept, click=[2, 1])
    crosses = shown["heat"].layout.shapes
    assert len(crosses) == 2
    assert {((line.x0 + line.x1) / 2, (line.y0 + line.y1) / 2) for line in crosses} == {(1, 2)}


def test_covered_squares_add_up_and_clicking_one_again_uncovers_it(tab, run, kept):
    for square, covered in (([0, 1], 1), ([2, 3], 2), ([0, 1], 1), ([2, 3], 0)):
        shown = tab("vqa").call("show_covered", kept, click=square)
        kept = shown["kept"]
        assert len(shown["heat"].layout.shapes) == 2 * covered
    assert len(run.calls) == 4  # nothing covered is the first answer: nobody has to be asked
    assert shown["moved"] == EN.say("vqa.whatif") and len(shown["bars"].data) == 1


def test_the_answers_before_and_after_stand_side_by_side(tab, kept):
    bars = tab("vqa").call("show_covered", kept, click=[0, 0])["bars"]
    before, after = bars.data
    assert list(before.x) == [0.7, 0.2, 0.1] and list(after.x) == [0.2, 0.7, 0.1]


def test_it_says_whether_covering_changed_the_answer(tab, kept):
    same = tab("vqa").call("show_covered", kept, click=[1, 1])["moved"]
    other = tab("vqa").call("show_covered", kept, click=[0, 0])["moved"]
    assert "“blue”" not in same and "“blue”" in other


def test_covering_before_there_is_an_answer_says_what_can_be_done(tab, run):
    assert tab("vqa").call("show_covered", None, click=[0, 0]) == {"moved": EN.say("vqa.whatif")}
    assert run.calls == []


def test_covering_the_last_square_is_refused_and_what_was_covered_stays(tab, run, kept):
    run.answers["answer"] = HiddenEverything()
    with pytest.raises(gr.Error, match="nothing left to look at"):
        tab("vqa").call("show_covered", kept, click=[0, 0])
    assert kept[-1] == frozenset()


def test_words_the_model_never_met_are_named(tab, run):
    answered = run.answers["answer"](PICTURE, QUESTION)
    run.answers["answer"] = replace(answered, unknown=("zebra", "<b>"))
    said = tab("vqa").call("show_answer", PICTURE, "a zebra?", "shapes")["say"]
    assert "“zebra”" in said and "“<b>”" in said


def test_answers_are_told_in_the_visitors_language(tab, run):
    answered = run.answers["answer"](PICTURE, QUESTION)
    run.answers["answer"] = replace(answered, ranking=Ranking(("yes", "no"), (0.9, 0.1)))
    said = tab("vqa", "zh").call("show_answer", PICTURE, QUESTION, "shapes")["say"]
    assert ZH.label("yes") in said and ZH.label("no") in said and "yes" not in said


def test_a_scene_is_drawn_without_asking_the_model_and_another_every_time(tab, run):
    drawn = [tab("vqa").call("show_scene")["picture"] for _ in range(4)]
    assert all(isinstance(scene, Image.Image) for scene in drawn)
    assert len({scene.tobytes() for scene in drawn}) > 1
    assert run.calls == []


@pytest.mark.parametrize("picture", [path for path, _ in vqa.EXAMPLES])
def test_every_example_is_a_picture_that_can_be_opened(picture):
    assert min(open_picture(picture).size) >= 64
