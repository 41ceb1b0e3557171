"""Models come from the Hub whole, verified and pinned, or a sentence says why not; nothing is left running."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest

from core import errors, fetching, hub, limits
from core.catalogue import ModelCard
from tests.fake_hub import INFO, FakeHub

ROOT = Path(__file__).parent.parent.parent
WEIGHTS = os.urandom(1_000_000)
CONFIG = {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 8, "vocab_size": 50}
FILES = {
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer.json": b'{"version": "1.0"}',
    "vocab.txt": b"the\ncat\n",
    "model.safetensors": WEIGHTS,
}
BESIDE = {"README.md": b"#", "pytorch_model.bin": b"pickle", "onnx/model.onnx": b"onnx", "tf_model.h5": b"h5"}
LEAVES_NOTHING = 5  # seconds for a process to be gone


@pytest.fixture(scope="module")
def server():
    with FakeHub() as server:
        yield server


@pytest.fixture(autouse=True)
def place(server, tmp_path, monkeypatch) -> Path:
    """Let every test begin with an empty cache, a Hub without faults, and short patience."""
    server.clear()
    for name, value in {**server.environment, "GLASSBOX_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    for name in ("SPACE_ID", "GRADIO_SHARE", "GRADIO_SERVER_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(limits, "SPARE_BYTES", 1)
    return tmp_path / "cache" / "models"


@pytest.fixture
def offer(server, tmp_path):
    """Return a function that puts files into a repository and returns its card, which asks for "main"."""

    def offered(name: str, files: dict[str, bytes] = FILES, **more) -> ModelCard:
        folder = tmp_path / "offered" / str(time.monotonic_ns())
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        server.add(name, folder, **more)
        return card(name)

    return offered


def card(name: str, revision: str = "main") -> ModelCard:
    return ModelCard(name, ("generation",), name, shelf="hub", revision=revision)


def accept(plan: hub.Plan) -> None:
    """Have nothing against it."""


def fetched(asked: ModelCard, token: str | None = None, key: str = "") -> Path:
    """Fetch a model and return its folder."""
    for _ in hub.fetch(asked, accept, token):
        pass
    return hub.snapshot(asked, key)


def children() -> set[int]:
    """Return the processes that fetch for this one."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def gone(process: int) -> bool:
    """Whether a process ends soon, and is no zombie."""
    until = time.monotonic() + LEAVES_NOTHING
    while time.monotonic() < until and Path(f"/proc/{process}").exists():
        time.sleep(0.05)
    return not Path(f"/proc/{process}").exists()


def is_whole(folder: Path, files: dict[str, bytes] = FILES) -> bool:
    return {file.name: file.read_bytes() for file in folder.iterdir()} == files


def test_a_model_comes_whole_and_without_anything_beside_it(offer, server, place):
    asked = offer("a/first", FILES | BESIDE)
    seen: list[hub.Plan] = []
    steps = list(hub.fetch(asked, seen.append))
    [plan] = seen
    assert plan.files == {name: len(content) for name, content in FILES.items()}
    assert (plan.bytes, plan.config) == (sum(plan.files.values()), CONFIG)
    assert (steps[-1].done, steps[-1].total) == (plan.bytes, plan.bytes) and steps[-1].left == 0
    assert all(one.done <= two.done for one, two in zip(steps, steps[1:], strict=False))
    assert is_whole(hub.snapshot(asked)) and not list(place.glob("*.part*"))
    asked_for = len(server.requests)
    assert list(hub.fetch(asked, accept)) == [] and len(server.requests) == asked_for


def test_shards_are_fetched_as_the_index_names_them(offer):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    shards = {"model.safetensors.index.json": index, "model-1.safetensors": b"1" * 9, "model-2.safetensors": b"2" * 9}
    rest = {name: content for name, content in FILES.items() if name != "model.safetensors"}
    assert is_whole(fetched(offer("a/shards", rest | shards | {"other.safetensors": b"3"})), rest | shards)


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"modeling.py": b"import os"}, errors.ModelUnsafe),
        ({"config.json": json.dumps(CONFIG | {"auto_map": {"AutoModel": "x.Y"}}).encode()}, errors.ModelUnsafe),
        ({"config.json": json.dumps(CONFIG | {"n_layer": 200_000}).encode()}, errors.ModelUnusable),
        ({"config.json": b"[" * 100_000}, errors.ModelUnusable),
        ({"model.safetensors": None, "pytorch_model.bin": b"pickle"}, errors.ModelUnusable),
    ],
)
def test_a_repository_that_brings_code_or_no_weights_is_refused_before_they_come(offer, server, files, error):
    files = {name: content for name, content in (FILES | files).items() if content is not None}
    with pytest.raises(error):
        fetched(offer("a/unfit", files))
    assert {request.name for request in server.asked("a/unfit")} <= {INFO, "config.json"}


def test_what_accept_refuses_is_not_fetched_and_leaves_nothing(offer, server, place):
    def refuse(plan: hub.Plan) -> None:
        raise errors.ModelUnfit(name="x", found="y", known="z")

    before = children()
    with pytest.raises(errors.ModelUnfit):
        list(hub.fetch(offer("a/refused"), refuse))
    assert not server.asked("a/refused", "*.safetensors")
    assert all(gone(child) for child in children() - before) and settled() and not list(place.iterdir())


def settled() -> bool:
    """Whether soon nothing is being fetched any more."""
    until = time.monotonic() + LEAVES_NOTHING
    while hub._jobs and time.monotonic() < until:
        time.sleep(0.02)
    return not hub._jobs


def test_a_model_larger_than_the_disk_is_refused_before_its_weights(offer, server, monkeypatch):
    monkeypatch.setattr(limits, "SPARE_BYTES", shutil.disk_usage("/").total)
    with pytest.raises(errors.ModelTooLarge) as raised:
        fetched(offer("a/large"))
    assert raised.value.facts["part"] == "disk" and not server.asked("a/large", "*.safetensors")


def test_room_is_made_by_what_was_used_least_recently_and_is_not_in_use(offer, monkeypatch):
    cards = [offer(f"a/kept{n}") for n in range(4)]
    folders = []
    monkeypatch.setattr(limits, "FETCHED_BYTES", 3_500_000)
    for age, asked in zip((300, 200, 100), cards, strict=False):
        folders.append(fetched(asked))
        os.utime(folders[-1], (time.time() - age,) * 2)
    monkeypatch.setattr(hub, "in_use", lambda: {folders[0]})
    assert fetched(cards[3]).is_dir()
    assert [folder.is_dir() for folder in folders] == [True, False, True]
    monkeypatch.setattr(limits, "FETCHED_BYTES", 500_000)
    with pytest.raises(errors.ModelTooLarge):
        fetched(cards[1])
    assert [folder.is_dir() for folder in folders] == [True, False, True]


@pytest.mark.parametrize("kind", ["truncated", "corrupted", "longer"])
def test_damaged_bytes_are_fetched_once_more_and_then_refused(offer, server, kind, place):
    asked = offer(f"a/{kind}")
    server.fault(asked.repo, kind, "*.safetensors", times=2)
    with pytest.raises(errors.ModelDamaged):
        fetched(asked)
    assert hub.snapshot(asked) is None and not list(place.glob("*/model.safetensors"))
    server.fault(asked.repo, kind, "*.safetensors", times=1)
    assert is_whole(fetched(asked))
    assert len(server.asked(asked.repo, "*.safetensors")) == 4


def test_what_comes_again_after_damage_is_not_taken_for_silence(offer, server, monkeypatch):
    asked = offer("a/again")
    server.fault("a/again", "corrupted", "*.safetensors", times=1)
    server.fault("a/again", "slow", "*.safetensors", rate=600_000)
    for _ in hub.fetch(asked, lambda plan: monkeypatch.setattr(limits, "SILENT_SECONDS", 1.2)):
        pass
    assert is_whole(hub.snapshot(asked))


def test_no_more_bytes_are_written_than_were_announced(offer, server, tmp_path, monkeypatch):
    offer("a/long")
    monkeypatch.setattr(fetching, "get_session", lambda: httpx2.Client(follow_redirects=True))
    address = f"{server.environment['HF_ENDPOINT']}/a/long/resolve/main/model.safetensors"
    announced = fetching.File(len(WEIGHTS) // 2, "sha256", "0" * 64)
    assert not fetching.complete(address, {}, tmp_path / "weights", announced)
    assert (tmp_path / "weights").stat().st_size <= announced.size


@pytest.mark.parametrize("file", [INFO, "*.safetensors"])
@pytest.mark.parametrize(
    ("status", "error", "facts"),
    [
        (401, errors.ModelGated, {"name": "a/status"}),
        (403, errors.ModelForbidden, {"name": "a/status"}),
        (404, errors.ModelMissing, {"name": "a/status"}),
        (429, errors.HubBusy, {"minutes": 60}),
        (503, errors.HubFailing, {"found": 503}),
    ],
)
def test_every_refusal_of_the_hub_has_an_error_of_its_own_at_once(offer, server, status, error, facts, file):
    asked, began = offer("a/status"), time.monotonic()
    server.fault("a/status", "status", file, status=status)
    with pytest.raises(error) as raised:
        fetched(asked)
    assert raised.value.facts == facts and time.monotonic() - began < 10


@pytest.mark.parametrize(("kind", "file"), [("hang", INFO), ("hang", "*.safetensors"), ("drip", "*.safetensors")])
def test_a_silent_hub_is_given_up(offer, server, monkeypatch, kind, file):
    monkeypatch.setattr(limits, "SILENT_SECONDS", 2)
    asked, before = offer("a/silent"), children()
    server.fault("a/silent", kind, file)
    with pytest.raises(errors.HubSilent) as raised:
        fetched(asked)
    assert raised.value.facts == {"seconds": 2} and children() <= before


def test_a_model_that_takes_too_long_in_all_is_given_up(offer, server, monkeypatch):
    monkeypatch.setattr(limits, "FETCH_SECONDS", 2)
    asked = offer("a/endless")
    server.fault("a/endless", "slow", "*.safetensors", rate=250_000)
    with pytest.raises(errors.HubSilent):
        fetched(asked)
    assert hub.snapshot(asked) is None


def test_the_hub_says_in_how_many_minutes_it_takes_requests_again(offer, server):
    server.fault("a/window", "status", INFO, status=429, headers={"RateLimit": '"api";r=0;t=95'})
    with pytest.raises(errors.HubBusy) as raised:
        fetched(offer("a/window"))
    assert raised.value.facts == {"minutes": 2}


def test_a_cache_that_cannot_be_written_has_a_sentence(offer, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GLASSBOX_CACHE", str(tmp_path / "file"))
    with pytest.raises(errors.CacheUnwritable):
        fetched(offer("a/homeless"))


def test_nobody_waits_for_ever_for_a_fetch_that_breaks_in_a_way_nobody_thought_of(offer, monkeypatch):
    def broken(job):
        raise ZeroDivisionError

    monkeypatch.setattr(hub._Job, "_end", broken)
    monkeypatch.setattr(hub._Job, "_lead", broken)
    monkeypatch.setattr(hub.threading, "excepthook", id)  # it is told there, and here it is meant
    with pytest.raises(RuntimeError, match="ended early"):
        fetched(offer("a/broken"))
    assert not hub._jobs


def test_who_has_no_home_has_a_cache_all_the_same(monkeypatch):
    monkeypatch.delenv("GLASSBOX_CACHE")
    monkeypatch.setattr(Path, "expanduser", homeless)
    assert hub.snapshot(card("a/b")) is None


def homeless(path: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_disk_that_fills_up_is_no_bug():
    with pytest.raises(errors.ModelTooLarge), fetching.translated("a/model"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_broken_connection_is_taken_up_where_it_broke_and_given_up_when_it_breaks_on(offer, server):
    asked = offer("a/reset")
    server.fault("a/reset", "reset", "*.safetensors", times=1)
    assert is_whole(fetched(asked))
    assert [request.range for request in server.asked("a/reset", "*.safetensors")][0] is None
    assert server.asked("a/reset", "*.safetensors")[1].range is not None
    server.fault("a/unreachable", "reset", "*.safetensors")
    with pytest.raises(errors.HubUnreachable):
        fetched(offer("a/unreachable"))


def test_without_network_what_is_here_is_found_and_the_rest_is_unreachable(offer, monkeypatch):
    here, away = offer("a/here"), offer("a/away")
    folder = fetched(here)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        assert hub.snapshot(here) == folder and list(hub.fetch(here, accept)) == []
        with pytest.raises(errors.HubUnreachable):
            fetched(away)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(errors.HubUnreachable):
            fetched(away)


def test_the_pinned_revision_is_what_comes_and_main_stays_what_it_was(offer, server):
    asked = offer("a/pinned")
    old = server._find("a/pinned", "main").sha
    offer("a/pinned", FILES | {"vocab.txt": b"new"})
    assert is_whole(fetched(card("a/pinned", old)))
    assert all(old in request.path for request in server.requests)
    newer = fetched(asked)
    assert (newer / "vocab.txt").read_bytes() == b"new"
    offer("a/pinned", FILES | {"vocab.txt": b"newest"})
    assert fetched(asked) == newer
    with pytest.raises(errors.ModelMissing):
        fetched(card("a/pinned", "0" * 40))


def test_stop_in_the_middle_ends_the_child_and_the_next_try_goes_on(offer, server, place):
    asked, before = offer("a/stopped"), children()
    server.fault("a/stopped", "slow", "*.safetensors", times=1, rate=400_000)
    steps = hub.fetch(asked, accept)
    come = next(step.done for step in steps if step.done > 200_000)
    running = children() - before
    assert running
    steps.close()
    assert all(gone(child) for child in running) and settled()
    assert hub.snapshot(asked) is None and list(place.glob("*.part/model.safetensors"))
    first = next(step for step in hub.fetch(asked, accept) if step.total)
    assert first.kept >= come and is_whole(fetched(asked))
    starts = [request.range for request in server.asked("a/stopped", "*.safetensors")]
    assert int(starts[-1].removeprefix("bytes=").removesuffix("-")) >= come - sum(map(len, FILES.values())) + len(
        WEIGHTS
    )


PARENT = """
import sys
from core import hub
from core.catalogue import ModelCard
for step in hub.fetch(ModelCard("x", ("generation",), "a/killed", shelf="hub", revision="main"), print):
    if step.done > 200_000:
        print(next(iter(hub._jobs.values())).child.pid, flush=True)
        sys.stdin.read()
"""


def test_a_killed_parent_leaves_no_child_and_the_next_one_finishes(offer, server):
    asked = offer("a/killed")
    server.fault("a/killed", "slow", "*.safetensors", times=1, rate=400_000)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    child = int(next(line for line in parent.stdout if line.strip().isdigit()))
    assert Path(f"/proc/{child}").exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdin.close(), parent.stdout.close()
    assert gone(child)
    assert is_whole(fetched(asked))
    assert server.asked("a/killed", "*.safetensors")[-1].range is not None


def test_two_share_one_download_and_one_who_stops_stops_only_for_himself(offer, server):
    asked = offer("a/shared")
    server.fault("a/shared", "slow", "*.safetensors", times=1, rate=500_000)
    stays: list[Path] = []
    first = hub.fetch(asked, accept)
    assert next(step for step in first if step.done)
    other = threading.Thread(target=lambda: stays.append(fetched(asked)))
    other.start()
    while next(iter(hub._jobs.values())).listeners < 2:
        next(first)
    first.close()
    other.join(30)
    assert is_whole(stays[0])
    assert len(server.asked("a/shared", INFO)) == len(server.asked("a/shared", "*.safetensors")) == 1


def test_more_than_may_come_at_once_wait_for_a_place(offer, server, monkeypatch):
    monkeypatch.setattr(limits, "FETCHES_AT_ONCE", 1)
    server.fault("a/slow", "slow", "*.safetensors", rate=300_000)
    first, second = hub.fetch(offer("a/slow"), accept), hub.fetch(offer("a/waits"), accept)
    assert next(step for step in first if step.done)
    assert next(second).total == 0 and not server.asked("a/waits")
    first.close()
    assert list(second)[-1].total > 0


def test_the_hosts_token_is_never_sent_and_a_visitors_only_where_it_is_needed(offer, server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_host")
    open_, gated = offer("a/open"), offer("a/gated", token="hf_visitor")
    assert is_whole(fetched(open_, "hf_visitor"))
    with pytest.raises(errors.ModelGated):
        fetched(gated)
    assert {request.authorization for request in server.requests} == {None}
    with pytest.raises(errors.ModelForbidden):
        fetched(gated, "hf_other")
    assert is_whole(fetched(gated, "hf_visitor"))
    told = {request.authorization for request in server.requests if not request.storage}
    assert told == {None, "Bearer hf_other", "Bearer hf_visitor"}
    assert {request.authorization for request in server.requests if request.storage} == {None}


def test_the_child_has_no_secret_in_its_environment_or_arguments(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_host")
    monkeypatch.setenv("OAUTH_CLIENT_SECRET", "hf_host")
    child = hub._child()
    try:
        until = time.monotonic() + 10
        while b"fetching" not in Path(f"/proc/{child.pid}/cmdline").read_bytes() and time.monotonic() < until:
            time.sleep(0.01)  # it has not become another program yet
        told = [Path(f"/proc/{child.pid}/{file}").read_bytes() for file in ("environ", "cmdline")]
    finally:
        child.kill(), child.wait(), child.stdin.close(), child.stdout.close()
    assert b"fetching" in told[1] and b"hf_host" not in b"".join(told)


def test_on_a_public_host_a_gated_model_is_only_for_whom_it_was_given_to(offer, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "a/space")
    gated = offer("a/private", token="hf_visitor", private=True)
    key = hub.key_of("hf_visitor")
    folder = fetched(gated, "hf_visitor", key)
    assert is_whole(folder) and "hf_visitor" not in str(folder)
    assert hub.snapshot(gated) is None and hub.snapshot(gated, hub.key_of("hf_other")) is None
    with pytest.raises(errors.ModelMissing):
        fetched(gated, "hf_other")


def test_no_error_holds_a_path_an_address_or_a_token(offer, server, place):
    asked = offer("a/quiet", token="hf_visitor")
    for kind, facts in {"reset": {}, "status": {"status": 500}}.items():
        server.fault("a/quiet", kind, INFO, times=1, **facts)
        with pytest.raises(errors.VisitorError) as raised:
            fetched(asked, "hf_visitor")
        told = str(raised.value)
        assert not any(secret in told for secret in ("hf_visitor", str(place), "127.0.0.1", "/tmp"))
