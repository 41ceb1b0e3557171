"""The parts of a network are told apart by what Transformers calls them."""

import pytest
import torch
from torch import nn

from core import anatomy
from tests.tiny import network_of


@pytest.mark.parametrize(
    ("name", "decodes", "part"),
    [
        ("model.layers.3.self_attn", False, "text"),
        ("bert.encoder.layer.0.attention.self", False, "text"),
        ("encoder.block.2.layer.0.SelfAttention", True, "encoder"),
        ("decoder.block.2.layer.0.SelfAttention", True, "text"),
        ("decoder.block.2.layer.1.EncDecAttention", True, "cross"),
        ("model.decoder.layers.1.encoder_attn", True, "cross"),
        ("encoder.layer.0.crossattention.self", False, "cross"),
        ("model.vision_model.encoder.layers.0.self_attn", False, "picture"),
        ("model.visual.blocks.4.attn", False, "picture"),
        ("vilt.encoder.layer.0.attention.attention", False, "text"),
    ],
)
def test_an_attention_belongs_to_the_part_its_name_says(name, decodes, part):
    assert anatomy.part_of(name, decodes) == part


def test_every_layer_has_one_attention_and_wrappers_are_none():
    for kind in ("gpt2", "llama", "bert", "distilbert", "modernbert", "vilt"):
        auto = {"vilt": "AutoModelForVisualQuestionAnswering"}.get(kind, "AutoModel")
        found = sorted(layer for _, layer, _ in anatomy.places(network_of(kind, auto, 90)).values())
        assert found == [0, 1, 2], kind


def test_the_layers_of_the_stack_come_in_their_order_and_none_where_one_serves_for_all():
    network = network_of("llama", "AutoModelForCausalLM", 90)
    assert anatomy.blocks(network) == list(network.model.layers)
    assert anatomy.blocks(network_of("albert", "AutoModelForMaskedLM", 90)) == []


def test_what_is_carried_is_as_long_as_the_projection_makes_it():
    torch.manual_seed(0)
    projection, value = nn.Linear(8, 5, bias=False), torch.randn(1, 1, 3, 4)  # two heads that share their values
    norms = anatomy.value_norms(value, projection, 2)
    for head in range(2):
        expected = value[0, 0] @ projection.weight[:, 4 * head : 4 * head + 4].T
        torch.testing.assert_close(norms[head], expected.norm(dim=-1))
