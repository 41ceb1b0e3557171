"""A Plotly figure goes in; a chart that redraws in place, follows the page's theme and answers to clicks comes out."""

import json
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import plotly
from plotly.graph_objects import Figure
from plotly.utils import PlotlyJSONEncoder

STATIC = Path(__file__).parent / "static"
PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"  # served by ourselves: no CDN
gr.set_static_paths(PLOTLY_JS)


@dataclass(frozen=True, slots=True)
class Marks:
    """New outlines for the figure that a chart shows already: all that is sent, so that choosing stays light."""

    shapes: list[dict]  # of Plotly's layout, in the place of the figure's own


class Chart(gr.HTML):
    """Shows a Plotly figure, or new Marks on the one it shows; `.select` hands the handler a gr.SelectData.

    evt.index: the bar's number, or [row, column] of a heat map's cell.
    evt.value: a dict with x, y, z, customdata and trace (the trace's number).

    A figure may name colours of static/page.css, "var(--gb-accent)", wherever Plotly wants a colour: the page fills them
    in, light or dark. `layout.height` overrides `height`; `layout.meta` (a string), else the title, is read to the blind.
    A chart with a `layout.width` is that wide at least, and scrolls sideways in a narrower page. Where layout.meta is
    {wide, high}, that is the size in pixels of a plot whose cells are square: it shrinks with the page. A heat map's
    trace.meta says what to tell of a cell: see static/chart.js. Through the API the value is the figure as JSON.
    """

    def __init__(self, value: Figure | str | None = None, *, height: int = 380, empty: str = "", **kwargs):
        """`height` in pixels; `empty` is the sentence shown while there is no figure."""
        self.height, self.empty = height, empty  # set, or gr.HTML takes any word quoted in the script for an event
        super().__init__(
            value,
            html_template=(STATIC / "chart.html").read_text("utf-8"),
            js_on_load=(STATIC / "chart.js").read_text("utf-8"),
            head=f'<script src="/gradio_api/file={PLOTLY_JS}"></script>',
            apply_default_css=False,
            height=height,
            empty=empty,
            **kwargs,
        )

    def postprocess(self, value: Figure | Marks | str | None) -> str | None:
        if isinstance(value, Marks):
            return json.dumps({"marks": value.shapes}, separators=(",", ":"))
        # Python's own encoder: the faster one refuses half a surrogate pair, which a visitor can type. Figure.to_json would
        # write each "/" of the packed numbers in six letters: a tenth more for nothing, since no page holds this as a script.
        return PlotlyJSONEncoder(separators=(",", ":")).encode(value.to_dict()) if isinstance(value, Figure) else value

    def example_payload(self) -> str:
        return '{"data": [], "layout": {}}'

    example_value = example_payload
