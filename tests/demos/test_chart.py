"""A figure is sent as JSON that every browser can read."""

import json

import numpy as np
import pytest
from plotly.graph_objects import Bar, Figure, Heatmap

from core import charts
from core.results import Ranking
from demos.chart import PLOTLY_JS, Chart, Marks


def sent(figure: Figure | str | None) -> str | None:
    """Return what the page receives."""
    return Chart().postprocess(figure)


def parsed(text: str) -> dict:
    """Read JSON as a browser does: NaN and Infinity are no JSON."""

    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_figure_holds_no_number_that_is_no_json(number):
    found = parsed(sent(Figure([Bar(x=[number, 0.5], y=[0, 1])])))
    assert found["data"][0]["x"] == [None, 0.5]
    parsed(sent(Figure([Heatmap(z=np.array([[number, 1.0]]))])))


def test_no_figure_is_no_chart():
    assert sent(None) is None


def test_json_that_came_through_the_api_goes_on_as_it_is():
    text = sent(Figure([Bar(x=[1])]))
    assert sent(text) == text
    assert parsed(Chart().example_payload()) == {"data": [], "layout": {}}


@pytest.mark.parametrize("label", ["\ud83d", "a\x00b", "\u202eabc", "</script><script>alert(1)</script>", "你好 🦊"])
def test_a_label_of_any_characters_can_be_sent(label):
    text = sent(charts.ranking_bars(Ranking((label,), (0.5,)), "rest"))
    text.encode("utf-8")
    (shown, _) = parsed(text)["layout"]["yaxis"]["ticktext"]
    assert "<" not in shown and label.strip(" ").replace("<", "&lt;")[:20] == shown[:20]


def test_a_chart_has_its_height_and_its_empty_sentence():
    chart = Chart(height=123, empty="Nothing yet.")
    assert chart.props["height"] == 123 and chart.props["empty"] == "Nothing yet."


def test_marks_are_sent_alone_and_told_from_a_figure():
    shape = {"type": "rect", "x0": 1, "x1": 2, "y0": 0, "y1": 1, "line": {"color": "var(--gb-accent)"}}
    text = Chart().postprocess(Marks([shape]))
    assert parsed(text) == {"marks": [shape]} and text.startswith('{"marks"')  # as static/chart.js tells them
    assert not sent(Figure([Bar(x=[1])])).startswith('{"marks"')


def test_packed_numbers_are_not_blown_up():
    z = np.full((512, 512), 255, np.uint8)  # base64 of this is nothing but slashes
    text = sent(Figure([Heatmap(z=z)]))
    assert len(text) < 512 * 512 * 4 / 3 + 10_000
    assert parsed(text)["data"][0]["z"]["shape"] == "512, 512"


def test_plotly_is_served_from_this_computer():
    assert PLOTLY_JS.is_file()
    assert "//" not in Chart().head.replace(str(PLOTLY_JS), "")
