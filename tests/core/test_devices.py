"""One queue for the device, in the order in which it was asked; and the device that was asked for."""

import threading
import time

import pytest
import torch

from core import devices
from core.devices import Queue, ran_out
from core.errors import OutOfMemory, TooBusy

PATIENCE = 10  # seconds a test waits for a thread before it calls it lost


@pytest.fixture
def queue(monkeypatch):
    made = Queue()
    made.asked, submit = 0, made.submit

    def counted(work):
        turn = submit(work)
        made.asked += 1
        return turn

    monkeypatch.setattr(made, "submit", counted)
    return made


class Visitor(threading.Thread):
    """Takes a turn and holds it until told to go."""

    def __init__(self, queue: Queue, order: list, seconds: float = PATIENCE):
        super().__init__(daemon=True)
        self.queue, self.order, self.seconds = queue, order, seconds
        self.in_turn, self.go, self.gave_up = threading.Event(), threading.Event(), threading.Event()
        asked = queue.asked
        self.start()
        wait_until(lambda: queue.asked > asked)

    def run(self):
        try:
            self.queue.run(self.hold, self.seconds)
        except TooBusy:
            self.gave_up.set()

    def hold(self):
        self.order.append(self)
        self.in_turn.set()
        self.go.wait(PATIENCE)


def wait_until(true):
    for _ in range(PATIENCE * 1000):
        if true():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it never came")


def test_first_come_is_first_served(queue):
    order = []
    visitors = [Visitor(queue, order) for _ in range(6)]
    for at, visitor in enumerate(visitors):
        assert visitor.in_turn.wait(PATIENCE)
        assert order == visitors[: at + 1]  # nobody else is in
        visitor.go.set()
    for visitor in visitors:
        visitor.join(PATIENCE)
    assert queue.served == 6


def test_who_waits_too_long_is_told_for_how_long(queue):
    holder = Visitor(queue, [])
    with pytest.raises(TooBusy) as error:
        queue.run(pytest.fail, seconds=0.01)
    assert error.value.facts == {"seconds": 0}
    assert queue.served == 1
    holder.go.set()
    holder.join(PATIENCE)


def test_those_who_give_up_do_not_break_the_order(queue):
    order = []
    first, *impatient = Visitor(queue, order), Visitor(queue, order, 0.01), Visitor(queue, order, 0.01)
    last = Visitor(queue, order)
    assert all(one.gave_up.wait(PATIENCE) for one in impatient)
    assert not last.in_turn.is_set()  # the first one still has the device
    first.go.set()
    assert last.in_turn.wait(PATIENCE)
    last.go.set()
    last.join(PATIENCE)
    assert order == [first, last]
    assert queue.run(list, seconds=PATIENCE) == []


@pytest.mark.parametrize("error", [RuntimeError, TimeoutError])
def test_an_error_inside_a_turn_reaches_who_asked_and_frees_the_device(queue, error):
    def fail():
        raise error("in the network")

    with pytest.raises(error, match="in the network"):
        queue.run(fail)
    assert queue.run(list) == [] and queue.served == 2


def test_work_that_takes_longer_than_one_may_wait_for_it_is_done_all_the_same(queue):
    assert queue.run(lambda: time.sleep(0.1) or "done", seconds=0.02) == "done"


def test_two_are_never_in_at_once_however_many_come(queue):
    inside, most = [], []

    def enter():
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    def visit():
        for _ in range(20):
            queue.run(enter)

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert max(most) == 1 and queue.served == len(most) == 160


def test_a_small_turn_has_no_helpers_but_for_what_it_asks_for_widely(queue):
    with torch.inference_mode():
        small = queue.wait(Queue.submit(queue, torch.get_num_threads, small=True))
        wide, inferring = queue.wait(
            Queue.submit(
                queue,
                lambda: queue.widely(lambda: (torch.get_num_threads(), torch.is_inference_mode_enabled())),
                small=True,
            )
        )
    assert small == 1 and wide == queue.run(torch.get_num_threads) == torch.get_num_threads() and inferring


def test_all_is_worked_out_in_one_thread_with_gradients_as_the_caller_has_them(queue):
    def look():
        return threading.get_ident(), torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    plain = queue.run(look)
    with torch.no_grad():
        without = queue.run(look)
    with torch.inference_mode():
        inferring = queue.run(look)
    assert plain[0] == without[0] == inferring[0] != threading.get_ident()
    assert plain[1:] == (False, True) and without[1:] == (False, False) and inferring[1:] == (True, False)


@pytest.fixture
def fresh_device():
    devices.device.cache_clear()
    yield devices.device
    devices.device.cache_clear()


def test_the_device_that_is_asked_for_is_taken(fresh_device, monkeypatch):
    monkeypatch.setenv("GLASSBOX_DEVICE", " CPU ")
    assert fresh_device().place == torch.device("cpu")
    assert fresh_device().why == "asked"
    assert fresh_device() is fresh_device()  # one device, one queue


@pytest.mark.parametrize("wrong", ["tpu", "cuda:99", "cpu:banana", "gpu", ":"])
def test_a_device_that_is_not_there_is_refused_with_what_there_is(fresh_device, monkeypatch, wrong):
    monkeypatch.setenv("GLASSBOX_DEVICE", wrong)
    with pytest.raises(ValueError, match=f"GLASSBOX_DEVICE is '{wrong}', and this machine has: .*cpu"):
        fresh_device()


def test_without_a_wish_the_fastest_is_taken(fresh_device, monkeypatch):
    monkeypatch.delenv("GLASSBOX_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert (fresh_device().place.type, fresh_device().why) == ("cpu", "processor")
    fresh_device.cache_clear()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert (fresh_device().place.type, fresh_device().why) == ("mps", "mps")


@pytest.mark.parametrize("parameters", [1000, 10**9])
def test_small_networks_and_a_processor_stay_exact(fresh_device, monkeypatch, parameters):
    monkeypatch.setenv("GLASSBOX_DEVICE", "cpu")
    assert fresh_device().dtype(parameters) == torch.float32


def test_linux_says_how_much_memory_is_free_and_others_say_nothing(monkeypatch, tmp_path):
    free = devices.device().free()
    assert free is None or 0 <= free < 10**14
    monkeypatch.setattr(devices, "Path", lambda path: tmp_path / path.lstrip("/"))
    assert devices.free_memory() is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    7000 kB\nHugePages_Free:  0\n")
    assert devices.free_memory() == 7000 * 1024


def test_a_container_has_what_it_may_use_and_does_not_use_yet(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "Path", lambda path: tmp_path / path.lstrip("/"))
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemAvailable: 7000 kB\n")
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("5000\n")
    (group / "memory.stat").write_text("anon 3000\nactive_file 600\ninactive_file 400\n")
    assert devices.free_memory() == 7000 * 1024
    (group / "memory.max").write_text("6000\n")
    assert devices.free_memory() == 6000 - 5000 + 600 + 400


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), OutOfMemory(name="a"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
    ],
)  # fmt: skip
def test_full_memory_is_known_by_what_is_raised(error):
    assert ran_out(error)


def test_what_torch_raises_on_a_processor_is_known_and_other_errors_are_not_taken_for_it():
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    assert ran_out(error.value)
    assert not ran_out(RuntimeError("shapes do not fit")) and not ran_out(ValueError("out of memory"))
