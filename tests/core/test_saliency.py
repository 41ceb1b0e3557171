"""Three measures of one answer: each is what it says it is, whatever the architecture, and what is missing is left out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from core import attention, limits, reading, saliency
from core.errors import HiddenEverything, NoSuchPart
from core.rankings import probabilities, rank
from core.saliency import blank_of, cover_each, explain, hide, log_odds, merge
from core.tokens import encode

READERS, WRITERS = ["bert", "roberta", "distilbert", "modernbert"], ["gpt2", "llama", "qwen3"]
HEADS = [(kind, task) for task in ("sentiment", "masking") for kind in READERS]
HEADS += [(kind, "generation") for kind in WRITERS]
EVERY = pytest.mark.parametrize(("kind", "task"), HEADS)
TEXT = "a film that i loved and hated"
ANSWER = 1  # a label, or a token of the vocabulary: any will do


class Asked:
    """A text as a model takes it, its words, and what is asked about it."""

    def __init__(self, model, text: str, at: int | None):
        encoded = encode(model, text, "text", blanks="[MASK]" in text)
        mask = model.tokenizer.mask_token_id
        self.model, self.at = model, encoded.ids.index(mask) if "[MASK]" in text else at
        self.inputs = model.inputs(input_ids=encoded.ids, attention_mask=[1] * len(encoded.ids))
        self.words = [word for word in encoded.by_word() if self.at not in word or at == -1]
        self.tokens = encoded.written(self.words)

    def explain(self, answer: int = ANSWER, **options):
        """Explain the answer."""
        return explain(self.model, self.inputs, self.words, self.tokens, answer, "answer", self.at, **options)

    def logits(self, inputs=None) -> torch.Tensor:
        """Return what the network itself says: (label)."""
        logits = self.model.network(**(inputs or self.inputs)).logits[0]
        return logits if self.at is None else logits[self.at]

    def without(self, words) -> float:
        """Return the probability of the answer without some words."""
        hidden = hide(self.model, self.inputs, [*self.words, []], words)  # one more, so that all may be hidden
        return float(probabilities(self.logits(hidden))[ANSWER])


@pytest.fixture
def asked(model, kind, task):
    text, at = {"sentiment": (TEXT, None), "masking": (f"{TEXT} the [MASK]", 0), "generation": (TEXT, -1)}[task]
    return Asked(model(kind, task), text, at)


@EVERY
def test_what_a_word_is_worth_by_covering_is_the_probability_with_it_minus_without_it(asked):
    covered = asked.explain().covered
    assert len(covered) == len(asked.words)
    whole = asked.without([])
    for word, loss in enumerate(covered):
        assert loss == pytest.approx(whole - asked.without([word]), abs=1e-6)
    assert max(map(abs, covered)) > 1e-6


@EVERY
def test_the_gradients_account_for_the_change_from_blanks_to_the_text(asked, quiet):
    found = asked.explain()
    assert found.error <= limits.GRADIENT_ERROR
    blank, special = blank_of(asked.model.tokenizer), asked.model.tokenizer.all_special_ids
    ids = [token if token in special else blank for token in asked.inputs["input_ids"][0].tolist()]
    blanks = asked.inputs | {"input_ids": torch.tensor([ids])}
    moved = log_odds(asked.logits()[None], ANSWER) - log_odds(asked.logits(blanks)[None], ANSWER)
    assert abs(sum(found.scores) - moved.item()) <= 0.05 * max(abs(moved.item()), limits.GRADIENT_FLOOR) + 1e-5
    assert len({round(score, 6) for score in found.scores}) > 1


@pytest.fixture
def quiet(model, kind, task):
    """Turn a network's volume down to where it is as smooth as a trained one: random ones at six-fold are all noise."""
    network = model(kind, task).network
    weights = [weight for weight in network.parameters() if weight.ndim > 1]
    with torch.no_grad():
        for weight in weights:
            weight.mul_(0.5)
    yield
    with torch.no_grad():
        for weight in weights:
            weight.mul_(2)


@EVERY
def test_our_integrated_gradients_are_captums(asked, monkeypatch):
    from captum.attr import LayerIntegratedGradients  # slow to import

    model, ids = asked.model, asked.inputs["input_ids"]
    others = {"attention_mask": asked.inputs["attention_mask"]}
    monkeypatch.setattr(limits, "GRADIENT_STEPS", 64)
    inputs = {"input_ids": ids, **others}
    ours, _ = saliency.push_each(model, saliency.asker(model.network, asked.at), inputs, ANSWER)

    def forward(ids: torch.Tensor) -> torch.Tensor:
        mask = others["attention_mask"].expand(len(ids), -1)
        logits = model.network(input_ids=ids, attention_mask=mask).logits
        return log_odds(logits if asked.at is None else logits[:, asked.at], ANSWER)

    special = torch.tensor(model.tokenizer.all_special_ids)
    baseline = torch.where(torch.isin(ids, special), ids, blank_of(model.tokenizer))
    gradients = LayerIntegratedGradients(forward, model.network.get_input_embeddings())
    theirs = gradients.attribute(ids, baseline, n_steps=64, method="gausslegendre").sum(-1)[0]
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=0.01 * float(theirs.abs().max()))


@pytest.mark.parametrize("steps", [2, 8, 16])
def test_the_rule_is_right_for_curves_of_its_degree_and_a_finer_one_has_its_points(steps):
    points, shares = saliency.clenshaw_curtis(steps)
    assert sum(shares) == pytest.approx(1) and points[0] == 0 and points[-1] == 1
    for degree in range(steps + 1):
        assert np.power(points, degree) @ shares == pytest.approx(1 / (degree + 1), abs=1e-9)
    assert set(points) <= set(saliency.clenshaw_curtis(2 * steps)[0])


class Linear(nn.Module):
    """A network of two labels that adds up what its tokens say: its gradients are known."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 2)
        self.dtype = torch.float32
        self.config = SimpleNamespace(_attn_implementation=attention.NAME, get_text_config=self.sizes)

    def sizes(self):
        return SimpleNamespace(num_hidden_layers=1, num_attention_heads=1)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None):
        embedded = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        return SimpleNamespace(logits=self.head(embedded * attention_mask[..., None]).sum(1))


@pytest.fixture
def linear():
    """A model whose answer is the sum of what its tokens say, and what each token says against a blank."""
    torch.manual_seed(0)
    names = {f"{kind}_token_id": None for kind in ("eos", "pad", "unk")}
    tokenizer = SimpleNamespace(**names, mask_token_id=9, all_special_ids=[8, 9])
    network = Linear()
    with torch.no_grad():
        odds = network.head(network.embedding.weight) @ torch.tensor([1.0, -1.0])
    return SimpleNamespace(network=network, tokenizer=tokenizer), odds - odds[9]


def test_the_scores_of_a_linear_network_are_exactly_what_its_tokens_say(linear):
    model, says = linear
    ids = [8, 1, 2, 3, 9, 8]
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, 6, dtype=torch.long)}
    found = explain(model, inputs, [[1], [2, 3]], ("one", "two"), 0, "yes")
    assert found.scores == pytest.approx([says[1].item(), (says[2] + says[3]).item()], abs=1e-5)
    assert found.error == pytest.approx(0, abs=1e-4)
    assert found.looks == ()  # it has no attention


def test_every_token_counts_for_completeness_not_only_those_that_are_explained(linear):
    model, says = linear
    inputs = {"input_ids": torch.tensor([[1, 2, 3]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    found = explain(model, inputs, [[2]], ("three",), 0, "yes")
    assert found.scores == pytest.approx([says[3].item()], abs=1e-5)
    assert found.error == pytest.approx(0, abs=1e-4)


def test_points_are_doubled_while_the_error_is_too_large_and_no_further_than_the_limit(linear, monkeypatch):
    model, _ = linear
    inputs = {"input_ids": torch.tensor([[1, 2]]), "attention_mask": torch.ones(1, 2, dtype=torch.long)}
    tried, plain = [], saliency.slopes

    def wrong(*given):
        tried.append(len(given[-1]))
        return [(odds, moves + 5) for odds, moves in plain(*given)]

    explain(model, inputs, [[0]], ("one",), 0, "yes")
    monkeypatch.setattr(saliency, "slopes", wrong)
    assert explain(model, inputs, [[0]], ("one",), 0, "yes").error > limits.GRADIENT_ERROR
    assert tried == [17, 16, 32]  # no point is asked for twice


def test_a_network_that_takes_no_embeddings_has_no_scores_and_is_covered_all_the_same(linear, monkeypatch):
    model, _ = linear

    def forward(input_ids, attention_mask):
        return Linear.forward(model.network, input_ids, attention_mask)

    monkeypatch.setattr(model.network, "forward", forward)
    inputs = {"input_ids": torch.tensor([[1, 2]]), "attention_mask": torch.ones(1, 2, dtype=torch.long)}
    found = explain(model, inputs, [[0], [1]], ("one", "two"), 0, "yes")
    assert found.scores == () and found.error is None and found.agreement is None
    assert any(found.covered)


@EVERY
def test_looks_are_shares_of_the_words_and_follow_the_attention_to_where_the_answer_is_read(asked):
    looks = asked.explain().looks
    assert sum(looks) == pytest.approx(1) and min(looks) >= 0 and len(looks) == len(asked.words)
    with attention.watch(asked.model.network, record=True) as probe:
        asked.model.network(**asked.inputs)
    weights = np.stack([probe.weights[layer][0].detach().numpy() for layer in sorted(probe.weights)])
    assert weights.shape[0] == 3
    sink = reading.find_sink(weights[:, :, 1:].mean((0, 1, 2)))
    if not any(sink in word for word in asked.words):
        row = reading.rollout(weights)[0 if asked.at is None else asked.at]
        shares = np.array([row[word].sum() for word in asked.words])
        assert looks == pytest.approx((shares / shares.sum()).tolist(), abs=1e-5)


@pytest.mark.parametrize("kind", ["modernbert"])
@pytest.mark.parametrize("task", ["sentiment"])
def test_where_the_answer_is_a_mean_of_all_places_the_looks_are_too(asked, monkeypatch):
    first = asked.explain().looks
    monkeypatch.setattr(asked.model.network.config, "classifier_pooling", "mean")
    everywhere = asked.explain().looks
    assert sum(everywhere) == pytest.approx(1) and everywhere != pytest.approx(first, abs=1e-3)


@EVERY
def test_the_agreement_is_that_of_the_three_measures(asked):
    found = asked.explain()
    assert found.agreement == pytest.approx(reading.agreement(found.covered, found.scores, found.looks))
    assert -1 <= found.agreement <= 1


@EVERY
def test_what_is_hidden_has_nothing_to_say_by_any_measure(asked):
    plain = asked.explain()
    asked.inputs = hide(asked.model, asked.inputs, asked.words, [1])
    found = asked.explain()
    assert found.covered[1] == pytest.approx(0, abs=1e-6)
    assert found.scores[1] == pytest.approx(0, abs=1e-6)
    assert found.looks[1] == pytest.approx(0, abs=1e-6)
    assert found.tokens == plain.tokens and found.covered != plain.covered


@EVERY
def test_the_last_word_of_a_writer_is_hidden_though_the_answer_is_read_off_it(asked, task):
    last = len(asked.words) - 1
    hidden = hide(asked.model, asked.inputs, asked.words, [last])
    other = {name: array.clone() for name, array in asked.inputs.items()}
    other["input_ids"][0, asked.words[last]] = 7
    other = hide(asked.model, other, asked.words, [last])
    torch.testing.assert_close(asked.logits(hidden), asked.logits(other))
    assert asked.without([last]) != pytest.approx(asked.without([]), abs=1e-7)


@EVERY
def test_silent_heads_stay_silent_in_every_measure_and_speak_afterwards(asked):
    plain = asked.explain()
    silenced = frozenset((layer, head) for layer in range(3) for head in range(2))
    found = asked.explain(silenced=silenced)
    for measure in ("covered", "scores"):
        assert getattr(found, measure) != pytest.approx(getattr(plain, measure), rel=0.05, abs=0)
    with attention.watch(asked.model.network, silenced=silenced):
        whole = asked.without([])
        for word, loss in enumerate(found.covered):
            assert loss == pytest.approx(whole - asked.without([word]), abs=1e-5)
    assert asked.explain() == plain
    with pytest.raises(NoSuchPart):
        asked.explain(silenced=frozenset({(0, 9)}))


@EVERY
def test_half_precision_is_explained_too(asked, quiet):
    exact, network = asked.explain(), asked.model.network
    try:
        network.to(torch.bfloat16)
        found = asked.explain()
    finally:
        network.to(torch.float32)
    assert found.error <= 0.25
    top = max(map(abs, exact.scores))
    assert found.scores == pytest.approx(exact.scores, abs=0.2 * top)
    assert sum(found.looks) == pytest.approx(1)


@EVERY
def test_it_works_where_gradients_are_switched_off_and_leaves_nothing_changed(asked):
    before = {name: tensor.clone() for name, tensor in asked.inputs.items()}
    plain = asked.explain()
    with torch.inference_mode():
        asked.inputs = {name: tensor.clone() for name, tensor in asked.inputs.items()}
        assert asked.explain() == plain
    assert all((asked.inputs[name] == tensor).all() for name, tensor in before.items())
    assert not any(weight.grad is not None for weight in asked.model.network.parameters())


@EVERY
def test_the_size_of_a_batch_changes_no_answer(asked, monkeypatch):
    at_once = asked.explain()
    monkeypatch.setattr(saliency, "BATCH", 3)
    found = asked.explain()
    top = max(map(abs, at_once.scores))
    assert found.covered == pytest.approx(at_once.covered, abs=1e-5)
    assert found.scores == pytest.approx(at_once.scores, abs=1e-3 * top)


@EVERY
def test_the_logits_at_one_token_are_those_of_the_whole_text(asked):
    found = saliency.asker(asked.model.network, asked.at)(asked.inputs)
    torch.testing.assert_close(found[0], asked.logits(), atol=1e-4, rtol=1e-4)
    asked.model.network(**asked.inputs)  # and afterwards every token is asked again
    if asked.at is not None:
        assert asked.model.network(**asked.inputs).logits.shape[1] == asked.inputs["input_ids"].shape[1]


@EVERY
def test_without_words_there_is_nothing_to_explain(asked):
    asked.words, asked.tokens = [], ()
    found = asked.explain()
    assert found.label == "answer" and found.tokens == found.covered == found.scores == found.looks == ()
    assert found.error is None and found.agreement is None


def test_more_inputs_than_words_go_to_every_text(linear):
    model, _ = linear
    shapes = []

    def ask(inputs):
        shapes.append((len(inputs["picture"]), len(inputs.get("input_ids", inputs.get("inputs_embeds")))))
        inputs = {name: tensor for name, tensor in inputs.items() if name != "picture"}
        return model.network(**inputs).logits

    inputs = {"input_ids": torch.tensor([[1, 2]]), "attention_mask": torch.ones(1, 2, dtype=torch.long)}
    inputs["picture"] = torch.zeros(1, 3, 4, 4)
    assert explain(model, inputs, [[0], [1]], ("a", "b"), 0, "yes", ask=ask).error == pytest.approx(0, abs=1e-3)
    assert len(shapes) >= 3 and all(one == other for one, other in shapes)


@pytest.mark.parametrize("hidden", [{-1}, {3}, {0, 99}])
def test_a_word_that_is_not_there_cannot_be_hidden(linear, hidden):
    inputs = {"input_ids": torch.tensor([[1, 2, 3]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    with pytest.raises(NoSuchPart) as error:
        hide(linear[0], inputs, [[0], [1], [2]], hidden)
    assert error.value.facts["part"] == "token" and error.value.facts["limit"] == 3


def test_not_all_words_can_be_hidden_and_those_that_are_leave_the_inputs_alone(linear):
    inputs = {"input_ids": torch.tensor([[1, 2, 3]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    with pytest.raises(HiddenEverything):
        hide(linear[0], inputs, [[0], [1, 2]], {0, 1})
    left = hide(linear[0], inputs, [[0], [1, 2]], {1})
    assert left["attention_mask"].tolist() == [[1, 0, 0]] and left["input_ids"].tolist() == [[1, 9, 9]]
    assert inputs["attention_mask"].all() and inputs["input_ids"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("known", "blank"),
    [({"mask": 1, "eos": 2, "pad": 3}, 1), ({"eos": 2, "pad": 3, "unk": 4}, 2), ({"pad": 3, "unk": 4}, 3), ({}, 0)],
)
def test_the_blank_is_the_token_that_says_least(known, blank):
    names = {f"{kind}_token_id": known.get(kind) for kind in ("mask", "eos", "pad", "unk")}
    assert blank_of(SimpleNamespace(**names)) == blank


@pytest.mark.parametrize("count", [0, 1, 5, 6, 100])
def test_neighbours_are_taken_together_where_there_are_too_many_words(count):
    words = [[2 * at, 2 * at + 1] for at in range(count)]
    found = merge(words, 5)
    assert len(found) == min(count, 5)
    assert [token for word in found for token in word] == list(range(2 * count))
    assert count == 0 or max(map(len, found)) - min(map(len, found)) <= 2


def test_covering_nothing_asks_once_and_loses_nothing(linear):
    model, _ = linear
    inputs = {"input_ids": torch.tensor([[1]]), "attention_mask": torch.ones(1, 1, dtype=torch.long)}
    assert cover_each(model, saliency.asker(model.network, None), inputs, [], 0) == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_probabilities_are_exact_whatever_the_network_computes_in(dtype):
    chances = probabilities(torch.randn(3, 1000, generator=torch.Generator().manual_seed(0)).to(dtype))
    assert chances.dtype == torch.float32
    torch.testing.assert_close(chances.sum(-1), torch.ones(3))


@pytest.mark.parametrize("count", [1, 3, 5, 100])
def test_a_ranking_falls_and_sums_with_its_rest_to_1(count):
    chances = torch.tensor([0.1, 0.4, 0.2, 0.25, 0.05])
    ranking = rank(chances, "label {}".format, count)
    assert ranking.labels == ("label 1", "label 3", "label 2", "label 0", "label 4")[:count]
    assert list(ranking.probabilities) == sorted(ranking.probabilities, reverse=True)
    assert sum(ranking.probabilities) + ranking.rest == pytest.approx(1)
