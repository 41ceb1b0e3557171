"""The README says what is there."""

import re
from pathlib import Path

from core.catalogue import CATALOGUE
from core.limits import FETCHED_BYTES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_every_dependency_is_pinned():
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            assert re.match(r"-r |[a-z0-9_-]+==[0-9.]+( +#.*)?$", line), line


def test_the_tree_names_every_module_and_nothing_else():
    tree = re.search(r"## What is where\n+```\n(.*?)```", README, re.DOTALL)[1]
    for folder in ("demos", "core"):
        for file in (ROOT / folder).glob("*.py"):
            assert file.name == "__init__.py" or re.search(rf"\b{file.name}\b", tree), (
                f"{folder}/{file.name} is not in the tree"
            )
    for name in re.findall(r"\b[\w./-]+\.(?:py|txt)\b", tree):
        assert list(ROOT.rglob(name)), f"{name} is in the tree, and nowhere else"


def test_the_screenshot_is_there():
    for name in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / name).stat().st_size > 10_000


def test_both_commands_do_all_their_own_set_up():
    for mark, file in (("run", "requirements.txt"), ("test", "requirements-dev.txt")):
        command = re.search(rf"<!-- {mark} -->\n```bash\n(.*?)\n```", README)[1]
        assert command.startswith("python3.11 -m venv .venv && ") and f"-r {file}" in command


TABS = {"generation": "Write", "masking": "Fill in", "sentiment": "Feel", "vqa": "Ask a picture"}


def test_the_table_of_the_hub_says_what_the_catalogue_says():
    rows = re.search(r"<!-- shelf -->\n.*?\n\|[-|]+\|\n(.*?)\n\n", README, re.DOTALL)[1].splitlines()
    assert rows == [
        f"| `{card.name}` | [{card.repo}](https://huggingface.co/{card.repo}) | {TABS[card.tasks[0]]} | "
        f"{', '.join(card.languages)} | {card.megabytes:,} | {card.licence} |"
        for card in CATALOGUE
        if card.shelf == "hub"
    ]
    assert f"more than {FETCHED_BYTES / 1e9:.0f} GB" in README.replace("\n", " ")


def test_every_variable_of_our_own_is_in_the_table():
    sources = [*ROOT.glob("*.py"), *ROOT.glob("core/**/*.py"), *ROOT.glob("demos/*.py")]
    read = {name for file in sources for name in re.findall(r"\bGLASSBOX_[A-Z_]+", file.read_text("utf-8"))}
    assert read and {name for name in read if not re.search(rf"^\| [^|]*`{name}`", README, re.MULTILINE)} == set()
