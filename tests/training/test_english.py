"""The English reader's recipe, run whole on made-up sentences and a tiny start."""

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from tests.training.tiny_sets import SENTENCES, write_sets
from training import english, english_text, loop, recipe, two_heads
from training.baselines import NaiveBayes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("english")
    write_sets(folder / "data")
    words = sorted({word for sentence in SENTENCES for word in sentence.lower().rstrip(".").split()})
    letters = list("abcdefghijklmnopqrstuvwxyz.,!'")
    pieces = ["[unused0]", *two_heads.SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words]
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder / "start")
    (folder / "start" / "vocab.txt").write_text("\n".join(pieces))
    arguments = ["--data", str(folder / "data"), "--start", str(folder / "start"), "--quick"]
    english.main([*arguments, "--checkpoints", str(folder / "runs"), "--out", str(folder / "out")])
    return folder


@pytest.mark.parametrize("head", [AutoModelForMaskedLM, AutoModelForSequenceClassification])
def test_one_folder_loads_whole_with_either_head(trained, head):
    network, report = head.from_pretrained(trained / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    assert network.dtype == torch.bfloat16
    assert network.config.id2label == {0: "negative", 1: "positive"}


def test_the_tokenizer_lost_unused_pieces_and_knows_the_words(trained):
    tokenizer = AutoTokenizer.from_pretrained(trained / "out")
    assert "[unused0]" not in tokenizer.get_vocab()
    assert tokenizer.tokenize("The FOX sang") == ["the", "fox", "sang"]
    assert tokenizer.model_max_length == 512


def test_the_card_has_front_matter_data_and_both_evaluations(trained):
    text = (trained / "out" / "README.md").read_text()
    assert text.startswith("---\nlicense: apache-2.0\n")
    assert "hidden words" in text and "SST-2 dev" in text and "naive Bayes" in text


def test_hide_masks_some_words_of_every_row_and_no_frame():
    ids = torch.tensor([[2, 10, 11, 12, 3, 0, 0], [2, 10, 3, 0, 0, 0, 0]])
    seen, chosen = english.hide(ids, loop.generator(0))
    assert chosen.any(1).all()
    assert (seen[chosen] == 4).all() and (ids[chosen] > 4).all() and torch.equal(seen[~chosen], ids[~chosen])


def test_a_batch_is_of_like_lengths_and_the_same_whenever_drawn():
    pool = english_text.Pool({"a": [[0] * (1 + number % 50) for number in range(500)]}, {"a": 1.0}, len)
    batch, again = (pool.draw(loop.generator(0, 1), rows=16) for _ in range(2))
    assert batch == again and len(batch) == 16
    assert max(map(len, batch)) - min(map(len, batch)) < 5
    few = pool.draw(loop.generator(0, 2), tokens=200)
    assert max(map(len, few)) * len(few) <= 200


@pytest.mark.parametrize(
    ("phrase", "written"), [("it does n't work , at all", "it doesn't work, at all."), ("it 's fun !", "it's fun!")]
)
def test_natural_writes_as_people_do(phrase, written):
    assert english_text.natural(phrase) == written


def test_naive_bayes_learns_words():
    votes = NaiveBayes([("good film", 1), ("bad film", 0), ("very good", 1), ("very bad", 0)])
    assert [votes.label("a good one"), votes.label("a bad one")] == [1, 0]


def test_another_model_to_start_from_is_refused_in_one_line(trained, capsys):
    arguments = ["--data", str(trained / "data"), "--start", str(trained / "start"), "--out", str(trained / "x")]
    with pytest.raises(SystemExit) as stop:
        recipe.run(lambda: english.main(arguments))
    assert stop.value.code == 2
    assert "is not all-MiniLM-L6-v2" in capsys.readouterr().err
