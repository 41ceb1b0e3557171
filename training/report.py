"""What is measured of each model beside its baselines: kept in one file, from which the model cards are written."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from training import card
from training.loop import RecipeError

RESULTS = Path("training/results.json")


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured of a model, and what else reaches on the same texts or pictures."""

    what: str  # is measured, and on what: "first guess right, 3,012 held-out texts"
    ours: float
    baselines: dict[str, float] = field(default_factory=dict)  # computed in the same run, by what they are
    bar: float | None = None  # what it must reach
    lower: bool = False  # is better
    published: str = ""  # what others report, and where

    @property
    def reached(self) -> bool | None:
        """Whether the bar is cleared; None where there is none."""
        if self.bar is None:
            return None
        return self.ours <= self.bar if self.lower else self.ours >= self.bar


class Recipe(Protocol):
    """What a recipe's module says of its model, besides how it is trained."""

    NAME: str  # of its folder under weights/
    TITLE: str
    LANGUAGE: str  # "en" or "zh"
    TASK: str  # the Hub's name for it
    DATA: tuple[str, ...]  # names of sources.SOURCES, those held out included
    BAD_AT: str

    def measure(self, folder: Path, data: Path | None, quick: bool) -> list[Figure]:
        """Return what the saved folder reaches on what was held out, beside its baselines."""

    def what_it_is(self, folder: Path) -> str:
        """Return what the network is, in a sentence or two."""

    def examples(self, folder: Path) -> dict[str, str]:
        """Return Markdown under its headings: what the saved folder answers, none of it chosen afterwards."""


def shown(number: float) -> str:
    """Return a figure as it stands in a table: counts as they are, shares to three places, larger numbers to one."""
    if isinstance(number, int):
        return f"{number:,}"
    return f"{number:.3f}" if number < 2 else f"{number:,.1f}"


def table(figures: list[Figure]) -> str:
    """Return the figures as a Markdown table."""
    rows = []
    for one in figures:
        verdict = "" if one.reached is None else f"{shown(one.bar)}, {'met' if one.reached else 'missed'}"
        beside = "; ".join(f"{name} {shown(found)}" for name, found in one.baselines.items())
        rows.append([one.what + " (lower is better)" * one.lower, shown(one.ours), beside, verdict, one.published])
    return card.table(["measured", "this model", "beside it", "bar", "published"], rows)


def read(results: Path) -> dict[str, dict]:
    """Return all that was measured, by model. Raises RecipeError for a damaged file."""
    try:
        return json.loads(results.read_text("utf-8")) if results.exists() else {}
    except ValueError as error:
        raise RecipeError(f"{results} is damaged: {error}. Delete it and measure again.") from error


def figures(known: dict) -> list[Figure]:
    """Return the figures kept of a model."""
    return [Figure(**one) for one in known.get("figures", [])]


def size_and_speed(known: dict) -> str:
    """Say how large a model is, and how fast under each name it has in the catalogue; "" where that was not measured."""
    lines = [
        f"`{name}` loads in {one['load_seconds']:.2f} s, gives its first answer {one['first_answer_seconds']:.2f} s later, "
        f"and then {one['a_second']:,.1f} {one['unit']} a second ({one['device']}, {one['cores']} cores)."
        for name, one in known.get("speed", {}).items()
    ]
    return " ".join([f"{known['megabytes']:.1f} MB.", *lines]) if lines else ""


def keep(results: Path, name: str, found: dict) -> dict:
    """Put what was found of a model beside what is known of it, write the file, and return all of that model."""
    known = read(results)
    known[name] = known.get(name, {}) | found
    card.put(results, json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return known[name]


def record(
    recipe: Recipe,
    folder: Path,
    data: Path | None,
    results: Path,
    training: str = "",
    quick: bool = False,
    **beside: Path,
) -> list[Figure]:
    """Measure a saved folder, keep the figures, write the folder's card from them, and return them.

    `training` says how it was trained, in a sentence; empty: what is known of that stays. `beside` is what else this
    recipe's `measure` takes.
    """
    measured = recipe.measure(folder, data, quick, **beside)
    found = {"figures": [asdict(one) for one in measured]} | ({"training": training} if training else {})
    known = keep(results, recipe.NAME, found)
    card.write(
        folder,
        title=recipe.TITLE,
        language=recipe.LANGUAGE,
        task=recipe.TASK,
        sections={
            "What it is": recipe.what_it_is(folder),
            "Training": known.get("training", ""),
            "Data": card.data_table(list(recipe.DATA)) if recipe.DATA else "",
            "Evaluation": table(measured),
            "Size and speed": size_and_speed(known),
            **recipe.examples(folder),
            "What it is bad at": recipe.BAD_AT,
        },
    )
    print(table(measured), flush=True)
    return measured
