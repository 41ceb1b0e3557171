"""Results are plain records: they can be compared, pickled and written as JSON."""

import dataclasses
import inspect
import json
import pickle

import numpy as np
import pytest

from core import results
from core.results import (
    Answer,
    Attention,
    Beam,
    Beams,
    Filling,
    Gaze,
    Habit,
    Lens,
    PatchCover,
    PatchMap,
    Ranking,
    Saliency,
    Settings,
    Step,
    Verdict,
    View,
    WhatIf,
)  # fmt: skip

RANKING = Ranking(("tea", "coffee"), (0.5, 0.25))
SALIENCY = Saliency("tea", ("hot", " drink"), (0.1, -0.2))
MAP = PatchMap(np.ones((2, 3), np.float32))
BEAM = Beam(None, 0, 7, " tea", "tea", 0.5, 0.5, True)
GREY = np.full((2, 2), 255, np.uint8)
EVERY = [
    RANKING,
    SALIENCY,
    MAP,
    WhatIf(frozenset({1}), frozenset({2}), frozenset({(0, 1)})),
    Filling(("a", "[MASK]"), (1,), (RANKING,), SALIENCY),
    Settings(),
    Step(" tea", 7, 0.5, RANKING, (7, 8), np.zeros(4, np.float32)),
    BEAM,
    Beams((BEAM, Beam(0, 1, 8, "ier", "…ier", 0.25, 0.125, True)), 2, (1,)),
    Verdict(RANKING, SALIENCY),
    Answer(RANKING, (MAP,), ("zebra",), SALIENCY),
    PatchCover("tea", MAP, np.zeros((2, 3), np.float32), 0.5),
    View(1, 2),
    Habit(1, 2, "previous", 0.8),
    Attention(("a", "b"), np.ones((1, 1, 2, 2), np.uint8), (), (0, 0), None, 0.0, RANKING, 1),
    Gaze(View(), GREY, 0.5, GREY.astype(np.int32), GREY.astype(np.float32)),
    Lens(("a",), (0,), ((RANKING,),)),
]


def test_the_surprise_of_a_token_is_one_bit_more_each_time_its_probability_halves():
    surprises = [Step("a", 1, chance, RANKING, (), np.zeros(1)).surprise for chance in (1.0, 0.5, 0.25, 0.0)]
    assert surprises[:3] == [0, 1, 2] and 100 < surprises[3] < 1000


def test_the_way_to_a_beam_begins_with_the_first_token():
    beams = Beams((BEAM, BEAM, Beam(1, 1, 8, "", "", 0.5, 0.25, True), Beam(2, 2, 9, "", "", 0.5, 0.1, True)), 2, (3,))
    assert beams.way(3) == (1, 2, 3) and beams.way(0) == (0,)


def test_every_record_of_the_module_is_tried_here():
    records = [kind for _, kind in inspect.getmembers(results, dataclasses.is_dataclass)]
    assert {type(one) for one in EVERY} == set(records)


@pytest.mark.parametrize("record", EVERY, ids=lambda record: type(record).__name__)
def test_a_record_can_be_pickled_compared_and_not_changed(record):
    assert pickle.loads(pickle.dumps(record)) == record
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(record)[0].name, None)
    assert not hasattr(record, "__dict__")


@pytest.mark.parametrize("record", EVERY, ids=lambda record: type(record).__name__)
def test_a_record_is_written_as_json_under_the_names_of_its_fields(record):
    data = json.loads(json.dumps(results.as_data(record), allow_nan=False))
    assert set(data) == {part.name for part in dataclasses.fields(record) if part.repr}


def test_what_is_not_listed_is_the_rest():
    assert RANKING.rest == pytest.approx(0.25)
    assert Ranking(("a", "b"), (0.7, 0.3000001)).rest == 0  # never below nothing


def test_a_label_that_is_not_listed_has_no_probability():
    assert RANKING.probability_of("coffee") == 0.25
    assert RANKING.probability_of("milk") == 0


def test_numbers_are_rounded_for_reading_and_keep_what_matters():
    assert results.as_data(Ranking(("a",), (1 / 3,)))["probabilities"] == [0.333333]
    assert results.as_data(MAP)["weights"] == [[1, 1, 1], [1, 1, 1]]


def test_of_labels_that_read_alike_the_likeliest_counts():
    assert Ranking((",", "and", ","), (0.5, 0.3, 0.1)).probability_of(",") == 0.5


def test_a_row_of_a_gaze_is_in_shares_again():
    gaze = Gaze(View(query=4), GREY, 0.5, GREY.astype(np.int32), GREY.astype(np.float32))
    assert gaze.row(5).tolist() == [0.5, 0.5]
