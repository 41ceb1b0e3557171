"""Every error a visitor can put right carries facts and is in the tree of the docstring."""

import ast
import inspect
import pickle
import re
from pathlib import Path

import pytest

from core import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind is not errors.VisitorError]


def test_the_tree_in_the_docstring_names_every_error_and_no_other():
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__)
    assert sorted(drawn) == sorted(kind.__name__ for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_a_visitor_error_that_says_its_facts(kind):
    assert issubclass(kind, errors.VisitorError)
    assert kind.__doc__.startswith("Facts: ")


def test_facts_are_kept_and_readable():
    error = errors.TextTooLong(field="text", found=9, limit=5, unit="tokens")
    assert error.facts == {"field": "text", "found": 9, "limit": 5, "unit": "tokens"}
    assert str(error) == "field=text, found=9, limit=5, unit=tokens"


def test_core_raises_each_error_with_the_facts_its_docstring_names():
    promised = {
        kind.__name__: set(re.findall(r"\b[a-z]+\b", re.sub(r"\(.*?\)", "", kind.__doc__[7:]))) - {"none"}
        for kind in KINDS
    }
    raised = set()
    for path in Path(errors.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                name = node.exc.func.id
                if name in promised:
                    raised.add(name)
                    assert {word.arg for word in node.exc.keywords} == promised[name], f"{path.name}: {name}"
    assert len(raised) > 10


def test_an_error_can_be_sent_to_another_process():
    sent = pickle.loads(pickle.dumps(errors.NothingTyped(field="text")))
    assert sent.facts == {"field": "text"}
