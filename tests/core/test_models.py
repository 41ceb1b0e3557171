"""One copy of every network, lent out, kept while there is room, and never a mixture."""

import gc
import threading
import time
import weakref
from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from core import catalogue, devices, halves, hub, limits, loading, models, tasks, traces
from core.catalogue import ModelCard
from core.devices import Device
from core.errors import (
    ModelNotFetched,
    ModelTooLarge,
    ModelUnfit,
    ModelUnusable,
    OutOfMemory,
    UnknownModel,
)
from core.halves import HalfLinear
from core.models import Model
from core.runner import run_here
from tests.fake_hub import FakeHub
from tests.tiny import tiny

PATIENCE = 10  # seconds a test waits for a thread before it calls it lost
FULL = torch.OutOfMemoryError("CUDA out of memory")


class Network(torch.nn.Module):
    """25 numbers."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(25), requires_grad=False)


@pytest.fixture
def shelf(monkeypatch, tmp_path):
    """An empty memory, three models in the catalogue of 100 bytes each, and a reader that notes what it reads, and where."""
    cards = []
    for name in "abc":
        folder = tmp_path / name
        folder.mkdir()
        save_file({"weight": torch.zeros(25)}, folder / "model.safetensors")
        cards.append(ModelCard(name, ("masking",), str(folder), "AutoModelForMaskedLM"))
    monkeypatch.setattr(catalogue, "CATALOGUE", tuple(cards))
    monkeypatch.setattr(models, "_kept", OrderedDict())
    monkeypatch.setattr(models, "_loading", {})
    made = []

    def read(card, folder, place):
        made.append(card.name)
        return Model(card, Network(), None, place)

    monkeypatch.setattr(models, "read", read)
    return made


@pytest.fixture
def card_device(monkeypatch):
    """A card, as far as the keeping of models can tell."""
    found = Device(SimpleNamespace(type="cuda"), "cuda", "a card")
    monkeypatch.setattr(Device, "free", lambda self: None)
    monkeypatch.setattr(Device, "dtype", lambda self, parameters: torch.float32)
    monkeypatch.setattr(models, "device", lambda: found)
    return found


def names_kept() -> list[str]:
    return [kept.model.card.name for kept in models._kept.values()]


def together(*works) -> None:
    """Do all at the same time."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)


def test_a_model_is_loaded_once_for_all_who_ask_at_the_same_time(shelf, monkeypatch):
    read, gate, got = models.read, threading.Event(), []
    monkeypatch.setattr(models, "read", lambda *what: gate.wait(PATIENCE) and read(*what))
    threading.Timer(0.1, gate.set).start()
    together(*[lambda: got.append(models.load("a"))] * 8)
    assert shelf == ["a"]
    assert len(got) == 8 and len({id(one) for one in got}) == 1


def test_a_model_that_is_there_does_not_wait_for_one_that_loads(shelf, monkeypatch):
    models.load("b")
    read, gate, started = models.read, threading.Event(), threading.Event()

    def slow(*what):
        started.set()
        gate.wait(PATIENCE)
        return read(*what)

    monkeypatch.setattr(models, "read", slow)
    waiting = threading.Thread(target=models.load, args=("a",))
    waiting.start()
    assert started.wait(PATIENCE)
    assert models.load("b").card.name == "b"
    gate.set()
    waiting.join(PATIENCE)


def test_each_visitor_gets_the_model_they_chose_while_others_choose_others(shelf, monkeypatch):
    monkeypatch.setattr(limits, "KEPT_BYTES", 200)  # so that they push one another out
    got = []

    def visit(name):
        for _ in range(20):
            with models.lend(name) as model:
                got.append((name, model.card.name))

    together(*[lambda name=name: visit(name) for name in "abcabc"])
    assert len(got) == 120 and all(asked == found for asked, found in got)
    assert not any(kept.users for kept in models._kept.values())


def test_two_models_are_never_read_at_once_for_transformers_would_lose_weights(shelf, monkeypatch):
    read, inside, most = models.read, [], []

    def slow(card, *where):
        inside.append(card.name)
        most.append(len(inside))
        time.sleep(0.05)
        inside.remove(card.name)
        return read(card, *where)

    monkeypatch.setattr(models, "read", slow)
    together(*[lambda name=name: models.load(name) for name in "abc"])
    assert sorted(shelf) == ["a", "b", "c"] and max(most) == 1


def test_a_model_that_failed_to_load_is_tried_again(shelf, monkeypatch):
    read = models.read
    monkeypatch.setattr(models, "read", lambda *what: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        models.load("a")
    monkeypatch.setattr(models, "read", read)
    assert models.load("a").card.name == "a"


def test_over_the_budget_the_least_recently_used_goes(shelf, monkeypatch):
    monkeypatch.setattr(limits, "KEPT_BYTES", 250)
    models.load("a"), models.load("b"), models.load("a"), models.load("c")
    assert names_kept() == ["a", "c"]
    models.load("b")
    assert shelf == ["a", "b", "c", "b"]


def test_room_is_made_before_the_next_one_is_read(shelf, monkeypatch):
    monkeypatch.setattr(limits, "KEPT_BYTES", 250)
    read, there = models.read, []
    monkeypatch.setattr(models, "read", lambda *what: there.append(names_kept()) or read(*what))
    models.load("a"), models.load("b"), models.load("c")
    assert there == [[], ["a"], ["b"]]


def test_a_model_larger_than_the_budget_is_kept_while_it_is_the_only_one(shelf, monkeypatch):
    monkeypatch.setattr(limits, "KEPT_BYTES", 10)
    assert models.load("a") is models.load("a")
    models.load("b")
    assert names_kept() == ["b"]


def test_a_model_in_use_is_never_put_away(shelf, monkeypatch):
    monkeypatch.setattr(limits, "KEPT_BYTES", 150)
    with models.lend("a") as model:
        models.load("b")
        models.load("c")
        assert "a" in names_kept() and models.load("a") is model
        models.evict_idle()
        assert names_kept() == ["a"]
    models.load("b")
    assert names_kept() == ["b"]


def test_a_loan_ends_also_with_an_error(shelf):
    with pytest.raises(KeyError), models.lend("a"):
        raise KeyError
    models.evict_idle()
    assert names_kept() == []


def test_memory_that_is_in_use_is_not_to_be_had(shelf, monkeypatch):
    free = 1000
    monkeypatch.setattr(Device, "free", lambda self: free - 100 * len(models._kept))
    models.load("a")
    with models.lend("b"):
        free = 250  # there is room for the one in use, and for one more once "a" is gone
        models.load("c")
        assert names_kept() == ["b", "c"]
        free = 150
        with pytest.raises(OutOfMemory) as error:
            models.load("a")
        assert error.value.facts == {"name": "a"}
    assert models.load("a").card.name == "a"  # the loan is over


def test_what_is_put_away_is_gone(tmp_path, monkeypatch):
    tiny(tmp_path, "gpt2", "AutoModelForCausalLM", "generation")
    monkeypatch.setattr(
        catalogue, "CATALOGUE", (ModelCard("tale", ("generation", "attention"), str(tmp_path), "AutoModelForCausalLM"),)
    )
    with models.lend("tale") as model:
        list(tasks.generate(model, "the cat"))
        tasks.attend(model, "the cat sat")
        network, table = weakref.ref(model.network), weakref.ref(model.beside["table"])
        trace = next(key for key in traces._kept if key[0]() is model.network)
    del model
    gc.collect()
    assert network() is not None and trace in traces._kept
    models.evict_idle()
    assert network() is None and table() is None and trace not in traces._kept


def test_two_names_of_one_network_share_it(shelf, monkeypatch):
    one = models.load("a")
    twin = ModelCard("twin", ("masking", "attention"), one.card.repo, one.card.auto)
    monkeypatch.setattr(catalogue, "CATALOGUE", (*catalogue.CATALOGUE, twin))
    other = models.load("twin", "attention")
    assert other.network is one.network and other.beside is one.beside and shelf == ["a"]
    assert (one.card.name, other.card.name) == ("a", "twin")


def test_on_a_full_card_what_nobody_uses_goes_then_the_processor_helps_out(shelf, monkeypatch, card_device):
    models.load("a")
    read, tried = models.read, []

    def full(card, folder, place):
        tried.append((place.place.type, names_kept()))
        if place is card_device:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(card, folder, place)

    monkeypatch.setattr(models, "read", full)
    assert models.load("b").device is devices.processor()
    assert tried == [("cuda", ["a"]), ("cuda", []), ("cpu", [])]


def test_where_the_processor_has_no_room_either_a_sentence_says_so(shelf, monkeypatch):
    tried = []

    def full(card, folder, place):
        tried.append(place)
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000 bytes")

    monkeypatch.setattr(models, "read", full)
    with pytest.raises(OutOfMemory) as error:
        models.load("a")
    assert error.value.facts == {"name": "a"} and len(tried) == 2
    assert not any(lock.locked() for lock in models._loading.values())


def test_an_error_that_is_not_full_memory_is_not_hidden(shelf, monkeypatch):
    monkeypatch.setattr(models, "read", lambda *what: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        models.load("a")


def test_an_unknown_model_is_refused_before_anything_is_read(shelf):
    with pytest.raises(UnknownModel):
        models.load("d")
    assert shelf == []


def test_all_models_on_board_are_warmed_up_and_no_others(shelf, monkeypatch):
    hubs = ModelCard("far", ("masking",), "owner/far", "AutoModelForMaskedLM", shelf="hub", revision="main")
    monkeypatch.setattr(catalogue, "CATALOGUE", (hubs, *catalogue.CATALOGUE))
    models.warm_up()
    assert shelf == ["a", "b", "c"]


def test_warming_up_goes_on_after_a_model_that_fails(shelf, monkeypatch, caplog):
    read = models.read

    def read_but_a(card, *where):
        if card.name == "a":
            raise ModelUnusable(name="a", lacks="head")
        return read(card, *where)

    monkeypatch.setattr(models, "read", read_but_a)
    models.warm_up()
    assert shelf == ["b", "c"] and "a cannot be used" in caplog.text


@pytest.fixture
def far(shelf, monkeypatch, tmp_path):
    """A model of the Hub whose snapshot is here once it is asked for."""
    card = ModelCard(
        "far",
        ("masking",),
        "owner/far",
        "AutoModelForMaskedLM",
        shelf="hub",
        revision="main",
        title="Far",
        megabytes=12,
    )
    monkeypatch.setattr(catalogue, "CATALOGUE", (card,))
    return card


def test_a_model_of_the_hub_that_is_not_here_is_named(far, monkeypatch):
    monkeypatch.setattr(hub, "snapshot", lambda card, key: None)
    with pytest.raises(ModelNotFetched) as error:
        models.load("far")
    assert error.value.facts == {"name": "Far"}


def test_the_hub_is_told_which_snapshots_are_in_use(far, shelf, monkeypatch, tmp_path):
    read, while_read = models.read, []
    monkeypatch.setattr(hub, "snapshot", lambda card, key: tmp_path / "a")
    monkeypatch.setattr(models, "read", lambda *what: while_read.append(hub.in_use()) or read(*what))
    models.load("far")
    assert while_read == [{tmp_path / "a"}] and hub.in_use() == {tmp_path / "a"}
    models.evict_idle()
    assert hub.in_use() == set()


def plan(size: int, config: dict | None = None, task: str = "masking") -> hub.Plan:
    card = ModelCard("owner/far", (task,), "owner/far", shelf="hub", revision="main")
    files = {"config.json": 100, "model.safetensors": size, "vocab.txt": 100}
    few = {"model_type": "bert", "num_hidden_layers": 1, "vocab_size": 300}
    return hub.Plan(card, "0" * 40, files, few | (config or {}), sum(files.values()))


def test_a_configuration_of_far_more_than_its_weights_is_refused_before_it_is_fetched():
    deep = {"num_hidden_layers": 250, "hidden_size": 8192, "intermediate_size": 65_536, "num_attention_heads": 64}
    with pytest.raises(ModelUnusable) as error:
        models.accept(plan(10**6, deep))
    assert error.value.facts == {"name": "owner/far", "lacks": "weights for all of its layers"}


def test_a_model_that_memory_has_room_for_is_accepted(monkeypatch):
    monkeypatch.setattr(Device, "free", lambda self: 10**9)
    models.accept(plan(10**9))
    monkeypatch.setattr(Device, "free", lambda self: None)  # nobody knows
    models.accept(plan(10**15))


@pytest.mark.parametrize(
    ("size", "dtype", "needs"), [(4 * 10**9, "float32", 3.0), (2 * 10**9, "bfloat16", 3.0), (8 * 10**12, None, 6000.0)]
)
def test_a_model_that_is_larger_than_memory_is_refused_before_it_is_fetched(monkeypatch, size, dtype, needs):
    monkeypatch.setattr(Device, "free", lambda self: 2_500_000_000)
    monkeypatch.setattr(Device, "halves", True)
    with pytest.raises(ModelTooLarge) as error:
        models.accept(plan(size, {"dtype": dtype}))
    assert error.value.facts == {"name": "owner/far", "found": needs, "limit": 2.5, "part": "memory"}


def test_what_can_be_put_away_counts_as_room(shelf, monkeypatch):
    monkeypatch.setattr(Device, "free", lambda self: 50)
    with pytest.raises(ModelTooLarge):
        models.accept(plan(120))
    monkeypatch.setattr(Device, "free", lambda self: None)
    models.load("a")
    monkeypatch.setattr(Device, "free", lambda self: 50)
    models.accept(plan(120))
    with models.lend("a"), pytest.raises(ModelTooLarge):
        models.accept(plan(120))


@pytest.mark.parametrize(
    ("task", "config"),
    [
        ("masking", {"model_type": "gpt2"}), ("generation", {"model_type": "vit"}), ("vqa", {"model_type": "bert"}),
        ("sentiment", {"model_type": "mine"}), ("masking", {"model_type": None}), ("masking", {"model_type": ["bert"]}),
        ("generation", {"model_type": "bert", "architectures": ["BertForMaskedLM"]}), ("vqa", {"model_type": "blip-2"}),
    ],
)  # fmt: skip
def test_a_kind_the_tab_cannot_run_is_refused_with_some_it_can(task, config):
    with pytest.raises(ModelUnfit) as error:
        models.accept(plan(100, config, task))
    assert error.value.facts["found"] == str(config["model_type"]) and ", " in error.value.facts["known"]


@pytest.mark.parametrize(
    ("heads", "found"),
    [
        (["BertForSequenceClassification"], "AutoModelForSequenceClassification"),
        (["BertLMHeadModel"], "AutoModelForCausalLM"),
        (["BertForMaskedLM"], "AutoModelForMaskedLM"),
        *[(heads, "AutoModelForMaskedLM") for heads in (["BertForPreTraining"], None, [7], "BertLMHeadModel")],
    ],
)
def test_on_the_attention_tab_a_checkpoint_says_which_head_it_has(heads, found):
    card = ModelCard("mine", ("attention",), "mine", shelf="folder")
    assert models.class_for(card, {"model_type": "bert", "architectures": heads}) == found


@pytest.fixture
def hub_at_home(monkeypatch, tmp_path):
    """A Hub on this machine, and an empty cache."""
    with FakeHub() as server:
        for name, value in (server.environment | {"GLASSBOX_CACHE": str(tmp_path / "cache")}).items():
            monkeypatch.setenv(name, value)
        yield server


def test_a_model_of_ones_own_comes_from_the_hub_once_it_is_accepted_and_answers(hub_at_home, tmp_path):
    tiny(tmp_path / "bert", "bert", "AutoModelForMaskedLM", "masking")
    hub_at_home.add("owner/mine", tmp_path / "bert")
    with pytest.raises(ModelNotFetched):
        run_here(tasks.fill_mask, "owner/mine", "the [MASK] sat")
    list(hub.fetch(catalogue.find("owner/mine", "masking"), models.accept))
    filling = run_here(tasks.fill_mask, "owner/mine", "the [MASK] sat")
    assert len(filling.rankings) == 1
    assert hub.snapshot(catalogue.find("owner/mine", "masking")) in hub.in_use()


def test_of_a_model_that_is_not_accepted_no_weights_are_fetched(hub_at_home, monkeypatch, tmp_path):
    tiny(tmp_path / "bert", "bert", "AutoModelForMaskedLM", "masking")
    hub_at_home.add("owner/mine", tmp_path / "bert")
    with pytest.raises(ModelUnfit):
        list(hub.fetch(catalogue.find("owner/mine", "vqa"), models.accept))
    monkeypatch.setattr(Device, "free", lambda self: 1000)
    models.evict_idle()
    with pytest.raises(ModelTooLarge):
        list(hub.fetch(catalogue.find("owner/mine", "masking"), models.accept))
    assert not hub_at_home.asked("owner/mine", "*.safetensors")


def test_a_large_network_is_settled_after_its_first_loan_and_before_the_next(tmp_path, monkeypatch):
    tiny(tmp_path, "bert", "AutoModelForMaskedLM", "masking")
    card = ModelCard("large", ("masking",), str(tmp_path), "AutoModelForMaskedLM")
    monkeypatch.setattr(catalogue, "CATALOGUE", (card,))
    monkeypatch.setattr(models, "_kept", OrderedDict())
    monkeypatch.setattr(limits, "HALF_PRECISION_PARAMETERS", 1000)
    with models.lend("large") as first:
        first.beside["made"] = "of what it was"
        with models.lend("large") as second:
            assert second.network is first.network and not first.settled.is_set()
        assert not first.settled.is_set()  # somebody uses it still
    with models.lend("large") as again:
        assert again.network is first.network and again.settled.is_set()
        assert not again.beside
        assert any(isinstance(one, HalfLinear) for one in again.network.modules()) is halves.serve(again.device.place)
    (kept,) = models._kept.values()
    assert kept.bytes == models.size(again)


def test_what_learns_from_a_settled_network_can_still_have_gradients(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "HALF_PRECISION_PARAMETERS", 1000)
    model = tiny(tmp_path, "bert", "AutoModelForMaskedLM", "masking")
    with torch.inference_mode():
        loading.settle(model)
    words = model.network.get_input_embeddings()(torch.arange(5)[None]).requires_grad_()
    (slope,) = torch.autograd.grad(model.network(inputs_embeds=words).logits.sum(), words)
    assert slope.abs().sum() > 0


def test_squeezed_models_are_networks_of_their_own(tmp_path, monkeypatch):
    tiny(tmp_path, "bert", "AutoModelForMaskedLM", "masking")
    monkeypatch.setattr(
        catalogue, "CATALOGUE", (ModelCard("one", ("masking",), str(tmp_path), "AutoModelForMaskedLM"),)
    )
    monkeypatch.setattr(models, "_kept", OrderedDict())
    whole, eight, four = (models.load(name, "masking") for name in ("one", "one@8", "one@4"))
    assert models.size(whole) > models.size(eight) > models.size(four)
    assert whole.network is models.load("one").network is not eight.network
    with pytest.raises(UnknownModel):
        models.load("one@2", "masking")
