"""What attention costs: time, memory, bytes to the browser, and click to painted, beside plain SDPA, eager and BertViz.

`python -m benchmarks.attention [--quick]`. All read with one random network of GPT-2's size in float32: nothing is
downloaded. BertViz is measured where `pip install -r benchmarks/requirements.txt` was run, the page where Chromium is.
"""

import argparse
import contextlib
import ctypes
import gc
import math
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from benchmarks.report import bar, report
from benchmarks.startup import ROOT, started
from core import attention, limits, tasks
from core.attention import Wanted
from core.catalogue import CATALOGUE, ModelCard
from core.models import Device, Model, lean
from core.results import View
from core.tokens import encode

LAYER, HEAD = 5, 3  # the one head
SPEED_BAR = 1.15  # times the plain forward pass, with one head recorded
PASSES_BAR = 0  # forward passes for another head of the same text
MEMORY_BAR = 1 / 10  # of eager's peak above the model
BYTES_BAR, SHARE_BAR = 500_000, 1 / 100  # bytes of a view; of BertViz's HTML
PAINTED_BAR = 1.0  # seconds from click to painted
BERTVIZ_BYTES = 250  # of memory for each weight BertViz writes into its HTML, at most
WARM_UP = 8  # tokens
# What free memory the allocator holds back, for the next tensor, is a process's as well; without it only what is in use is.
ALLOCATORS = {"held": {}, "in use": {"MALLOC_MMAP_THRESHOLD_": "65536"}}
SENTENCES = """The old house on the hill was quiet and dark. My sister and I walked up the road to look at it. A dog ran out of
the garden and stood in front of us. It was small and brown and it did not bark. We could hear somebody singing a song in the
kitchen. The door was open and the light was on. A woman with white hair came out and asked us who we were. She gave us bread
and milk and told us about the town. When she was young there was a school here and a market and a mill by the river. Then the
water came and took the mill away. Nobody could say where it went. We sat by the fire and listened until the rain had stopped.
In the morning the sun was warm and the birds were loud in the trees. The dog went with us as far as the bridge. There it
turned round and went home alone. We have never been back but we often think of the house and the song."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    tokens: tuple[int, int, int]  # of a short, a middling and a long text
    rounds: tuple[int, int, int]  # parallel to tokens: how often everything is timed, side by side
    weighed: tuple[tuple[int, str], ...]  # tokens whose memory is measured, and how memory is given back
    starts: int  # processes in which that is done, each way
    visits: int  # texts put into a page
    network: dict = field(default_factory=dict)  # what is not as in GPT-2


FULL = Scale((128, 512, 1024), (15, 15, 7), ((128, "held"), (512, "held"), (1024, "held"), (1024, "in use")), 3, 7)
QUICK = Scale(
    (16, 32, 64), (2, 2, 2), ((64, "in use"),), 1, 1, {"n_embd": 32, "n_layer": 6, "n_head": 4, "n_positions": 64}
)


def words(count: int, number: int) -> str:
    """Return a text of so many words that begins with another one of the sentences for every number."""
    known = SENTENCES.rstrip(".").replace("\n", " ").split(". ")
    first = number % len(known)
    found = (". ".join(known[first:] + known[:first]) + ".").split()
    return " ".join((found * math.ceil(count / len(found)))[:count])


@cache
def tokenizer(count: int = 50_257) -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer of so many words, by default as many as GPT-2 knows tokens; each word of our sentences is one."""
    known = dict.fromkeys(SENTENCES.split())
    known |= dict.fromkeys(f"word{number}" for number in range(count - len(known)))
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(known)}, unk_token="word0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=1024)


def random_model(scale: Scale) -> Model:
    """Return a random network of GPT-2's size: 124 million numbers."""
    torch.manual_seed(0)
    config = lean(transformers.GPT2Config(**scale.network))
    network = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention.NAME)
    card = ModelCard("random", ("attention",), "", "AutoModelForCausalLM")
    device = Device(torch.device("cpu"), "processor", "CPU")
    return Model(card, network.eval().requires_grad_(False), tokenizer(), device)


# The ways to look, side by side: (model, text, its ids) in, whatever is seen out.


def plain(model: Model, text: str, ids: torch.Tensor, **options: object) -> object:
    """Run the network once, for its next token."""
    with torch.inference_mode():
        return model.network(input_ids=ids, use_cache=False, logits_to_keep=1, **options)


def eager(model: Model, text: str, ids: torch.Tensor) -> object:
    """Have Transformers return the weights of all heads."""
    return plain(model, text, ids, output_attentions=True)


def one_head(model: Model, text: str, ids: torch.Tensor) -> object:
    """Record one head."""
    with attention.watch(model.network, record=Wanted(layers={LAYER}, heads=[HEAD])) as probe:
        plain(model, text, ids)
    return probe.weights


def first_view(model: Model, text: str, ids: torch.Tensor) -> object:
    """Do what the page does with a new text: all heads at a glance, and the sharpest in full."""
    seen = tasks.attend(model, text)
    return seen, tasks.look(model, text, View(*seen.sharpest))


def another_head(model: Model, text: str, ids: torch.Tensor) -> object:
    """Do what the page does when a head is clicked."""
    return tasks.look(model, text, View(LAYER, HEAD))


WAYS: dict[Callable, tuple[str, str]] = {  # its name, and how the network attends
    plain: ("plain forward pass, SDPA", "sdpa"),
    one_head: ("Glassbox, one head's view", attention.NAME),
    eager: ("eager, output_attentions=True", "eager"),
    first_view: ("Glassbox, first view", attention.NAME),
    another_head: ("Glassbox, another head after it", attention.NAME),
}


def ids_of(model: Model, text: str) -> torch.Tensor:
    """Return a text's tokens, int64 (1, token)."""
    return model.inputs(input_ids=encode(model, text, "text", limits.ATTENTION_TOKENS).ids)["input_ids"]


def measure_times(model: Model, tokens: int, rounds: int) -> list[dict]:
    """Time all ways in turn, on another text each round, and count how often each runs the network."""
    seconds, passes = {way: [] for way in WAYS}, {}
    runs = []
    hook = model.network.register_forward_pre_hook(lambda *_: runs.append(1))
    for number in range(rounds + 1):  # the first round warms up
        text = words(tokens, number)
        ids = ids_of(model, text)
        for way, (_, implementation) in WAYS.items():
            model.network.set_attn_implementation(implementation)
            runs.clear()
            began = time.perf_counter()
            seen = way(model, text, ids)
            if number:
                seconds[way].append(time.perf_counter() - began)
            passes[way] = len(runs)
            del seen
    hook.remove()
    ratios = {
        way: [one / other for one, other in zip(found, seconds[plain], strict=True)] for way, found in seconds.items()
    }
    return [
        {
            "what": f"time of {name}", "tokens": tokens, "seconds": round(statistics.median(seconds[way]), 4),
            "times plain": round(statistics.median(ratios[way]), 4), "forward passes": passes[way],
        }
        for way, (name, _) in WAYS.items()
    ]  # fmt: skip


def in_a_process(function: Callable, *inputs: object) -> object:
    """Return what a function finds in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *inputs).result()


def peak_above(way: Callable, tokens: int, scale: Scale) -> int:
    """Return the bytes a way to look takes at its peak above the model that is there, warm, when it begins."""
    model = random_model(scale)
    model.network.set_attn_implementation(WAYS[way][1])
    for count, number in ((WARM_UP, 0), (tokens, 1)):
        text = words(count, number)
        ids = ids_of(model, text)
        before = forget_peak()
        seen = way(model, text, ids)
        found = peak() - before
        del seen
    return found


def forget_peak() -> int:
    """Give back what is free, start to look for the peak anew where Linux lets us, and return the bytes held now."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Return the most bytes of memory this process held since the peak was forgotten, or since it started."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure_memory(scale: Scale) -> list[dict]:
    """Take the peak of each way to look at the texts, each in processes of its own, in turn."""
    rows = []
    for tokens, kind in scale.weighed:
        found = {way: [] for way in (plain, one_head, eager, first_view)}
        os.environ.update(ALLOCATORS[kind])
        for _ in range(scale.starts):
            for way, peaks in found.items():
                peaks.append(in_a_process(peak_above, way, tokens, scale))
        for name in ALLOCATORS[kind]:
            del os.environ[name]
        middle = {way: statistics.median(peaks) for way, peaks in found.items()}
        rows += [
            {
                "what": f"peak memory {kind}, {WAYS[way][0]}", "tokens": tokens,
                "bytes above the model": int(middle[way]), "of eager's": round(middle[way] / max(middle[eager], 1), 4),
            }
            for way in found
        ]  # fmt: skip
    return rows


def bertviz_html(view: str, tokens: int, scale: Scale) -> tuple[int, float]:
    """Return the bytes of the HTML that BertViz makes of all heads, and the seconds it takes after the forward pass."""
    import bertviz

    model, text = random_model(scale), words(tokens, 0)
    model.network.set_attn_implementation("eager")
    weights = eager(model, text, ids_of(model, text)).attentions
    began = time.perf_counter()
    html = getattr(bertviz, view)(weights, text.split(), html_action="return").data
    return len(html), time.perf_counter() - began  # characters and bytes: what BertViz writes is ASCII


def measure_bertviz(scale: Scale) -> list[dict]:
    """Measure both of BertViz's views of all heads, the longest text left out."""
    if not find_spec("bertviz"):
        return [{"what": "BertViz", "left out": "pip install -r benchmarks/requirements.txt"}]
    rows = []
    for tokens in scale.tokens[:2]:
        config = transformers.GPT2Config(**scale.network)
        needed = config.n_layer * config.n_head * tokens**2 * BERTVIZ_BYTES
        for view in ("head_view", "model_view"):
            row = {"what": f"HTML of BertViz, {view}", "tokens": tokens}
            if needed > os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
                rows.append(row | {"left out": f"needs {needed / 1e9:.0f} GB of free memory"})
                continue
            size, seconds = in_a_process(bertviz_html, view, tokens, scale)
            rows.append(row | {"bytes": size, "seconds": round(seconds, 2)})
    return [
        *rows,
        {"what": "HTML of BertViz", "tokens": scale.tokens[2], "left out": "four times the bytes of the last"},
    ]


class Page:
    """The Attention tab in Chromium, what was sent to it, and when it had painted that."""

    def __init__(self, page, layers: int, heads: int):
        self.page, self.layers, self.heads, self.received = page, layers, heads, 0
        self.drawn: set[str] = set()  # requests for pictures the page has drawn itself
        page.set_default_timeout(120_000)
        page.add_init_script(path=ROOT / "benchmarks" / "painted.js")
        network = page.context.new_cdp_session(page)
        network.on("Network.requestWillBeSent", self._note)
        network.on("Network.dataReceived", self._count)
        network.send("Network.enable")

    def _note(self, event: dict) -> None:
        if event["request"]["url"].startswith(("data:", "blob:")):
            self.drawn.add(event["requestId"])

    def _count(self, event: dict) -> None:
        if event["requestId"] not in self.drawn:
            self.received += event["dataLength"]  # as the page reads it, unpacked

    def open(self, address: str) -> None:
        """Open the tab."""
        self.page.goto(address)
        self.page.get_by_role("tab", name="Attention", exact=True).first.click()
        self.panel = self.page.locator("[role=tabpanel]:visible").first
        self.panel.locator("button.primary").first.wait_for()

    def show(self, text: str) -> tuple[float, int]:
        """Put a text in and press the button; return seconds from click to painted, and bytes."""
        self.panel.locator("textarea").first.fill(text)
        return self._clicked(self.panel.locator("button.primary").first.click, drawn=True)

    def choose(self, layer: int, head: int, drawn: bool = True) -> tuple[float, int]:
        """Click a head; return seconds from click to painted, and bytes. drawn: it is not the one shown already."""
        montage = self.panel.locator(".gb-chart .nsewdrag").first
        montage.scroll_into_view_if_needed()
        area = montage.bounding_box()
        across = area["x"] + area["width"] * (head + 0.5) / self.heads
        down = area["y"] + area["height"] * (layer + 0.5) / self.layers
        return self._clicked(self.page.mouse.click, across, down, drawn=drawn)

    def _clicked(self, click: Callable, *place: float, drawn: bool) -> tuple[float, int]:
        self.received = 0
        click(*place)
        return self.page.evaluate("painted", drawn) / 1000, self.received


@contextlib.contextmanager
def chromium() -> Iterator:
    """Start Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def chromium_path() -> str | None:
    """Return where Chromium is, None where there is none, or nothing that drives it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return found if find_spec("playwright") else None


def measure_page(command: list[str], name: str, texts: list[str], layers: int, heads: int) -> list[dict]:
    """Show texts on the page that a command serves, each by its sharpest head and then by two others."""
    firsts, others = [], []
    with started(command) as (address, _), chromium() as browser:
        page = Page(browser.new_page(viewport={"width": 1280, "height": 900}), layers, heads)
        page.open(address)
        for text in texts:
            firsts.append(page.show(text))
            page.choose(0, 0, drawn=False)  # whichever is shown, the next one is another
            others += [page.choose(layers - 1, 1), page.choose(1, 0)]
    rows = []
    for what, found in (("first view", firsts[1:]), ("another head", others[2:])):  # the first text warms up
        seconds, sizes = zip(*found, strict=True)
        times, most = round(statistics.median(seconds), 3), max(sizes)
        rows.append({"what": f"page with {name}, {what}", "seconds from click to painted": times, "bytes": most})
    return rows


def measure_pages(scale: Scale) -> list[dict]:
    """Measure the page with the random network, and the app with a model on board."""
    if not chromium_path():
        return [{"what": "page", "left out": "there is no Chromium: apt-get install chromium"}]
    config, middling = transformers.GPT2Config(**scale.network), scale.tokens[1]
    ours = transformers.AutoTokenizer.from_pretrained(ROOT / CATALOGUE[0].repo)
    board = transformers.AutoConfig.from_pretrained(ROOT / CATALOGUE[0].repo)
    texts = [words(middling, number) for number in range(scale.visits + 1)]
    command = [sys.executable, "-m", "benchmarks.attention", "--page", *["--quick"] * (scale is QUICK)]
    found = measure_page(command, "the random network", texts, config.n_layer, config.n_head)
    texts = [fitting(ours, middling, number) for number in range(scale.visits + 1)]
    command = [sys.executable, "app.py"]
    found += measure_page(command, "english", texts, board.num_hidden_layers, board.num_attention_heads)
    return [{"what": row.pop("what"), "tokens": middling} | row for row in found]


def fitting(pieces: transformers.PreTrainedTokenizerBase, tokens: int, number: int) -> str:
    """Return as many words as make so many tokens at most."""
    return next(
        text for count in range(tokens, 0, -1) if len(pieces(text := words(count, number))["input_ids"]) <= tokens
    )


def serve(scale: Scale) -> None:
    """Serve the app with the random network behind it, whatever model is chosen."""
    import app

    model = random_model(scale)

    def run(task: Callable, model_name: str, *inputs: object) -> object:
        return task(model, *inputs)

    app.build(run).launch(theme=app.THEME, css_paths=[app.PAGE_CSS], footer_links=[], run_history=False)


def bars_of(rows: list[dict], scale: Scale) -> list[dict]:
    """Hold the rows that were measured against what they must reach."""
    by_what = {(row["what"], row.get("tokens")): row for row in rows}
    _, middling, long = scale.tokens

    def found(what: str, tokens: int, key: str) -> float | None:
        return by_what.get((what, tokens), {}).get(key)

    names = {way: name for way, (name, _) in WAYS.items()}
    paint, size = "seconds from click to painted", found("page with the random network, first view", middling, "bytes")
    html = found("HTML of BertViz, head_view", middling, "bytes")
    wanted = [
        (f"one head's view at {middling} tokens, times the plain forward pass",
         found(f"time of {names[one_head]}", middling, "times plain"), SPEED_BAR),
        ("forward passes for another head of the same text",
         found(f"time of {names[another_head]}", middling, "forward passes"), PASSES_BAR),
        (f"one head's view at {long} tokens, peak memory in use, of eager's",
         found(f"peak memory in use, {names[one_head]}", long, "of eager's"), MEMORY_BAR),
        (f"first view at {long} tokens, with what later views need, peak memory in use, of eager's",
         found(f"peak memory in use, {names[first_view]}", long, "of eager's"), MEMORY_BAR),
        (f"first view at {middling} tokens, bytes to the browser", size, BYTES_BAR),
        (f"another head at {middling} tokens, bytes to the browser",
         found("page with the random network, another head", middling, "bytes"), BYTES_BAR),
        (f"first view at {middling} tokens, bytes, of BertViz's HTML", size and html and size / html, SHARE_BAR),
        (f"english, {middling} tokens, click to painted, first view, seconds",
         found("page with english, first view", middling, paint), PAINTED_BAR),
        (f"english, {middling} tokens, click to painted, another head, seconds",
         found("page with english, another head", middling, paint), PAINTED_BAR),
    ]  # fmt: skip
    return [bar(name, measured, limit) for name, measured, limit in wanted if measured is not None]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny network and few rounds, to see that it works")
    parser.add_argument("--page", action="store_true", help="only serve the page with the random network behind it")
    asked = parser.parse_args()
    scale = QUICK if asked.quick else FULL
    if asked.page:
        return serve(scale)
    os.environ["MALLOC_ARENA_MAX"] = "1"  # in the processes to come: what is free is free for all threads
    model = random_model(scale)
    rows = []
    for tokens, rounds in zip(scale.tokens, scale.rounds, strict=True):
        rows += measure_times(model, tokens, rounds)
    del model
    for measure in (measure_memory, measure_bertviz, measure_pages):
        rows += measure(scale)
    report("attention-quick" if asked.quick else "attention", rows, bars_of(rows, scale))


if __name__ == "__main__":
    main()
