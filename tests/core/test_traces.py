"""One run serves every view of a text, and what is kept has a bound."""

import pytest
import torch

from core import limits, traces
from core.results import WhatIf
from core.tokens import encode

TEXT = "the cat sat on the mat"


@pytest.fixture
def runs(model, monkeypatch):
    """Return a tiny model and the list its forward passes are counted in; nothing is kept yet."""
    monkeypatch.setattr(traces, "_kept", type(traces._kept)())
    found, times = model("llama", "generation"), []

    def count(module, given, result):
        times.append(1)

    hook = found.network.register_forward_hook(count)
    yield found, times
    hook.remove()


def test_the_same_text_is_read_once(runs):
    model, times = runs
    encoded = encode(model, TEXT, "text")
    first = traces.trace(model, encoded, WhatIf())
    assert traces.trace(model, encoded, WhatIf()) is first and len(times) == 1


def test_another_text_or_a_what_if_is_read_anew(runs):
    model, times = runs
    encoded = encode(model, TEXT, "text")
    plain = traces.trace(model, encoded, WhatIf())
    silenced = traces.trace(model, encoded, WhatIf(silenced_heads=frozenset({(0, 0)})))
    traces.trace(model, encode(model, "the dog ran", "text"), WhatIf())
    assert len(times) == 3
    assert not torch.allclose(plain.chances, silenced.chances)


def test_the_least_recently_used_goes_when_there_are_too_many(runs, monkeypatch):
    model, times = runs
    texts = [encode(model, text, "text") for text in ("the cat sat", "the dog ran", "a film that")]
    first = traces.trace(model, texts[0], WhatIf())
    monkeypatch.setattr(limits, "TRACE_BYTES", int(2.5 * first.bytes))
    traces.trace(model, texts[1], WhatIf())
    traces.trace(model, texts[0], WhatIf())
    traces.trace(model, texts[2], WhatIf())
    assert len(traces._kept) == 2
    traces.trace(model, texts[0], WhatIf())
    assert len(times) == 3
    traces.trace(model, texts[1], WhatIf())
    assert len(times) == 4


def test_two_models_of_one_text_are_kept_apart(runs, model):
    mine, other = runs[0], model("qwen3", "generation")
    encoded = encode(mine, TEXT, "text")
    assert traces.trace(mine, encoded, WhatIf()) is not traces.trace(other, encoded, WhatIf())


@pytest.mark.parametrize(
    ("kind", "task"),
    [("bert", "masking"), ("gpt2", "generation"), ("albert", "masking"), ("bloom", "generation")],
)
def test_what_is_asked_is_what_the_network_says_there(model, kind, task):
    model = model(kind, task)
    text = TEXT + " [MASK] ." if task == "masking" else TEXT
    encoded = encode(model, text, "text", blanks=task == "masking")
    found = traces.trace(model, encoded, WhatIf())
    with torch.inference_mode():
        whole = model.network(**model.inputs(input_ids=encoded.ids)).logits.softmax(-1)
    torch.testing.assert_close(found.chances, whole[0, found.asked], atol=1e-5, rtol=1e-4)
