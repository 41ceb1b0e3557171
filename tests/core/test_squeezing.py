"""Linear layers at 8 and 4 bits: a quarter and less of the bytes, nearly the same products, gradients too."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from core import models, tasks
from core.loading import ROOT
from core.results import Settings
from core.runner import run_here
from core.squeezing import BITS, GROUP, SqueezedLinear, squeeze
from core.tokens import encode_prompt
from tests.tiny import network_of

STEP = {8: 1 / 127, 4: 1 / 15}  # of the largest weight of a row, or of what a group spans


def weights(rows=64, columns=96):
    torch.manual_seed(0)
    return torch.randn(rows, columns)


@pytest.mark.parametrize("bits", BITS)
def test_a_weight_is_off_by_half_a_step_at_most(bits):
    plain = weights()
    off = (SqueezedLinear(plain, None, bits).weight - plain).abs()
    groups = plain.reshape(64, -1, GROUP)
    span = (
        plain.abs().amax(1, keepdim=True)
        if bits == 8
        else (groups.amax(-1) - groups.amin(-1)).repeat_interleave(GROUP, 1)
    )
    assert (off <= span * (STEP[bits] / 2 + 0.01)).all()  # and what bfloat16 takes of the scales
    assert off.max() > 0


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", [(1, 96), (2, 5, 96), (96,)])
def test_a_product_is_that_of_the_squeezed_weights(bits, shape):
    bias, inputs = torch.randn(64), torch.randn(shape)
    layer = SqueezedLinear(weights(), bias, bits)
    expected = inputs @ layer.weight.T + bias
    assert layer(inputs).shape == expected.shape
    torch.testing.assert_close(layer(inputs), expected, atol=0.25, rtol=0.02)  # bfloat16, sums of 96


@pytest.mark.parametrize("bits", BITS)
def test_gradients_of_the_inputs_are_there(bits):
    layer, inputs = SqueezedLinear(weights(), None, bits), torch.randn(3, 96, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(inputs).sum(), inputs)
    torch.testing.assert_close(slope, layer.weight.sum(0).expand(3, 96), atol=0.1, rtol=0.02)


@pytest.mark.parametrize(("bits", "share"), [(8, 0.28), (4, 0.2)])
def test_the_bytes_are_what_the_bits_say_and_a_few_for_scales(bits, share):
    plain = weights(256, 256)
    assert SqueezedLinear(plain, None, bits).bytes < share * plain.numel() * 4


def test_layers_the_kernels_do_not_fit_keep_more_bits():
    assert SqueezedLinear(weights(10, 96), None, 4).bits == 8
    network = nn.Sequential(nn.Linear(50, 64), nn.Linear(64, 50)).requires_grad_(False)
    squeeze(network, 8)
    assert [type(one) for one in network] == [nn.Linear, SqueezedLinear]
    assert network(torch.randn(2, 50)).isfinite().all()


def test_an_outlier_does_not_spoil_its_row_at_four_bits():
    plain = weights()
    plain[0, 0] = 100
    off = (SqueezedLinear(plain, None, 4).weight - plain).abs()[0]
    assert off[GROUP:].max() < 0.3 < off[1:GROUP].max()


@pytest.mark.parametrize("bits", BITS)
def test_a_network_is_squeezed_but_for_its_table_of_words(bits):
    network = network_of("gpt2", "AutoModelForCausalLM", 300).requires_grad_(False)
    ids = torch.arange(10)[None]
    before = network(ids).logits
    squeeze(network, bits)
    assert not [one for one in network.modules() if type(one) is Conv1D]
    assert network.lm_head.weight is network.get_input_embeddings().weight
    off = (network(ids).logits - before).abs().max() / before.abs().max()
    assert 0 < off < {8: 0.05, 4: 0.3}[bits]


def test_a_layer_two_modules_share_is_squeezed_once():
    layer = nn.Linear(32, 32)
    network = nn.ModuleDict({"one": nn.Sequential(layer), "two": nn.Sequential(layer)}).requires_grad_(False)
    squeeze(network, 8)
    assert network["one"][0] is network["two"][0]


@pytest.mark.parametrize("bits", BITS)
def test_every_task_answers_on_a_squeezed_model(bits):
    scene = ROOT / "demos" / "static" / "scenes" / "two-red-circles.png"
    filled = run_here(tasks.fill_mask, f"english@{bits}", "The cat sat on the [MASK].")
    assert filled.why.covered and filled.why.scores and filled.why.error < 0.05  # gradients flow through it
    assert run_here(tasks.judge, f"english-sentiment@{bits}", "What a wonderful film!").ranking.labels[0] == "positive"
    answer = run_here(tasks.answer, f"shapes@{bits}", scene, "How many red circles are there?")
    assert answer.ranking.labels[0] == "2" and answer.patches
    steps = list(run_here(tasks.generate, f"storyteller@{bits}", "Once upon a time", Settings(length=20, seed=3)))
    assert len(steps) == 20
    assert run_here(tasks.attend, f"storyteller@{bits}", "The king loved his daughter.").montage.ndim == 4


@pytest.mark.parametrize("bits", BITS)
def test_a_squeezed_storytellers_probabilities_are_those_of_one_look_at_the_whole_text(bits):
    model = models.load(f"storyteller@{bits}", "generation")
    steps = list(tasks.generate(model, "Once upon a time", Settings(length=20, seed=3)))
    ids = [*encode_prompt(model, "Once upon a time").ids, *(step.token for step in steps)]
    chances = model.network(torch.tensor([ids])).logits[0].log_softmax(-1)
    for at, step in enumerate(steps, len(ids) - len(steps) - 1):
        assert abs(float(chances[at, step.token].exp()) - step.probability) < 0.02  # its products are bfloat16's
