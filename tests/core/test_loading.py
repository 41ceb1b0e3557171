"""Only checkpoints that are whole and safe, and of them every kind that a tab can run."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from core import catalogue, devices, halves, limits, loading, tasks
from core.catalogue import ModelCard
from core.devices import Device
from core.errors import ModelUnfit, ModelUnsafe, ModelUnusable, VisitorError
from core.loading import read
from core.results import Answer, Attention, Filling, Step, Verdict
from core.runner import run_here
from tests.tiny import network_of, tiny

WEIGHTS = "model.safetensors"


@pytest.fixture
def checkpoint(model, tmp_path):
    """A checkpoint of one's own to spoil."""
    folder = tmp_path / "spoilt"
    shutil.copytree(model("bert", "masking").card.repo, folder)
    return mine(folder, "masking"), folder


def mine(folder: Path, task: str) -> ModelCard:
    """Return the card that a folder a visitor typed gets."""
    return catalogue.own_card(str(folder), task)


def change(folder: Path, **config: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))


def change_weights(folder: Path, changed) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file(changed(tensors), folder / WEIGHTS, metadata={"format": "pt"})


def refused(card: ModelCard) -> ModelUnusable:
    with pytest.raises(ModelUnusable) as error:
        read(card)
    assert error.value.facts["name"] == Path(card.repo).name  # and no path
    return error.value.facts["lacks"]


def test_a_whole_checkpoint_is_read_ready_to_answer(checkpoint):
    found = read(checkpoint[0])
    assert not found.network.training
    assert not any(weight.requires_grad for weight in found.network.parameters())
    assert found.device is devices.device()


def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_name(checkpoint):
    card, folder = checkpoint
    lost = next(name for name in load_file(folder / WEIGHTS) if "layer.1" in name)
    change_weights(folder, lambda tensors: {name: tensor for name, tensor in tensors.items() if name != lost})
    assert lost in refused(card)


def test_a_checkpoint_without_the_head_its_task_needs_is_refused(checkpoint):
    assert "classifier" in refused(mine(checkpoint[1], "sentiment"))


def test_weights_that_are_not_safetensors_are_not_opened(checkpoint):
    card, folder = checkpoint
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    assert refused(card) == "safetensors weights"


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(ModelUnusable):
        read(ModelCard("nowhere", ("masking",), "weights/nowhere", "AutoModelForMaskedLM"))


def test_code_is_refused_and_not_run(checkpoint):
    card, folder = checkpoint
    (folder / "modeling_mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    change(folder, auto_map={"AutoModelForMaskedLM": "modeling_mine.Mine"})
    with pytest.raises(ModelUnsafe):
        read(card)
    (folder / "modeling_mine.py").unlink()
    with pytest.raises(ModelUnsafe):
        read(card)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(("shelf", "looks"), [("hub", 1), ("folder", 2)])
def test_only_what_came_from_the_hub_is_not_looked_through_again(checkpoint, monkeypatch, shelf, looks):
    card, folder = checkpoint
    found, look = [], loading.check_weights
    monkeypatch.setattr(loading, "check_weights", lambda *given: found.append(look(*given)))
    for _ in range(2):
        read(replace(card, shelf=shelf), folder)
    assert len(found) == looks


@pytest.mark.parametrize("spoil", ["no_numbers", "too_large"])
def test_what_was_refused_is_looked_through_again(checkpoint, spoil):
    card, folder = checkpoint
    globals()[spoil](folder)
    for _ in range(2):
        with pytest.raises(ModelUnusable):
            read(replace(card, shelf="hub"), folder)


def truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1000])


def scramble(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"\x07" * 5000)


def lose_header(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((1000).to_bytes(8, "little") + b"{" * 1000)


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def absurd(folder: Path) -> None:
    change(folder, num_hidden_layers=200_000)


def negative(folder: Path) -> None:
    change(folder, num_hidden_layers=-3)


def many_layers(folder: Path) -> None:
    change(folder, num_hidden_layers=250, hidden_size=8192, intermediate_size=65_536, num_attention_heads=64)


def other_sizes(folder: Path) -> None:
    change(folder, intermediate_size=40)


def nonsense(folder: Path) -> None:
    change(folder, hidden_act="sing", num_attention_heads=7)


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": {"type": "None of them"}}')


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def small_table(folder: Path) -> None:
    change(folder, vocab_size=10)
    change_weights(
        folder,
        lambda held: {
            name: one[:10].clone()
            if len(one) > 48 and "word" in name or "decoder" in name or name == "cls.predictions.bias"
            else one
            for name, one in held.items()
        },
    )


def no_numbers(folder: Path) -> None:
    change_weights(
        folder, lambda held: {name: one * torch.nan if "layer.2" in name else one for name, one in held.items()}
    )


def endless(folder: Path) -> None:
    change_weights(folder, lambda held: {name: one / 0 if "embed" in name else one for name, one in held.items()})


def too_large(folder: Path) -> None:
    """Each weight is a number, and what comes of them is not."""
    change_weights(
        folder, lambda held: {name: one * 1e38 if "LayerNorm.weight" in name else one for name, one in held.items()}
    )


@pytest.mark.parametrize(
    ("spoil", "lacks"),
    [
        (truncate, "readable weights"), (scramble, "readable weights"), (lose_header, "readable weights"),
        (no_json, "sensible configuration"), (absurd, "sensible configuration"), (negative, "sensible configuration"),
        (many_layers, "weights for all of its layers"), (other_sizes, "weights that fit its configuration"),
        (nonsense, "sensible configuration"), (broken_tokenizer, "readable tokenizer"), (no_tokenizer, "readable tokenizer"),
        (small_table, "readable tokenizer"), (no_numbers, "sensible weights"), (endless, "sensible weights"),
        (too_large, "sensible weights"),
    ],
)  # fmt: skip
def test_a_spoilt_checkpoint_is_refused_in_two_seconds_by_what_it_lacks(checkpoint, spoil, lacks):
    card, folder = checkpoint
    spoil(folder)
    began = time.monotonic()
    assert refused(card) == lacks
    assert time.monotonic() - began < 2


def test_a_writer_cannot_fill_in_and_a_reader_cannot_write(model):
    for kind, its, other in (("gpt2", "generation", "masking"), ("bert", "masking", "generation")):
        with pytest.raises(ModelUnfit) as error:
            read(mine(model(kind, its).card.repo, other))
        assert error.value.facts["found"] == kind


def test_a_scale_is_no_verdict(model, tmp_path):
    folder = tmp_path / "scale"
    shutil.copytree(model("bert", "sentiment").card.repo, folder)
    change(folder, problem_type="multi_label_classification")
    assert refused(mine(folder, "sentiment")) == "labels of which one is chosen"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says which files are mapped")
def test_a_file_that_was_read_is_let_go(checkpoint):
    card, folder = checkpoint
    found = read(card)
    assert found.network and str(folder / WEIGHTS) not in Path("/proc/self/maps").read_text()


def test_weights_may_change_on_disk_while_they_are_in_use(checkpoint):
    card, folder = checkpoint
    found = read(card)
    before = [weight.clone() for weight in found.network.parameters()]
    with (folder / WEIGHTS).open("r+b") as file:
        file.seek(-4000, 2)
        file.write(b"\x01" * 4000)
    assert all(torch.equal(one, other) for one, other in zip(before, found.network.parameters(), strict=True))


@pytest.mark.parametrize(("kind", "task"), [("roberta", "masking"), ("gpt2", "generation"), ("vilt", "vqa")])
def test_the_context_is_what_the_network_has_places_for(model, kind, task):
    found = model(kind, task)
    assert found.context == {"roberta": 64, "gpt2": 64, "vilt": 40}[kind]


def test_gpt2s_activation_worked_out_in_one_step_says_the_same(tmp_path):
    plain = network_of("gpt2", "AutoModelForCausalLM", 90)
    assert plain.config.activation_function == "gelu_new"
    plain.save_pretrained(tmp_path)
    config = loading.lean(type(plain.config).from_pretrained(tmp_path))
    lean = type(plain).from_pretrained(tmp_path, config=config).eval()
    assert type(lean.transformer.h[0].mlp.act) is not type(plain.transformer.h[0].mlp.act)
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        torch.testing.assert_close(lean(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)


def test_on_a_card_large_networks_are_read_in_half_precision_and_their_angles_are_not(tmp_path, monkeypatch):
    tiny(tmp_path, "llama", "AutoModelForCausalLM", "generation")
    monkeypatch.setattr(limits, "HALF_PRECISION_PARAMETERS", 1000)
    waiting = Device(torch.device("cpu"), "cuda", "ZeroGPU", waits=True)
    network = read(mine(tmp_path, "generation"), place=waiting).network
    assert {weight.dtype for weight in network.parameters()} == {torch.bfloat16}
    assert network.model.rotary_emb.inv_freq.dtype == torch.float32
    assert not any(isinstance(module, halves.HalfLinear) for module in network.modules())


FITTING = [
    *[(kind, "generation") for kind in ("gpt2", "llama", "qwen3", "gemma3", "mamba")],
    *[(kind, "masking") for kind in ("bert", "roberta", "distilbert", "modernbert", "deberta-v2", "albert")],
    *[(kind, "sentiment") for kind in ("bert", "roberta", "distilbert", "gpt2")],
    *[(kind, "vqa") for kind in ("vilt", "blip", "idefics3", "qwen2_vl")],
]
CHOICES = {
    "generation": (tasks.generate, Step),
    "masking": (tasks.fill_mask, Filling),
    "sentiment": (tasks.judge, Verdict),
}


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("pictures") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8)).save(file)
    return str(file)


@pytest.mark.parametrize(("kind", "task"), FITTING)
def test_a_folder_of_ones_own_answers_on_its_tab_and_shows_its_attention_or_says_why_not(model, picture, kind, task):
    folder = str(model(kind, task).card.repo)
    if task == "vqa":
        found = run_here(tasks.answer, folder, picture, "how many red circles?")
        assert isinstance(found, Answer) and np.isfinite(found.ranking.probabilities).all()
        return
    run, result = CHOICES[task]
    found = run_here(run, folder, "the cat [MASK] on the mat" if task == "masking" else "the cat sat on")
    found = next(found) if task == "generation" else found
    assert isinstance(found, result)
    try:
        seen = run_here(tasks.attend, folder, "the cat sat on the mat")
    except VisitorError as error:
        assert kind in ("mamba",), error
    else:
        assert isinstance(seen, Attention) and np.isfinite(seen.montage).all()


@pytest.mark.skipif(not halves.serve(torch.device("cpu")), reason="this processor has no such kernel")
@pytest.mark.parametrize("bits", [0, 8])
def test_a_very_large_network_is_never_whole_in_float32_and_answers_the_same(tmp_path, monkeypatch, bits):
    words = len(tiny(tmp_path, "llama", "AutoModelForCausalLM", "generation").tokenizer)
    network_of("llama", "AutoModelForCausalLM", words).bfloat16().save_pretrained(tmp_path)
    card = replace(mine(tmp_path, "generation"), bits=bits)
    ids, asked = torch.arange(20)[None] + 5, []
    loading.settle(plain := read(card))
    from_pretrained = loading.transformers.AutoModelForCausalLM.from_pretrained

    def noted(*places, **options):
        asked.append(options["dtype"])
        return from_pretrained(*places, **options)

    monkeypatch.setattr(loading.transformers.AutoModelForCausalLM, "from_pretrained", noted)
    monkeypatch.setattr(limits, "FLOAT_BYTES", 1000)
    frugal = read(card)
    assert asked == ["auto"] and frugal.settled.is_set()
    assert {weight.dtype for weight in frugal.network.parameters()} == {torch.float32}
    torch.testing.assert_close(
        frugal.network(ids).logits, plain.network(ids).logits, atol=1e-5 if not bits else 1e-2, rtol=0
    )
