"""Ask a picture: a question about a picture, and where in it the answer came from. Run alone: `python -m demos.vqa`."""

import random
from pathlib import Path

import gradio as gr

import core
from core import charts
from core.pictures import open_picture
from core.results import Answer, WhatIf
from core.runner import Runner
from core.scenes import draw, random_scene
from demos import ui
from demos.chart import Chart
from demos.words import Words

TITLE = "vqa"
SCENES = Path(__file__).parent / "static" / "scenes"
EXAMPLES = [
    (str(SCENES / "two-red-circles.png"), "How many red circles are there?"),
    (str(SCENES / "green-star.png"), "What color is the star?"),
    (str(SCENES / "corners.png"), "Where is the blue square?"),
    (str(SCENES / "mixed.png"), "Is there a yellow triangle?"),
]
SCENE_PIXELS = 384


def build(run: Runner, words: Words) -> gr.Column:
    """Put the tab on the page that is being built. `run` runs tasks; `words` says everything."""

    def show_answer(picture: str | None, question: str, model: str):
        answer = run(core.tasks.answer, model, picture, question)
        return {
            say: tell(answer, words),
            bars: charts.ranking_bars(words.ranking(answer.ranking), words.say("ui.rest")),
            heat: charts.patch_map(open_picture(picture), answer.patches, frozenset(), words.say("vqa.share")),
            moved: words.say("vqa.whatif"),
            data: ui.data_of(answer),
            kept: (picture, question, model, answer, frozenset()),
        }

    def show_covered(memory: tuple | None, event: gr.SelectData):
        if memory is None:
            return {moved: words.say("vqa.whatif")}
        picture, question, model, answer, hidden = memory
        row, column = event.index
        hidden = hidden ^ {row * answer.patches.weights.shape[1] + column}
        now = run(core.tasks.answer, model, picture, question, WhatIf(hidden_patches=hidden)) if hidden else answer
        labels = [*dict.fromkeys(answer.ranking.labels[:4] + now.ranking.labels[:4])]
        rows = [[one.ranking.probability_of(label) for label in labels] for one in (answer, now)]
        names = [words.say("ui.before"), words.say("ui.after")]
        translated = [words.label(label) for label in labels]
        return {
            moved: tell_moved(answer, now, hidden, words),
            bars: charts.compared_bars(translated, rows, names)
            if hidden
            else charts.ranking_bars(words.ranking(answer.ranking), words.say("ui.rest")),
            heat: charts.patch_map(open_picture(picture), answer.patches, hidden, words.say("vqa.share")),
            kept: (picture, question, model, answer, hidden),
        }

    def show_scene():
        return {picture: draw(random_scene(random.Random()), SCENE_PIXELS)}

    with gr.Column() as page:
        ui.head("vqa", words)
        with gr.Row():
            with gr.Column():
                picture = ui.Picture(
                    EXAMPLES[0][0], label=words.say("vqa.picture"), sources=["upload", "webcam", "clipboard"],
                    type="filepath", image_mode=None, height=340, buttons=["download"],
                )  # fmt: skip
                scene = gr.Button(words.say("vqa.scene"), size="sm")
            with gr.Column():
                box = gr.Textbox(EXAMPLES[0][1], label=words.say("vqa.question"), lines=2, max_lines=3)
                model = ui.model_menu("vqa", words)
                button = gr.Button(words.say("vqa.go"), variant="primary")
        ui.examples(EXAMPLES, [picture, box], words)
        say = ui.sentence()
        bars = Chart(label=words.say("vqa.chart"), empty=words.say("vqa.empty"), height=160)
        with ui.section("why", words):
            gr.Markdown(words.say("vqa.why"), elem_classes="gb-note")
            heat = Chart(label=words.say("vqa.heat"), empty=words.say("ui.later"))
        with ui.section("whatif", words):
            moved = ui.Sentence(words.say("vqa.whatif"), elem_classes="gb-note")
        data = ui.take_away("vqa", words)
        ui.explain("vqa", words)
        kept = ui.memory(None)

        shown = [say, bars, heat, moved, data, kept]
        ui.on([box.submit, button.click], show_answer, [picture, box, model], shown, words, api_name="vqa")
        ui.on([heat.select], show_covered, [kept], [moved, bars, heat, kept], words)
        ui.on([scene.click], show_scene, [], [picture], words, queue=False)
    return page


def tell(answer: Answer, words: Words) -> str:
    """Say the answer, how sure the model is, and which words it did not know."""
    first, second = answer.ranking.labels[:2]
    said = words.say(
        "vqa.said",
        answer=words.label(first),
        probability=words.percent(answer.ranking.probabilities[0]),
        second=words.label(second),
        next=words.percent(answer.ranking.probabilities[1]),
    )
    return (
        said if not answer.unknown else said + " " + words.say("vqa.unknown", words=words.listed(list(answer.unknown)))
    )


def tell_moved(before: Answer, now: Answer, hidden: frozenset[int], words: Words) -> str:
    """Say how covering some patches moved the answer."""
    if not hidden:
        return words.say("vqa.whatif")
    label = before.ranking.labels[0]
    facts = {
        "count": len(hidden),
        "answer": words.label(label),
        "before": words.percent(before.ranking.probability_of(label)),
        "after": words.percent(now.ranking.probability_of(label)),
    }
    if now.ranking.labels[0] != label:
        return words.say("vqa.changed", **facts, now=words.label(now.ranking.labels[0]))
    return words.say("vqa.moved", **facts)


if __name__ == "__main__":
    ui.launch_alone(build)
