"""Attention: who looks at whom, in every layer and head, and what happens when a head falls silent.

Run alone: `python -m demos.attention`.
"""

from dataclasses import dataclass, replace

import gradio as gr

import core
from core import charts, limits
from core.charts import inked
from core.results import Attention, Gaze, Habit, Lens, Ranking, View, WhatIf
from core.runner import Runner
from demos import shelf, ui
from demos.chart import Chart, Marks
from demos.tokens import LeftOut, Token, TokenStrip
from demos.words import Words

TITLE = "attention"
EXAMPLES = {
    "en": [
        ("The animal didn't cross the street because it was too [MASK].", "english"),
        ("A film that is never dull and always kind.", "english-sentiment"),
        ("The king had a daughter, and the king loved his", "storyteller"),
    ],
    "zh": [
        ("[MASK]京是中国的首都，也是一座古老的城市。", "chinese"),
        ("房间很干净，可是早餐很难吃。", "chinese-sentiment"),
        ("白日依山尽，黄河入海流。", "poet"),
    ],
}
HEAD, ROLLOUT = "head", "rollout"
HABITS = 8  # heads with a habit that are offered
NARROW = 260  # pixels: with less, a control goes on the next line
TINTED = 0.02  # of a token's strongest look: what is less is not tinted


@dataclass(frozen=True)
class Seen:
    """What the page remembers: the text looked into, and what of it is shown. No weights: those are asked for again."""

    text: str
    model: str
    found: Attention  # with the what-if
    before: Attention  # without
    view: View
    token: int  # the chosen one
    what_if: WhatIf = WhatIf()
    lens: Lens | None = None
    cell: tuple[int, int] | None = None  # of the lens: [layer, place]

    @property
    def head(self) -> tuple[int, int]:
        """The chosen (layer, head)."""
        return self.view.layer, self.view.head

    def at(self, **changes: object) -> "Seen":
        """Return the same with another view: its layer, head, rolled, aside, carried, query or key."""
        return replace(self, view=replace(self.view, **changes))


def build(run: Runner, words: Words) -> gr.Column:
    """Put the tab on the page that is being built. `run` runs tasks; `words` says everything."""
    sides = [words.say(f"attention.{name}") for name in ("looking", "looked_at")]
    one_head = words.say("attention.a_head", layer="{row}", head="{column}")
    axes = [words.say("attention.layer"), words.say("attention.head"), one_head]

    def show_attention(text: str, model: str, aside: bool, way: str, carried: bool):
        found = run(core.tasks.attend, model, text)
        token, rolled = first_token(found), way == ROLLOUT and len(found.tokens) <= limits.ROLLOUT_TOKENS
        layer, head = found.sharpest
        first = max(0, token - limits.WINDOW_TOKENS // 2)
        seen = Seen(text, model, found, found, View(layer, head, rolled, aside, carried, first, first), token)
        offered = habits_offered(found, words)
        return {
            **look_again(seen),
            say: tell(found, words),
            montage: montage_of(seen),
            habits: gr.Radio(offered, value=habit_value(seen, offered), visible=bool(offered)),
            ways: ROLLOUT if rolled else HEAD,
            moved: words.say("attention.whatif"),
            answer: None,
            **no_lens(),
        }

    def montage_of(seen: Seen):
        notes = head_notes(seen.found, words)
        return charts.heads_montage(seen.found, seen.head, seen.what_if.silenced_heads, axes, notes)

    def no_lens() -> dict:
        return {lens_say: words.say("attention.lens_ask"), lens_chart: None, lens_bars: None}

    def look_again(seen: Seen, chosen_only: bool = False) -> dict:
        """Ask where the chosen head looks, which does not run the model, and show it; or only choose another token."""
        gaze = run(core.tasks.look, seen.model, seen.text, seen.view, seen.what_if)
        last = gaze.view.query + len(gaze.weights) - 1
        seen = replace(seen, view=gaze.view, token=min(max(seen.token, gaze.view.query), last))
        tokens, silenced = seen.found.tokens, seen.what_if.silenced_heads
        shown = {
            look_say: tell_look(seen, gaze, words),
            strip: token_strip(seen, gaze, words),
            chart: Marks(charts.row_marks(gaze, seen.token)),
            cover: gr.Button(button_name("cover", seen.token in seen.what_if.hidden_tokens, seen, words)),
            save: gr.DownloadButton(interactive=False),
            data: data_of(seen, gaze),
            kept: seen,
        }
        if chosen_only:
            return shown
        long = gaze.whole is not None
        first, second = (
            gr.Slider(maximum=max(2, len(tokens) - len(gaze.weights) + 1), value=at + 1)
            for at in (gaze.view.query, gaze.view.key)
        )
        return shown | {
            chart: charts.attention_map(gaze, tokens, sides, seen.token),
            montage: Marks(charts.head_marks(seen.found, seen.head, silenced)),
            silence: gr.Button(button_name("silence", seen.head in silenced, seen, words)),
            overview: charts.window_map(gaze, len(tokens), sides) if long else None,
            long_text: gr.Column(visible=long),
            query: first,
            key: second,
        }

    def show_view(seen: Seen | None, aside: bool, way: str, carried: bool):
        return look_again(seen.at(aside=aside, rolled=way == ROLLOUT, carried=carried)) if seen else nothing_yet()

    def nothing_yet() -> dict:
        return {say: words.say("attention.empty")}

    def show_head(seen: Seen | None, event: gr.SelectData):
        return pick_head(seen, charts.head_at(event.index, seen.found)) if seen else nothing_yet()

    def show_habit(seen: Seen | None, habit: str):
        return pick_head(seen, tuple(int(part) for part in habit.split("."))) if seen else nothing_yet()

    def pick_head(seen: Seen, head: tuple[int, int]) -> dict:
        seen = seen.at(layer=head[0], head=head[1], rolled=False)
        return look_again(seen) | {ways: HEAD, habits: habit_value(seen, habits_offered(seen.before, words))}

    def show_token(seen: Seen | None, event: gr.SelectData):
        if seen is None:
            return nothing_yet()
        number = event.index[0] if isinstance(event.index, list | tuple) else event.index
        return look_again(replace(seen, token=seen.view.query + number), chosen_only=True)

    def show_window(seen: Seen | None, query: int, key: int):
        if seen is None:
            return nothing_yet()
        shown = look_again(seen.at(query=int(query) - 1, key=int(key) - 1))
        return {part: value for part, value in shown.items() if part not in sliders}  # these may have moved on already

    def show_window_there(seen: Seen | None, event: gr.SelectData):
        if seen is None:
            return nothing_yet()
        query, key = charts.window_at(event.index, len(seen.found.tokens), limits.WHOLE_SIDE, limits.WINDOW_TOKENS)
        return look_again(seen.at(query=query, key=key))

    def show_silenced(seen: Seen | None):
        if seen is None:
            return nothing_yet()
        return ask_again(seen, replace(seen.what_if, silenced_heads=seen.what_if.silenced_heads ^ {seen.head}))

    def show_covered(seen: Seen | None):
        if seen is None:
            return nothing_yet()
        return ask_again(seen, replace(seen.what_if, hidden_tokens=seen.what_if.hidden_tokens ^ {seen.token}))

    def ask_again(seen: Seen, what_if: WhatIf) -> dict:
        found = run(core.tasks.attend, seen.model, seen.text, what_if) if what_if != WhatIf() else seen.before
        seen = replace(seen, found=found, what_if=what_if, lens=None, cell=None)
        shown = look_again(seen) | {montage: montage_of(seen)}
        return shown | {moved: tell_moved(seen, words), answer: answer_bars(seen, words)} | no_lens()

    def show_lens(seen: Seen | None):
        if seen is None:
            return nothing_yet()
        first = max(0, min(seen.token - limits.LENS_TOKENS // 2, len(seen.found.tokens) - limits.LENS_TOKENS))
        lens = run(core.tasks.lens, seen.model, seen.text, first, seen.what_if)
        place = lens.places.index(seen.token) if seen.token in lens.places else len(lens.places) - 1
        seen = replace(seen, lens=lens, cell=(len(lens.rankings) - 1, place))
        names = [words.say(f"attention.lens_{name}") for name in ("layers", "places", "start", "end", "layer")]
        return {
            lens_chart: charts.lens_map(lens, names, seen.cell),
            lens_say: tell_lens(seen, words),
            lens_bars: lens_ranking(seen, words),
            data: data_of(seen, run(core.tasks.look, seen.model, seen.text, seen.view, seen.what_if)),
            kept: seen,
        }

    def show_cell(seen: Seen | None, event: gr.SelectData):
        if seen is None or seen.lens is None:
            return nothing_yet()
        seen = replace(seen, cell=tuple(event.index))
        return {
            lens_chart: Marks([charts.cell_mark(*seen.cell)]),
            lens_say: tell_cell(seen, words),
            lens_bars: lens_ranking(seen, words),
            kept: seen,
        }

    def show_table(seen: Seen | None):
        if seen is None:
            return nothing_yet()
        gaze = run(core.tasks.look, seen.model, seen.text, seen.view, seen.what_if)
        return {
            save: gr.DownloadButton(
                value=ui.write_table("attention", *table_of(gaze, seen.found.tokens)), interactive=True
            )
        }

    samples = EXAMPLES[words.language]
    with gr.Column() as page:
        ui.head("attention", words)
        box = gr.Textbox(samples[0][0], label=words.say("attention.text"), lines=2, max_lines=8)
        with gr.Row(elem_classes="gb-primary"):
            model = shelf.menu("attention", words)
            button = gr.Button(words.say("attention.go"), variant="primary")
        ui.examples(samples, [box, model], words)
        say = ui.sentence()
        gr.Markdown(words.say("attention.overview"), elem_classes="gb-note")
        montage = Chart(label=words.say("attention.montage"), empty=words.say("attention.empty"))
        habits = gr.Radio([], label=words.say("attention.habits"), visible=False, elem_classes="gb-habits")
        with gr.Row():
            with gr.Column(min_width=NARROW):
                ways = gr.Radio(
                    [(words.say("attention.one_head"), HEAD), (words.say("attention.rollout"), ROLLOUT)],
                    value=HEAD, label=words.say("attention.way"),
                )  # fmt: skip
            with gr.Column(min_width=NARROW):
                aside = gr.Checkbox(True, label=words.say("attention.aside"), info=words.say("attention.aside_hint"))
            with gr.Column(min_width=NARROW):
                carried = gr.Checkbox(False, label=words.say("attention.carry"), info=words.say("attention.carry_hint"))
        with ui.section("why", words):
            look_say = ui.Sentence(elem_classes="gb-sentence")
            with gr.Column(visible=False) as long_text:
                gr.Markdown(words.say("attention.long"), elem_classes="gb-note")
                overview = Chart(label=words.say("attention.whole"))
                with gr.Row():
                    query = gr.Slider(1, 2, 1, step=1, label=words.say("attention.from_query"))
                    key = gr.Slider(1, 2, 1, step=1, label=words.say("attention.from_key"))
            strip = TokenStrip(
                layout="words", scale="attention", lines=True, label=words.say("attention.strip"),
                empty=words.say("ui.later"),
            )  # fmt: skip
            chart = Chart(label=words.say("attention.map"), empty=words.say("ui.later"))
            with gr.Accordion(words.say("attention.lens"), open=False):
                ask = gr.Button(words.say("attention.lens_go"))
                lens_say = ui.Sentence(words.say("attention.lens_ask"), elem_classes="gb-note")
                lens_chart = Chart(label=words.say("attention.lens_chart"), empty=words.say("attention.lens_empty"))
                lens_bars = Chart(label=words.say("attention.lens_bars"))
        with ui.section("whatif", words):
            with gr.Row():
                silence = gr.Button(words.say("attention.silence"))
                cover = gr.Button(words.say("attention.cover"))
            moved = ui.Sentence(words.say("attention.whatif"), elem_classes="gb-note")
            answer = Chart(label=words.say("attention.answer"), empty=words.say("attention.answer_empty"), height=300)
        data = ui.take_away("attention", words)
        with gr.Row(elem_classes="gb-table"):
            table = gr.Button(words.say("attention.table"), size="sm")
            save = gr.DownloadButton(words.say("attention.save"), interactive=False, size="sm")
        ui.explain("attention", words)
        kept = ui.memory(None)

        sliders = (query, key)
        looked = [look_say, strip, chart, montage, silence, cover, overview, long_text, query, key, save, data, kept]
        lensed = [lens_say, lens_chart, lens_bars]
        asked = [say, montage, habits, ways, moved, answer, *lensed, *(part for part in looked if part != montage)]
        asked = [part for part in asked if part not in (data, kept)] + [data, kept]  # the numbers last
        ui.on(
            [box.submit, button.click], show_attention, [box, model, aside, ways, carried], asked, words,
            api_name="attention",
        )  # fmt: skip
        ui.on([aside.input, ways.input, carried.input], show_view, [kept, aside, ways, carried], [say, *looked], words)
        ui.on([montage.select], show_head, [kept], [say, ways, habits, *looked], words)
        ui.on([habits.input], show_habit, [kept, habits], [say, ways, habits, *looked], words)
        ui.on([strip.select, chart.select], show_token, [kept], [say, *looked], words)
        ui.on(
            [query.input, key.input], show_window, [kept, query, key], [say, *looked], words, trigger_mode="always_last"
        )
        ui.on([overview.select], show_window_there, [kept], [say, *looked], words)
        changed = [say, moved, answer, *lensed, *looked]
        ui.on([silence.click], show_silenced, [kept], changed, words)
        ui.on([cover.click], show_covered, [kept], changed, words)
        ui.on([ask.click], show_lens, [kept], [say, *lensed, data, kept], words)
        ui.on([lens_chart.select], show_cell, [kept], [say, *lensed, kept], words)
        ui.on([table.click], show_table, [kept], [say, save], words)
    return page


def first_token(found: Attention) -> int:
    """Return the token to begin with: the one that is asked for, else the last that is not special."""
    if found.asked is not None:
        return found.asked
    special = [token.startswith(("[", "<")) and token.endswith(("]", ">")) for token in found.tokens]
    return max((at for at, odd in enumerate(special) if not odd), default=0)


def named(tokens: tuple[str, ...], number: int) -> str:
    """Return a token as a sentence quotes it: with its number where the text has it more than once."""
    shown = inked(tokens[number])
    return f"{number + 1} {shown}" if sum(inked(token) == shown for token in tokens) > 1 else shown


def habits_offered(found: Attention, words: Words) -> list[tuple[str, str]]:
    """Return the choices of heads with a habit: of each habit the clearest, then the clearest others."""
    firsts = list({habit.name: habit for habit in reversed(found.habits)}.values())
    others = [habit for habit in found.habits if habit not in firsts]
    chosen = (firsts + others)[:HABITS]
    return [
        (words.say("attention.habit", layer=habit.layer + 1, head=habit.head + 1, does=habit_said(habit, words)),
         f"{habit.layer}.{habit.head}")
        for habit in found.habits if habit in chosen
    ]  # fmt: skip


def habit_said(habit: Habit, words: Words) -> str:
    """Say a habit and how much of the head's looking it is."""
    return words.say(f"attention.does.{habit.name}", share=words.percent(habit.share))


def habit_value(seen: Seen, offered: list[tuple[str, str]]) -> str | None:
    """Return which of the heads with a habit is chosen, if one is."""
    value = f"{seen.view.layer}.{seen.view.head}"
    return value if not seen.view.rolled and value in [value for _, value in offered] else None


def head_notes(found: Attention, words: Words) -> dict[tuple[int, int], str]:
    """Return what is said of a (layer, head) with a habit when it is pointed at."""
    return {
        (habit.layer, habit.head): words.say(
            "attention.habit", layer=habit.layer + 1, head=habit.head + 1, does=habit_said(habit, words)
        )
        for habit in found.habits
    }


def token_strip(seen: Seen, gaze: Gaze, words: Words) -> list[Token | LeftOut]:
    """Return the window's tokens, tinted by how much the chosen one looks at each, with where each looks itself."""
    tokens, first, size = seen.found.tokens, gaze.view.query, len(gaze.weights)
    tints = {}
    if first == gaze.view.key:  # the same tokens down and across
        row = gaze.row(seen.token)
        tints = {first + at: float(share) for at, share in enumerate(row / (row.max() or 1)) if share > TINTED}
    strip: list[Token | LeftOut] = [
        Token(
            tokens[number], tints.get(number), marked=number == seen.token,
            covered=number in seen.what_if.hidden_tokens, number=number if number == first else None,
            looks=lines_of(gaze, number - first),
        )
        for number in range(first, first + size)
    ]  # fmt: skip
    before, after = first, len(tokens) - first - size
    if before:
        strip.insert(0, LeftOut(words.say("attention.before", count=f"{before:,}")))
    if after:
        strip.append(LeftOut(words.say("attention.after", count=f"{after:,}")))
    return strip


def lines_of(gaze: Gaze, row: int) -> tuple[tuple[int, int], ...]:
    """Return where a token of the window looks most, as (number, percent); less than 1 percent is left out."""
    pairs = zip(gaze.targets[row], gaze.shares[row], strict=True)
    return tuple((int(at), round(100 * float(share))) for at, share in pairs if share >= 0.01)


def button_name(what: str, undo: bool, seen: Seen, words: Words) -> str:
    """Return what a what-if button says: "silence" or "cover", and what it does it to."""
    facts = {"layer": seen.view.layer + 1, "head": seen.view.head + 1}
    facts = facts if what == "silence" else {"token": named(seen.found.tokens, seen.token)}
    return words.say(f"attention.{what}_{'undo' if undo else 'this'}", **facts)


def tell(found: Attention, words: Words) -> str:
    """Say what there is to see, and that the sink is set aside."""
    layers, heads = found.montage.shape[:2]
    tokens = f"{len(found.tokens):,}"
    said = words.say("attention.said", layers=layers, heads=heads, all=layers * heads, tokens=tokens)
    if found.sink is None:
        return said
    facts = {"token": named(found.tokens, found.sink), "share": words.percent(found.sink_share)}
    return said + words.say("attention.sink", **facts)


def tell_look(seen: Seen, gaze: Gaze, words: Words) -> str:
    """Say where the chosen token looks."""
    view, tokens, row = gaze.view, seen.found.tokens, seen.token - gaze.view.query
    facts = {"layer": view.layer + 1, "head": view.head + 1}
    if not view.rolled and seen.head in seen.what_if.silenced_heads:
        return words.say("attention.silent", **facts)
    where = words.say("attention.at_all") if view.rolled else words.say("attention.at_head", **facts)
    where += words.say("attention.weighed") if view.carried else ""
    token, target, share = named(tokens, seen.token), int(gaze.targets[row][0]), float(gaze.shares[row][0])
    if share < 0.01:
        return words.say("attention.nowhere", where=where, token=token)
    if target == seen.token:
        return words.say("attention.itself", where=where, token=token, share=words.percent(share))
    said = {"where": where, "token": token, "target": named(tokens, target), "share": words.percent(share)}
    return words.say("attention.draws" if view.rolled or view.carried else "attention.looks", **said)


def tell_moved(seen: Seen, words: Words) -> str:
    """Say how the model's answer moved with what is silent or covered."""
    before, now = seen.before.prediction, seen.found.prediction
    if seen.what_if == WhatIf():
        return words.say("attention.whatif")
    if before is None or now is None:
        return words.say("attention.nothing_asked")
    heads = [
        words.say("attention.a_head", layer=layer + 1, head=head + 1)
        for layer, head in sorted(seen.what_if.silenced_heads)
    ]
    covered = [
        words.say("number.quoted", text=named(seen.found.tokens, token)) for token in sorted(seen.what_if.hidden_tokens)
    ]
    label = before.labels[0]
    facts = {
        "without": words.say("number.comma").join(heads + covered),
        "answer": words.label(label),
        "before": words.percent(before.probabilities[0]),
        "after": words.percent(now.probability_of(label)),
    }
    if now.labels[0] != label:
        return words.say("attention.moved", **facts, now=words.label(now.labels[0]))
    return words.say("attention.stayed" if facts["before"] != facts["after"] else "attention.unmoved", **facts)


def answer_bars(seen: Seen, words: Words):
    """Return the model's answers before and after something was taken away, None where nothing is asked of it."""
    before, now = seen.before.prediction, seen.found.prediction
    if before is None or now is None or seen.what_if == WhatIf():
        return None
    labels = [*dict.fromkeys(before.labels[:5] + now.labels[:5])]
    rows = [[ranking.probability_of(label) for label in labels] for ranking in (before, now)]
    return charts.compared_bars(
        [words.label(label) for label in labels], rows, [words.say("ui.before"), words.say("ui.after")]
    )


def tell_lens(seen: Seen, words: Words) -> str:
    """Say from which layer on the chosen place has the model's answer."""
    _, place = seen.cell
    said = [layer[place].labels[0] for layer in seen.lens.rankings]
    since = next(at for at in range(len(said)) if len(set(said[at:])) == 1)  # the answer and nothing else from there on
    facts = {
        "token": named(seen.found.tokens, seen.lens.places[place]), "answer": said[-1], "layer": since,
        "layers": len(said) - 1, "first": said[0],
    }  # fmt: skip
    return words.say(
        "attention.lens_early"
        if since == 0
        else "attention.lens_last"
        if since == len(said) - 1
        else "attention.lens_from",
        **facts,
    )


def tell_cell(seen: Seen, words: Words) -> str:
    """Say what one layer would have said in one place."""
    layer, place = seen.cell
    ranking = seen.lens.rankings[layer][place]
    facts = {
        "token": named(seen.found.tokens, seen.lens.places[place]), "answer": ranking.labels[0], "layer": layer,
        "probability": words.percent(ranking.probabilities[0]),
    }  # fmt: skip
    last = len(seen.lens.rankings) - 1
    return words.say(f"attention.cell_{'start' if layer == 0 else 'end' if layer == last else 'layer'}", **facts)


def lens_ranking(seen: Seen, words: Words):
    """Return the bars of what the chosen layer would have said in the chosen place."""
    layer, place = seen.cell
    ranking: Ranking = seen.lens.rankings[layer][place]
    return charts.ranking_bars(ranking, rest=words.say("ui.rest"))


def data_of(seen: Seen, gaze: Gaze) -> dict:
    """Return what is taken away as JSON: little, for it goes with every view; all of a window's weights go into a table."""
    view, found = gaze.view, seen.found
    return {
        "tokens": list(found.tokens[view.query : view.query + len(gaze.weights)]),
        "first_token": view.query + 1,
        "shown": "all layers" if view.rolled else {"layer": view.layer + 1, "head": view.head + 1},
        "sink": None if found.sink is None else {"token": found.sink + 1, "share": round(found.sink_share, 4)},
        "aside": view.aside,
        "carried": view.carried,
        "token": seen.token + 1,
        "first_key": view.key + 1,
        "row": [round(float(share), 4) for share in gaze.row(seen.token)],
        "habits": [[habit.layer + 1, habit.head + 1, habit.name, round(habit.share, 4)] for habit in found.habits],
        "silenced": [{"layer": layer + 1, "head": head + 1} for layer, head in sorted(seen.what_if.silenced_heads)],
        "covered": [token + 1 for token in sorted(seen.what_if.hidden_tokens)],
        "prediction": found.prediction and ui.data_of(found.prediction),
        "lens": seen.lens and ui.data_of(seen.lens),
    }


def table_of(gaze: Gaze, tokens: tuple[str, ...]) -> tuple[list[str], list[list[str]]]:
    """Return the window of a gaze as the head and the rows of a table: looking down, looked at across."""
    rows, columns = (
        charts.places(tokens[first : first + size], first)
        for first, size in zip((gaze.view.query, gaze.view.key), gaze.weights.shape, strict=True)
    )
    shares = (gaze.row(gaze.view.query + number) for number in range(len(rows)))
    return ["", *columns], [[name, *(f"{one:.4f}" for one in row)] for name, row in zip(rows, shares, strict=True)]


if __name__ == "__main__":
    ui.launch_alone(build)
