"""Whether every model on board answers on this machine's device as on its processor, and gives all its memory back.

`python -m benchmarks.devices`. Every task runs once on each place, and stories again with what their first one prepared: on a
card the compiled pass, where it pays. Told is the largest difference of any probability between them, and what the device's
memory still holds after the models were put away. Without a card the device is the processor itself, and the last row says so.
"""

import argparse
import gc
from collections.abc import Iterator, Sequence
from itertools import chain, repeat

import torch

from benchmarks.generation import await_compiled
from benchmarks.report import bar, report
from benchmarks.startup import SCENE
from core import catalogue, models, tasks
from core.devices import Device
from core.results import Ranking, Settings

FAR_BAR, KEPT_BAR = 1e-3, 0  # of probability: a card rounds otherwise; bytes
TEXTS = {  # by language, and the word that is hidden in it
    "en": (
        "The old house on the hill was quiet and dark, but we could hear somebody singing in the kitchen.",
        "kitchen",
    ),
    "zh": ("山上的老屋又静又暗，可是厨房里有人在唱歌。", "歌"),
}
WRITTEN = tuple(range(300, 320))  # tokens a story is made to take, so that both places read the same


def rankings(task: str, model: models.Model) -> Iterator[Ranking]:
    """Yield everything a task says of how probable something is."""
    text, hidden = TEXTS[model.card.languages[0]]
    if task == "generation":
        for count in range(len(WRITTEN)):  # one more each time: what is known is read at once, and this token by token
            settings = Settings(temperature=0, length=count + 1)
            yield list(tasks.generate(model, text, settings, WRITTEN[:count]))[-1].alternatives
    elif task == "masking":
        yield from tasks.fill_mask(model, text.replace(hidden, "[MASK]"), 100).rankings
    elif task == "sentiment":
        yield tasks.judge(model, text).ranking
    elif task == "vqa":
        yield tasks.answer(model, SCENE, "How many red circles are there?").ranking
    else:
        montage = torch.from_numpy(tasks.attend(model, text).montage.astype("float32") / 255)
        yield Ranking(tuple(map(str, range(montage.numel()))), tuple(montage.flatten().tolist()))


def farthest(one: Sequence[Ranking], other: Sequence[Ranking]) -> float:
    """Return the largest difference of a probability that both rankings name."""
    pairs = chain.from_iterable(
        zip(repeat(second), first.labels, first.probabilities, strict=False)
        for first, second in zip(one, other, strict=True)
    )
    return max(abs(share - second.probability_of(label)) for second, label, share in pairs if label in second.labels)


def measure(name: str, task: str, place: Device) -> list[Ranking]:
    """Return what a model says at a place, once it is prepared."""
    with models.lend(name, task, place) as model:
        if task == "generation":
            list(rankings(task, model))
            await_compiled()
        return list(rankings(task, model))


def held(place: Device) -> int:
    """Return the bytes that tensors hold on a card; 0 on a processor, where nobody counts them."""
    gc.collect()
    return torch.cuda.memory_allocated(place.place) if place.place.type == "cuda" else 0


def main() -> None:
    """Measure and report."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    place, rows, bars = models.device(), [], []
    before = held(place)
    for card in (card for card in catalogue.CATALOGUE if card.shelf == "board"):
        for task in card.tasks:
            there, here = measure(card.name, task, place), measure(card.name, task, models.processor())
            far = farthest(there, here)
            rows.append({"model": card.name, "task": task, "device": place.name, "difference": float(f"{far:.2g}")})
            bars.append(bar(f"{card.name}, {task}: difference of a probability", far, FAR_BAR))
    models.evict_idle()
    kept = held(place) - before
    rows.append({"what": "device", "name": place.name, "a card": place.place.type == "cuda", "bytes kept": kept})
    bars.append(bar("bytes kept on the device after the models were put away", kept, KEPT_BAR))
    report("devices", rows, bars)


if __name__ == "__main__":
    main()
