"""Scenes: what is made up can be told apart, and what is drawn is what the record says."""

import math
import random

import pytest

from core import scenes
from core.scenes import COLOURS, KINDS, MOST_SHAPES, Scene, Shape, draw, random_scene


def made_up(count: int = 300) -> list[Scene]:
    rng = random.Random(0)
    return [random_scene(rng) for _ in range(count)]


def test_the_same_chance_makes_the_same_scene_and_picture():
    first, again = (random_scene(random.Random(7)) for _ in range(2))
    assert first == again
    assert draw(first, 64).tobytes() == draw(again, 64).tobytes()


def test_every_kind_colour_and_number_of_shapes_comes_up():
    shapes = [shape for scene in made_up() for shape in scene.shapes]
    assert {shape.kind for shape in shapes} == set(KINDS)
    assert {shape.colour for shape in shapes} == set(COLOURS)
    assert {len(scene.shapes) for scene in made_up()} == set(range(MOST_SHAPES + 1))


def test_a_scene_has_none_of_the_pairs_it_must_do_without():
    without = frozenset((colour, kind) for colour in COLOURS for kind in KINDS[:3])
    rng = random.Random(0)
    found = [random_scene(rng, without) for _ in range(200)]
    assert not any((shape.colour, shape.kind) in without for scene in found for shape in scene.shapes)
    assert {len(scene.shapes) for scene in found} == set(range(MOST_SHAPES + 1))
    assert {shape.kind for scene in found for shape in scene.shapes} == set(KINDS[3:])


def test_repeats_of_one_kind_and_colour_are_common():
    repeated = [len({(s.kind, s.colour) for s in scene.shapes}) < len(scene.shapes) for scene in made_up()]
    assert sum(repeated) > len(repeated) / 4


def test_shapes_lie_in_the_picture_apart_from_one_another():
    for scene in made_up():
        wide, high = max(1.0, scene.aspect), max(1.0, 1 / scene.aspect)
        for number, shape in enumerate(scene.shapes):
            assert shape.size <= shape.x * wide <= wide - shape.size
            assert shape.size <= shape.y * high <= high - shape.size
            for other in scene.shapes[:number]:
                far = math.hypot((shape.x - other.x) * wide, (shape.y - other.y) * high)
                assert far > shape.size + other.size


def test_shapes_stand_out_from_the_background():
    for scene in made_up():
        for shape in scene.shapes:
            assert all(math.dist(shape.paint, behind) > scenes.CONTRAST for behind in scene.background)


def test_no_two_names_share_a_colour():
    told = [(name, paint) for name, paints in COLOURS.items() for paint in paints]
    for name, paint in told:
        assert all(math.dist(paint, other) > 3 * scenes.JITTER for known, other in told if known != name)


@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("smooth", [True, False])
def test_a_picture_has_the_pixels_asked_for(aspect, smooth):
    picture = draw(Scene((), aspect=aspect, smooth=smooth), 60)
    assert picture.mode == "RGB"
    assert min(picture.size) == 60
    assert picture.width / picture.height == pytest.approx(aspect, rel=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_is_painted_where_the_record_says(kind):
    scene = Scene((Shape(kind, "red", x=0.25, y=0.75, size=0.2, paint=(255, 0, 0)),), aspect=2.0)
    picture = draw(scene, 100)
    assert picture.getpixel((50, 75)) == (255, 0, 0)
    assert picture.getpixel((150, 25)) == (255, 255, 255)


def test_gradients_and_grain_are_drawn():
    fading = draw(Scene((), background=((255, 255, 255), (200, 200, 200))), 64)
    assert fading.getpixel((5, 0))[0] > fading.getpixel((5, 63))[0]
    assert len(draw(Scene((), background=((99, 99, 99),) * 2, grain=9), 64).getcolors(maxcolors=4096)) > 10
