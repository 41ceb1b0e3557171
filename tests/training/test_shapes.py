"""The shapes recipe, run whole on a tiny network, and its way of asking several questions in one pass."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForVisualQuestionAnswering, AutoProcessor, ViltForQuestionAnswering

from core.scenes import COLOURS, KINDS, Scene, Shape
from tests.training.tiny_sets import write_sets
from training import easy_vqa, recipe, report, shapes
from training.questions import ANSWERS, ASKERS, Question


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_sets(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(data):
    return easy_vqa.read(data)[0]


@pytest.fixture(scope="module")
def processor(pictures):
    return shapes.make_processor(pictures)


@pytest.fixture(scope="module")
def network(processor):
    torch.manual_seed(0)
    return ViltForQuestionAnswering(shapes.architecture(len(processor.tokenizer), quick=True)).eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("shapes")
    for name in ("out", "again"):  # the second goes on from the end of the first: nothing left to learn
        where = ["--data", str(data), "--checkpoints", str(folder / "runs"), "--out", str(folder / name)]
        shapes.main(["--quick", *where])
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
    assert all(f"| of them {kind} |" in text for kind in ASKERS)
    assert "held-out pictures of easy-VQA" in text and "teal circle" in text


def test_what_is_measured_has_bars_and_floors_and_is_kept(trained, data):
    kept = report.read(trained / "out-results.json")["shapes"]["figures"]
    again = shapes.measure(trained / "out", data, quick=True)
    assert [one["ours"] for one in kept] == [one.ours for one in again]
    assert [one.bar for one in again] == [0.97, *[0.93] * len(ASKERS), None, 0.95]
    assert all(0 <= share <= 1 for one in again for share in (one.ours, *one.baselines.values()))
    assert all(one.baselines for one in again if one.bar)


def test_a_finished_run_goes_on_to_the_same_weights(trained):
    weights = [(trained / name / "model.safetensors").read_bytes() for name in ("out", "again")]
    assert weights[0] == weights[1]


def lessons(seed: int, count: int, questions: int, pictures: list) -> list[shapes.Lesson]:
    rng = random.Random(seed)
    return [shapes.lesson_at(rng, questions, shapes.HARD, pictures) for _ in range(count)]


def test_a_step_draws_the_same_batch_whenever_it_is_drawn(processor, pictures):
    first, again, other = (shapes.batch_of(processor.tokenizer, lessons(seed, 2, 3, pictures)) for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["pixels"], other["pixels"])


def test_what_is_held_back_is_neither_shown_nor_named(pictures):
    rng = random.Random(0)
    for _ in range(300):
        scene = shapes.scene_to_learn_on(rng)
        assert not shapes.UNSEEN & {(shape.colour, shape.kind) for shape in scene.shapes}
    asked = [one.text.replace("gray", "grey") for lesson in lessons(1, 300, 8, pictures) for one in lesson.asked]
    for colour, kind in shapes.UNSEEN:
        assert not any(f"{colour} {kind}" in text or f"the {kind} {colour}" in text for text in asked)
    assert len(shapes.UNSEEN) == len(shapes.PAIRS) // 7


def test_scenes_to_measure_with_have_what_was_held_back():
    rng = random.Random(0)
    for _ in range(50):
        scene, one = shapes.question_of("position", rng, shapes.unseen_scene)
        assert shapes.UNSEEN & {(shape.colour, shape.kind) for shape in scene.shapes}
        assert one.kind == "position"


def test_some_lessons_are_of_easy_vqa_whose_patches_nobody_names(pictures):
    found = lessons(2, 400, 2, pictures)
    theirs = [lesson for lesson in found if lesson.asked[0].kind == "easy-VQA"]
    assert 0.5 * shapes.EASY_VQA < len(theirs) / len(found) < 1.5 * shapes.EASY_VQA
    assert all((lesson.patches == -100).all() and lesson.patches.shape == (shapes.GRID**2, 4) for lesson in theirs)


def test_the_question_alone_guesses_the_commonest_answer_to_the_same_words():
    known = [Question("number", "how many?", answer) for answer in ("2", "2", "3")]
    asked = [Question("number", "how many", "2"), Question("number", "never asked", "3")]
    assert shapes.alone_right(asked, known) == 0.5


@pytest.mark.parametrize("size", [(300, 200), (64, 64), (100, 400)])
def test_training_sees_what_the_processor_makes_of_a_picture(processor, size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    seen = processor.image_processor(picture, return_tensors="np")["pixel_values"][0]
    assert np.allclose(shapes.pixels_of(picture), seen, atol=1e-5)


def test_one_question_gives_the_networks_own_forward_pass(processor, network, pictures):
    batch = shapes.batch_of(processor.tokenizer, lessons(0, 4, 1, pictures))
    with torch.no_grad():
        own = network(input_ids=batch["ids"][:, 0], attention_mask=batch["mask"][:, 0], pixel_values=batch["pixels"])
        ours, _ = shapes.look(network, batch)
    assert torch.allclose(ours[:, 0], own.logits, atol=1e-5)


def test_questions_of_one_pass_do_not_see_one_another(processor, network, pictures):
    batch = shapes.batch_of(processor.tokenizer, lessons(0, 2, 3, pictures))
    changed = {**batch, "ids": batch["ids"].clone()}
    changed["ids"][:, 1] = 1
    with torch.no_grad():
        before, after = shapes.look(network, batch)[0], shapes.look(network, changed)[0]
    assert torch.allclose(before[:, [0, 2]], after[:, [0, 2]], atol=1e-5)
    assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-5)


def test_patches_are_named_after_what_lies_on_them():
    scene = Scene((Shape("square", "blue", x=0.26, y=0.76, size=0.2, paint=(0, 0, 255)),))
    named = shapes.named_patches(scene).reshape(shapes.GRID, shapes.GRID, 4)
    blue, square = 1 + list(COLOURS).index("blue"), 1 + KINDS.index("square")
    assert named[5, 1, :2].tolist() == named[6, 2, :2].tolist() == named[6, 2, 2:].tolist() == [blue, square]
    assert not named[:4].any() and not named[:, 4:].any()
    assert np.count_nonzero(named[..., 2:].any(-1)) == 1
    assert (named.reshape(-1, 4).max(0) < shapes.NAMES).all()


def test_every_word_of_a_strangers_question_is_known(processor):
    for text in (
        "How many red circles are there?",
        "What color is the square?",
        "where is the GRAY star",
        "Is no teal rectangle present?",
    ):
        assert processor.tokenizer.unk_token_id not in processor.tokenizer(text)["input_ids"]


@pytest.mark.parametrize("wrong", [["--sped", "1"], [], ["--data", "nowhere"], ["--data", ".", "--steps", "0"]])
def test_bad_input_is_one_line_and_exit_2(wrong, capsys):
    with pytest.raises(SystemExit) as stop:
        recipe.run(lambda: shapes.main(wrong))
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
