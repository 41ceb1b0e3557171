"""A story of every writer: true probabilities, the same from the same seed, and no work when nobody listens."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from core import limits, sampling
from core.errors import BadValue, HiddenEverything, NoSuchPart, NothingTyped, TextTooLong
from core.rankings import probabilities
from core.results import Settings, WhatIf
from core.tasks import explain_step, generate, generation
from core.tokens import BROKEN, encode, token_label

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
    assert queue.run(list, seconds=1) == []  # and the device is free


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
    encoded = encode(writer, PROMPT, "prompt")
    ids = [*encoded.ids, *tokens(steps)]
    mask = [int(at not in encoded.by_word()[hidden]) for at in range(len(ids))]
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
    story = tokens(generate(writer, PROMPT, STORY))
    plain = explain_step(writer, PROMPT, story[:4])
    why = plain.saliency
    assert why.label in plain.ranking.labels
    assert len(why.tokens) == len(why.covered) == len(why.scores) == len(why.looks) > 2
    assert sum(why.looks) == pytest.approx(1) and -1 <= why.agreement <= 1
    before = chance_of(writer, plain, story[3])
    for word, loss in enumerate(why.covered):
        without = explain_step(writer, PROMPT, story[:4], WhatIf(hidden_tokens=frozenset({word})))
        assert without.saliency.tokens == why.tokens and without.saliency.label == why.label
        assert loss == pytest.approx(before - chance_of(writer, without, story[3]), abs=1e-5)
        assert without.saliency.covered[word] == pytest.approx(0, abs=1e-6)  # it is covered already


def chance_of(writer, verdict, token: int) -> float:
    """Return the probability of a token in a ranking of the whole vocabulary, by its place: labels can be alike."""
    alike = [
        rival for rival in range(writer.network.config.vocab_size) if label_of(writer, rival) == verdict.saliency.label
    ]
    assert token in alike
    found = zip(verdict.ranking.labels, verdict.ranking.probabilities, strict=True)
    chances = [chance for name, chance in found if name == verdict.saliency.label]
    return max(chances) if len(alike) == 1 else pytest.skip("two tokens bear this name")


def label_of(writer, token: int) -> str:
    """Return the name of a token as a ranking shows it."""
    return token_label(writer.tokenizer, token)


@EVERY
def test_what_stands_there_is_ranked_as_when_the_story_was_written(writer):
    steps = list(generate(writer, PROMPT, STORY))
    ranking = explain_step(writer, PROMPT, tokens(steps[:4])).ranking
    likeliest = steps[3].alternatives
    assert ranking.labels[:5] == likeliest.labels[:5]
    assert ranking.probabilities[:5] == pytest.approx(likeliest.probabilities[:5], abs=1e-5)
    assert list(ranking.probabilities) == sorted(ranking.probabilities, reverse=True)


@EVERY
def test_the_token_asked_about_is_ranked_whatever_its_place(writer, monkeypatch):
    monkeypatch.setattr(limits, "RIVALS_KEPT", 3)
    (step,) = generate(writer, PROMPT, replace(STORY, length=1))
    chances = probability_at(writer, encode(writer, PROMPT, "prompt").ids, 0)
    rarest = int(chances.argmin())
    verdict = explain_step(writer, PROMPT, (rarest,))
    assert len(verdict.ranking.labels) == 4 and verdict.ranking.labels[-1] == verdict.saliency.label
    assert verdict.ranking.probabilities[-1] == pytest.approx(chances[rarest].item(), abs=1e-6)
    assert len(explain_step(writer, PROMPT, (step.rivals[0],)).ranking.labels) == 3


@EVERY
def test_the_last_word_can_be_covered_though_the_answer_is_read_off_it(writer):
    (step,) = generate(writer, PROMPT, replace(STORY, length=1))
    words = len(explain_step(writer, PROMPT, (step.token,)).saliency.tokens)
    hidden = WhatIf(hidden_tokens=frozenset({words - 1}))
    cat, dog = (explain_step(writer, f"the red {end}", (step.token,), hidden).ranking for end in ("cat", "dog"))
    assert cat.probabilities == pytest.approx(dog.probabilities, abs=1e-5)
    (other,) = generate(writer, PROMPT, replace(STORY, length=1), what_if=hidden)
    assert other.alternatives.probabilities[0] == pytest.approx(
        explain_step(writer, PROMPT, (step.token,), hidden).ranking.probabilities[0], abs=1e-5
    )


@EVERY
def test_of_a_long_text_the_last_words_are_weighed(writer, monkeypatch):
    story = tokens(generate(writer, PROMPT, replace(STORY, length=3)))
    whole = explain_step(writer, PROMPT, story).saliency
    monkeypatch.setattr(limits, "COVERED_WORDS", 2)
    last = explain_step(writer, PROMPT, story).saliency
    assert last.tokens == whole.tokens[-2:]
    assert last.covered == pytest.approx(whole.covered[-2:], abs=1e-6)
    assert last.scores == pytest.approx(whole.scores[-2:], rel=1e-3)
    assert last.error == pytest.approx(whole.error, abs=1e-3)  # the words that are not shown count too


@EVERY
def test_the_first_token_can_be_explained_too(writer):
    (step,) = generate(writer, PROMPT, replace(STORY, length=1))
    why = explain_step(writer, PROMPT, (step.token,)).saliency
    assert [word.strip() for word in why.tokens] == ["the", "cat", "sat"]


@EVERY
def test_silenced_heads_count_in_a_reason_and_what_is_not_there_is_refused(writer):
    story = tokens(generate(writer, PROMPT, replace(STORY, length=2)))
    plain = explain_step(writer, PROMPT, story)
    silenced = explain_step(writer, PROMPT, story, WhatIf(silenced_heads=frozenset({(1, 2)})))
    assert silenced.ranking.probabilities != plain.ranking.probabilities
    assert silenced.saliency.scores != plain.saliency.scores
    words = len(plain.saliency.tokens)
    for what_if in (WhatIf(silenced_heads=frozenset({(0, 4)})), WhatIf(hidden_tokens=frozenset({words}))):
        with pytest.raises(NoSuchPart):
            explain_step(writer, PROMPT, story, what_if)
    with pytest.raises(HiddenEverything):
        explain_step(writer, PROMPT, story, WhatIf(hidden_tokens=frozenset(range(words))))
    assert explain_step(writer, PROMPT, story) == plain


@pytest.mark.parametrize(
    ("word", "added", "belongs"),
    [("walk", "ing", True), (" walk", " on", False), ("walk", ".", False), ("", "你", True), ("你", "好", False),
     ("walk", "", False), ("3", "5", False), ('"', "He", False)],
)  # fmt: skip
def test_a_token_goes_on_a_word_where_both_touch_with_letters(word, added, belongs):
    assert generation.goes_on(word, added) == belongs


def test_the_tokens_of_a_story_are_read_as_words(model):
    encoded = encode(model("gpt2", "generation"), "walk", "prompt")
    first = len(encoded.ids)
    words, shown = generation.spell_on(encoded, ["ing", " ho", "me", ".", "", "", "你"])
    assert shown == ["walking", " home", ".", "你"]
    assert words == [[*range(first), first], [first + 1, first + 2], [first + 3], [first + 4, first + 5, first + 6]]


def test_without_the_why_a_step_is_ranked_the_same_and_nothing_is_weighed(model):
    writer, what_if = model("gpt2", "generation"), WhatIf(hidden_tokens=frozenset({1}))
    found = explain_step(writer, "the cat sat on", (20, 30), what_if, why=False)
    assert found.saliency is None
    assert found.ranking == explain_step(writer, "the cat sat on", (20, 30), what_if).ranking


@EVERY
def test_a_story_ends_where_it_has_written_a_stop_word_even_over_several_tokens(writer):
    story = list(generate(writer, PROMPT, replace(STORY, length=40)))
    text = "".join(step.text for step in story)
    for word in (text[5:8], text[11:12], text[20:30]):
        stopped = list(generate(writer, PROMPT, replace(STORY, length=40, stop=("no such words", word))))
        written = "".join(step.text for step in stopped)
        assert text.startswith(written) and word in written and len(stopped) < 40
        assert word not in "".join(step.text for step in stopped[:-1])


@EVERY
def test_what_a_visitor_chose_is_written_whatever_stop_word_is_in_it(writer):
    story = list(generate(writer, PROMPT, replace(STORY, length=8)))
    stop = (next(step.text for step in story if step.text),)
    again = list(generate(writer, PROMPT, replace(STORY, length=8, stop=stop), forced=tokens(story)))
    assert tokens(again) == tokens(story)


@EVERY
def test_a_step_keeps_what_the_sliders_need_to_draw_it_again(writer):
    settings = replace(STORY, temperature=1.3, top_k=30, min_p=0.02, repetition=1.4)
    steps = list(generate(writer, PROMPT, settings))
    prompt = encode(writer, PROMPT, "prompt").ids
    logits = writer.network(**writer.inputs(input_ids=[*prompt, *tokens(steps)])).logits[0]
    for at, step in enumerate(steps):
        here = logits[len(prompt) + at - 1].sort(descending=True)
        np.testing.assert_allclose(step.log_probabilities + step.offset, here.values, atol=1e-3)
        before = {*prompt, *tokens(steps[:at])}
        assert {int(here.indices[place]) for place in step.repeats} == before
        found = sampling.stages_of(step, settings)
        place = step.ranks[step.rivals.index(step.token)]
        assert found[-1].chances[place] > 0  # it was drawn, so it cannot have been shut out
    assert steps[-1].surprise == pytest.approx(-np.log2(steps[-1].probability))


@EVERY
def test_the_penalty_for_repetition_is_that_of_transformers(writer):
    steps = list(generate(writer, PROMPT, replace(STORY, temperature=0.0, repetition=2.0, length=30)))
    prompt = encode(writer, PROMPT, "prompt").ids
    logits = writer.network(**writer.inputs(input_ids=[*prompt, *tokens(steps)])).logits[0]
    for at, step in enumerate(steps):
        ids = torch.tensor([[*prompt, *tokens(steps[:at])]])
        scores = RepetitionPenaltyLogitsProcessor(2.0)(ids, logits[None, len(prompt) + at - 1])
        assert step.token == scores.argmax()


@EVERY
def test_min_p_1_lets_only_the_likeliest_in(writer):
    steps = generate(writer, PROMPT, replace(STORY, min_p=1.0))
    assert all(step.token == step.rivals[0] for step in steps)


@EVERY
@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_a_token_that_no_vocabulary_has_is_refused(writer, wrong):
    with pytest.raises(NoSuchPart) as error:
        next(generate(writer, PROMPT, STORY, forced=(3, wrong)))
    assert error.value.facts["found"] == wrong


@EVERY
def test_a_chat_model_is_told_that_a_visitor_said_it(writer, monkeypatch):
    plain = tokens(generate(writer, PROMPT, STORY))
    template = "{% for turn in messages %}<s>{{ turn.content }}</s>{% endfor %}"
    monkeypatch.setattr(writer.tokenizer, "chat_template", template, raising=False)
    steps = list(generate(writer, PROMPT, STORY))
    assert tokens(steps) != plain
    start, end = writer.tokenizer.convert_tokens_to_ids(["<s>", "</s>"])
    ids = [start, *writer.tokenizer(PROMPT, add_special_tokens=False)["input_ids"], end]
    for at, step in enumerate(steps):
        chances = probability_at(writer, [*ids, *tokens(steps)], len(ids) + at)
        assert step.probability == pytest.approx(chances[step.token].item(), abs=1e-5)
    assert explain_step(writer, PROMPT, tokens(steps[:3])).ranking.labels[:3] == steps[2].alternatives.labels[:3]
