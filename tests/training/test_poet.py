"""The poet's recipe, run whole on made-up poems, and the cutting of verse it learns from."""

import json
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.training.tiny_sets import write_sets
from training import loop, poet, poetry, recipe
from training.loop import RecipeError

LINES = ["春眠不覺曉", "處處聞啼鳥", "夜來風雨聲", "花落知多少", "紅豆生南國", "春來發幾枝", "願君多採擷", "此物最相思"]


def verse(lines):
    """Join lines with the marks of verse."""
    return "".join(line + "，。"[number % 2] for number, line in enumerate(lines))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("poet")
    write_sets(folder / "data")
    arguments = ["--data", str(folder / "data"), "--checkpoints", str(folder / "runs"), "--quick"]
    poet.main([*arguments, "--out", str(folder / "out")])
    poet.main([*arguments, "--out", str(folder / "again")])  # goes on from the end: nothing left to learn
    return folder


@pytest.fixture(scope="module")
def found(trained):
    return poetry.quatrains(trained / "data")


@pytest.fixture(scope="module")
def tokenizer(found):
    return poet.learn_tokenizer(found[0], least=1)


def test_the_recipe_writes_a_model_that_loads_and_goes_on_with_a_line(trained):
    network, report = AutoModelForCausalLM.from_pretrained(trained / "out", output_loading_info=True)
    assert not report["missing_keys"] and network.dtype == torch.bfloat16
    tokenizer, network = poet.read(trained / "out")
    assert tokenizer.model_max_length == network.config.max_position_embeddings == poet.CONTEXT
    (poem,) = poet.compose(network, tokenizer, ["春風"], seed=0)
    assert poem.startswith("春風") and poet.compose(network, tokenizer, ["春風"], seed=0) == [poem]


def test_the_card_and_the_results_hold_the_same_figures(trained):
    card = (trained / "out" / "README.md").read_text("utf-8")
    figures = json.loads((trained / "out-results.json").read_text("utf-8"))["poet"]["figures"]
    assert "language: zh" in card and "全唐诗" in card
    assert all(figure["what"] in card for figure in figures) and len(figures) == 5
    assert all(line in card for line in poet.FIRST_LINES) and f"{len(poet.FIRST_LINES)}. " in card


def test_a_finished_run_goes_on_to_the_same_weights(trained):
    weights = [(trained / name / "model.safetensors").read_bytes() for name in ("out", "again")]
    assert weights[0] == weights[1]


def test_no_line_of_a_poem_kept_back_is_trained_on_and_no_poem_is_met_twice(found):
    training, held_out = found
    assert len(training) > 20 * len(held_out) > 0
    assert not {line for one in training for line in one.lines} & {line for one in held_out for line in one.lines}
    begins = [tuple(one.lines[:2]) for one in training]
    assert len(set(begins)) == len(begins)


def test_a_piece_is_in_form_in_both_scripts(found):
    for one in found[0]:
        assert poet.in_form(one.simplified) and poet.in_form(one.traditional)
    assert any(one.simplified != one.traditional for one in found[0])
    assert {one.whole for one in found[0]} == {one.opens for one in found[0]} == {True, False}


@pytest.mark.parametrize("count, starts", [(2, []), (3, []), (4, [0]), (6, [0, 2]), (8, [0, 4])])
def test_a_poem_is_cut_into_pieces_of_four_lines_that_reach_its_end(count, starts):
    pieces = list(poetry.cut(verse(LINES[:count])))
    assert [text for text, _, _ in pieces] == [verse(LINES[start : start + 4]) for start in starts]
    assert [whole for _, whole, _ in pieces] == [count == 4] * len(starts)
    assert [opens for _, _, opens in pieces] == [start == 0 for start in starts]


def test_a_song_gives_only_its_regular_stretches():
    assert list(poetry.cut("去年今日，" + verse(LINES[:4]))) == [(verse(LINES[:4]), False, False)]


def test_notes_are_left_out_and_a_gap_is_no_character():
    noted = verse(LINES[:4]).replace("，", "（一作春，夢），", 1)
    assert [text for text, _, _ in poetry.cut(noted)] == [verse(LINES[:4])]
    assert not list(poetry.cut(verse(LINES[:4]).replace("鳥", "□")))


def test_without_opencc_it_is_said_what_to_install(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "opencc", None)
    with pytest.raises(RecipeError, match="pip install"):
        poetry.quatrains(trained / "data")


def test_each_character_is_a_token_and_reads_as_it_was_typed(tokenizer):
    tokens = tokenizer("春風，山水。")["input_ids"]
    assert tokens[0] == tokenizer.bos_token_id and len(tokens) == 7
    assert tokenizer.decode(tokens, skip_special_tokens=True) == "春風，山水。"


@pytest.mark.parametrize("typed", ["春風,山水.", "春風；山水！", "春風，\n 山水。"])
def test_other_marks_and_blanks_read_as_those_of_verse(tokenizer, typed):
    assert tokenizer(typed)["input_ids"] == tokenizer("春風，山水。")["input_ids"]


def test_what_no_poem_holds_is_unknown_and_never_learned(tokenizer, found):
    assert tokenizer("春腦a風")["input_ids"][2:4] == [tokenizer.unk_token_id] * 2
    few = poet.learn_tokenizer(found[0][:30], least=8)
    poems = poet.Anthology(few, poet.of_form(found[0], 5))
    rows, wanted = poems.draw(loop.generator(0, 0), 200, share=0.5)
    assert (rows == few.unk_token_id).any() and not (wanted == few.unk_token_id).any()


def test_a_step_draws_the_same_poems_whenever_it_is_drawn(tokenizer, found):
    poems = poet.Anthology(tokenizer, poet.of_form(found[0], 7))
    first, again, other = (poems.draw(loop.generator(0, step), 32, share=0.5) for step in (3, 3, 4))
    assert torch.equal(first[0], again[0]) and not torch.equal(first[0], other[0])


def test_as_many_whole_poems_are_drawn_as_asked_in_both_scripts(tokenizer, found):
    poems = poet.Anthology(tokenizer, poet.of_form(found[0], 5))
    _, wanted = poems.draw(loop.generator(0, 0), 300, share=1)
    drawn = {tuple(row.tolist()) for row in wanted}
    simplified, traditional = ({tuple(row.tolist()) for row in script[poems.whole]} for script in poems.scripts)
    assert drawn <= simplified | traditional
    assert drawn - simplified and drawn - traditional


def test_both_forms_of_a_character_begin_alike(trained, tokenizer, found):
    _, network = poet.read(trained / "out")
    poet.begin_alike(network, tokenizer, found[0])
    old, new, other = network.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(["風", "风", "山"])]
    assert torch.equal(old, new) and not torch.equal(old, other)


@pytest.mark.parametrize(
    "poem, right",
    [
        (verse(LINES[:4]), True),
        (verse(LINES[:3]), False),
        (verse(LINES[:6]), False),
        (verse(LINES[:4])[:-1], False),
        (verse(LINES[:4])[1:], False),
    ],
)
def test_the_form_is_told(poem, right):
    assert poet.in_form(poem) is right


def test_a_line_that_comes_twice_is_told():
    assert poet.repeats(verse([*LINES[:3], LINES[0]])) and not poet.repeats(verse(LINES[:4]))


@pytest.mark.parametrize("wrong", [["--data", "nowhere"], ["--data", "nowhere", "--sped", "1"], []])
def test_bad_input_is_one_line_and_exit_2(wrong, capsys):
    with pytest.raises(SystemExit) as stop:
        recipe.run(lambda: poet.main(wrong))
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
