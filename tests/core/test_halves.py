"""Linear layers in half precision: as exact as float32, whatever else is worked out beside them, gradients too."""

import threading
import time

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from core import halves, limits, loading, models
from core.halves import HalfLinear, halve, halve_behind
from tests.tiny import louder, network_of, tiny

pytestmark = pytest.mark.skipif(not halves.serve(torch.device("cpu")), reason="this processor has no such kernel")


def layer(rows=40, columns=70, bias=True):
    """Return a linear layer whose weights half precision holds exactly."""
    torch.manual_seed(0)
    made = nn.Linear(columns, rows, bias).requires_grad_(False)
    made.weight.copy_(made.weight.bfloat16())
    return made


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 70), (3, 70), (2, 5, 70), (64, 70), (70,)])
def test_a_product_is_that_of_float32(bias, shape):
    plain, inputs = layer(bias=bias), torch.randn(shape)
    half = HalfLinear(plain.weight, plain.bias)
    torch.testing.assert_close(half(inputs), plain(inputs), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(half.weight, plain.weight, atol=0, rtol=0)
    assert half.bytes == plain.weight.numel() * 2
    assert (half.bias is None) == (plain.bias is None) or torch.equal(half.bias, plain.bias)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 13])
def test_a_row_is_the_same_whatever_stands_beside_it(rows):
    half, inputs = HalfLinear(torch.randn(90, 130)), torch.randn(26, 130)
    together = half(inputs)
    for first in range(0, 26 - rows, rows):
        assert torch.equal(half(inputs[first : first + rows]), together[first : first + rows])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_precisions_go_in_and_come_out(dtype):
    plain, inputs = layer(), torch.randn(3, 70).to(dtype)
    half = HalfLinear(plain.weight, plain.bias)(inputs)
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), plain(inputs.float()), atol=0.02, rtol=0.02)


def test_gradients_of_the_inputs_are_those_of_float32():
    plain, inputs = layer(), torch.randn(2, 5, 70, requires_grad=True)
    half = HalfLinear(plain.weight, plain.bias)
    slopes = [torch.autograd.grad(made(inputs).square().sum(), inputs)[0] for made in (plain, half)]
    torch.testing.assert_close(*slopes, atol=1e-5, rtol=1e-5)


def test_a_network_is_halved_only_where_that_changes_nothing_unless_it_may_be_rounded():
    network = nn.Sequential(layer(), nn.Linear(40, 8), Conv1D(5, 8), nn.LayerNorm(5)).requires_grad_(False)
    halve(network, rounded=False)
    assert [type(part) for part in network] == [HalfLinear, nn.Linear, Conv1D, nn.LayerNorm]
    before = network(torch.ones(1, 70))
    halve(network, rounded=True)
    assert [type(part) for part in network] == [HalfLinear] * 3 + [nn.LayerNorm]
    torch.testing.assert_close(network(torch.ones(1, 70)), before, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("wrong", [1e5, float("nan"), float("inf")])
def test_weights_that_half_precision_cannot_hold_stay_as_they_are(wrong):
    network = nn.Sequential(layer())
    network[0].weight[3, 4] = wrong
    halve(network, rounded=True)
    assert type(network[0]) is nn.Linear


def test_a_layer_that_serves_twice_is_packed_once():
    shared = layer()
    network = nn.ModuleList([nn.Sequential(shared), nn.Sequential(shared)])
    halve(network, rounded=False)
    assert network[0][0] is network[1][0]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3", "gemma3"])
def test_a_bfloat16_checkpoint_is_read_as_it_is_at_half_the_bytes(kind, tmp_path):
    model = tiny(tmp_path, kind, "AutoModelForCausalLM", "generation")
    network = louder(network_of(kind, "AutoModelForCausalLM", len(model.tokenizer)), 6)
    network.to(torch.bfloat16).save_pretrained(tmp_path)
    found, plain = models.read(model.card), AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert any(isinstance(module, HalfLinear) for module in found.network.modules())
    assert models.size(found) < 0.8 * models.size(model)  # the embeddings stay as they are
    ids = torch.arange(20)[None] + 5
    expected, got = plain(ids).logits.softmax(-1), found.network(ids).logits.softmax(-1)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_only_a_large_network_is_rounded(tmp_path, monkeypatch):
    model = tiny(tmp_path, "llama", "AutoModelForCausalLM", "generation")
    assert not any(isinstance(module, HalfLinear) for module in model.network.modules())
    monkeypatch.setattr(limits, "HALF_PRECISION_PARAMETERS", 1000)
    rounded = models.read(model.card)
    assert not rounded.settled.is_set()  # the first answer does not wait for it
    loading.settle(rounded)
    assert any(isinstance(module, HalfLinear) for module in rounded.network.modules())
    ids = torch.arange(20)[None] + 5
    torch.testing.assert_close(rounded.network(ids).logits, model.network(ids).logits, atol=1e-3, rtol=0)


def test_a_network_in_use_is_halved_at_a_step_and_never_between_two(monkeypatch):
    network = nn.Sequential(layer(), nn.Linear(40, 8), Conv1D(5, 8)).requires_grad_(False)
    inputs, gate, halved = torch.ones(1, 70), threading.Event(), halves.halved
    monkeypatch.setattr(halves, "halved", lambda *given: gate.wait(30) and halved(*given))
    steps, before = halve_behind(network, rounded=True), network(inputs)
    assert next(steps) == 3  # nothing is packed yet, and nobody waits for it
    gate.set()
    end = time.monotonic() + 30
    kinds = {tuple(type(part) for part in network)}
    for left in steps:
        assert left == sum(type(part) is not HalfLinear for part in network) and time.monotonic() < end
        kinds.add(tuple(type(part) for part in network))
        torch.testing.assert_close(network(inputs), before, atol=1e-3, rtol=1e-3)
    assert [type(part) for part in network] == [HalfLinear] * 3 and (nn.Linear, nn.Linear, Conv1D) in kinds


def test_halving_can_stop_half_way_and_be_taken_up_again(monkeypatch):
    network = nn.Sequential(*(layer(70) for _ in range(20)))
    expected, halved, some, begun = network(torch.ones(1, 70)), halves.halved, threading.Semaphore(5), []

    def halved_later(*given):
        begun.append(given)
        assert some.acquire(timeout=30)
        return halved(*given)

    monkeypatch.setattr(halves, "halved", halved_later)
    steps, end = halve_behind(network, rounded=False), time.monotonic() + 30
    while next(steps) > 15:
        assert time.monotonic() < end
    (packer,) = [thread for thread in threading.enumerate() if thread.name.startswith("packing")]
    steps.close()
    some.release(20)
    packer.join(30)
    assert not packer.is_alive() and len(begun) <= 6  # the one it was at
    assert sum(type(part) is HalfLinear for part in network) == 5
    monkeypatch.undo()
    halve(network, rounded=False)
    assert {type(part) for part in network} == {HalfLinear}
    torch.testing.assert_close(network(torch.ones(1, 70)), expected, atol=1e-5, rtol=1e-5)


def test_a_network_of_which_a_part_is_packed_is_as_large_as_before(tmp_path, monkeypatch):
    model = tiny(tmp_path, "llama", "AutoModelForCausalLM", "generation")
    monkeypatch.setattr(limits, "HALF_PRECISION_PARAMETERS", model.network.num_parameters())
    model = models.read(model.card)
    halve(model.network.model.layers[0], rounded=True)
    loading.settle(model)
    assert not any(type(module) is nn.Linear for module in model.network.modules())


@pytest.mark.parametrize(("processors", "begun"), [(1, False), (2, True)])
def test_nothing_is_packed_beside_a_story_on_the_only_processor(tmp_path, monkeypatch, processors, begun):
    monkeypatch.setattr(limits, "HALF_PRECISION_PARAMETERS", 1000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: processors)
    model = models.read(tiny(tmp_path, "llama", "AutoModelForCausalLM", "generation").card)
    steps = loading.settle_behind(model)
    assert (next(steps, None) is not None) is begun
    steps.close()
