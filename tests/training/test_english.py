"""The English reader's recipe, run whole on made-up sentences and a tiny start."""

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from tests.training.tiny_sets import SENTENCES, write_sets
from training import calibration, english, english_text, loop, reading, recipe, report, two_heads


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
    torch.manual_seed(0)
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
    assert "hidden words" in text and "SST-2 dev" in text and "naive Bayes" in text and "capital" in text


def test_the_figures_are_kept_with_what_stands_beside_them_and_measured_alike_again(trained):
    kept = report.figures(report.read(trained / "out-results.json")["english"])
    whole = next(one for one in kept if "of both together" in one.what)
    assert set(whole.baselines) == {"before training", "by frequency"}
    assert all(0 <= one.ours <= 1 for one in kept) and sum(one.bar is not None for one in kept) == 4
    again = english.measure(trained / "out", trained / "data", True, trained / "start")
    assert again == kept


def test_both_heads_say_through_one_network_what_they_say_alone(trained):
    network, tokenizer = reading.load(trained / "out")
    ids = reading.pad(reading.encode(tokenizer, ["the fox went [MASK].", "the hen"]))
    blank = ids == tokenizer.mask_token_id
    masked = AutoModelForMaskedLM.from_pretrained(trained / "out", dtype=torch.float32).eval()
    judge = AutoModelForSequenceClassification.from_pretrained(trained / "out", dtype=torch.float32).eval()
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    torch.testing.assert_close(network.guess(ids, blank), masked(**inputs).logits[blank])
    torch.testing.assert_close(network.judge(ids), judge(**inputs).logits)


def test_calibration_folds_one_temperature_into_the_classifier_and_leaves_every_verdict(trained):
    network, tokenizer = reading.load(trained / "out")
    texts = [f"{one} number {number}" for number, one in enumerate(SENTENCES)]
    logits, _ = reading.judge(network, tokenizer, [(text, 0) for text in texts])
    margin = (logits[:, 1] - logits[:, 0]).abs().mean()
    for weight in network.classifier.parameters():
        weight.data *= 10 / margin  # as sure as can be, and wrong a third of the time
    verdicts = logits.argmax(-1).tolist()
    texts = [(text, verdicts[at] if at % 3 else 1 - verdicts[at]) for at, text in enumerate(texts)]
    before, _ = reading.judge(network, tokenizer, texts)
    reading.calibrate(network, tokenizer, texts)
    after, labels = reading.judge(network, tokenizer, texts)
    found = network.config.calibration_temperature
    assert found > 1
    torch.testing.assert_close(after, before / found)
    rest = torch.tensor([not calibration.is_for_fitting(text) for text, _ in texts])
    assert 0.3 < rest.float().mean() < 0.7
    errors = [calibration.error(logits[rest].softmax(-1), labels[rest]) for logits in (before, after)]
    assert errors[1] < errors[0]


def test_calibration_error_is_how_far_apart_being_sure_and_being_right_are():
    labels = torch.tensor([0, 1, 0, 1])
    sure = torch.tensor([[1.0, 0.0]] * 4)
    assert calibration.error(sure, labels) == pytest.approx(0.5)
    assert calibration.error(torch.nn.functional.one_hot(labels, 2), labels) == 0
    assert calibration.error(torch.full((4, 2), 0.5), labels) == pytest.approx(0)


def test_guesses_are_counted_on_the_same_hidden_words_whoever_guesses():
    rows = [[2, *[10] * 8, 3], [2, *[11] * 3, 3]]

    def right(seen, chosen):
        others = torch.tensor([5, 6, 7, 8]).expand(int(chosen.sum()), 4)
        answers = torch.where(chosen.any(1) & (chosen.shape[1] > 0), seen.amax(1), 0)
        return torch.cat([answers[chosen.nonzero()[:, 0]][:, None], others], 1)

    first, five, total = reading.right_guesses(right, rows).tolist()
    assert first == five == total == 2  # 15 % of eight words, and one of three at least


def test_hide_masks_some_words_of_every_row_and_no_frame():
    ids = torch.tensor([[2, 10, 11, 12, 3, 0, 0], [2, 10, 3, 0, 0, 0, 0]])
    seen, chosen = reading.hide(ids, loop.generator(0))
    assert chosen.any(1).all()
    assert (seen[chosen] == 4).all() and (ids[chosen] > 4).all() and torch.equal(seen[~chosen], ids[~chosen])


def test_a_batch_is_of_like_lengths_and_the_same_whenever_drawn():
    pool = reading.Pool({"a": [[0] * (1 + number % 50) for number in range(500)]}, {"a": 1.0}, len)
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


def test_another_model_to_start_from_is_refused_in_one_line(trained, capsys):
    arguments = ["--data", str(trained / "data"), "--start", str(trained / "start"), "--out", str(trained / "x")]
    with pytest.raises(SystemExit) as stop:
        recipe.run(lambda: english.main(arguments))
    assert stop.value.code == 2
    assert "is not all-MiniLM-L6-v2" in capsys.readouterr().err
