"""Blanks are filled by every reader, all at once, and the reason given is the one that covering finds."""

import pytest

from core import limits
from core.errors import BlanksOutOfRange, HiddenEverything, NoSuchPart, NothingTyped, TextTooLong
from core.rankings import probabilities
from core.results import WhatIf
from core.tasks import fill_mask, masking

EVERY = pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert"])
TEXT = "the cat [MASK] on the mat"


near_most = masking.near


def near_two(words, token):
    """Weigh two words at most."""
    return near_most(words, token, 2)


@pytest.fixture
def reader(model, kind):
    return model(kind, "masking")


@EVERY
@pytest.mark.parametrize("blanks", [1, 2, limits.BLANKS])
def test_each_blank_gets_a_ranking_that_sums_with_the_rest_to_1(reader, blanks):
    filling = fill_mask(reader, "the " + "[MASK] " * blanks + "mat")
    assert len(filling.blanks) == len(filling.rankings) == blanks
    assert [filling.tokens[at].strip() for at in filling.blanks] == ["[MASK]"] * blanks
    for ranking in filling.rankings:
        assert len(ranking.labels) == limits.CHOICES
        assert list(ranking.probabilities) == sorted(ranking.probabilities, reverse=True)
        assert 0 <= ranking.rest < 1
        assert sum(ranking.probabilities) + ranking.rest == pytest.approx(1)


@EVERY
def test_the_probabilities_are_those_of_the_network_itself(reader):
    plain = reader.tokenizer(TEXT.replace(" [MASK]", reader.tokenizer.mask_token), return_tensors="pt")
    if reader.card.name in ("bert", "distilbert"):  # these know no blank before the mask
        plain = reader.tokenizer(TEXT.replace("[MASK]", reader.tokenizer.mask_token), return_tensors="pt")
    at = (plain["input_ids"][0] == reader.tokenizer.mask_token_id).nonzero().item()
    chances = probabilities(reader.network(**plain).logits)[0, at].sort(descending=True).values
    found = fill_mask(reader, TEXT).rankings[0].probabilities
    assert found == pytest.approx(chances[: limits.CHOICES].tolist(), abs=1e-5)


@EVERY
@pytest.mark.parametrize("blanks", [0, limits.BLANKS + 1, 50])
def test_too_few_and_too_many_blanks_are_refused_by_number(reader, blanks):
    with pytest.raises(BlanksOutOfRange) as error:
        fill_mask(reader, "cat " + "[MASK]" * blanks)
    assert error.value.facts == {"found": blanks, "limit": limits.BLANKS}
    assert fill_mask(reader, TEXT).blanks


@EVERY
def test_a_blank_is_a_blank_however_it_is_written(reader):
    written = [TEXT.replace("[MASK]", blank) for blank in ("[MASK]", "[mask]", reader.tokenizer.mask_token)]
    assert len({fill_mask(reader, text) for text in written}) == 1


@EVERY
def test_the_reason_is_about_the_likeliest_filling_and_names_every_other_word(reader):
    filling = fill_mask(reader, TEXT)
    why = filling.why
    assert why.label == filling.rankings[0].labels[0]
    assert [word.strip() for word in why.tokens if word.strip()] == ["the", "cat", "on", "the", "mat"]
    assert len(why.covered) == len(why.scores) == len(why.looks) == len(why.tokens)
    assert 0 < max(map(abs, why.covered)) <= 1
    assert any(why.scores) and why.error is not None
    assert sum(why.looks) == pytest.approx(1)
    assert -1 <= why.agreement <= 1


@EVERY
def test_covering_a_word_loses_what_the_answer_without_it_says(reader):
    everything = reader.network.config.vocab_size
    plain = fill_mask(reader, TEXT, everything)
    for word in range(len(plain.why.tokens)):
        without = fill_mask(reader, TEXT, everything, WhatIf(hidden_tokens=frozenset({word})))
        assert without.rankings != plain.rankings
        assert without.why.tokens == plain.why.tokens
        labels = [ranking.labels.index(plain.why.label) for ranking in (plain.rankings[0], without.rankings[0])]
        before, after = plain.rankings[0].probabilities[0], without.rankings[0].probabilities[labels[1]]
        assert labels[0] == 0 and plain.why.covered[word] == pytest.approx(before - after, abs=1e-5)
        if without.why.label == plain.why.label:
            assert without.why.covered[word] == pytest.approx(0, abs=1e-6)  # it is covered already


@EVERY
def test_a_word_of_several_tokens_is_covered_whole(reader):
    text = "zyxwvu [MASK] the mat"
    plain = fill_mask(reader, text)
    assert plain.why.tokens[0] == "zyxwvu" and len(plain.tokens) > len(plain.why.tokens) + 1
    other = [
        fill_mask(reader, one, what_if=WhatIf(hidden_tokens=frozenset({0}))).rankings
        for one in (text, text.replace("zyxwvu", "uvwxyz"))
    ]
    if len(plain.tokens) == len(fill_mask(reader, text.replace("zyxwvu", "uvwxyz")).tokens):
        for one, two in zip(*other, strict=True):
            assert one.probabilities == pytest.approx(two.probabilities, abs=1e-5)


@EVERY
def test_of_a_long_text_the_words_nearest_to_the_blank_are_weighed(reader, monkeypatch):
    near = "on the mat"
    text = f"the cat [MASK] {near}"
    assert masking.near([[at] for at in (1, 2, 4, 5, 6)], 3, 3) == [[2], [4], [5]]
    assert masking.near([[at] for at in range(1, 9)], 0, 3) == [[1], [2], [3]]
    assert masking.near([[at] for at in range(8)], 8, 3) == [[5], [6], [7]]
    assert masking.near([[at] for at in range(2)], 2, 3) == [[0], [1]]
    monkeypatch.setattr(masking, "near", near_two)
    found = fill_mask(reader, text)
    assert [word.strip() for word in found.why.tokens] == ["cat", "on"]
    with pytest.raises(NoSuchPart):
        fill_mask(reader, text, what_if=WhatIf(hidden_tokens=frozenset({2})))
    with pytest.raises(HiddenEverything):
        fill_mask(reader, text, what_if=WhatIf(hidden_tokens=frozenset({0, 1})))


@EVERY
def test_a_blank_alone_is_filled_without_a_reason(reader):
    filling = fill_mask(reader, "[MASK]")
    assert len(filling.rankings) == 1 and filling.why.tokens == filling.why.covered == filling.why.scores == ()


@EVERY
def test_silencing_heads_changes_the_answer_and_nothing_afterwards(reader):
    plain = fill_mask(reader, TEXT)
    silenced = fill_mask(reader, TEXT, what_if=WhatIf(silenced_heads=frozenset({(0, 1)})))
    assert silenced.rankings != plain.rankings and silenced.why.scores != plain.why.scores
    assert fill_mask(reader, TEXT) == plain


@EVERY
def test_what_cannot_be_read_is_refused_and_the_next_text_is_read(reader):
    for text in ("", " \n", None, 5):
        with pytest.raises(NothingTyped):
            fill_mask(reader, text)
    with pytest.raises(TextTooLong):
        fill_mask(reader, "cat " * 100 + "[MASK]")
    with pytest.raises(NoSuchPart):
        fill_mask(reader, TEXT, what_if=WhatIf(hidden_tokens=frozenset({60})))
    with pytest.raises(NoSuchPart) as error:
        fill_mask(reader, "[MASK]", what_if=WhatIf(hidden_tokens=frozenset({0})))
    assert error.value.facts == {"part": "token", "found": 1, "limit": 0}
    with pytest.raises(NoSuchPart):
        fill_mask(reader, TEXT, what_if=WhatIf(silenced_heads=frozenset({(0, 9)})))
    with pytest.raises(HiddenEverything):
        fill_mask(reader, "the [MASK]", what_if=WhatIf(hidden_tokens=frozenset({0})))
    assert fill_mask(reader, TEXT).rankings


@EVERY
def test_a_text_fills_the_context_to_its_last_token(reader):
    room, text = reader.context, "[MASK]" + "." * (reader.context - 5)
    while True:
        try:
            filling = fill_mask(reader, text)
        except TextTooLong as error:
            assert error.facts["limit"] == room
            break
        assert all(sum(one.probabilities) > 0 for one in filling.rankings)
        longest, text = len(filling.tokens), text + "."
    assert longest == room


def test_without_the_why_the_rankings_are_the_same_and_nothing_is_weighed(model):
    reader, what_if = model("bert", "masking"), WhatIf(hidden_tokens=frozenset({1}))
    found = fill_mask(reader, "the cat sat on the [MASK]", 5, what_if, why=False)
    assert found.why is None
    assert found.rankings == fill_mask(reader, "the cat sat on the [MASK]", 5, what_if).rankings
