"""Questions: every answer is true of the scene, and none is given away by the words."""

import random
from collections import Counter

import pytest

from core.scenes import COLOURS, KINDS, Scene, Shape, random_scene
from training.questions import ANSWERS, ASKERS, DRILLS, RECTANGLE, Target, ask, third


def shape(kind: str, colour: str, x: float, y: float) -> Shape:
    return Shape(kind, colour, x, y, size=0.1, paint=COLOURS[colour][0])


SCENE = Scene((
    shape("circle", "red", 0.2, 0.2),
    shape("circle", "red", 0.8, 0.2),
    shape("square", "blue", 0.5, 0.8),
))  # fmt: skip
KNOWN = {
    "how many red circles are there": "2",
    "how many red circles": "2",
    "how many shapes are there": "3",
    "how many blue circles": "0",
    "what color is the square": "blue",
    "what colour are the circles": "red",
    "what shape is blue": "square",
    "where is the blue square": "bottom",
    "is there a blue square": "yes",
    "is the square blue": "yes",
    "are there two red circles": "yes",
    "are there more circles than squares": "yes",
    "are there fewer circles than squares": "no",
}


def asked(scene: Scene, count: int = 4000, kinds: tuple[str, ...] = tuple(ASKERS)) -> list:
    rng = random.Random(0)
    return [ask(scene, rng, kinds) for _ in range(count)]


def test_answers_to_known_questions_are_true():
    drawn = asked(SCENE, 12_000) + asked(SCENE, 20_000, ("yes/no",))  # comparisons are rare among all
    found = {one.text.rstrip("?"): one.answer for one in drawn}
    assert {text: found.get(text) for text in KNOWN} == KNOWN


def test_one_scene_never_gives_two_answers_to_a_question():
    rng = random.Random(1)
    for _ in range(100):
        answers: dict[str, str] = {}
        for one in asked(random_scene(rng), 60):
            assert answers.setdefault(one.text.rstrip("?"), one.answer) == one.answer


def test_every_answer_comes_up_and_is_known():
    rng = random.Random(2)
    found = {ask(random_scene(rng), rng).answer for _ in range(12_000)}
    assert found == set(ANSWERS) - {RECTANGLE}


@pytest.mark.parametrize("kind", ["yes/no", "colour", "shape", "number"])
def test_no_answer_of_a_kind_is_much_likelier_than_the_others(kind):
    rng = random.Random(3)
    mine = [one for one in (ask(random_scene(rng), rng, (kind,)) for _ in range(3000)) if one.kind == kind]
    answers = Counter(one.answer for one in mine)
    assert answers.most_common(1)[0][1] < 2 * len(mine) / len(answers)


@pytest.mark.parametrize("drill", DRILLS)
def test_a_drill_asks_one_thing_only_as_likely_true_as_not(drill):
    rng = random.Random(4)
    mine = [one for one in (DRILLS[drill](random_scene(rng), rng) for _ in range(2000)) if one]
    answers = Counter(one.answer for one in mine)
    assert set(answers) == {"yes", "no"} and 0.8 < answers["yes"] / answers["no"] < 1.25
    told = ("left of", "right of", "above", "over", "higher", "below", "under", "lower", "more", "fewer")
    assert all(any(word in one.text for word in told) for one in mine)


def test_how_two_shapes_lie_is_told_from_their_places():
    scene = Scene((shape("circle", "red", 0.2, 0.3), shape("square", "blue", 0.8, 0.7)))
    rng = random.Random(5)
    found = {(one.text, one.answer) for one in (DRILLS["relation"](scene, rng) for _ in range(2000)) if one}
    for side, answer in (("to the left of", "yes"), ("right of", "no"), ("above", "yes"), ("lower than", "no")):
        assert (f"is the red circle {side} the blue square", answer) in found
    assert DRILLS["relation"](Scene((shape("circle", "red", 0.2, 0.3),)), rng) is None


def test_a_scene_without_shapes_can_be_asked_about():
    assert {one.answer for one in asked(Scene(()), 300)} <= {"0", "yes", "no"}


def test_what_is_too_close_to_call_is_not_asked():
    assert [third(place) for place in (0.1, 0.38, 0.5, 0.62, 0.9)] == [0, None, 1, None, 2]
    level = Scene((shape("circle", "red", 0.5, 0.5), shape("square", "blue", 0.52, 0.5)))
    assert not any("left" in one.text or "above" in one.text for one in asked(level, kinds=("position",)))


def test_targets_are_told_by_colour_kind_both_or_neither():
    counts = [len(Target(colour, kind).shapes(SCENE)) for colour in ("red", None) for kind in ("circle", None)]
    assert counts == [2, 2, 2, 3]


def test_both_spellings_and_both_endings_are_asked():
    texts = [one.text for one in asked(Scene((shape(KINDS[0], "grey", 0.5, 0.5),)))]
    for word in ("color", "colour", "grey", "gray"):
        assert any(word in text.rstrip("?").split() for text in texts)
    assert 0.3 < sum(text.endswith("?") for text in texts) / len(texts) < 0.9
