"""A story of every writer: true probabilities, the same from the same seed, and no work when nobody listens."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from core import limits
from core.errors import BadValue, HiddenEverything, NoSuchPart, NothingTyped, TextTooLong
from core.rankings import probabilities
from core.results import Settings, WhatIf
from core.tasks import explain_step, generate
from core.tokens import BROKEN, encode

EVERY = pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3"])
PROMPT = "the cat sat"
STORY = Settings(length=12, seed=3, temperature=1.0)


@pytest.fixture
def writer(model, kind, monkeypatch):
    """A writer that never ends its story of its own accord."""
    found = model(kind, "generation")
    monkeypatch.setattr("core.tasks.generation.ends_of_text", lambda model: set())
    return found


def tokens(steps):
    return tuple(step.token for step in steps)


def probability_at(writer, ids, place):
    """Return the probabilities after the first `place` tokens, from one look at the whole text."""
    return probabilities(writer.network(**writer.inputs(input_ids=ids)).logits)[0, place - 1]


@EVERY
@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_every_probability_is_that_of_one_look_at_the_whole_text(writer, temperature):
    steps = list(generate(writer, PROMPT, replace(STORY, temperature=temperature)))
    prompt = encode(writer, PROMPT, "prompt").ids
    ids = [*prompt, *tokens(steps)]
    for at, step in enumerate(steps):
        chances = probability_at(writer, ids, len(prompt) + at)
        assert step.probability == pytest.approx(chances[step.token].item(), abs=1e-4)
        assert step.alternatives.probabilities == pytest.approx(chances[list(step.rivals)].tolist(), abs=1e-4)
        np.testing.assert_allclose(
            np.exp(step.log_probabilities), chances.sort(descending=True).values[: limits.RIVALS_KEPT], atol=1e-4
        )


@EVERY
def test_the_chosen_token_is_always_among_its_alternatives(writer):
    for step in generate(writer, PROMPT, replace(STORY, temperature=2.0, length=30)):
        at = step.rivals.index(step.token)
        assert step.alternatives.probabilities[at] == step.probability
        assert len(step.rivals) == len(step.ranks) == len(step.alternatives.labels) <= limits.CHOICES + 1
        assert list(step.alternatives.probabilities) == sorted(step.alternatives.probabilities, reverse=True)
        assert sum(step.alternatives.probabilities) + step.alternatives.rest == pytest.approx(1)
        assert step.vocabulary == writer.network.config.vocab_size
        assert (np.diff(step.log_probabilities) <= 0).all()
        assert [np.exp(step.log_probabilities[rank]) for rank in step.ranks] == pytest.approx(
            list(step.alternatives.probabilities)
        )


@EVERY
def test_the_story_grows_into_what_the_tokens_spell(writer):
    steps = list(generate(writer, PROMPT, replace(STORY, length=40)))
    prompt = encode(writer, PROMPT, "prompt").ids
    spelt = writer.tokenizer.decode([*prompt, *tokens(steps)])[len(writer.tokenizer.decode(prompt)) :]
    assert "".join(step.text for step in steps) == spelt.rstrip(BROKEN).replace(BROKEN, "")
    assert not any(BROKEN in label for step in steps for label in (step.text, *step.alternatives.labels))


@EVERY
def test_temperature_0_takes_the_likeliest_every_time(writer):
    assert all(step.ranks[step.rivals.index(step.token)] == 0 for step in generate(writer, PROMPT, Settings(0.0)))


@EVERY
def test_top_k_and_top_p_let_nothing_else_in(writer):
    for step in generate(writer, PROMPT, replace(STORY, top_k=2, length=20)):
        assert step.ranks[step.rivals.index(step.token)] < 2
    for step in generate(writer, PROMPT, replace(STORY, top_p=0.01, length=20)):
        assert step.ranks[step.rivals.index(step.token)] == 0


@EVERY
def test_the_same_seed_writes_the_same_story_and_another_seed_another(writer):
    first = list(generate(writer, PROMPT, STORY))
    assert list(generate(writer, PROMPT, STORY)) == first
    assert tokens(generate(writer, PROMPT, replace(STORY, seed=4))) != tokens(first)


@EVERY
def test_the_same_seed_writes_the_same_story_while_six_others_write(writer):
    alone = {seed: tokens(generate(writer, PROMPT, replace(STORY, seed=seed, length=6))) for seed in range(6)}
    together, start = {}, threading.Barrier(6)

    def write(seed):
        story = generate(writer, PROMPT, replace(STORY, seed=seed, length=6))
        start.wait(10)
        together[seed] = tokens(story)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert together == alone


@EVERY
def test_a_branch_goes_through_the_same_probabilities(writer):
    story = list(generate(writer, PROMPT, STORY))
    again = list(generate(writer, PROMPT, STORY, forced=tokens(story[:5])))
    assert tokens(again) == tokens(story)
    assert [step.probability for step in again] == pytest.approx([step.probability for step in story], abs=1e-5)
    assert [step.text for step in again] == [step.text for step in story]


@EVERY
def test_a_rival_that_is_clicked_becomes_the_token_and_the_story_goes_on_from_it(writer):
    story = list(generate(writer, PROMPT, STORY))
    rival = next(token for token in story[4].rivals if token != story[4].token)
    branch = list(generate(writer, PROMPT, STORY, forced=(*tokens(story[:4]), rival)))
    assert tokens(branch[:5]) == (*tokens(story[:4]), rival)
    assert len(branch) == STORY.length
    assert branch[4].probability == pytest.approx(
        story[4].alternatives.probabilities[story[4].rivals.index(rival)], abs=1e-5
    )
    prompt = encode(writer, PROMPT, "prompt").ids
    after = probability_at(writer, [*prompt, *tokens(branch)], len(prompt) + 5)
    assert branch[5].probability == pytest.approx(after[branch[5].token].item(), abs=1e-4)


@EVERY
def test_more_forced_tokens_than_there_is_room_for_stop_at_the_end(writer):
    assert len(list(generate(writer, PROMPT, STORY, forced=(5,) * 500))) == STORY.length
    room = writer.context - len(encode(writer, PROMPT, "prompt").ids)
    assert len(list(generate(writer, PROMPT, replace(STORY, length=300), forced=(5,) * 500))) == room


@EVERY
def test_every_token_is_one_turn_and_a_closed_story_takes_none(writer):
    queue = writer.device.queue
    before = queue.served
    story = generate(writer, PROMPT, STORY)
    assert queue.served == before  # nothing is done for a story nobody reads
    next(story), next(story), next(story)
    assert queue.served == before + 3
    story.close()
    assert next(story, None) is None
    assert queue.served == before + 3
    with queue.turn(seconds=1):  # and the device is free
        pass


@EVERY
def test_between_two_tokens_somebody_else_has_a_turn(writer):
    one, other = generate(writer, PROMPT, STORY), generate(writer, PROMPT, STORY)
    assert [step for pair in zip(one, other, strict=True) for step in pair][::2] == list(
        generate(writer, PROMPT, STORY)
    )


@EVERY
def test_the_story_ends_where_the_model_ends_it(model, kind):
    writer = model(kind, "generation")
    end = writer.tokenizer.eos_token_id
    steps = list(generate(writer, PROMPT, STORY, forced=(5, 6, end, 7)))
    assert tokens(steps) == (5, 6)


@EVERY
def test_the_story_ends_with_the_context(writer):
    prompt = "." * (writer.context - 3)
    assert len(encode(writer, prompt, "prompt").ids) == writer.context - 3
    steps = list(generate(writer, prompt, STORY))
    assert len(steps) == 3 and all(0 < step.probability <= 1 for step in steps)


@EVERY
@pytest.mark.parametrize("length", [0, 1, 400])
def test_a_prompt_that_leaves_no_room_is_refused_with_the_limit(writer, length):
    with pytest.raises(TextTooLong) as error:
        next(generate(writer, "." * (writer.context + length)))
    facts = error.value.facts
    assert facts["field"] == "prompt" and facts["unit"] == "tokens"
    assert facts["found"] == writer.context + length > facts["limit"]
    assert next(generate(writer, PROMPT)).probability > 0


@EVERY
@pytest.mark.parametrize("prompt", ["", "   ", "\n", None, 3, "\ud800"])
def test_nothing_typed_is_refused_and_the_next_story_is_written(writer, prompt):
    served = writer.device.queue.served
    with pytest.raises(NothingTyped) as error:
        next(generate(writer, prompt))
    assert error.value.facts == {"field": "prompt"}
    assert writer.device.queue.served == served
    assert next(generate(writer, PROMPT)).probability > 0


@EVERY
@pytest.mark.parametrize(
    ("field", "wrong"),
    [("temperature", float("nan")), ("length", 10**9), ("seed", True), ("top_k", 1.5), ("top_p", "1")],
)
def test_settings_no_slider_offers_are_refused_before_the_first_step(writer, field, wrong):
    with pytest.raises(BadValue) as error:
        next(generate(writer, PROMPT, replace(STORY, **{field: wrong})))
    assert error.value.facts["field"] == field


@EVERY
@pytest.mark.parametrize("prompt", ["你好", "👩‍👩‍👧", "שלום", "e\u0301", "<s></s><pad>", "<script>alert(1)</script>"])
def test_any_script_is_written_on_from(writer, prompt):
    steps = list(generate(writer, prompt, replace(STORY, length=5)))
    assert len(steps) == 5 and all(np.isfinite(step.log_probabilities).all() for step in steps)


@EVERY
@pytest.mark.parametrize("hidden", [0, 1])
def test_a_hidden_word_is_hidden_at_every_step(writer, hidden):
    what_if = WhatIf(hidden_tokens=frozenset({hidden}))
    steps = list(generate(writer, PROMPT, STORY, what_if=what_if))
    ids = [*encode(writer, PROMPT, "prompt").ids, *tokens(steps)]
    mask = [int(at != hidden) for at in range(len(ids))]
    chances = probabilities(writer.network(**writer.inputs(input_ids=ids, attention_mask=mask)).logits)[0]
    for at, step in enumerate(steps):
        true = chances[len(ids) - len(steps) + at - 1, step.token].item()
        assert step.probability == pytest.approx(true, abs=1e-4)
    assert next(generate(writer, PROMPT, STORY)).alternatives != steps[0].alternatives


@EVERY
def test_silenced_heads_change_the_story_and_what_is_not_there_is_refused(writer):
    plain = list(generate(writer, PROMPT, STORY))
    silenced = list(generate(writer, PROMPT, STORY, what_if=WhatIf(silenced_heads=frozenset({(1, 2)}))))
    assert all(one.probability != other.probability for one, other in zip(plain, silenced, strict=True))
    for what_if in (WhatIf(silenced_heads=frozenset({(0, 4)})), WhatIf(hidden_tokens=frozenset({99}))):
        with pytest.raises(NoSuchPart):
            next(generate(writer, PROMPT, STORY, what_if=what_if))
    prompt = frozenset(range(len(encode(writer, PROMPT, "prompt").ids)))
    with pytest.raises(HiddenEverything):
        next(generate(writer, PROMPT, STORY, what_if=WhatIf(hidden_tokens=prompt)))
    assert list(generate(writer, PROMPT, STORY)) == plain


@EVERY
def test_a_token_hangs_on_the_words_whose_covering_costs_it_probability(writer):
    steps = list(generate(writer, PROMPT, STORY))
    why = explain_step(writer, PROMPT, tokens(steps[:4]))
    encoded = encode(writer, PROMPT, "prompt")
    words = [*encoded.by_word(), *([len(encoded.ids) + at] for at in range(3))]
    assert why.tokens == (*encoded.written(encoded.by_word()), *(step.text for step in steps[:3]))
    assert len(why.covered) == len(why.tokens) == len(words)
    assert why.label in steps[3].alternatives.labels
    ids = [*encoded.ids, *tokens(steps[:3])]
    for word, loss in zip(words, why.covered, strict=True):
        mask = [int(at not in word) for at in range(len(ids))]
        chances = probabilities(writer.network(**writer.inputs(input_ids=ids, attention_mask=mask)).logits)[0, -1]
        assert loss == pytest.approx(steps[3].probability - chances[steps[3].token].item(), abs=1e-4)


@EVERY
def test_of_a_long_text_the_last_words_are_covered(writer, monkeypatch):
    monkeypatch.setattr(limits, "COVERED_WORDS", 2)
    steps = list(generate(writer, PROMPT, replace(STORY, length=3)))
    whole = explain_step(writer, PROMPT, tokens(steps))
    assert whole.tokens == tuple(step.text for step in steps[:2])
    assert len(whole.covered) == 2


@EVERY
def test_the_first_token_can_be_explained_too(writer):
    (step,) = generate(writer, PROMPT, replace(STORY, length=1))
    assert [word.strip() for word in explain_step(writer, PROMPT, (step.token,)).tokens] == ["the", "cat", "sat"]
