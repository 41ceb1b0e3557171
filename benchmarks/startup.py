"""How soon the page is up against an empty gr.Blocks, how soon each model answers, and how fast after that.

`python -m benchmarks.startup [--quick]`: the two apps are started in turn, each in a process of its own,
and ours is asked over loopback: one tab a start, so that no tab waits for another's models.
"""

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from gradio_client import Client, handle_file

from benchmarks.report import bar, report

ROOT = Path(__file__).parent.parent
EMPTY = "import gradio as gr\nwith gr.Blocks(analytics_enabled=False) as app:\n    pass\napp.launch()\n"
TWENTY = "The old house on the hill was quiet and dark, but we could hear somebody singing a song in the [MASK]."
SCENE = ROOT / "demos" / "static" / "scenes" / "two-red-circles.png"
QUESTIONS = {
    "/masking": {"text": TWENTY},
    "/sentiment": {"text": TWENTY.replace("[MASK]", "kitchen")},
    "/vqa": {"picture": handle_file(SCENE), "question": "How many red circles are there?"},
    "/attention": {"text": TWENTY},
    "/generation": {"prompt": TWENTY.replace("[MASK].", "kitchen"), "length": 10},
}
PAGE_BAR, FIRST_BAR, NEXT_BAR = 1.3, 3.0, 0.3  # times an empty page; seconds after the page is up; seconds
RUNS = 3  # starts for each tab, each beside a start of an empty page
DEADLINE = 120  # seconds for a page to be up


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[tuple[str, float]]:
    """Start an app on a free port; give its address and the seconds until its page was there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", "SPACE_ID": ""}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        app = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            while not answers(address):
                if app.poll() is not None or time.perf_counter() - began > DEADLINE:
                    log.seek(0)
                    sys.exit(f"{command} did not start:\n{log.read().decode()[-2000:]}")
                time.sleep(0.02)
            yield address, time.perf_counter() - began
        finally:
            app.terminate()
            app.wait(30)


def answers(address: str) -> bool:
    """Whether the page is there."""
    try:
        with urllib.request.urlopen(address, timeout=5) as page:
            return page.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one start for each tab, to see that it works")
    quick = parser.parse_args().quick
    empty, ours, firsts, nexts = [], [], {name: [] for name in QUESTIONS}, {name: [] for name in QUESTIONS}
    for name, question in list(QUESTIONS.items()) * (1 if quick else RUNS):
        with started([sys.executable, "-c", EMPTY]) as (_, seconds):
            empty.append(seconds)
        with started([sys.executable, "app.py"]) as (address, seconds):
            up = time.perf_counter()
            ours.append(seconds)
            client = Client(address, verbose=False)
            client.predict(**question, api_name=name)
            firsts[name].append(time.perf_counter() - up)
            for _ in range(2 if quick else 7):
                began = time.perf_counter()
                client.predict(**question, api_name=name)
                nexts[name].append(time.perf_counter() - began)
    middle = statistics.median
    rows = [
        {"what": "page up, empty gr.Blocks", "seconds": round(middle(empty), 2)},
        {"what": "page up, Glassbox", "seconds": round(middle(ours), 2)},
    ]
    for name in QUESTIONS:
        first, following = round(middle(firsts[name]), 2), round(middle(nexts[name]), 3)
        rows.append(
            {"what": name, "first answer, seconds after the page is up": first, "next answers, seconds": following}
        )
    ratio = middle(one / other for one, other in zip(ours, empty, strict=True))
    bars = [bar("page up, times an empty gr.Blocks", ratio, PAGE_BAR)]
    bars += [
        bar(f"first answer of {name}, seconds after the page is up", middle(firsts[name]), FIRST_BAR)
        for name in QUESTIONS
    ]
    bars += [bar(f"next answers of {name}, seconds", middle(nexts[name]), NEXT_BAR) for name in QUESTIONS]
    report("startup-quick" if quick else "startup", rows, bars)


if __name__ == "__main__":
    main()
