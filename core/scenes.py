"""Scenes of coloured shapes: a stream of chance in, a record out; a record in, a Pillow picture out."""

import dataclasses
import math
import random

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]  # red, green, blue, each 0 to 255
Point = tuple[float, float]

# Every name has several fair examples; what is drawn lies between two of them, give or take JITTER.
COLOURS: dict[str, tuple[Colour, ...]] = {
    "red": ((255, 0, 0), (220, 40, 40), (200, 0, 0)),
    "green": ((0, 255, 0), (0, 128, 0), (44, 160, 44), (34, 139, 34)),
    "blue": ((0, 0, 255), (31, 119, 180), (65, 105, 225), (0, 0, 170)),
    "yellow": ((255, 255, 0), (255, 220, 0), (250, 230, 60)),
    "orange": ((255, 165, 0), (255, 127, 14), (255, 140, 0)),
    "purple": ((128, 0, 128), (148, 0, 211), (148, 103, 189), (110, 30, 160)),
    "pink": ((255, 192, 203), (255, 105, 180), (255, 50, 150), (227, 119, 194)),
    "black": ((0, 0, 0), (30, 30, 30)),
    "white": ((255, 255, 255), (242, 242, 242)),
    "grey": ((128, 128, 128), (169, 169, 169), (105, 105, 105)),
    "brown": ((165, 42, 42), (139, 69, 19), (110, 65, 30), (140, 86, 75)),
    "teal": ((0, 128, 128), (0, 150, 150), (20, 135, 125)),
}
JITTER = 8  # of 255, a channel
CONTRAST = 75  # of 441, the least distance between a shape's colour and what lies behind it
MOST_SHAPES = 6
SMOOTH = 3  # times larger is a smooth scene drawn before it is scaled down


def heart() -> tuple[Point, ...]:
    """Return the outline of a heart within the unit circle."""
    angles = [math.tau * i / 40 for i in range(40)]
    return tuple(
        (math.sin(a) ** 3, (-13 * math.cos(a) + 5 * math.cos(2 * a) + 2 * math.cos(3 * a) + math.cos(4 * a) - 2) / 15)
        for a in angles
    )


def ring(*radii: float, corners: int) -> tuple[Point, ...]:
    """Return corners on circles of the radii, taken in turn, the first one straight up."""
    turns = [(radii[i % len(radii)], math.tau * i / corners) for i in range(corners)]
    return tuple((r * math.sin(a), -r * math.cos(a)) for r, a in turns)


OUTLINES: dict[str, tuple[Point, ...]] = {  # y points down
    "circle": ring(1.0, corners=48),
    "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "triangle": ((0.0, -0.95), (1.0, 0.85), (-1.0, 0.85)),
    "star": ring(1.1, 0.44, corners=10),
    "heart": heart(),
}
KINDS = tuple(OUTLINES)


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    kind: str  # of KINDS
    colour: str  # of COLOURS
    x: float  # of the centre, 0 left to 1 right
    y: float  # of the centre, 0 top to 1 bottom
    size: float  # the radius, in shorter sides of the picture
    paint: Colour  # what `colour` is here
    turn: float = 0.0  # degrees, clockwise
    squash: float = 1.0  # width over height
    edge: Colour | None = None  # of a thin line around it


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    shapes: tuple[Shape, ...]
    background: tuple[Colour, Colour] = ((255, 255, 255), (255, 255, 255))  # at the top, at the bottom
    aspect: float = 1.0  # width over height
    smooth: bool = True  # edges
    grain: int = 0  # of 255, how far noise moves a channel


def random_scene(rng: random.Random, without: frozenset[tuple[str, str]] = frozenset()) -> Scene:
    """Make up a scene of at most MOST_SHAPES shapes that hardly overlap, in which repeats are common.

    `without`: the pairs of colour and kind that no shape may have.
    """
    background = random_background(rng)
    aspect = 1.0 if rng.random() < 0.5 else math.exp(rng.uniform(-0.7, 0.7))
    count = 0 if rng.random() < 0.03 else rng.randint(1, MOST_SHAPES)
    usual = rng.choice(KINDS), rng.choice(list(COLOURS))
    keep_kind, keep_colour = rng.choice(((0.0, 0.0), (0.8, 0.8), (0.9, 0.4), (0.4, 0.9)))
    shapes: list[Shape] = []
    for _ in range(count * 30):  # tries
        if len(shapes) == count:
            break
        kind = usual[0] if rng.random() < keep_kind else rng.choice(KINDS)
        colour = usual[1] if rng.random() < keep_colour else rng.choice(list(COLOURS))
        if (colour, kind) in without:
            continue
        paint = random_paint(rng, colour)
        shape = random_shape(rng, kind, colour, paint, largest=min(0.4, 0.5 / math.sqrt(count)), aspect=aspect)
        if all(math.dist(paint, behind) > CONTRAST for behind in background) and has_room(shape, shapes, aspect):
            shapes.append(shape)
    grain = rng.randint(2, 12) if rng.random() < 0.15 else 0
    return Scene(tuple(shapes), background, aspect, smooth=rng.random() < 0.5, grain=grain)


def random_background(rng: random.Random) -> tuple[Colour, Colour]:
    """Return the colours at the top and at the bottom: white most often, then tints, greys and black."""
    grey = rng.randint(40, 235)
    tint = rng.randint(190, 255), rng.randint(190, 255), rng.randint(190, 255)
    choices = ((255, 255, 255), tint, (grey, grey, grey), (0, 0, 0))
    top = rng.choices(choices, weights=(50, 20, 15, 15))[0]
    if rng.random() < 0.85:
        return top, top
    return top, tuple(max(0, min(255, channel + rng.randint(-50, 50))) for channel in top)


def random_paint(rng: random.Random, colour: str) -> Colour:
    """Return a colour that everybody would call by the name."""
    one, other = rng.choice(COLOURS[colour]), rng.choice(COLOURS[colour])
    share, jitter = rng.choice((0.0, rng.random())), rng.choice((0, JITTER))
    mixed = (a + share * (b - a) + rng.uniform(-jitter, jitter) for a, b in zip(one, other, strict=True))
    return tuple(max(0, min(255, round(channel))) for channel in mixed)


def random_shape(rng: random.Random, kind: str, colour: str, paint: Colour, largest: float, aspect: float) -> Shape:
    """Return a shape that lies within the picture."""
    size = rng.uniform(0.075, largest)
    margin_x, margin_y = size / max(1.0, aspect), size * min(1.0, aspect)
    turn = 0.0 if rng.random() < 0.6 else rng.uniform(-14, 14)
    if kind == "triangle" and rng.random() < 0.2:
        turn += 180
    return Shape(
        kind,
        colour,
        x=rng.uniform(margin_x, 1 - margin_x),
        y=rng.uniform(margin_y, 1 - margin_y),
        size=size,
        paint=paint,
        turn=turn,
        squash=1.0 if rng.random() < 0.7 else math.exp(rng.uniform(-0.25, 0.25)),
        edge=None if rng.random() < 0.88 else tuple(channel // 3 for channel in paint),
    )


def has_room(shape: Shape, others: list[Shape], aspect: float) -> bool:
    """Say whether the circle around the shape stays clear of those around the others, or nearly so."""
    wide, high = max(1.0, aspect), max(1.0, 1 / aspect)  # of the picture, in shorter sides
    return all(
        math.hypot((shape.x - other.x) * wide, (shape.y - other.y) * high) > 1.08 * (shape.size + other.size)
        for other in others
    )


def draw(scene: Scene, pixels: int) -> Image.Image:
    """Return the scene as an RGB picture whose shorter side has so many pixels."""
    scale = pixels * (SMOOTH if scene.smooth else 1)
    width, height = round(scale * max(1.0, scene.aspect)), round(scale * max(1.0, 1 / scene.aspect))
    picture = paper(scene, width, height)
    brush = ImageDraw.Draw(picture)
    for shape in scene.shapes:
        corners = corners_of(shape, width, height, scale)
        brush.polygon(corners, fill=shape.paint)
        if shape.edge:
            brush.line([*corners, corners[0], corners[1]], fill=shape.edge, width=max(1, round(scale / 80)))
    if scene.smooth:
        picture = picture.resize((width // SMOOTH, height // SMOOTH), Image.Resampling.BOX)
    return picture


def paper(scene: Scene, width: int, height: int) -> Image.Image:
    """Return the background alone."""
    top, bottom = scene.background
    if top == bottom and not scene.grain:
        return Image.new("RGB", (width, height), top)
    fall = np.linspace(top, bottom, height)[:, None, :]  # (height, 1, 3)
    noise = np.random.default_rng(scene.grain).uniform(-scene.grain, scene.grain, (height, width, 3))
    return Image.fromarray((fall + noise).clip(0, 255).astype(np.uint8))


def corners_of(shape: Shape, width: int, height: int, scale: int) -> list[Point]:
    """Return the outline's corners in pixels."""
    cos, sin = math.cos(math.radians(shape.turn)), math.sin(math.radians(shape.turn))
    wide = shape.size * scale * math.sqrt(shape.squash)
    high = shape.size * scale / math.sqrt(shape.squash)
    placed = []
    for x, y in OUTLINES[shape.kind]:
        x, y = x * wide, y * high
        placed.append((shape.x * width + x * cos - y * sin, shape.y * height + x * sin + y * cos))
    return placed
