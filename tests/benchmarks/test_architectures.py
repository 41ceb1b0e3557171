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
    equal = [row for row in found["rows"] if row.get("weights") == "equal"]
    assert {row["kind"] for row in equal} == {"writers", "readers", "encoders with a decoder"}
    assert all(row["silencing"] == "heard" and row["answer"] == "equal" for row in equal)
    assert {row["lens"] for row in equal if "lens" in row} == {"equal"}
