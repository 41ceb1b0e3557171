"""The models in memory: one copy of a network however many use it, lent out, kept, put away when room is needed."""

import gc
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from core import catalogue, checkpoints, hub, limits, loading
from core.catalogue import ModelCard
from core.checkpoints import called
from core.devices import Device, Queue, device, processor, ran_out
from core.errors import ModelNotFetched, ModelTooLarge, OutOfMemory, VisitorError
from core.loading import ROOT, Model, class_for, lean, processor_class, read, size

__all__ = [
    "ROOT", "Device", "Model", "Queue", "accept", "device", "evict_idle", "lean", "lend", "load", "make_way", "places",
    "processor", "processor_class", "ran_out", "read", "size", "warm_up", "when_evicted",
]  # fmt: skip
log = logging.getLogger("glassbox")
Key = tuple[Path, str, int, str]  # folder, class, bits, kind of device: what makes a network another one


@dataclass
class Kept:
    """A network in memory."""

    model: Model
    users: int = 0  # who have it on loan; with none it may be put away
    settling: Future | None = None
    bytes: int = field(init=False)  # of its weights

    def __post_init__(self):
        self.bytes = size(self.model)


_kept: OrderedDict[Key, Kept] = OrderedDict()  # least recently used first
_loading: dict[Key, threading.Lock] = {}
_guard = threading.RLock()  # of these two
_reading = threading.RLock()  # Transformers keeps what it loads in places all threads share: two at once lose weights
when_evicted: list[Callable[[Model], None]] = []  # called with a model that is put away, by who keeps something of it


@contextmanager
def lend(name: str, task: str | None = None, place: Device | None = None) -> Iterator[Model]:
    """Lend a model for the time of the block, loaded once for all who ask at the same time; meanwhile it is not put away.

    place: the device, unless the network is to be on another one.
    Raises UnknownModel, ModelNotFetched, what `read` raises, and OutOfMemory.
    """
    card = catalogue.find(name, task)
    kept = borrow(card, folder_of(card), place or device())
    try:
        if kept.settling:
            kept.model.device.queue.wait(kept.settling)
        yield kept.model if kept.model.card == card else replace(kept.model, card=card)
    finally:
        give_back(kept)


def give_back(kept: Kept) -> None:
    """End a loan. After a network's first one its weights are settled: that takes longer than its first answer does."""
    with _guard:
        kept.users -= 1
        if not kept.users and not kept.settling and not kept.model.settled.is_set():
            kept.settling = kept.model.device.queue.submit(partial(settle, kept))


def settle(kept: Kept) -> None:
    """Let a network's weights be as they will stay; what it computed before is forgotten."""
    try:
        loading.settle(kept.model)
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        log.warning("no room to settle %s", called(kept.model.card))
    clear(kept.model)
    kept.bytes = size(kept.model)


def load(name: str, task: str | None = None) -> Model:
    """Return a model as `lend` does, though it may be put away when others are asked for."""
    with lend(name, task) as model:
        return model


def folder_of(card: ModelCard) -> Path:
    """Return where the files of a model are. Raises ModelNotFetched for a model of the Hub that is not on this computer."""
    folder = hub.snapshot(card, card.key) if card.shelf == "hub" else ROOT / card.repo
    if folder is None:
        raise ModelNotFetched(name=called(card))
    return folder


def borrow(card: ModelCard, folder: Path, place: Device) -> Kept:
    """Return a network that is in memory, or read it now, with one more user."""
    auto = card.auto or class_for(card, checkpoints.configuration(card, folder))
    key = (folder, auto, card.bits, place.place.type)
    with _loading.setdefault(key, threading.Lock()):
        kept = take(key)
        if kept is None:
            kept = Kept(read_with_care(card, key, place), users=1)
            with _guard:
                _kept[key] = kept
                evict(0)
        return kept


def take(key: Key) -> Kept | None:
    """Return a network that is in memory, with one more user; None where it is not."""
    with _guard:
        kept = _kept.get(key)
        if kept is not None:
            kept.users += 1
            _kept.move_to_end(key)
    return kept


def read_with_care(card: ModelCard, key: Key, place: Device) -> Model:
    """Read a model when there is room for it: on a full card once more after clearing away, then on the processor.

    Raises OutOfMemory.
    """
    for where in places(place):
        try:
            with _reading:
                make_room(card, key[0], where)
                return bring(card, key, where)
        except (OutOfMemory, RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            log.warning("no room for %s on %s", called(card), where.name)
        evict_idle()
    raise OutOfMemory(name=called(card))


def places(place: Device) -> tuple[Device, ...]:
    """Return where something is tried while memory runs out: twice on a device, then on the processor."""
    return (place, place) if place is processor() else (place, place, processor())


def bring(card: ModelCard, key: Key, place: Device) -> Model:
    """Return a network the process had in memory from which this one was forked, on another device; else read it."""
    model = _inherited.pop(key[:3], None)
    if model is None:
        return read(card, key[0], place)
    model = replace(model, network=model.network.to(place.place), device=place, beside={}, settled=threading.Event())
    loading.settle(model)
    return model


def make_room(card: ModelCard, folder: Path, place: Device) -> None:
    """Put away what nobody uses until a network of that folder fits the budget, and the memory that is free.

    Raises OutOfMemory.
    """
    needed = bytes_needed(checkpoints.weights_in(card, folder).parameters, place)
    evict(needed)
    free = place.free()
    if free is not None and needed > free:
        evict_idle()
        if needed > place.free():
            raise OutOfMemory(name=called(card))


def bytes_needed(parameters: int, place: Device) -> int:
    """Return what a network takes on a device while it is read: half precision on a processor comes after that.

    Of one that is halved at once, two bytes a weight of linear layers and four of its tables of words: about three.
    """
    return parameters * (3 if place.frugal(parameters) else place.dtype(parameters).itemsize)


def accept(plan: hub.Plan) -> None:
    """Refuse a model of the Hub before it is fetched: of a kind its task cannot run, not all there, or larger than memory.

    Raises ModelUnfit, ModelUnusable, ModelTooLarge.
    """
    held = sum(size for name, size in plan.files.items() if name.endswith(".safetensors"))
    told = str(plan.config.get("dtype") or plan.config.get("torch_dtype"))
    parameters = held // (2 if told.endswith("float16") else 4)
    loading.check_size(plan.card, plan.config, parameters)
    rooms = []
    for place in {device().place.type: device(), "cpu": processor()}.values():
        needed, free = bytes_needed(parameters, place), place.free()
        if free is None or needed <= free + idle_bytes(place):
            return
        rooms.append((free + idle_bytes(place), needed))
    room, needed = max(rooms)
    raise ModelTooLarge(name=called(plan.card), found=gigabytes(needed), limit=gigabytes(room), part="memory")


def gigabytes(number: int) -> float:
    """Return bytes as gigabytes, in two digits at least."""
    return round(number / 1e9, 1) if number >= 1e9 else float(f"{number / 1e9:.2g}")


def idle_bytes(place: Device) -> int:
    """Return the bytes of a device that networks have which nobody uses."""
    with _guard:
        return sum(kept.bytes for key, kept in _kept.items() if key[3] == place.place.type and not kept.users)


def evict_idle() -> None:
    """Put away every network that nobody uses."""
    evict(limits.KEPT_BYTES)


def evict(coming: int) -> None:
    """Put away the least recently used networks until those in memory and what is coming fit the budget; none in use."""
    with _guard:
        idle = [key for key, kept in _kept.items() if not kept.users]
        gone = [put_away(key) for key in idle if bytes_kept() + coming > limits.KEPT_BYTES]
    if gone:
        gc.collect()  # some hold themselves in a circle
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def bytes_kept() -> int:
    """Return the bytes of all networks in memory."""
    return sum(kept.bytes for kept in _kept.values())


def put_away(key: Key) -> None:
    """Forget a network, and all that is kept of what it computed."""
    clear(_kept.pop(key).model)


def clear(model: Model) -> None:
    """Forget what is kept of what a network computed."""
    model.beside.clear()
    for forget in when_evicted:
        forget(model)


def make_way(model: Model) -> None:
    """Leave a network that is in use as much memory as can be had."""
    clear(model)
    evict_idle()


def folders_in_use() -> set[Path]:
    """Return the folders of networks in memory, and of those being read."""
    with _guard:
        return {key[0] for key in _kept} | {key[0] for key, lock in _loading.items() if lock.locked()}


hub.in_use = folders_in_use
_inherited: dict[tuple[Path, str, int], Model] = {}  # what the process had in memory that this one was forked off


def hold_still() -> None:
    """Let a process be forked off only while nothing is half read, or half put away."""
    _reading.acquire()
    _guard.acquire()


def go_on() -> None:
    """Go on after that."""
    _guard.release()
    _reading.release()


def begin_anew() -> None:
    """Begin in a process that was forked off: nobody there has anything on loan, or waits."""
    _inherited.update({key[:3]: kept.model for key, kept in _kept.items()})
    _kept.clear()
    _loading.clear()
    go_on()


os.register_at_fork(before=hold_still, after_in_parent=go_on, after_in_child=begin_anew)


def warm_up() -> None:
    """Load every model on board, so that nobody's first answer waits for it; one that fails leaves the others alone."""
    for card in catalogue.CATALOGUE:
        if card.shelf == "board":
            try:
                load(card.name)
            except VisitorError as error:
                log.error("%s cannot be used: %s", card.name, error)
