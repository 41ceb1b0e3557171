"""What every tab does the same way: its head, its sentence, its events, the one door for errors."""

import csv
import functools
import gc
import inspect
import logging
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

import gradio as gr
from gradio.utils import get_space, get_upload_folder

import core
from core import catalogue, limits
from core.errors import VisitorError
from core.results import as_data
from core.runner import run_here
from demos.listeners import while_heard
from demos.theme import PAGE_CSS, THEME
from demos.words import Words

log = logging.getLogger("glassbox")
STATIC = Path(__file__).parent / "static"
HALVES = re.compile("[\ud800-\udfff]")
ONE_DEVICE = "device"  # all events that run a model share one limit


class Sentence(gr.HTML):
    """One plain sentence, large. Its value is text: what is in it is shown as typed."""

    def __init__(self, value: str = "", **kwargs):
        template = (STATIC / "sentence.html").read_text("utf-8")
        super().__init__(value, html_template=template, apply_default_css=False, **kwargs)

    def example_payload(self) -> str:
        return ""

    example_value = example_payload


class Slider(gr.Slider):
    """A number between two bounds. One that is not is refused where it is used, in a sentence of the visitor's language."""

    is_template = True

    def preprocess(self, payload: float) -> float:
        return payload


class Number(gr.Number):
    """A number, refused like a Slider's."""

    is_template = True

    def preprocess(self, payload: float | None) -> float | None:
        return payload


class Picture(gr.Image):
    """A picture as the file it came in: it is opened in core, with care."""

    is_template = True

    def preprocess(self, payload) -> str | None:
        return payload.path if payload else None


def header(words: Words, app: gr.Blocks) -> None:
    """Put the name, the way to the other language and the device's badge on the page; on a Space with logins also theirs."""
    other = "zh" if words.language == "en" else "en"
    place = gr.HTML(
        html_template=(STATIC / "header.html").read_text("utf-8"),
        apply_default_css=False,
        elem_classes="gb-header",
        name=words.say("page.name"),
        tagline=words.say("page.tagline"),
        elsewhere="/zh" if other == "zh" else "/",
        other=other,
        language=words.say("page.other_language"),
        device=words.say("device.waking"),
    )

    def show_device():
        device = core.models.device()
        return gr.HTML(device=words.say(f"device.{device.why}", name=device.name))

    app.load(show_device, None, place, api_visibility="private", queue=False)
    # hf_oauth: elsewhere Gradio would make the host the visitor. No model of the catalogue asks who one is.
    if get_space() and "OAUTH_CLIENT_ID" in os.environ and catalogue.own().hub:
        gr.LoginButton(words.say("shelf.login"), words.say("shelf.logout"), size="sm", elem_classes="gb-login")


def check_settings() -> None:
    """Stop with one line, before anything is loaded, where a setting asks for what is not there."""
    try:
        catalogue.own()
        if os.environ.get("GLASSBOX_DEVICE"):
            core.models.device()
    except ValueError as error:
        sys.exit(str(error))


def warm_up() -> None:
    """Load the models on board, and prepare those that write, so that nobody waits; then collect garbage as usual."""
    try:
        core.models.warm_up()
        for name in catalogue.offered("generation"):
            if catalogue.find(name).shelf == "board":
                core.decoding.warm_up(core.models.load(name))
    finally:
        gc.enable()


def head(task: str, words: Words) -> None:
    """Put the tab's technical name and what it does under its title."""
    gr.Markdown(words.say(f"{task}.technical"), elem_classes="gb-technical")
    gr.Markdown(words.say(f"{task}.about"), elem_classes="gb-note")


def sentence() -> Sentence:
    """Return the place of the plain sentence."""
    return Sentence(elem_classes="gb-sentence", show_label=False)


def section(name: str, words: Words) -> gr.Column:
    """Return a part of the page with its heading: "why", "whatif" or "take"."""
    part = gr.Column(elem_classes=f"gb-{name}")
    with part:
        gr.Markdown(f"### {words.say(f'ui.{name}')}")
    return part


def take_away(task: str, words: Words) -> gr.JSON:
    """Put the numbers behind the result on the page, to be looked at, copied and saved; return their place."""
    with section("take", words), gr.Accordion(words.say("ui.numbers"), open=False):
        gr.Markdown(words.say("ui.camera"), elem_classes="gb-note")
        data = gr.JSON(label=words.say("ui.data"), show_label=True, max_height=320)
        save = gr.Button(words.say("ui.save"), size="sm")
        save.click(None, data, js=(STATIC / "save.js").read_text("utf-8").replace("NAME", f"glassbox-{task}"))
    return data


def write_table(task: str, header: list[str], rows: list[list]) -> str:
    """Write a table for a spreadsheet where Gradio cleans up, and return its path; what begins like a formula is made text."""
    cache = Path(get_upload_folder())
    cache.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="glassbox-", dir=cache)) / f"glassbox-{task}.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        for row in [header, *rows]:
            writer.writerow([f"'{cell}" if str(cell)[:1] in tuple("=+-@\t\r") else cell for cell in row])
    return str(path)


def explain(task: str, words: Words) -> None:
    """Put the closed "How does this work?" on the page."""
    with gr.Accordion(words.say("ui.how"), open=False):
        gr.Markdown(words.say(f"{task}.how"), latex_delimiters=[{"left": "$", "right": "$", "display": False}])


def on(
    triggers: list,
    handler: Callable,
    inputs: list,
    outputs: list,
    words: Words,
    api_name: str | None = None,
    **options: object,
) -> gr.events.Dependency:
    """Wire an event through the door. `api_name` publishes it, on the English page; all others are the page's own."""
    public = api_name is not None and words.language == "en"
    return gr.on(
        triggers,
        door(handler, words),
        inputs,
        outputs,
        api_name=api_name if public else None,
        api_visibility="public" if public else "private",
        concurrency_limit=limits.CALLS_AT_ONCE,
        **{"concurrency_id": ONE_DEVICE, "show_progress": "minimal", "trigger_mode": "once", **options},
    )


def memory(value: object) -> gr.State:
    """Return what the page remembers for one visitor, for a while."""
    return gr.State(value, time_to_live=limits.VISIT_SECONDS)


def launch_alone(build: Callable) -> None:
    """Show one tab by itself, in English."""
    with gr.Blocks() as page:
        build(run_here, Words("en"))
    page.launch(theme=THEME, css_paths=[PAGE_CSS], footer_links=[])


def examples(samples: list[tuple], boxes: list, words: Words) -> gr.Examples:
    """Put ready examples under the inputs; choosing one fills them in."""
    return gr.Examples(
        [list(sample) for sample in samples], boxes, label=words.say("ui.examples"), api_visibility="private"
    )


def door(handler: Callable, words: Words) -> Callable:
    """Return the handler with its errors turned into what a visitor may read.

    A VisitorError becomes its sentence. Anything else is a bug: the log gets the traceback, the page an incident id.
    """

    def told(error: Exception) -> gr.Error:
        if isinstance(error, VisitorError):
            return gr.Error(say_error(error, words), duration=8, title=words.say("ui.sorry"), print_exception=False)
        if isinstance(error, gr.Error):
            return error
        incident = secrets.token_hex(4)
        log.error("incident %s", incident, exc_info=error)
        return gr.Error(words.say("error.bug", id=incident), title=words.say("ui.sorry"), print_exception=False)

    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*inputs: object) -> Iterator:
            try:
                yield from while_heard(handler(*map(whole, inputs)))
            except Exception as error:  # the one door: told() logs what is not the visitor's to mend
                raise told(error) from error

        return stream

    @functools.wraps(handler)
    def call(*inputs: object) -> object:
        try:
            return handler(*map(whole, inputs))
        except Exception as error:  # the one door
            raise told(error) from error

    return call


def whole(typed: object) -> object:
    """Return what a visitor typed with halves of characters replaced: they cannot be sent back or saved."""
    return HALVES.sub("\N{REPLACEMENT CHARACTER}", typed) if isinstance(typed, str) else typed


def say_error(error: VisitorError, words: Words) -> str:
    """Return the sentence of an error; what a visitor typed is shown as typed."""
    facts = {name: escape(fact) if isinstance(fact, str) else f"{fact:,}" for name, fact in error.facts.items()}
    for name in ("field", "unit", "part", "lacks"):
        if name in facts and words.has(f"{name}.{facts[name]}"):
            facts[name] = words.say(f"{name}.{facts[name]}")
    return words.say(f"error.{type(error).__name__}", **facts)


def data_of(*results: object) -> object:
    """Return results as JSON shows them: one alone, several in a list."""
    found = [as_data(result) for result in results]
    return found[0] if len(found) == 1 else found
