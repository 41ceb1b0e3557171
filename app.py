"""Glassbox: see what a language model sees. The table of contents: the tabs, the two languages, the launch."""

import gc
import os
import sys
import threading

if __name__ == "__main__":
    gc.disable()  # nothing that is imported is garbage, and looking for some takes a tenth of the time; see ui.warm_up

from core import catalogue

if catalogue.lends_cards():
    import spaces  # noqa: F401 - has to be there before torch

import gradio as gr

from core import limits
from core.runner import Runner, run_here, runner
from demos import attention, generation, masking, sentiment, ui, vqa
from demos.theme import PAGE_CSS, THEME
from demos.words import LANGUAGES, Words

TABS = (generation, masking, sentiment, vqa, attention)


def build(run: Runner = run_here) -> gr.Blocks:
    """Return the whole app: English at /, Chinese at /zh."""
    with gr.Blocks(
        title="Glassbox", analytics_enabled=False, delete_cache=(limits.VISIT_SECONDS, limits.VISIT_SECONDS)
    ) as app:
        lay_out(run, Words("en"), app)
    for language in LANGUAGES[1:]:
        with app.route(language, f"/{language}", show_in_navbar=False):
            lay_out(run, Words(language), app)
    return app.queue(max_size=limits.QUEUE, default_concurrency_limit=limits.CALLS_AT_ONCE)


def lay_out(run: Runner, words: Words, app: gr.Blocks) -> None:
    """Put the header, the tabs and the footer of one language on the page."""
    gr.Navbar([], visible=False, main_page_name=False)  # the header has its own way to the other language
    ui.header(words, app)
    with gr.Tabs():
        for tab in TABS:
            with gr.Tab(words.say(f"{tab.TITLE}.title"), id=tab.TITLE):
                tab.build(run, words)
    gr.Markdown(words.say("page.footer"), elem_classes="gb-footer")


def launch() -> None:
    """Serve the app, open the page where there is a screen, and load the models behind it."""
    ui.check_settings()
    screen = sys.platform in ("darwin", "win32") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    threading.Thread(target=ui.warm_up, daemon=True).start()
    app = build(runner())
    app.launch(
        theme=THEME,
        css_paths=[PAGE_CSS],
        footer_links=[],
        run_history=False,
        ssr_mode=False,  # a Space would put another server in front, which this page gains nothing from
        max_file_size=limits.PICTURE_BYTES,
        state_session_capacity=limits.VISITORS,
        inbrowser=screen and "SPACE_ID" not in os.environ,
    )


if __name__ == "__main__":
    launch()
