"""The Chinese reader's recipe, run whole on made-up sentences and a tiny start."""

import json
from collections import Counter

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from tests.training.tiny_sets import ZH_SENTENCES, write_sets
from training import chinese, loop, reading, two_heads

OLD = ["[unused0]", *two_heads.SPECIAL, *"abcdefghijklmnop"]


def write_start(folder):
    """Save a tiny encoder of another language, as all-MiniLM-L6-v2 is saved."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    BertModel(BertConfig(vocab_size=len(OLD), **sizes)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(OLD))


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    write_start(folder)
    return two_heads.open_start(folder, check=False)


def begun(start, pieces, rows):
    """Return a network for these pieces, made from the tiny start."""
    tensors, old, config = start
    torch.manual_seed(0)
    return two_heads.begin_anew(tensors, config, old, pieces, rows)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chinese")
    write_sets(folder / "data")
    write_start(folder / "start")
    arguments = ["--data", str(folder / "data"), "--start", str(folder / "start"), "--quick"]
    chinese.main([*arguments, "--checkpoints", str(folder / "runs"), "--out", str(folder / "out")])
    return folder


@pytest.mark.parametrize("head", [AutoModelForMaskedLM, AutoModelForSequenceClassification])
def test_one_folder_loads_whole_with_either_head(trained, head):
    network, report = head.from_pretrained(trained / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    assert network.dtype == torch.bfloat16
    assert network.config.id2label == {0: "negative", 1: "positive"}


def test_the_saved_tokenizer_reads_a_character_a_piece_and_blanks(trained):
    tokenizer = AutoTokenizer.from_pretrained(trained / "out")
    assert tokenizer.tokenize("狐狸在[MASK]上 回家。") == ["狐", "狸", "在", "[MASK]", "上", "回", "家", "。"]
    assert tokenizer.tokenize("A4纸") == ["a", "##4", "[UNK]"]
    assert tokenizer.model_max_length == 512 == len(tokenizer("狐" * 999, truncation=True).input_ids)


def test_the_card_and_the_results_hold_every_figure_beside_its_baseline(trained):
    card = (trained / "out" / "README.md").read_text(encoding="utf-8")
    (found,) = json.loads((trained / "out-results.json").read_text(encoding="utf-8")).values()
    assert card.startswith("---\nlicense: apache-2.0\nlanguage: zh\n")
    for figure in found["figures"]:
        assert figure["what"] in card and figure["baselines"]
    assert {figure["bar"] for figure in found["figures"]} == {None, 0.60, 0.88}
    assert "ChnSentiCorp" in found["training"] and "naive Bayes, 1+2 characters" in card
    assert all(text in card for text in (*chinese.BLANKS, *chinese.VERDICTS))


def test_measuring_twice_says_the_same(trained):
    once, again = (chinese.measure(trained / "out", trained / "data", True) for _ in range(2))
    assert once == again


def test_a_run_cut_off_goes_on_to_the_same_weights(trained, monkeypatch, capsys):
    def save_and_die(network, found, checkpoint, step, seconds):
        loop_save(network, found, checkpoint, step, seconds)
        if step == 4:
            raise KeyboardInterrupt

    loop_save = loop.save
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    monkeypatch.setattr(loop, "save", save_and_die)
    arguments = ["--data", str(trained / "data"), "--start", str(trained / "start"), "--quick"]
    arguments += ["--checkpoints", str(trained / "cut")]
    with pytest.raises(KeyboardInterrupt):
        chinese.main([*arguments, "--out", str(trained / "again")])
    chinese.main([*arguments, "--out", str(trained / "again")])
    assert "going on from step 4" in capsys.readouterr().out
    weights = [(trained / name / "model.safetensors").read_bytes() for name in ("out", "again")]
    assert weights[0] == weights[1]


def test_pieces_are_the_characters_met_often_each_once():
    pieces = chinese.learn_pieces(["他有iPad，他有〇", "他有〇〇", "她"])
    assert pieces[: len(two_heads.SPECIAL)] == two_heads.SPECIAL and len(set(pieces)) == len(pieces)
    assert {"有", "〇", "##〇", "p", "##d", "7", "##7"} <= set(pieces)
    assert not {"她", "##有", "，", "I"} & set(pieces)


def test_a_network_begun_anew_keeps_the_encoder_and_guesses_what_is_common_but_no_special_piece(start):
    pieces = [*two_heads.SPECIAL, *"的了是"]
    network = begun(start, pieces, [[2, 6, 6, 5, 6, 6, 7, 6, 6, 7, 3]] * 9).eval()
    bias = network.cls.predictions.decoder.bias
    assert bias.argsort(descending=True)[:3].tolist() == [6, 7, 5] and bias[:5].max() < bias[5] - 5
    tensors, old, _ = start
    kept = network.bert.state_dict()
    words = kept.pop(two_heads.WORDS)
    assert all(torch.equal(weight, tensors[name]) for name, weight in kept.items())
    assert torch.equal(words[:5], tensors[two_heads.WORDS][1:6])


def test_pieces_that_stand_beside_the_same_others_begin_alike(start):
    pieces = [*two_heads.SPECIAL, *"猫狗叫跑国民"]
    rows = [[2, animal, does, 3] for animal in (5, 6) for does in (7, 8)] + [[2, 9, 10, 9, 10, 3]] * 2
    words = begun(start, pieces, rows).bert.embeddings.word_embeddings.weight
    words = words - start[0][two_heads.WORDS].mean(0)
    likeness = torch.nn.functional.cosine_similarity(words[5], words)
    assert likeness[6] > 0.9 and likeness[[7, 9, 10]].max() < 0.5
    assert torch.isfinite(words).all()


def test_a_lesson_asks_whole_reviews_for_no_character_and_its_loss_reaches_both_heads(start):
    network = begun(start, [*two_heads.SPECIAL, *"他有书好坏"], [[2, 5, 6, 7, 8, 9, 3]])
    asked = []
    both = network.both
    network.both = lambda ids, chosen: (asked.append((ids, chosen)), both(ids, chosen))[1]
    judged = [([2, 5, 6, 7, 8, 3], 1), ([2, 5, 6, 7, 9, 3], 0)] * 8
    loss = chinese.lesson(network, [[2, 5, 6, 7, 3]] * 4, judged, 0.4, loop.generator(0, 0))
    loss.backward()
    ((ids, chosen),) = asked
    covered, original = (ids == 4).any(1), reading.pad([row for row, _ in judged])
    assert torch.equal(covered, chosen.any(1)) and 0 < covered.sum() < len(judged)
    assert torch.equal(ids[~covered], original[~covered])
    assert network.classifier.weight.grad.abs().sum() > 0
    assert network.cls.predictions.transform.dense.weight.grad.abs().sum() > 0


def test_reading_beats_frequency_after_a_little_training(start, tmp_path):
    pieces = chinese.learn_pieces(ZH_SENTENCES)
    tokenizer = two_heads.tokenizer_of(pieces)
    rows = two_heads.encode(tokenizer, ZH_SENTENCES)
    network = begun(start, pieces, rows)
    judged = [(row, number % 2) for number, row in enumerate(rows)]

    def loss_at(step):
        return chinese.lesson(network, rows[step % 7 :: 7], judged[:2], 0.2, loop.generator(0, step))

    loop.train(network, loss_at, steps=120, checkpoint=tmp_path / "x.pt", rate=3e-3, muon_rate=6e-3)
    used = Counter(piece for row in rows for piece in row[1:-1])
    read, counted = (
        reading.right_guesses(guess, rows) for guess in (reading.by_network(network), reading.by_frequency(used))
    )
    assert read[0] > 2 * counted[0] and read[1] > 1.5 * counted[1]
