"""easy-VQA: its archive read picture by picture, in our words, one picture in ten kept out."""

import lzma

import pytest

from tests.training.tiny_sets import write_sets
from training import easy_vqa
from training.loop import RecipeError
from training.questions import ANSWERS, Question
from training.sources import SOURCES


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_sets(folder)
    return folder


def test_every_question_is_about_its_picture_and_has_an_answer_of_ours(data):
    learned, held_out = easy_vqa.read(data)
    assert len(learned) == 18 and len(held_out) == 2
    for picture in learned + held_out:
        assert picture.image.size == (64, 64) and picture.image.mode == "RGB"
        assert {one.answer for one in picture.questions} <= set(ANSWERS)
        colour = picture.questions[0].answer
        assert colour != "gray" and picture.pair() == (colour, "square")


def test_no_picture_is_both_learned_from_and_held_out(data):
    learned, held_out = ({picture.image.tobytes() for picture in part} for part in easy_vqa.read(data))
    assert len(learned) == 18 and len(held_out) == 2 and not learned & held_out


@pytest.mark.parametrize(
    ("text", "answer", "said"),
    [
        ("is there a red shape?", "yes", True),
        ("is there a red shape?", "no", False),
        ("is there not a red shape?", "no", True),
        ("is no red shape present?", "yes", False),
        ("what is the red shape?", "circle", True),
    ],
)
def test_what_a_question_and_its_answer_say_of_the_picture(text, answer, said):
    assert ("red" in easy_vqa.truths(Question("easy-VQA", text, answer))) == said


def test_what_the_questions_leave_open_stays_open():
    picture = easy_vqa.Picture(None, (Question("easy-VQA", "is there a red shape?", "no"),))
    assert picture.pair() == ("", "")


@pytest.mark.parametrize("content", [b"", b"not packed", lzma.compress(b"not an archive" * 100)])
def test_a_damaged_archive_is_one_clear_line(data, tmp_path, content):
    path = tmp_path / SOURCES["easy_vqa"].path
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(RecipeError, match="vzhou842/easy-VQA") as told:
        easy_vqa.read(tmp_path)
    assert "\n" not in str(told.value)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(RecipeError, match="easy_vqa_train.tar.xz is missing"):
        easy_vqa.read(tmp_path)
