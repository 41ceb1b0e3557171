"""A verdict of every judge, why it was given, and lists that are judged as one by one."""

import math

import pytest
import torch

from core import limits, models
from core.errors import HiddenEverything, ListOutOfRange, NoSuchPart, NothingTyped, TextTooLong
from core.rankings import probabilities
from core.results import WhatIf
from core.saliency import merge
from core.tasks import judge, judge_all, sentiment
from core.tokens import encode

EVERY = pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert"])
TEXT = "a film that i loved and hated"


@pytest.fixture
def critic(model, kind):
    return model(kind, "sentiment")


@EVERY
def test_the_verdict_is_the_networks_own_and_leaves_no_rest(critic):
    ranking = judge(critic, TEXT).ranking
    chances = probabilities(critic.network(**critic.tokenizer(TEXT, return_tensors="pt")).logits)[0]
    assert ranking.probabilities == pytest.approx(chances.sort(descending=True).values.tolist(), abs=1e-5)
    assert ranking.labels[0] == critic.network.config.id2label[int(chances.argmax())]
    assert sum(ranking.probabilities) == pytest.approx(1) and ranking.rest == pytest.approx(0, abs=1e-6)


@EVERY
def test_every_word_is_weighed_as_the_visitor_wrote_it(critic):
    saliency = judge(critic, TEXT).saliency
    assert "".join(saliency.tokens).split() == TEXT.split()
    assert len(saliency.tokens) == len(saliency.covered) == len(saliency.scores) == len(saliency.looks)
    assert all(math.isfinite(score) for score in (*saliency.scores, *saliency.covered))
    assert any(saliency.covered) and any(saliency.scores) and sum(saliency.looks) == pytest.approx(1)
    assert -1 <= saliency.agreement <= 1


@EVERY
def test_chinese_words_are_whole_characters(critic):
    tokens = judge(critic, "我 loved 这部 film").saliency.tokens
    assert "".join(tokens).replace(" ", "") == "我loved这部film"


@EVERY
def test_the_pushes_of_all_words_add_up_to_the_change_of_the_log_odds(critic, monkeypatch):
    monkeypatch.setattr(limits, "GRADIENT_STEPS", 400)
    monkeypatch.setattr(limits, "GRADIENT_STEPS_MOST", 400)
    saliency = judge(critic, TEXT).saliency
    encoded = encode(critic, TEXT, "text")
    blank = critic.tokenizer.mask_token_id
    blanks = [token if word is None else blank for token, word in zip(encoded.ids, encoded.words, strict=True)]
    label = critic.network.config.label2id[saliency.label]

    def log_odds(ids):
        logits = critic.network(**critic.inputs(input_ids=ids)).logits[0]
        return (logits[label] - logits[1 - label]).item()

    moved = log_odds(encoded.ids) - log_odds(blanks)
    assert sum(saliency.scores) == pytest.approx(moved, abs=0.02 * max(1, abs(moved)))


@EVERY
def test_covering_a_word_loses_what_the_verdict_without_it_says(critic):
    plain = judge(critic, TEXT)
    winner = plain.ranking.labels[0]
    for word in (0, len(plain.saliency.tokens) - 1):
        without = judge(critic, TEXT, WhatIf(hidden_tokens=frozenset({word})))
        lost = plain.ranking.probabilities[0] - without.ranking.probability_of(winner)
        assert plain.saliency.covered[word] == pytest.approx(lost, abs=1e-5)
        assert without.saliency.tokens == plain.saliency.tokens
        if without.ranking.labels[0] == winner:
            assert without.saliency.covered[word] == pytest.approx(0, abs=1e-6)  # it is covered already


@EVERY
def test_silenced_heads_change_the_verdict_and_its_reasons_and_nothing_afterwards(critic):
    plain = judge(critic, TEXT)
    silenced = judge(critic, TEXT, WhatIf(silenced_heads=frozenset((2, head) for head in range(4))))
    assert silenced.ranking.probabilities != plain.ranking.probabilities
    assert silenced.saliency.scores != plain.saliency.scores
    assert judge(critic, TEXT) == plain


@EVERY
def test_silenced_heads_change_a_whole_list_and_what_is_not_there_is_refused(critic):
    silenced = WhatIf(silenced_heads=frozenset((2, head) for head in range(4)))
    (plain,), (found,) = list(judge_all(critic, [TEXT])), list(judge_all(critic, [TEXT], silenced))
    single = judge(critic, TEXT, silenced).ranking
    assert found.probabilities != plain.probabilities
    assert found.labels == single.labels
    assert found.probabilities == pytest.approx(single.probabilities, abs=1e-4)
    with pytest.raises(NoSuchPart):
        next(judge_all(critic, [TEXT], WhatIf(silenced_heads=frozenset({(0, 9)}))))


@EVERY
def test_of_a_long_text_neighbours_are_weighed_together(critic, monkeypatch):
    monkeypatch.setattr(sentiment, "merge", gather_three)
    plain = judge(critic, TEXT)
    assert [words.split() for words in plain.saliency.tokens] == [
        ["a", "film", "that"],
        ["i", "loved"],
        ["and", "hated"],
    ]
    without = judge(critic, TEXT, WhatIf(hidden_tokens=frozenset({1})))
    lost = plain.ranking.probabilities[0] - without.ranking.probability_of(plain.ranking.labels[0])
    assert plain.saliency.covered[1] == pytest.approx(lost, abs=1e-5)


def gather_three(words):
    """Weigh three stretches at most."""
    return merge(words, 3)


CLEAR = {
    "positive": ("wonderful", "delightful", "brilliant", "superb", "beautiful", "charming", "excellent", "moving"),
    "negative": ("terrible", "boring", "awful", "dreadful", "dull", "horrible", "stupid", "disappointing"),
}


def test_on_board_covering_and_gradients_agree_about_clearly_emotional_words():
    critic = models.load("english-sentiment")
    agreed = []
    for label, adjectives in CLEAR.items():
        for adjective in adjectives:
            verdict = judge(critic, f"This is a {adjective} film.")
            assert verdict.ranking.labels[0] == label, adjective
            word = verdict.saliency.tokens.index(f" {adjective}")
            assert verdict.saliency.scores[word] > 0, adjective
            agreed.append(verdict.saliency.covered[word] > 0)
            assert verdict.saliency.error <= 2 * limits.GRADIENT_ERROR
    assert sum(agreed) >= 0.9 * len(agreed)


@EVERY
def test_what_is_not_there_is_refused_and_the_next_text_is_judged(critic):
    for text in ("", "\t", None):
        with pytest.raises(NothingTyped):
            judge(critic, text)
    with pytest.raises(TextTooLong):
        judge(critic, "film " * 200)
    words = len(judge(critic, TEXT).saliency.tokens)
    for word in (-1, words):
        with pytest.raises(NoSuchPart) as error:
            judge(critic, TEXT, WhatIf(hidden_tokens=frozenset({word})))
        assert error.value.facts["limit"] == words
    with pytest.raises(NoSuchPart):
        judge(critic, TEXT, WhatIf(silenced_heads=frozenset({(5, 0)})))
    with pytest.raises(HiddenEverything):
        judge(critic, TEXT, WhatIf(hidden_tokens=frozenset(range(words))))
    assert judge(critic, TEXT).ranking.labels


@EVERY
def test_a_list_is_judged_as_its_texts_one_by_one(critic):
    texts = [TEXT, "the dog", "red", "the cat sat on the mat and the dog ran to the red house", "你好"] * 8
    found = list(judge_all(critic, texts))
    assert len(found) == len(texts) == 40  # more than one batch
    for text, ranking in list(zip(texts, found, strict=True))[:5]:
        single = judge(critic, text).ranking
        assert ranking.labels == single.labels
        assert ranking.probabilities == pytest.approx(single.probabilities, abs=1e-4)
    assert len({ranking.probabilities for ranking in found[:5]}) == 5


@EVERY
def test_a_list_left_half_read_takes_no_further_turn(critic):
    served = critic.device.queue.served
    reading = judge_all(critic, [TEXT] * 40)
    next(reading)
    reading.close()
    assert critic.device.queue.served == served + 1


@EVERY
@pytest.mark.parametrize("count", [0, limits.SENTENCES + 1])
def test_an_empty_and_an_endless_list_are_refused(critic, count):
    with pytest.raises(ListOutOfRange) as error:
        next(judge_all(critic, ["film"] * count))
    assert error.value.facts == {"found": count, "limit": limits.SENTENCES}


@EVERY
def test_a_list_with_an_unreadable_line_is_refused_before_anything_is_judged(critic):
    served = critic.device.queue.served
    for wrong, kind in [("", NothingTyped), ("film " * 200, TextTooLong)]:
        with pytest.raises(kind):
            next(judge_all(critic, [TEXT, wrong]))
    assert critic.device.queue.served == served


def test_half_precision_judges_too(model):
    critic = model("bert", "sentiment")
    try:
        critic.network.to(torch.bfloat16)
        verdict = judge(critic, TEXT)
    finally:
        critic.network.to(torch.float32)
    assert sum(verdict.ranking.probabilities) == pytest.approx(1)


def test_without_the_why_the_ranking_is_the_same_and_nothing_is_weighed(model):
    critic, what_if = model("bert", "sentiment"), WhatIf(hidden_tokens=frozenset({1}))
    found = judge(critic, "the cat sat on the mat", what_if, why=False)
    assert found.saliency is None
    assert found.ranking == judge(critic, "the cat sat on the mat", what_if).ranking
