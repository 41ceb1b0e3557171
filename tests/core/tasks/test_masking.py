"""Blanks are filled by every reader, all at once, and the reason given is the one that covering finds."""

import pytest

from core import limits
from core.errors import BlanksOutOfRange, HiddenEverything, NoSuchPart, NothingTyped, TextTooLong
from core.rankings import probabilities
from core.results import WhatIf
from core.tasks import fill_mask

EVERY = pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert"])
TEXT = "the cat [MASK] on the mat"


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
    assert filling.why.label == filling.rankings[0].labels[0]
    assert [word.strip() for word in filling.why.tokens if word.strip()] == ["the", "cat", "on", "the", "mat"]
    assert len(filling.why.covered) == len(filling.why.tokens)
    assert 0 < max(map(abs, filling.why.covered)) <= 1


@EVERY
def test_covering_a_word_is_hiding_its_tokens(reader):
    plain = fill_mask(reader, TEXT)
    first = fill_mask(reader, TEXT, what_if=WhatIf(hidden_tokens=frozenset({1})))
    assert plain.tokens[1].strip() == plain.why.tokens[0].strip() == "the"
    likeliest = plain.rankings[0]
    found = first.rankings[0].probability_of(likeliest.labels[0])
    if found:  # it is still among the bars
        assert plain.why.covered[0] == pytest.approx(likeliest.probabilities[0] - found, abs=1e-5)
    assert first.rankings != plain.rankings


@EVERY
def test_a_blank_alone_is_filled_without_a_reason(reader):
    filling = fill_mask(reader, "[MASK]")
    assert len(filling.rankings) == 1 and filling.why.tokens == filling.why.covered == ()


@EVERY
def test_silencing_heads_changes_the_answer_and_nothing_afterwards(reader):
    plain = fill_mask(reader, TEXT)
    assert fill_mask(reader, TEXT, what_if=WhatIf(silenced_heads=frozenset({(0, 1)}))).rankings != plain.rankings
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
    with pytest.raises(NoSuchPart):
        fill_mask(reader, TEXT, what_if=WhatIf(silenced_heads=frozenset({(0, 9)})))
    with pytest.raises(HiddenEverything):
        fill_mask(reader, "[MASK]", what_if=WhatIf(hidden_tokens=frozenset({1})))
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
