"""The last layer of the lens says what the model says, and every earlier one what norm and head make of it."""

import pytest
import torch

from core import anatomy, layers
from core.errors import AttentionUnreadable
from core.tokens import encode

EVERY = pytest.mark.parametrize(
    ("kind", "task"),
    [
        *(
            (kind, "generation")
            for kind in ("gpt2", "llama", "qwen3", "mistral", "gemma3", "gpt_oss", "bloom", "falcon")
        ),
        *((kind, "masking") for kind in ("bert", "roberta", "distilbert", "modernbert", "deberta-v2")),
    ],
)
TEXT = "the cat sat on the mat and the dog ran"


@pytest.fixture
def given(model):
    """Return a function (kind, task) -> the model and what its network is called with."""

    def made(kind: str, task: str):
        found = model(kind, task)
        ids = encode(found, TEXT, "text").ids
        return found, found.inputs(input_ids=ids, attention_mask=[1] * len(ids))

    return made


@EVERY
@torch.inference_mode()
def test_the_last_layer_says_what_the_model_says(given, kind, task):
    model, inputs = given(kind, task)
    places = [1, 4, 6]
    found = layers.say_all(model.network, inputs, places)
    assert found.shape[:2] == (4, 3)  # what goes into the first layer, and three layers
    torch.testing.assert_close(found[-1], model.network(**inputs).logits[0, places], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(found[1], found[2])


@EVERY
@torch.inference_mode()
def test_an_earlier_layer_says_what_the_network_would_without_the_later_ones(given, kind, task):
    model, inputs = given(kind, task)
    found = layers.say_all(model.network, inputs, [2, 5])
    stack = anatomy.blocks(model.network)
    hooks, handed = [], []

    def keep(module, given, result):
        handed.append(result)

    def pass_on(module, given, result):
        return handed[0]  # as if this layer and those before it but the first two were not there

    hooks = [stack[1].register_forward_hook(keep), stack[2].register_forward_hook(pass_on)]
    try:
        expected = model.network(**inputs, use_cache=False) if task == "generation" else model.network(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    torch.testing.assert_close(found[2], expected.logits[0, [2, 5]], atol=1e-4, rtol=1e-4)


@EVERY
@torch.inference_mode()
def test_a_network_asked_in_one_place_says_there_what_it_says_in_all(given, kind, task):
    model, inputs = given(kind, task)
    whole = model.network(**inputs).logits
    with layers.narrowed(model.network, [3], inputs["input_ids"].shape[1]) as options:
        narrow = model.network(**inputs, **options).logits
    assert narrow.shape[:2] == (1, 1)
    torch.testing.assert_close(narrow[0, 0], whole[0, 3], atol=1e-4, rtol=1e-4)
    assert torch.equal(model.network(**inputs).logits, whole)  # and nothing is left behind


def test_layers_that_share_one_module_and_networks_that_give_labels_are_refused(given):
    for kind, task in (("albert", "masking"), ("bert", "sentiment")):
        model, inputs = given(kind, task)
        with pytest.raises(AttentionUnreadable):
            layers.say_all(model.network, inputs, [1])
