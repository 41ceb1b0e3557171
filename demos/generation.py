"""Write: a story token by token, what each token could have been, and where else it leads.

Run alone: `python -m demos.generation`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import gradio as gr
import numpy as np

import core
from core import charts, limits, sampling
from core.results import Settings, Step, WhatIf
from core.runner import Runner
from demos import ui, why
from demos.chart import Chart
from demos.tokens import Token, TokenStrip
from demos.words import Words

TITLE = "generation"
EXAMPLES = [
    ("Once upon a time there was a little fox who",),
    ("The old man opened the door and saw",),
    ("One day, the king said to his three sons,",),
]


@dataclass(frozen=True)
class Story:
    """One branch: a prompt and the steps taken from it."""

    prompt: str
    model: str
    settings: Settings
    steps: tuple[Step, ...] = ()
    parent: int | None = None  # the story it left, by number; -1 once that one is gone
    left_at: int = 0  # the step at which it left


@dataclass(frozen=True)
class Desk:
    """What the page remembers: all stories of this prompt, the one shown, and the token looked at."""

    stories: tuple[Story, ...] = ()
    shown: int = 0
    token: int | None = None

    @property
    def story(self) -> Story:
        """The story shown."""
        return self.stories[self.shown]

    @property
    def step(self) -> Step | None:
        """The step looked at."""
        return None if self.token is None or self.token >= len(self.story.steps) else self.story.steps[self.token]

    def with_steps(self, steps: tuple[Step, ...]) -> "Desk":
        """Return the desk with other steps in the story shown."""
        stories = list(self.stories)
        stories[self.shown] = replace(self.story, steps=steps)
        return replace(self, stories=tuple(stories))

    def with_branch(self, at: int, settings: Settings) -> "Desk":
        """Return the desk with a new story that leaves the one shown at a step; the oldest branch goes when there are many."""
        branch = replace(self.story, settings=settings, steps=(), parent=self.shown, left_at=at)
        gone = max(0, len(self.stories) + 1 - limits.BRANCHES)
        stories = tuple(
            story if story.parent is None else replace(story, parent=max(-1, story.parent - gone))
            for story in (*self.stories, branch)[gone:]
        )
        return Desk(stories, len(stories) - 1, at)


def build(run: Runner, words: Words) -> gr.Column:
    """Put the tab on the page that is being built. `run` runs tasks; `words` says everything."""

    def write(desk: Desk, forced: tuple[int, ...] = ()) -> Iterator[dict]:
        story, steps = desk.story, []
        yield {
            say: words.say("generation.begun"),
            strip: story_strip(desk, words),
            branches: branch_menu(desk, words),
            kept: desk,
        }
        for step in run(core.tasks.generate, story.model, story.prompt, story.settings, forced):
            steps.append(step)
            if len(steps) < len(forced):
                continue
            desk = desk.with_steps(tuple(steps))
            yield {say: words.say("generation.writing", count=len(steps)), strip: story_strip(desk, words), kept: desk}
        desk = desk.with_steps(tuple(steps))
        yield {
            say: tell(desk.story, words),
            strip: story_strip(desk, words),
            branches: branch_menu(desk, words),
            data: story_data(desk),
            kept: desk,
        }

    def show_story(prompt: str, model: str, temperature: float, top_k: float, top_p: float, length: float, seed: float):
        settings = sampling.check(Settings(temperature, top_k, top_p, length, seed))
        yield from write(Desk((Story(prompt, model, settings),)))

    def show_rivals(desk: Desk, temperature: float, top_k: float, top_p: float, event: gr.SelectData):
        chosen = event.index - 1  # the prompt is the strip's first token
        if not desk.stories or not 0 <= chosen < len(desk.story.steps):
            return {rivals_say: words.say("generation.click")}
        desk = replace(desk, token=chosen)
        story = desk.story
        tokens = tuple(step.token for step in story.steps[: desk.token + 1])
        found = run(core.tasks.explain_step, story.model, story.prompt, tokens)
        return {
            **draw_rivals(desk, temperature, top_k, top_p),
            strip: story_strip(desk, words),
            why_say: why.tell(found.saliency, found.saliency.label, desk.step.probability, words),
            why_strip: why.strip(found.saliency, words),
            measures: why.draw(found.saliency, words),
            moved: words.say("why.whatif"),
            both_moved: None,
            kept: desk,
            looked: (story.model, story.prompt, tokens, found, frozenset()),
        }

    def show_covered(memory: tuple | None, event: gr.SelectData):
        if memory is None:
            return {moved: words.say("generation.click")}
        model, prompt, tokens, found, covered = memory
        covered, now = covered ^ {event.index}, found
        if covered:
            now = run(core.tasks.explain_step, model, prompt, tokens, WhatIf(hidden_tokens=covered), False)
        return {
            why_strip: why.strip(found.saliency, words, covered),
            moved: why.tell_moved(found.saliency, found.ranking, now.ranking, covered, words),
            both_moved: why.draw_moved(found.ranking, now.ranking, words) if covered else None,
            looked: (model, prompt, tokens, found, covered),
        }

    def show_chances(desk: Desk, temperature: float, top_k: float, top_p: float):
        return draw_rivals(desk, temperature, top_k, top_p)

    def draw_rivals(desk: Desk, temperature: float, top_k: float, top_p: float) -> dict:
        if not desk.stories or desk.step is None:
            return {rivals_say: words.say("generation.click")}
        settings, step = (
            sampling.check(replace(Settings(), temperature=temperature, top_k=top_k, top_p=top_p)),
            desk.step,
        )
        drawn = drawn_chances(step, settings)
        names = [words.say("generation.own"), words.say("generation.drawn")]
        return {
            rivals: charts.step_bars(step, drawn, names, words.say("ui.rest")),
            rivals_say: tell_rivals(step, drawn, words),
        }

    def show_branch(desk: Desk, temperature: float, top_k: float, top_p: float, length: float, event: gr.SelectData):
        step = desk.step if desk.stories else None
        if step is None or event.index >= len(step.rivals):
            return
        forced = (*(before.token for before in desk.story.steps[: desk.token]), step.rivals[event.index])
        settings = replace(desk.story.settings, temperature=temperature, top_k=top_k, top_p=top_p, length=length)
        settings = sampling.check(replace(settings, length=max(length, len(forced))))
        yield from write(desk.with_branch(desk.token, settings), forced)

    def show_other(desk: Desk, number: int | None):
        if number is None or not 0 <= number < len(desk.stories):
            return {kept: desk}
        desk = replace(desk, shown=number, token=None)
        return {say: tell(desk.story, words), strip: story_strip(desk, words), data: story_data(desk), kept: desk}

    with gr.Column() as page:
        ui.head("generation", words)
        box = gr.Textbox(EXAMPLES[0][0], label=words.say("generation.prompt"), lines=2, max_lines=6)
        with gr.Row(elem_classes="gb-primary"):
            model = ui.model_menu("generation", words)
            button = gr.Button(words.say("generation.go"), variant="primary")
            stop = gr.Button(words.say("ui.stop"), variant="stop")
        ui.examples(EXAMPLES, [box], words)
        with gr.Accordion(words.say("generation.sliders"), open=False):
            with gr.Row():
                temperature = slider("temperature", 0, 2, 0.7, 0.05, words)
                top_k = slider("top_k", 0, 200, 0, 1, words)
                top_p = slider("top_p", 0.05, 1, 1, 0.05, words)
            with gr.Row():
                length = slider("length", 10, limits.STORY_TOKENS, 80, 5, words)
                seed = gr.Number(
                    1, label=words.say("generation.seed"), info=words.say("generation.seed_hint"), precision=0
                )
        say = ui.sentence()
        strip = TokenStrip(layout="story", label=words.say("generation.story"), empty=words.say("generation.empty"))
        branches = gr.Radio([], label=words.say("generation.branches"), visible=False)
        with ui.section("why", words):
            rivals_say = ui.Sentence(elem_classes="gb-note")
            rivals = Chart(label=words.say("generation.rivals"), empty=words.say("generation.click"))
            why_say = ui.Sentence(elem_classes="gb-note")
            why_strip = TokenStrip(
                layout="words", scale="push", label=words.say("generation.why_strip"), empty=words.say("ui.later")
            )
            moved = ui.Sentence(elem_classes="gb-note")
            both_moved = Chart(label=words.say("why.moved_chart"), empty=words.say("why.moved_empty"))
            measures = Chart(label=words.say("why.chart"), empty=words.say("ui.later"))
        with ui.section("whatif", words):
            gr.Markdown(words.say("generation.whatif"), elem_classes="gb-note")
        data = ui.take_away("generation", words)
        ui.explain("generation", words)
        kept, looked = ui.memory(Desk()), ui.memory(None)

        told = [say, strip, branches, data, kept]
        knobs = [temperature, top_k, top_p]
        inputs = [box, model, *knobs, length, seed]
        written = ui.on([box.submit, button.click], show_story, inputs, told, words, api_name="generation")
        branched = ui.on([rivals.select], show_branch, [kept, *knobs, length], told, words)
        stop.click(None, cancels=[written, branched], api_visibility="private")
        shown = [rivals, rivals_say, strip, why_say, why_strip, measures, moved, both_moved, kept, looked]
        ui.on([strip.select], show_rivals, [kept, *knobs], shown, words)
        ui.on([why_strip.select], show_covered, [looked], [why_strip, moved, both_moved, looked], words)
        changes = [knob.change for knob in knobs]
        ui.on(
            changes, show_chances, [kept, *knobs], [rivals, rivals_say], words, trigger_mode="always_last", queue=False
        )
        ui.on([branches.input], show_other, [kept, branches], [say, strip, data, kept], words, queue=False)
    return page


def slider(name: str, low: float, high: float, value: float, step: float, words: Words) -> gr.Slider:
    """Return a slider with its name and what it does."""
    label, info = words.say(f"generation.{name}"), words.say(f"generation.{name}_hint")
    return gr.Slider(low, high, value, step=step, label=label, info=info)


def drawn_chances(step: Step, settings: Settings) -> list[float]:
    """Return the chance of each alternative under the sliders."""
    chances = sampling.chances(step.log_probabilities, settings, step.vocabulary)
    return [float(chances[rank]) if rank < len(chances) else 0.0 for rank in step.ranks]


def story_strip(desk: Desk, words: Words) -> list[Token]:
    """Return the prompt and the story, its tokens tinted by their probability; the chosen one and the fork are marked."""
    return [Token(desk.story.prompt, note=words.say("generation.yours"))] + [
        Token(
            step.text,
            step.probability,
            words.say("generation.note", probability=words.percent(step.probability)),
            marked=number == desk.token or (desk.story.parent is not None and number == desk.story.left_at),
        )
        for number, step in enumerate(desk.story.steps)
    ]


def branch_menu(desk: Desk, words: Words) -> gr.Radio:
    """Return the menu of the stories, shown when there is more than one."""
    choices = []
    for number, story in enumerate(desk.stories):
        step = story.steps[story.left_at] if len(story.steps) > story.left_at else None
        fork = words.say("generation.from", word=step.text.strip()) if story.parent is not None and step else ""
        choices.append((words.say("generation.branch", number=number + 1, fork=fork), number))
    return gr.Radio(choices, value=desk.shown, visible=len(choices) > 1)


def story_data(desk: Desk) -> dict:
    """Return all stories as JSON shows them."""
    return {
        "prompt": desk.story.prompt,
        "text": desk.story.prompt + "".join(step.text for step in desk.story.steps),
        "shown": desk.shown,
        "stories": ui.data_of(*desk.stories) if len(desk.stories) > 1 else [ui.data_of(*desk.stories)],
    }


def tell(story: Story, words: Words) -> str:
    """Say how sure the model was of its story, and where it surprised itself."""
    if not story.steps:
        return words.say("generation.ended")
    chances = np.array([step.probability for step in story.steps])
    usual = float(np.exp(np.log(np.maximum(chances, 1e-12)).mean()))
    rarest = story.steps[int(chances.argmin())]
    return words.say(
        "generation.said",
        count=len(story.steps),
        usual=words.percent(usual),
        choices=f"{1 / usual:.0f}",
        word=rarest.text.strip() or "⏎",
        rarest=words.percent(rarest.probability),
    )


def tell_rivals(step: Step, drawn: list[float], words: Words) -> str:
    """Say what the chosen token's rivals were and how many the sliders shut out."""
    chosen = step.alternatives.labels[step.rivals.index(step.token)]
    first = step.alternatives.labels[0]
    key = "generation.first_choice" if step.token == step.rivals[0] else "generation.other_choice"
    said = words.say(
        key,
        word=chosen,
        probability=words.percent(step.probability),
        first=first,
        best=words.percent(step.alternatives.probabilities[0]),
    )
    shut_out = sum(chance == 0 for chance in drawn)
    return said + (" " + words.say("generation.shut_out", count=shut_out) if shut_out else "")


if __name__ == "__main__":
    ui.launch_alone(build)
