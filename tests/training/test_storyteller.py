"""The storyteller's recipe, run whole on made-up stories."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.tiny_sets import write_sets
from training import card, recipe, storyteller
from training.loop import RecipeError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("storyteller")
    write_sets(folder / "data")
    arguments = ["--data", str(folder / "data"), "--checkpoints", str(folder / "runs"), "--quick"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storyteller, "TITLES", frozenset(["Heidi", "Peter Pan"]))
        patch.setattr(storyteller, "TOLD", 8)
        storyteller.main([*arguments, "--out", str(folder / "out")])
        storyteller.main([*arguments, "--out", str(folder / "again")])  # goes on from the end: nothing left to learn
    return folder


def test_the_recipe_writes_a_model_that_loads_and_tells(trained):
    tokenizer = AutoTokenizer.from_pretrained(trained / "out")
    network, report = AutoModelForCausalLM.from_pretrained(trained / "out", output_loading_info=True)
    assert not report["missing_keys"]
    assert network.dtype == torch.bfloat16
    assert tokenizer.model_max_length == network.config.max_position_embeddings == storyteller.CONTEXT
    assert storyteller.tell(network, tokenizer, "The fox", seed=0, length=8).startswith("The fox")


def test_the_card_has_front_matter_data_and_samples(trained):
    text = (trained / "out" / "README.md").read_text()
    assert text.startswith("---\nlicense: apache-2.0\n")
    assert "## Evaluation" in text and "Tatoeba" in text and "20. " in text
    assert "six books held out" in text and "Kneser-Ney 5-gram" in text


def test_a_finished_run_goes_on_to_the_same_weights(trained):
    weights = [(trained / name / "model.safetensors").read_bytes() for name in ("out", "again")]
    assert weights[0] == weights[1]


def test_a_step_draws_the_same_rows_whenever_it_is_drawn():
    streams = {name: torch.arange(5000) for name in storyteller.SHARES}
    first, again, other = (storyteller.draw(streams, seed=0, step=step, batch=1024) for step in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("length", [2, 30, 65, 513, 1100])
def test_a_text_longer_than_the_context_is_foretold_whole_and_each_token_once(trained, length):
    class Even(torch.nn.Module):
        """All tokens are as likely, so the surprise counts them."""

        device = torch.device("cpu")

        def forward(self, input_ids):
            assert input_ids.shape[1] <= storyteller.CONTEXT
            return type("Output", (), {"logits": torch.zeros(*input_ids.shape, 7)})

    assert storyteller.surprise(Even(), [3] * length) == pytest.approx((length - 1) * math.log(7))


@pytest.mark.parametrize(
    ("story", "round_and_round"),
    [("the cat sat down " * 4, True), ("The cat sat down. " * 3, False), ("one two three", False), ("", False)],
)
def test_a_story_loops_when_the_same_four_words_come_four_times(story, round_and_round):
    assert storyteller.loops(story) is round_and_round


def test_a_folder_that_cannot_be_written_is_said(trained, tmp_path):
    (tmp_path / "file").touch()
    tokenizer = AutoTokenizer.from_pretrained(trained / "out")
    network = AutoModelForCausalLM.from_pretrained(trained / "out")
    with pytest.raises(RecipeError, match="could not write"):
        card.save(network, tokenizer, tmp_path / "file" / "out")


@pytest.mark.parametrize("wrong", [["--data", "nowhere"], ["--data", "nowhere", "--sped", "1"], []])
def test_bad_input_is_one_line_and_exit_2(wrong, capsys):
    with pytest.raises(SystemExit) as stop:
        recipe.run(lambda: storyteller.main(wrong))
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
