"""How fast stories are written: alone beside generate(), eight at once, against the memory's speed, and up to the screen.

`python -m benchmarks.generation [--quick]`. Written by the storyteller on board and by a random network of GPT-2's size, on
a card also by one of Qwen3-0.6B's shape in bfloat16: nothing is downloaded. Everything is read the way the app reads models.

Ours makes every Step, with the full softmax; generate() makes none, and a streamer listens that does nothing. Both draw at
temperature 0.8 from the whole vocabulary, and neither ends before the length. A speed is a whole story's, prompt and all.
What is compared is run in turn, and the median of the ratios of neighbouring runs is told. "At once" is the first story a
process writes, right after reading the model, while its weights are packed; "warm" is after all preparations, on a card with
the pass compiled where that pays.

The share of the memory's limit is (tokens a second) x (bytes of weights read a token) / (bytes a second that summing one GiB
of float32 reads). Counted are all weights the network holds, as they are kept, but for embeddings: these are looked up, and
count only where they are the head as well. What keys and values take is left out. A small network fits into the processor's
cache, and is not bound to that limit.

On the page the model is a stand-in that lets go of 20 tokens a second, each stamped with the clock: no model slows it down.
A token is painted when the page is done with the first frame whose strip holds it; see streamed.js.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers.generation.streamers import BaseStreamer

from benchmarks.attention import chromium, chromium_path, fitting, in_a_process, tokenizer
from benchmarks.report import bar, report
from benchmarks.startup import ROOT, started
from core import catalogue, decoding, limits, loading, models, tasks
from core.catalogue import ModelCard
from core.models import Model
from core.results import Ranking, Settings, Step
from core.runner import run_here

TEMPERATURE = 0.8
ONCE_BAR, WARM_BAR = 1.0, 2.0  # times generate()
EIGHT_BAR, FIRST_BAR = 3.0, 2.0  # times one after another; the last first token, times the first one
PAINT_BAR = 30  # milliseconds from the loop's yield to the paint
GROWTH, SLACK = 1.25, 5  # the last tokens may take so many times the first ones, and so many milliseconds more
STORIES = 8
PACE = 20  # tokens a second that the page's stand-in lets go of
STAMP = 10_000_000  # milliseconds after which stamps begin anew
APART, LATER = "times one after another", "last first token, times the first one"
PAINTED, FIRST_ONES, LAST_ONES = "ms to the paint, p50", "ms to the paint, first ones", "ms to the paint, last ones"
QWEN_NAME = "random, Qwen3-0.6B's shape"
Writer = Callable[[str, int, int], object]  # writes a story: (prompt, tokens to write, seed)


@dataclass(frozen=True)
class Rival:
    """generate(), and how it is set."""

    name: str = "generate()"
    dtype: torch.dtype = torch.float32
    options: dict = field(default_factory=dict)  # of generate()


PLAIN = Rival()
HALF = Rival("generate() in bfloat16", torch.bfloat16)
COMPILED = Rival("generate() in bfloat16, static cache, compiled", torch.bfloat16, {"cache_implementation": "static"})


@dataclass(frozen=True)
class Contest:
    """A network, and what it is measured beside."""

    card: ModelCard
    rivals: tuple[Rival, ...]  # the bars are about the first one


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    prompts: tuple[int, ...] = (12, 200)  # tokens
    length: int = 80  # tokens of a story: what the page begins with
    rounds: int = 7  # how often stories are written, side by side
    starts: tuple[int, ...] = (4, 4, 2)  # parallel to the networks: processes that write their first story, each way
    memory: int = 1 << 28  # numbers summed to see how fast memory is read
    shown: int = limits.STORY_TOKENS  # tokens of a story on the page
    edge: int = 100  # of these, the first and the last ones are compared
    visits: int = 2  # stories on the page, after one that warms it up
    network: dict = field(default_factory=dict)  # what is not as in GPT-2


FULL = Scale()
QUICK = Scale((12,), 8, 2, (0, 1), 1 << 22, 24, 8, 1, {"n_embd": 32, "n_layer": 2, "n_head": 4})
QWEN = {
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
}  # fmt: skip


def contests(folder: Path, scale: Scale) -> list[Contest]:
    """Return what is measured on this device; random networks are saved to the folder."""
    gpt2 = save(transformers.GPT2Config(**scale.network), "random, GPT-2's size", folder / "gpt2", torch.float32)
    found = [Contest(card, (PLAIN, HALF)) for card in (catalogue.find("storyteller"), gpt2)]
    if models.device().place.type == "cuda" and scale is FULL:
        card = save(transformers.Qwen3Config(**QWEN), QWEN_NAME, folder / "qwen3", torch.bfloat16)
        found.append(Contest(card, (COMPILED,)))
    return found


def save(
    config: transformers.PretrainedConfig,
    name: str,
    folder: Path,
    dtype: torch.dtype,
    auto: str = "AutoModelForCausalLM",
    task: str = "generation",
) -> ModelCard:
    """Save a random network and a tokenizer of as many words as it knows; return the card it is read by."""
    torch.manual_seed(0)
    getattr(transformers, auto).from_config(config, dtype=dtype).save_pretrained(folder)
    pieces = tokenizer(config.vocab_size - 1)
    pieces.add_special_tokens({"mask_token": "[MASK]"})
    pieces.save_pretrained(folder)
    return ModelCard(name, (task,), str(folder), auto, shelf="folder")


def read(card: ModelCard) -> Model:
    """Read a model as the app does; it writes on past what ends a text."""
    model = models.read(card)
    model.network.generation_config.eos_token_id = model.tokenizer.eos_token = None
    return model


def settings(length: int, seed: int) -> Settings:
    """Return how all stories are drawn."""
    return Settings(temperature=TEMPERATURE, length=length, seed=seed)


# The two sides: what writes a story.


@dataclass(frozen=True)
class Told:
    """A story that was written, and when its first token was there."""

    tokens: tuple[int, ...]
    first: float  # of time.perf_counter()


def tell(model: Model, prompt: str, length: int, seed: int) -> Told:
    """Write a story with our loop, every Step made."""
    tokens, first = [], None
    for step in tasks.generate(model, prompt, settings(length, seed)):
        first = first or time.perf_counter()
        tokens.append(step.token)
    check_length(len(tokens), length)
    return Told(tuple(tokens), first)


def check_length(written: int, length: int) -> None:
    """Stop where a story ended too soon: its speed would say nothing."""
    if written != length:
        raise RuntimeError(f"a story ended after {written} of {length} tokens")


def theirs(card: ModelCard, rival: Rival) -> Writer:
    """Return what writes with generate()."""
    folder = ROOT / card.repo
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=rival.dtype, attn_implementation="sdpa")
    network.to(models.device().place).generation_config.eos_token_id = None
    pieces = transformers.AutoTokenizer.from_pretrained(folder)
    drawn = {"do_sample": True, "temperature": TEMPERATURE, "top_k": 0, "pad_token_id": 0, **rival.options}

    def write(prompt: str, length: int, seed: int) -> None:
        torch.manual_seed(seed)
        ids = pieces(prompt, return_tensors="pt")["input_ids"].to(network.device)
        mask, listener = torch.ones_like(ids), Listener()
        found = network.generate(ids, attention_mask=mask, max_new_tokens=length, streamer=listener, **drawn)
        check_length(found.shape[1] - ids.shape[1], length)

    return write


class Listener(BaseStreamer):
    """Takes every token and does nothing with it: no streamer costs generate() less."""

    def put(self, value: torch.Tensor) -> None:
        pass

    def end(self) -> None:
        pass


def speed(write: Writer, prompt: str, length: int, seed: int) -> float:
    """Return the tokens a second of a story."""
    began = time.perf_counter()
    write(prompt, length, seed)
    return length / (time.perf_counter() - began)


def first_speed(card: ModelCard, rival: Rival | None, prompt: str, length: int, seed: int) -> float:
    """Return the tokens a second of the first story of this process; without a rival it is ours."""
    return speed(theirs(card, rival) if rival else partial(tell, read(card)), prompt, length, seed)


def side_by_side(ways: Sequence[Callable[[int], float]], rounds: int) -> list[list[float]]:
    """Run all ways each round, in the other order every other time: what each returns, given the round's number."""
    found = [[] for _ in ways]
    for number in range(rounds):
        for at in sorted(range(len(ways)), reverse=bool(number % 2)):
            found[at].append(ways[at](number))
    return found


def compared(mine: list[float], beside: dict[str, list[float]]) -> dict[str, float]:
    """Return the middle speeds, and the middle of how many times each other one ours is."""
    row = {"tokens/s": round(statistics.median(mine), 1)}
    for name, speeds in beside.items():
        times = statistics.median(one / other for one, other in zip(mine, speeds, strict=True))
        row |= {f"tokens/s, {name}": round(statistics.median(speeds), 1), f"times {name}": round(times, 3)}
    return row


def measure_first(contest: Contest, scale: Scale, starts: int) -> list[dict]:
    """Write the first story right after reading the model, each in a process of its own, in turn."""
    rows, card, rival = [], contest.card, contest.rivals[0]
    pieces = transformers.AutoTokenizer.from_pretrained(ROOT / card.repo)
    for tokens in scale.prompts if starts else ():
        prompt = fitting(pieces, tokens, 0)
        ways = [partial(in_a_process, first_speed, card, side, prompt, scale.length) for side in (None, rival)]
        mine, other = side_by_side(ways, starts)
        rows.append(
            {"what": "one story, at once", "network": card.name, "prompt": tokens} | compared(mine, {rival.name: other})
        )
    return rows


def measure_warm(model: Model, rivals: Sequence[Rival], scale: Scale, bandwidth: float) -> list[dict]:
    """Write one story after another with each side, in turn."""
    writers = [partial(tell, model), *(theirs(model.card, rival) for rival in rivals)]
    rows, weights = [], bytes_read(model)
    decoding.warm_up(model)
    await_compiled()
    for tokens in scale.prompts:
        prompt = fitting(model.tokenizer, tokens, 0)
        ways = [partial(speed, write, prompt, scale.length) for write in writers]
        side_by_side(ways, 2)  # warms up
        mine, *others = side_by_side(ways, scale.rounds)
        row = {"what": "one story, warm", "network": model.card.name, "prompt": tokens}
        row |= {"compiled": decoding.table_of(model).compiled} if model.device.place.type == "cuda" else {}
        row |= compared(mine, {rival.name: speeds for rival, speeds in zip(rivals, others, strict=True)})
        share = round(statistics.median(mine) * weights / bandwidth, 3)
        rows.append(row | {"bytes of weights a token": weights, "of the memory's limit": share})
    return rows


def await_compiled() -> None:
    """Wait until passes that are compiled behind the page are taken, or not."""
    queue = models.device().queue
    queue.run(list)  # after what began it
    for thread in threading.enumerate():
        if thread.name == "compiling":
            thread.join()
    queue.run(list)  # after what takes it


def bytes_read(model: Model) -> int:
    """Return the bytes of weights that one token reads."""
    head = getattr(model.network.get_output_embeddings(), "weight", None)
    tables = [module.weight for module in model.network.modules() if isinstance(module, torch.nn.Embedding)]
    return models.size(model) - sum(table.nbytes for table in tables if table is not head)


def measure_bandwidth(numbers: int) -> float:
    """Return the bytes a second the device reads at best when it sums so many float32 numbers."""
    many = torch.ones(numbers, device=models.device().place)
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        many.sum().item()
        seconds.append(time.perf_counter() - began)
    return many.nbytes / min(seconds)


def measure_eight(model: Model, scale: Scale) -> list[dict]:
    """Write eight stories one after another and all at once, in turn."""
    prompts = [fitting(model.tokenizer, 8 + 10 * number, number) for number in range(STORIES)]
    apart, company, waits = {}, {}, []

    def one_after_another(number: int) -> float:
        began = time.perf_counter()
        apart[number] = [tell(model, prompt, scale.length, number + at) for at, prompt in enumerate(prompts)]
        return STORIES * scale.length / (time.perf_counter() - began)

    def at_once(number: int) -> float:
        began = []
        barrier = threading.Barrier(STORIES, lambda: began.append(time.perf_counter()))

        def start(at: int) -> Told:
            barrier.wait()
            return tell(model, prompts[at], scale.length, number + at)

        with ThreadPoolExecutor(STORIES) as pool:
            company[number] = list(pool.map(start, range(STORIES)))
        seconds = time.perf_counter() - began[0]
        waits.append(sorted(told.first - began[0] for told in company[number]))
        return STORIES * scale.length / seconds

    ways = [at_once, one_after_another]
    side_by_side(ways, 1)  # warms up
    waits.clear()
    together, alone = side_by_side(ways, scale.rounds)
    alike = [
        sum(one.tokens == other.tokens for one, other in zip(apart[number], company[number], strict=True))
        for number in range(scale.rounds)
    ]
    firsts, lasts = [wait[0] for wait in waits], [wait[-1] for wait in waits]
    later = statistics.median(last / first for first, last in zip(firsts, lasts, strict=True))
    row = {"what": "eight stories at once", "network": model.card.name}
    row |= compared(together, {"one after another": alone})
    row |= {
        "seconds to the first story's first token": round(statistics.median(firsts), 3),
        "seconds to the last story's": round(statistics.median(lasts), 3),
        LATER: round(later, 3),
        "stories that are the same alone": min(alike),
    }
    return [row]


# The page.


def measure_page(scale: Scale) -> list[dict]:
    """Watch stories of stamped tokens appear on the page."""
    if not chromium_path():
        return [{"what": "page", "left out": "there is no Chromium: apt-get install chromium"}]
    command = [sys.executable, "-m", "benchmarks.generation", "--page", *["--quick"] * (scale is QUICK)]
    with started(command) as (address, _), chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        page.add_init_script(path=ROOT / "benchmarks" / "streamed.js")
        page.goto(address)
        page.get_by_role("tab", name="Write", exact=True).first.click()
        button = page.locator("[role=tabpanel]:visible button.primary").first
        for visit in range(scale.visits + 1):
            button.click()
            found = page.evaluate("streamed", scale.shown * (visit + 1))
            page.wait_for_timeout(1_000)  # the story's own end
    stories = np.array(found).reshape(scale.visits + 1, scale.shown, -1)[1:]  # (story, token, stamp and milliseconds)
    return [page_row(stories, scale.edge)]


def page_row(stories: np.ndarray, edge: int) -> dict:
    """Sum up stories: int[story, token, 4], of each token its stamp and ms to the strip, the paint and the next frame."""
    stamps, strip, paint, following = np.moveaxis(stories, -1, 0)
    seconds = (stamps[:, -1] - stamps[:, 0]) % STAMP / 1000
    count = paint.shape[1]
    slope = np.polyfit(np.tile(np.arange(count), len(paint)), paint.ravel(), 1)[0]
    return {
        "what": "page",
        "tokens of a story": count,
        "tokens/s": round(float(np.median((count - 1) / seconds)), 1),
        "ms to the strip": float(np.median(strip)),
        PAINTED: float(np.median(paint)),
        "ms to the paint, p95": round(float(np.percentile(paint, 95)), 1),
        "ms to the frame after it": float(np.median(following)),
        FIRST_ONES: float(np.median(paint[:, :edge])),
        LAST_ONES: float(np.median(paint[:, -edge:])),
        "ms more a hundred tokens": round(100 * float(slope), 2),
    }


def serve(scale: Scale) -> None:
    """Serve the app; stories are stamped tokens, and everything else is as always."""
    import app

    def run(task: Callable, model_name: str, *inputs: object) -> object:
        return stamped(scale.shown) if task is tasks.generate else run_here(task, model_name, *inputs)

    app.build(run).launch(theme=app.THEME, css_paths=[app.PAGE_CSS], footer_links=[], run_history=False)


def stamped(count: int) -> Iterator[Step]:
    """Let go of so many Steps as large as real ones, in time; the text of each is when that was."""
    logs = torch.randn(50_257, generator=torch.Generator().manual_seed(0)).mul(3).log_softmax(-1)
    logs = logs.sort(descending=True).values[: limits.RIVALS_KEPT].numpy()
    places = tuple(range(limits.CHOICES))
    chances = tuple(float(np.exp(logs[place])) for place in places)
    rivals = Ranking(tuple(f"word{place}" for place in places), chances)
    step = Step("", 0, chances[0], rivals, places, logs, places, 50_257)
    uneven, due = np.random.default_rng(0), time.perf_counter()  # an even pace would keep step with the screen's frames
    for number in range(count):
        time.sleep(max(0, due - time.perf_counter()))
        due = max(due, time.perf_counter()) + uneven.uniform(0.5, 1.5) / PACE
        place = number % limits.CHOICES
        step = replace(step, token=place, probability=chances[place], log_probabilities=logs.copy())
        yield replace(step, text=f" {int(1000 * time.time()) % STAMP:07d}")


BARS = {  # what a row is about: how the name of what it measured begins, what that must reach, which is better
    "one story, at once": [("times ", ONCE_BAR, "higher")],
    "one story, warm": [("times ", WARM_BAR, "higher")],
    "eight stories at once": [(APART, EIGHT_BAR, "higher"), (LATER, FIRST_BAR, "lower")],
    "page": [(PAINTED, PAINT_BAR, "lower")],
}


def bars_of(rows: list[dict]) -> list[dict]:
    """Hold the rows that were measured against what they must reach."""
    found = []
    for row in rows:
        where = ", ".join(str(row[part]) for part in ("what", "network") if part in row)
        where += f", prompt of {row['prompt']}" if "prompt" in row else ""
        for begins, limit, better in BARS.get(row["what"], ()):
            measured = [name for name in row if name.startswith(begins)][:1]  # of several rivals the first
            found += [bar(f"{where}: {name}", row[name], limit, better) for name in measured]
        if LAST_ONES in row:
            found.append(bar(f"{where}: {LAST_ONES}", row[LAST_ONES], round(GROWTH * row[FIRST_ONES] + SLACK, 1)))
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny network and short stories, to see that it works")
    parser.add_argument("--page", action="store_true", help="only serve the page with the stand-in behind it")
    asked = parser.parse_args()
    scale = QUICK if asked.quick else FULL
    if asked.page:
        return serve(scale)
    bandwidth = measure_bandwidth(scale.memory)
    rows = [{"what": "memory", "GB/s": round(bandwidth / 1e9, 1)}]
    with tempfile.TemporaryDirectory() as folder:
        for contest, starts in zip(contests(Path(folder), scale), scale.starts, strict=False):
            rows += measure_first(contest, scale, starts)
            model = read(contest.card)
            loading.settle(model)
            rows += measure_warm(model, contest.rivals, scale, bandwidth)
            rows += measure_eight(model, scale)
            del model
    if models.device().place.type != "cuda":
        rows.append({"what": QWEN_NAME, "left out": "there is no CUDA card"})
    rows += measure_page(scale)
    report("generation-quick" if asked.quick else "generation", rows, bars_of(rows))


if __name__ == "__main__":
    main()
