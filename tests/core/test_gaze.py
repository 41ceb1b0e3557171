"""A whole head shrunk to a small picture loses no line, and all layers together are worked out once."""

import numpy as np
import pytest
import torch

from core import gaze, limits, reading
from core.calls import Seen
from core.results import View
from core.traces import Trace


@pytest.fixture
def trace():
    """Return a trace of two layers of three heads over twenty tokens."""
    weights = np.random.default_rng(0).random((2, 3, 20, 20)).astype(np.float32)
    weights /= weights.sum(-1, keepdims=True)
    return Trace(tuple(Seen(torch.from_numpy(layer[None])) for layer in weights), (), None, None, {})


def all_of(trace) -> np.ndarray:
    """Return all weights of a trace."""
    return np.concatenate([call.all.numpy() for call in trace.calls])


def test_rollout_is_that_of_all_weights_and_is_kept(trace):
    found = gaze.rolled(trace, None, False)
    np.testing.assert_allclose(found, reading.rollout(all_of(trace)), atol=1e-5)
    assert gaze.rolled(trace, None, False) is found
    aside = reading.rollout(reading.set_aside(all_of(trace), 4))
    np.testing.assert_allclose(gaze.rolled(trace, 4, False), aside, atol=1e-5)


def test_a_head_in_blocks_is_the_head(trace, monkeypatch):
    monkeypatch.setattr(gaze, "NUMBERS", 20 * 7)
    blocks = list(gaze.in_blocks(trace, View(1, 2), None, 20))
    assert [len(block) for block in blocks] == [7, 7, 6]
    np.testing.assert_allclose(np.concatenate(blocks), all_of(trace)[1, 2], atol=1e-6)


def test_a_single_look_of_a_long_text_is_still_seen_in_the_whole(monkeypatch):
    monkeypatch.setattr(limits, "WHOLE_SIDE", 8)
    head = np.zeros((50, 50), np.float32)
    head[40, 21] = 0.01
    small = gaze.shrunk(iter([head[:13], head[13:]]), 50)
    assert small.shape == (8, 8) and small[40 * 8 // 50, 21 * 8 // 50] == 255 and (small > 0).sum() == 1
