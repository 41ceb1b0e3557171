"""Feel: is a text glad or cross, and which words make it so? Run alone: `python -m demos.sentiment`."""

import csv
from pathlib import Path

import gradio as gr

import core
from core import charts, limits
from core.errors import TableUnreadable
from core.results import Ranking, Verdict, WhatIf
from core.runner import Runner
from demos import shelf, squeezing, ui, why
from demos.chart import Chart
from demos.tokens import Token, TokenStrip
from demos.words import Words

TITLE = "sentiment"
EXAMPLES = {
    "en": [
        ("A warm, funny and beautifully acted film that I will watch again.",),
        ("The plot is thin and the jokes fall flat, but the music is wonderful.",),
        ("I expected to love this restaurant, and I was bitterly disappointed.",),
        ("Not bad at all!",),
    ],
    "zh": [
        ("房间很干净，服务员也很热情，下次还会再来。",),
        ("书的内容不错，可是印刷太差，看着眼睛疼。",),
        ("等了两个小时才送到，饭都凉了。",),
        ("真的很不错！",),
    ],
}
UNSURE = (0.4, 0.6)  # between these the page says it cannot tell


def build(run: Runner, words: Words) -> gr.Column:
    """Put the tab on the page that is being built. `run` runs tasks; `words` says everything."""

    def show_feeling(text: str, model: str):
        verdict = run(core.tasks.judge, model, text)

        def ask(other: str) -> Ranking:
            return run(core.tasks.judge, other, text, WhatIf(), False).ranking

        return {
            say: squeezing.told(tell(verdict.ranking, words), model, TITLE, verdict.ranking, ask, words),
            bars: charts.ranking_bars(words.ranking(verdict.ranking)),
            strip: word_strip(verdict, frozenset(), words),
            why_say: tell_why(verdict, words),
            measures: why.draw(verdict.saliency, words),
            moved: words.say("why.whatif"),
            data: ui.data_of(verdict),
            kept: (text, model, verdict, frozenset()),
        }

    def show_covered(memory: tuple | None, event: gr.SelectData):
        if memory is None:
            return {moved: words.say("why.whatif")}
        text, model, verdict, covered = memory
        covered = covered ^ {event.index}
        now = run(core.tasks.judge, model, text, WhatIf(hidden_tokens=covered), False) if covered else verdict
        plain = charts.ranking_bars(words.ranking(verdict.ranking))
        return {
            moved: why.tell_moved(verdict.saliency, verdict.ranking, now.ranking, covered, words),
            bars: why.draw_moved(verdict.ranking, now.ranking, words) if covered else plain,
            strip: word_strip(verdict, covered, words),
            kept: (text, model, verdict, covered),
        }

    def show_list(lines: str, file: str | None, model: str):
        texts = read_table(file) if file else [line for line in (lines or "").splitlines() if line.strip()]
        rankings = list(run(core.tasks.judge_all, model, texts))
        label = rankings[0].labels[0] if "positive" not in rankings[0].labels else "positive"
        verdicts = [(words.label(ranking.labels[0]), round(ranking.probabilities[0], 4)) for ranking in rankings]
        rows = [[text, *verdict] for text, verdict in zip(texts, verdicts, strict=True)]
        glad = sum(ranking.labels[0] == label for ranking in rankings)
        return {
            list_say: words.say("sentiment.list_said", count=len(rows), glad=glad, label=words.label(label)),
            histogram: charts.verdicts_histogram(
                rankings, label, words.say("sentiment.axis", label=words.label(label))
            ),
            table: rows,
            save: gr.DownloadButton(value=ui.write_table("sentiment", header, rows), interactive=True),
        }

    header = [words.say(f"sentiment.column_{name}") for name in ("text", "verdict", "probability")]
    samples = EXAMPLES[words.language]
    with gr.Column() as page:
        ui.head("sentiment", words)
        box = gr.Textbox(samples[0][0], label=words.say("sentiment.text"), lines=2, max_lines=8)
        with gr.Row(elem_classes="gb-primary"):
            model = shelf.menu("sentiment", words)
            button = gr.Button(words.say("sentiment.go"), variant="primary")
        ui.examples(samples, [box], words)
        say = ui.sentence()
        bars = Chart(label=words.say("sentiment.chart"), empty=words.say("sentiment.empty"), height=160)
        strip = TokenStrip(
            layout="words", scale="push", label=words.say("sentiment.words"), empty=words.say("sentiment.empty")
        )
        with ui.section("whatif", words):  # right under the words that are clicked
            moved = ui.Sentence(words.say("why.whatif"), elem_classes="gb-note")
        with ui.section("why", words):
            why_say = ui.Sentence(elem_classes="gb-note")
            measures = Chart(label=words.say("why.chart"), empty=words.say("ui.later"))
        with gr.Accordion(words.say("sentiment.list"), open=False):
            with gr.Row():
                lines = gr.Textbox(label=words.say("sentiment.lines"), lines=5, max_lines=12, scale=2)
                file = gr.File(label=words.say("sentiment.file"), file_types=[".csv", ".txt"], height=150)
            judge = gr.Button(words.say("sentiment.list_go"))
            list_say = ui.sentence()
            histogram = Chart(label=words.say("sentiment.histogram"), empty=words.say("ui.later"), height=280)
            table = gr.Dataframe(headers=header, interactive=False, wrap=True, label=words.say("sentiment.table"))
            save = gr.DownloadButton(words.say("sentiment.save"), interactive=False)
        data = ui.take_away("sentiment", words)
        ui.explain("sentiment", words)
        kept = ui.memory(None)

        shown = [say, bars, strip, why_say, measures, moved, data, kept]
        ui.on([box.submit, button.click], show_feeling, [box, model], shown, words, api_name="sentiment")
        ui.on([strip.select], show_covered, [kept], [moved, bars, strip, kept], words)
        ui.on([judge.click], show_list, [lines, file, model], [list_say, histogram, table, save], words)
    return page


def tell(ranking: Ranking, words: Words) -> str:
    """Say the verdict, or that there is none to say."""
    label, probability = words.label(ranking.labels[0]), ranking.probabilities[0]
    if len(ranking.labels) == 2 and probability < UNSURE[1]:
        return words.say("sentiment.unsure", label=label, probability=words.percent(probability))
    return words.say("sentiment.sure", label=label, probability=words.percent(probability))


def tell_why(verdict: Verdict, words: Words) -> str:
    """Say what the verdict hangs on."""
    why_so = verdict.saliency
    return why.tell(why_so, words.label(why_so.label), verdict.ranking.probability_of(why_so.label), words)


def word_strip(verdict: Verdict, covered: frozenset[int], words: Words) -> list[Token]:
    """Return the words, tinted by integrated gradients: towards positive one way, towards negative the other."""
    sign = -1 if verdict.saliency.label.lower() in ("negative", "label_0") else 1
    return why.strip(verdict.saliency, words, covered, by="scores", sign=sign)


def read_table(file: str) -> list[str]:
    """Return the texts of an uploaded table: its column called text, sentence or review, else its first.

    Raises TableUnreadable.
    """
    path = Path(file)
    try:
        if path.stat().st_size > limits.TABLE_BYTES:
            raise TableUnreadable()
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.reader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableUnreadable() from error
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    names = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((names.index(name) for name in ("text", "sentence", "review", "文本", "评论") if name in names), None)
    if column is not None:
        rows = rows[1:]
    texts = [row[column or 0] for row in rows if len(row) > (column or 0)]
    return [text for text in texts if text.strip()]


if __name__ == "__main__":
    ui.launch_alone(build)
