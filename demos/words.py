"""Every sentence a visitor reads, in two languages: `words.say("masking.sure", first="coffee")`."""

import re
import tomllib
from functools import cache
from pathlib import Path
from string import Formatter

from core.results import Ranking

FOLDER = Path(__file__).parent / "words"
LANGUAGES = ("en", "zh")
HAN = "[\u3400-\u9fff]"  # a Chinese character


class Words:
    """The sentences of one language."""

    def __init__(self, language: str):
        self.language = language
        self._sentences = sentences(language)

    def say(self, key: str, **facts: object) -> str:
        """Return a sentence with its blanks filled, as it is without facts; probabilities go through `percent` first."""
        return closed_up(self._sentences[key], facts).format(**facts) if facts else self._sentences[key]

    def has(self, key: str) -> bool:
        """Whether there is such a sentence."""
        return key in self._sentences

    def percent(self, probability: float) -> str:
        """Return a probability as people say it."""
        if probability >= 0.995 and probability < 1:
            return self.say("number.nearly_sure")
        if probability >= 0.01:
            return self.say("number.percent", number=round(100 * probability))
        if probability > 0.001:
            return self.say(
                "number.one_in", number=f"{round(1 / probability, 2 - len(str(int(1 / probability)))):,.0f}"
            )
        return self.say("number.hardly")

    def label(self, name: str) -> str:
        """Return a model's label in the visitor's language: "positive", "red", "yes"; others stay as they are."""
        key = f"label.{name.lower()}"
        return self.say(key) if self.has(key) else name

    def ranking(self, ranking: Ranking) -> Ranking:
        """Return a ranking with its labels in the visitor's language."""
        return Ranking(tuple(map(self.label, ranking.labels)), ranking.probabilities)

    def listed(self, names: list[str]) -> str:
        """Return names one after the other, quoted."""
        return self.say("number.comma").join(self.say("number.quoted", text=name) for name in names)


@cache
def sentences(language: str) -> dict[str, str]:
    """Return the sentences of a language by "section.name".

    Raises ValueError when one language lacks a key, or a blank, of the other.
    """
    found = {name: flat(tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))) for name in LANGUAGES}
    for name, one in found.items():
        for other_name, other in found.items():
            lacking = {key for key in other if blanks(one.get(key)) != blanks(other[key])}
            if lacking:
                raise ValueError(f"{name}.toml differs from {other_name}.toml in {', '.join(sorted(lacking))}")
    return found[language]


def closed_up(sentence: str, facts: dict[str, object]) -> str:
    """Return a sentence without the spaces that set its blanks off from Chinese characters, where such fill them as well."""
    for name, fact in facts.items():
        blank = rf"\{{{name}(?:[:!][^}}]*)?\}}"
        if re.match(HAN, str(fact)):
            sentence = re.sub(rf"(?<={HAN}) (?={blank})", "", sentence)
        if re.search(f"{HAN}$", str(fact)):
            sentence = re.sub(rf"({blank}) (?={HAN})", r"\1", sentence)
    return sentence


def flat(table: dict, before: str = "") -> dict[str, str]:
    """Return a table of tables as one, its keys joined by dots."""
    pairs = {}
    for key, value in table.items():
        pairs |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value.strip("\n")}
    return pairs


def blanks(sentence: str | None) -> set[str] | None:
    """Return the names of a sentence's blanks, None for no sentence."""
    return None if sentence is None else {name for _, name, _, _ in Formatter().parse(sentence) if name}
