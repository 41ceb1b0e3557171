"""Stories read side by side: the same as alone, in fewer passes, and branches begin where they leave their story."""

import copy
import threading
import time
from dataclasses import replace

import pytest
import torch
import transformers

from core import attention, decoding, halves, limits, loading
from core.decoding import Alone, Seat, shares_passes, table_of
from core.errors import NothingTyped, TooBusy
from core.halves import HalfLinear
from core.models import Model, device
from core.rankings import probabilities
from core.results import Settings, WhatIf
from core.tasks import generate
from core.tokens import encode_prompt
from tests.tiny import SIZES, byte_pieces, louder, tiny

PROMPTS = ["the cat sat", "the dog ran to the red house and", "a film", "how many red circles? the mat"]
STORY = Settings(length=12, temperature=1.0)
PATIENCE = 60  # seconds


@pytest.fixture(scope="module")
def batched():
    """Return a function (architecture) -> Model, a random one whose stories never end of their own accord."""
    tokenizer, made = byte_pieces(framed=False), {}

    def named(kind: str) -> Model:
        if kind not in made:
            torch.manual_seed(0)
            sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64} if kind == "gpt2" else SIZES
            sizes = {**sizes, "num_key_value_heads": 2} if kind not in ("gpt2", "gpt_neox") else sizes
            config = transformers.AutoConfig.for_model(
                kind, vocab_size=len(tokenizer), max_position_embeddings=64, pad_token_id=1, eos_token_id=None, **sizes
            )
            network = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention.NAME)
            made[kind] = Model(None, louder(network.eval(), 6).requires_grad_(False), tokenizer, device())
        return made[kind]

    return named


@pytest.fixture(autouse=True)
def endless(monkeypatch):
    monkeypatch.setattr("core.tasks.generation.ends_of_text", lambda model: set())


def write_together(model, stories, start=None):
    """Return the steps of stories (prompt, settings), each written in its own thread."""
    found, start = {}, start or threading.Barrier(len(stories))

    def write(number, prompt, settings):
        start.wait(PATIENCE)
        found[number] = list(generate(model, prompt, settings))

    threads = [threading.Thread(target=write, args=(number, *story)) for number, story in enumerate(stories)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return [found[number] for number in range(len(stories))]


def tokens(steps):
    return tuple(step.token for step in steps)


class Passes:
    """Counts the passes of a network, and the tokens in them."""

    def __init__(self, model, monkeypatch):
        self.sizes = []
        table = table_of(model)
        for name in ("_read_next", "_read_prompts"):
            monkeypatch.setattr(table, name, self.counted(getattr(table, name), name == "_read_next"))

    def counted(self, read, one):
        def counting(waiting):
            self.sizes.append(len(waiting) if one else sum(len(seat.todo) for seat in waiting))
            read(waiting)

        return counting


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("kind", decoding.BATCHED)
def test_stories_in_company_have_the_probabilities_of_one_look_at_the_whole_text(batched, kind, traced):
    model = batched(kind)
    assert shares_passes(model.network)
    if traced:
        decoding.warm_up(model)
        assert table_of(model)._next is not table_of(model)._plain
    stories = [(prompt, replace(STORY, seed=seed, length=6 + seed)) for seed, prompt in enumerate(PROMPTS)]
    for (prompt, settings), steps in zip(stories, write_together(model, stories), strict=True):
        ids = encode_prompt(model, prompt).ids
        assert len(steps) == settings.length
        chances = probabilities(model.network(torch.tensor([[*ids, *tokens(steps)]])).logits)[0]
        for at, step in enumerate(steps):
            expected = chances[len(ids) + at - 1]
            assert step.probability == pytest.approx(expected[step.token].item(), abs=1e-5)
            assert step.alternatives.probabilities == pytest.approx(expected[list(step.rivals)].tolist(), abs=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_seed_writes_the_same_story_alone_and_with_seven_others(batched, kind):
    model = batched(kind)
    stories = [(PROMPTS[seed % len(PROMPTS)], replace(STORY, seed=seed)) for seed in range(40)]
    alone = [tokens(generate(model, *story)) for story in stories]
    assert len(set(alone)) == len(alone)
    for first in range(0, len(stories), 8):
        together = write_together(model, stories[first : first + 8])
        assert [tokens(steps) for steps in together] == alone[first : first + 8]


def go_on_together(model, stories):
    """Ask every story for its next step while the device is held, and let it go when all wait."""
    threads, table = [threading.Thread(target=next, args=(story,)) for story in stories], table_of(model)

    def hold():
        end = time.monotonic() + PATIENCE
        while sum(seat is not None and bool(seat.todo) for seat in table._seats) < len(stories):
            assert time.monotonic() < end
            time.sleep(0.001)

    holder = threading.Thread(target=model.run, args=(hold,))
    holder.start()
    for thread in threads:
        thread.start()
    for thread in [holder, *threads]:
        thread.join(PATIENCE)


def test_all_stories_that_wait_are_served_by_one_pass(batched, monkeypatch):
    model = batched("llama")
    stories = [generate(model, PROMPTS[seed % 4], replace(STORY, seed=seed)) for seed in range(8)]
    for story in stories:
        next(story)
    passes = Passes(model, monkeypatch)
    for _ in range(3):
        go_on_together(model, stories)
    assert passes.sizes == [8, 8, 8]
    for story in stories[1:3] + stories[5:]:
        story.close()
    go_on_together(model, [stories[0], stories[3], stories[4]])
    assert passes.sizes[3:] == [3]


def test_prompts_that_come_together_are_read_in_one_pass(batched, monkeypatch):
    model = batched("gpt2")
    passes = Passes(model, monkeypatch)
    stories = [generate(model, prompt, STORY) for prompt in PROMPTS]
    go_on_together(model, stories)
    assert passes.sizes == [sum(len(encode_prompt(model, prompt).ids) for prompt in PROMPTS)]


def test_a_pass_reads_no_more_than_a_few_hundred_tokens_of_prompts(batched, monkeypatch):
    model = batched("gpt2")
    monkeypatch.setattr(limits, "PASS_TOKENS", 12)
    passes = Passes(model, monkeypatch)
    stories = [generate(model, prompt, STORY) for prompt in PROMPTS]
    go_on_together(model, stories)
    assert len(passes.sizes) > 1 and max(passes.sizes) <= 12


def test_a_network_in_half_precision_writes_at_the_table_too(batched):
    plain = batched("phi3")
    model = Model(None, copy.deepcopy(plain.network).to(torch.bfloat16), plain.tokenizer, plain.device)
    for traced in range(2):
        stories = [(prompt, replace(STORY, seed=seed)) for seed, prompt in enumerate(PROMPTS[:2])]
        for (prompt, _), steps in zip(stories, write_together(model, stories), strict=True):
            ids = encode_prompt(model, prompt).ids
            chances = probabilities(model.network(torch.tensor([[*ids, *tokens(steps)]])).logits)[0]
            true = [chances[len(ids) + at - 1, step.token].item() for at, step in enumerate(steps)]
            assert [step.probability for step in steps] == pytest.approx(true, abs=0.03)
        if not traced:
            decoding.warm_up(model)


def test_a_large_network_shares_its_passes_out_among_threads_and_says_the_same(batched, monkeypatch):
    model = batched("qwen2")
    story = tokens(generate(model, PROMPTS[1], STORY))
    wide, widely = [], model.device.queue.widely
    monkeypatch.setattr(model.device.queue, "widely", lambda work: wide.append(work) or widely(work))
    assert tokens(generate(model, PROMPTS[1], STORY)) == story and not wide
    monkeypatch.setattr(table_of(model), "_small", False)
    assert tokens(generate(model, PROMPTS[1], STORY)) == story and len(wide) == STORY.length


@pytest.mark.skipif(not halves.serve(torch.device("cpu")), reason="this processor has no such kernel")
def test_a_large_networks_first_story_is_settled_between_its_tokens_and_says_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "HALF_PRECISION_PARAMETERS", 1000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # where one processor is left for it
    model = tiny(tmp_path, "gpt2", "AutoModelForCausalLM", "generation")
    linear, ready, halved = len(halves.linear_layers(model.network)), threading.Semaphore(0), halves.halved
    monkeypatch.setattr(halves, "halved", lambda *given: ready.acquire(timeout=PATIENCE) and halved(*given))
    plain, story, packed = copy.deepcopy(model.network), [], []
    for step in generate(model, PROMPTS[1], replace(STORY, length=20)):
        story.append(step)
        packed.append(sum(isinstance(module, HalfLinear) for module in model.network.modules()))
        ready.release()
        time.sleep(0.001)
    assert packed[0] == packed[1] == 0 < packed[-1] <= linear and packed == sorted(packed)
    assert not model.settled.is_set()  # the rest waits for the story's end
    ids = encode_prompt(model, PROMPTS[1]).ids
    chances = probabilities(plain(torch.tensor([[*ids, *tokens(story)]])).logits)[0]
    for at, step in enumerate(story):
        assert step.probability == pytest.approx(chances[len(ids) + at - 1, step.token].item(), abs=1e-3)
    ready.release(linear)
    loading.settle(model)
    assert not halves.linear_layers(model.network)


@pytest.mark.parametrize("at", [0, 1, 5, 11])
def test_a_branch_reads_nothing_again_but_the_token_it_leaves_from(batched, monkeypatch, at):
    model = batched("qwen3")
    story = list(generate(model, PROMPTS[1], STORY))
    passes = Passes(model, monkeypatch)
    rival = next(token for token in story[at].rivals if token != story[at].token)
    branch = generate(model, PROMPTS[1], replace(STORY, length=at + 2), (*tokens(story[:at]), rival))
    steps = [next(branch) for _ in range(at + 1)]
    assert passes.sizes == [
        1,
        1,
    ]  # the last token that is shared, and the rival, whose step needs no more than the first
    assert steps[:at] == story[:at] and steps[at].token == rival
    assert steps[at].probability == pytest.approx(
        story[at].alternatives.probabilities[story[at].rivals.index(rival)], abs=1e-6
    )
    ids = encode_prompt(model, PROMPTS[1]).ids
    last = next(branch)
    chances = probabilities(model.network(torch.tensor([[*ids, *tokens(steps)]])).logits)[0, -1]
    assert last.probability == pytest.approx(chances[last.token].item(), abs=1e-5)


def test_a_story_that_nobody_read_to_its_end_can_be_branched_too(batched, monkeypatch):
    model = batched("qwen3")
    story = generate(model, PROMPTS[2], STORY)
    begun = [next(story) for _ in range(5)]
    story.close()
    passes = Passes(model, monkeypatch)
    assert tokens(generate(model, PROMPTS[2], replace(STORY, length=6), tokens(begun)))[:5] == tokens(begun)
    assert passes.sizes == [1]


def test_a_branch_of_what_is_kept_no_more_is_read_anew(batched, monkeypatch):
    model = batched("qwen3")
    story = list(generate(model, PROMPTS[3], STORY))
    monkeypatch.setattr(limits, "STORY_BYTES", 0)
    list(generate(model, PROMPTS[0], STORY))  # there is room for one only
    assert len(table_of(model)._kept) == 1
    again = list(generate(model, PROMPTS[3], STORY, tokens(story)))
    assert tokens(again) == tokens(story)
    assert [step.probability for step in again] == pytest.approx([step.probability for step in story], abs=1e-6)


def test_many_tokens_after_what_is_kept_are_read_at_once(batched, monkeypatch):
    model = batched("qwen3")
    list(generate(model, PROMPTS[0], replace(STORY, length=2)))
    passes = Passes(model, monkeypatch)
    list(generate(model, PROMPTS[0], replace(STORY, length=31), (9,) * 30))
    assert len(passes.sizes) == 1


def test_what_is_kept_is_bounded_in_bytes_and_never_kept_twice(batched):
    model = batched("granite")
    table = table_of(model)
    table._kept.clear()
    story = list(generate(model, PROMPTS[0], STORY))
    list(generate(model, PROMPTS[0], replace(STORY, length=20), tokens(story)))
    assert [len(kept.steps) for kept in table._kept] == [20]
    assert 0 < table._kept[0].bytes < 10**7


def test_a_story_that_ends_frees_its_place(batched):
    model = batched("olmo2")
    table = table_of(model)
    one, other = (generate(model, PROMPTS[0], replace(STORY, seed=seed)) for seed in range(2))
    next(one), next(other)
    assert len(table._seats) == 2
    one.close()
    next(other)
    assert table._seats[0] is None and len(table._seats) == 2
    third = generate(model, PROMPTS[1], STORY)
    next(third)
    assert len(table._seats) == 2  # the free place is taken
    other.close(), third.close()
    assert not table._seats and not table._columns


def test_a_prompt_that_is_refused_frees_its_place(batched):
    model = batched("olmo2")
    with pytest.raises(NothingTyped):
        next(generate(model, ""))
    assert not table_of(model)._seats


def test_a_pass_that_fails_is_told_to_all_it_served_and_the_next_one_works(batched, monkeypatch):
    model = batched("olmo2")
    table = table_of(model)
    alone = tokens(generate(model, PROMPTS[0], STORY))

    def failing(waiting):
        raise RuntimeError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(table, "_read_next", failing)
        story = generate(model, PROMPTS[0], STORY)
        next(story)
        with pytest.raises(RuntimeError, match="no luck"):
            next(story)
    assert tokens(generate(model, PROMPTS[0], STORY)) == alone
    assert not table._seats and model.run(list) == []  # and the device is free


def test_who_waits_too_long_is_told_and_those_who_wait_on_are_served(batched, monkeypatch):
    model = batched("olmo2")
    queue, gate = model.device.queue, threading.Event()
    alone = next(generate(model, PROMPTS[0], STORY))
    wait, patience = queue.wait, {"impatient": 0.05}
    monkeypatch.setattr(
        queue, "wait", lambda turn, **how: wait(turn, patience.get(threading.current_thread().name, PATIENCE), **how)
    )
    outcomes = {}

    def begin(name):
        try:
            outcomes[name] = next(generate(model, PROMPTS[0], STORY))
        except TooBusy:
            outcomes[name] = "too busy"

    holder = threading.Thread(target=queue.submit(gate.wait).result)
    threads = {name: threading.Thread(target=begin, args=(name,), name=name) for name in ("impatient", "patient")}
    for thread in (holder, *threads.values()):
        thread.start()
    threads["impatient"].join(PATIENCE)
    assert outcomes == {"impatient": "too busy"}
    gate.set()
    threads["patient"].join(PATIENCE)
    assert outcomes["patient"] == alone
    assert not table_of(model)._seats


def test_a_wrong_trace_is_not_taken(batched, monkeypatch):
    model = batched("smollm3")
    table = decoding.Table(model)
    monkeypatch.setattr(torch.jit, "trace", lambda run, inputs, **options: lambda *given: (run(*given)[0] + 1, None))
    table.prepare().result(PATIENCE)
    assert table._next is table._plain


@pytest.mark.parametrize("kind", ["mistral", "gemma3", "bloom", "lfm2", "mamba"])
def test_a_network_that_looks_in_other_ways_is_read_alone(model, kind):
    writer = model(kind, "generation")
    assert not shares_passes(writer.network)
    assert isinstance(decoding.open_story(writer, WhatIf()), Alone)
    steps = list(generate(writer, PROMPTS[1], STORY))
    ids = encode_prompt(writer, PROMPTS[1]).ids
    chances = probabilities(writer.network(torch.tensor([[*ids, *tokens(steps)]])).logits)[0]
    for at, step in enumerate(steps):
        assert step.probability == pytest.approx(chances[len(ids) + at - 1, step.token].item(), abs=1e-5)


def test_a_what_if_is_read_alone(batched):
    model = batched("llama")
    assert isinstance(decoding.open_story(model, WhatIf(silenced_heads=frozenset({(0, 0)}))), Alone)
    seat = decoding.open_story(model, WhatIf())
    assert isinstance(seat, Seat)
    seat.leave([])


def take_compiled(model, monkeypatch, pays=True):
    """Have the pass over a model's single tokens compiled, and taken if that pays; return its table."""
    monkeypatch.setattr(decoding, "pays", lambda made, run: pays)
    table = decoding.Table(model)
    model.beside["table"] = table
    model.run(lambda: table._compile({"backend": "eager"})).join(PATIENCE)
    model.run(list)
    return table


def test_a_compiled_pass_serves_stories_in_company_and_finds_its_columns_where_they_were(batched, monkeypatch):
    model = batched("llama")
    table = take_compiled(model, monkeypatch)
    assert table.compiled and table._next is not table._plain
    stories = [(prompt, replace(STORY, seed=seed, length=6 + seed)) for seed, prompt in enumerate(PROMPTS[:3])]
    where = []
    for company in (stories, stories[:1], stories):
        for (prompt, settings), steps in zip(company, write_together(model, company), strict=True):
            ids = encode_prompt(model, prompt).ids
            assert len(steps) == settings.length
            chances = probabilities(model.network(torch.tensor([[*ids, *tokens(steps)]])).logits)[0]
            for at, step in enumerate(steps):
                assert step.probability == pytest.approx(chances[len(ids) + at - 1, step.token].item(), abs=1e-5)
        where.append([column.data_ptr() for column in table._columns])
    assert where[0] == where[1] == where[2] and len(table._columns[0]) == 4


def test_a_compiled_pass_that_does_not_pay_is_not_taken(batched, monkeypatch):
    model = batched("llama")
    table = take_compiled(model, monkeypatch, pays=False)
    assert not table.compiled and table._next is table._plain
    list(generate(model, PROMPTS[0], STORY))
    assert not table._columns
