"""Fill in: blank a word and see what the model would put there. Run alone: `python -m demos.masking`."""

import re
from dataclasses import replace

import gradio as gr

import core
from core import charts, limits
from core.results import Filling, Ranking, WhatIf
from core.runner import Runner
from core.tokens import BLANK
from demos import shelf, squeezing, ui, why
from demos.chart import Chart
from demos.tokens import Token, TokenStrip
from demos.words import HAN, Words

TITLE = "masking"
EXAMPLES = {
    "en": [
        ("The cat sat on the [MASK].",),
        ("Paris is the capital of [MASK].",),
        ("She put on her [MASK] and went out into the [MASK].",),
        ("The doctor said that [MASK] was late.",),
    ],
    "zh": [
        ("[MASK]京是中国的首都。",),
        ("我最喜欢喝[MASK]茶。",),
        ("医生说[MASK]今天来晚了。",),
        ("这座城市位[MASK]山东省。",),
    ],
}
WORD = re.compile(r"\[MASK\]|[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]|_", re.IGNORECASE)  # a word, a blank, or a mark
BLANKS = re.compile(re.escape(BLANK), re.IGNORECASE)


def build(run: Runner, words: Words) -> gr.Column:
    """Put the tab on the page that is being built. `run` runs tasks; `words` says everything."""

    def show_blanks(text: str, model: str):
        whole = run(core.tasks.fill_mask, model, text, limits.RIVALS_KEPT)
        rankings = tuple(why.cut(ranking, limits.CHOICES) for ranking in whole.rankings)
        filling = replace(whole, rankings=rankings)
        titles = [words.say("masking.blank", number=number + 1) for number in range(len(rankings))]
        first = rankings[0]

        def ask(other: str) -> Ranking:
            return run(core.tasks.fill_mask, other, text, limits.RIVALS_KEPT, WhatIf(), False).rankings[0]

        return {
            say: squeezing.told(tell(filling, words), model, TITLE, whole.rankings[0], ask, words),
            bars: charts.rankings_bars(rankings, titles, words.say("ui.rest")),
            why_say: why.tell(whole.why, whole.why.label, first.probabilities[0], words),
            why_strip: why.strip(whole.why, words),
            measures: why.draw(whole.why, words),
            moved: words.say("why.whatif"),
            both_moved: None,
            data: ui.data_of(filling),
            kept: (text, filling, {}),
            looked: (text, model, whole.why, whole.rankings[0], frozenset()),
        }

    def show_covered(memory: tuple | None, event: gr.SelectData):
        if memory is None:
            return {moved: words.say("why.whatif")}
        text, model, reasons, before, covered = memory
        covered, now = covered ^ {event.index}, before
        if covered:
            what_if = WhatIf(hidden_tokens=covered)
            now = run(core.tasks.fill_mask, model, text, limits.RIVALS_KEPT, what_if, False).rankings[0]
        return {
            why_strip: why.strip(reasons, words, covered),
            moved: why.tell_moved(reasons, before, now, covered, words),
            both_moved: why.draw_moved(before, now, words) if covered else None,
            looked: (text, model, reasons, before, covered),
        }

    def show_words(text: str, taken: dict):
        return {
            strip: word_strip(text),
            removed: taken if taken and taken["text"] == text else {"text": text, "words": {}},
        }

    def show_blanked(text: str, taken: dict, event: gr.SelectData):
        text, taken = toggle(text, taken, event.index)
        return {box: text, removed: taken, strip: word_strip(text)}

    def show_filled(text: str, memory: tuple | None, event: gr.SelectData):
        asked, filling, put = memory or (text, None, {})
        blank, place = event.value["customdata"]
        if filling is None or place < 0:
            return {box: text}
        word = filling.rankings[blank].labels[place]
        if text == fill_all(asked, put):
            put = put | {blank: word}
        elif len(BLANKS.findall(text)) == len(filling.rankings):  # typed in since: the same blanks, in other words
            asked, put = text, {blank: word}
        else:
            return {box: text}
        return {box: fill_all(asked, put), kept: (asked, filling, put)}

    def show_compared(text: str, other: str, model: str):
        first, second = (
            run(core.tasks.fill_mask, model, one, limits.RIVALS_KEPT, WhatIf(), False).rankings[0] for one in (text, other)
        )  # fmt: skip
        labels = [*dict.fromkeys(first.labels[:5] + second.labels[:5])]
        rows = [[ranking.probability_of(label) for label in labels] for ranking in (first, second)]
        return {
            both: charts.compared_bars(labels, rows, [short(text), short(other)]),
            both_say: tell_compared(first, second, words),
        }

    samples = EXAMPLES[words.language]
    with gr.Column() as page:
        ui.head("masking", words)
        box = gr.Textbox(
            samples[0][0], label=words.say("masking.text"), info=words.say("masking.hint"), lines=2, max_lines=6
        )
        strip = TokenStrip(
            word_strip(samples[0][0]),
            layout="words",
            label=words.say("masking.words"),
            empty=words.say("masking.no_words"),
        )
        with gr.Row(elem_classes="gb-primary"):
            model = shelf.menu("masking", words)
            button = gr.Button(words.say("masking.go"), variant="primary")
        ui.examples(samples, [box], words)
        say = ui.sentence()
        bars = Chart(label=words.say("masking.chart"), empty=words.say("masking.empty"))
        with ui.section("why", words):
            why_say = ui.Sentence(elem_classes="gb-note")
            why_strip = TokenStrip(
                layout="words", scale="push", label=words.say("masking.why_strip"), empty=words.say("ui.later")
            )
            moved = ui.Sentence(words.say("why.whatif"), elem_classes="gb-note")
            both_moved = Chart(label=words.say("why.moved_chart"), empty=words.say("why.moved_empty"))
            measures = Chart(label=words.say("why.chart"), empty=words.say("ui.later"))
        with ui.section("whatif", words):
            gr.Markdown(words.say("masking.whatif"), elem_classes="gb-note")
            with gr.Row(elem_classes="gb-primary"):
                other = gr.Textbox(words.say("masking.other_text"), label=words.say("masking.other"), scale=4)
                compare = gr.Button(words.say("masking.compare"))
            both_say = ui.Sentence(elem_classes="gb-note")
            both = Chart(label=words.say("masking.both"), empty=words.say("masking.both_empty"), height=420)
        data = ui.take_away("masking", words)
        ui.explain("masking", words)
        kept, looked, removed = ui.memory(None), ui.memory(None), ui.memory({})

        shown = [say, bars, why_say, why_strip, measures, moved, both_moved, data, kept, looked]
        ui.on([box.submit, button.click], show_blanks, [box, model], shown, words, api_name="masking")
        ui.on(
            [box.change], show_words, [box, removed], [strip, removed], words, trigger_mode="always_last", queue=False
        )
        ui.on([strip.select], show_blanked, [box, removed], [box, removed, strip], words, queue=False)
        ui.on([bars.select], show_filled, [box, kept], [box, kept], words, queue=False)
        ui.on([why_strip.select], show_covered, [looked], [why_strip, moved, both_moved, looked], words)
        ui.on([other.submit, compare.click], show_compared, [box, other, model], [both, both_say], words)
    return page


def word_strip(text: str) -> list[Token]:
    """Return the words of a text, blanks marked."""
    return [Token(word, marked=word.upper() == BLANK) for word in words_in(text)]


def words_in(text: str) -> list[str]:
    """Return the words and marks of a text; a Chinese character is a word."""
    return [text[start:end] for start, end in spans(text)]


def spans(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text begin and end."""
    found = []
    for match in WORD.finditer(text or ""):
        if re.search(HAN, match[0]):
            found += [(at, at + 1) for at in range(match.start(), match.end())]
        else:
            found.append(match.span())
    return found


def toggle(text: str, taken: dict, number: int) -> tuple[str, dict]:
    """Blank a word of a text, or put back the word that was blanked; `taken` remembers them by their number."""
    places = spans(text)
    if not 0 <= number < len(places):
        return text, taken
    start, end = places[number]
    gone = dict(taken.get("words", {})) if taken and taken.get("text") == text else {}
    if text[start:end].upper() == BLANK:
        word = gone.pop(number, BLANK)
    else:
        gone[number], word = text[start:end], BLANK
    text = text[:start] + word + text[end:]
    return text, {"text": text, "words": gone}


def fill(text: str, blank: int, word: str) -> str:
    """Put a word into a blank, with a capital at the start of a sentence; "…ing" is glued to what stands before it."""
    places = [*BLANKS.finditer(text)]
    if blank >= len(places):
        return text
    before, after = text[: places[blank].start()], text[places[blank].end() :]
    if word.startswith("…"):
        return before.rstrip() + word[1:] + after
    begins = not before.strip() or before.rstrip()[-1] in ".!?"
    return before + (word[:1].upper() + word[1:] if begins else word) + after


def fill_all(text: str, put: dict[int, str]) -> str:
    """Put words into several blanks, the last one first, so that the numbers of the others stay."""
    for blank in sorted(put, reverse=True):
        text = fill(text, blank, put[blank])
    return text


def short(text: str, most: int = 60) -> str:
    """Return the start of a text."""
    return text if len(text) <= most else text[: most - 1] + "…"


def tell(filling: Filling, words: Words) -> str:
    """Say what the model would put in."""
    if len(filling.rankings) > 1:
        best = words.listed([ranking.labels[0] for ranking in filling.rankings])
        return words.say("masking.several", count=len(filling.rankings), words=best)
    return tell_ranking(filling.rankings[0], words)


def tell_ranking(ranking: Ranking, words: Words) -> str:
    """Say the first two of a ranking, and how sure the model is."""
    first, second, *_ = ranking.labels
    sure = words.percent(ranking.probabilities[0])
    key = "masking.sure" if ranking.probabilities[0] >= 0.1 else "masking.unsure"
    return words.say(key, first=first, probability=sure, second=second, next=words.percent(ranking.probabilities[1]))


def tell_compared(first: Ranking, second: Ranking, words: Words) -> str:
    """Say where two rankings differ most."""
    labels = {*first.labels, *second.labels}
    moved = max(labels, key=lambda label: abs(first.probability_of(label) - second.probability_of(label)))
    one, two = first.probability_of(moved), second.probability_of(moved)
    return words.say("masking.compared", word=moved, first=words.percent(one), second=words.percent(two))


if __name__ == "__main__":
    ui.launch_alone(build)
