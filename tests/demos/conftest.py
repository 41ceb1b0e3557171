"""A fake runner with hand-written results, and one tab at a time: no model, no torch, no server."""

import ast
import asyncio
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from gradio.state_holder import SessionState

import core
from core.errors import NoSuchPart
from core.results import (
    Answer,
    Attention,
    Beam,
    Beams,
    Filling,
    Gaze,
    Habit,
    Lens,
    PatchCover,
    PatchMap,
    Ranking,
    Saliency,
    Settings,
    Step,
    Verdict,
    View,
    WhatIf,
)
from demos.words import Words

TASKS = Path(core.__file__).parent / "tasks"
VOCABULARY = (" fox", " ran", " <b>home</b>", ".", "\n", " ") + ("",)  # the last one is a character not whole yet
WINDOW = 512  # limits.WINDOW_TOKENS
HABITS = (
    Habit(0, 1, "previous", 0.83),
    Habit(1, 2, "after_same", 0.6),
    Habit(1, 0, "sink", 0.9),
    Habit(0, 2, "even", 0.8),
)
CHANCES = (0.4, 0.25, 0.15, 0.1, 0.06, 0.03, 0.01)


def stand_ins() -> SimpleNamespace:
    """Return core.tasks without torch: functions of the same names, modules and parameters, that do nothing."""
    names = {}
    for node in ast.parse((TASKS / "__init__.py").read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            file = ast.parse((TASKS / f"{node.module.rpartition('.')[2]}.py").read_text("utf-8"))
            for found in file.body:
                if isinstance(found, ast.FunctionDef) and found.name in {name.name for name in node.names}:
                    task = SimpleNamespace(__name__=found.name, __module__=node.module)
                    most = len(found.args.args) - 1  # the first one is the model
                    task.takes = range(most - len(found.args.defaults), most + 1)
                    names[found.name] = task
    return SimpleNamespace(**names)


@pytest.fixture(autouse=True)
def tasks(monkeypatch) -> SimpleNamespace:
    """Put the stand-ins where the tabs look for tasks."""
    found = stand_ins()
    monkeypatch.setitem(vars(core), "tasks", found)
    return found


class FakeRun:
    """A runner that remembers what it was asked, and answers from `answers`: a result, a function, or an error."""

    def __init__(self):
        self.calls: list[tuple] = []  # (task, model, *inputs)
        self.stopped: list[int] = []  # how far each story that nobody listened to had come
        self.answers = {
            "fill_mask": filling, "judge": verdict, "judge_all": rankings, "answer": answer, "attend": attention,
            "cover_patches": cover, "look": gaze, "lens": lens, "generate": self.story, "explain_step": reasons,
            "beams": look_ahead,
        }  # fmt: skip

    def __call__(self, task, model_name: str, *inputs):
        assert len(inputs) in task.takes, f"{task.__name__} takes {task.takes}, not {len(inputs)} inputs"
        self.calls.append((task.__name__, model_name, *inputs))
        found = self.answers[task.__name__]
        if isinstance(found, Exception):
            raise found
        return found(*inputs) if callable(found) else found

    def story(self, prompt: str, settings: Settings, forced: tuple[int, ...] = ()) -> Iterator[Step]:
        """Write the forced tokens, then the vocabulary in turn."""
        for at in range(settings.length):
            try:
                yield step(forced[at] if at < len(forced) else at % len(VOCABULARY))
            except GeneratorExit:
                self.stopped.append(at)
                raise


def step(token: int) -> Step:
    """Return the record of one token of the vocabulary."""
    return Step(
        VOCABULARY[token], token, CHANCES[token], Ranking(tuple(map(repr, VOCABULARY)), CHANCES),
        rivals=tuple(range(7)), log_probabilities=np.log(np.float32(CHANCES)), ranks=tuple(range(7)), vocabulary=7,
    )  # fmt: skip


def look_ahead(prompt: str, tokens: tuple[int, ...] = (), width: int = 3, depth: int = 5) -> Beams:
    """Weigh two ways on at every depth, keep the one that goes on with " ran", and drop "."."""
    beams = []
    for at in range(depth):
        before = 2 * (at - 1) if at else None
        for token, kept in ((1, True), (3, False)):
            chance = 0.5 if kept else 0.25
            beams.append(Beam(before, at, token, VOCABULARY[token], VOCABULARY[token], chance, 0.5**at * chance, kept))
    return Beams(tuple(beams), width, (2 * (depth - 1),))


def filling(text: str, count: int = 10, what_if: WhatIf = WhatIf(), why: bool = True) -> Filling:
    """Fill every [MASK] of a text with other drinks, and with coffee once a word is covered."""
    blanks = max(1, text.upper().count("[MASK]"))
    all_rankings = [Ranking((f"tea{at}", f"<b>{at}</b>", "…ing"), (0.6, 0.2, 0.1)) for at in range(blanks)]
    if what_if.hidden_tokens:
        all_rankings[0] = Ranking(("coffee", "tea0", "<b>0</b>"), (0.7, 0.1, 0.05))
    why_so = Saliency("tea0", ("I", " drink"), (0.1, 0.5), (-0.2, 1.5), (0.4, 0.6), 0.02, 0.71)
    return Filling(tuple(text.split()), tuple(range(blanks)), tuple(all_rankings), why_so if why else None)


def verdict(text: str, what_if: WhatIf = WhatIf(), why: bool = True) -> Verdict:
    """Find a text positive, the less so the more is covered."""
    chance = 0.9 - 0.2 * len(what_if.hidden_tokens)
    words = tuple(text.split())
    pushes = tuple(0.1 * (at + 1) for at in range(len(words)))
    why_so = Saliency("POSITIVE", words, pushes, pushes, (1 / len(words),) * len(words), 0.03, 0.3)
    return Verdict(Ranking(("POSITIVE", "NEGATIVE"), (chance, 1 - chance)), why_so if why else None)


def rankings(texts: list[str]) -> Iterator[Ranking]:
    """Find texts with an exclamation mark positive, all others negative."""
    for text in texts:
        yield Ranking(("POSITIVE", "NEGATIVE") if "!" in text else ("NEGATIVE", "POSITIVE"), (0.8, 0.2))


def answer(picture: str, question: str, what_if: WhatIf = WhatIf(), why: bool = True) -> Answer:
    """Answer "red", or "blue" once the first patch or the first word is covered."""
    changed = 0 in what_if.hidden_patches or 0 in what_if.hidden_tokens
    ranking = Ranking(("blue", "red", "two") if changed else ("red", "blue", "two"), (0.7, 0.2, 0.1))
    if not why:
        return Answer(ranking, (), ())
    rising = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    words = tuple(question.split())
    pushes = tuple(0.1 * (at - 1) for at in range(len(words)))
    maps = (PatchMap(rising[::-1], "rollout"), PatchMap(rising, "gradients"))
    return Answer(ranking, maps, (), Saliency("red", words, pushes, pushes))


def cover(picture: str, question: str, what_if: WhatIf = WhatIf()) -> PatchCover:
    """Say that each patch costs the answer less than the one before it."""
    lost = np.linspace(0.3, -0.1, 12, dtype=np.float32).reshape(3, 4)
    return PatchCover("red", PatchMap(lost.clip(0) / 0.3, "covering"), lost, 0.25)


def attention(text: str, what_if: WhatIf = WhatIf()) -> Attention:
    """Return 2 layers of 3 heads: head h of layer l looks h + l tokens back, and the sink is the first token."""
    tokens = ("[CLS]", *(f" {word}" for word in text.split()), "[SEP]")
    side = min(len(tokens), 16)
    montage = np.zeros((2, 3, side, side), np.uint8)
    for layer, head, query in np.ndindex(montage.shape[:3]):
        montage[layer, head, query, max(0, query - head - layer)] = 255
    taken = 0.1 * (len(what_if.silenced_heads) + len(what_if.hidden_tokens))
    asked = next((at for at, token in enumerate(tokens) if token == " [MASK]"), None)
    return Attention(
        tokens, montage, HABITS, (0, 1), 0, 0.4,
        None if asked is None else Ranking(("tired", "wide"), (0.8 - taken, 0.1 + taken)), asked,
    )  # fmt: skip


def gaze(text: str, view: View, what_if: WhatIf = WhatIf()) -> Gaze:
    """Look where attention() looks, with 4 in 5 parts; the rest goes to the first token, and nothing where it is set aside."""
    tokens = len(text.split()) + 2
    if view.layer > 1 or view.head > 2:
        raise NoSuchPart(part="head", found=view.head + 1, limit=3)
    side = min(tokens, WINDOW)
    query, key = (min(max(0, first), tokens - side) for first in (view.query, view.key))
    rows = np.arange(query, query + side)
    looked_at = rows if view.rolled else np.maximum(0, rows - view.head - view.layer)
    weights = np.zeros((side, tokens), np.float32)
    weights[:, 0] = 0 if view.aside else 0.2
    weights[np.arange(side), looked_at] += 0.8
    targets = np.argsort(-weights, -1)[:, :5].astype(np.int32)
    return Gaze(
        replace(view, query=query, key=key), np.round(weights[:, key : key + side] / 0.8 * 255).clip(0, 255).astype(np.uint8),
        0.8, targets, np.take_along_axis(weights, targets, -1),
        np.zeros((64, 64), np.uint8) if tokens > side else None,
    )  # fmt: skip


def lens(text: str, first: int = 0, what_if: WhatIf = WhatIf()) -> Lens:
    """Say that the second of two layers finds the answer, "layer 2", and the one before it nothing."""
    tokens = ("[CLS]", *(f" {word}" for word in text.split()), "[SEP]")
    places = tuple(range(first, min(len(tokens), first + 24)))
    said = [Ranking((f"layer {layer}", "<b>"), (0.2 + 0.1 * layer, 0.1)) for layer in range(3)]
    return Lens(tuple(tokens[at] for at in places), places, tuple((layer,) * len(places) for layer in said))


def reasons(prompt: str, tokens: tuple[int, ...], what_if: WhatIf = WhatIf(), why: bool = True) -> Verdict:
    """Say that each word matters less than the one before it, and that another word stood there were one covered."""
    words = (*prompt.split(), *(VOCABULARY[token] for token in tokens[:-1]))
    losses, name = tuple(0.5 / (at + 1) for at in range(len(words))), VOCABULARY[tokens[-1]]
    labels = ("owl", name) if what_if.hidden_tokens else (name, "owl")
    why_so = Saliency(name, words, losses, losses, losses, 0.01, -0.4)
    return Verdict(Ranking(labels, (0.6, 0.3)), why_so if why else None)


class Tab:
    """One tab on a page of its own. Its parts bear the names they have in the tab's build()."""

    def __init__(self, name: str, language: str):
        self.words, self.run = Words(language), FakeRun()
        self.module = importlib.import_module(f"demos.{name}")
        with gr.Blocks() as self.blocks:
            self.module.build(lambda *inputs: self.run(*inputs), self.words)
        self.events = {event.fn.__name__: event for event in self.blocks.fns.values() if event.fn}
        self.parts: dict[gr.blocks.Block, str] = {}
        for event in self.events.values():
            self._find_parts(inspect.unwrap(event.fn))

    def _find_parts(self, handler) -> None:
        for name, value in inspect.getclosurevars(handler).nonlocals.items():
            if isinstance(value, gr.blocks.Block):
                self.parts[value] = name
            elif inspect.isfunction(value) and value is not handler:
                self._find_parts(value)

    def part(self, name: str) -> gr.components.Component:
        """Return a part by its name."""
        return {name: part for part, name in self.parts.items()}[name]

    def named(self, event: gr.blocks.BlockFunction, found: dict) -> dict:
        """Return a handler's answer by the names of the parts it fills, all of which it declared and can send."""
        assert set(found) <= set(event.outputs), "a handler fills a part that is not among its outputs"
        for part, value in found.items():
            if not isinstance(value, gr.blocks.Block) and not isinstance(part, gr.State):
                part.postprocess(value)
        return {self.parts[part]: value for part, value in found.items()}

    def call(self, name: str, *inputs, click=None, value=None) -> dict:
        """Call a handler through the door; `click` is the index of what was clicked, `value` what it carries."""
        clicked = () if click is None else (gr.SelectData(None, {"index": click, "value": value}),)
        event = self.events[name]
        return self.named(event, event.fn(*inputs, *clicked))

    def stream(self, name: str, *inputs, click=None, value=None) -> Iterator[dict]:
        """Call a handler that streams."""
        clicked = () if click is None else (gr.SelectData(None, {"index": click, "value": value}),)
        event = self.events[name]
        for found in event.fn(*inputs, *clicked):
            yield self.named(event, found)

    def visit(self, api_name: str, *inputs) -> dict:
        """Call an endpoint as a client does, through Gradio: preprocess, handler, postprocess; of a stream the start."""
        event = next(event for event in self.blocks.fns.values() if event.api_name == api_name)
        answered = asyncio.run(self.blocks.process_api(event, [*inputs], state=SessionState(self.blocks)))
        return {self.parts[part]: sent for part, sent in zip(event.outputs, answered["data"], strict=True)}


@pytest.fixture
def run() -> FakeRun:
    """Return a fake runner."""
    return FakeRun()


@pytest.fixture
def tab(run, built):
    """Return a function (name, language) -> Tab, whose tasks `run` runs."""

    def made(name: str, language: str = "en") -> Tab:
        found = built(name, language)
        found.run = run
        return found

    return made


@pytest.fixture(autouse=True, scope="session")
def files(tmp_path_factory):
    """Keep what Gradio saves in a folder that goes with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture(scope="session")
def built(files):
    """Return a function (name, language) -> Tab that builds each one once."""
    return cache(Tab)
