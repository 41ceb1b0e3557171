"""Trees on hand-written stories and beams: every branch where it forks, no crossing, every point leads to its story."""

import json
import random

import pytest
from plotly.graph_objects import Figure

from core import trees
from core.results import Beam, Beams
from core.trees import Line

LINES = [
    Line(1, None, 0, 80, "story 1", "80 tokens"),
    Line(2, 1, 10, 60, "2 <b>", "60 <i>"),
    Line(3, 1, 40, 90, "3 a very long word indeed", "90"),
    Line(4, 2, 30, 30, "4", "30"),  # stopped at its fork
]


def beam(parent: int | None, depth: int, probability: float, together: float, kept: bool = True) -> Beam:
    """Return a beam."""
    return Beam(parent, depth, 7, " <b>", "<b>", probability, together, kept)


BEAMS = Beams(
    (
        beam(None, 0, 0.5, 0.5), beam(None, 0, 0.4, 0.4), beam(None, 0, 0.05, 0.05, kept=False),
        beam(1, 1, 0.9, 0.36), beam(0, 1, 0.3, 0.15), beam(0, 1, 0.2, 0.1, kept=False),
    ), 2, (3, 4),
)  # fmt: skip
NOTES = [f"note {number} <i>" for number in range(6)]
FIGURES = {
    "stories": lambda: trees.stories_tree(LINES, 4, "tokens"),
    "one story": lambda: trees.stories_tree(LINES[:1], 1, "tokens"),
    "an empty story": lambda: trees.stories_tree([Line(1, None, 0, 0, "", "")], 1, "tokens"),
    "beams": lambda: trees.beams_tree(BEAMS, "<s>", NOTES),
    "no beams": lambda: trees.beams_tree(Beams((), 2, ()), "a", []),
}
EVERY = pytest.mark.parametrize("name", FIGURES)


def lanes(drawn: Figure) -> dict[int, float]:
    """Return the lane of every story, by its id."""
    return dict(zip(drawn.data[0].customdata, drawn.data[0].y, strict=True))


def many(count: int, seed: int) -> list[Line]:
    """Return stories that leave one another at random."""
    chance, lines = random.Random(seed), [Line(1, None, 0, 100, "1", "")]
    for id in range(2, count + 1):
        parent = chance.choice(lines)
        begins = chance.randint(parent.begins, parent.ends)
        lines.append(Line(id, parent.id, begins, begins + chance.randint(1, 80), str(id), ""))
    return lines


@EVERY
def test_a_tree_is_json_without_nan_without_plotlys_template_and_light(name):
    drawn = FIGURES[name]()
    data = json.loads(drawn.to_json(), parse_constant=lambda constant: pytest.fail(constant))
    assert not data["layout"].get("template") and len(drawn.to_json()) < 40_000


@EVERY
def test_no_text_can_be_taken_for_markup(name):
    for trace in FIGURES[name]().data:
        for text in [
            *(trace.text or []),
            *([trace.hovertext] if isinstance(trace.hovertext, str) else trace.hovertext or []),
        ]:
            assert "<" not in text


def test_every_story_has_one_named_point_and_a_lane_of_its_own():
    drawn = FIGURES["stories"]()
    assert sorted(drawn.data[0].customdata) == [1, 2, 3, 4]
    assert sorted(drawn.data[0].y) == [0, 1, 2, 3]
    assert all(len(name) <= trees.NAME for name in drawn.data[0].text if "&" not in name)


def test_every_point_of_a_line_leads_to_its_story():
    for trace in FIGURES["stories"]().data:
        assert len(trace.customdata) == len(trace.x) == len(trace.y)
    ids = [set(trace.customdata) for trace in FIGURES["stories"]().data[1:]]
    assert all(len(found) == 1 for found in ids) and set.union(*ids) == {1, 2, 3, 4}


def test_a_branch_leaves_its_parent_where_it_forks():
    drawn = FIGURES["stories"]()
    where = lanes(drawn)
    for line in LINES[1:]:
        (trace,) = (one for one in drawn.data[1:] if one.customdata[0] == line.id and one.line.color == trees.REST)
        assert (trace.x[0], trace.y[0]) == (line.begins, where[line.parent])
        assert trace.y[-1] == where[line.id] and trace.x[-1] >= line.ends


def test_the_way_to_the_story_shown_is_strong_up_to_each_fork():
    assert trees.way_to(LINES, 4) == {4: None, 2: 30, 1: 10}
    strong = [trace for trace in FIGURES["stories"]().data[1:] if trace.line.color == trees.ACCENT]
    assert {trace.customdata[0]: max(trace.x) for trace in strong if trace.customdata[0] != 4} == {1: 10, 2: 30}


@pytest.mark.parametrize("seed", range(20))
def test_no_two_lines_cross_however_stories_leave_one_another(seed):
    lines = many(12, seed)
    where = lanes(trees.stories_tree(lines, 12, "tokens"))
    assert sorted(where.values()) == [*range(12)]
    for line in lines[1:]:
        top, bottom = where[line.parent], where[line.id]
        between = [other for other in lines if top < where[other.id] < bottom]
        assert top < bottom and all(other.begins >= line.begins for other in between)


def test_a_story_whose_parent_is_gone_begins_by_itself():
    drawn = trees.stories_tree([Line(5, 2, 0, 40, "5", ""), Line(6, 5, 10, 40, "6", "")], 6, "tokens")
    assert lanes(drawn) == {5: 0, 6: 1}


def test_the_first_traces_points_are_the_beams_in_their_order():
    nodes = FIGURES["beams"]().data[0]
    assert list(nodes.x) == [beam.depth + 1 for beam in BEAMS.beams]
    assert [text.split()[-1] for text in nodes.text] == ["50%", "40%", "5.0%", "90%", "30%", "20%"]
    assert list(nodes.hovertext) == [f"note {number} &lt;i>" for number in range(6)]


def test_beams_of_a_depth_never_stand_in_the_same_place_and_stay_in_the_order_of_their_parents():
    heights = trees.spread(BEAMS)
    for depth in (0, 1):
        column = [number for number, beam in enumerate(BEAMS.beams) if beam.depth == depth]
        assert len({heights[number] for number in column}) == len(column)
    assert heights[4] < heights[5] < heights[3]  # those of the first way stand over those of the second


def test_the_likeliest_way_is_strongest_and_what_was_dropped_is_faint():
    dropped, kept, best = FIGURES["beams"]().data[1:4]
    assert dropped.opacity < kept.opacity < best.opacity and dropped.line.width < kept.line.width < best.line.width
    assert [sum(x is None for x in edges.x) for edges in (dropped, kept, best)] == [2, 2, 2]
