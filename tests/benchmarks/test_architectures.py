"""The benchmark of architectures runs and reports, and finds those it tries equal to eager."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.report import RESULTS

ROOT = Path(__file__).parent.parent.parent


def test_the_quick_run_finds_a_dozen_architectures_equal():
    command = [sys.executable, "-m", "benchmarks.architectures", "--quick"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((RESULTS / "architectures-quick.json").read_text())
    assert all(one["met"] for one in found["bars"])
    assert {row["architecture"]: row["weights"] for row in found["rows"][:-1]}["bart"] == "equal"
    assert all(row["silencing"] == "heard" for row in found["rows"][:-1])
