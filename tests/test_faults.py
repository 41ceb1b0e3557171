"""What goes wrong on the tab Write, and what must happen then: a sentence, nothing lost, and the next visitor is served.

With the models on board, called as a program calls them; and with a writer of our own, where every token is counted.
"""

import html
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial

import gradio as gr
import httpx
import numpy as np
import pytest

import core
from core import limits
from core.errors import TooBusy
from core.results import Ranking, Step
from core.runner import run_here
from demos import generation
from demos.words import Words

CLIENT = httpx.Client(timeout=60, verify=False, limits=httpx.Limits(max_keepalive_connections=50))
PROMPT = "Once upon a time there was a"
BUG = "Something went wrong on our side"
UNDRESSED = re.compile(r"Error\(|Traceback|NoneType|<class|\bcore\.|/root|\.py\b")  # what no visitor should read


# ---------------------------------------------------------------- how a program speaks with the app


def begin(address: str, **inputs) -> str:
    """Ask for a story by the names of its parameters and return the number of the call; nothing is read yet."""
    body = json.dumps(inputs)  # with NaN, Infinity and halves of characters, as a careless program would
    json_inside = {"content-type": "application/json"}
    asked = CLIENT.post(f"{address}/gradio_api/call/v2/generation", content=body, headers=json_inside)
    asked.raise_for_status()
    return asked.json()["event_id"]


@contextmanager
def listening(address: str, number: str) -> Iterator[Iterator[tuple[str, object]]]:
    """Read a call's parts as they come: ("generating", …), then ("complete", …) or ("error", …)."""
    with CLIENT.stream("GET", f"{address}/gradio_api/call/generation/{number}") as stream:
        yield parts(stream)


def parts(stream: httpx.Response) -> Iterator[tuple[str, object]]:
    name = ""
    for line in stream.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: ") and name != "heartbeat":
            yield name, json.loads(line[6:])


def ask(address: str, **inputs) -> tuple[str, object]:
    """Return how a call ends."""
    with listening(address, begin(address, **inputs)) as heard:
        return list(heard)[-1]


def write(address: str, prompt: str = PROMPT, **inputs) -> dict:
    """Return the numbers of a story that is told."""
    name, said = ask(address, prompt=prompt, **{"length": 10, **inputs})
    assert name == "complete", said
    return numbers(said)


def numbers(said: list) -> dict:
    """Return the numbers among all that a story's call returns."""
    return next(part for part in said if isinstance(part, dict) and "stories" in part)


def refusal(address: str, **inputs) -> str | None:
    """Return the sentence of a refusal, which has to be one; None for a story that is told."""
    name, said = ask(address, **inputs)
    if name == "complete":
        return None
    sentence = said.get("error") if isinstance(said, dict) else said
    assert isinstance(sentence, str) and len(sentence.split()) > 3, f"{said!r} is no sentence"
    assert not UNDRESSED.search(sentence), sentence
    return sentence


@pytest.fixture(scope="module")
def awake(address: str) -> str:
    """Return the app's address once its writer is loaded."""
    write(address)
    return address


# ---------------------------------------------------------------- B: what is typed


@pytest.mark.parametrize("prompt", ["", " ", "\n\t", "\u3000", "\x00\x07", "\u200b\u200d"])
def test_an_empty_prompt_is_said_to_be_empty_at_once(awake, prompt):
    taken = []
    for _ in range(3):
        began = time.monotonic()
        assert "Type some text first" in refusal(awake, prompt=prompt)
        taken.append(time.monotonic() - began)
    assert min(taken) < 0.5
    assert write(awake)["text"].startswith(PROMPT)


@pytest.mark.parametrize("prompt", ["<|endoftext|>", "</s>", "[MASK] [PAD]", "<s></s>"])
def test_special_tokens_that_are_typed_are_text(awake, prompt):
    assert write(awake, prompt)["text"].startswith(prompt)


@pytest.mark.parametrize(
    ("prompt", "found"),
    [("a" * 5_001, "5,001 characters"), ("a" * 2_000_000, "2,000,000 characters"), ("word " * 700, "tokens"),
     ("猫" * 2_000, "tokens")],
)  # fmt: skip
def test_a_prompt_that_is_too_long_is_refused_with_its_length(awake, prompt, found):
    began = time.monotonic()
    sentence = refusal(awake, prompt=prompt)
    assert found in sentence and "Shorten it" in sentence and len(sentence) < 300
    assert time.monotonic() - began < 2
    assert write(awake)["text"]


def test_a_story_ends_where_the_context_does(awake):
    told = write(awake, "word " * 480, length=100)
    assert len(told["stories"][0]["steps"]) <= 100 and told["text"].startswith("word " * 480)


@pytest.mark.parametrize(
    "prompt",
    ["a fox\x00 and\x1b[31m", "a fox \ud83d", "a fox \u202e and \u2067 a dog", "👩‍👩‍👧 and 🇨🇳 and a\u200db",
     "e" + "\u0301" * 400, "\ufeffa fox", "\ufffe\uffff a fox", "a\u2028b\u2029c", "𝕏" * 50],
)  # fmt: skip
def test_strange_text_gets_a_story_or_one_sentence(awake, prompt):
    name, said = ask(awake, prompt=prompt, length=10)
    if name == "complete":
        assert json.dumps(said, allow_nan=False).encode() and numbers(said)["text"]
    else:
        assert refusal(awake, prompt=prompt)


def test_a_thousand_combining_marks_get_a_story_or_one_sentence(awake):
    assert "tokens" in (refusal(awake, prompt="e" + "\u0301" * 1000, length=10) or "tokens")


# ---------------------------------------------------------------- B6-B8: markup


MARKUP = '<img src=x onerror="alert(1)"><script>alert(2)</script>&lt;b&gt; </span><style>*{}</style>'
TAGS = re.compile("<(/?[a-z][a-z0-9]*)[^>]*>")
HARMLESS = {"span", "i", "/span", "/i"}


def text_of(strip: str) -> str:
    """Return what a reader sees of a strip of tokens."""
    return html.unescape(TAGS.sub("", strip.replace("<i>·</i>", " ")))


def test_markup_in_a_prompt_is_shown_as_it_was_typed(awake):
    name, said = ask(awake, prompt=MARKUP, length=10)
    assert name == "complete" and numbers(said)["text"].startswith(MARKUP)
    strips = [part for part in said if isinstance(part, str) and "gb-token" in part]
    assert len(strips) == 1 and text_of(strips[0]).startswith(MARKUP)
    for part in said:
        if isinstance(part, str) and not part.startswith("{"):  # a chart is JSON, and Plotly is told it is text
            assert {tag for tag in TAGS.findall(part)} <= HARMLESS, part


def test_markup_in_the_name_of_a_model_is_shown_as_it_was_typed(awake):
    sentence = refusal(awake, prompt=PROMPT, model=MARKUP)
    assert not TAGS.search(sentence) and "no model called" in sentence


def test_markup_in_a_stop_word_is_text(awake):
    assert refusal(awake, prompt=PROMPT, stop=MARKUP[:30], length=10) is None


# ---------------------------------------------------------------- C: numbers from a program


NAN, INFINITY = float("nan"), float("inf")
WRONG = [NAN, INFINITY, -INFINITY, None, "x", "", [1], [], {"a": 1}, True, 1e9, -1e9, 10**400, 1.5]
KNOBS = ["temperature", "top_k", "top_p", "min_p", "repetition", "length", "seed"]
ALLOWED = {("temperature", 1.5), ("repetition", 1.5), ("seed", 1e9)}  # what the page offers too


def test_the_knobs_tested_here_are_those_of_the_endpoint(awake):
    found = CLIENT.get(f"{awake}/gradio_api/info").json()["named_endpoints"]["/generation"]["parameters"]
    assert {one["parameter_name"] for one in found} == {*KNOBS, "prompt", "model", "stop"}


@pytest.mark.parametrize("field", ["prompt", "model", "stop"])
@pytest.mark.parametrize("value", [None, 7, NAN, [1, "a"], {"a": 1}, True])
def test_what_is_no_text_is_refused_in_a_sentence_or_read_as_text(awake, field, value):
    sentence = refusal(awake, **{"prompt": PROMPT, "length": 10, field: value})
    assert sentence is None or BUG not in sentence


def test_too_many_and_too_long_stop_words_are_refused(awake):
    for stop in ("x" * 100_000, ",".join("abcdefghijklmnop"), "\n".join("abcdefghijklmnop")):
        sentence = refusal(awake, prompt=PROMPT, length=10, stop=stop)
        assert sentence is None or (BUG not in sentence and len(sentence) < 300)


def test_no_story_is_longer_than_the_limit(awake):
    assert refusal(awake, prompt=PROMPT, length=limits.STORY_TOKENS + 1)


def test_without_temperature_every_seed_tells_the_same(awake):
    told = {write(awake, temperature=0, seed=seed, length=25)["text"] for seed in (1, 1, 2)}
    assert len(told) == 1


def test_a_seed_tells_the_same_alone_and_in_company(awake):
    def story(seed: int) -> str:
        return write(awake, length=20, temperature=1.2, seed=seed)["text"]

    alone = story(3)
    with ThreadPoolExecutor(7) as pool:
        together = list(pool.map(story, [4, 5, 3, 6, 7, 8, 9]))
    assert together[2] == alone and len(set(together)) == 7


def test_a_flood_of_stories_nobody_waits_for_leaves_the_next_visitor_served(awake):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(drop, awake), range(12)))
    began = time.monotonic()
    assert write(awake)["text"]
    assert time.monotonic() - began < 5


# ---------------------------------------------------------------- E: with a writer whose every token is counted


class Writer:
    """A runner that tells stories of one word, and counts: tokens, stories running, the most of them at once."""

    def __init__(self):
        self.guard, self.told, self.running, self.most, self.pace = threading.Lock(), 0, 0, 0, 0.05
        self.fails: dict[int, Exception] = {}  # what goes wrong in the place of which token
        self.words = (" fox", "<b>home</b>", "<s>", "<s>")

    def __call__(self, task, model, *inputs):
        return self.story(inputs[1].length)

    def story(self, length: int) -> Iterator[Step]:
        with self.guard:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            for at in range(length):
                if at in self.fails:
                    raise self.fails[at]
                time.sleep(self.pace)
                self.told += 1
                yield self.step(at)
            if length in self.fails:
                raise self.fails[length]
        finally:
            with self.guard:
                self.running -= 1

    def step(self, at: int) -> Step:
        token = at % len(self.words)
        chances = (0.5, 0.25, 0.125, 0.0625)
        return Step(
            self.words[token], token, chances[token], Ranking(self.words, chances), (0, 1, 2, 3),
            np.log(np.float32(chances)), ranks=(0, 1, 2, 3), vocabulary=5,
        )  # fmt: skip

    def rest(self, seconds: float = 10) -> float:
        """Wait until no story runs, and return how long it took."""
        began = time.monotonic()
        while self.running:
            assert time.monotonic() - began < seconds, f"{self.running} stories still run"
            time.sleep(0.002)
        return time.monotonic() - began


@contextmanager
def open_house(run) -> Iterator[tuple[str, gr.Blocks]]:
    """Serve the tab from this process, queued as in the app: its address and its Blocks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with gr.Blocks(analytics_enabled=False) as blocks:
        generation.build(run, Words("en"))
    blocks.queue(max_size=limits.QUEUE, default_concurrency_limit=limits.CALLS_AT_ONCE)
    blocks.launch(
        server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, run_history=False,
        inbrowser=False, ssr_mode=False,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}", blocks
    finally:
        blocks.close()


@pytest.fixture(scope="module")
def house() -> Iterator[tuple[str, Writer, gr.Blocks]]:
    """The tab with a counting writer: its address, the writer, its Blocks."""
    writer = Writer()
    with open_house(lambda *inputs: writer(*inputs)) as (address, blocks):
        yield address, writer, blocks


@pytest.fixture
def counted(house):
    """A fresh count; afterwards no story runs and the next visitor is served."""
    address, writer, blocks = house
    writer.__init__()
    yield address, writer
    writer.rest(15)
    writer.__init__()
    writer.pace = 0
    assert write(address)["text"].startswith(PROMPT)
    assert writer.running == 0
    idle(blocks)


def idle(blocks: gr.Blocks, seconds: float = 10) -> None:
    """Wait until every slot is free and nobody waits for one."""
    began = time.monotonic()
    while len(blocks._queue) or any(one.current_concurrency for one in slots(blocks)):
        assert time.monotonic() - began < seconds, "a slot is still taken"
        time.sleep(0.01)


def slots(blocks: gr.Blocks) -> list:
    """Return Gradio's count of events in progress, a limit each."""
    return list(blocks._queue.event_queue_per_concurrency_id.values())


@cache
def page_event(address: str) -> tuple[int, tuple[tuple[str, object], ...]]:
    """Return the number of the event that the page's button triggers, and its parameters with what stands in them."""
    info = CLIENT.get(f"{address}/gradio_api/info").json()["named_endpoints"]["/generation"]["parameters"]
    config = CLIENT.get(f"{address}/config").json()
    number = next(one["id"] for one in config["dependencies"] if one["api_name"] == "generation")
    return number, tuple((one["parameter_name"], one.get("parameter_default")) for one in info)


@contextmanager
def page(address: str, visitor: str, length: int = 500) -> Iterator[tuple[Iterator[str], str, int]]:
    """Start a story as the page does, and read it: the lines that come, the number of the call and of the event."""
    event, parameters = page_event(address)
    given = {"prompt": PROMPT, "length": length}
    data = [given.get(name, standing) for name, standing in parameters]
    body = {"data": data, "fn_index": event, "session_hash": visitor}
    number = CLIENT.post(f"{address}/gradio_api/queue/join", json=body).json()["event_id"]
    with CLIENT.stream("GET", f"{address}/gradio_api/queue/data?session_hash={visitor}") as stream:
        yield (line for line in stream.iter_lines() if line.startswith("data: ")), number, event


@pytest.mark.parametrize("knob", KNOBS)
def test_a_value_the_page_does_not_offer_is_refused_in_a_sentence(counted, knob):
    address, writer = counted
    writer.pace = 0

    def refused(value: object) -> tuple[object, object]:
        return value, refusal(address, prompt=PROMPT, **{"length": 10, knob: value})

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(refused, WRONG))
    told = [value for value, sentence in found if sentence is None and (knob, value) not in ALLOWED]
    assert not told, f"{knob} may be {told}"
    bugs = [value for value, sentence in found if sentence and BUG in sentence]
    assert not bugs, f"{knob}={bugs} is called our fault"


def test_a_call_that_is_dropped_stops_within_two_tokens_and_half_a_second(counted):
    address, writer = counted
    with listening(address, begin(address, prompt=PROMPT, length=500)) as heard:
        for _ in range(5):
            next(heard)
        told = writer.told
    assert writer.rest() < 0.5
    assert writer.told - told <= 2


def test_a_page_that_is_closed_stops_within_two_tokens_and_half_a_second(counted):
    address, writer = counted
    with page(address, "closed") as (lines, _, _):
        for _ in range(6):
            next(lines)
        told = writer.told
    assert writer.rest() < 0.5
    assert writer.told - told <= 2


@pytest.mark.parametrize("way", ["call", "page"])
def test_a_slow_token_is_the_last_one_of_a_story_nobody_waits_for(counted, way):
    address, writer = counted
    writer.pace = 0.4
    if way == "call":
        with listening(address, begin(address, prompt=PROMPT, length=500)) as heard:
            next(heard), next(heard)
            told = writer.told
    else:
        with page(address, "slow") as (lines, _, _):
            next(lines), next(lines), next(lines)
            told = writer.told
    writer.rest()
    assert writer.told - told <= 2


def test_the_model_itself_rests_when_nobody_waits_for_its_story():
    queue = core.models.device().queue
    with open_house(run_here) as (address, _):
        write(address)
        with listening(address, begin(address, prompt=PROMPT, length=limits.STORY_TOKENS, temperature=1)) as heard:
            for _ in range(5):
                next(heard)
        served = queue.served
        time.sleep(1)
        assert queue.served - served <= 2
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(partial(drop, address), range(18)))
        time.sleep(0.5)
        served = queue.served
        time.sleep(0.5)
        assert queue.served == served
        assert write(address)["text"].startswith(PROMPT)


def drop(address: str, seed: int) -> None:
    """Ask for a long story and leave after its first part."""
    with listening(address, begin(address, prompt=PROMPT, length=limits.STORY_TOKENS, seed=seed)) as heard:
        next(heard)


def test_the_stop_button_stops_within_two_tokens_and_half_a_second(counted):
    address, writer = counted
    with page(address, "stopped") as (lines, number, event):
        for _ in range(6):
            next(lines)
        body = {"session_hash": "stopped", "fn_index": event, "event_id": number}
        told, began = writer.told, time.monotonic()
        assert CLIENT.post(f"{address}/gradio_api/cancel", json=body).json()["success"]
        writer.rest()
        assert time.monotonic() - began < 0.5 and writer.told - told <= 2
        assert any("process_completed" in line for line in lines)  # and the page is told so


def test_a_flood_that_connects_and_drops_never_runs_more_than_the_limit(counted):
    address, writer = counted

    def come_and_go(number: int) -> None:
        if number % 2:
            with page(address, f"flood{number}") as (lines, _, _):
                next(lines)
        else:
            drop(address, number)

    with ThreadPoolExecutor(25) as pool:
        list(pool.map(come_and_go, range(100)))
    writer.rest(5)
    assert 1 < writer.most <= limits.CALLS_AT_ONCE


def test_a_flood_that_never_listens_ends_and_keeps_little(counted, house, monkeypatch):
    monkeypatch.setattr(limits, "UNHEARD_SECONDS", 0.5)
    address, writer = counted
    writer.pace = 0.001
    queue, before = house[2]._queue, set(house[2]._queue.pending_messages_per_session)
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: begin(address, prompt=PROMPT, length=500), range(40)))
    idle(house[2])
    assert writer.most <= limits.CALLS_AT_ONCE and writer.told < 40 * 3 * limits.UNREAD_PARTS
    waiting = [[part.msg for part in queue.pending_messages_per_session[name]._queue] for name in numbers]
    assert max(found.count("process_generating") for found in waiting) <= limits.UNREAD_PARTS + 1
    assert max(map(len, waiting)) < 100  # the others say how long one has to wait
    assert len(set(queue.pending_messages_per_session) - before) == 40


def test_who_connects_and_never_reads_ends_too(counted, monkeypatch):
    monkeypatch.setattr(limits, "UNHEARD_SECONDS", 0.5)
    address, writer = counted
    writer.pace = 0
    number = begin(address, prompt="word " * 900, length=limits.STORY_TOKENS)
    host, port = address.removeprefix("http://").split(":")
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    with deaf:
        deaf.connect((host, int(port)))
        deaf.sendall(f"GET /gradio_api/call/generation/{number} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        writer.rest(10)
    assert writer.told < limits.STORY_TOKENS


def test_who_reads_slowly_or_comes_late_hears_the_whole_story(counted, monkeypatch):
    monkeypatch.setattr(limits, "UNHEARD_SECONDS", 1.0)
    address, writer = counted
    writer.pace = 0.001
    number = begin(address, prompt=PROMPT, length=60)
    time.sleep(0.5)
    assert writer.told <= limits.UNREAD_PARTS + 2  # it waits for its reader
    with listening(address, number) as heard:
        told = [part for part in heard if not time.sleep(0.005)]
    assert told[-1][0] == "complete" and writer.told == 60
    assert len(numbers(told[-1][1])["stories"][0]["steps"]) == 60


def test_a_story_whose_tokens_take_longer_than_the_patience_is_told_to_its_end(counted, monkeypatch):
    monkeypatch.setattr(limits, "UNHEARD_SECONDS", 0.05)
    address, writer = counted
    writer.pace = 0.12
    assert len(write(address, length=10)["stories"][0]["steps"]) == 10


@pytest.mark.parametrize("at", [0, 3, 10])
@pytest.mark.parametrize(("error", "said"), [(RuntimeError("/root/secret"), BUG), (TooBusy(seconds=60), "60 seconds")])
def test_an_error_in_a_story_reaches_the_visitor_in_a_sentence(counted, at, error, said):
    address, writer = counted
    writer.fails = {at: error}
    assert said in refusal(address, prompt=PROMPT, length=10)
    assert writer.told == at and writer.running == 0


@pytest.mark.parametrize("at", [0, 3])
def test_an_error_in_a_story_reaches_the_page_in_a_sentence(counted, at):
    address, writer = counted
    writer.fails = {at: RuntimeError("/root/secret")}
    with page(address, f"failing{at}", length=10) as (lines, _, _):
        told = [json.loads(line[6:]) for line in lines]
    last = next(one for one in told if one["msg"] == "process_completed")
    assert not last["success"] and BUG in last["output"]["error"] and "secret" not in json.dumps(told)


def test_tokens_that_look_like_markup_stay_visible_and_counted(counted):
    address, writer = counted
    writer.pace = 0
    _, said = ask(address, prompt=PROMPT, length=12)
    (strip,) = [part for part in said if isinstance(part, str) and "gb-token" in part]
    assert text_of(strip) == PROMPT + "".join(writer.words) * 3
    assert {tag for tag in TAGS.findall(strip)} <= HARMLESS and strip.count("gb-token") == 13


def test_the_latest_visitors_are_remembered_and_no_more(counted, house, monkeypatch):
    address, writer = counted
    writer.pace, remembered = 0, house[2].app.state_holder
    monkeypatch.setattr(remembered, "capacity", len(remembered.session_data))
    for seed in range(3):
        write(address, length=10, seed=seed)
    assert len(remembered.session_data) == remembered.capacity
