"""Stories that branch and beams in, Plotly trees out. Pure, like core/charts.py: words are handed in, colours are names."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from plotly.graph_objects import Figure, Scatter

from core.charts import ACCENT, MUTED, REST, figure, percent, written
from core.results import Beams

LANE = 46  # pixels a story
BEND = 0.035  # of the width: how soon a branch is in its own lane
STEPS = 70  # points of a line across the whole width: each answers to a click, and a finger needs no more
ROW, COLUMN = 40, 104  # pixels a beam
NAME = 14  # letters of a name


@dataclass(frozen=True, slots=True)
class Line:
    """A story as the tree draws it."""

    id: int
    parent: int | None  # the id of the line it leaves; None, or one that is not drawn: it begins by itself
    begins: int  # the place of its own first token
    ends: int  # tokens it has in all
    name: str  # the word at its fork
    note: str  # shown when it is pointed at


def stories_tree(lines: Sequence[Line], shown: int, axis: str) -> Figure:
    """Draw stories from left to right, token by token; each leaves its parent where it forks, the way to `shown` is strong.

    A point's customdata is the id of its story. The first trace is one point a story, with its name.
    """
    lanes = {line.id: lane for lane, line in enumerate(below(lines, None))}
    longest = max(1, *(line.ends for line in lines))
    bend = BEND * longest
    strong = way_to(lines, shown)
    nodes, traces = [], []
    for line in sorted(lines, key=lambda line: lanes[line.id]):
        lane = lanes[line.id]
        above = lanes.get(line.parent, lane)
        start = line.begins + bend * (above != lane)
        curve = [(line.begins + bend * share / 8, above + (lane - above) * ease(share / 8)) for share in range(8)]
        end = max(line.ends, start)
        count = max(2, math.ceil(STEPS * (end - start) / longest))
        straight = [(start + (end - start) * at / (count - 1), lane) for at in range(count)]
        points = [*(curve if above != lane else []), *straight]
        traces.append(strand(points, line, REST, 2.5))
        if line.id in strong:
            last = strong[line.id]
            part = [point for point in points if last is None or point[0] <= last]
            traces.append(strand([*part, *([(last, lane)] if last is not None else [])], line, ACCENT, 4.5))
        nodes.append((start, lane, line))
    names = Scatter(
        x=[x for x, _, _ in nodes], y=[lane for _, lane, _ in nodes], mode="markers+text", zorder=2,
        text=written([cut(line.name) for *_, line in nodes]), customdata=[line.id for *_, line in nodes],
        textposition=["top right" if x < 0.7 * longest else "top left" for x, _, _ in nodes],
        hovertext=written([line.note for *_, line in nodes]), hoverinfo="text", cliponaxis=False,
        marker={"size": 13, "color": [ACCENT if line.id in strong else MUTED for *_, line in nodes]},
    )  # fmt: skip
    return figure(
        [names, *traces], height=LANE * len(lines) + 84, margin={"l": 16, "r": 16, "t": 44, "b": 8}, hoverdistance=24,
        xaxis={"title": {"text": axis, "standoff": 6}, "range": [-0.02 * longest, 1.02 * longest], "showgrid": True,
               "rangemode": "tozero", "tickformat": "d"},
        yaxis={"visible": False, "range": [len(lines) - 0.4, -0.75]},
    )  # fmt: skip


def strand(points: Sequence[tuple[float, float]], line: Line, colour: str, width: float) -> Scatter:
    """Return a line through points, all of which lead to its story."""
    return Scatter(
        x=[round(x, 2) for x, _ in points], y=[round(y, 3) for _, y in points], mode="lines",
        line={"color": colour, "width": width}, customdata=[line.id] * len(points),
        hovertext=written([line.note])[0], hoverinfo="text",
    )  # fmt: skip


def below(lines: Sequence[Line], parent: int | None) -> list[Line]:
    """Return the lines that leave one, and those that leave them, so that no two cross: the last to leave comes first."""
    drawn = {line.id for line in lines}
    found = [line for line in lines if (line.parent if line.parent in drawn else None) == parent]
    ordered = []
    for line in sorted(found, key=lambda line: -line.begins) if parent is not None else found:
        ordered += [line, *below(lines, line.id)]
    return ordered


def way_to(lines: Sequence[Line], shown: int) -> dict[int, int | None]:
    """Return the lines on the way to one, by id: the place where the way leaves them; None for the last."""
    by_id, found, left = {line.id: line for line in lines}, {}, None
    while shown in by_id:
        found[shown], left, shown = left, by_id[shown].begins, by_id[shown].parent
    return found


def beams_tree(beams: Beams, root: str, notes: Sequence[str]) -> Figure:
    """Draw every way a beam search weighed: kept ones strong, the likeliest of all strongest, dropped ones faint.

    root: what stands before them; notes: parallel to the beams, shown when one is pointed at. The first trace's points
    are the beams, in their order.
    """
    heights = spread(beams)
    best = set(beams.way(beams.best[0])) if beams.best else set()
    kinds = [2 if number in best else int(beam.kept) for number, beam in enumerate(beams.beams)]
    looks = [
        (REST, 1.2, 0.55),
        (ACCENT, 2, 0.8),
        (ACCENT, 5, 1),
    ]  # of dropped, kept and likeliest: colour, width, opacity
    edges = []
    for kind, (colour, width, opacity) in enumerate(looks):
        x, y = [], []
        for number, beam in enumerate(beams.beams):
            if kinds[number] != kind:
                continue
            before = 0.0 if beam.parent is None else heights[beam.parent]
            shares = [step / 10 for step in range(11)]
            x += [*(round(beam.depth + share, 2) for share in shares), None]
            y += [*(round(before + (heights[number] - before) * ease(share), 3) for share in shares), None]
        edges.append(
            Scatter(x=x, y=y, mode="lines", line={"color": colour, "width": width}, opacity=opacity, hoverinfo="skip")
        )
    names = [f"{cut(beam.label)} {percent(beam.probability)}" for beam in beams.beams]
    nodes = Scatter(
        x=[beam.depth + 1 for beam in beams.beams], y=heights, mode="markers+text", zorder=2, text=written(names),
        textposition="top center", hovertext=written(notes), hoverinfo="text", cliponaxis=False,
        textfont={"size": 13, "color": ["var(--gb-ink)" if kind else MUTED for kind in kinds]},
        marker={"size": [6 + 14 * math.sqrt(beam.probability) for beam in beams.beams],
                "color": [ACCENT if kind else REST for kind in kinds]},
    )  # fmt: skip
    start = Scatter(
        x=[0], y=[0], mode="markers+text", text=written([cut(root)]), textposition="top center", hoverinfo="skip",
        marker={"size": 11, "color": "var(--gb-ink)"}, cliponaxis=False, zorder=2,
    )  # fmt: skip
    deepest = max((beam.depth for beam in beams.beams), default=0) + 1
    highest = max(map(abs, heights), default=0)
    return figure(
        [nodes, *edges, start], width=COLUMN * (deepest + 1), height=round(ROW * (2 * highest + 1.6)) + 60,
        margin={"l": 12, "r": 12, "t": 44, "b": 12}, hoverdistance=24,
        xaxis={"visible": False, "range": [-0.5, deepest + 0.5]},
        yaxis={"visible": False, "range": [highest + 0.6, -highest - 1]},
    )  # fmt: skip


def spread(beams: Beams) -> list[float]:
    """Return the height of every beam, one row apart in each depth; ways stay in the order of the ways they go on from."""
    heights = [0.0] * len(beams.beams)
    for depth in sorted({beam.depth for beam in beams.beams}):
        column = [number for number, beam in enumerate(beams.beams) if beam.depth == depth]
        column.sort(key=lambda number: (origin(beams, heights, number), -beams.beams[number].probability))
        for at, number in enumerate(column):
            heights[number] = at - (len(column) - 1) / 2
    return heights


def origin(beams: Beams, heights: Sequence[float], number: int) -> float:
    """Return the height a beam comes from."""
    parent = beams.beams[number].parent
    return 0.0 if parent is None else heights[parent]


def ease(share: float) -> float:
    """Return how far a bend has come: flat at both of its ends."""
    return share * share * (3 - 2 * share)


def cut(name: str) -> str:
    """Return a name short enough to stand beside others."""
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"
