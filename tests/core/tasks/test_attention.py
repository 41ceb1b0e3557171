"""Attention of every architecture: true weights, windows, one run for every view; what cannot be shown is refused."""

import numpy as np
import pytest
import torch

from core import attention, limits, models, reading, traces
from core.errors import AttentionUnreadable, HiddenEverything, NoSuchPart, NothingTyped, TextTooLong
from core.rankings import probabilities
from core.results import View, WhatIf
from core.tasks import attend, lens, look
from core.tokens import encode
from tests.tiny import tiny

TEXT = "the cat sat on the mat"
LONG = "the cat sat on the mat and the dog ran to the red house"
EVERY = pytest.mark.parametrize(
    ("kind", "task"),
    [
        *((kind, "generation") for kind in ("gpt2", "llama", "qwen3", "mistral", "gemma3", "bloom")),
        *((kind, "masking") for kind in ("bert", "roberta", "distilbert", "modernbert", "albert", "deberta-v2")),
        *((kind, "sentiment") for kind in ("bert", "roberta", "distilbert", "modernbert")),
    ],
)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """Begin each test with no text read."""
    monkeypatch.setattr(traces, "_kept", type(traces._kept)())


def true_weights(model, text: str) -> np.ndarray:
    """Return all weights, recorded while the network runs: float32[layer, head, query, key]."""
    ids = encode(model, text, "text").ids
    shown = {} if model.network.config._attn_implementation == attention.NAME else {"output_attentions": True}
    with torch.inference_mode(), attention.watch(model.network, record=True) as probe:
        model.network(**model.inputs(input_ids=ids), **shown)
    return torch.cat([probe.weights[layer] for layer in sorted(probe.weights)]).numpy()


def plain(layer: int, head: int, **options) -> View:
    """Return a view with nothing set aside."""
    return View(layer, head, aside=False, **options)


@EVERY
def test_a_head_is_shown_as_the_network_looks_to_within_half_a_step_of_255(model, kind, task):
    model = model(kind, task)
    weights = true_weights(model, TEXT)
    for layer, head in ((0, 0), (1, 3), (2, 2)):
        gaze = look(model, TEXT, plain(layer, head))
        shown = np.array([gaze.row(token) for token in range(weights.shape[-1])])
        np.testing.assert_allclose(shown, weights[layer, head], atol=0.51 * gaze.most / 255)
        assert gaze.weights.dtype == np.uint8 and gaze.most == pytest.approx(weights[layer, head].max(), abs=1e-5)


@EVERY
def test_the_montage_has_every_head_and_the_sharpest_is_one_of_them(model, kind, task):
    found = attend(model(kind, task), LONG)
    side = min(len(found.tokens), limits.MONTAGE_SIDE)
    assert found.montage.shape == (3, 4, side, side) and found.montage.dtype == np.uint8
    assert found.montage.max((2, 3)).min() == 255  # each head's own strongest look
    assert found.sharpest[0] in range(3) and found.sharpest[1] in range(4)
    if task == "generation" and len(found.tokens) <= limits.MONTAGE_SIDE:
        assert np.triu(found.montage, 1).max() == 0  # a writer does not look ahead


@EVERY
def test_the_prediction_is_what_the_network_says(model, kind, task):
    model = model(kind, task)
    text = TEXT + "[MASK]" if task == "masking" else TEXT
    found = attend(model, text)
    assert sum(found.prediction.probabilities) + found.prediction.rest == pytest.approx(1)
    inputs = model.tokenizer(text.replace("[MASK]", model.tokenizer.mask_token or ""), return_tensors="pt")
    with torch.inference_mode():
        chances = probabilities(model.network(**inputs).logits)[0]
    if task == "masking":
        assert inputs["input_ids"][0, found.asked] == model.tokenizer.mask_token_id
    if found.asked is not None:
        chances = chances[found.asked]
    assert found.prediction.probabilities[0] == pytest.approx(chances.max().item(), abs=1e-4)


def test_without_a_blank_a_blank_filler_is_asked_nothing(model):
    found = attend(model("bert", "masking"), TEXT)
    assert found.prediction is None and found.asked is None


def test_every_view_of_a_text_comes_from_one_run(model):
    model, times = model("llama", "generation"), []

    def count(module, given, result):
        times.append(1)

    hook = model.network.register_forward_hook(count)
    try:
        attend(model, LONG)
        for layer in range(3):
            for head in range(4):
                look(model, LONG, View(layer, head))
        look(model, LONG, View(rolled=True))
        look(model, LONG, View(carried=True))
    finally:
        hook.remove()
    assert len(times) == 1


@pytest.mark.parametrize(("kind", "task"), [("gpt2", "generation"), ("bert", "masking"), ("bloom", "generation")])
def test_all_layers_together_are_the_rollout_of_the_weights(model, kind, task):
    model = model(kind, task)
    gaze = look(model, TEXT, View(rolled=True, aside=False))
    expected = reading.rollout(true_weights(model, TEXT))
    np.testing.assert_allclose(gaze.weights * (gaze.most / 255), expected, atol=0.51 * gaze.most / 255 + 1e-5)


def test_what_is_carried_weighs_each_look_by_its_length(model):
    model = model("bert", "masking")
    weights = true_weights(model, TEXT)
    (trace,) = [look(model, TEXT), *traces._kept.values()][1:]
    expected = reading.shares_of(weights[1, 2] * trace.norms[1][2].numpy())
    gaze = look(model, TEXT, plain(1, 2, carried=True))
    np.testing.assert_allclose(gaze.weights * (gaze.most / 255), expected, atol=0.51 * gaze.most / 255 + 1e-5)
    assert not np.allclose(expected, weights[1, 2], atol=0.01)


def test_the_sink_is_set_aside_by_default_and_only_where_there_is_one(model):
    model = model("bert", "masking")
    found = attend(model, LONG)
    (trace,) = traces._kept.values()
    raw = trace.calls[0].weights()[0, 0].numpy()
    gaze = look(model, LONG)
    expected = reading.set_aside(raw, found.sink)
    np.testing.assert_allclose(gaze.weights * (gaze.most / 255), expected, atol=0.51 * gaze.most / 255 + 1e-5)


def test_a_long_text_is_shown_in_a_window_with_its_place_in_the_whole(model, monkeypatch):
    model = model("gpt2", "generation")
    whole = look(model, LONG, plain(1, 1))
    monkeypatch.setattr(limits, "WINDOW_TOKENS", 6)
    monkeypatch.setattr(limits, "WHOLE_SIDE", 5)
    gaze = look(model, LONG, plain(1, 1, query=7, key=2))
    full = whole.weights * (whole.most / 255)
    np.testing.assert_allclose(gaze.weights * (gaze.most / 255), full[7:13, 2:8], atol=0.01)
    assert gaze.whole.shape == (5, 5) and gaze.whole.max() == 255 and whole.whole is None
    past = look(model, LONG, plain(1, 1, query=13, key=13)).view
    assert (past.query, past.key) == (len(full) - 6,) * 2  # moved into the text


def test_lines_go_to_the_tokens_a_token_looks_at_most_wherever_they_are(model, monkeypatch):
    model = model("gpt2", "generation")
    monkeypatch.setattr(limits, "WINDOW_TOKENS", 6)
    gaze = look(model, LONG, plain(1, 1, query=8, key=8))
    row = true_weights(model, LONG)[1, 1, 10]
    assert gaze.targets[2].tolist() == np.argsort(-row)[: limits.LOOKED_AT].tolist()
    np.testing.assert_allclose(gaze.shares[2], np.sort(row)[::-1][: limits.LOOKED_AT], atol=1e-5)


@EVERY
def test_nobody_looks_at_a_hidden_token(model, kind, task):
    model = model(kind, task)
    seen, hidden = (look(model, TEXT, plain(1, 1), what_if) for what_if in (WhatIf(), WhatIf(frozenset({2}))))
    assert np.delete(hidden.weights[:, 2], 2).max() == 0  # in DeBERTa a hidden token still looks at itself
    assert any(look(model, TEXT, plain(layer, 1)).weights[:, 2].max() for layer in range(3))
    assert seen.weights.shape == hidden.weights.shape


@EVERY
def test_a_silenced_head_still_looks_and_is_no_longer_heard(model, kind, task):
    model = model(kind, task)
    text = TEXT + " [MASK]" if task == "masking" else TEXT
    silent = WhatIf(silenced_heads=frozenset((0, head) for head in range(4)))
    assert attend(model, text).prediction.probabilities != attend(model, text, silent).prediction.probabilities
    first, first_silent = (look(model, text, plain(0, 1), what_if) for what_if in (WhatIf(), silent))
    assert np.array_equal(first.weights, first_silent.weights)
    later, later_silent = (look(model, text, plain(1, 1), what_if) for what_if in (WhatIf(), silent))
    assert kind == "albert" or not np.array_equal(later.weights, later_silent.weights)


@pytest.mark.parametrize(("kind", "task"), [("gpt2", "generation"), ("bert", "masking"), ("modernbert", "masking")])
def test_the_lens_ends_in_what_the_model_says(model, kind, task):
    model = model(kind, task)
    text = TEXT + " [MASK]" if task == "masking" else TEXT
    found, whole = lens(model, text), attend(model, text)
    assert len(found.rankings) == 4 and len(found.rankings[0]) == len(found.tokens) == len(whole.tokens)
    said = found.rankings[-1][found.places.index(whole.asked)]
    assert said.labels == whole.prediction.labels[: limits.LOOKED_AT]
    assert said.probabilities == pytest.approx(whole.prediction.probabilities[: limits.LOOKED_AT], abs=1e-4)


def test_the_lens_asks_in_a_few_places_of_a_long_text(model, monkeypatch):
    model = model("gpt2", "generation")
    whole = lens(model, LONG)
    monkeypatch.setattr(limits, "LENS_TOKENS", 4)
    part = lens(model, LONG, 5)
    assert part.places == (5, 6, 7, 8) and part.tokens == whole.tokens[5:9]
    assert [ranking.labels for ranking in part.rankings[-1]] == [ranking.labels for ranking in whole.rankings[-1][5:9]]
    assert lens(model, LONG, len(whole.tokens) - 1).places == whole.places[-4:]


@EVERY
def test_what_is_not_there_is_refused_and_the_next_call_works(model, kind, task):
    model = model(kind, task)
    for what_if in (
        WhatIf(hidden_tokens=frozenset({99})),
        WhatIf(silenced_heads=frozenset({(3, 0)})),
        WhatIf(silenced_heads=frozenset({(0, 4)})),
    ):
        with pytest.raises(NoSuchPart):
            attend(model, TEXT, what_if)
    for view in (View(3, 0), View(0, 4), View(-1, 0), View(query=99), View(key=-1)):
        with pytest.raises(NoSuchPart):
            look(model, TEXT, view)
    with pytest.raises(HiddenEverything):
        attend(model, TEXT, WhatIf(hidden_tokens=frozenset(range(len(attend(model, TEXT).tokens)))))
    with pytest.raises(NothingTyped):
        attend(model, "  ")
    assert attend(model, TEXT).montage.size


def test_what_is_too_long_is_refused(model, monkeypatch):
    model = model("gpt2", "generation")
    monkeypatch.setattr(limits, "ROLLOUT_TOKENS", 5)
    with pytest.raises(TextTooLong) as error:
        look(model, TEXT, View(rolled=True))
    assert error.value.facts["limit"] == 5
    with pytest.raises(TextTooLong):
        attend(model, "the cat " * 40)  # more than this network's context
    with pytest.raises(TextTooLong):
        attend(model, "a" * (limits.LONG_CHARACTERS + 1))


def test_a_network_that_shows_no_weights_is_refused(model, monkeypatch):
    found = model("bert", "masking")
    monkeypatch.setattr(found.network.config, "_attn_implementation", "sdpa")
    with pytest.raises(AttentionUnreadable):
        attend(found, TEXT)


def test_the_lens_of_a_model_that_gives_labels_is_refused(model):
    with pytest.raises(AttentionUnreadable):
        lens(model("bert", "sentiment"), TEXT)


def test_an_encoder_with_a_decoder_is_shown_by_its_encoder_and_says_how_it_would_begin(tmp_path):
    model = tiny(tmp_path, "t5", "AutoModelForSeq2SeqLM", "attention")
    found = attend(model, TEXT)
    ids = encode(model, TEXT, "text").ids
    with torch.inference_mode(), attention.watch(model.network, record=attention.Wanted("encoder")) as probe:
        logits = model.network(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0]])).logits
    assert found.montage.shape[:2] == (3, 4)
    assert found.prediction.probabilities[0] == pytest.approx(probabilities(logits)[0, -1].max().item(), abs=1e-4)
    gaze = look(model, TEXT, plain(2, 1))
    np.testing.assert_allclose(gaze.weights * (gaze.most / 255), probe.weights[2][0, 1], atol=0.51 * gaze.most / 255)
    silent = attend(model, TEXT, WhatIf(silenced_heads=frozenset({(0, 0), (0, 1)})))
    assert silent.prediction.probabilities != found.prediction.probabilities
    with pytest.raises(AttentionUnreadable):
        lens(model, TEXT)


def test_a_network_without_attention_is_refused(tmp_path):
    model = tiny(tmp_path, "mamba", "AutoModelForCausalLM", "attention")
    for task in (attend, look, lens):
        with pytest.raises(AttentionUnreadable):
            task(model, TEXT)


def test_of_a_network_in_which_only_some_layers_attend_those_are_shown(tmp_path):
    model = tiny(tmp_path, "lfm2", "AutoModelForCausalLM", "attention")
    assert attend(model, TEXT).montage.shape[:2] == (2, 4)
    with pytest.raises(NoSuchPart):
        look(model, TEXT, View(2, 0))
    assert look(model, TEXT, View(1, 3)).weights.max() == 255


def test_what_is_carried_is_refused_where_it_is_not_known(model):
    with pytest.raises(AttentionUnreadable):
        look(model("bloom", "generation"), TEXT, View(carried=True))


@pytest.mark.parametrize("name", ["english", "storyteller"])
def test_a_head_that_looks_one_token_back_is_found_in_a_real_model(name):
    model = models.load(name)
    text = "The old king had three sons, and the youngest of them was called a fool by everybody in the house."
    habits = [habit for habit in attend(model, text).habits if habit.name == "previous"]
    assert habits and habits[0].share > 0.7
    gaze = look(model, text, View(habits[0].layer, habits[0].head))
    favourites = gaze.weights.argmax(-1)
    back = favourites[1:] == np.arange(len(favourites) - 1)
    assert back.mean() > 0.7


def test_the_separator_a_reader_rests_on_is_found_in_a_real_model():
    found = attend(models.load("english"), "The animal did not cross the street because it was too tired.")
    assert found.tokens[found.sink] in ("[CLS]", "[SEP]") and 0.25 < found.sink_share < 0.9


def test_a_real_model_makes_up_its_mind_in_its_last_layers():
    found = lens(models.load("english"), "The doctor who met the lawyers [MASK] tired.")
    at = found.tokens.index(" [MASK]")
    answer = found.rankings[-1][at].labels[0]
    assert answer in ("was", "were")
    chances = [layer[at].probability_of(answer) for layer in found.rankings]
    assert chances[-1] > 2 * max(chances[:4])
