"""Bounds that lean on one another."""

from core import limits


def test_every_limit_is_a_number_above_zero():
    bounds = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert len(bounds) > 20
    assert all(isinstance(value, int | float) and value > 0 for value in bounds.values())


def test_what_is_part_of_a_text_is_no_longer_than_a_text():
    parts = (limits.QUESTION_TOKENS, limits.SENTENCE_TOKENS, limits.STORY_TOKENS)
    assert max(parts) <= limits.TEXT_TOKENS < limits.TEXT_CHARACTERS
    assert limits.WINDOW_TOKENS <= limits.ROLLOUT_TOKENS <= limits.ATTENTION_TOKENS < limits.LONG_CHARACTERS


def test_bars_are_drawn_only_of_what_is_kept():
    assert limits.CHOICES <= limits.RIVALS_KEPT


def test_a_list_of_the_most_and_longest_sentences_fits_an_upload():
    assert limits.SENTENCES * limits.SENTENCE_TOKENS < limits.TABLE_BYTES
