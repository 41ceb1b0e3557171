"""The pass over single tokens, compiled: it says what the plain one does, and is left alone where it does not pay."""

import gc
import os
import shutil
import threading
import time
import weakref

import pytest
import torch
import transformers

from core import attention, passes
from core.passes import Next, compiled, in_time, made_up, pays, same, succeeds
from tests.tiny import SIZES, louder

COMPILER = shutil.which(os.environ.get("CXX", "g++"))
GUARDED = {"options": {"guard_filter_fn": torch.compiler.skip_guard_on_globals_unsafe}}  # as on a card


def plain(kind: str, layers: int = 2) -> Next:
    """Return the pass of a random network."""
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": layers, "n_head": 4} if kind == "gpt2" else SIZES | {"num_hidden_layers": layers}
    sizes |= {} if kind in ("gpt2", "gpt_neox") else {"num_key_value_heads": 2}
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=80, max_position_embeddings=256, pad_token_id=1, eos_token_id=None, **sizes
    )
    network = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention.NAME)
    return Next(louder(network.eval(), 4).requires_grad_(False))


def compiled_apart(run: Next, **how):
    """Return a compiled pass, compiled by a call in another thread."""
    made, inputs, fine = compiled(run, **how), made_up(run.network, 2, 64), []
    thread = threading.Thread(target=lambda: fine.append(in_time(made, inputs)))
    thread.start()
    thread.join()
    assert fine == [True]
    return made


@pytest.fixture
def never_again(monkeypatch):
    """Nothing is compiled a second time: that is an error, and not the slow way."""
    stance = torch.compiler.set_stance
    monkeypatch.setattr(
        torch.compiler, "set_stance", lambda name: stance(name.replace("eager_on_recompile", "fail_on_recompile"))
    )


@torch.inference_mode()
def agrees(made, run: Next, rows: int, width: int) -> bool:
    return same(made, run, made_up(run.network, rows, width), 1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama", "phi3"])
def test_a_compiled_pass_says_the_same_for_every_shape_and_is_compiled_once(kind, never_again):
    run = plain(kind)
    made = compiled_apart(run, backend="eager", **GUARDED)
    transformers.AutoModelForCausalLM.from_config(
        transformers.MistralConfig(**SIZES, vocab_size=9)
    )  # others may be read
    assert all(agrees(made, run, rows, width) for rows, width in ((2, 64), (2, 128), (4, 128), (8, 256)))


@pytest.mark.skipif(not COMPILER, reason="there is no C++ compiler")
def test_the_real_compiler_says_the_same(never_again):
    run = plain("llama", layers=1)
    made = compiled_apart(run, **GUARDED)
    assert all(agrees(made, run, rows, width) for rows, width in ((2, 64), (4, 128)))


def test_what_is_hooked_into_a_network_does_not_become_part_of_its_compiled_pass():
    run, seen = plain("gpt2"), []
    made = compiled(run, backend="eager", **GUARDED)
    hook = run.network.transformer.h[0].register_forward_hook(lambda *given: seen.append(given))  # a visitor looks
    with torch.inference_mode():
        made(*made_up(run.network, 2, 64))
    hook.remove()
    assert len(seen) == 1  # made_up asked the network itself
    assert agrees(made, run, 2, 64)


def test_what_was_compiled_goes_with_the_pass():
    kept, weights = [], []

    class Compiled:
        def __init__(self, call):
            self.call = call

        def __call__(self, *inputs):
            return self.call(*inputs)

    def backend(graph, inputs):
        kept.append(weakref.ref(one := Compiled(graph.forward)))
        return one

    run = plain("gpt2")
    weights += [weakref.ref(weight) for weight in run.network.parameters()]
    made = compiled_apart(run, backend=backend, **GUARDED)
    assert agrees(made, run, 2, 64) and kept[0]() is not None
    del run, made
    gc.collect()
    assert [one() for one in kept + weights] == [None] * len(kept + weights)


def test_a_pass_that_cannot_be_compiled_is_none():
    def backend(graph, inputs):
        raise RuntimeError("no compiler here")

    run = plain("gpt2")
    made, inputs = compiled(run, backend=backend), made_up(run.network, 2, 64)
    assert not succeeds(lambda: in_time(made, inputs))
    assert not succeeds(lambda: pays(made, run))


def test_a_compiler_that_takes_long_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(passes, "COMPILE_SECONDS", 0.01)
    run = plain("gpt2")
    inputs = made_up(run.network, 2, 64)
    assert not in_time(lambda *given: time.sleep(0.02), inputs)
    assert in_time(lambda *given: None, inputs)


class Slow(Next):
    """Takes its time."""

    def forward(self, *inputs):
        time.sleep(0.02)
        return super().forward(*inputs)


class Confused(Next):
    """Says what comes after other tokens."""

    def forward(self, ids, slots, *columns):
        return super().forward(ids + 1, slots, *columns)


class Forgetful(Next):
    """Says the same, and leaves nothing in the columns."""

    def forward(self, ids, slots, *columns):
        return super().forward(ids, slots, *(column.clone() for column in columns))


def test_a_pass_pays_if_it_takes_less_time():
    run = plain("gpt2")
    slow = Slow(run.network)
    assert pays(run, slow) and not pays(slow, run)


@pytest.mark.parametrize("wrong", [Confused, Forgetful])
def test_a_pass_that_says_or_writes_something_else_does_not_pay(wrong):
    run = plain("gpt2")
    assert not pays(wrong(run.network), Slow(run.network))
