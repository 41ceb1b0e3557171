"""The start-up benchmark runs and reports; what it measures on a busy machine is not judged here."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.report import RESULTS, bar

ROOT = Path(__file__).parent.parent.parent


def test_a_bar_knows_on_which_side_it_is_met():
    assert bar("seconds", 1.0, 2.0)["met"] and not bar("seconds", 3.0, 2.0)["met"]
    assert bar("times faster", 3.0, 2.0, "higher")["met"] and not bar("times faster", 1.0, 2.0, "higher")["met"]


def test_the_quick_run_measures_every_tab_and_writes_its_report():
    command = [sys.executable, "-m", "benchmarks.startup", "--quick"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((RESULTS / "startup-quick.json").read_text())
    assert {row["what"] for row in found["rows"]} >= {"/generation", "/masking", "/sentiment", "/vqa", "/attention"}
    assert all(one["measured"] > 0 and one["better"] == "lower" for one in found["bars"])
    assert found["machine"]["cores"] and found["versions"]["gradio"]
