"""Measure every model on board: how good it is beside its baselines, how large, how fast.

    python -m training.evaluate --data FOLDER [--start FOLDER] [--only NAME] [--quick]

Prints one table a model and writes training/results.json, the model cards and weights/README.md. Each model's speed is
taken in a process of its own that has imported everything before the clock starts.
"""

import argparse
import importlib
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from core import models, tasks
from core.catalogue import CATALOGUE
from core.devices import device
from core.errors import VisitorError
from core.models import Model
from core.results import Settings
from training import card, recipe, report
from training.loop import RecipeError

RECIPES = ("english", "storyteller", "shapes", "chinese", "poet")  # modules of training/, folders of weights/
WEIGHTS = Path("weights")
SIZE_BAR, LOAD_BAR, FIRST_BAR = 128, 2.0, 1.0  # MB of all folders together; seconds; seconds
SECONDS = 3.0  # to answer in, over and over
ASKED = {
    ("masking", "en"): "The old house on the hill was quiet, but we could hear somebody singing in the [MASK].",
    ("sentiment", "en"): "The plot is thin and the jokes fall flat, but the music is wonderful.",
    ("generation", "en"): "Once upon a time there was a little fox who",
    ("masking", "zh"): "医生说[MASK]今天来晚了。",
    ("sentiment", "zh"): "房间很干净，服务员也很热情，下次还会再来。",
    ("generation", "zh"): "床前明月光，",
    ("vqa", "en"): "How many red circles are there?",
}
PICTURE = Path("demos/static/scenes/two-red-circles.png")


def answers(model: Model, asked: str, why: bool) -> Iterator[None]:
    """Yield once an answer, or once a token, to the same question over and over; `why`: with what the tab says of it."""
    task = model.card.tasks[0]
    while True:
        if task == "generation":
            yield from (None for _ in tasks.generate(model, asked, Settings(length=60)))
            continue
        if task == "masking":
            tasks.fill_mask(model, asked, why=why)
        elif task == "sentiment":
            tasks.judge(model, asked, why=why)
        else:
            tasks.answer(model, PICTURE, asked, why=why)
        yield


def speed(name: str) -> dict:
    """Return how long a model of the catalogue takes to load and to answer first, and how much it answers after that."""
    where = device()  # the first look at a device takes its time, whatever the model
    began = time.perf_counter()
    try:
        model = models.load(name)
        loaded = time.perf_counter()
        asked = ASKED[model.card.tasks[0], model.card.languages[0]]
        next(answers(model, asked, why=True))
        first = time.perf_counter()
        count, running = 0, answers(model, asked, why=False)
        while (took := time.perf_counter() - first) < SECONDS:
            next(running)
            count += 1
    except VisitorError as error:
        raise RecipeError(f"{name} cannot be used: {error}.") from error
    return {
        "device": where.name,
        "cores": torch.get_num_threads(),
        "load_seconds": round(loaded - began, 2),
        "first_answer_seconds": round(first - loaded, 2),
        "a_second": round(count / took, 1),
        "unit": "tokens" if model.card.tasks[0] == "generation" else "answers",
    }


def sizes(name: str) -> dict:
    """Return how large a folder of weights/ is, and how fast each model of the catalogue that reads it."""
    folder = WEIGHTS / name
    cards = [one.name for one in CATALOGUE if one.repo == f"weights/{name}"]
    found = {}
    for one in cards:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            found[one] = alone.submit(speed, one).result()
    return {"megabytes": round(card.megabytes(folder), 1), "parameters": parameters(folder), "speed": found}


def parameters(folder: Path) -> int:
    """Return how many weights a folder's file holds. Raises RecipeError where it cannot be read."""
    try:
        with open(folder / "model.safetensors", "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{folder / 'model.safetensors'} cannot be read: {error}. Train it again.") from error
    shapes = (tensor["shape"] for name, tensor in header.items() if name != "__metadata__")
    return sum(torch.Size(shape).numel() for shape in shapes)


def evaluate(name: str, chosen: argparse.Namespace) -> None:
    """Measure one model; keep what was found and write its card, but for a quick look."""
    folder = WEIGHTS / name
    if not (folder / "config.json").is_file():
        raise RecipeError(f"{folder} is missing. Train it: python -m training.{name} --help")
    made = importlib.import_module(f"training.{name}")
    beside = {"start": chosen.start} if chosen.start and name == "english" else {}
    print(f"\n# {made.TITLE}\n", flush=True)
    if chosen.quick:
        print(report.table(made.measure(folder, chosen.data, True, **beside)), flush=True)
        return
    report.keep(report.RESULTS, name, sizes(name))
    report.record(made, folder, chosen.data, report.RESULTS, **beside)


def page(known: dict[str, dict]) -> str:
    """Return the page about all the weights: every figure, every size, every speed."""
    found = {name: known[name] for name in RECIPES if name in known and "speed" in known[name]}
    rows = []
    for one in found.values():
        about = [f"{one['megabytes']:.1f}", f"{one['parameters'] / 1e6:.1f}"]
        rows += [[name, *about, *speeds(quick)] for name, quick in one["speed"].items()]
    heads = ["model", "MB", "million parameters", "loads, s", "first answer with its why, s", "after that"]
    total = sum(one["megabytes"] for one in found.values())
    machines = {
        f"{quick['device']}, {quick['cores']} cores" for one in found.values() for quick in one["speed"].values()
    }
    parts = [
        "# The models on board",
        "What `python -m training.evaluate --data FOLDER --start FOLDER` measured; each folder's own page says what the "
        "model is, what it learned from, and what it is bad at.",
        f"Together they are {total:.1f} MB, and may be {SIZE_BAR} ({verdict(total, SIZE_BAR)}). A model must load within "
        f"{LOAD_BAR:g} s and give its first answer within {FIRST_BAR:g} s more; measured on {' and '.join(sorted(machines))}. "
        "A reader and its sentiment twin are two heads in one folder.",
        card.table(heads, rows),
    ]
    for name, one in known.items():
        if name in RECIPES:
            parts += [f"## {name}", report.table(report.figures(one))]
    return "\n\n".join(parts) + "\n"


def speeds(found: dict) -> list[str]:
    """Return the cells of a table that say how fast a model is."""
    load, first = found["load_seconds"], found["first_answer_seconds"]
    after = f"{found['a_second']:,.1f} {found['unit']} a second"
    return [f"{load:.2f} ({verdict(load, LOAD_BAR)})", f"{first:.2f} ({verdict(first, FIRST_BAR)})", after]


def verdict(found: float, most: float) -> str:
    """Say whether a bar is kept."""
    return "met" if found <= most else "missed"


def main(arguments: list[str] | None = None) -> None:
    """Measure all models, or one; a model that cannot be measured is named, the others are, and the exit is 2."""
    options = recipe.Parser("evaluate", "Measure every model on board.")
    options.add_argument("--data", type=Path, required=True, help="folder of the training sets")
    options.add_argument("--start", type=Path, help="folder of all-MiniLM-L6-v2: the English reader before training")
    options.add_argument("--only", choices=RECIPES, help="measure this one alone")
    options.add_argument("--quick", action="store_true", help="a look at a few examples: nothing is written")
    chosen = options.parse_args(arguments)
    failed = []
    for name in [chosen.only] if chosen.only else RECIPES:
        try:
            evaluate(name, chosen)
        except RecipeError as error:
            print(error, file=sys.stderr, flush=True)
            failed.append(name)
    if not chosen.quick:
        card.put(WEIGHTS / "README.md", page(report.read(report.RESULTS)))
    if failed:
        raise RecipeError(f"Not measured: {', '.join(failed)}.")


if __name__ == "__main__":
    recipe.run(main)
