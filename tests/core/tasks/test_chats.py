"""Chat models on the tab Write: a prompt is a visitor's turn, and the story is the model's."""

from dataclasses import replace

import pytest

from core.results import Settings, WhatIf
from core.tasks import beams, explain_step, generate
from core.tokens import encode_prompt
from tests.tiny import tiny

TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}<|start|>{{ turn.role }}\n{{ turn.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
PROMPT = "the cat sat"
STORY = Settings(length=6, temperature=1.0, seed=2)
EVERY = pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3"])


@pytest.fixture
def chat(kind, tmp_path, monkeypatch):
    """A tiny model that is spoken with; it never ends its turn of its own accord."""
    found = tiny(tmp_path, kind, "AutoModelForCausalLM", "generation", loud=6)
    found.tokenizer.chat_template = TEMPLATE
    monkeypatch.setattr("core.tasks.generation.ends_of_text", lambda model: set())
    return found


@EVERY
def test_a_story_is_the_answer_to_a_turn(chat):
    ids = encode_prompt(chat, PROMPT).ids
    turn = chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], tokenize=False, add_generation_prompt=True
    )
    assert ids == chat.tokenizer(turn, add_special_tokens=False)["input_ids"]
    chances = chat.network(**chat.inputs(input_ids=ids)).logits[0, -1].float().softmax(-1)
    (step,) = generate(chat, PROMPT, replace(STORY, length=1))
    assert step.probability == pytest.approx(chances[step.token].item(), abs=1e-4)
    ahead = beams(chat, PROMPT, width=2, depth=1)
    assert ahead.beams[0].probability == pytest.approx(chances.max().item(), abs=1e-4)
    ranking = explain_step(chat, PROMPT, (step.token,), why=False).ranking
    assert ranking.probabilities[0] == pytest.approx(chances.max().item(), abs=1e-4)


@EVERY
def test_only_the_visitors_words_and_the_models_are_weighed(chat):
    steps = list(generate(chat, PROMPT, STORY))
    why = explain_step(chat, PROMPT, tuple(step.token for step in steps)).saliency
    assert [word.strip() for word in why.tokens[:3]] == ["the", "cat", "sat"]
    assert "".join(why.tokens[3:]) == "".join(step.text for step in steps[:-1])  # the answer's words begin anew


@EVERY
def test_an_answer_does_not_go_on_the_visitors_last_word(chat):
    answer = tuple(chat.tokenizer("ran", add_special_tokens=False)["input_ids"])  # glued, were it the same text
    why = explain_step(chat, PROMPT, (*answer, 30)).saliency
    assert [word.strip() for word in why.tokens] == ["the", "cat", "sat", "ran"]


@EVERY
def test_what_is_hidden_is_a_word_of_the_visitors(chat):
    hidden = WhatIf(hidden_tokens=frozenset({1}))
    (plain,), (without,) = (
        list(generate(chat, PROMPT, replace(STORY, length=1), (), what)) for what in (WhatIf(), hidden)
    )
    (other,) = generate(chat, "the dog sat", replace(STORY, length=1), (), hidden)
    assert without.alternatives.probabilities != plain.alternatives.probabilities
    same = len(encode_prompt(chat, "the dog sat").ids) == len(encode_prompt(chat, PROMPT).ids)
    if same:
        assert other.alternatives.probabilities == pytest.approx(without.alternatives.probabilities, abs=1e-4)
