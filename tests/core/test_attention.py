"""What is recorded is what the network did, on any architecture; watching disturbs nothing; silencing silences just that."""

import threading

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from core import attention, limits
from core.attention import Wanted
from core.errors import AttentionUnreadable, NoSuchPart
from tests.tiny import CHATS, network_of, tiny

WRITERS = ("gpt2", "llama", "qwen3", "mistral", "gemma3", "gemma2", "gpt_oss", "bloom", "falcon")
READERS = ("bert", "roberta", "distilbert", "modernbert", "albert", "deberta-v2")
KINDS = (*WRITERS, *READERS, "t5", "vilt", "blip")
EVERY = pytest.mark.parametrize("kind", KINDS)
VOCABULARY, TOKENS = 90, 14  # tokens: longer than every sliding window
OUTPUTS = {  # where heads are put together again, layer by layer
    "gpt2": "attn.c_proj", "llama": "self_attn.o_proj", "qwen3": "self_attn.o_proj", "mistral": "self_attn.o_proj",
    "gemma3": "self_attn.o_proj", "gemma2": "self_attn.o_proj", "gpt_oss": "self_attn.o_proj",
    "bloom": "self_attention.dense", "falcon": "self_attention.dense", "bert": "attention.output.dense",
    "roberta": "attention.output.dense", "distilbert": "attention.out_lin", "modernbert": "attn.Wo",
    "albert": "attention.dense", "deberta-v2": "attention.output.dense", "t5": "SelfAttention.o",
    "vilt": "attention.output.dense", "blip": ".attention.output.dense",
}  # fmt: skip
PATIENCE = 10  # seconds


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Return a function kind -> the same network twice: as Glassbox loads it, and eager."""
    made = {}

    def pair(kind: str):
        if kind not in made:
            auto = {"t5": "AutoModelForSeq2SeqLM", "vilt": "AutoModelForVisualQuestionAnswering"}.get(
                kind, "AutoModelForCausalLM" if kind in WRITERS else "AutoModelForMaskedLM"
            )
            auto = "AutoModelForVisualQuestionAnswering" if kind == "blip" else auto
            network = network_of(kind, auto, VOCABULARY)
            with torch.no_grad():
                for weight in network.parameters():
                    if weight.ndim > 1:
                        weight.mul_(2 if kind == "t5" else 6)  # fresh networks are so quiet that attention is flat
            folder = tmp_path_factory.mktemp(kind)
            network.save_pretrained(folder)
            ways = (attention.implementation_for(type(network)), "eager")
            both = [type(network).from_pretrained(folder, attn_implementation=way).eval() for way in ways]
            made[kind] = [network.text_encoder for network in both] if kind == "blip" else both
        return made[kind]

    return pair


def given(kind: str, padded: str = "") -> dict[str, torch.Tensor]:
    """Return what a network is called with: two texts, the second padded with three tokens where asked for."""
    torch.manual_seed(1)
    ids = torch.randint(5, VOCABULARY, (2, TOKENS))
    mask = torch.ones_like(ids)
    if padded:
        mask[1, : 3 if padded == "left" else None] = 0
        mask[1] = mask[1].flip(0) if padded == "right" else mask[1]
        mask[1, : TOKENS - 3] = 1 if padded == "right" else mask[1, : TOKENS - 3]
    inputs = {"input_ids": ids, "attention_mask": mask}
    if kind == "t5":
        inputs["decoder_input_ids"] = torch.randint(5, VOCABULARY, (2, 5))
    if kind == "vilt":
        inputs["pixel_values"] = torch.randn(2, 3, 16, 16)
    if kind == "blip":
        inputs["encoder_hidden_states"] = torch.randn(2, 17, 32)
    return inputs


@torch.inference_mode()
def run(network, inputs, **options):
    """Run a network; ViLT shuffles its patches, so the dice are set."""
    torch.manual_seed(0)
    return network(**inputs, **asked(network), **options)


def asked(network) -> dict:
    """Return the option without which an eager network keeps its weights to itself."""
    return {} if network.config._attn_implementation == attention.NAME else {"output_attentions": True}


def said(output) -> torch.Tensor:
    """Return what a network says, or what BLIP's reader of questions hands on."""
    return output.logits if "logits" in output else output.last_hidden_state


def eager_weights(network, inputs, part: str) -> tuple[torch.Tensor, ...]:
    """Return the weights an eager network itself shows."""
    output = run(network, inputs)
    names = {"cross": "cross_attentions", "encoder": "encoder_attentions"}
    names["text"] = "decoder_attentions" if "decoder_attentions" in output else "attentions"
    return output[names[part]]


def recorded(network, inputs, wanted=True) -> dict[int, torch.Tensor]:
    """Return the weights Glassbox records."""
    with attention.watch(network, record=wanted) as probe:
        run(network, inputs)
    return probe.weights


def check_equal(found: dict[int, torch.Tensor], true: tuple[torch.Tensor, ...], mask: torch.Tensor) -> None:
    """Compare weights in every place that is not padding."""
    assert sorted(found) == list(range(len(true)))
    for layer, expected in enumerate(true):
        rows = mask[:, None, : expected.shape[2], None].bool() if mask.shape[1] <= expected.shape[2] else 1
        rows = torch.nn.functional.pad(rows, (0, 0, 0, expected.shape[2] - rows.shape[2]), value=True)
        torch.testing.assert_close(found[layer] * rows, expected * rows, atol=1e-5, rtol=0)
        assert (found[layer] * rows).std() > 1e-3  # not flat: the comparison would see a difference


def test_at_least_twelve_architectures_are_tried():
    assert len(KINDS) >= 12 and set(OUTPUTS) == set(KINDS)


@EVERY
@pytest.mark.parametrize("padded", ["", "left", "right"])
def test_recorded_weights_are_those_of_eager_attention(networks, kind, padded):
    network, eager = networks(kind)
    inputs = given(kind, padded)
    part = "encoder" if kind == "t5" else "text"
    found = recorded(network, inputs, Wanted(part))
    check_equal(found, eager_weights(eager, inputs, part), inputs["attention_mask"])
    if kind != "gpt_oss":  # there a part of every look goes nowhere
        sums = torch.stack([weights.sum(-1) for weights in found.values()])
        torch.testing.assert_close(sums[:, 0], torch.ones_like(sums[:, 0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("kind", "part"), [("t5", "text"), ("t5", "cross"), ("blip", "cross")])
def test_a_decoder_and_what_it_sees_of_an_encoder_are_read_apart(networks, kind, part):
    network, eager = networks(kind)
    inputs = given(kind)
    found = recorded(network, inputs, Wanted(part))
    check_equal(found, eager_weights(eager, inputs, part), torch.ones(2, 5 if kind == "t5" else TOKENS))


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind not in ("bloom", "falcon")])
def test_with_a_cache_the_new_rows_are_those_of_the_whole_text(networks, kind):
    network, _ = networks(kind)
    inputs = given(kind)
    whole = recorded(network, inputs)
    start = run(network, {name: value[:, :-3] for name, value in inputs.items()}, use_cache=True)
    rest = {"input_ids": inputs["input_ids"][:, -3:], "attention_mask": inputs["attention_mask"]}
    with attention.watch(network, record=True) as probe:
        run(network, rest, past_key_values=start.past_key_values)
    for layer, weights in probe.weights.items():
        keys = weights.shape[-1]  # a sliding layer has let go of the oldest
        torch.testing.assert_close(weights, whole[layer][:, :, -3:, -keys:], atol=1e-5, rtol=0)


@EVERY
def test_only_the_layers_heads_and_rows_asked_for_are_worked_out(networks, kind):
    network, _ = networks(kind)
    inputs = given(kind)
    part = "encoder" if kind == "t5" else "text"
    everything = recorded(network, inputs, Wanted(part))
    found = recorded(network, inputs, Wanted(part, layers={1}, heads=[3, 0], rows=[2, 5]))
    assert list(found) == [1]
    torch.testing.assert_close(found[1], everything[1][:, [3, 0]][:, :, [2, 5]], atol=1e-6, rtol=0)


@EVERY
def test_what_is_kept_gives_the_same_weights_later(networks, kind):
    network, _ = networks(kind)
    inputs = given(kind)
    part = "encoder" if kind == "t5" else "text"
    with attention.watch(network, record=Wanted(part), keep=True) as probe:
        run(network, inputs)
    assert probe.calls.keys() == probe.weights.keys()
    for layer, call in probe.calls.items():
        torch.testing.assert_close(call.weights([2], slice(1, 6)), probe.weights[layer][:, [2], 1:6], atol=1e-6, rtol=0)


@EVERY
def test_watching_keeping_and_silencing_nothing_change_no_bit(networks, kind):
    network, _ = networks(kind)
    inputs = given(kind, "right")
    plain = said(run(network, inputs))
    for options in ({}, {"record": True}, {"keep": True}, {"record": True, "silenced": frozenset()}):
        with attention.watch(network, **options):
            assert torch.equal(said(run(network, inputs)), plain)
    assert torch.equal(said(run(network, inputs)), plain)  # and nothing is left behind


@EVERY
@pytest.mark.parametrize("heads", [[0, 1, 2, 3], [2]], ids=["a layer", "a head"])
def test_silencing_is_zeroing_what_goes_on_from_these_heads(networks, kind, heads):
    network, _ = networks(kind)
    inputs = given(kind)
    part = "encoder" if kind == "t5" else "text"
    plain = said(run(network, inputs))
    with attention.watch(network, Wanted(part, layers=()), frozenset((1, head) for head in heads)):
        silenced = said(run(network, inputs))
    paths = [path for path, _ in network.named_modules() if path.endswith(OUTPUTS[kind]) and "decoder" not in path]
    module = network.get_submodule(paths[0 if kind == "albert" else 1])
    times = []

    def deafen(module, heard):
        times.append(1)
        if kind == "albert" and len(times) != 2:  # its layers share one module
            return None
        context = heard[0].unflatten(-1, (4, -1)).clone()
        context[..., heads, :] = 0
        return (context.flatten(-2), *heard[1:])

    hook = module.register_forward_pre_hook(deafen)
    try:
        expected = said(run(network, inputs))
    finally:
        hook.remove()
    torch.testing.assert_close(silenced, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(silenced, plain, atol=1e-4)


@EVERY
def test_gradients_reach_the_weights_and_the_answer_stays_the_same(networks, kind):
    network, _ = networks(kind)
    inputs = given(kind)
    plain = said(run(network, inputs))
    for weight in network.parameters():
        weight.requires_grad_(False)
    names = {"input_ids": "inputs_embeds", "decoder_input_ids": "decoder_inputs_embeds"}
    if kind in ("t5", "vilt", "deberta-v2"):  # their embeddings are what gradients begin at, whatever they are called
        network.get_input_embeddings().weight.requires_grad_(True)
    else:
        embedded = network.get_input_embeddings()(inputs.pop("input_ids")).detach().requires_grad_() * 1
        inputs[names["input_ids"]] = embedded
    part = "encoder" if kind == "t5" else "text"
    with torch.enable_grad(), attention.watch(network, record=Wanted(part), gradient=True) as probe:
        torch.manual_seed(0)
        output = said(network(**inputs, **asked(network)))
        # No padding here and no scaling by what a visitor cannot see: the plain sum is enough to ask for gradients.
        gradients = torch.autograd.grad(output.float().square().sum(), [*probe.weights.values()])
    network.get_input_embeddings().weight.requires_grad_(False)
    torch.testing.assert_close(output.detach(), plain, atol=1e-3, rtol=1e-3)
    assert all(gradient.abs().max() > 0 for gradient in gradients)


@EVERY
@pytest.mark.parametrize("missing", [(3, 0), (0, 4), (-1, 0), (0, -1)])
def test_a_head_that_is_not_there_is_refused_with_how_many_there_are(networks, kind, missing):
    network, _ = networks(kind)
    part = Wanted("encoder" if kind == "t5" else "text")
    with pytest.raises(NoSuchPart) as error, attention.watch(network, part, frozenset({missing})):
        pytest.fail("the network may not run")
    wrong = "layer" if missing[0] not in range(3) else "head"
    assert error.value.facts["part"] == wrong
    assert error.value.facts["limit"] == {"layer": 3, "head": 4}[wrong]


@pytest.mark.parametrize("kind", ["gpt2", "vilt"])
def test_one_who_watches_does_not_disturb_another_thread(networks, kind):
    network, _ = networks(kind)
    inputs = given(kind)
    plain = said(run(network, inputs))
    watching, done, found = threading.Event(), threading.Event(), []

    def watcher():
        with attention.watch(network, record=True) as probe:
            watching.set()
            assert done.wait(PATIENCE)
            found.append(len(probe.weights))

    thread = threading.Thread(target=watcher)
    thread.start()
    assert watching.wait(PATIENCE)
    assert torch.equal(said(run(network, inputs)), plain)
    done.set()
    thread.join(PATIENCE)
    assert found == [0]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "modernbert", "t5"])
def test_value_norms_are_the_lengths_of_what_heads_carry(networks, kind):
    network, _ = networks(kind)
    inputs = {name: value[:1] for name, value in given(kind).items()}
    path = [path for path, _ in network.named_modules() if path.endswith(OUTPUTS[kind]) and "decoder" not in path][1]
    module, heard = network.get_submodule(path), []

    def listen(module, given):
        heard.append(given[0][0])  # (token, heads x size)

    hook = module.register_forward_pre_hook(listen)
    with attention.watch(network, Wanted("encoder" if kind == "t5" else "text"), keep=True) as probe:
        run(network, inputs)
    hook.remove()
    silent = module(torch.zeros(1, 32))
    for head in range(4):
        alone = torch.zeros(TOKENS, 32)
        place = slice(head * 8, head * 8 + 8)
        alone[:, place] = heard[0][:, place]
        gathered = (module(alone) - silent).norm(dim=-1)  # of a sum of what is carried: at most the sum of lengths
        bound = probe.weights[1][0, head] @ probe.norms[1][head]
        assert (gathered <= bound + 1e-3).all() and (gathered > 0).all()
    one = {name: value[:, :1] for name, value in inputs.items()}
    with attention.watch(network, Wanted("encoder" if kind == "t5" else "text"), keep=True) as probe:
        hook = module.register_forward_pre_hook(listen)
        run(network, one)
        hook.remove()
    for head in range(4):  # of one token all looking goes to itself: what is gathered is what is carried
        alone = torch.zeros(1, 32)
        place = slice(head * 8, head * 8 + 8)
        alone[:, place] = heard[-1][:, place]
        torch.testing.assert_close(probe.norms[1][head], (module(alone) - silent).norm(dim=-1), atol=1e-4, rtol=1e-4)


def test_a_long_text_is_kept_in_half_precision_and_a_short_one_exactly(networks, monkeypatch):
    network, _ = networks("llama")
    inputs = given("llama")
    monkeypatch.setattr(limits, "EXACT_BYTES", 100)
    with attention.watch(network, record=True, keep=True) as probe:
        run(network, inputs)
    assert probe.calls[0].query.dtype == torch.float16
    for layer, call in probe.calls.items():
        torch.testing.assert_close(call.weights(), probe.weights[layer], atol=5e-3, rtol=0)


def test_a_network_built_anew_of_a_kind_nobody_tried_is_read_too(tmp_path):
    config = transformers.OlmoConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48
    )
    transformers.OlmoForCausalLM(config).save_pretrained(tmp_path)
    network, eager = (
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation=way).eval()
        for way in (attention.implementation_for(transformers.OlmoForCausalLM), "eager")
    )
    inputs = given("olmo")
    found, true = recorded(network, inputs), eager_weights(eager, inputs, "text")
    for layer, expected in enumerate(true):
        torch.testing.assert_close(found[layer], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", CHATS)
def test_a_chat_model_that_sees_pictures_is_read_in_its_words_and_in_its_picture(kind, tmp_path):
    model = tiny(tmp_path, kind, "AutoModelForImageTextToText", "vqa")
    network = model.network
    eager = type(network).from_pretrained(tmp_path, attn_implementation="eager").eval()
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "how many red circles?"}]}]
    prompt = model.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    inputs = model.processor(text=[prompt], images=[Image.fromarray(noise)], return_tensors="pt")
    with torch.inference_mode():
        expected = eager(**inputs, output_attentions=True).attentions
        for part in ("text", "picture"):
            with attention.watch(network, record=Wanted(part)) as probe:
                network(**inputs)
            for weights in probe.weights.values():
                torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)), atol=1e-5, rtol=0)
            if part == "text":
                assert len(probe.weights) == len(expected) == 3
                for layer, true in enumerate(expected):
                    torch.testing.assert_close(probe.weights[layer], true, atol=1e-5, rtol=0)
            assert len(probe.weights) >= 2


def test_an_attention_of_a_kind_of_its_own_is_refused_rather_than_shown_wrong(networks):
    network, _ = networks("llama")
    query = torch.randn(1, 4, 5, 8)
    module = network.model.layers[0].self_attn
    with pytest.raises(AttentionUnreadable):
        attention.attend(module, query, query[:, :2], query[:, :2], None, unheard_of=torch.ones(4))


def test_heads_that_cannot_be_silenced_are_not_said_to_be(networks):
    network, _ = networks("llama")
    with pytest.raises(AttentionUnreadable), attention.watch(network, silenced=frozenset({(0, 0)})):
        network.get_input_embeddings()(torch.tensor([1]))  # no attention is asked for anything


def test_weights_of_another_shape_than_heads_by_tokens_are_not_taken_for_weights(networks, monkeypatch):
    network, _ = networks("bloom")
    with attention.watch(network, record=True) as probe:
        for module in network.transformer.h:
            hook = attention.recorder(probe, 0)
            for other in (torch.full((1, 14, 4, 4), 0.25), torch.randn(1, 4, 14, 14)):  # a window, a bias
                hook(module, (), (torch.zeros(1, 14, 32), other))
    assert probe.weights == {}
