"""The shapes recipe, run whole on a tiny network, and its way of asking several questions in one pass."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForVisualQuestionAnswering, AutoProcessor, ViltForQuestionAnswering

from core.scenes import COLOURS, KINDS, Scene, Shape
from training import recipe, shapes
from training.questions import ANSWERS, ASKERS


@pytest.fixture(scope="module")
def processor():
    return shapes.make_processor()


@pytest.fixture(scope="module")
def network(processor):
    torch.manual_seed(0)
    return ViltForQuestionAnswering(shapes.architecture(len(processor.tokenizer), quick=True)).eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    for name in ("out", "again"):  # the second goes on from the end of the first: nothing left to learn
        shapes.main(["--quick", "--checkpoints", str(folder / "runs"), "--out", str(folder / name)])
    return folder


def test_the_recipe_writes_a_model_that_loads_and_answers(trained):
    processor = AutoProcessor.from_pretrained(trained / "out")
    network, report = AutoModelForVisualQuestionAnswering.from_pretrained(
        trained / "out", attn_implementation="eager", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert network.dtype == torch.bfloat16
    given = processor(Image.new("RGB", (300, 200)), "How many red circles?", return_tensors="pt")
    output = network(**given, output_attentions=True)
    assert network.config.id2label[int(output.logits.argmax())] in ANSWERS
    places = given["input_ids"].shape[1] + 1 + shapes.GRID**2  # words, the picture's first, patches
    assert output.attentions[0].shape[-2:] == (places, places)


def test_the_card_has_front_matter_and_every_kind_of_question(trained):
    text = (trained / "out" / "README.md").read_text()
    assert text.startswith("---\nlicense: apache-2.0\n")
    assert all(f"| {kind} |" in text for kind in ASKERS)


def test_a_finished_run_goes_on_to_the_same_weights(trained):
    weights = [(trained / name / "model.safetensors").read_bytes() for name in ("out", "again")]
    assert weights[0] == weights[1]


def test_a_step_draws_the_same_batch_whenever_it_is_drawn(processor):
    first, again, other = (shapes.draw_batch(processor.tokenizer, 0, step, 2, 3, tuple(ASKERS)) for step in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["pixels"], other["pixels"])


@pytest.mark.parametrize("size", [(300, 200), (64, 64), (100, 400)])
def test_training_sees_what_the_processor_makes_of_a_picture(processor, size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    seen = processor.image_processor(picture, return_tensors="np")["pixel_values"][0]
    assert np.allclose(shapes.pixels_of(picture), seen, atol=1e-5)


def test_one_question_gives_the_networks_own_forward_pass(processor, network):
    batch = shapes.draw_batch(processor.tokenizer, 0, 0, 4, 1, tuple(ASKERS))
    with torch.no_grad():
        own = network(input_ids=batch["ids"][:, 0], attention_mask=batch["mask"][:, 0], pixel_values=batch["pixels"])
        ours, _ = shapes.look(network, batch)
    assert torch.allclose(ours[:, 0], own.logits, atol=1e-5)


def test_questions_of_one_pass_do_not_see_one_another(processor, network):
    batch = shapes.draw_batch(processor.tokenizer, 0, 0, 2, 3, tuple(ASKERS))
    changed = {**batch, "ids": batch["ids"].clone()}
    changed["ids"][:, 1] = 1
    with torch.no_grad():
        before, after = shapes.look(network, batch)[0], shapes.look(network, changed)[0]
    assert torch.allclose(before[:, [0, 2]], after[:, [0, 2]], atol=1e-5)
    assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-5)


def test_patches_are_named_after_what_lies_on_them():
    scene = Scene((Shape("square", "blue", x=0.25, y=0.75, size=0.2, paint=(0, 0, 255)),))
    named = shapes.named_patches(scene).reshape(shapes.GRID, shapes.GRID)
    blue_square = 1 + list(COLOURS).index("blue") * len(KINDS) + KINDS.index("square")
    assert named[5, 1] == named[6, 2] == blue_square
    assert not named[:4].any() and not named[:, 4:].any()


def test_every_word_of_a_strangers_question_is_known(processor):
    for text in ("How many red circles are there?", "What color is the square?", "where is the GRAY star"):
        assert processor.tokenizer.unk_token_id not in processor.tokenizer(text)["input_ids"]


@pytest.mark.parametrize("wrong", [["--sped", "1"], ["--steps", "0"], ["--steps", "many"]])
def test_bad_input_is_one_line_and_exit_2(wrong, capsys):
    with pytest.raises(SystemExit) as stop:
        recipe.run(lambda: shapes.main(wrong))
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
