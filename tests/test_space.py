"""What a Hugging Face Space makes of this repository: its settings, its size, and the app as a Space starts it."""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from gradio_client import Client
from gradio_client.exceptions import AppError
from huggingface_hub import SpaceHardware
from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects

from demos.words import Words
from tests.conftest import ROOT, wait_for_page

README = (ROOT / "README.md").read_text("utf-8")
SETTINGS = yaml.safe_load(README.split("---\n")[1])
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
KNOWN = {  # of the Spaces configuration reference
    *(
        "title",
        "emoji",
        "colorFrom",
        "colorTo",
        "sdk",
        "sdk_version",
        "python_version",
        "app_file",
        "short_description",
    ),
    *("license", "pinned", "hf_oauth", "hf_oauth_scopes", "suggested_hardware", "models", "datasets", "tags"),
}
ZERO_GPU = ("3.10", "3.12")  # the Pythons of ZeroGPU; asked for another one, it takes 3.10
SCOPES = {"email", "read-repos", "gated-repos", "inference-api"}  # those that change nothing of a visitor's
WITHOUT_LFS = 10_000_000  # bytes of a file that the Hub keeps in git
WHOLE = 1_000_000_000  # bytes of a Space's repository
MADE_BY_RUNNING = (".pyc", ".pyi")  # Python's, and Gradio's for its own components


def files() -> list[str]:
    """Return the repository's files, those not committed yet among them."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no git checkout, so nobody can say which files are the repository's")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return sorted(name for name in set(found) if name and (ROOT / name).is_file())


def test_every_setting_is_one_that_spaces_know_and_has_a_value_they_take():
    assert SETTINGS.keys() <= KNOWN
    assert SETTINGS["title"] == "Glassbox" and not SETTINGS["emoji"].isascii() and len(SETTINGS["emoji"]) <= 2
    assert {SETTINGS["colorFrom"], SETTINGS["colorTo"]} <= COLOURS
    assert SETTINGS["sdk"] == "gradio" and (ROOT / SETTINGS["app_file"]).is_file()
    assert len(SETTINGS["short_description"]) <= 60
    assert SETTINGS["suggested_hardware"] in {hardware.value for hardware in SpaceHardware}
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8") and SETTINGS["license"] == "apache-2.0"


def test_a_space_of_any_hardware_has_the_python_asked_for():
    assert isinstance(SETTINGS["python_version"], str) and SETTINGS["python_version"] in ZERO_GPU
    assert tuple(map(int, SETTINGS["python_version"].split("."))) >= (3, 11)  # pyproject.toml's


def test_visitors_can_log_in_and_lend_nothing_but_the_reading_of_what_they_may_read():
    assert SETTINGS["hf_oauth"] is True
    assert "gated-repos" in SETTINGS["hf_oauth_scopes"] and set(SETTINGS["hf_oauth_scopes"]) <= SCOPES


def test_what_a_space_installs_by_itself_is_not_asked_for_in_another_version():
    asked = (ROOT / "requirements.txt").read_text("utf-8")
    assert re.findall(r"^gradio==([\d.]+)", asked, re.MULTILINE) == [SETTINGS["sdk_version"]]
    assert not re.search(r"^(spaces|huggingface[-_]hub|gradio\[)", asked, re.MULTILINE)


def test_the_repository_fits_and_only_weights_are_too_large_for_git():
    sizes = {name: (ROOT / name).stat().st_size for name in files()}
    assert sum(sizes.values()) < WHOLE
    large = [name for name, size in sizes.items() if size > WITHOUT_LFS and not name.endswith(".safetensors")]
    assert large == []  # the Hub puts safetensors aside by itself, as long as no .gitattributes of ours says otherwise
    assert ".gitattributes" not in sizes


def test_the_command_that_publishes_leaves_out_what_is_no_part_of_the_repository():
    command = re.search(r"<!-- publish -->\n```bash\n(.*?)\n```", README)[1]
    assert "hf upload " in command and " . " in command and "--repo-type space" in command
    left_out = [*re.findall(r'--exclude "(.*?)"', command), *DEFAULT_IGNORE_PATTERNS]
    others = [".git/HEAD", ".venv/bin/python", ".venv/lib/python3.11/site-packages/torch/__init__.py"]
    assert list(filter_repo_objects(others, ignore_patterns=left_out)) == []
    assert list(filter_repo_objects(files(), ignore_patterns=left_out)) == files()
    assert ".gitignore" in files()  # the Hub heeds it: it leaves out the rest


@pytest.mark.parametrize("command", ["upload", "repos create", "spaces variables add", "spaces volumes set"])
def test_every_flag_of_a_command_in_the_readme_is_one_of_that_command(command):
    lines = re.findall(rf"hf {command} ([^\n`]*)", README)
    shown = subprocess.run(
        [sys.executable, "-m", "huggingface_hub.cli.hf", *command.split(), "--help"], capture_output=True, check=True
    ).stdout.decode()
    flags = {flag for line in lines for flag in re.findall(r"(?<!\S)(--?[a-z][\w-]*)", line)}
    assert lines and flags and all(re.search(rf"(?<![\w-]){flag}\b", shown) for flag in flags), flags


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the repository's files alone, as a Space has them."""
    copy = tmp_path_factory.mktemp("space") / "app"
    for name in files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    return copy


@contextmanager
def started(folder: Path, home: Path, **settings: str) -> Iterator[str]:
    """Start the app as a Space does, with nothing of this machine's settings, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home.mkdir(exist_ok=True)
    environment = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS") if name in os.environ},
        **{"HOME": str(home), "TMPDIR": str(home), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
        **{"SYSTEM": "spaces", "SPACE_ID": "visitor/glassbox", "SPACE_HOST": "visitor-glassbox.hf.space"},
        **{"SPACE_AUTHOR_NAME": "visitor", "SPACE_REPO_NAME": "glassbox", "SPACE_TITLE": "Glassbox"},
        **{"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": str(port), "GRADIO_ALLOW_FLAGGING": "never"},
        **{"GRADIO_SSR_MODE": "True", "GRADIO_THEME": "huggingface", "PORT": str(port)},
        **settings,
    }
    with (home / "log").open("wb") as log:
        app = subprocess.Popen(
            [sys.executable, SETTINGS["app_file"]], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        with (home / "log").open("rb") as log:
            wait_for_page(app, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        app.terminate()
        app.wait(30)


@pytest.fixture(scope="module")
def space(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the app in a Space without a login, and give its address."""
    with started(folder, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture(scope="module")
def client(space: str) -> Client:
    """Give a client of the Space."""
    return Client(space, verbose=False)


@pytest.mark.parametrize("path", ["/", "/zh"])
def test_a_space_serves_the_page_itself_without_a_second_server_before_it(space, path):
    with urllib.request.urlopen(space + path) as page:
        assert "Glassbox" in page.read().decode() and page.headers["server"] == "uvicorn"


def test_a_space_answers_from_the_models_on_board(client):
    sentence, *_, numbers = client.predict("The cat sat on the [MASK].", api_name="/masking")
    assert numbers["rankings"][0]["labels"][0] in sentence


def test_a_space_takes_no_models_of_strangers_and_tells_nothing_of_its_folders(client, folder):
    said = set()
    for name in ("somebody/something", str(folder / "weights" / "english"), "/no/such/folder"):
        with pytest.raises(AppError, match="There is no model called") as refused:
            client.predict("A [MASK].", name, api_name="/masking")
        said.add(str(refused.value).replace(name[:60], "…"))
    assert len(said) == 1


def test_a_space_writes_nothing_into_the_folder_of_the_app(client, folder):
    client.predict("A warm and funny film.", api_name="/sentiment")
    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert {name for name in there - set(files()) if not name.endswith(MADE_BY_RUNNING)} == set()


def offers_a_login(address: str) -> bool:
    """Whether the page has the button."""
    with urllib.request.urlopen(f"{address}/config") as page:
        return any(one["props"].get("value") == Words("en").say("shelf.login") for one in json.load(page)["components"])


def test_a_space_offers_a_login_where_one_is_set_up(space, folder, tmp_path):
    assert not offers_a_login(space)
    if not importlib.util.find_spec("authlib") or not importlib.util.find_spec("itsdangerous"):
        pytest.skip("what a login needs is installed by a Space: gradio[oauth]")
    login = {"OAUTH_CLIENT_ID": "one", "OAUTH_CLIENT_SECRET": "two", "OAUTH_SCOPES": "openid profile gated-repos"}
    login["OPENID_PROVIDER_URL"] = "http://127.0.0.1:9"
    with started(folder, tmp_path / "home", **login, GLASSBOX_OWN_MODELS="hub") as address:
        assert offers_a_login(address)
    with started(folder, tmp_path / "home", **login) as address:
        assert not offers_a_login(address)  # nothing here is given to some visitors only
