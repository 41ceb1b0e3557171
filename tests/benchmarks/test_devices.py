"""The comparison of a device with the processor runs, and sees what differs."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.devices import farthest
from core import catalogue
from core.results import Ranking

ROOT = Path(__file__).parent.parent.parent


def test_the_farthest_probability_counts_whatever_its_place():
    one = [Ranking(("a", "b"), (0.5, 0.25)), Ranking(("a",), (1.0,))]
    other = [Ranking(("b", "a"), (0.375, 0.5)), Ranking(("a", "c"), (0.9375, 0.0625))]
    assert farthest(one, one) == 0
    assert farthest(one, other) == 0.125


def test_every_task_of_every_model_on_board_is_compared(tmp_path):
    code = "import benchmarks.report as report, pathlib, sys; report.RESULTS = pathlib.Path(sys.argv.pop()); "
    code += "from benchmarks import devices; devices.main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "devices.json").read_text())
    told = {(row["model"], row["task"]) for row in found["rows"] if "task" in row}
    assert told == {(card.name, task) for card in catalogue.CATALOGUE if card.shelf == "board" for task in card.tasks}
    assert found["rows"][-1]["bytes kept"] == 0 and all(one["met"] for one in found["bars"])
