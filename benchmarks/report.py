"""How every benchmark reports: a table on the screen and a file in benchmarks/results."""

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def bar(name: str, measured: float, limit: float, better: str = "lower") -> dict:
    """Return one bar: what was measured, what it must reach, and whether it does."""
    met = measured <= limit if better == "lower" else measured >= limit
    return {"name": name, "measured": round(measured, 4), "bar": limit, "better": better, "met": met}


def report(name: str, rows: list[dict], bars: list[dict]) -> Path:
    """Print the rows and bars, write them with the machine and the versions, and return the file."""
    for row in rows:
        print("  ".join(f"{key}: {value}" for key, value in row.items()))
    for one in bars:
        sign = "<=" if one["better"] == "lower" else ">="
        far = f", {one['measured'] / one['bar']:.0%} of it" if one["bar"] else ""
        print(
            f"{'met   ' if one['met'] else 'MISSED'} {one['name']}: {one['measured']} (bar: {sign} {one['bar']}{far})"
        )
    machine = {
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    versions = {"python": platform.python_version()}
    versions |= {package: version(package) for package in ("gradio", "torch", "transformers", "plotly")}
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps({"machine": machine, "versions": versions, "rows": rows, "bars": bars}, indent=1) + "\n")
    print(f"written to {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}", file=sys.stderr)
    return file


def processor() -> str:
    """Return the processor as its maker calls it, where the system says so."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
