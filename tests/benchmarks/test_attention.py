"""The attention benchmark runs and reports, with and without what it is measured beside; speed is not judged here."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import attention
from benchmarks.attention import FULL, QUICK, bars_of, fitting, measure_bertviz, random_model, tokenizer, words
from benchmarks.report import RESULTS
from core.tokens import encode

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("count", [8, 128, 512, 1024])
def test_every_word_of_a_text_is_one_token_and_every_number_another_text(count):
    model = random_model(QUICK)
    found = model.tokenizer(words(count, 1))["input_ids"]
    assert len(found) == count and model.tokenizer.unk_token_id not in found
    assert len({words(count, number) for number in range(max(FULL.rounds) + 1)}) == max(FULL.rounds) + 1


def test_the_network_is_as_large_as_gpt_2_and_the_tokenizer_knows_as_many_words():
    assert sum(weight.numel() for weight in random_model(FULL).network.parameters()) == 124_439_808
    assert len(tokenizer()) == 50_257


def test_a_text_that_has_to_fit_fits_and_no_longer_one_would():
    model = random_model(QUICK)
    text = fitting(model.tokenizer, 50, 3)
    assert len(encode(model, text, "text").ids) == 50 == len(text.split())


def test_without_bertviz_its_rows_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr(attention, "find_spec", lambda name: None)
    assert measure_bertviz(QUICK) == [{"what": "BertViz", "left out": "pip install -r benchmarks/requirements.txt"}]
    assert bars_of([], QUICK) == []


def test_the_quick_run_measures_every_way_and_writes_its_report():
    command = [sys.executable, "-m", "benchmarks.attention", "--quick"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((RESULTS / "attention-quick.json").read_text())
    rows = {(row["what"], row.get("tokens")): row for row in found["rows"]}
    for tokens in QUICK.tokens:
        passes = [rows[f"time of {name}", tokens]["forward passes"] for name, _ in attention.WAYS.values()]
        assert passes == [1, 1, 1, 1, 0]
    assert all(row["bytes above the model"] >= 0 for (what, _), row in rows.items() if what.startswith("peak"))
    written = [row for (what, _), row in rows.items() if what.startswith("HTML of BertViz,")]
    assert len(written) == (4 if find_spec("bertviz") else 0) and all(row["bytes"] > 1_000 for row in written)
    painted = [row for (what, _), row in rows.items() if what.startswith("page with")]
    assert len(painted) == (4 if attention.chromium_path() else 0)
    assert all(row["bytes"] > 1_000 and row["seconds from click to painted"] > 0 for row in painted)
    assert all(one["better"] == "lower" for one in found["bars"])
    assert found["machine"]["cores"] and found["versions"]["torch"]
