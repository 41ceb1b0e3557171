"""A Plotly figure goes in; a chart that redraws in place, follows the page's theme and answers to clicks comes out."""

from pathlib import Path

import gradio as gr
import plotly
from plotly.graph_objects import Figure

STATIC = Path(__file__).parent / "static"
PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"  # served by ourselves: no CDN
gr.set_static_paths(PLOTLY_JS)


class Chart(gr.HTML):
    """Shows a Plotly figure; `.select` hands the handler a gr.SelectData.

    evt.index: the bar's number, or [row, column] of a heat map's cell.
    evt.value: a dict with x, y, z, customdata and trace (the trace's number).

    A figure may name colours of static/page.css, "var(--gb-accent)", wherever Plotly wants a colour: the page fills them
    in, light or dark. `layout.height` overrides `height`; `layout.meta` (a string), else the title, is read to the blind.
    Through the API the value is the figure as JSON.
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

    def postprocess(self, value: Figure | str | None) -> str | None:
        # Python's own encoder: the faster one refuses half a surrogate pair, which a visitor can type.
        return value.to_json(engine="json") if isinstance(value, Figure) else value

    def example_payload(self) -> str:
        return '{"data": [], "layout": {}}'

    example_value = example_payload
