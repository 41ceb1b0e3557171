"""The README says what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def front_matter() -> dict[str, str]:
    """Return what a Space reads."""
    lines = README.split("---")[1].strip().splitlines()
    return {key.strip(): value.strip().strip('"') for key, _, value in (line.partition(":") for line in lines)}


def test_the_front_matter_is_what_a_space_needs():
    found = front_matter()
    assert found["sdk"] == "gradio" and found["license"] == "apache-2.0" and found["python_version"] == "3.11"
    assert (ROOT / found["app_file"]).exists()
    assert f"gradio=={found['sdk_version']} " in (ROOT / "requirements.txt").read_text()
    assert len(found["short_description"]) <= 60


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
