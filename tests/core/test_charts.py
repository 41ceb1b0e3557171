"""Every chart on hand-written results: true numbers, nothing merged, no markup lost, nothing JSON cannot say."""

import inspect
import json

import numpy as np
import pytest
from PIL import Image
from plotly.graph_objects import Figure

from core import charts
from core.results import Attention, Gaze, Lens, PatchMap, Ranking, Saliency, Step, View

RANKING = Ranking(("<s>", "tea", "tea", "a<br>b"), (0.4, 0.3, 0.1, 0.05))
STEP = Step("tea", 7, 0.3, RANKING, (1, 7, 8, 9), np.zeros(4, np.float32))
SALIENCY = Saliency(
    "good", ("i", " loved", " <br>", " loved"), (0.1, 0.4, 0.0, -0.2), (0.02, 0.01, 0.0, -0.03), (0.4, 0.3, 0.2, 0.1)
)
MEASURES = ("covering", "<b>", "attention")
CHANCE = np.random.default_rng(0)
TOKENS = ("<s>", "a", "a", "\n", " b")
ATTENTION = Attention(
    TOKENS, CHANCE.integers(0, 256, (2, 3, 5, 5), np.uint8), (), (0, 0), None, 0.0, None, None
)  # fmt: skip
LAYERS = tuple((RANKING,) * 5 for _ in range(4))
LENS = Lens(TOKENS, (7, 8, 9, 10, 11), LAYERS)
HEADS = ("layer", "head", "{row} {column}")
PICTURE = Image.new("RGB", (40, 60), "red")
PATCHES = PatchMap(np.array([[0, 0.2], [1, 0.5], [0.1, 0.9]], np.float32))


def gaze(tokens: int, first: int = 0, whole: int = 0) -> Gaze:
    """Return a window of a gaze, and where the text is longer, `whole` cells a side of all of it."""
    weights = CHANCE.integers(0, 256, (tokens, tokens), np.uint8)
    targets, shares = np.zeros((tokens, 2), np.int32), np.zeros((tokens, 2), np.float32)
    small = CHANCE.integers(0, 256, (whole, whole), np.uint8) if whole else None
    return Gaze(View(query=first, key=first), weights, 0.51, targets, shares, small)


FIGURES = {
    "ranking_bars": lambda: charts.ranking_bars(RANKING, rest="all else"),
    "rankings_bars": lambda: charts.rankings_bars([RANKING, RANKING], ["<b>one", "two"], "all else"),
    "compared_bars": lambda: charts.compared_bars(["he", "she"], [[0.6, 0.1], [0.3, 0.4]], ("a", "b")),
    "step_bars": lambda: charts.step_bars(
        STEP, [0.7, 0.3, 0, 0], ("model", "sliders"), "all else", ["", "", "<b>", "k"]
    ),
    "draws_bars": lambda: charts.draws_bars(
        RANKING.labels, [7, 2, 0, 0], [0.7, 0.3, 0, 0], 10, ("came", "<b>"), "all else"
    ),
    "saliency_bars": lambda: charts.saliency_bars(SALIENCY, MEASURES),
    "verdicts_histogram": lambda: charts.verdicts_histogram([RANKING] * 3, "<s>", "how sure"),
    "patch_map": lambda: charts.patch_map(PICTURE, PATCHES, frozenset({0, 3}), [["<b>"] * 2] * 3),
    "heads_montage": lambda: charts.heads_montage(ATTENTION, (1, 2), frozenset({(0, 0)}), HEADS, {(1, 1): "<i>"}),
    "attention_map": lambda: charts.attention_map(gaze(5), TOKENS, ("from", "to"), 2),
    "window_map": lambda: charts.window_map(gaze(5, first=4, whole=8), 16, ("from", "to")),
    "lens_map": lambda: charts.lens_map(LENS, ("layer", "place", "<b>", "answer", "layer {number}"), (1, 2)),
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


def test_a_step_marks_the_chosen_token_and_says_what_shut_out_the_others():
    drawn = charts.step_bars(STEP, [0.7, 0.3, 0, 0], ("model", "sliders"), "all else", ["", "", "top-k", "top-p"])
    assert list(drawn.data[1].text)[2:4] == ["✕ top-k", "✕ top-p"]
    assert [name for name in drawn.layout.yaxis.ticktext if "▸" in name] == ["<b>▸ tea</b>"]


def test_draws_show_counts_beside_what_is_to_be_expected_and_leave_out_what_has_no_chance():
    drawn = charts.draws_bars(["a", "b", "c"], [60, 25, 0], [0.5, 0.3, 0.0], 100, ("came", "chance"), "all else")
    came, expected = drawn.data
    assert list(drawn.layout.yaxis.ticktext) == ["a", "b", "all else"]
    assert list(came.x) == pytest.approx([0.6, 0.25, 0.15]) and list(came.text) == ["60", "25", "15"]
    assert list(expected.x) == pytest.approx([0.5, 0.3, 0.2]) and list(expected.text) == ["50", "30", "20"]


def test_saliency_keeps_its_numbers_and_its_directions():
    drawn = charts.saliency_bars(SALIENCY, MEASURES)
    covered, gradients, looks = drawn.data
    assert tuple(covered.customdata) == SALIENCY.covered and tuple(gradients.customdata) == SALIENCY.scores
    assert tuple(looks.customdata) == SALIENCY.looks
    assert [row.name for row in drawn.data] == ["covering", "&lt;b>", "attention"]
    assert max(map(abs, covered.x)) == max(map(abs, gradients.x)) == max(looks.x) == 1
    assert np.sign(covered.x).tolist() == np.sign(SALIENCY.covered).tolist()
    assert drawn.layout.showlegend


def test_saliency_by_covering_alone_needs_no_legend_and_survives_no_push_at_all():
    drawn = charts.saliency_bars(Saliency("good", ("a", "b"), (0.0, 0.0)), MEASURES)
    assert len(drawn.data) == 1 and list(drawn.data[0].x) == [0, 0]
    assert not drawn.layout.showlegend


def test_saliency_without_gradients_keeps_the_name_and_colour_of_attention():
    whole = charts.saliency_bars(SALIENCY, MEASURES).data[2]
    _, looks = charts.saliency_bars(Saliency("good", ("a", "b"), (0.1, 0.2), looks=(0.3, 0.7)), MEASURES).data
    assert looks.name == "attention" and looks.marker.color == whole.marker.color


def test_of_many_words_those_that_count_most_are_drawn_in_the_order_of_the_text():
    covered = [0.001 * at for at in range(40)]
    covered[5], covered[17] = -0.9, 0.8
    drawn = charts.saliency_bars(Saliency("good", tuple(map(str, range(40))), tuple(covered)), MEASURES)
    shown = [int(word) for word in drawn.layout.yaxis.ticktext]
    assert len(shown) == charts.SALIENT and shown == sorted(shown) and {5, 17, 39} <= set(shown)
    assert list(drawn.data[0].customdata) == [covered[word] for word in shown]


def test_words_that_cost_next_to_nothing_are_drawn_as_the_little_they_are():
    found = Saliency("good", ("a", "b"), (0.001, 0.0005), (2.0, 1.0))
    covered, gradients = charts.saliency_bars(found, MEASURES).data
    assert max(covered.x) == pytest.approx(0.02) and max(gradients.x) == 1


def test_the_histogram_counts_every_text_once():
    rankings = [Ranking(("good", "bad"), (share, 1 - share)) for share in (0.0, 0.05, 0.5, 0.95, 1.0)]
    counts = charts.verdicts_histogram(rankings, "good", "how sure").data[0].y
    assert list(counts) == [2, 0, 0, 0, 0, 1, 0, 0, 0, 2]


def test_a_patch_map_has_a_cell_a_patch_and_crosses_the_hidden_ones():
    drawn = charts.patch_map(PICTURE, PATCHES, frozenset({0, 3}))
    order = np.argsort(np.array(drawn.data[0].z).ravel())
    assert order.tolist() == np.argsort(PATCHES.weights.ravel()).tolist()
    assert len(drawn.layout.shapes) == 4
    assert {((line.x0 + line.x1) / 2, (line.y0 + line.y1) / 2) for line in drawn.layout.shapes} == {(0, 0), (1, 1)}
    (image,) = drawn.layout.images
    assert (image.sizex, image.sizey, image.x, image.y) == (2, 3, -0.5, -0.5)
    assert image.source.startswith("data:image/png;base64,")


def test_a_patch_map_shows_the_differences_of_a_map_that_has_hardly_any():
    flat = charts.patch_map(PICTURE, PatchMap(np.array([[0.98, 1], [0.99, 0.98]], np.float32)), frozenset())
    shades = np.asarray(flat.data[0].z)
    assert shades.min() == 0 and shades.max() == 255 and 100 < shades[1, 0] < 155
    same = charts.patch_map(PICTURE, PatchMap(np.zeros((2, 2), np.float32)), frozenset())
    assert (np.asarray(same.data[0].z) == 255).all()


def test_what_is_said_of_a_patch_comes_with_the_map():
    notes = [["a", "b"], ["c", "d"], ["e", "<b>"]]
    assert charts.patch_map(PICTURE, PATCHES, frozenset(), notes).data[0].meta["notes"] == notes


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (384, 256), (768, 768), (768, 192), (192, 768)])
def test_a_picture_keeps_its_proportions_under_its_patches_and_its_size_where_there_is_room(size):
    for grid in ((2, 2), (8, 8), (3, 12)):
        drawn = charts.patch_map(Image.new("RGB", size), PatchMap(np.ones(grid, np.float32)), frozenset())
        wide, high = drawn.layout.meta["wide"], drawn.layout.meta["high"]
        assert wide <= 640 and high <= 520 and drawn.layout.height == high
        assert wide / high == pytest.approx(size[0] / size[1], rel=0.02)
        assert drawn.layout.yaxis.scaleratio * grid[0] / grid[1] == pytest.approx(high / wide)
        cell = min(size[0] / grid[1], size[1] / grid[0])
        if cell >= charts.PATCH and size[0] <= 640 and size[1] <= 520:
            assert (wide, high) == size


def test_a_large_picture_is_sent_as_a_photograph():
    noise = Image.effect_noise((600, 600), 90).convert("RGB")
    assert charts.data_uri(noise).startswith("data:image/jpeg;base64,")


def lit(heads: tuple[int, int], side: int, one: tuple[int, int]) -> Attention:
    """Return all heads dark but one."""
    montage = np.zeros((*heads, side, side), np.uint8)
    montage[one] = 1  # however weak: a head's own strongest is brightest
    return Attention((), montage, (), (0, 0), None, 0.0, None, None)


@pytest.mark.parametrize(("heads", "side"), [((3, 4), 1), ((3, 4), 5), ((2, 3), 16), ((28, 16), 16), ((28, 16), 15)])
def test_a_click_on_the_montage_finds_the_head_it_was_drawn_in(heads, side):
    for one in [(0, 0), (1, 2), (heads[0] - 1, heads[1] - 1)]:
        attention = lit(heads, side, one)
        drawn = charts.heads_montage(attention, (0, 0), frozenset(), HEADS, {})
        sheet, step = np.array(drawn.data[0].z), drawn.data[0].meta["stride"]
        bright = np.argwhere(sheet == 255)
        assert len(bright) == charts.shrunk_side(attention) ** 2 == (step - 1) ** 2
        assert {charts.head_at(cell, attention) for cell in bright} == {one}
        assert sheet.shape == (heads[0] * step - 1, heads[1] * step - 1)
    dark = np.argwhere(sheet == 0)
    places = [charts.head_at(cell, attention) for cell in dark]  # a click on a gap finds one too
    assert all(0 <= layer < heads[0] and 0 <= head < heads[1] for layer, head in places)


def test_the_montage_marks_the_chosen_head_and_crosses_silenced_ones():
    shapes = charts.heads_montage(ATTENTION, (1, 2), frozenset({(0, 0)}), HEADS, {}).layout.shapes
    places = [(shape.type, charts.head_at((max(shape.y0, shape.y1), shape.x1), ATTENTION)) for shape in shapes]
    assert sorted(places) == [("line", (0, 0)), ("line", (0, 0)), ("rect", (1, 2))]
    again = charts.head_marks(ATTENTION, (1, 2), frozenset({(0, 0)}))
    assert [shape.to_plotly_json() for shape in shapes] == again


@pytest.mark.parametrize("heads", [(6, 5), (6, 12), (12, 12), (28, 16), (1, 1), (48, 32)])
def test_heads_are_squares_that_fit_the_page_and_can_be_clicked(heads):
    layout = charts.heads_montage(lit(heads, 16, (0, 0)), (0, 0), frozenset(), HEADS, {}).layout
    wide, high = layout.meta["wide"], layout.meta["high"]
    assert wide / heads[1] == pytest.approx(high / heads[0], abs=1)
    assert wide <= charts.MONTAGE_WIDTH and wide / heads[1] >= 32  # pixels a head
    assert layout.yaxis.scaleanchor == "x" and layout.height > high


def test_shrinking_the_montage_loses_no_line():
    montage = np.zeros((28, 16, 16, 16), np.uint8)
    montage[..., 9] = 255  # one column everybody looks at
    small = charts.shrunk(montage)
    assert small.shape == (28, 16, 8, 8)
    assert small.max(-2)[0, 0].tolist() == [0, 0, 0, 0, 255, 0, 0, 0] and small.max(-1).min() == 255
    assert charts.shrunk(montage[:2]).shape[-1] == 16  # few heads stay as they are


def test_an_attention_map_is_the_window_with_every_token_numbered_on_both_sides():
    seen = gaze(5)
    drawn = charts.attention_map(seen, TOKENS, ("from", "to"), chosen=2)
    (heat,) = drawn.data
    assert np.array(heat.z).dtype == np.uint8 and (np.array(heat.z) == seen.weights).all()
    assert heat.meta["unit"] * 255 == pytest.approx(seen.most)
    assert heat.meta["rows"] == ["<s>", "a", "a", "⏎", "b"] and heat.meta["columns"] is None
    for axis in (drawn.layout.xaxis, drawn.layout.yaxis):
        assert list(axis.ticktext) == ["1 &lt;s>", "2 a", "3 a", "4 ⏎", "5 b"] and list(axis.tickvals) == [
            0,
            1,
            2,
            3,
            4,
        ]
    assert (drawn.layout.xaxis.title.text, drawn.layout.yaxis.title.text) == ("to", "from")
    (row,) = drawn.layout.shapes
    assert (row.y0, row.y1) == (1.5, 2.5)


def test_a_window_is_numbered_as_the_text_is_and_outlines_no_token_that_is_not_in_it():
    tokens = [f"t{number}" for number in range(1, 101)]
    seen = gaze(20)
    seen = Gaze(View(query=40, key=10), seen.weights, 0.5, seen.targets, seen.shares)
    drawn = charts.attention_map(seen, tokens, ("from", "to"), chosen=43)
    assert drawn.layout.yaxis.ticktext[0] == "41 t41" and drawn.layout.xaxis.ticktext[-1] == "30 t30"
    assert drawn.data[0].meta["first"] == [40, 10] and drawn.data[0].meta["columns"][0] == "t11"
    assert [(mark["y0"], mark["y1"]) for mark in charts.row_marks(seen, 43)] == [(2.5, 3.5)]
    assert charts.row_marks(seen, 39) == charts.row_marks(seen, 60) == charts.row_marks(seen, None) == []


@pytest.mark.parametrize("tokens", [65, 200, 512])
def test_a_long_text_names_at_most_64_tokens_and_names_them_rightly(tokens):
    names = [f"n{number}" for number in range(1, tokens + 1)]
    drawn = charts.attention_map(gaze(tokens), names, ("from", "to"))
    axis = drawn.layout.xaxis
    assert 32 < len(axis.tickvals) <= 64
    assert [f"{at + 1} {names[at]}" for at in axis.tickvals] == list(axis.ticktext)
    assert drawn.layout.meta["wide"] <= 760


@pytest.mark.parametrize(
    ("tokens", "window", "side"), [(2_000, 512, 64), (513, 512, 64), (4_096, 512, 64), (100, 20, 10)]
)
def test_a_click_on_the_overview_brings_the_cell_into_the_window_and_the_window_into_the_text(tokens, window, side):
    for row, column in [(0, 0), (side // 2, 3), (side - 1, side - 1)]:
        firsts = charts.window_at((row, column), tokens, side, window)
        for cell, first in zip((row, column), firsts, strict=True):
            assert 0 <= first <= tokens - window
            assert first <= (cell + 0.5) * tokens / side <= first + window


def test_the_overview_outlines_the_window_where_it_is():
    drawn = charts.window_map(gaze(4, first=8, whole=8), 16, ("from", "to"))
    (window,) = drawn.layout.shapes
    assert (window.x0, window.x1, window.y0, window.y1) == (3.5, 5.5, 3.5, 5.5)
    assert drawn.data[0].meta["rows"][0] == "1–2" and drawn.data[0].meta["rows"][-1] == "15–16"


def test_the_lens_has_a_cell_a_layer_and_place_with_the_likeliest_token():
    drawn = charts.lens_map(LENS, ("layer", "place", "start", "answer", "layer {number}"), (1, 2))
    (heat,) = drawn.data
    assert np.array(heat.z).shape == (4, 5) and int(np.array(heat.z)[0, 0]) == round(255 * 0.4)
    assert list(drawn.layout.yaxis.ticktext) == ["start", "layer 1", "layer 2", "answer"]
    assert drawn.layout.yaxis.range[0] > drawn.layout.yaxis.range[1]  # the embeddings on top
    assert list(drawn.layout.xaxis.ticktext) == ["8 &lt;s>", "9 a", "10 a", "11 ⏎", "12 b"]
    assert heat.text[0][0] == "&lt;s>" and heat.meta["said"][0][0] == "<s>"
    (mark,) = drawn.layout.shapes
    assert (mark.x0, mark.x1, mark.y0, mark.y1) == (1.5, 2.5, 0.5, 1.5)
    assert drawn.layout.width >= 5 * charts.LENS_COLUMN


def test_a_token_that_has_no_ink_is_numbered_with_a_sign():
    assert charts.places([" fox", " ", "", "\n", "<s>", "狐狸"], 11) == [
        "12 fox", "13 ␣", "14 ␣", "15 ⏎", "16 <s>", "17 狐狸",
    ]  # fmt: skip
