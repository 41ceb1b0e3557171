"""Results in, Plotly figures out. Pure: the words on a chart are handed in, its colours are names the page fills in."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from plotly.graph_objects import Bar, Figure, Heatmap

from core.results import PatchMap, Ranking, Saliency, Step

ACCENT, MUTED, REST, FOR, AGAINST = (f"var(--gb-{name})" for name in ("accent", "muted", "rest", "for", "against"))
SCALE = [[step / 4, f"var(--gb-scale-{step})"] for step in range(5)]
VEIL = [[step / 2, f"var(--gb-veil-{step})"] for step in range(3)]
BAR = 34  # pixels a bar
ROOM = 1.25  # of the longest bar, so that its number fits beside it on a phone
NEGLIGIBLE = 0.05  # of probability: a word that costs less is drawn as the little it is
MONTAGE_CELL = 24  # numbers a side of one head in the montage


def percent(probability: float) -> str:
    """Return a probability as the end of a bar shows it."""
    if probability >= 0.995 and probability < 1:
        return ">99%"
    return f"{probability:.0%}" if probability >= 0.095 else f"{probability:.1%}" if probability >= 0.0005 else "<0.1%"


def figure(traces: Sequence, **layout) -> Figure:
    """Return a figure without Plotly's template, which would be sent with every update."""
    made = Figure(list(traces))
    made.update_layout(template=None, showlegend=False, **layout)
    return made


def written(labels: Sequence[str]) -> list[str]:
    """Return labels Plotly cannot take for markup: it drops <s> and breaks lines at <br>."""
    return [label.strip(" ").replace("&", "&amp;").replace("<", "&lt;").replace("\n", "⏎") or "␣" for label in labels]


def numbered(labels: Sequence[str]) -> dict:
    """Return an axis that shows labels at 0, 1, 2 …: Plotly would merge those that are alike."""
    shown = [label if len(label) < 22 else label[:20] + "…" for label in labels]
    return {"tickmode": "array", "tickvals": list(range(len(shown))), "ticktext": written(shown), "zeroline": False}


def bars(labels: Sequence[str], rows: Sequence[dict], height: int, **layout) -> Figure:
    """Return horizontal bars, the first label on top; each row is one trace's `x` and looks."""
    traces = [
        Bar(y=list(range(len(labels))), orientation="h", hovertext=written(labels), hoverinfo="text+x", **row)
        for row in rows
    ]
    down = {**numbered(labels), "range": [len(labels) - 0.4, -0.6], "showgrid": False}
    across = {"visible": False, "range": [0, ROOM], **layout.pop("xaxis", {})}
    return figure(traces, yaxis=down, xaxis=across, height=height, bargap=0.3, **layout)


def ranking_bars(ranking: Ranking, rest: str = "") -> Figure:
    """Draw labels by probability, and under them everything else, named `rest` (a closed list of labels has no rest)."""
    return rankings_bars([ranking], [""], rest)


def rankings_bars(rankings: Sequence[Ranking], titles: Sequence[str], rest: str) -> Figure:
    """Draw one ranking under another, each with its title; a bar's customdata is [ranking, place], place -1 the rest."""
    rows = []  # label, probability, colour, customdata
    for number, (ranking, title) in enumerate(zip(rankings, titles, strict=True)):
        if len(rankings) > 1:
            rows.append((title, None, REST, [number, -1]))
        pairs = zip(ranking.labels, ranking.probabilities, strict=True)
        rows += [(label, chance, ACCENT, [number, place]) for place, (label, chance) in enumerate(pairs)]
        if rest:
            rows.append((rest, ranking.rest, REST, [number, -1]))
    labels, values, colours, codes = zip(*rows, strict=True)
    row = {
        "x": values, "text": ["" if value is None else percent(value) for value in values],
        "marker": {"color": colours}, "customdata": codes, "textposition": "outside", "cliponaxis": False,
    }  # fmt: skip
    longest = max(value for value in values if value is not None)
    drawn = bars(labels, [row], BAR * len(labels) + 30, xaxis={"range": [0, longest * ROOM or 1]})
    shown = zip(drawn.layout.yaxis.ticktext, values, strict=True)
    drawn.layout.yaxis.ticktext = [f"<b>{text}</b>" if value is None else text for text, value in shown]
    return drawn


def compared_bars(labels: Sequence[str], rows: Sequence[Sequence[float]], names: Sequence[str]) -> Figure:
    """Draw the same labels by two probabilities, one bar under the other, with a legend."""
    looks = {"textposition": "outside", "cliponaxis": False}
    traces = [
        {"x": [*row], "text": [*map(percent, row)], "name": written([name])[0], "marker": {"color": colour}} | looks
        for row, name, colour in zip(rows, names, (ACCENT, MUTED), strict=True)
    ]
    drawn = bars(
        labels, traces, 2 * BAR * len(labels) + 90, barmode="group",
        xaxis={"range": [0, ROOM * max(max(row) for row in rows) or 1]},
        legend={"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
    )  # fmt: skip
    drawn.update_layout(showlegend=True, bargap=0.25)
    return drawn


def step_bars(step: Step, drawn: Sequence[float], names: Sequence[str], rest: str) -> Figure:
    """Draw what a token could have been: the model's own probability, and the chance the sliders leave it.

    drawn: parallel to the step's alternatives; names: of the two, for the legend.
    """
    own = [*step.alternatives.probabilities, step.alternatives.rest]
    sliders = [*drawn, max(0.0, 1 - sum(drawn))]
    made = compared_bars([*step.alternatives.labels, rest], [own, sliders], names)
    made.data[0].marker.color = [ACCENT] * (len(own) - 1) + [REST]
    made.data[1].marker.color = [MUTED] * (len(own) - 1) + [REST]
    made.data[1].text = ["✕" if chance == 0 else percent(chance) for chance in sliders]
    return made


def saliency_bars(saliency: Saliency, names: Sequence[str]) -> Figure:
    """Draw how much each word pushed: by covering, and by gradients where there are any, each to its own largest.

    names: of covering and of gradients, for the legend. Where no word costs the answer NEGLIGIBLE, all bars stay short.
    """
    rows = [saliency.covered, saliency.scores] if saliency.scores else [saliency.covered]
    most = [max(map(abs, row), default=0) or 1 for row in rows]
    most[0] = max(most[0], NEGLIGIBLE)
    traces = [
        {
            "x": [value / top for value in row], "name": name, "marker": {"color": colour, "opacity": opacity},
            "customdata": list(row), "hovertemplate": "%{customdata:.3f}<extra></extra>",
        }
        for row, top, name, colour, opacity in zip(rows, most, names, (FOR, REST), (1, 0.75), strict=False)
    ]  # fmt: skip
    drawn = bars(
        saliency.tokens, traces, (BAR if len(rows) == 1 else BAR + 8) * len(saliency.tokens) + 90, barmode="group",
        xaxis={"visible": True, "range": [-1.08, 1.08], "showticklabels": False, "zeroline": True},
        legend={"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
    )  # fmt: skip
    drawn.update_layout(showlegend=len(rows) > 1)
    return drawn


def verdicts_histogram(rankings: Sequence[Ranking], label: str, axis: str) -> Figure:
    """Draw how many texts of a list have how much of a label's probability, in ten bins."""
    counts, _ = np.histogram([ranking.probability_of(label) for ranking in rankings], bins=10, range=(0, 1))
    bar = Bar(
        x=[(place + 0.5) / 10 for place in range(10)], y=counts.tolist(), width=0.09, hoverinfo="y",
        marker={"color": [AGAINST] * 4 + [REST] * 2 + [FOR] * 4},
    )  # fmt: skip
    across = {"range": [0, 1], "tickformat": ".0%", "title": {"text": axis}, "dtick": 0.25}
    return figure([bar], xaxis=across, yaxis={"rangemode": "tozero", "tickformat": "d"}, height=280)


def patch_map(picture: Image.Image, patches: PatchMap, hidden: frozenset[int], hover: str) -> Figure:
    """Draw a picture dimmed where the answer did not come from; a cell is a patch, hidden ones are crossed out."""
    rows, columns = patches.weights.shape
    shades = 255 * patches.weights.clip(0, 1)
    heat = Heatmap(
        z=shades.astype(np.uint8), zmin=0, zmax=255, colorscale=VEIL, showscale=False, zsmooth=False,
        customdata=np.round(patches.weights, 3).tolist(), hovertemplate=f"{hover}: %{{customdata:.0%}}<extra></extra>",
    )  # fmt: skip
    crosses = [
        {"type": "line", "x0": x - 0.4, "x1": x + 0.4, "y0": y - 0.4 * slope, "y1": y + 0.4 * slope,
         "line": {"color": AGAINST, "width": 3}}
        for y, x in (divmod(patch, columns) for patch in sorted(hidden))
        for slope in (1, -1)
    ]  # fmt: skip
    image = {
        "source": data_uri(picture), "xref": "x", "yref": "y", "x": -0.5, "y": -0.5, "sizex": columns, "sizey": rows,
        "sizing": "stretch", "layer": "below",
    }  # fmt: skip
    tall = picture.height / picture.width
    return figure(
        [heat], images=[image], shapes=crosses, height=round(min(460, 700 * tall)), margin={"l": 0, "r": 0, "t": 0, "b": 0},
        xaxis={"range": [-0.5, columns - 0.5], "visible": False, "constrain": "domain"},
        yaxis={"range": [rows - 0.5, -0.5], "visible": False, "constrain": "domain", "scaleanchor": "x",
               "scaleratio": tall * columns / rows},
    )  # fmt: skip


def data_uri(picture: Image.Image) -> str:
    """Return a picture as an address that holds it."""
    kept = io.BytesIO()
    picture.save(kept, "PNG" if picture.width * picture.height < 100_000 else "JPEG", quality=88)
    kind = "png" if kept.getvalue().startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(kept.getvalue()).decode()}"


def heads_montage(
    weights: np.ndarray, chosen: tuple[int, int], silenced: frozenset[tuple[int, int]], names: tuple[str, str]
) -> Figure:
    """Draw every head small, layers down and heads across, in one heat map; silenced ones are crossed out.

    weights: [layer, head, query, key], as they are to be shown; each head's strongest is brightest. names: of layer and
    head. `head_at` says which head a click was on.
    """
    layers, heads, tokens, _ = weights.shape
    side = min(tokens, MONTAGE_CELL)
    small = pooled(weights, side)
    small = np.sqrt(small / np.maximum(small.max((-2, -1), keepdims=True), 1e-9))
    sheet = np.zeros((layers * (side + 1), heads * (side + 1)), np.uint8)  # 0: the gap between two heads
    for layer in range(layers):
        for head in range(heads):
            top, left = layer * (side + 1), head * (side + 1)
            sheet[top : top + side, left : left + side] = 1 + 254 * small[layer, head]
    gap = [[0, "rgba(0,0,0,0)"], [0.5 / 255, "rgba(0,0,0,0)"], *[[0.004 + 0.996 * at, colour] for at, colour in SCALE]]
    heat = Heatmap(z=sheet, zmin=0, zmax=255, colorscale=gap, showscale=False, hoverinfo="none")

    def around(layer: int, head: int, kind: str, tilt: bool = False) -> dict:
        left, right = head * (side + 1) - 0.75, (head + 1) * (side + 1) - 1.25
        top, bottom = layer * (side + 1) - 0.75, (layer + 1) * (side + 1) - 1.25
        ends = {"y0": bottom, "y1": top} if tilt else {"y0": top, "y1": bottom}
        return {"type": kind, "x0": left, "x1": right, **ends, "line": {"color": AGAINST, "width": 3}}

    marks = [
        around(*chosen, "rect"),
        *(around(*one, "line", tilt) for one in sorted(silenced) for tilt in (False, True)),
    ]
    middle = (side - 1) / 2
    return figure(
        [heat], shapes=marks, height=max(260, round(880 * layers / heads)) + 50,
        xaxis={"tickvals": [at * (side + 1) + middle for at in range(heads)], "ticktext": list(range(1, heads + 1)),
               "title": {"text": names[1]}, "side": "top", "showgrid": False, "zeroline": False},
        yaxis={"tickvals": [at * (side + 1) + middle for at in range(layers)], "ticktext": list(range(1, layers + 1)),
               "title": {"text": names[0]}, "range": [layers * (side + 1) - 1, -1], "showgrid": False, "zeroline": False},
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
    )  # fmt: skip


def head_at(cell: Sequence[int], tokens: int) -> tuple[int, int]:
    """Return the (layer, head) of a cell of the montage."""
    side = min(tokens, MONTAGE_CELL) + 1
    return cell[0] // side, cell[1] // side


def pooled(weights: np.ndarray, side: int) -> np.ndarray:
    """Return [..., side, side] from [..., tokens, tokens]: the strongest of each stretch, so that no line is lost."""
    edges = [math.floor(at * weights.shape[-1] / side) for at in range(side)]
    return np.maximum.reduceat(np.maximum.reduceat(weights.astype(np.float32), edges, -2), edges, -1)


def attention_map(
    weights: np.ndarray, tokens: Sequence[str], names: tuple[str, str], chosen: int | None = None
) -> Figure:
    """Draw one matrix [query, key]: who looks (down) at whom (across). names: of looking and of looked at."""
    heat = Heatmap(
        z=np.round(weights.astype(np.float32), 4), zmin=0, zmax=max(float(weights.max()), 1e-6), colorscale=SCALE,
        showscale=False, hovertemplate="%{z:.1%}<extra></extra>",
    )  # fmt: skip
    axis = numbered(tokens)
    if len(tokens) > 64:  # more would not be read
        every = math.ceil(len(tokens) / 64)
        axis |= {"tickvals": axis["tickvals"][::every], "ticktext": axis["ticktext"][::every]}
    axis |= {"showgrid": False, "tickfont": {"size": 13 if len(tokens) <= 32 else 10}}
    lines = [] if chosen is None else [
        {"type": "rect", "x0": -0.5, "x1": len(tokens) - 0.5, "y0": chosen - 0.5, "y1": chosen + 0.5,
         "line": {"color": AGAINST, "width": 2}}
    ]  # fmt: skip
    return figure(
        [heat], shapes=lines, height=min(760, 26 * len(tokens) + 150),
        xaxis={**axis, "title": {"text": names[1]}, "side": "top", "tickangle": -60},
        yaxis={**axis, "title": {"text": names[0]}, "range": [len(tokens) - 0.5, -0.5]},
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
    )  # fmt: skip
