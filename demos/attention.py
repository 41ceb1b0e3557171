"""Attention: who looks at whom, in every layer and head, and what happens when a head falls silent.

Run alone: `python -m demos.attention`.
"""

from dataclasses import dataclass, replace

import gradio as gr
import numpy as np

import core
from core import charts, reading
from core.results import Attention, WhatIf
from core.runner import Runner
from demos import ui
from demos.chart import Chart
from demos.tokens import Token, TokenStrip
from demos.words import Words

TITLE = "attention"
EXAMPLES = [
    ("The animal didn't cross the street because it was too [MASK].", "english"),
    ("A film that is never dull and always kind.", "english-sentiment"),
    ("The king had a daughter, and the king loved his", "storyteller"),
]
HEAD, ROLLOUT = "head", "rollout"


@dataclass(frozen=True)
class View:
    """What the page remembers: the attention looked at, and which part of it."""

    text: str
    model: str
    attention: Attention
    head: tuple[int, int]
    token: int
    silenced: frozenset[tuple[int, int]] = frozenset()
    before: Attention | None = None  # with no head silent

    def matrix(self, aside: bool, way: str) -> np.ndarray:
        """Return the matrix to be shown: float32[query, key]."""
        weights = self.shown(aside)
        return reading.rollout(weights) if way == ROLLOUT else weights[self.head].astype(np.float32)

    def shown(self, aside: bool) -> np.ndarray:
        """Return all weights, without the sink where it is set aside."""
        return reading.set_aside(self.attention.weights, self.attention.sink if aside else None)


def build(run: Runner, words: Words) -> gr.Column:
    """Put the tab on the page that is being built. `run` runs tasks; `words` says everything."""
    sides = (words.say("attention.looking"), words.say("attention.looked_at"))

    def show_attention(text: str, model: str, aside: bool, way: str):
        found = run(core.tasks.attend, model, text)
        weights = reading.set_aside(found.weights, found.sink if aside else None)
        view = View(text, model, found, reading.sharpest_head(weights), first_token(found), before=found)
        return draw(view, aside, way) | {say: tell(found, words), answer_say: words.say("attention.whatif")}

    def draw(view: View | None, aside: bool, way: str) -> dict:
        if view is None:
            return {say: words.say("attention.empty")}
        matrix, tokens = view.matrix(aside, way), view.attention.tokens
        names = (words.say("attention.layer"), words.say("attention.head"))
        return {
            montage: charts.heads_montage(view.shown(aside), view.head, view.silenced, names),
            chart: charts.attention_map(matrix, tokens, sides, view.token),
            strip: token_strip(matrix, view, words),
            look_say: tell_look(matrix, view, way, words),
            data: {
                "tokens": ui.data_of(tokens),
                "layer": view.head[0] + 1,
                "head": view.head[1] + 1,
                "weights": ui.data_of(matrix),
            },
            kept: view,
        }

    def show_view(view: View | None, aside: bool, way: str):
        return draw(view, aside, way)

    def show_head(view: View | None, aside: bool, event: gr.SelectData):
        if view is None:
            return draw(view, aside, HEAD)
        head = charts.head_at(event.index, len(view.attention.tokens))
        return draw(replace(view, head=head), aside, HEAD) | {ways: HEAD}

    def show_token(view: View | None, aside: bool, way: str, event: gr.SelectData):
        number = event.index[0] if isinstance(event.index, list | tuple) else event.index
        return draw(view and replace(view, token=number), aside, way)

    def show_silenced(view: View | None, aside: bool, way: str):
        if view is None:
            return draw(view, aside, way)
        silenced = view.silenced ^ {view.head}
        found = run(core.tasks.attend, view.model, view.text, WhatIf(silenced_heads=silenced))
        view = replace(view, attention=replace(found, sink=view.before.sink), silenced=silenced)
        return draw(view, aside, way) | {answer_say: tell_silenced(view, words), answer: answer_bars(view, words)}

    with gr.Column() as page:
        ui.head("attention", words)
        box = gr.Textbox(EXAMPLES[0][0], label=words.say("attention.text"), lines=2, max_lines=6)
        with gr.Row(elem_classes="gb-primary"):
            model = ui.model_menu("attention", words)
            button = gr.Button(words.say("attention.go"), variant="primary")
        ui.examples(EXAMPLES, [box, model], words)
        say = ui.sentence()
        gr.Markdown(words.say("attention.overview"), elem_classes="gb-note")
        montage = Chart(label=words.say("attention.montage"), empty=words.say("attention.empty"))
        with gr.Row():
            ways = gr.Radio(
                [(words.say("attention.one_head"), HEAD), (words.say("attention.rollout"), ROLLOUT)],
                value=HEAD, label=words.say("attention.way"),
            )  # fmt: skip
            aside = gr.Checkbox(True, label=words.say("attention.aside"), info=words.say("attention.aside_hint"))
        with ui.section("why", words):
            look_say = ui.Sentence(elem_classes="gb-sentence")
            gaze = words.say("attention.strip")
            strip = TokenStrip(layout="words", scale="attention", label=gaze, empty=words.say("ui.later"))
            chart = Chart(label=words.say("attention.map"), empty=words.say("ui.later"))
        with ui.section("whatif", words):
            silence = gr.Button(words.say("attention.silence"))
            answer_say = ui.Sentence(words.say("attention.whatif"), elem_classes="gb-note")
            answer = Chart(label=words.say("attention.answer"), empty=words.say("attention.answer_empty"), height=300)
        data = ui.take_away("attention", words)
        ui.explain("attention", words)
        kept = ui.memory(None)

        drawn = [say, look_say, montage, chart, strip, data, kept]
        inputs = [box, model, aside, ways]
        ui.on(
            [box.submit, button.click],
            show_attention,
            inputs,
            [*drawn[:-2], answer_say, data, kept],
            words,
            api_name="attention",
        )
        ui.on([aside.input, ways.input], show_view, [kept, aside, ways], drawn, words)
        ui.on([montage.select], show_head, [kept, aside], [*drawn, ways], words)
        ui.on([strip.select, chart.select], show_token, [kept, aside, ways], drawn, words)
        ui.on([silence.click], show_silenced, [kept, aside, ways], [*drawn, answer_say, answer], words)
    return page


def first_token(found: Attention) -> int:
    """Return the token to begin with: a blank if there is one, else the last that is not special."""
    blanks = [at for at, token in enumerate(found.tokens) if token.strip() == "[MASK]"]
    plain = [
        at for at, token in enumerate(found.tokens) if not (token.startswith(("[", "<")) and token.endswith(("]", ">")))
    ]
    return (blanks or plain[-1:] or [0])[0]


def written(token: str) -> str:
    """Return a token as a sentence quotes it."""
    return token.strip() or token.replace("\n", "⏎").replace(" ", "␣")


def token_strip(matrix: np.ndarray, view: View, words: Words) -> list[Token]:
    """Return the text tinted by how much the chosen token looks at each token."""
    row = matrix[view.token]
    most = float(row.max()) or 1
    notes = [words.say("attention.note", share=words.percent(float(weight))) for weight in row]
    return [
        Token(token, float(weight) / most, note, marked=number == view.token)
        for number, (token, weight, note) in enumerate(zip(view.attention.tokens, row, notes, strict=True))
    ]


def tell(found: Attention, words: Words) -> str:
    """Say what there is to see, and where the sink is."""
    layers, heads, tokens, _ = found.weights.shape
    said = words.say("attention.said", layers=layers, heads=heads, all=layers * heads, tokens=tokens)
    if found.sink is None:
        return said
    share = float(found.weights[:, :, 1:, found.sink].astype(np.float32).mean())
    return said + " " + words.say("attention.sink", token=written(found.tokens[found.sink]), share=words.percent(share))


def tell_look(matrix: np.ndarray, view: View, way: str, words: Words) -> str:
    """Say where the chosen token looks."""
    row, tokens = matrix[view.token], view.attention.tokens
    facts = {"token": written(tokens[view.token]), "layer": view.head[0] + 1, "head": view.head[1] + 1}
    if way == HEAD and view.head in view.silenced:
        return words.say("attention.silent", **facts)
    if row.sum() < 0.01:
        return words.say("attention.nowhere", **facts)
    place = int(row.argmax())
    facts |= {"target": written(tokens[place]), "share": words.percent(float(row[place]))}
    key = (
        "attention.rolled"
        if way == ROLLOUT
        else "attention.looks_at_itself"
        if place == view.token
        else "attention.looks"
    )
    return words.say(key, **facts)


def tell_silenced(view: View, words: Words) -> str:
    """Say how the model's answer moved with the heads that are silent."""
    if not view.silenced:
        return words.say("attention.whatif")
    before, now = view.before.prediction, view.attention.prediction
    if before is None or now is None:
        return words.say("attention.nothing_asked")
    names = [f"{layer + 1}·{head + 1}" for layer, head in sorted(view.silenced)]
    label = before.labels[0]
    return words.say(
        "attention.silenced",
        heads=", ".join(names),
        answer=words.label(label),
        before=words.percent(before.probabilities[0]),
        after=words.percent(now.probability_of(label)),
        now=words.label(now.labels[0]),
    )


def answer_bars(view: View, words: Words):
    """Return the model's answers before and after heads fell silent, None where nothing is asked of it."""
    before, now = view.before.prediction, view.attention.prediction
    if before is None or now is None or not view.silenced:
        return None
    labels = [*dict.fromkeys(before.labels[:5] + now.labels[:5])]
    rows = [[ranking.probability_of(label) for label in labels] for ranking in (before, now)]
    return charts.compared_bars(
        [words.label(label) for label in labels], rows, [words.say("ui.before"), words.say("ui.after")]
    )


if __name__ == "__main__":
    ui.launch_alone(build)
