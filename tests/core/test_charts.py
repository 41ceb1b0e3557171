"""Every chart on hand-written results: true numbers, nothing merged, no markup lost, nothing JSON cannot say."""

import inspect
import json

import numpy as np
import pytest
from PIL import Image
from plotly.graph_objects import Figure

from core import charts
from core.results import PatchMap, Ranking, Saliency, Step

RANKING = Ranking(("<s>", "tea", "tea", "a<br>b"), (0.4, 0.3, 0.1, 0.05))
STEP = Step("tea", 7, 0.3, RANKING, (1, 7, 8, 9), np.zeros(4, np.float32))
SALIENCY = Saliency("good", ("i", " loved", " <br>", " loved"), (0.1, 0.4, 0.0, -0.2), (0.02, 0.01, 0.0, -0.03))
WEIGHTS = np.random.default_rng(0).dirichlet(np.ones(5), (2, 3, 5)).astype(np.float16)  # [layer, head, query, key]
PICTURE = Image.new("RGB", (40, 60), "red")
PATCHES = PatchMap(np.array([[0, 0.2], [1, 0.5], [0.1, 0.9]], np.float32))

FIGURES = {
    "ranking_bars": lambda: charts.ranking_bars(RANKING, rest="all else"),
    "rankings_bars": lambda: charts.rankings_bars([RANKING, RANKING], ["<b>one", "two"], "all else"),
    "compared_bars": lambda: charts.compared_bars(["he", "she"], [[0.6, 0.1], [0.3, 0.4]], ("a", "b")),
    "step_bars": lambda: charts.step_bars(STEP, [0.7, 0.3, 0, 0], ("model", "sliders"), "all else"),
    "saliency_bars": lambda: charts.saliency_bars(SALIENCY, ("covering", "gradients")),
    "verdicts_histogram": lambda: charts.verdicts_histogram([RANKING] * 3, "<s>", "how sure"),
    "patch_map": lambda: charts.patch_map(PICTURE, PATCHES, frozenset({0, 3}), "share"),
    "heads_montage": lambda: charts.heads_montage(WEIGHTS, (1, 2), frozenset({(0, 0)}), ("layer", "head")),
    "attention_map": lambda: charts.attention_map(WEIGHTS[0, 0], ["<s>", "a", "a", "\n", " b"], ("from", "to"), 2),
}
EVERY = pytest.mark.parametrize("name", FIGURES)


def test_every_chart_of_the_module_is_tried_here():
    drawn = {
        name
        for name, made in inspect.getmembers(charts, inspect.isfunction)
        if made.__module__ == charts.__name__ and inspect.signature(made).return_annotation is Figure
    }
    assert drawn - {"figure", "bars"} == set(FIGURES)


@EVERY
def test_a_chart_is_json_without_nan_and_without_plotlys_template(name):
    drawn = FIGURES[name]()
    assert isinstance(drawn, Figure)
    data = json.loads(drawn.to_json(), parse_constant=lambda constant: pytest.fail(constant))
    assert not data["layout"].get("template")
    assert len(drawn.to_json()) < 20_000


@EVERY
def test_no_label_can_be_taken_for_markup(name):
    layout = FIGURES[name]().to_plotly_json()["layout"]
    for axis in ("xaxis", "yaxis"):
        for text in layout.get(axis, {}).get("ticktext", []):
            assert "<" not in str(text).removeprefix("<b>").removesuffix("</b>")  # a title's own


@pytest.mark.parametrize(
    ("label", "written"),
    [("<s>", "&lt;s>"), ("a<br>b", "a&lt;br>b"), ("a & b", "a &amp; b"), ("&lt;", "&amp;lt;"), (" the", "the"),
     (" ", "␣"), ("", "␣"), ("a\nb", "a⏎b"), ("你", "你")],
)  # fmt: skip
def test_labels_are_written_as_they_are(label, written):
    assert charts.written([label]) == [written]


def test_ticks_are_numbered_so_that_repeats_stay():
    axis = charts.numbered(["the", "the", "<s>", "x" * 50])
    assert axis["tickvals"] == [0, 1, 2, 3]
    assert axis["ticktext"][:3] == ["the", "the", "&lt;s>"]
    assert len(axis["ticktext"][3]) < 22 and axis["ticktext"][3].endswith("…")


@pytest.mark.parametrize(
    ("probability", "text"),
    [(1.0, "100%"), (0.9999, ">99%"), (0.99, "99%"), (0.5, "50%"), (0.0951, "10%"), (0.0312, "3.1%"), (0.0004, "<0.1%")],
)  # fmt: skip
def test_percent_is_short_and_never_100_when_it_is_less(probability, text):
    assert charts.percent(probability) == text


@pytest.mark.parametrize("probability", np.linspace(0, 1, 201))
def test_percent_is_near_the_truth(probability):
    said = charts.percent(probability)
    if said[0] not in "<>":
        assert float(said.rstrip("%")) / 100 == pytest.approx(probability, abs=0.0051)


def test_bars_show_every_label_once_and_the_rest_makes_them_1():
    drawn = charts.ranking_bars(RANKING, rest="all else")
    (bar,) = drawn.data
    assert list(drawn.layout.yaxis.ticktext) == ["&lt;s>", "tea", "tea", "a&lt;br>b", "all else"]
    assert list(bar.y) == [0, 1, 2, 3, 4]
    assert bar.x[-1] == pytest.approx(1 - sum(RANKING.probabilities))
    assert sum(bar.x) == pytest.approx(1)
    low, high = drawn.layout.yaxis.range
    assert low > high  # the first label on top


def test_a_closed_list_of_labels_has_no_rest():
    drawn = charts.ranking_bars(Ranking(("good", "bad"), (0.9, 0.1)))
    assert list(drawn.data[0].x) == [0.9, 0.1]


def test_probabilities_of_nothing_at_all_still_make_a_chart():
    assert charts.ranking_bars(Ranking(("a",), (0.0,))).layout.xaxis.range == (0, 1)


def test_several_rankings_keep_their_places_and_their_own_rest():
    drawn = charts.rankings_bars([RANKING, Ranking(("x",), (0.9,))], ["<i>one", "two"], "all else")
    (bar,) = drawn.data
    codes = [tuple(code) for code in bar.customdata]
    assert [code for code in codes if code[1] >= 0] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    by_ranking = [
        sum(value for value, code in zip(bar.x, codes, strict=True) if code[0] == number and value is not None)
        for number in (0, 1)
    ]
    assert by_ranking == pytest.approx([1, 1])
    titles = {text: value for text, value in zip(drawn.layout.yaxis.ticktext, bar.x, strict=True) if "<b>" in text}
    assert titles == {"<b>&lt;i>one</b>": None, "<b>two</b>": None}  # a line of its own


def test_one_ranking_alone_has_no_title():
    drawn = charts.rankings_bars([RANKING], ["one"], "all else")
    assert not drawn.layout.annotations and len(drawn.data[0].x) == 5


def test_a_step_shows_the_model_and_the_sliders_each_with_its_rest():
    own, sliders = charts.step_bars(STEP, [0.7, 0.25, 0, 0], ("model", "sliders"), "all else").data
    assert list(own.x) == pytest.approx([*RANKING.probabilities, RANKING.rest])
    assert list(sliders.x) == pytest.approx([0.7, 0.25, 0, 0, 0.05])
    assert [text == "✕" for text in sliders.text] == [False, False, True, True, False]


def test_saliency_keeps_its_numbers_and_its_directions():
    drawn = charts.saliency_bars(SALIENCY, ("covering", "gradients"))
    covered, gradients = drawn.data
    assert tuple(covered.customdata) == SALIENCY.covered and tuple(gradients.customdata) == SALIENCY.scores
    assert max(map(abs, covered.x)) == max(map(abs, gradients.x)) == 1
    assert np.sign(covered.x).tolist() == np.sign(SALIENCY.covered).tolist()
    assert drawn.layout.showlegend


def test_saliency_by_covering_alone_needs_no_legend_and_survives_no_push_at_all():
    drawn = charts.saliency_bars(Saliency("good", ("a", "b"), (0.0, 0.0)), ("covering", "gradients"))
    assert len(drawn.data) == 1 and list(drawn.data[0].x) == [0, 0]
    assert not drawn.layout.showlegend


def test_the_histogram_counts_every_text_once():
    rankings = [Ranking(("good", "bad"), (share, 1 - share)) for share in (0.0, 0.05, 0.5, 0.95, 1.0)]
    counts = charts.verdicts_histogram(rankings, "good", "how sure").data[0].y
    assert list(counts) == [2, 0, 0, 0, 0, 1, 0, 0, 0, 2]


def test_a_patch_map_has_a_cell_a_patch_and_crosses_the_hidden_ones():
    drawn = charts.patch_map(PICTURE, PATCHES, frozenset({0, 3}), "share")
    (heat,) = drawn.data
    assert np.array(heat.z).shape == np.array(heat.customdata).shape == (3, 2)
    np.testing.assert_allclose(np.array(heat.customdata), PATCHES.weights, atol=1e-3)
    order = np.argsort(np.array(heat.z).ravel())
    assert order.tolist() == np.argsort(PATCHES.weights.ravel()).tolist()
    middles = {((line.x0 + line.x1) / 2, (line.y0 + line.y1) / 2) for line in drawn.layout.shapes}
    assert middles == {(0, 0), (1, 1)} and len(drawn.layout.shapes) == 4
    (image,) = drawn.layout.images
    assert (image.sizex, image.sizey, image.x, image.y) == (2, 3, -0.5, -0.5)
    assert image.source.startswith("data:image/png;base64,")


def test_a_large_picture_is_sent_as_a_photograph():
    noise = Image.effect_noise((600, 600), 90).convert("RGB")
    assert charts.data_uri(noise).startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("tokens", [1, 5, 24, 25, 100])
def test_a_click_on_the_montage_finds_the_head_it_was_drawn_in(tokens):
    layers, heads = 3, 4
    for layer in range(layers):
        for head in range(heads):
            weights = np.zeros((layers, heads, tokens, tokens), np.float16)
            weights[layer, head] = 1
            sheet = np.array(charts.heads_montage(weights, (0, 0), frozenset(), ("layer", "head")).data[0].z)
            bright = np.argwhere(sheet == 255)
            assert len(bright) == min(tokens, charts.MONTAGE_CELL) ** 2
            assert {charts.head_at(cell, tokens) for cell in bright} == {(layer, head)}
    dark = np.argwhere(sheet == 0)
    assert all(0 <= charts.head_at(cell, tokens)[0] < layers for cell in dark)  # a click on a gap finds one too
    assert all(0 <= charts.head_at(cell, tokens)[1] < heads for cell in dark)


def test_the_montage_marks_the_chosen_head_and_crosses_silenced_ones():
    shapes = charts.heads_montage(WEIGHTS, (1, 2), frozenset({(0, 0)}), ("layer", "head")).layout.shapes
    places = [(shape.type, charts.head_at((max(shape.y0, shape.y1), shape.x1), 5)) for shape in shapes]
    assert sorted(places) == [("line", (0, 0)), ("line", (0, 0)), ("rect", (1, 2))]


def test_pooling_loses_no_line():
    weights = np.zeros((1, 1, 100, 100), np.float16)
    weights[..., 57] = 1  # one column everybody looks at
    small = charts.pooled(weights, 24)
    assert small.shape == (1, 1, 24, 24)
    assert small.max(-2).sum() == 1 and small.max(-1).min() == 1


def test_an_attention_map_is_the_matrix_with_every_token_on_both_sides():
    drawn = charts.attention_map(WEIGHTS[0, 0], ["<s>", "a", "a", "\n", " b"], ("from", "to"), chosen=2)
    np.testing.assert_allclose(np.array(drawn.data[0].z), WEIGHTS[0, 0], atol=1e-3)
    for axis in (drawn.layout.xaxis, drawn.layout.yaxis):
        assert list(axis.ticktext) == ["&lt;s>", "a", "a", "⏎", "b"] and list(axis.tickvals) == [0, 1, 2, 3, 4]
    assert (drawn.layout.xaxis.title.text, drawn.layout.yaxis.title.text) == ("to", "from")
    (row,) = drawn.layout.shapes
    assert (row.y0, row.y1) == (1.5, 2.5)


def test_a_long_text_names_at_most_64_tokens_and_names_them_rightly():
    names = [str(number) for number in range(200)]
    drawn = charts.attention_map(np.full((200, 200), 1 / 200, np.float16), names, ("from", "to"))
    axis = drawn.layout.xaxis
    assert len(axis.tickvals) <= 64
    assert [names[at] for at in axis.tickvals] == list(axis.ticktext)
