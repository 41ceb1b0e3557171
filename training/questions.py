"""Questions about a scene of coloured shapes: a scene in, a question and its one true answer out, or None."""

import random
from collections.abc import Callable
from typing import NamedTuple

from core.scenes import COLOURS, KINDS, MOST_SHAPES, Scene, Shape

MARGIN = 0.1  # of the picture: things closer than this are neither left nor right of one another
COLUMNS, ROWS = ("left", "", "right"), ("top", "", "bottom")
PLACES = tuple(f"{row} {column}".strip() or "middle" for row in ROWS for column in COLUMNS)
RECTANGLE = "rectangle"  # what easy-VQA calls a shape with four corners, squares too; we say "square"
ANSWERS = (*COLOURS, *KINDS, RECTANGLE, *map(str, range(MOST_SHAPES + 1)), *PLACES, "yes", "no")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
ANYTHING = ("shape", "object", "thing")


class Question(NamedTuple):
    kind: str  # of ASKERS
    text: str
    answer: str  # of ANSWERS


class Target(NamedTuple):
    """What is asked about: a colour, a kind, both or neither."""

    colour: str | None
    kind: str | None

    def shapes(self, scene: Scene) -> list[Shape]:
        """Return the shapes of the scene that it means."""
        return [s for s in scene.shapes if self.colour in (None, s.colour) and self.kind in (None, s.kind)]

    def name(self, rng: random.Random, plural: bool = False) -> str:
        """Return it in words."""
        noun = (self.kind or rng.choice(ANYTHING)) + "s" * plural
        colour = rng.choice(("grey", "gray")) if self.colour == "grey" else self.colour
        return f"{colour} {noun}" if colour else noun


def targets(scene: Scene, rng: random.Random) -> list[Target]:
    """Return what one could ask about: what is there, and about as much that is not but nearly is."""
    there = {(shape.colour, shape.kind) for shape in scene.shapes}
    colours, kinds = sorted({colour for colour, _ in there}), sorted({kind for _, kind in there})
    nearly = [(colour, rng.choice(KINDS)) for colour in colours] + [(rng.choice(list(COLOURS)), kind) for kind in kinds]
    crossed = [(colour, kind) for colour in colours for kind in kinds]
    far = [(rng.choice(list(COLOURS)), rng.choice(KINDS))]
    pairs = sorted(there | set(nearly) | set(crossed) | set(far))
    alone = [(colour, None) for colour in sorted({*colours, rng.choice(list(COLOURS))})]
    alone += [(None, kind) for kind in sorted({*kinds, rng.choice(KINDS)})]
    return [Target(*pair) for pair in [*pairs, *alone]]


def ask_colour(scene: Scene, rng: random.Random) -> Question | None:
    """Ask for the colour of a kind that has one colour only, or of the shape furthest to one side."""
    named = [Target(None, kind) for kind in KINDS]
    fit = [target for target in named if len({shape.colour for shape in target.shapes(scene)}) == 1]
    if scene.shapes and rng.random() < 0.15:
        side, shape = furthest(scene, rng)
        if shape:
            name = f"{rng.choice(ANYTHING)} {side}"
            return Question("colour", f"{rng.choice(('what', 'which'))} {spelled(rng)} is the {name}", shape.colour)
    if not fit:
        return None
    target = rng.choice(fit)
    found = target.shapes(scene)
    name, verb = target.name(rng, plural=len(found) > 1), "are" if len(found) > 1 else "is"
    text = rng.choice((
        f"what {spelled(rng)} {verb} the {name}", f"which {spelled(rng)} {verb} the {name}",
        f"what is the {spelled(rng)} of the {name}", f"what {spelled(rng)} {'do' if verb == 'are' else 'does'} the {name} have",
        f"the {name} {verb} what {spelled(rng)}",
    ))  # fmt: skip
    return Question("colour", text, found[0].colour)


def ask_shape(scene: Scene, rng: random.Random) -> Question | None:
    """Ask for the kind of a colour that comes in one kind only, or of the shape furthest to one side."""
    fit = [
        target
        for target in (Target(colour, None) for colour in COLOURS)
        if len({s.kind for s in target.shapes(scene)}) == 1
    ]
    if scene.shapes and rng.random() < 0.15:
        side, shape = furthest(scene, rng)
        if shape:
            return Question("shape", f"what shape is {side}" if rng.random() < 0.5 else f"what is {side}", shape.kind)
    if not fit:
        return None
    target = rng.choice(fit)
    name = target.name(rng)
    colour = name.split()[0]
    text = rng.choice((
        f"what shape is the {name}", f"what shape is {colour}", f"what is the {name}", f"which shape is {colour}",
        f"what is {colour}", f"what is the shape of the {name}", f"what kind of shape is the {name}",
        f"what {colour} shape is there",
    ))  # fmt: skip
    return Question("shape", text, target.shapes(scene)[0].kind)


def ask_number(scene: Scene, rng: random.Random) -> Question | None:
    """Ask how many there are; of the numbers that occur in the scene the large ones, which few scenes have, are likelier."""
    by_count: dict[int, list[Target]] = {}
    for target in [*targets(scene, rng), Target(None, None)]:
        by_count.setdefault(len(target.shapes(scene)), []).append(target)
    counts = sorted(by_count)
    count = rng.choices(counts, weights=[1 + count for count in counts])[0]
    name = rng.choice(by_count[count]).name(rng, plural=True)
    where = rng.choice(("", "", "", " in the picture", " in the image"))
    text = rng.choice((
        f"how many {name} are there{where}", f"how many {name}{where}", f"how many {name} do you see{where}",
        f"how many {name} can you see", f"what is the number of {name}", f"count the {name}",
    ))  # fmt: skip
    return Question("number", text, str(count))


def ask_position(scene: Scene, rng: random.Random) -> Question | None:
    """Ask where a shape is that is the only one of its name, or how two such shapes lie to one another."""
    if rng.random() < 0.5 and (relation := ask_relation(scene, rng)):
        return relation
    alone = [target for target in targets(scene, rng) if len(target.shapes(scene)) == 1]
    if not alone:
        return None
    target = rng.choice(alone)
    (shape,) = target.shapes(scene)
    column, row = third(shape.x), third(shape.y)
    if column is None or row is None:
        return None
    name = target.name(rng)
    text = rng.choice((
        f"where is the {name}", f"where is the {name} in the picture", f"in which corner or side is the {name}",
        f"what is the position of the {name}", f"where can you see the {name}",
    ))  # fmt: skip
    return Question("position", text, f"{ROWS[row]} {COLUMNS[column]}".strip() or "middle")


def ask_relation(scene: Scene, rng: random.Random) -> Question | None:
    """Ask whether a shape is left of, right of, above or below another, each the only one of its name."""
    alone = [(target, *found) for target in targets(scene, rng) if len(found := target.shapes(scene)) == 1]
    if not alone:
        return None
    one, first = rng.choice(alone)
    others = [(target, shape) for target, shape in alone if shape != first]
    if not others:
        return None
    other, second = rng.choice(others)
    across = rng.random() < 0.5
    gap = second.x - first.x if across else second.y - first.y  # above 0: the first is on the left, or above
    if abs(gap) < MARGIN:
        return None
    before = rng.random() < 0.5
    words = (("left of", "to the left of") if before else ("right of", "to the right of")) if across else (
        ("above", "over", "higher than") if before else ("below", "under", "lower than")
    )  # fmt: skip
    text = f"is the {one.name(rng)} {rng.choice(words)} the {other.name(rng)}"
    return Question("position", text, "yes" if (gap > 0) == before else "no")


def ask_yes_no(scene: Scene, rng: random.Random) -> Question | None:
    """Ask something that is so or is not; both are as likely."""
    kinds = (ask_existence, ask_existence, ask_whether_coloured, ask_whether_number, ask_whether_more)
    return either(rng.choice(kinds), scene, rng)


def ask_comparison(scene: Scene, rng: random.Random) -> Question | None:
    """Ask whether there are more of one thing than of another; both answers are as likely."""
    return either(ask_whether_more, scene, rng)


def either(kind: Callable, scene: Scene, rng: random.Random) -> Question | None:
    """Ask something of a kind to which the answer is yes or no, drawn by a coin."""
    wanted = rng.random() < 0.5
    for _ in range(6):
        asked = kind(scene, rng)
        if asked and asked[1] == wanted:
            return Question("yes/no", asked[0], "yes" if wanted else "no")
    return None


def ask_existence(scene: Scene, rng: random.Random) -> tuple[str, bool]:
    """Ask whether something is there."""
    target = rng.choice(targets(scene, rng))
    one, many = target.name(rng), target.name(rng, plural=True)
    article = "an" if one[0] in "aeiou" else "a"
    text = rng.choice((
        f"is there {article} {one}", f"are there any {many}", f"is there {article} {one} in the picture",
        f"do you see {article} {one}", f"can you see {article} {one}", f"does the picture have {article} {one}",
    ))  # fmt: skip
    return text, bool(target.shapes(scene))


def ask_whether_coloured(scene: Scene, rng: random.Random) -> tuple[str, bool] | None:
    """Ask whether a kind that is there once has a colour."""
    alone = [shape for shape in scene.shapes if len(Target(None, shape.kind).shapes(scene)) == 1]
    if not alone:
        return None
    shape = rng.choice(alone)
    colour = rng.choice([shape.colour, rng.choice([*(one.colour for one in scene.shapes), *COLOURS])])
    return f"is the {shape.kind} {colour}", shape.colour == colour


def ask_whether_number(scene: Scene, rng: random.Random) -> tuple[str, bool] | None:
    """Ask whether there is exactly so many of something."""
    target = rng.choice(targets(scene, rng))
    count = len(target.shapes(scene))
    said = max(0, min(MOST_SHAPES, count + rng.choice((0, 0, -1, 1, 2))))
    if said == 0:
        return None
    number = rng.choice((NUMBERS[said], str(said)))
    verb = "is" if said == 1 else "are"
    return f"{verb} there {number} {target.name(rng, plural=said > 1)}", count == said


def ask_whether_more(scene: Scene, rng: random.Random) -> tuple[str, bool] | None:
    """Ask whether there are more of one thing than of another."""
    one, other = rng.sample(targets(scene, rng), 2)
    first, second = len(one.shapes(scene)), len(other.shapes(scene))
    more = rng.random() < 0.6
    text = f"are there {'more' if more else 'fewer'} {one.name(rng, plural=True)} than {other.name(rng, plural=True)}"
    return text, first > second if more else first < second


def furthest(scene: Scene, rng: random.Random) -> tuple[str, Shape | None]:
    """Return a side of the picture, in words, and the shape nearest to it, if no other comes close."""
    side = rng.choice(("on the left", "on the right", "at the top", "at the bottom"))
    sign = 1 if side in ("on the left", "at the top") else -1
    places = sorted(
        ((sign * (s.x if "the left" in side or "the right" in side else s.y), i) for i, s in enumerate(scene.shapes))
    )
    clear = len(places) == 1 or places[1][0] - places[0][0] > MARGIN
    return side, scene.shapes[places[0][1]] if clear else None


def third(place: float) -> int | None:
    """Return 0, 1 or 2 for the first, middle or last third, None too close to the line between two."""
    return 0 if place < 0.36 else 2 if place > 0.64 else 1 if 0.4 < place < 0.6 else None


def spelled(rng: random.Random) -> str:
    """Return colour, in one spelling or the other."""
    return rng.choice(("color", "colour"))


ASKERS: dict[str, Callable[[Scene, random.Random], Question | None]] = {
    "colour": ask_colour,
    "shape": ask_shape,
    "number": ask_number,
    "position": ask_position,
    "yes/no": ask_yes_no,
}
DRILLS = {"relation": ask_relation, "comparison": ask_comparison}  # parts of those kinds, to learn on


def ask(scene: Scene, rng: random.Random, kinds: tuple[str, ...] = tuple(ASKERS)) -> Question:
    """Ask one question of a kind drawn from `kinds` (of ASKERS or DRILLS), of another where the scene does not allow it."""
    for kind in rng.sample(kinds, len(kinds)):
        for _ in range(4):
            question = (ASKERS | DRILLS)[kind](scene, rng)
            if question:
                text = question.text if rng.random() < 0.4 else question.text + "?"
                return question._replace(text=text)
    return ask_number(scene, rng)
