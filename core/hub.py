"""Models of the Hugging Face Hub on this computer: fetched by a child process (core.fetching), kept as long as there is room.

    <cache>/models/<owner>--<name>--<revision>/      a snapshot: whole, and every byte verified
    <cache>/models/<owner>--<name>--<revision>.part/ one that is being fetched, or was, and is gone on with next time
    <cache>/models/<owner>--<name>.json              which revision "main" was when it was first fetched; it stays that one
    <cache>/private/<key>/                           the same, for what a visitor of a public host got with a token

<cache> is GLASSBOX_CACHE, else ~/.cache/glassbox.

A token is sent only after the Hub refused to give a model without one. What it then gives is, on a public host, for this
visitor alone: it is kept under a key made of the token (`key_of`), and is found only by those who have that key. On a private
machine all is the owner's, and every key is "".
"""

import hashlib
import json
import logging
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core import catalogue, checkpoints, errors, limits
from core.catalogue import ModelCard

log = logging.getLogger("glassbox")

ROOT = Path(__file__).parent.parent
TICK = 0.2  # seconds between two looks at the bytes that have come
EXACT = re.compile(r"[0-9a-f]{40}")

Accept = Callable[["Plan"], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be fetched."""

    card: ModelCard
    revision: str  # 40 digits
    files: dict[str, int]  # bytes of each
    config: dict  # config.json as read
    bytes: int  # of all files


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is; total is 0 until it is known what there is to fetch, and it may begin."""

    done: int  # bytes that are here
    total: int  # bytes
    seconds: float  # since it began; while total is 0, since it was asked for
    kept: int = 0  # bytes of `done` that were here before it began

    @property
    def speed(self) -> float:
        """Bytes a second."""
        return (self.done - self.kept) / self.seconds if self.total and self.seconds else 0.0

    @property
    def left(self) -> float | None:
        """Seconds it will still take; None where nobody can say."""
        return (self.total - self.done) / self.speed if self.speed else None


def nothing() -> set[Path]:
    """Return no folder."""
    return set()


# What returns the snapshots that are not to be deleted: core.models sets it, to those of the networks it reads or keeps.
in_use: Callable[[], set[Path]] = nothing


def snapshot(card: ModelCard, key: str = "", used: bool = True) -> Path | None:
    """Return the finished folder of a Hub model, None when it is not here. used: it counts as just used."""
    for home in dict.fromkeys((_home(""), _home(key))):
        folder = home / _stem(card, _revision(home, card))
        if card.shelf == "hub" and folder.is_dir():
            if used:
                with suppress(OSError):  # a cache that can only be read
                    os.utime(folder)
            return folder
    return None


def key_of(token: str | None) -> str:
    """Return under which key models are kept that were got with that token: 32 digits on a public host, else ""."""
    return hashlib.sha256(token.encode()).hexdigest()[:32] if token and catalogue.is_public() else ""


def fetch(card: ModelCard, accept: Accept, token: str | None = None) -> Iterator[Progress]:
    """Fetch a model, saying at least twice a second how far it is, until it is here; to close the iterator is to stop.

    Before the first byte of its weights `accept` is called with the plan, and raises what speaks against it. Those who
    fetch the same model at the same time wait for the same child; it ends with the last of them. What has come is kept.
    Raises VisitorErrors: what the checkpoint, the disk, the network or the Hub has against it.
    """
    try:
        yield from _follow(card, accept, None)
    except (errors.ModelGated, errors.ModelForbidden, errors.ModelMissing):
        if not token:
            raise
        yield from _follow(card, accept, token)


def _follow(card: ModelCard, accept: Accept, token: str | None) -> Iterator[Progress]:
    """Join those who wait for that model, or begin; as many at once as limits.FETCHES_AT_ONCE, the others wait."""
    began, job = time.monotonic(), None
    while job is None:
        if snapshot(card, key_of(token)) is not None:
            return
        job = _join(card, token)
        if job is None:
            yield Progress(0, 0, time.monotonic() - began)
            time.sleep(TICK)
    accepted = False
    try:
        while not job.over.wait(TICK):
            if job.plan is not None and not accepted:
                accept(job.plan)
                job.go()
                accepted = True
            yield job.progress()
        if job.error is not None:
            raise type(job.error)(**job.error.facts)  # one for each who waits
        if not job.here:
            raise RuntimeError("the process that fetches a model ended early")
        yield job.progress()
    finally:
        job.leave()


_lock = threading.RLock()  # who waits for whom, and what is deleted
_jobs: dict[tuple, "_Job"] = {}


def _join(card: ModelCard, token: str | None) -> "_Job | None":
    """Return what fetches that model, begun if need be; None where one has to wait for a place."""
    name = (card.repo, card.revision, token)
    with _lock:
        job = _jobs.get(name)
        if job is None and len(_jobs) < limits.FETCHES_AT_ONCE:
            job = _jobs[name] = _Job(card, token)
            threading.Thread(target=job.run, args=(name,), daemon=True).start()
        if job is None or job.left:
            return None
        job.listeners += 1
        return job


class _Ended(Exception):
    """Nobody waits any more, or there is no child any more."""


class _Job:
    """One child that fetches one model, for all who wait for it. `run` has a thread of its own."""

    def __init__(self, card: ModelCard, token: str | None):
        self.card, self.token = card, token
        self.home = _home(key_of(token))
        self.listeners = 0
        self.left = False  # by all
        self.over = threading.Event()
        self.here = False  # the snapshot
        self.error: errors.VisitorError | None = None
        self.plan: Plan | None = None
        self.part: Path | None = None  # the folder it comes into
        self.new = False  # that folder: nothing was kept of an earlier try
        self.asked = time.monotonic()
        self.began: float | None = None  # when the first listener had accepted the plan
        self.done = self.kept = 0
        self.events: queue.SimpleQueue[dict | None] = queue.SimpleQueue()
        self.child: subprocess.Popen | None = None

    def run(self, name: tuple) -> None:
        """Lead the child from the request to the snapshot."""
        try:
            self.child = _child()
            threading.Thread(target=self._listen, daemon=True).start()
            self._lead()
        except _Ended:
            pass
        except errors.VisitorError as error:
            self.error = error
            log.info("fetching %s: %s", self.card.repo, type(error).__name__)
        finally:
            try:
                if self.child is not None:
                    self._end()
            finally:  # whatever happens, nobody waits for ever
                with _lock:
                    del _jobs[name]
                self.over.set()

    def _lead(self) -> None:
        card, recorded = self.card, _revision(self.home, self.card)
        self._tell(repo=card.repo, name=checkpoints.called(card), revision=recorded, token=self.token)
        found = self._wait("found")
        revision = found["revision"]
        if not EXACT.fullmatch(revision) or (EXACT.fullmatch(recorded) and revision != recorded):
            raise errors.ModelMissing(name=checkpoints.called(card))
        checkpoints.check_files(card, found["names"])
        folder = self.home / _stem(card, revision)
        if not folder.is_dir():
            self.part = folder.with_name(f"{folder.name}.part")
            self.new = not self.part.exists()
            try:
                self.part.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise errors.CacheUnwritable() from error
            self._tell(folder=str(self.part))
            plan = self._wait("plan")
            checkpoints.check_config(card, plan["config"])
            self.plan = Plan(card, revision, plan["files"], plan["config"], sum(plan["files"].values()))
            self._wait("done")
            os.replace(self.part, folder)
            self.done = self.plan.bytes
        _record(self.home, card, revision)
        self.here = True

    def go(self) -> None:
        """Let the weights come, when the first listener has accepted them.

        Raises ModelTooLarge where the disk has no room for them.
        """
        with _lock:
            if self.began is None:
                self.done = self.kept = _size(self.part)
                _make_room(self)
                self.began = time.monotonic()
                self._tell()

    def leave(self) -> None:
        """Wait for it no more; the last who leaves ends it."""
        with _lock:
            self.listeners -= 1
            if self.listeners == 0:
                self.left = True
                self.events.put(None)

    def progress(self) -> Progress:
        """Return how far it is."""
        if self.began is None:
            return Progress(0, 0, time.monotonic() - self.asked)
        return Progress(self.done, self.plan.bytes, time.monotonic() - self.began, self.kept)

    def _tell(self, **request) -> None:
        with suppress(OSError):  # it is gone: its last event says why, or the end of its events
            self.child.stdin.write(json.dumps(request) + "\n")
            self.child.stdin.flush()

    def _listen(self) -> None:
        with self.child.stdout as lines:
            for line in lines:
                self.events.put(json.loads(line))
        self.events.put(None)

    def _wait(self, name: str) -> dict:
        """Return the child's event of that name, if it comes, and bytes keep coming, in time.

        Raises the child's errors, and HubSilent.
        """
        heard, mark = time.monotonic(), self.done
        while True:
            try:
                event = self.events.get(timeout=TICK)
            except queue.Empty:
                event = {}
            if event is None:
                raise _Ended
            if "error" in event:
                raise self._error(event)
            if event.get("event") == name:
                return event
            now, asking = time.monotonic(), self.plan is not None and self.began is None
            if self.began is not None:
                self.done = min(_size(self.part), self.plan.bytes)
            mark = min(mark, self.done)  # what was damaged is gone
            if event or asking or self.done - mark >= limits.DRIP_BYTES:
                heard, mark = now, self.done
            if now - heard > limits.SILENT_SECONDS:
                raise errors.HubSilent(seconds=limits.SILENT_SECONDS)
            if now - self.asked > limits.FETCH_SECONDS:
                raise errors.HubSilent(seconds=limits.FETCH_SECONDS)

    def _error(self, event: dict) -> errors.VisitorError:
        if event["error"] == "ModelTooLarge":  # the disk filled up on the way
            return _too_large(self.plan, shutil.disk_usage(self.home).free)
        return getattr(errors, event["error"])(**event["facts"])

    def _end(self) -> None:
        """End the child, whatever it does, and leave nothing of a model that nobody accepted."""
        self.child.kill()
        self.child.wait()
        with suppress(OSError):
            self.child.stdin.close()
        if self.part is not None:
            with suppress(OSError):
                Path(f"{self.part}.lock").unlink()
            if self.new and self.began is None:
                shutil.rmtree(self.part, ignore_errors=True)


def _child() -> subprocess.Popen:
    """Start the process that fetches, in an environment without anybody's secrets."""
    environment = {name: value for name, value in os.environ.items() if "TOKEN" not in name and "SECRET" not in name}
    for name in ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_DISABLE_TELEMETRY"):
        environment[name] = "1"
    environment["HF_HUB_VERBOSITY"] = "error"
    return subprocess.Popen(
        [sys.executable, "-m", "core.fetching"], cwd=ROOT, env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True,
    )  # fmt: skip


def _make_room(job: _Job) -> None:
    """Delete what was used least recently, and is not in use, until there is room for a plan, under `_lock`.

    Raises ModelTooLarge, and deletes nothing, where that would not do.
    """
    moving = [other for other in _jobs.values() if other.began is not None] + [job]
    coming = sum(other.plan.bytes - other.done for other in moving)
    sizes = {folder: _size(folder) for folder in sorted(_folders(), key=_used)}
    free = shutil.disk_usage(job.home).free
    short = max(sum(sizes.values()) + coming - limits.FETCHED_BYTES, coming + limits.SPARE_BYTES - free)
    busy = in_use() | {other.part for other in _jobs.values()}
    spare = {folder: size for folder, size in sizes.items() if folder not in busy}
    if short > sum(spare.values()):
        raise _too_large(job.plan, job.plan.bytes - short + sum(spare.values()))
    for folder, size in spare.items():
        if short > 0:
            _delete(folder)
            short -= size


def _too_large(plan: Plan, room: float) -> errors.ModelTooLarge:
    found, limit = (round(size / 1e9, 1) for size in (plan.bytes, max(0, room)))
    return errors.ModelTooLarge(name=checkpoints.called(plan.card), found=found, limit=limit, part="disk")


def _delete(folder: Path) -> None:
    """Delete a model; half deleted it is no snapshot any more."""
    part = folder if folder.suffix == ".part" else folder.with_name(f"{folder.name}.part")
    if part != folder:
        shutil.rmtree(part, ignore_errors=True)
        os.replace(folder, part)
    shutil.rmtree(part, ignore_errors=True)


def _folders() -> list[Path]:
    """Return all snapshots, and what there is of others."""
    found = [*_cache().glob("models/*--*"), *_cache().glob("private/*/*--*")]
    return [folder for folder in found if folder.is_dir()]


def _used(folder: Path) -> float:
    """Return when a model was last asked for, in seconds since 1970."""
    return folder.stat().st_mtime


def _size(folder: Path) -> int:
    """Return the bytes in a folder."""
    with suppress(FileNotFoundError), os.scandir(folder) as files:
        return sum(file.stat().st_size for file in files)
    return 0


def _cache() -> Path:
    try:
        return Path(os.environ.get("GLASSBOX_CACHE") or "~/.cache/glassbox").expanduser()
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / "glassbox"


def _home(key: str) -> Path:
    """Return the folder of the models kept under that key; "" for everybody's."""
    return _cache() / "private" / key if key else _cache() / "models"


def _stem(card: ModelCard, revision: str) -> str:
    return f"{card.repo.replace('/', '--')}--{revision}"


def _record_of(home: Path, card: ModelCard) -> Path:
    return home / f"{card.repo.replace('/', '--')}.json"


def _revision(home: Path, card: ModelCard) -> str:
    """Return the revision to be used: the pinned one, the one "main" was before, or "main"."""
    if not EXACT.fullmatch(card.revision):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return json.loads(_record_of(home, card).read_text("utf-8"))["revision"]
    return card.revision


def _record(home: Path, card: ModelCard, revision: str) -> None:
    """Remember which revision "main" is, from now on."""
    if not EXACT.fullmatch(card.revision):
        new = _record_of(home, card).with_suffix(".new")
        new.write_text(json.dumps({"revision": revision}), "utf-8")
        os.replace(new, _record_of(home, card))
