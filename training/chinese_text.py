"""What the Chinese reader reads: the sets in, sentences and judged reviews out, none of them a copy of what is tested."""

import csv
import io
import re
from pathlib import Path

from training import corpus
from training.corpus import Judged, is_held_out
from training.loop import RecipeError
from training.sources import SOURCES

# How often a masked row comes from each file of Common Voice.
SENTENCES = {"zh_wiki": 0.93, "zh_talk": 0.06, "zh_collected": 0.01}
# How often a judged row comes from each.
REVIEWS = {"chnsenticorp": 0.55, "waimai": 0.12, "online_shopping": 0.33}
COPIED = ("书籍", "计算机", "酒店")  # what online_shopping has of these is ChnSentiCorp again, its test included
LONGEST = 100  # characters of a masked row
RUN = 12  # characters in a row that two sentences share by copying rather than by chance


def bare(text: str) -> str:
    """Return the Chinese characters of a text alone."""
    return "".join(re.findall(r"[\u3400-\u9fff]", text))


def beginning(text: str) -> str:
    """Return what tells a review from others, however it was spaced and punctuated."""
    return bare(text)[:30]


def runs(text: str) -> set[str]:
    """Return every run of RUN Chinese characters of a text, or all of them if they are fewer."""
    characters = bare(text)
    return {characters[first : first + RUN] for first in range(max(1, len(characters) - RUN + 1))}


def gather_sentences(data: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the sentences of Common Voice by file: those to train on, and those held out, copies and near copies gone."""
    training, held_out = {}, {}
    for name in SENTENCES:
        texts = [line.strip() for line in corpus.read(data, name).splitlines()]
        texts = [text for text in dict.fromkeys(texts) if len(bare(text)) >= 2 and len(text) <= LONGEST]
        training[name] = [text for text in texts if not is_held_out(text)]
        held_out[name] = [text for text in texts if is_held_out(text)]
    return training, unseen(held_out, training)


def unseen(held_out: dict[str, list[str]], training: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the held-out sentences of which no run is also among the training sentences, whatever stands around it."""
    asked = {run for texts in held_out.values() for text in texts for run in runs(text)}
    sizes = {len(run) for run in asked}
    met = set()
    for text in (bare(text) for texts in training.values() for text in texts):
        for size in sizes:
            met.update(part for first in range(len(text) - size + 1) if (part := text[first : first + size]) in asked)
    return {name: [text for text in texts if met.isdisjoint(runs(text))] for name, texts in held_out.items()}


def reviews(data: Path, name: str, kinds_aside: tuple[str, ...] = COPIED) -> list[Judged]:
    """Return a set of reviews with 0 for complaint and 1 for praise, without those of goods of the kinds set aside."""
    separated = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if SOURCES[name].path.endswith(".tsv") else {}
    found = csv.DictReader(io.StringIO(corpus.read(data, name).removeprefix("\ufeff")), **separated)
    try:
        judged = [
            ((row.get("text_a") or row.get("review") or "").strip(), int(row["label"]))
            for row in found
            if row.get("cat") not in kinds_aside
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise RecipeError(f"{data / SOURCES[name].path} is not a table of labels and reviews: {error!r}.") from error
    return [(text, label) for text, label in judged if bare(text)]


def gather_reviews(data: Path) -> tuple[dict[str, list[Judged]], list[Judged]]:
    """Return the reviews to train on, by source, and those of ChnSentiCorp's dev set; nothing of it is in the first."""
    dev = reviews(data, "chnsenticorp_held_out")
    asked = {beginning(text) for text, _ in dev}
    return {name: without(reviews(data, name), asked) for name in REVIEWS}, dev


def without(judged: list[Judged], asked: set[str]) -> list[Judged]:
    """Return the reviews, each once, that do not begin as one of those asked."""
    once = {beginning(text): (text, label) for text, label in judged}
    return [one for begins, one in once.items() if begins not in asked]


def copies(data: Path) -> str:
    """Say how much of what is tested stands in the sets to train on, before it is left out."""
    asked = {beginning(text) for text, _ in reviews(data, "chnsenticorp_held_out")}
    found = {name: {beginning(text) for text, _ in reviews(data, name, ())} & asked for name in REVIEWS}
    counts = ", ".join(f"{len(met):,} in {name}" for name, met in found.items())
    return (
        f"Of the {len(asked):,} different reviews of ChnSentiCorp dev many stand in the training sets too: {counts}. "
        f"None of them was learned from, and of online_shopping nothing about {', '.join(COPIED)}, which is ChnSentiCorp "
        "again; naive Bayes was fitted on what was left as well. Published figures are with the copies."
    )
