"""What all tests share: no network but loopback, no telemetry, and the app in a process of its own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

ROOT = Path(__file__).parent.parent
DEADLINE = 90  # seconds for the page to be up

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
LOOPBACK = ("127.0.0.1", "::1", "localhost", "0.0.0.0")


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise AssertionError(f"a test asked for {address[0]}")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def wait_for_page(app: subprocess.Popen, port: int, log: BinaryIO) -> None:
    """Wait until an app serves its page; fail with the end of its log where it does not."""
    began = time.monotonic()
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if app.poll() is not None or time.monotonic() - began > DEADLINE:
                log.seek(0)
                pytest.fail(f"the app did not start:\n{log.read().decode()[-3000:]}")
            time.sleep(0.1)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Start the app as the README does, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "SPACE_ID": "tests/no-screen"}
    with tempfile.TemporaryFile() as log:
        app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            wait_for_page(app, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            app.terminate()
            app.wait(30)
