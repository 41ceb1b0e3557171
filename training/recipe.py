"""What every recipe says at the terminal: its options, and one clear line when something is wrong."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from transformers.utils import logging

from training.loop import RecipeError
from training.report import RESULTS

RUNS = Path("training/runs")


class Parser(argparse.ArgumentParser):
    """Options of a module of this folder; an unknown one is answered in one line."""

    def __init__(self, name: str, purpose: str):
        super().__init__(prog=f"python -m training.{name}", description=purpose)
        self.name = name

    def error(self, message: str) -> NoReturn:
        raise RecipeError(f"{message} (--help lists the options)")


class Options(Parser):
    """The options all recipes share."""

    def __init__(self, name: str, purpose: str, steps: int, needs_data: bool = True):
        super().__init__(name, purpose)
        if needs_data:
            self.add_argument("--data", type=Path, required=True, help="folder of the training sets")
        self.add_argument("--steps", type=int, default=steps, help=f"optimiser steps ({steps:,})")
        self.add_argument("--out", type=Path, help=f"folder to write (weights/{name})")
        self.add_argument("--seed", type=int, default=0)
        self.add_argument("--checkpoints", type=Path, default=RUNS, help=f"where a cut-off run goes on from ({RUNS})")
        self.add_argument("--quick", action="store_true", help="seconds instead of hours, to see that all works")

    def parse(self, arguments: list[str] | None) -> argparse.Namespace:
        """Return the options, and the files of this run: `checkpoint`, to go on from, and `results`, for what is measured.

        A quick run, or one that writes elsewhere, keeps off the real one's paths.
        """
        chosen = self.parse_args(arguments)
        if chosen.steps < 1:
            self.error("--steps must be 1 or more")
        name = f"{self.name}-quick" if chosen.quick else self.name
        chosen.checkpoint = chosen.checkpoints / f"{name}-seed{chosen.seed}.pt"
        chosen.out = chosen.out or (chosen.checkpoints / name if chosen.quick else Path("weights") / name)
        real = chosen.out == Path("weights") / self.name
        chosen.results = RESULTS if real else chosen.out.with_name(f"{chosen.out.name}-results.json")
        return chosen


def run(recipe: Callable[[], None]) -> None:
    """Run a recipe; say what the person can put right in one line, and exit with 2."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        recipe()
    except RecipeError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
