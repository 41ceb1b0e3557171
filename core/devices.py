"""Where networks run: the device, how much memory it has free, and its one queue."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch

from core import catalogue, halves, limits
from core.errors import OutOfMemory, TooBusy

T = TypeVar("T")


class Queue:
    """What is to be worked out on a device, one thing after the other, in the order in which it was asked for.

    All of it runs in threads of the device's own: OpenMP keeps helpers for every thread that ever multiplied anything, and
    where there are more of these than processors each step waits for them several times as long. Steps too small to be
    shared out among helpers run in a thread that has none.
    """

    def __init__(self):
        self._narrow, self._wide = (ThreadPoolExecutor(1, name) for name in ("device", "device-wide"))
        threads = torch.get_num_threads()
        self._narrow.submit(use_threads, 1).result()
        self._wide.submit(use_threads, threads).result()  # the last one holds for threads to come
        self.served = 0  # turns that came

    def run(self, work: Callable[[], T], seconds: float = limits.TURN_SECONDS) -> T:
        """Wait for one's turn, and return what comes of the work; gradients are on where they are on for the caller.

        Raises TooBusy when the turn does not come in time, and whatever the work raises.
        """
        return self.wait(self.submit(work), seconds)

    def submit(self, work: Callable[[], T], small: bool = False) -> Future[T]:
        """Line up; see `run`. small: not worth sharing out among helpers, or but for what is asked for `widely`."""
        return self._narrow.submit(self._serve, in_modes(work), small)

    def wait(self, turn: Future[T], seconds: float = limits.TURN_SECONDS) -> T:
        """Wait for a turn and return what comes of it; see `run`."""
        try:
            return turn.result(seconds)
        except TimeoutError:
            if turn.cancel():
                raise TooBusy(seconds=int(seconds)) from None
            return turn.result()  # it has begun

    def widely(self, work: Callable[[], T]) -> T:
        """Within a small turn, work something out that is worth sharing out among helpers."""
        return self._wide.submit(in_modes(work)).result()

    def _serve(self, work: Callable[[], T], small: bool) -> T:
        self.served += 1
        return work() if small else self._wide.submit(work).result()


def use_threads(number: int) -> None:
    """Let this thread share its work out among so many."""
    torch.get_num_threads()  # a thread's first look at it undoes what was set before
    torch.set_num_threads(number)


def in_modes(work: Callable[[], T]) -> Callable[[], T]:
    """Return the work with gradients on where they are on here, whatever thread it is done in."""
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def working() -> T:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return work()

    return working


@dataclass(frozen=True)
class Device:
    """Where networks run, why there, and who is next."""

    place: torch.device
    why: str  # "asked", "cuda", "mps" or "processor": the badge's sentence in demos/words
    name: str  # as its maker calls it
    queue: Queue = field(default_factory=Queue)
    waits: bool = (
        False  # networks only wait here, in this process's memory, for a card that is lent for each run (ZeroGPU)
    )

    @property
    def halves(self) -> bool:
        """Whether linear layers are kept in half precision and worked out in float32."""
        return not self.waits and halves.serve(self.place)

    def frugal(self, parameters: int) -> bool:
        """Whether a network is read in the precision of its file, and halved at once: in float32 it would take too much."""
        return self.halves and 4 * parameters > limits.FLOAT_BYTES

    def dtype(self, parameters: int) -> torch.dtype:
        """Return bfloat16 for networks large enough to gain from it, on a card that multiplies it; else float32."""
        large = parameters >= limits.HALF_PRECISION_PARAMETERS
        able = self.waits or (self.place.type == "cuda" and torch.cuda.is_bf16_supported())
        return torch.bfloat16 if large and able else torch.float32

    def free(self) -> int | None:
        """Return the bytes of memory that are free; None where that is not known."""
        if self.place.type == "cuda":
            kept = torch.cuda.memory_reserved(self.place) - torch.cuda.memory_allocated(self.place)
            return torch.cuda.mem_get_info(self.place)[0] + kept
        return free_memory()


@cache
def device() -> Device:
    """Return the device: `GLASSBOX_DEVICE` if set, else CUDA, else Apple's MPS, else the processor.

    Raises ValueError, at the start of the app, for a `GLASSBOX_DEVICE` that is not there.
    """
    if catalogue.lends_cards() and not is_lent():
        return Device(torch.device("cpu"), "cuda", "ZeroGPU", waits=True)
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = [*["cuda"][:cards], *(f"cuda:{card}" for card in range(cards))]
    there += [*["mps"] * torch.backends.mps.is_available(), "cpu"]
    asked = os.environ.get("GLASSBOX_DEVICE", "").strip().lower()
    if asked and asked not in there:
        raise ValueError(
            f"GLASSBOX_DEVICE is {asked!r}, and this machine has: {', '.join(there)}. Set it to one of these or unset it."
        )
    place = torch.device(asked or there[0])
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type.upper()
    return Device(place, "asked" if asked else {"cpu": "processor"}.get(place.type, place.type), name)


def processor() -> Device:
    """Return the processor, where networks run that a card has no room for: the device itself where it is the device."""
    return device() if device().place.type == "cpu" else beside_card()


@cache
def beside_card() -> Device:
    """Return the processor of a machine whose device is another."""
    return Device(torch.device("cpu"), "processor", "CPU")


def is_lent() -> bool:
    """Whether this process was forked off to run a task."""
    return os.getpid() != _first


_first = os.getpid()  # of the process that imported this


def begin_anew() -> None:
    """Forget the devices in a process that was forked off: their threads stayed behind."""
    device.cache_clear()
    beside_card.cache_clear()


os.register_at_fork(after_in_child=begin_anew)


def free_memory() -> int | None:
    """Return the bytes Linux can give away, within what a container may use; None on other systems."""
    try:
        told = numbers_in(Path("/proc/meminfo"))
        room = [1024 * told["MemAvailable:"]]
    except (OSError, LookupError):
        return None
    group = Path("/sys/fs/cgroup")
    for most, used, stat in (
        (group / "memory.max", group / "memory.current", group / "memory.stat"),
        (group / "memory/memory.limit_in_bytes", group / "memory/memory.usage_in_bytes", group / "memory/memory.stat"),
    ):
        try:
            files = numbers_in(stat)  # pages of files count as used, and go when they are in the way
            room.append(int(most.read_text()) - int(used.read_text()) + files["active_file"] + files["inactive_file"])
        except (OSError, LookupError, ValueError):  # no container, or no limit
            continue
    return max(0, min(room))


def numbers_in(file: Path) -> dict[str, int]:
    """Return the numbers of a file of lines such as "MemAvailable: 12 kB". Raises OSError."""
    lines = (line.split() for line in file.read_text("ascii").splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory is full: torch has a class for a card's alone."""
    told = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError | OutOfMemory)
        or isinstance(error, RuntimeError)
        and any(
            sign in told for sign in ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
        )
    )
