"""Write: a story token by token, what each token could have been, and where else it leads.

Run alone: `python -m demos.generation`.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

import gradio as gr
from gradio.context import Context

import core
from core import charts, limits, sampling
from core.errors import VisitorError
from core.results import Beams, Ranking, Settings, Step, WhatIf
from core.runner import Runner
from core.tokens import joins
from demos import shelf, squeezing, ui, why
from demos.chart import Chart
from demos.stories import Desk, Story, groups, shared
from demos.storytelling import (
    draw_beams,
    draw_stories,
    fork_of,
    name_of,
    prompt_token,
    strip_of,
    tell,
    tell_beams,
    tell_comparison,
    tell_draws,
    tell_one,
    tell_rivals,
    token_of,
)
from demos.tokens import TokenStrip
from demos.words import Words

TITLE = "generation"
EXAMPLES = {
    "en": [
        ("Once upon a time there was a little fox who",),
        ("The old man opened the door and saw",),
        ("One day, the king said to his three sons,",),
    ],
    "zh": [
        ("床前明月光，",),
        ("春风又绿江南岸，",),
        ("空山新雨后，",),
        ("独坐小楼听夜雨，",),
    ],
}


def build(run: Runner, words: Words) -> gr.Column:
    """Put the tab on the page that is being built. `run` runs tasks; `words` says everything."""

    def write(desk: Desk, forced: tuple[int, ...] = ()) -> Iterator[dict]:
        # What stands on the page stays until there is a first token: a refusal takes nothing away.
        story, steps = desk.story, list(desk.story.steps)
        known, drawn, place = len(steps), None, 0  # drawn: the strip so far, `place` steps of it
        yield {say: words.say("generation.begun")}
        try:
            for at, step in enumerate(run(core.tasks.generate, story.model, story.prompt, story.settings, forced)):
                if at < known:
                    continue
                steps.append(step)
                if len(steps) < len(forced):
                    continue
                desk = desk.with_steps(tuple(steps))
                if place and joins(steps[place - 1].text, step.text):  # what is drawn was not all of a flag or a family
                    drawn, place = None, 0
                whole = [group for group in groups(steps, place) if steps[group[-1]].text]
                fresh = [token_of(steps, group, fork_of(story), words) for group in whole]
                drawn = strip.draw(fresh if drawn else [prompt_token(story, words), *fresh], drawn)
                place = whole[-1].stop if whole else place
                yield {say: words.say("generation.writing", count=len(steps)), strip: drawn, kept: desk}
        except VisitorError:
            yield told(desk) if drawn else {say: words.say("generation.refused")}
            raise
        part, first = told(desk), (steps[0].token,) if steps else ()

        def ask(other: str) -> Ranking:
            return run(core.tasks.explain_step, other, story.prompt, first, WhatIf(), False).ranking

        if steps:
            part[say] = squeezing.told(part[say], story.model, TITLE, steps[0].alternatives, ask, words)
        yield part

    def told(desk: Desk) -> dict:
        return {
            say: tell(desk.story, words),
            strip: strip_of(desk.story, fork_of(desk.story), words),
            tree: draw_stories(desk, words),
            data: desk.data(),
            kept: desk,
        }

    def show_story(
        prompt: str, model: str, temperature: float, top_k: float, top_p: float, length: float, seed: float,
        min_p: float = 0, repetition: float = 1, stop: str = "",
    ):  # fmt: skip
        settings = Settings(temperature, top_k, top_p, min_p, repetition, length, seed, stop_words(stop))
        yield from write(Desk((Story(prompt, model, sampling.check(settings)),)))

    def show_nothing():
        return unlooked() | alone(Desk()) | {beams: None, beams_say: "", ahead: None}

    def unlooked() -> dict:
        return {rivals: None, rivals_say: "", token: None} | unexplained()

    def unexplained() -> dict:
        empty = {why_say: "", why_strip: None, measures: None, moved: "", both_moved: None, looked: None}
        return empty | {draws: None, draws_say: ""}

    def alone(desk: Desk) -> dict:
        return {other: others_menu(desk, words)} | dict.fromkeys((one_say, other_say, compared), "") | {
            one_strip: None, other_strip: None
        }  # fmt: skip

    def show_rivals(
        desk: Desk, chosen: tuple | None, temperature: float, top_k: float, top_p: float, min_p: float, repetition: float,
        event: gr.SelectData,
    ):  # fmt: skip
        chosen = clicked(desk, event.index, chosen)
        drawn = draw_rivals(desk.step(chosen), Settings(temperature, top_k, top_p, min_p, repetition))
        return {token: chosen} | drawn | unexplained() if chosen else drawn

    def show_reasons(desk: Desk, chosen: tuple | None):
        step = desk.step(chosen)
        if step is None:
            return unexplained()
        story, tokens = desk.find(chosen[0]), desk.find(chosen[0]).tokens(chosen[1] + 1)
        found = run(core.tasks.explain_step, story.model, story.prompt, tokens)
        return {
            why_say: why.tell(found.saliency, found.saliency.label, step.probability, words),
            why_strip: why.strip(found.saliency, words),
            measures: why.draw(found.saliency, words),
            moved: words.say("why.whatif"),
            both_moved: None,
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

    def show_chances(
        desk: Desk,
        chosen: tuple | None,
        temperature: float,
        top_k: float,
        top_p: float,
        min_p: float,
        repetition: float,
    ):
        settings = Settings(temperature, top_k, top_p, min_p, repetition)
        return draw_rivals(desk.step(chosen), settings) | {draws: None, draws_say: ""}

    def draw_rivals(step: Step | None, settings: Settings) -> dict:
        if step is None:
            return {rivals_say: words.say("generation.click")}
        chances, shut_out = chances_of(step, sampling.check(settings))
        marks = [words.say(f"generation.by_{name}") if name else "" for name in shut_out]
        names = [words.say("generation.own"), words.say("generation.drawn")]
        return {
            rivals: charts.step_bars(step, chances, names, words.say("ui.rest"), marks),
            rivals_say: tell_rivals(step, marks, words),
        }

    def show_draws(
        desk: Desk, chosen: tuple | None, temperature: float, top_k: float, top_p: float, min_p: float, repetition: float,
        seed: float,
    ):  # fmt: skip
        step = desk.step(chosen)
        if step is None:
            return {draws_say: words.say("generation.click")}
        settings = sampling.check(Settings(temperature, top_k, top_p, min_p, repetition, seed=seed))
        chances, _ = chances_of(step, settings)
        counts, others = sampling.draws(sampling.stages_of(step, settings)[-1], limits.DRAWS, settings.seed)
        came = [int(counts[rank]) if rank < len(counts) else 0 for rank in step.ranks]
        labels, names = step.alternatives.labels, [words.say("generation.came"), words.say("generation.drawn")]
        return {
            draws: charts.draws_bars(labels, came, chances, limits.DRAWS, names, words.say("ui.rest")),
            draws_say: tell_draws(labels, came, int((counts > 0).sum()), others, words),
        }

    def show_branch(
        desk: Desk, chosen: tuple | None, temperature: float, top_k: float, top_p: float, min_p: float, repetition: float,
        length: float, event: gr.SelectData,
    ):  # fmt: skip
        step = desk.step(chosen)
        if step is not None and event.index < len(step.rivals):
            settings = Settings(temperature, top_k, top_p, min_p, repetition, length)
            yield from branch(desk, chosen, (step.rivals[event.index],), settings)

    def branch(desk: Desk, left: tuple[int, int], way: tuple[int, ...], settings: Settings) -> Iterator[dict]:
        parent, at = desk.find(left[0]), left[1]
        forced = (*parent.tokens(at), *way)
        settings = replace(settings, seed=parent.settings.seed, stop=parent.settings.stop)
        settings = sampling.check(replace(settings, length=max(settings.length, len(forced))))
        began = False
        for part in write(desk.with_branch(parent, at, settings), forced):
            if kept in part and not began:
                part |= draw_rivals(part[kept].story.steps[at], settings) | unexplained()
                began = True
            if data in part:  # not before: what the token hangs on is asked now, which would hold up the writing
                part |= alone(part[kept]) | {token: (part[kept].shown, at)}
            yield part

    def show_other(desk: Desk, event: gr.SelectData):
        id = (event.value or {}).get("customdata")
        if desk.find(id) is None:
            return {kept: desk}
        desk = replace(desk, shown=id)
        return told(desk) | unlooked() | alone(desk)

    def show_comparison(desk: Desk, id: int | None):
        one, two = desk.story, desk.find(id)
        if one is None or two is None or one is two:
            return alone(desk)
        fork = frozenset({shared(one, two)})
        return {
            one_say: tell_one(one, words),
            one_strip: strip_of(one, fork, words),
            other_say: tell_one(two, words),
            other_strip: strip_of(two, fork, words),
            compared: tell_comparison(one, two, words),
        }

    def show_stopped(desk: Desk):
        return told(desk) | alone(desk) if desk.story else {say: words.say("generation.refused")}

    def show_beams(desk: Desk, chosen: tuple | None, width: float, depth: float):
        if desk.story is None:
            return {beams_say: words.say("generation.click")}
        left = chosen if desk.step(chosen) else (desk.shown, len(desk.story.steps))
        story, at = desk.find(left[0]), left[1]
        found = run(core.tasks.beams, story.model, story.prompt, story.tokens(at), width, depth)
        before = story.prompt + "".join(step.text for step in story.steps[:at])
        return {
            beams: draw_beams(found, before, words),
            beams_say: tell_beams(found, words),
            ahead: (left, found),
        }

    def show_way(
        desk: Desk, memory: tuple | None, temperature: float, top_k: float, top_p: float, min_p: float,
        repetition: float, length: float, event: gr.SelectData,
    ):  # fmt: skip
        left, found = memory or ((None, 0), Beams((), 0, ()))
        on_beam = (event.value or {}).get("trace") == 0 and event.index < len(found.beams)
        if not on_beam or desk.find(left[0]) is None:
            return
        way = tuple(found.beams[number].token for number in found.way(event.index) if not found.beams[number].ended)
        if way:
            settings = Settings(temperature, top_k, top_p, min_p, repetition, length)
            yield from branch(desk, left, way, settings)

    samples = EXAMPLES[words.language]
    with gr.Column() as page:
        ui.head("generation", words)
        box = gr.Textbox(samples[0][0], label=words.say("generation.prompt"), lines=2, max_lines=6)
        with gr.Row(elem_classes="gb-primary"):
            model = shelf.menu("generation", words)
            button = gr.Button(words.say("generation.go"), variant="primary")
            stop = gr.Button(words.say("ui.stop"), variant="stop")
        ui.examples(samples, [box], words)
        with gr.Accordion(words.say("generation.sliders"), open=False):
            with gr.Row():
                temperature = slider("temperature", 0, 2, 0.7, 0.05, words)
                top_k = slider("top_k", 0, 200, 0, 1, words)
                top_p = slider("top_p", 0.05, 1, 1, 0.05, words)
            with gr.Row():
                min_p = slider("min_p", 0, 1, 0, 0.01, words)
                repetition = slider("repetition", 1, 2, 1, 0.05, words)
                length = slider("length", 10, limits.STORY_TOKENS, 80, 5, words)
            with gr.Row():
                hint = words.say("generation.seed_hint")
                seed = ui.Number(1, label=words.say("generation.seed"), info=hint, precision=0)
                hint = words.say("generation.stop_hint")
                ends = gr.Textbox("", label=words.say("generation.stop"), info=hint, lines=1, max_lines=3)
        say = ui.sentence()
        strip = TokenStrip(
            layout="story", choose=True, label=words.say("generation.story"), empty=words.say("generation.empty")
        )
        tree = Chart(label=words.say("generation.tree"))
        other = gr.Dropdown([], label=words.say("generation.compare"), visible=False, filterable=False)
        compared = ui.Sentence(elem_classes="gb-note")
        with gr.Row():
            with gr.Column():
                one_say = ui.Sentence(elem_classes="gb-note")
                one_strip = TokenStrip(layout="story", label=words.say("generation.story"))
            with gr.Column():
                other_say = ui.Sentence(elem_classes="gb-note")
                other_strip = TokenStrip(layout="story", label=words.say("generation.other"))
        with ui.section("why", words):
            rivals_say = ui.Sentence(elem_classes="gb-note")
            rivals = Chart(label=words.say("generation.rivals"), empty=words.say("generation.click"))
            many = gr.Button(words.say("generation.draw"))
            draws_say = ui.Sentence(elem_classes="gb-note")
            draws = Chart(label=words.say("generation.draws"))
            why_say = ui.Sentence(elem_classes="gb-note")
            why_strip = TokenStrip(
                layout="words", scale="push", label=words.say("generation.why_strip"), empty=words.say("ui.later")
            )
            moved = ui.Sentence(elem_classes="gb-note")
            both_moved = Chart(label=words.say("why.moved_chart"), empty=words.say("why.moved_empty"))
            measures = Chart(label=words.say("why.chart"), empty=words.say("ui.later"))
        with ui.section("whatif", words):
            gr.Markdown(words.say("generation.whatif"), elem_classes="gb-note")
            gr.Markdown(words.say("generation.ahead"), elem_classes="gb-note")
            with gr.Row(elem_classes="gb-primary"):
                width = slider("width", 1, limits.BEAMS, 3, 1, words)
                depth = slider("depth", 1, limits.BEAM_TOKENS, 5, 1, words)
                look = gr.Button(words.say("generation.look"))
            beams_say = ui.Sentence(elem_classes="gb-note")
            beams = Chart(label=words.say("generation.beams"))
        data = ui.take_away("generation", words)
        ui.explain("generation", words)
        kept, token, looked, ahead = ui.memory(Desk()), ui.memory(None), ui.memory(None), ui.memory(None)

        knobs, at = [temperature, top_k, top_p, min_p, repetition], [kept, token]
        story = [say, strip, tree, data, kept]
        reasons = [why_say, why_strip, measures, moved, both_moved, looked, draws, draws_say]
        choice = [rivals, rivals_say, token, *reasons]
        pair = [other, one_say, one_strip, other_say, other_strip, compared]
        search = [beams, beams_say, ahead]
        page_of = [*story, *choice, *pair]

        begin, inputs = [box.submit, button.click], [box, model, *knobs[:3], length, seed, *knobs[3:], ends]
        # What is wired to a trigger first is done first, and what comes after a stream waits for its end.
        before = [
            gr.on(triggers, None, api_visibility="private") for triggers in (begin, [rivals.select], [beams.select])
        ]
        ui.on(begin, show_nothing, [], [*choice, *pair, *search], words, queue=False)
        written = ui.on(begin, show_story, inputs, story, words, api_name="generation")
        branched = ui.on([rivals.select], show_branch, [*at, *knobs, length], page_of, words)
        along = ui.on([beams.select], show_way, [kept, ahead, *knobs, length], page_of, words)
        for trigger in (stop.click, tree.select):
            trigger(None, cancels=[written, branched, along], api_visibility="private")
        ui.on([stop.click], show_stopped, [kept], [*story, *pair], words, queue=False)
        ui.on([tree.select], show_other, [kept], page_of, words, queue=False)
        one_at_a_time(before, [written, branched, along])

        ui.on([strip.select], show_rivals, [*at, *knobs], choice, words, trigger_mode="multiple")
        ui.on([token.change], show_reasons, at, reasons, words, trigger_mode="always_last")
        ui.on([why_strip.select], show_covered, [looked], [why_strip, moved, both_moved, looked], words)
        changes, redrawn = [knob.change for knob in knobs], [rivals, rivals_say, draws, draws_say]
        ui.on(changes, show_chances, [*at, *knobs], redrawn, words, trigger_mode="always_last", queue=False)
        ui.on([many.click], show_draws, [*at, *knobs, seed], [draws, draws_say], words, queue=False)
        ui.on([other.input], show_comparison, [kept, other], pair, words, queue=False)
        ui.on([look.click], show_beams, [*at, width, depth], search, words)
    return page


def one_at_a_time(before: list[gr.events.Dependency], events: list[gr.events.Dependency]) -> None:
    """Let what comes before each event stop the others. Gradio itself takes only events that were there already."""
    for at, first in enumerate(before):
        Context.root_block.fns[first["id"]].cancels = [event["id"] for event in events[:at] + events[at + 1 :]]


def slider(name: str, low: float, high: float, value: float, step: float, words: Words) -> ui.Slider:
    """Return a slider with its name and what it does."""
    label, info = words.say(f"generation.{name}"), words.say(f"generation.{name}_hint")
    return ui.Slider(low, high, value, step=step, label=label, info=info)


def stop_words(typed: object) -> tuple[str, ...]:
    """Return the words a visitor typed, one a line or with commas between them."""
    return tuple(word for word in map(str.strip, re.split("[,，\n]", typed)) if word) if isinstance(typed, str) else ()


def chances_of(step: Step, settings: Settings) -> tuple[list[float], list[str]]:
    """Return the chance the settings leave each alternative, and the name of the one that shut it out, "" for none."""
    found = sampling.stages_of(step, settings)
    last, shut_out = found[-1], sampling.shut_out(found)
    far = step.vocabulary - len(last.chances)  # tokens nothing is kept of: they are alike
    shut_far = next(
        (now.name for before, now in zip(found, found[1:], strict=False) if before.rest > 0 == now.rest), ""
    )
    chances = [
        float(last.chances[rank]) if rank < len(last.chances) else last.rest / max(1, far) for rank in step.ranks
    ]
    return chances, [shut_out.get(rank, "") if rank < len(last.chances) else shut_far for rank in step.ranks]


def clicked(desk: Desk, index: int, before: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the story and the place of the token clicked in its strip: of several shown together the one after `before`."""
    found = groups(desk.story.steps) if desk.story else []
    if not 1 <= index <= len(found):  # the prompt is the strip's first token
        return None
    group = found[index - 1]
    again = before and before[0] == desk.shown and before[1] in group
    return desk.shown, group[(group.index(before[1]) + 1) % len(group)] if again else group[0]


def others_menu(desk: Desk, words: Words) -> gr.Dropdown:
    """Return the menu of the stories that are not shown, if there are any."""
    choices = [(name_of(story, words), story.id) for story in desk.stories if story.id != desk.shown]
    return gr.Dropdown(choices, value=None, visible=bool(choices))


if __name__ == "__main__":
    ui.launch_alone(build)
