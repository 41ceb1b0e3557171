"""How long it takes from a model's folder to its first answer, and what memory that takes, beside plain Transformers.

`python -m benchmarks.loading [--quick]`. Random networks of the sizes of GPT-2 and BERT-base are saved as the Hub would hand
them out; nothing is fetched. Ours reads one the way the app does and answers with every probability, though not yet with a
why; as in the app, the first run of all looks it through as well (every weight finite, a look that comes out finite), the
others need not. Plain is `from_pretrained`, the tokenizer, and one forward pass, in float32 as well. Each run is a process of
its own that has imported everything before the clock starts; ours and plain take turns, and the median of the ratios of
neighbours is told. The files have just been written, so the system has them in memory.

Peak: what the process holds at most while loading and answering, above what it held before, in whole and without the pages
of mapped files, which the system takes back when it needs them. Weights: four bytes each, as both ways read them.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import transformers

from benchmarks.attention import forget_peak, in_a_process, peak
from benchmarks.generation import save
from benchmarks.report import bar, report
from core import checkpoints, models, tasks
from core.catalogue import ModelCard
from core.results import Settings

TIME_BAR, PEAK_BAR = 1.1, 1.2  # times plain; times the weights
PROMPT = "the cat sat on the mat and saw a"


SUBJECTS = (  # (name, configuration, class, task, precision of the file)
    ("GPT-2's size", transformers.GPT2Config, "AutoModelForCausalLM", "generation", torch.float32),
    ("BERT-base's size", transformers.BertConfig, "AutoModelForMaskedLM", "masking", torch.float32),
    ("GPT-2's size, bfloat16", transformers.GPT2Config, "AutoModelForCausalLM", "generation", torch.bfloat16),
)
QUICK_SIZES = {
    "vocab_size": 1_000, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128
}  # fmt: skip


def ours(card: ModelCard) -> None:
    """Read a network the way the app does, and answer."""
    model = models.read(card)
    if card.tasks == ("masking",):
        tasks.fill_mask(model, f"{PROMPT} [MASK]", why=False)
    else:
        next(tasks.generate(model, PROMPT, Settings(length=1)))


def plain(card: ModelCard) -> None:
    """Read a network as anybody does, and look once."""
    network = getattr(transformers, card.auto).from_pretrained(card.repo, dtype=torch.float32)
    pieces = transformers.AutoTokenizer.from_pretrained(card.repo)
    with torch.inference_mode():
        network(**pieces(PROMPT, return_tensors="pt", return_token_type_ids=False)).logits[0, -1].softmax(-1)


def measure(way: Callable, card: ModelCard) -> dict:
    """Return the seconds a way takes, and its peak in bytes, in whole and without mapped files."""
    place = models.device()  # the first look at a device takes its time, with either way
    before, mapped = forget_peak(), files_mapped()
    began = time.perf_counter()
    way(card)
    seconds = time.perf_counter() - began
    if place.place.type == "cuda":
        torch.cuda.synchronize()
    whole = peak() - before
    return {"seconds": seconds, "peak": whole, "held": whole - max(0, files_mapped() - mapped)}


def files_mapped() -> int:
    """Return the bytes of mapped files this process has in memory, 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssFile"))


def compare(card: ModelCard, runs: int) -> tuple[dict, float, float]:
    """Return a row of the table, its seconds as times plain's, and its peak as times the weights."""
    weights = 4 * checkpoints.weights_in(card, Path(card.repo)).parameters
    found: dict[str, list[dict]] = {"ours": [], "plain": []}
    for number in range(runs):
        ways = (ours, plain) if number % 2 else (plain, ours)
        for way in ways:
            found[way.__name__].append(in_a_process(measure, way, card))
    pairs = zip(found["ours"], found["plain"], strict=True)
    times = statistics.median(one["seconds"] / other["seconds"] for one, other in pairs)
    row = {"model": card.name, "weights MB": round(weights / 1e6), "times plain": round(times, 2)}
    for name, all_runs in found.items():
        row[f"{name} s"] = round(statistics.median(one["seconds"] for one in all_runs), 2)
        for kind in ("peak", "held"):
            row[f"{name} {kind} / weights"] = round(statistics.median(one[kind] for one in all_runs) / weights, 2)
    return row, times, row["ours peak / weights"]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny networks, to see that it works")
    quick = parser.parse_args().quick
    rows, bars = [], []
    for name, config, auto, task, dtype in SUBJECTS[: 2 if quick else None]:
        with tempfile.TemporaryDirectory() as folder:
            card = save(config(**(QUICK_SIZES if quick else {})), name, Path(folder), dtype, auto, task)
            card = replace(card, shelf="hub")  # as one that was fetched, and verified then
            row, times, share = compare(card, 1 if quick else 5)
        rows.append(row)
        bars.append(bar(f"{name}: first answer, times plain", times, TIME_BAR))
        bars.append(bar(f"{name}: peak while loading, times the weights", share, PEAK_BAR))
    report("loading-quick" if quick else "loading", rows, bars)


if __name__ == "__main__":
    main()
