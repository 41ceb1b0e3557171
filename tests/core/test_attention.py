"""What is recorded is what the network did, watching disturbs nothing, and silencing silences just what was named."""

import threading

import pytest
import torch

from core import attention
from core.errors import NoSuchPart
from core.tokens import encode

SHAPES = [
    ("gpt2", "generation"),
    ("llama", "generation"),
    ("qwen3", "generation"),
    ("bert", "masking"),
    ("roberta", "masking"),
    ("distilbert", "masking"),
    ("modernbert", "masking"),
    ("vilt", "vqa"),
]
EVERY = pytest.mark.parametrize(("kind", "task"), SHAPES)
TEXT = "the cat sat on the mat and the dog ran to the red house"  # longer than ModernBERT's window
OUTPUTS = {  # where heads are put together again, layer by layer
    "gpt2": "attn.c_proj",
    "llama": "self_attn.o_proj",
    "qwen3": "self_attn.o_proj",
    "bert": "attention.output.dense",
    "roberta": "attention.output.dense",
    "distilbert": "attention.out_lin",
    "modernbert": "attn.Wo",
    "vilt": "attention.output.dense",
}
PATIENCE = 10  # seconds


@pytest.fixture
def inputs(picture):
    """Return a function model -> what its network takes."""

    def made(model, hidden=frozenset()):
        encoded = encode(model, TEXT, "text", 40)
        words = model.inputs(input_ids=encoded.ids, attention_mask=encoded.mask(hidden))
        if model.network.config.model_type != "vilt":
            return words
        return words | {**model.processor.image_processor(picture, return_tensors="pt")}

    return made


@torch.inference_mode()
def run(network, inputs, **options):
    """Run a network; ViLT shuffles its patches, so the dice are set."""
    torch.manual_seed(0)
    return network(**inputs, **options)


def asked(model):
    """Return the option without which ViLT keeps its weights to itself."""
    return {"output_attentions": True} if model.network.config.model_type == "vilt" else {}


def without_heads(model, layer, heads):
    """Return the network's own module that puts a layer's heads together, hooked to hear nothing of some heads."""
    name = OUTPUTS[model.card.name]
    module = [module for path, module in model.network.named_modules() if path.endswith(name)][layer]

    def deafen(module, given):
        context = given[0].unflatten(-1, (4, -1)).clone()
        context[..., heads, :] = 0
        return (context.flatten(-2),)

    return module.register_forward_pre_hook(deafen)


@EVERY
@pytest.mark.parametrize("hidden", [frozenset(), frozenset({2})], ids=["all", "one hidden"])
def test_recorded_weights_are_those_of_eager_attention(model, inputs, kind, task, hidden):
    model = model(kind, task)
    eager = type(model.network).from_pretrained(model.card.repo, attn_implementation="eager")
    eager.load_state_dict(model.network.state_dict())
    given = inputs(model, hidden)
    with attention.watch(model.network, record=True) as probe:
        run(model.network, given, **asked(model))
    expected = run(eager.eval(), given, output_attentions=True).attentions
    assert len(probe.weights) == len(expected) == 3
    for found, true in zip(probe.weights, expected, strict=True):
        torch.testing.assert_close(found, true, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:-1]), atol=1e-5, rtol=0)
        assert found.std() > 1e-3  # not flat: the comparison would see a difference


@EVERY
def test_watching_and_silencing_nothing_change_no_bit(model, inputs, kind, task):
    model = model(kind, task)
    given = inputs(model)
    plain = run(model.network, given).logits
    with attention.watch(model.network):
        assert torch.equal(run(model.network, given).logits, plain)
    with attention.watch(model.network, record=True):
        assert torch.equal(run(model.network, given, **asked(model)).logits, plain)
    assert torch.equal(run(model.network, given).logits, plain)  # and nothing is left behind


@EVERY
@pytest.mark.parametrize("heads", [[0, 1, 2, 3], [2]], ids=["a layer", "a head"])
def test_silencing_is_zeroing_what_goes_on_from_these_heads(model, inputs, kind, task, heads):
    model = model(kind, task)
    given = inputs(model)
    plain = run(model.network, given).logits
    with attention.watch(model.network, silenced=frozenset((1, head) for head in heads)):
        silenced = run(model.network, given).logits
    hook = without_heads(model, 1, heads)
    try:
        expected = run(model.network, given).logits
    finally:
        hook.remove()
    torch.testing.assert_close(silenced, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(silenced, plain, atol=1e-4)


def test_blip_silences_where_the_question_looks_at_itself_and_not_at_the_picture(model, picture):
    model = model("blip", "vqa")
    network = model.network.text_encoder
    pixels = model.inputs(**model.processor.image_processor(picture, return_tensors="pt"))
    given = model.inputs(input_ids=[2, 8, 9, 10, 3], attention_mask=[1] * 5)
    with torch.inference_mode():
        given["encoder_hidden_states"] = model.network.vision_model(**pixels).last_hidden_state
    with attention.watch(network, silenced=frozenset({(1, 0), (1, 1), (1, 2), (1, 3)})):
        silenced = run(network, given).last_hidden_state
    hook = network.encoder.layer[1].attention.output.dense.register_forward_pre_hook(
        lambda module, given: (torch.zeros_like(given[0]),)
    )
    try:
        expected = run(network, given).last_hidden_state
    finally:
        hook.remove()
    torch.testing.assert_close(silenced, expected)


@EVERY
@pytest.mark.parametrize("part", [(3, 0), (0, 4), (-1, 0), (0, -1)])
def test_a_head_that_is_not_there_is_refused_with_how_many_there_are(model, kind, task, part):
    with pytest.raises(NoSuchPart) as error, attention.watch(model(kind, task).network, silenced=frozenset({part})):
        pytest.fail("the network may not run")
    wrong = "layer" if part[0] not in range(3) else "head"
    assert error.value.facts["part"] == wrong
    assert error.value.facts["limit"] == {"layer": 3, "head": 4}[wrong]


@pytest.mark.parametrize(("kind", "task"), [("gpt2", "generation"), ("vilt", "vqa")])
def test_one_who_watches_does_not_disturb_another_thread(model, inputs, kind, task):
    model = model(kind, task)
    given = inputs(model)
    plain = run(model.network, given).logits
    watching, done = threading.Event(), threading.Event()
    other = []

    def pass_by():
        assert watching.wait(PATIENCE)
        other.append(run(model.network, given, **asked(model)).logits)
        done.set()

    thread = threading.Thread(target=pass_by)
    thread.start()
    everything = frozenset((layer, head) for layer in range(3) for head in range(4))
    with attention.watch(model.network, record=True, silenced=everything) as probe:
        watching.set()
        assert done.wait(PATIENCE)
        assert probe.weights == []  # what passes by is not recorded
        silenced = run(model.network, given, **asked(model)).logits
    thread.join(PATIENCE)
    assert torch.equal(other[0], plain)
    assert len(probe.weights) == 3
    assert not torch.allclose(silenced, plain, atol=1e-4)


@EVERY
def test_an_error_while_watching_leaves_the_network_as_it_was(model, inputs, kind, task):
    model = model(kind, task)
    with pytest.raises(ZeroDivisionError), attention.watch(model.network, silenced=frozenset({(0, 0)})):
        raise ZeroDivisionError
    assert attention._probe.get() is None
    assert not any(module._forward_hooks for module in model.network.modules())


def test_a_token_that_may_look_at_nothing_has_no_weights_and_spoils_no_others(model):
    model = model("gpt2", "generation")
    with attention.watch(model.network, record=True) as probe:
        given = model.inputs(input_ids=[5, 6, 7, 8], attention_mask=[0, 1, 1, 1])
        assert run(model.network, given).logits.isfinite().all()
    for weights in probe.weights:
        assert weights[0, :, 0].abs().max() == 0
        torch.testing.assert_close(weights[0, :, 1:].sum(-1), torch.ones(4, 3))
