"""Results in, Plotly figures out. Pure: the words on a chart are handed in, its colours are names the page fills in."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from plotly.graph_objects import Bar, Figure, Heatmap

from core.results import Attention, Gaze, Lens, PatchMap, Ranking, Saliency, Step

ACCENT, MUTED, REST, FOR, AGAINST = (f"var(--gb-{name})" for name in ("accent", "muted", "rest", "for", "against"))
SCALE = [[step / 4, f"var(--gb-scale-{step})"] for step in range(5)]
ROOT_SCALE = [
    [(step / 4) ** 2, colour] for step, (_, colour) in enumerate(SCALE)
]  # by the square root: shows weak looks
VEIL = [[step / 2, f"var(--gb-veil-{step})"] for step in range(3)]
BAR = 34  # pixels a bar
ROOM = 1.25  # of the longest bar, so that its number fits beside it on a phone
PATCH = 56  # pixels of a patch at least, where there is room: a finger hits it
PICTURE_MOST = (640, 520)  # pixels, wide and high, of a picture under its patches
NEGLIGIBLE = 0.05  # of probability: a word that costs less is drawn as the little it is
SALIENT = 14  # words drawn with all their measures: more would not be read
MONTAGE_CELLS = 80_000  # of all heads at a glance, sent to the page: above it a head is drawn with half as many a side
MONTAGE_WIDTH, MONTAGE_HEIGHT = 1_040, 820  # pixels all heads together take where there is room
TOLD = "%{hovertext}<br>%{fullData.name}: %{text}<extra></extra>"  # of a bar that is pointed at
LENS_COLUMN = 57  # pixels a place of the lens has at least


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


def step_bars(
    step: Step, drawn: Sequence[float], names: Sequence[str], rest: str, shut_out: Sequence[str] = ()
) -> Figure:
    """Draw what a token could have been: the model's own probability, and the chance the sliders leave it.

    drawn: parallel to the step's alternatives; names: of the two, for the legend; shut_out: parallel to the alternatives,
    what left a token no chance, "" for nothing. The chosen token is marked.
    """
    own = [*step.alternatives.probabilities, step.alternatives.rest]
    sliders = [*drawn, max(0.0, 1 - sum(drawn))]
    marks = [f"✕ {name}".strip() for name in [*shut_out, *[""] * (len(sliders) - len(shut_out))]]
    made = compared_bars([*step.alternatives.labels, rest], [own, sliders], names)
    made.data[0].marker.color = [ACCENT] * (len(own) - 1) + [REST]
    made.data[1].marker.color = [MUTED] * (len(own) - 1) + [REST]
    made.data[1].text = [mark if chance == 0 else percent(chance) for chance, mark in zip(sliders, marks, strict=True)]
    shown = list(made.layout.yaxis.ticktext)
    chosen = step.rivals.index(step.token)
    shown[chosen] = f"<b>▸ {shown[chosen]}</b>"
    made.layout.yaxis.ticktext = shown
    made.update_traces(hovertemplate=TOLD)
    return made


def draws_bars(
    labels: Sequence[str], came: Sequence[int], chances: Sequence[float], times: int, names: Sequence[str], rest: str
) -> Figure:
    """Draw how often each label came when it was drawn many times, and how often one would expect it to.

    came, chances: parallel to labels; names: of the two, for the legend. What has no chance is left out.
    """
    rows = [row for row in zip(labels, came, chances, strict=True) if row[2] > 0]
    rows.append((rest, times - sum(came), max(0.0, 1 - sum(chances))))
    shown = [row for row in rows if row[1] or row[2] > 1e-9]
    made = compared_bars(
        [label for label, *_ in shown],
        [[count / times for _, count, _ in shown], [chance for *_, chance in shown]],
        names,
    )
    made.data[0].text = [f"{count:,}" for _, count, _ in shown]
    made.data[1].text = [shortly(times * chance) for *_, chance in shown]
    made.update_traces(hovertemplate=TOLD)
    return made


def shortly(count: float) -> str:
    """Return a number of times that is expected, not counted."""
    return f"{count:,.0f}" if count >= 9.5 else f"{count:.1f}"


def saliency_bars(saliency: Saliency, names: Sequence[str]) -> Figure:
    """Draw how much each word counts by covering, gradients and attention, where there are any, each to its own largest.

    names: of the three, for the legend. Of a long text the SALIENT words that count most, in the order of the text. Where
    no word costs the answer NEGLIGIBLE, the bars of covering stay short.
    """
    kinds = zip(
        (saliency.covered, saliency.scores, saliency.looks), names, (FOR, "var(--gb-scale-2)", REST),
        ("+.1%", "+.2f", ".1%"), (NEGLIGIBLE, 0, 0), strict=False,
    )  # fmt: skip
    kinds = [kind for kind in kinds if len(kind[0])]
    shares = np.array([np.array(row) / (max([least, *map(abs, row)]) or 1) for row, *_, least in kinds])  # [kind, word]
    words = np.sort(np.argsort(-np.abs(shares).sum(0), kind="stable")[:SALIENT])
    traces = [
        {
            "x": share[words].tolist(), "name": written([name])[0], "marker": {"color": colour},
            "customdata": [row[word] for word in words],
            "hovertemplate": f"%{{hovertext}}<br>%{{fullData.name}}: %{{customdata:{form}}}<extra></extra>",
        }
        for share, (row, name, colour, form, _) in zip(shares, kinds, strict=True)
    ]  # fmt: skip
    drawn = bars(
        [saliency.tokens[word] for word in words], traces, (BAR - 4 + 8 * len(kinds)) * len(words) + 90, barmode="group",
        xaxis={"visible": True, "range": [min(-0.03, 1.08 * shares.min()), 1.08], "showticklabels": False,
               "zeroline": True, "showgrid": False},
        legend={"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
    )  # fmt: skip
    drawn.update_layout(showlegend=len(kinds) > 1, bargap=0.25)
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


def patch_map(
    picture: Image.Image, patches: PatchMap, hidden: frozenset[int], notes: Sequence[Sequence[str]] = ()
) -> Figure:
    """Draw a picture in its own size, dimmed where the answer did not come from; a cell is a patch.

    The least of the map is darkest and the most of it clear, so that a map without great differences shows its own.
    notes: [row][column], shown when a patch is pointed at; `patch_marks` crosses out the hidden ones.
    """
    rows, columns = patches.weights.shape
    least, most = float(patches.weights.min()), float(patches.weights.max())
    shades = 255 * (patches.weights - least) / (most - least) if most > least else np.full((rows, columns), 255)
    heat = Heatmap(
        z=shades.astype(np.uint8), zmin=0, zmax=255, colorscale=VEIL, showscale=False, zsmooth=False, hoverinfo="none",
        meta={"notes": [list(row) for row in notes]},
    )  # fmt: skip
    image = {
        "source": data_uri(picture), "xref": "x", "yref": "y", "x": -0.5, "y": -0.5, "sizex": columns, "sizey": rows,
        "sizing": "stretch", "layer": "below",
    }  # fmt: skip
    wide, high = shown_size(picture, rows, columns)
    return figure(
        [heat], images=[image], shapes=patch_marks(hidden, columns), height=high, meta={"wide": wide, "high": high},
        margin={"l": 0, "r": 0, "t": 0, "b": 0}, modebar={"bgcolor": "rgba(0, 0, 0, 0)"},
        xaxis={"range": [-0.5, columns - 0.5], "visible": False, "constrain": "domain"},
        yaxis={"range": [rows - 0.5, -0.5], "visible": False, "constrain": "domain", "scaleanchor": "x",
               "scaleratio": high / wide * columns / rows},
    )  # fmt: skip


def shown_size(picture: Image.Image, rows: int, columns: int) -> tuple[int, int]:
    """Return how wide and high a picture is drawn, in pixels: its own size, but that a patch can be hit and all be seen."""
    cell = min(picture.width / columns, picture.height / rows)
    scale = min(max(1, PATCH / cell), *(most / side for most, side in zip(PICTURE_MOST, picture.size, strict=True)))
    return round(picture.width * scale), round(picture.height * scale)


def patch_marks(hidden: frozenset[int], columns: int) -> list[dict]:
    """Return the crosses over hidden patches, numbered row by row, as shapes of the layout."""
    return [
        {"type": "line", "x0": x - 0.4, "x1": x + 0.4, "y0": y - 0.4 * slope, "y1": y + 0.4 * slope,
         "line": {"color": AGAINST, "width": 3}}
        for y, x in (divmod(patch, columns) for patch in sorted(hidden))
        for slope in (1, -1)
    ]  # fmt: skip


def data_uri(picture: Image.Image) -> str:
    """Return a picture as an address that holds it."""
    kept = io.BytesIO()
    picture.save(kept, "PNG" if picture.width * picture.height < 100_000 else "JPEG", quality=88)
    kind = "png" if kept.getvalue().startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(kept.getvalue()).decode()}"


def heads_montage(
    attention: Attention, chosen: tuple[int, int], silenced: frozenset[tuple[int, int]], names: Sequence[str],
    notes: dict[tuple[int, int], str],
) -> Figure:  # fmt: skip
    """Draw every head small, layers down and heads across, in one heat map; each head's strongest look is brightest.

    names: of layer, of head, and of one head, with the blanks {row} and {column}, shown when it is pointed at; notes: of
    (layer, head), shown instead where there is one. `head_at` says which head a click was on; `head_marks` outlines the
    chosen head and crosses out the silenced ones.
    """
    layers, heads = attention.montage.shape[:2]
    small = shrunk(attention.montage)
    side = small.shape[-1]
    most = np.maximum(small.max((-2, -1), keepdims=True), 1)
    bright = (1 + 254 * np.sqrt(small / most)).astype(np.uint8)  # [layer, head, side, side]
    tiles = np.zeros((layers, heads, side + 1, side + 1), np.uint8)  # 0: the gap between two heads
    tiles[..., :side, :side] = bright
    sheet = tiles.transpose(0, 2, 1, 3).reshape(layers * (side + 1), heads * (side + 1))[:-1, :-1]
    gap = [[0, "rgba(0,0,0,0)"], [0.5 / 255, "rgba(0,0,0,0)"], *[[0.004 + 0.996 * at, colour] for at, colour in SCALE]]
    heat = Heatmap(
        z=np.ascontiguousarray(sheet), zmin=0, zmax=255, colorscale=gap, showscale=False, hoverinfo="none",
        meta={"stride": side + 1, "note": names[2],
              "notes": {f"{layer}.{head}": note for (layer, head), note in notes.items()}},
    )  # fmt: skip
    cell = min(MONTAGE_WIDTH / heads, max(36, MONTAGE_HEIGHT / layers), 110)  # pixels a head
    across, down = (
        {"tickvals": [at * (side + 1) + (side - 1) / 2 for at in range(count)], "title": {"text": name, "standoff": 8},
         "ticktext": [str(at + 1) for at in range(count)], "showgrid": False, "zeroline": False,
         "constrain": "domain"}
        for count, name in ((heads, names[1]), (layers, names[0]))
    )  # fmt: skip
    return figure(
        [heat], shapes=head_marks(attention, chosen, silenced), **square(layers, heads, cell),
        xaxis={**across, "range": [-1, heads * (side + 1) - 1], "side": "top"},
        yaxis={**down, "range": [layers * (side + 1) - 1, -1], "scaleanchor": "x"},
        margin={"l": 8, "r": 8, "t": 48, "b": 12},
    )  # fmt: skip


def head_marks(
    attention: Attention, chosen: tuple[int, int] | None, silenced: frozenset[tuple[int, int]]
) -> list[dict]:
    """Return the shapes that outline the chosen head of the montage, if one is, and cross out the silenced ones."""
    step = shrunk_side(attention) + 1

    def around(layer: int, head: int, kind: str, tilt: bool = False) -> dict:
        left, right = head * step - 0.9, (head + 1) * step - 1.1
        top, bottom = layer * step - 0.9, (layer + 1) * step - 1.1
        ends = {"y0": bottom, "y1": top} if tilt else {"y0": top, "y1": bottom}
        return {"type": kind, "x0": left, "x1": right, **ends, "line": {"color": AGAINST, "width": 3}}

    crosses = [around(*one, "line", tilt) for one in sorted(silenced) for tilt in (False, True)]
    return [*crosses, *([around(*chosen, "rect")] if chosen else [])]


def head_at(cell: Sequence[int], attention: Attention) -> tuple[int, int]:
    """Return the (layer, head) of a cell of the montage."""
    step = shrunk_side(attention) + 1
    return cell[0] // step, cell[1] // step


def shrunk_side(attention: Attention) -> int:
    """Return how many cells a side of one head has in the montage: half of the record's where there are many heads."""
    side = attention.montage.shape[-1]
    return math.ceil(side / 2) if attention.montage.size > MONTAGE_CELLS else side


def shrunk(montage: np.ndarray) -> np.ndarray:
    """Return the montage with as few cells as are sent to the page: the strongest of four, so that no line is lost."""
    if montage.size <= MONTAGE_CELLS:
        return montage
    edges = np.arange(0, montage.shape[-1], 2)
    return np.maximum.reduceat(np.maximum.reduceat(montage, edges, -2), edges, -1)


def square(rows: int, columns: int, cell: float) -> dict:
    """Return the layout of cells as high as wide, `cell` pixels at most: the page makes the height fit its width."""
    wide, high = round(cell * columns), round(cell * rows)
    return {"height": high + 80, "meta": {"wide": wide, "high": high}}


def places(tokens: Sequence[str], first: int = 0) -> list[str]:
    """Return tokens with their numbers, as a visitor counts: "12 fox". What has no ink is shown."""
    return [f"{first + at + 1} {inked(token)}" for at, token in enumerate(tokens)]


def inked(token: str) -> str:
    """Return a token without the space before it; one that has no ink is shown by a sign."""
    return token.strip(" ").replace("\n", "⏎").replace("\t", "⇥") or "␣"


def attention_map(gaze: Gaze, tokens: Sequence[str], names: Sequence[str], chosen: int | None = None) -> Figure:
    """Draw the window of a gaze [query, key]: who looks (down) at whom (across).

    tokens: of the whole text; names: of looking and of looked at; chosen: the token whose row is outlined. The page says
    "12 fox → 3 the: 41%" of a cell by trace.meta: the share a step of z stands for, the numbers of the first row and column,
    and the tokens of rows and columns.
    """
    queries, keys = gaze.weights.shape
    rows, columns = (
        [inked(token) for token in tokens[first : first + size]]
        for first, size in ((gaze.view.query, queries), (gaze.view.key, keys))
    )
    heat = Heatmap(
        z=np.ascontiguousarray(gaze.weights), zmin=0, zmax=255, colorscale=ROOT_SCALE, showscale=False, hoverinfo="none",
        zsmooth=False,
        meta={"unit": gaze.most / 255, "first": [gaze.view.query, gaze.view.key], "rows": rows,
              "columns": None if columns == rows else columns},
    )  # fmt: skip
    look = {"showgrid": False, "tickfont": {"size": 13}, "constrain": "domain"}
    return figure(
        [heat], shapes=row_marks(gaze, chosen), **square(queries, keys, min(40, 760 / max(queries, keys))),
        xaxis={**sparse(places(columns, gaze.view.key)), **look, "title": {"text": names[1], "standoff": 8},
               "side": "top", "tickangle": -60},
        yaxis={**sparse(places(rows, gaze.view.query)), **look, "title": {"text": names[0], "standoff": 12},
               "range": [queries - 0.5, -0.5], "scaleanchor": "x"},
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
    )  # fmt: skip


def row_marks(gaze: Gaze, chosen: int | None) -> list[dict]:
    """Return the shape that outlines a token's row of the map: none for a token that is not in the window."""
    queries, keys = gaze.weights.shape
    if chosen is None or not 0 <= chosen - gaze.view.query < queries:
        return []
    row = chosen - gaze.view.query
    return [
        {"type": "rect", "x0": -0.5, "x1": keys - 0.5, "y0": row - 0.5, "y1": row + 0.5,
         "line": {"color": AGAINST, "width": 2}}
    ]  # fmt: skip


def sparse(labels: Sequence[str]) -> dict:
    """Return an axis with at most 64 of the labels: more would not be read."""
    axis = numbered(labels)
    every = math.ceil(len(labels) / 64)
    return axis | {"tickvals": axis["tickvals"][::every], "ticktext": axis["ticktext"][::every]}


def window_map(gaze: Gaze, tokens: int, names: Sequence[str]) -> Figure:
    """Draw the whole head of a long text small, with the window outlined. tokens: how many the text has.

    names: of looking and of looked at. `window_at` says where the window has to move for a click.
    """
    side = len(gaze.whole)
    each = tokens / side
    spans = [f"{math.floor(at * each) + 1}–{math.floor((at + 1) * each)}" for at in range(side)]
    heat = Heatmap(
        z=gaze.whole, zmin=0, zmax=255, colorscale=SCALE, showscale=False, hoverinfo="none", zsmooth=False,
        meta={"rows": spans, "columns": None},
    )  # fmt: skip
    queries, keys = gaze.weights.shape
    window = {
        "type": "rect", "line": {"color": AGAINST, "width": 3},
        "x0": gaze.view.key / each - 0.5, "x1": (gaze.view.key + keys) / each - 0.5,
        "y0": gaze.view.query / each - 0.5, "y1": (gaze.view.query + queries) / each - 0.5,
    }  # fmt: skip
    ticks = {
        "tickvals": [at * side / 4 - 0.5 for at in range(5)], "showgrid": False, "constrain": "domain",
        "ticktext": [f"{max(1, round(at * tokens / 4)):,}" for at in range(5)], "zeroline": False,
    }  # fmt: skip
    return figure(
        [heat], shapes=[window], **square(side, side, 300 / side),
        xaxis={**ticks, "title": {"text": names[1], "standoff": 8}, "side": "top", "range": [-0.5, side - 0.5]},
        yaxis={**ticks, "title": {"text": names[0], "standoff": 12}, "range": [side - 0.5, -0.5], "scaleanchor": "x"},
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
    )  # fmt: skip


def window_at(cell: Sequence[int], tokens: int, side: int, window: int) -> tuple[int, int]:
    """Return the first query and key of the window that has a cell of the overview in its middle.

    tokens: of the text; side: cells a side of the overview; window: tokens a side of the window.
    """
    query, key = (min(max(0, round((at + 0.5) * tokens / side - window / 2)), tokens - window) for at in cell)
    return query, key


def lens_map(lens: Lens, names: Sequence[str], chosen: tuple[int, int] | None = None) -> Figure:
    """Draw what each layer would have said: layers down, places across, a cell the likeliest token by its probability.

    names: of the layers, of the places, of the first row (the embeddings) and of the last (the model's answer), and of
    a layer, with a blank for its number. The embeddings are on top, and the answer at the bottom.
    """
    layers, first, last, each, across = len(lens.rankings), names[2], names[3], names[4], names[1]
    rows = [first, *(each.format(number=at) for at in range(1, layers - 1)), last]
    columns = [f"{place + 1} {inked(token)}" for place, token in zip(lens.places, lens.tokens, strict=True)]
    said = [[ranking.labels[0] for ranking in layer] for layer in lens.rankings]
    sure = np.array([[ranking.probabilities[0] for ranking in layer] for layer in lens.rankings])
    heat = Heatmap(
        z=np.round(255 * sure).astype(np.uint8), zmin=0, zmax=255, colorscale=SCALE, showscale=False, hoverinfo="none",
        text=[written(label if len(label) < 10 else label[:8] + "…" for label in row) for row in said],
        texttemplate="%{text}", textfont={"size": 12}, xgap=2, ygap=2,
        meta={"unit": 1 / 255, "rows": rows, "columns": columns, "said": said},
    )  # fmt: skip
    look = {"showgrid": False, "tickfont": {"size": 13}}
    marks = [] if chosen is None else [cell_mark(*chosen)]
    return figure(
        [heat], shapes=marks, height=34 * layers + 110, width=120 + LENS_COLUMN * len(columns),
        xaxis={**numbered(columns), **look, "title": {"text": across, "standoff": 8}, "side": "top"},
        yaxis={**numbered(rows), **look, "title": {"text": names[0], "standoff": 12}, "range": [layers - 0.5, -0.5]},
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
    )  # fmt: skip


def cell_mark(row: int, column: int) -> dict:
    """Return the shape that outlines a cell."""
    return {
        "type": "rect", "x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5,
        "line": {"color": AGAINST, "width": 3},
    }  # fmt: skip
