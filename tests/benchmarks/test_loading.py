"""The benchmark of loading runs and reports; speed is not judged here."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.report import RESULTS

ROOT = Path(__file__).parent.parent.parent


def test_the_quick_run_measures_both_ways_and_writes_its_report():
    command = [sys.executable, "-m", "benchmarks.loading", "--quick"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((RESULTS / "loading-quick.json").read_text())
    for row in found["rows"]:
        assert row["ours s"] > 0 and row["plain s"] > 0 and row["times plain"] > 0
        assert row["ours peak / weights"] >= row["ours held / weights"]
    assert len(found["bars"]) == 2 * len(found["rows"]) and all(one["better"] == "lower" for one in found["bars"])
