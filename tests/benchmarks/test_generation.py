"""The benchmark of stories runs and reports, and sums up what it should; speed is not judged here."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import generation
from benchmarks.attention import chromium_path
from benchmarks.generation import (
    FULL,
    GROWTH,
    SLACK,
    STORIES,
    bars_of,
    bytes_read,
    compared,
    page_row,
    read,
    side_by_side,
    stamped,
)
from benchmarks.report import RESULTS
from core import catalogue, limits, models
from core.models import Device, Model
from core.tasks.generation import ends_of_text
from tests.tiny import network_of

ROOT = Path(__file__).parent.parent.parent


def test_all_ways_run_each_round_in_the_other_order_every_other_time():
    ran = []
    ways = [lambda number, way=way: ran.append(way) or 10 * way + number for way in range(3)]
    assert side_by_side(ways, 3) == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]
    assert ran == [0, 1, 2, 2, 1, 0, 0, 1, 2]


def test_what_is_told_is_the_middle_of_the_ratios_of_neighbours():
    row = compared([10.0, 1.0, 30.0], {"generate()": [5.0, 1.0, 10.0]})  # the machine was slow for both the second time
    assert row == {"tokens/s": 10.0, "tokens/s, generate()": 5.0, "times generate()": 2.0}


@pytest.mark.parametrize(("kind", "table"), [("gpt2", "transformer.wpe"), ("llama", "model.embed_tokens")])
def test_embeddings_count_as_read_only_where_they_are_the_head(kind, table):
    network = network_of(kind, "AutoModelForCausalLM", 400)
    model = Model(catalogue.find("storyteller"), network, None, Device(torch.device("cpu"), "processor", "CPU"))
    assert bytes_read(model) == models.size(model) - network.get_submodule(table).weight.nbytes


def test_a_model_that_is_measured_writes_on_past_what_ends_a_text():
    assert not ends_of_text(read(catalogue.find("storyteller")))


def test_a_story_on_the_page_is_summed_up_token_by_token():
    stamps = (generation.STAMP - 1_000 + 50 * np.arange(200)) % generation.STAMP  # the clock begins anew on the way
    paint = np.where(np.arange(200) < 100, 10, 30)
    row = page_row(np.stack([stamps, paint - 5, paint, paint + 12], -1)[None], 100)
    assert row["tokens/s"] == 20.0 and row["tokens of a story"] == 200
    assert (row[generation.FIRST_ONES], row[generation.LAST_ONES]) == (10, 30)
    assert row["ms to the frame after it"] - row["ms to the strip"] == 17 and row["ms more a hundred tokens"] > 5
    median, growth = bars_of([row])
    assert median["met"] and not growth["met"] and growth["bar"] == GROWTH * 10 + SLACK


def test_a_bar_is_about_the_first_rival_and_about_nothing_that_was_left_out():
    row = {"what": "one story, warm", "network": "a", "prompt": 12}
    found = bars_of(
        [row | compared([2.0], {"one": [1.0], "other": [4.0]}), {"what": "page", "left out": "no Chromium"}]
    )
    assert [(one["name"], one["measured"], one["met"]) for one in found] == [
        ("one story, warm, a, prompt of 12: times one", 2.0, True)
    ]


def test_the_stand_in_lets_go_of_steps_as_large_as_real_ones_each_with_its_own_stamp(monkeypatch):
    monkeypatch.setattr(generation, "PACE", 1_000)
    steps = list(stamped(20))
    assert all(re.fullmatch(r" \d{7}", step.text) for step in steps)
    assert all(len(step.log_probabilities) == limits.RIVALS_KEPT for step in steps)
    assert len({id(step.log_probabilities) for step in steps}) == 20
    assert FULL.shown == limits.STORY_TOKENS


def test_the_quick_run_measures_all_and_writes_its_report():
    command = [sys.executable, "-m", "benchmarks.generation", "--quick"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((RESULTS / "generation-quick.json").read_text())
    rows = {(row["what"], row.get("network")): row for row in found["rows"]}
    for network in ("storyteller", "random, GPT-2's size"):
        warm, eight = rows["one story, warm", network], rows["eight stories at once", network]
        assert warm["times generate()"] > 0 and warm["bytes of weights a token"] > 1_000
        assert eight["seconds to the last story's"] >= eight["seconds to the first story's first token"] > 0
        assert eight["stories that are the same alone"] == STORIES
    assert rows["one story, at once", "random, GPT-2's size"]["times generate()"] > 0
    assert rows["memory", None]["GB/s"] > 0
    if chromium_path():
        page = rows["page", None]
        assert 0 < page["ms to the strip"] <= page["ms to the paint, p50"] <= page["ms to the frame after it"]
    assert len(found["bars"]) == (9 if chromium_path() else 7)
    assert found["machine"]["cores"] and found["versions"]["transformers"]
