"""Ask a picture: a question about a picture, and where in it the answer came from. Run alone: `python -m demos.vqa`."""

import random
from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr
import numpy as np

import core
from core import charts
from core.pictures import open_picture
from core.results import Answer, PatchCover, PatchMap, Ranking, WhatIf
from core.runner import Runner
from core.scenes import draw, random_scene
from demos import shelf, squeezing, ui, why
from demos.chart import Chart, Marks
from demos.tokens import Token, TokenStrip
from demos.words import LANGUAGES, Words

TITLE = "vqa"
SCENES = Path(__file__).parent / "static" / "scenes"
EXAMPLES = dict.fromkeys(  # the model on board reads English
    LANGUAGES,
    [
        (str(SCENES / "two-red-circles.png"), "How many red circles are there?"),
        (str(SCENES / "green-star.png"), "What color is the star?"),
        (str(SCENES / "corners.png"), "Where is the blue square?"),
        (str(SCENES / "mixed.png"), "Is there a yellow triangle?"),
    ],
)
SCENE_PIXELS = 384
COVERING, START = "covering", "gradients"  # the way that takes a moment, and the one that is shown first
WAYS = (START, "rollout", COVERING)
STRONG = 0.5  # of the way from the least to the most of a map: what is stronger says where an answer came from
WIDE = 0.22  # of the picture: what is strewn further than this does not lie in one place
LITTLE = 0.01  # of probability: an answer that loses less to every square hangs on none of them
AGREE, AGREE_SOMEWHAT = 0.5, 0.2  # mean rank correlation of the three maps


def build(run: Runner, words: Words) -> gr.Column:
    """Put the tab on the page that is being built. `run` runs tasks; `words` says everything."""

    def show_answer(picture: str | None, question: str, model: str):
        answer = run(core.tasks.answer, model, picture, question)
        memory = Memory(picture, question, model, answer)

        def ask(other: str) -> Ranking:
            return run(core.tasks.answer, other, picture, question, WhatIf(), False).ranking

        return {
            say: squeezing.told(tell(answer, words), model, TITLE, answer.ranking, ask, words),
            bars: charts.ranking_bars(words.ranking(answer.ranking), words.say("ui.rest")),
            **shown_why(memory, START),
            way: gr.Radio(value=START, visible=bool(answer.patches)),
            moved: words.say("vqa.whatif"),
            compared: None,
            data: ui.data_of(answer),
            kept: memory,
        }

    def show_way(memory: Memory | None, way: str):
        if memory is None or not memory.answer.patches:
            return
        if way == COVERING and memory.cover is None:
            yield {where: words.say("vqa.covering_now"), agree: ""}
            cover = run(core.tasks.cover_patches, memory.model, memory.picture, memory.question)
            memory = replace(memory, cover=cover)
            yield {data: ui.data_of(memory.answer, cover), kept: memory}
        yield shown_why(memory, way)

    def show_patch_covered(memory: Memory | None, event: gr.SelectData):
        if memory is None:
            return {moved: words.say("vqa.whatif")}
        row, column = event.index
        return shown_what_if(memory, patch=row * memory.columns + column)

    def show_word_covered(memory: Memory | None, event: gr.SelectData):
        if memory is None:
            return {moved: words.say("vqa.whatif")}
        return shown_what_if(memory, word=event.index)

    def show_scene():
        return {picture: draw(random_scene(random.Random()), SCENE_PIXELS)}

    def shown_why(memory: Memory, way: str) -> dict:
        """Return the map of one way of finding out, what is said about it, and the question's words."""
        drawn = memory.map_of(way)
        return {
            heat: None
            if drawn is None
            else charts.patch_map(
                open_picture(memory.picture), drawn, memory.hidden.hidden_patches, notes_of(memory, drawn, words)
            ),
            where: tell_where(memory, drawn, words),
            agree: tell_agreement(memory.cover, words),
            strip: word_strip(memory, words),
        }

    def shown_what_if(memory: Memory, patch: int | None = None, word: int | None = None) -> dict:
        """Return what becomes of the answer when a patch or a word is covered, or uncovered."""
        patches = memory.hidden.hidden_patches ^ ({patch} - {None})
        hidden = WhatIf(hidden_patches=patches, hidden_tokens=memory.hidden.hidden_tokens ^ ({word} - {None}))
        memory = replace(memory, hidden=hidden)
        inputs = (memory.model, memory.picture, memory.question)
        now = memory.answer if hidden == WhatIf() else run(core.tasks.answer, *inputs, hidden, False)
        labels = [*dict.fromkeys(memory.answer.ranking.labels[:4] + now.ranking.labels[:4])]
        rows = [[one.ranking.probability_of(label) for label in labels] for one in (memory.answer, now)]
        names = [words.say("ui.before"), words.say("ui.after")]
        return {
            moved: tell_moved(memory, now, words),
            compared: None
            if now is memory.answer
            else charts.compared_bars([words.label(label) for label in labels], rows, names),
            **({heat: Marks(charts.patch_marks(patches, memory.columns))} if memory.answer.patches else {}),
            strip: word_strip(memory, words),
            kept: memory,
        }

    samples = EXAMPLES[words.language]
    with gr.Column() as page:
        ui.head("vqa", words)
        with gr.Row():
            with gr.Column():
                picture = ui.Picture(
                    samples[0][0], label=words.say("vqa.picture"), sources=["upload", "webcam", "clipboard"],
                    type="filepath", image_mode=None, height=340, buttons=["download"],
                )  # fmt: skip
                scene = gr.Button(words.say("vqa.scene"), size="sm")
            with gr.Column():
                box = gr.Textbox(samples[0][1], label=words.say("vqa.question"), lines=2, max_lines=3)
                model = shelf.menu("vqa", words)
                button = gr.Button(words.say("vqa.go"), variant="primary")
        ui.examples(samples, [picture, box], words)
        say = ui.sentence()
        bars = Chart(label=words.say("vqa.chart"), empty=words.say("vqa.empty"), height=160)
        with ui.section("why", words):
            with gr.Row():
                with gr.Column():
                    heat = Chart(label=words.say("vqa.heat"), empty=words.say("ui.later"))
                with gr.Column():
                    where = ui.Sentence(words.say("vqa.why"), elem_classes="gb-note")
                    way = gr.Radio(
                        [(words.say(f"vqa.{name}"), name) for name in WAYS], value=START,
                        label=words.say("vqa.way"), info=words.say("vqa.way_hint"), elem_classes="gb-ways",
                    )  # fmt: skip
                    agree = ui.Sentence(elem_classes="gb-note")
            gr.Markdown(words.say("vqa.words_note"), elem_classes="gb-note")
            strip = TokenStrip(layout="words", scale="push", label=words.say("vqa.words"), empty=words.say("ui.later"))
        with ui.section("whatif", words):
            moved = ui.Sentence(words.say("vqa.whatif"), elem_classes="gb-note")
            compared = Chart(label=words.say("vqa.compared"), height=160)
        data = ui.take_away("vqa", words)
        ui.explain("vqa", words)
        kept = ui.memory(None)

        reasons = [heat, where, agree, strip]
        shown = [say, bars, *reasons, way, moved, compared, data, kept]
        ui.on([box.submit, button.click], show_answer, [picture, box, model], shown, words, api_name="vqa")
        ui.on([way.input], show_way, [kept, way], [*reasons, data, kept], words)
        covered = [moved, compared, heat, strip, kept]
        ui.on([heat.select], show_patch_covered, [kept], covered, words)
        ui.on([strip.select], show_word_covered, [kept], covered, words)
        ui.on([scene.click], show_scene, [], [picture], words, queue=False)
    return page


@dataclass(frozen=True, slots=True)
class Memory:
    """What the page remembers of one answer."""

    picture: str
    question: str
    model: str
    answer: Answer
    cover: PatchCover | None = None  # once it was asked for
    hidden: WhatIf = WhatIf()

    @property
    def columns(self) -> int:
        """How many patches a row of the picture has."""
        return self.answer.patches[0].weights.shape[1]

    def map_of(self, way: str) -> PatchMap | None:
        """Return the map of one way of finding out; None where there is none."""
        found = [*self.answer.patches, *([self.cover.patches] if self.cover else [])]
        return next((one for one in found if one.way == way), None)


def tell(answer: Answer, words: Words) -> str:
    """Say the answer, how sure the model is, and which words it did not know."""
    labels, chances = answer.ranking.labels, answer.ranking.probabilities
    facts = {"answer": words.label(labels[0]), "probability": words.percent(chances[0])}
    if len(labels) == 1:
        said = words.say("vqa.said_alone", **facts)
    else:
        said = words.say("vqa.said", **facts, second=words.label(labels[1]), next=words.percent(chances[1]))
    if answer.unknown:
        said += " " + words.say("vqa.unknown", words=words.listed(list(answer.unknown)))
    return said


def tell_where(memory: Memory, drawn: PatchMap | None, words: Words) -> str:
    """Say in words where in the picture the answer came from."""
    if drawn is None:
        return words.say("vqa.no_map")
    if drawn.way == COVERING and memory.cover.lost.max() < LITTLE:
        return words.say("vqa.where_covering_little", answer=words.label(memory.cover.label))
    place = place_of(drawn.weights)
    facts = {"answer": words.label(memory.answer.ranking.labels[0])}
    if place is None:
        return words.say(f"vqa.where_{drawn.way}_many", **facts)
    return words.say(f"vqa.where_{drawn.way}", **facts, place=words.say(f"vqa.at.{place}"))


def tell_agreement(cover: PatchCover | None, words: Words) -> str:
    """Say how far the three maps agree, once there are three."""
    if cover is None or cover.agreement is None:
        return ""
    level = "well" if cover.agreement >= AGREE else "somewhat" if cover.agreement >= AGREE_SOMEWHAT else "hardly"
    return words.say(f"vqa.agree_{level}", number=f"{cover.agreement:.2f}".replace("-", "−"))


def tell_moved(memory: Memory, now: Answer, words: Words) -> str:
    """Say how covering some patches and words moved the answer."""
    hidden = memory.hidden
    if hidden == WhatIf():
        return words.say("vqa.whatif")
    before = memory.answer.ranking
    covered, squares = [], len(hidden.hidden_patches)
    if squares:
        covered.append(words.say("vqa.squares", count=squares) if squares > 1 else words.say("vqa.square"))
    if hidden.hidden_tokens:
        written = memory.answer.saliency.tokens
        covered.append(words.listed([written[word].strip() for word in sorted(hidden.hidden_tokens)]))
    label = before.labels[0]
    facts = {
        "covered": words.say("vqa.and").join(covered),
        "answer": words.label(label),
        "after": words.percent(now.ranking.probability_of(label)),
    }
    was = words.percent(before.probability_of(label))
    if now.ranking.labels[0] != label:
        return words.say("vqa.changed", **facts, before=was, now=words.label(now.ranking.labels[0]))
    return words.say("vqa.stayed", **facts) if was == facts["after"] else words.say("vqa.moved", **facts, before=was)


def place_of(weights: np.ndarray) -> str | None:
    """Return the ninth of the picture in which the strong part of a map lies, by a model's own labels ("top left").

    None where it does not lie in one place. weights: [row, column].
    """
    spread = float(weights.max() - weights.min())
    if spread < 1e-6:
        return None
    strong = (weights - weights.min()) / spread
    strong = np.where(strong >= STRONG, strong, 0)
    ys, xs = (np.indices(weights.shape) + 0.5) / np.array(weights.shape)[:, None, None]  # from 0 to 1
    y, x = ((strong * along).sum() / strong.sum() for along in (ys, xs))
    if np.sqrt((strong * ((ys - y) ** 2 + (xs - x) ** 2)).sum() / strong.sum()) > WIDE:
        return None
    names = [("top", "", "bottom")[min(2, int(3 * y))], ("left", "", "right")[min(2, int(3 * x))]]
    return " ".join(filter(None, names)) or "middle"


def notes_of(memory: Memory, drawn: PatchMap, words: Words) -> list[list[str]]:
    """Return what is said of each patch when it is pointed at, [row][column]."""
    if drawn.way == COVERING:
        answer = words.label(memory.cover.label)
        return [
            [words.say("vqa.costs", points=points(lost, words), answer=answer) for lost in row]
            for row in memory.cover.lost.tolist()
        ]
    return [[words.say("vqa.share", share=f"{weight:.0%}") for weight in row] for row in drawn.weights.tolist()]


def points(lost: float, words: Words) -> str:
    """Return a lost probability in points of a hundred."""
    if abs(lost) < 0.0005:
        return words.say("vqa.next_to_nothing")
    return words.say("vqa.points", number=f"{100 * lost:.1f}".replace("-", "−"))


def word_strip(memory: Memory, words: Words) -> list[Token]:
    """Return the question's words, tinted by how they pushed towards the answer or away from it."""
    return why.strip(memory.answer.saliency, words, memory.hidden.hidden_tokens, by="scores")


if __name__ == "__main__":
    ui.launch_alone(build)
