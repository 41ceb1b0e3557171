"""One queue for the device, one copy of every model, and only checkpoints that are whole and safe."""

import shutil
import threading
import time
from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from core import catalogue, limits, models
from core.catalogue import ModelCard
from core.errors import ModelUnusable, TooBusy, UnknownModel
from core.models import Queue
from tests.tiny import network_of

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
    models.device.cache_clear()
    yield models.device
    models.device.cache_clear()


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


@pytest.fixture
def shelf(monkeypatch):
    """An empty shelf, three models in the catalogue, and a reader that makes them of 100 bytes each."""
    cards = tuple(ModelCard(name, ("masking",), f"weights/{name}", "AutoModelForMaskedLM") for name in "abc")
    monkeypatch.setattr(catalogue, "CATALOGUE", cards)
    monkeypatch.setattr(models, "_kept", OrderedDict())
    monkeypatch.setattr(models, "_loading", {})
    made = []

    def read(card):
        made.append(card.name)
        return SimpleNamespace(
            card=card, network=SimpleNamespace(parameters=lambda: [torch.zeros(25)], modules=lambda: [])
        )

    monkeypatch.setattr(models, "read", read)
    return made


def test_a_model_is_loaded_once_for_all_who_ask_at_the_same_time(shelf, monkeypatch):
    read, gate, got = models.read, threading.Event(), []
    monkeypatch.setattr(models, "read", lambda card: gate.wait(PATIENCE) and read(card))
    threads = [threading.Thread(target=lambda: got.append(models.load("a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert shelf == ["a"]
    assert len(got) == 8 and len({id(one) for one in got}) == 1


def test_a_model_that_is_there_does_not_wait_for_one_that_loads(shelf, monkeypatch):
    models.load("b")
    read, gate, started = models.read, threading.Event(), threading.Event()

    def slow(card):
        started.set()
        gate.wait(PATIENCE)
        return read(card)

    monkeypatch.setattr(models, "read", slow)
    waiting = threading.Thread(target=models.load, args=("a",))
    waiting.start()
    assert started.wait(PATIENCE)
    assert models.load("b").card.name == "b"
    gate.set()
    waiting.join(PATIENCE)


def test_two_models_are_never_read_at_once_for_transformers_would_lose_weights(shelf, monkeypatch):
    read, inside, most = models.read, [], []

    def slow(card):
        inside.append(card.name)
        most.append(len(inside))
        time.sleep(0.05)
        inside.remove(card.name)
        return read(card)

    monkeypatch.setattr(models, "read", slow)
    threads = [threading.Thread(target=models.load, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(shelf) == ["a", "b", "c"] and max(most) == 1


def test_a_model_that_failed_to_load_is_tried_again(shelf, monkeypatch):
    read = models.read
    monkeypatch.setattr(models, "read", lambda card: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        models.load("a")
    monkeypatch.setattr(models, "read", read)
    assert models.load("a").card.name == "a"


def test_over_the_budget_the_least_recently_used_goes(shelf, monkeypatch):
    monkeypatch.setattr(limits, "KEPT_BYTES", 250)
    models.load("a"), models.load("b"), models.load("a"), models.load("c")
    assert list(models._kept) == ["a", "c"]
    models.load("b")
    assert shelf == ["a", "b", "c", "b"]


def test_a_model_larger_than_the_budget_is_kept_while_it_is_the_only_one(shelf, monkeypatch):
    monkeypatch.setattr(limits, "KEPT_BYTES", 10)
    assert models.load("a") is models.load("a")
    models.load("b")
    assert list(models._kept) == ["b"]


def test_an_unknown_model_is_refused_before_anything_is_read(shelf):
    with pytest.raises(UnknownModel):
        models.load("d")
    assert shelf == []


def test_all_models_on_board_are_warmed_up(shelf):
    models.warm_up()
    assert shelf == ["a", "b", "c"]


@pytest.fixture
def checkpoint(model, tmp_path):
    """A checkpoint of one's own to spoil."""
    folder = tmp_path / "spoilt"
    shutil.copytree(model("bert", "masking").card.repo, folder)
    return ModelCard("spoilt", ("masking",), str(folder), "AutoModelForMaskedLM"), folder


def test_a_whole_checkpoint_is_read_ready_to_answer(checkpoint):
    read = models.read(checkpoint[0])
    assert not read.network.training
    assert not any(weight.requires_grad for weight in read.network.parameters())
    assert read.device is models.device()


def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_name(checkpoint):
    card, folder = checkpoint
    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in tensors if "layer.1" in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(ModelUnusable) as error:
        models.read(card)
    assert lost in error.value.facts["lacks"] and error.value.facts["name"] == "spoilt"


def test_a_checkpoint_without_the_head_its_task_needs_is_refused(checkpoint):
    card = ModelCard("headless", ("sentiment",), checkpoint[0].repo, "AutoModelForSequenceClassification")
    with pytest.raises(ModelUnusable) as error:
        models.read(card)
    assert "classifier" in error.value.facts["lacks"]


def test_weights_that_are_not_safetensors_are_not_opened(checkpoint):
    card, folder = checkpoint
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelUnusable) as error:
        models.read(card)
    assert error.value.facts["lacks"] == "safetensors weights"


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(ModelUnusable):
        models.read(ModelCard("nowhere", ("masking",), "weights/nowhere", "AutoModelForMaskedLM"))


@pytest.mark.parametrize(("kind", "task"), [("roberta", "masking"), ("gpt2", "generation"), ("vilt", "vqa")])
def test_the_context_is_what_the_network_has_places_for(model, kind, task):
    found = model(kind, task)
    assert found.context == {"roberta": 64, "gpt2": 64, "vilt": 40}[kind]


def test_gpt2s_activation_worked_out_in_one_step_says_the_same(tmp_path):
    plain = network_of("gpt2", "AutoModelForCausalLM", 90)
    assert plain.config.activation_function == "gelu_new"
    plain.save_pretrained(tmp_path)
    config = models.lean(type(plain.config).from_pretrained(tmp_path))
    lean = type(plain).from_pretrained(tmp_path, config=config).eval()
    assert type(lean.transformer.h[0].mlp.act) is not type(plain.transformer.h[0].mlp.act)
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        torch.testing.assert_close(lean(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)
