"""The house: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [ROOT / "app.py", *sorted((ROOT / "demos").glob("*.py")), *sorted((ROOT / "core").rglob("*.py"))]
SLOW = {"torch", "transformers"}
KNOWS_TORCH = {  # of core, beside core.tasks
    "models", "attention", "calls", "anatomy", "traces", "survey", "gaze", "layers", "saliency", "sights", "rankings",
    "halves", "decoding", "passes", "beams", "devices", "loading", "squeezing",
}  # fmt: skip
PLAIN = {"results", "errors", "limits", "catalogue"}


def imports(file: Path) -> set[str]:
    """Return the modules a file imports, those of a `from core import x` as core.x."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = node.module in ("core", "demos", "core.tasks")
            found |= {f"{node.module}.{name.name}" for name in node.names} if inside else {node.module}
    return found


def tops(file: Path) -> set[str]:
    """Return the packages a file imports."""
    return {name.partition(".")[0] for name in imports(file)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_only_what_its_room_may(file: Path):
    room, found = file.relative_to(ROOT).parts[0], tops(file)
    allowed_torch = room == "core" and ("tasks" in file.parts or file.stem in KNOWS_TORCH)
    assert allowed_torch or not found & SLOW
    assert room != "core" or not found & {"gradio", "demos", "app"}
    assert file.name in ("charts.py", "trees.py", "chart.py") or "plotly" not in found
    assert room == "app.py" or "app" not in found
    if room == "core" and file.stem in PLAIN:
        assert {name for name in imports(file) if name.startswith("core")} <= {f"core.{name}" for name in PLAIN}
    if room == "core" and file.stem == "charts":
        assert {name for name in imports(file) if name.startswith("core")} == {"core.results"}
    if room == "core" and file.stem == "trees":
        assert {name for name in imports(file) if name.startswith("core")} == {"core.results", "core.charts"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_tab_imports_no_other_tab(file: Path):
    import app

    tabs = {f"demos.{tab.TITLE}" for tab in app.TABS}
    assert file.name == "app.py" or not imports(file) & tabs


def test_no_file_is_reached_by_itself():
    graph = {}
    for file in FILES:
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = imports(file)
    seen: list[str] = []

    def visit(name: str) -> None:
        assert name not in seen, f"a circle: {' -> '.join([*seen, name])}"
        seen.append(name)
        for other in graph.get(name, ()):
            if other in graph and other != name.rpartition(".")[0]:
                visit(other)
        seen.pop()

    for name in graph:
        visit(name)


def test_the_page_is_built_before_torch_is_imported():
    code = "import sys, app; app.build(); print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert found.stdout.strip().endswith("[]"), found.stdout + found.stderr
