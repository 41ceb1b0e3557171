"""What Glassbox can do. Knows nothing of Gradio.

`core.models`, `core.decoding` and `core.tasks` need torch, which takes seconds to import: they load when first named, so
that the page is up before them. Write `import core` and then `core.tasks.fill_mask`.
"""

import importlib
import threading

_importing = threading.RLock()  # two threads importing torch's half at once can leave it broken


def __getattr__(name: str):
    """Import the slow half on first use (PEP 562)."""
    if name in ("models", "decoding", "tasks"):
        with _importing:
            return importlib.import_module(f"core.{name}")
    raise AttributeError(f"module 'core' has no attribute {name!r}")
