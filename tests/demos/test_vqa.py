"""Ask a picture: the answer, where it came from, and what is left of it with squares covered."""

from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from core.errors import HiddenEverything
from core.pictures import open_picture
from core.results import PatchCover, PatchMap, Ranking, WhatIf
from demos import vqa
from demos.words import Words

EN, ZH = Words("en"), Words("zh")
PICTURE, QUESTION = vqa.EXAMPLES["en"][0]


@pytest.fixture
def kept(tab) -> vqa.Memory:
    """Return what the page remembers after an answer."""
    return tab("vqa").call("show_answer", PICTURE, QUESTION, "shapes")["kept"]


def crosses(shown: dict) -> set:
    """Return the squares [row, column] that are crossed out."""
    lines = shown["heat"].shapes
    assert len(lines) % 2 == 0
    return {((line["y0"] + line["y1"]) / 2, (line["x0"] + line["x1"]) / 2) for line in lines}


def test_asking_runs_the_task_once_and_shows_every_part_of_the_answer(tab, run):
    shown = tab("vqa").call("show_answer", PICTURE, QUESTION, "shapes")
    assert run.calls == [("answer", "shapes", PICTURE, QUESTION)]
    assert "“red”" in shown["say"] and "70" in shown["say"] and "“blue”" in shown["say"]
    assert list(shown["bars"].data[0].x)[:3] == [0.7, 0.2, 0.1]
    assert len(shown["heat"].data[0].z) == 3 and len(shown["heat"].data[0].z[0]) == 4
    assert not shown["heat"].layout.shapes and shown["compared"] is None
    assert shown["data"]["ranking"]["labels"] == ["red", "blue", "two"]
    assert [token.text for token in shown["strip"]] == QUESTION.split()
    assert shown["agree"] == "" and shown["way"].value == "gradients"


def test_the_map_is_of_the_way_that_is_chosen_and_says_what_each_square_stands_for(tab, run, kept):
    maps = {}
    for way in ("gradients", "rollout"):
        (shown,) = tab("vqa").stream("show_way", kept, way)
        maps[way] = shown["heat"].data[0]
    assert maps["gradients"].z[0][0] == 0 and maps["rollout"].z[2][0] == 0
    assert maps["gradients"].meta["notes"][2][3] == EN.say("vqa.share", share="100%")
    assert len(run.calls) == 1


def test_covering_every_square_is_asked_for_once_and_says_that_it_takes_a_moment(tab, run, kept):
    waiting, keeping, shown = tab("vqa").stream("show_way", kept, "covering")
    assert waiting["where"] == EN.say("vqa.covering_now")
    assert run.calls[1:] == [("cover_patches", "shapes", PICTURE, QUESTION)]
    assert keeping["data"][1]["agreement"] == 0.25
    assert "30.0" in shown["heat"].data[0].meta["notes"][0][0] and "−10.0" in shown["heat"].data[0].meta["notes"][2][3]
    assert "0.25" in shown["agree"]
    for way in ("rollout", "covering"):
        (again,) = tab("vqa").stream("show_way", keeping["kept"], way)
        assert again["agree"] == shown["agree"]
    assert len(run.calls) == 2


def test_choosing_a_way_before_there_is_an_answer_does_nothing(tab, run):
    assert list(tab("vqa").stream("show_way", None, "covering")) == [] and run.calls == []


@pytest.mark.parametrize(
    ("cells", "place"),
    [
        ([(0, 0)], "top left"), ([(0, 3), (0, 4)], "top"), ([(0, 7)], "top right"), ([(3, 0)], "left"),
        ([(3, 3), (4, 4)], "middle"), ([(4, 7)], "right"), ([(7, 0), (6, 1)], "bottom left"), ([(7, 4)], "bottom"),
        ([(6, 7)], "bottom right"), ([(0, 0), (7, 7)], None), ([], None),
    ],
)  # fmt: skip
def test_where_the_answer_came_from_is_said_in_words(tab, kept, cells, place):
    weights = np.full((8, 8), 0.1, np.float32)
    for cell in cells:
        weights[cell] = 1
    assert vqa.place_of(weights) == place
    for language in (EN, ZH):
        told = vqa.tell_where(kept, PatchMap(weights, "gradients"), language)
        assert place is None or language.say(f"vqa.at.{place}") in told


def test_it_says_so_where_no_square_alone_decides(kept):
    lost = np.full((3, 4), 0.002, np.float32)
    cover = PatchCover("red", PatchMap(np.eye(3, 4, dtype=np.float32), "covering"), lost, None)
    memory = replace(kept, cover=cover)
    told = vqa.tell_where(memory, cover.patches, EN)
    assert told == EN.say("vqa.where_covering_little", answer="red")
    assert vqa.tell_agreement(cover, EN) == ""


@pytest.mark.parametrize(("agreement", "level"), [(0.9, "well"), (0.5, "well"), (0.3, "somewhat"), (-0.4, "hardly")])
def test_how_far_the_ways_agree_is_one_number_in_one_sentence(agreement, level):
    cover = PatchCover("red", PatchMap(np.ones((1, 1), np.float32), "covering"), np.ones((1, 1), np.float32), agreement)
    number = {-0.4: "−0.40"}.get(agreement, f"{agreement:.2f}")
    assert vqa.tell_agreement(cover, EN) == EN.say(f"vqa.agree_{level}", number=number)


def test_an_answer_without_a_map_says_so(tab, run):
    run.answers["answer"] = replace(run.answers["answer"](PICTURE, QUESTION), patches=())
    shown = tab("vqa").call("show_answer", PICTURE, QUESTION, "shapes")
    assert shown["heat"] is None and shown["where"] == EN.say("vqa.no_map") and shown["way"].visible is False
    assert list(tab("vqa").stream("show_way", shown["kept"], "covering")) == []
    covered = tab("vqa").call("show_word_covered", shown["kept"], click=1)
    assert covered["kept"].hidden == WhatIf(hidden_tokens=frozenset({1})) and "heat" not in covered


def test_covering_a_square_asks_with_its_number_row_by_row(tab, run, kept):
    tab("vqa").call("show_patch_covered", kept, click=[2, 1])
    assert run.calls[1:] == [("answer", "shapes", PICTURE, QUESTION, WhatIf(hidden_patches=frozenset({9})), False)]


def test_covered_squares_are_crossed_out_add_up_and_clicking_one_again_uncovers_it(tab, run, kept):
    crossed = set()
    for square in ((0, 1), (2, 3), (0, 1), (2, 3)):
        shown = tab("vqa").call("show_patch_covered", kept, click=list(square))
        kept, crossed = shown["kept"], crossed ^ {square}
        assert crosses(shown) == crossed
    assert len(run.calls) == 4  # nothing covered is the first answer: nobody has to be asked
    assert shown["moved"] == EN.say("vqa.whatif") and shown["compared"] is None


def test_words_are_covered_beside_squares_and_both_are_named(tab, run, kept):
    kept = tab("vqa").call("show_patch_covered", kept, click=[1, 1])["kept"]
    shown = tab("vqa").call("show_word_covered", kept, click=2)
    hidden = WhatIf(hidden_patches=frozenset({5}), hidden_tokens=frozenset({2}))
    assert run.calls[-1] == ("answer", "shapes", PICTURE, QUESTION, hidden, False)
    assert [token.covered for token in shown["strip"]].index(True) == 2
    assert EN.say("vqa.square") in shown["moved"] and "“red”" in shown["moved"]
    assert crosses(shown) == {(1, 1)}


def test_a_covered_square_stays_crossed_out_when_another_way_is_chosen(tab, kept):
    kept = tab("vqa").call("show_patch_covered", kept, click=[1, 2])["kept"]
    (shown,) = tab("vqa").stream("show_way", kept, "rollout")
    assert len(shown["heat"].layout.shapes) == 2


def test_words_are_tinted_by_how_they_pushed_and_say_what_covering_them_costs(tab):
    strip = tab("vqa").call("show_answer", PICTURE, QUESTION, "shapes")["strip"]
    assert strip[0].tint < 0 < strip[-1].tint == 1
    assert "10.0" in strip[2].note


def test_the_answers_before_and_after_stand_side_by_side(tab, kept):
    bars = tab("vqa").call("show_patch_covered", kept, click=[0, 0])["compared"]
    before, after = bars.data
    assert list(before.x) == [0.7, 0.2, 0.1] and list(after.x) == [0.2, 0.7, 0.1]


def test_it_says_whether_covering_changed_the_answer(tab, kept):
    same = tab("vqa").call("show_patch_covered", kept, click=[1, 1])["moved"]
    other = tab("vqa").call("show_patch_covered", kept, click=[0, 0])["moved"]
    assert "“blue”" not in same and "stays" in same and "“blue”" in other


@pytest.mark.parametrize(("handler", "click"), [("show_patch_covered", [0, 0]), ("show_word_covered", 0)])
def test_covering_before_there_is_an_answer_says_what_can_be_done(tab, run, handler, click):
    assert tab("vqa").call(handler, None, click=click) == {"moved": EN.say("vqa.whatif")}
    assert run.calls == []


def test_covering_the_last_square_is_refused_and_what_was_covered_stays(tab, run, kept):
    run.answers["answer"] = HiddenEverything()
    with pytest.raises(gr.Error, match="nothing left to look at"):
        tab("vqa").call("show_patch_covered", kept, click=[0, 0])
    assert kept.hidden == WhatIf()


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


def test_an_answer_that_stands_alone_is_told_alone(tab, run):
    answered = run.answers["answer"](PICTURE, QUESTION)
    run.answers["answer"] = replace(answered, ranking=Ranking(("a cat",), (0.9,)))
    assert "“a cat”" in tab("vqa").call("show_answer", PICTURE, QUESTION, "shapes")["say"]


def test_a_scene_is_drawn_without_asking_the_model_and_another_every_time(tab, run):
    drawn = [tab("vqa").call("show_scene")["picture"] for _ in range(4)]
    assert all(isinstance(scene, Image.Image) for scene in drawn)
    assert len({scene.tobytes() for scene in drawn}) > 1
    assert run.calls == []


@pytest.mark.parametrize("picture", [path for path, _ in vqa.EXAMPLES["en"]])
def test_every_example_is_a_picture_that_can_be_opened(picture):
    assert min(open_picture(picture).size) >= 64
