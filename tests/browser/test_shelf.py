"""A model of the Hub chosen in the menu: it comes, can be stopped, and answers. The Hub is a fake one on this machine."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import catalogue
from demos.words import Words
from tests.conftest import ROOT
from tests.fake_hub import FakeHub
from tests.tiny import tiny

EN = Words("en")
GPT2, BERT = catalogue.find("gpt2"), catalogue.find("bert")
UP = 90  # seconds for the page
STOPPED = 1.5  # seconds for a child to be gone: half of it until the stream looks up


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[FakeHub]:
    """Serve a tiny random GPT-2 and a tiny BERT in the places of the real ones."""
    with FakeHub() as found:
        for card, kind in ((GPT2, "gpt2"), (BERT, "bert")):
            folder = tmp_path_factory.mktemp(kind)
            tiny(folder, kind, card.auto, card.tasks[0])
            found.add(card.repo, folder, revision=card.revision)
        yield found


@pytest.fixture(scope="module")
def app(hub, tmp_path_factory) -> Iterator[tuple[subprocess.Popen, str]]:
    """Start the app with the fake Hub and an empty cache, and give its process and address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | hub.environment | {
        "GLASSBOX_CACHE": str(tmp_path_factory.mktemp("cache")), "GRADIO_SERVER_PORT": str(port),
        "SPACE_ID": "tests/no-screen", "GLASSBOX_OWN_MODELS": "hub",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment)
    try:
        for _ in range(10 * UP):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, "the app did not start"
                time.sleep(0.1)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def address(app) -> str:
    """Let `watched` open this app."""
    return app[1]


def choose(panel, name: str) -> None:
    """Choose a model in a tab's menu."""
    panel.get_by_label("Model").first.click()
    panel.get_by_role("option").filter(has_text=name).first.click()


def chosen(panel) -> str:
    """Return the name in the menu."""
    return panel.get_by_label("Model").first.input_value()


def children(process: subprocess.Popen) -> list[str]:
    """Return the processes that the app's threads have started."""
    threads = Path(f"/proc/{process.pid}/task").iterdir()
    return [child for thread in threads for child in (thread / "children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="the children of a process are found as Linux tells them")
def test_a_model_is_seen_coming_and_stop_ends_it_at_once(watched, hub, app):
    hub.fault(GPT2.repo, "slow", "*.safetensors", rate=40_000)
    page, panel = watched.open(), watched.tab("Write")
    watched.type(panel.locator("textarea").first, "The cat")
    before = chosen(panel)
    choose(panel, "GPT-2")
    bar = panel.get_by_role("progressbar")
    bar.wait_for()
    page.wait_for_function("bar => bar.value > 0", arg=panel.locator("progress").element_handle())
    panel.get_by_text(" a second · ").wait_for()
    assert children(app[0])
    watched.tab("Feel")  # other tabs answer meanwhile
    assert "positive" in watched.run(page.locator("[role=tabpanel]:visible").first)
    panel = watched.tab("Write")
    panel.get_by_role("button", name=EN.say("shelf.stop")).click()
    pressed = time.monotonic()
    panel.get_by_text("Stopped.").wait_for()
    while children(app[0]) and time.monotonic() - pressed < 10:
        time.sleep(0.05)
    assert time.monotonic() - pressed < STOPPED
    assert chosen(panel) == before and not bar.is_visible()
    assert panel.locator("textarea").first.input_value() == "The cat"
    page.wait_for_timeout(1000)
    assert panel.get_by_text("Stopped.").is_visible()  # what the ended stream said last does not come back


def test_a_model_comes_whole_and_writes(watched, hub):
    hub.clear()
    watched.open()
    panel = watched.tab("Write")
    choose(panel, "GPT-2")
    panel.get_by_text("It is here.").wait_for()
    assert not panel.get_by_role("progressbar").is_visible()
    assert watched.run(panel)
    assert panel.locator(".gb-story").first.locator(".gb-token").count() > 5
    panel.get_by_label("Model").first.click()
    panel.get_by_role("option").filter(has_text="GPT-2 · here already").wait_for()
    panel = watched.tab("Attention")  # one copy serves every tab
    choose(panel, "GPT-2 · here already")
    panel.get_by_text("It is here.").wait_for()
    assert not hub.asked(GPT2.repo, "*.safetensors")[1:]


def test_a_typed_model_that_does_not_exist_is_said_so_and_runs_nothing(watched):
    page = watched.open()
    panel = watched.tab("Write")
    before = chosen(panel)
    for typed, said in (
        ("nobody/has-this", "knows no model called nobody/has-this"),
        ("<img src=x onerror=\"document.title='broken'\">", "There is no model called"),
    ):
        box = panel.get_by_label("Model").first
        box.click()
        box.fill(typed)
        box.press("Enter")
        page.get_by_text(said).first.wait_for()
        page.wait_for_function("([box, name]) => box.value == name", arg=[box.element_handle(), before])
    assert page.title() == "Glassbox" and page.locator("img[src=x]").count() == 0


def test_without_a_network_what_is_here_answers(watched, hub):
    hub.__exit__()
    page = watched.open()
    panel = watched.tab("Fill in")
    before = chosen(panel)
    choose(panel, "BERT base")
    page.get_by_text("The Hugging Face Hub cannot be reached").first.wait_for(timeout=35_000)
    page.wait_for_function(
        "([box, name]) => box.value == name", arg=[panel.get_by_label("Model").first.element_handle(), before]
    )
    assert watched.run(panel)
    panel = watched.tab("Write")
    choose(panel, "GPT-2")
    panel.get_by_text("It is here.").wait_for()
    assert watched.run(panel)
