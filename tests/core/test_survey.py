"""A survey finds the habits that were put in, sets the sink aside, and of a long text asks only some tokens."""

import numpy as np
import pytest
import torch

from core import limits
from core.calls import Seen
from core.survey import spread, survey
from core.traces import Trace

TOKENS = 24


def trace_of(*heads: np.ndarray) -> Trace:
    """Return a trace of one layer with these heads, [query, key]."""
    return Trace((Seen(torch.from_numpy(np.stack(heads)[None].astype(np.float32))),), (), None, None, {})


def even(tokens=TOKENS):
    """Return a head that looks everywhere alike."""
    return np.full((tokens, tokens), 1 / tokens)


def back(steps, tokens=TOKENS):
    """Return a head that looks some tokens back, and at the first where there is none."""
    return np.eye(tokens)[np.maximum(0, np.arange(tokens) - steps)]


def ids(tokens=TOKENS):
    """Return the numbers of tokens that are all different."""
    return list(range(100, 100 + tokens))


def test_habits_are_measured_as_the_share_of_looking_that_shows_them():
    found = survey(trace_of(0.8 * back(1) + 0.2 * even(), even(), back(0)), ids()).shares
    assert found["previous"][0, 0] == pytest.approx(0.8 + 0.2 / TOKENS, abs=0.01)
    assert found["even"][0, 1] == pytest.approx(1, abs=1e-4)
    assert found["itself"][0].tolist() == pytest.approx([0.2 / TOKENS, 1 / TOKENS, 1], abs=0.04)
    assert np.isnan(found["same"]).all()  # no word comes twice


def test_a_head_that_looks_at_the_same_word_elsewhere_is_found():
    numbers = [*range(100, 108), *range(100, 108)]
    twin = np.eye(16)[(np.arange(16) + 8) % 16]
    found = survey(trace_of(twin, even(16)), numbers).shares
    assert found["same"][0, 0] == pytest.approx(1) and found["same"][0, 1] == pytest.approx(1 / 16, abs=1e-3)


def test_a_head_that_looks_at_what_followed_the_same_word_is_found():
    numbers = [*range(100, 108), *range(100, 108)]
    induction = np.eye(16)[np.where(np.arange(16) >= 8, np.arange(16) - 7, 0)]
    assert survey(trace_of(induction, even(16)), numbers).shares["after_same"][0, 0] == pytest.approx(1)


def test_the_sink_is_found_measured_and_set_aside():
    resting = 0.7 * np.eye(TOKENS)[np.zeros(TOKENS, int)] + 0.3 * back(1)
    found = survey(trace_of(resting, resting), ids())
    assert found.sink == 0
    assert found.shares["sink"][0, 0] == pytest.approx(0.7 + 0.3 / (TOKENS - 1), abs=0.01)
    assert found.sink_share == pytest.approx(found.shares["sink"].mean())
    assert found.shares["previous"][0, 0] == pytest.approx(1, abs=0.05)  # of what is left
    assert found.montage[..., 0].max() <= found.montage.max() and found.montage.shape == (1, 2, 16, 16)


def test_a_head_that_only_rests_gives_no_chance_to_show_a_habit():
    resting = np.eye(TOKENS)[np.zeros(TOKENS, int)]
    found = survey(trace_of(resting, resting), ids())
    assert np.isnan(found.shares["previous"]).all() and found.shares["sink"].min() == 1
    assert found.montage.max() == 0


def test_no_line_is_lost_in_the_montage():
    spot = even(200).copy()
    spot[117] = np.eye(200)[43]
    small = survey(trace_of(spot, even(200)), ids(200)).montage[0, 0]
    assert small[117 * 16 // 200, 43 * 16 // 200] == 255 and (small == 255).sum() == 1


def test_a_short_text_is_shown_token_by_token():
    assert survey(trace_of(back(1, 5), even(5)), ids(5)).montage.shape == (1, 2, 5, 5)


def test_of_a_long_text_some_tokens_are_asked_and_habits_stay_the_same(monkeypatch):
    heads = [0.6 * back(1, 120) + 0.4 * even(120), even(120)]
    whole = survey(trace_of(*heads), ids(120)).shares
    monkeypatch.setattr(limits, "SURVEY_ROWS", 30)
    sampled = survey(trace_of(*heads), ids(120)).shares
    assert sampled["previous"][0, 0] == pytest.approx(whole["previous"][0, 0], abs=0.03)


def test_tokens_asked_are_spread_from_the_first_to_the_last():
    assert spread(5, 10) == [0, 1, 2, 3, 4]
    found = spread(1000, 10)
    assert len(found) == 10 and found[0] == 0 and found[-1] == 999 and max(np.diff(found)) - min(np.diff(found)) <= 1


def test_heads_worked_out_a_few_at_a_time_are_the_same(monkeypatch):
    from core import survey as module

    heads = [back(1), even(), back(0), back(3)]
    whole = survey(trace_of(*heads), ids())
    monkeypatch.setattr(module, "NUMBERS", 2 * TOKENS * TOKENS)
    parts = survey(trace_of(*heads), ids())
    assert np.array_equal(whole.montage, parts.montage)
    assert np.array_equal(whole.shares["previous"], parts.shares["previous"], equal_nan=True)
