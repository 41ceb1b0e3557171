"""Answers about a picture and where they came from: ViLT chooses among answers, BLIP writes them."""

import numpy as np
import pytest
import torch
from PIL import Image

from core import limits
from core.errors import HiddenEverything, NoSuchPart, NothingTyped, PictureMissing, PictureUnreadable, TextTooLong
from core.rankings import probabilities
from core.results import WhatIf
from core.tasks import answer

EVERY = pytest.mark.parametrize("kind", ["vilt", "blip"])
QUESTION = "how many red circles?"


@pytest.fixture
def viewer(model, kind):
    return model(kind, "vqa")


@EVERY
def test_answers_fall_and_sum_with_their_rest_to_1(viewer, picture):
    ranking = answer(viewer, picture, QUESTION).ranking
    assert list(ranking.probabilities) == sorted(ranking.probabilities, reverse=True)
    assert all(0 <= probability <= 1 for probability in ranking.probabilities)
    assert sum(ranking.probabilities) <= 1 + 1e-5
    assert sum(ranking.probabilities) + ranking.rest == pytest.approx(1)
    assert all(label.strip() for label in ranking.labels)


@EVERY
def test_the_map_has_a_cell_a_patch_and_its_strongest_is_1(viewer, picture):
    weights = answer(viewer, picture, QUESTION).patches.weights
    rows = 6 if viewer.card.name == "vilt" else 4  # ViLT keeps the shape of the picture, BLIP makes it square
    assert weights.shape == (rows, 4) and weights.dtype == np.float32
    assert weights.max() == 1 and weights.min() >= 0 and weights.std() > 1e-3


@EVERY
def test_asking_twice_gives_the_same_answer_from_the_same_places(viewer, picture):
    first, second = answer(viewer, picture, QUESTION), answer(viewer, picture, QUESTION)
    assert first.ranking.labels == second.ranking.labels
    assert first.ranking.probabilities == pytest.approx(second.ranking.probabilities, abs=1e-5)
    np.testing.assert_allclose(first.patches.weights, second.patches.weights, atol=1e-3)


@EVERY
@pytest.mark.parametrize("patch", [0, 5, 15])
def test_a_hidden_patch_gives_nothing_to_the_answer(viewer, picture, patch):
    plain = answer(viewer, picture, QUESTION).patches.weights
    hidden = answer(viewer, picture, QUESTION, WhatIf(hidden_patches=frozenset({patch}))).patches.weights
    assert hidden.flat[patch] == 0
    others = np.arange(plain.size) != patch
    assert plain.flat[patch] > 0 and (hidden.ravel()[others] > 0).sum() >= (plain.ravel()[others] > 0).sum() - 2


def test_vilt_is_not_told_what_a_hidden_patch_shows(model, picture):
    viewer, changed = model("vilt", "vqa"), picture.copy()
    changed.paste("red", (4, 4, 8, 8))  # the second patch of the second row
    hidden = WhatIf(hidden_patches=frozenset({5}))

    def chances(seen, what_if=WhatIf()):
        ranking = answer(viewer, seen, QUESTION, what_if).ranking
        return dict(zip(ranking.labels, ranking.probabilities, strict=True))

    assert chances(picture, hidden) == pytest.approx(chances(changed, hidden), abs=1e-5)
    assert chances(picture) != pytest.approx(chances(changed), abs=1e-4)


def test_vilt_answers_as_it_does_by_itself(model, picture):
    viewer = model("vilt", "vqa")
    plain = viewer.processor(picture, QUESTION, return_tensors="pt")
    with torch.no_grad():
        chances = probabilities(viewer.network(**plain).logits)[0]
    ranking = answer(viewer, picture, QUESTION).ranking
    assert ranking.probabilities == pytest.approx(chances.sort(descending=True).values.tolist(), abs=1e-5)
    assert ranking.labels[0] == viewer.network.config.id2label[int(chances.argmax())]


def test_blip_writes_the_answer_it_writes_by_itself(model, picture):
    viewer = model("blip", "vqa")
    ranking = answer(viewer, picture, QUESTION).ranking
    assert len(ranking.labels) == limits.CHOICES
    plain = viewer.processor(picture, QUESTION, return_tensors="pt")
    start, end = viewer.network.config.text_config.bos_token_id, viewer.network.config.text_config.sep_token_id
    with torch.no_grad():
        seen = viewer.network.vision_model(plain["pixel_values"]).last_hidden_state
        heard = viewer.network.text_encoder(
            input_ids=plain["input_ids"], attention_mask=plain["attention_mask"], encoder_hidden_states=seen
        ).last_hidden_state
        written, likely = {}, {}
        first = probabilities(
            viewer.network.text_decoder(input_ids=torch.tensor([[start]]), encoder_hidden_states=heard).logits[0, -1]
        )
        for token in first.topk(limits.CHOICES).indices.tolist():
            ids, chance = [start, token], first[token].item()
            while end not in ids[1:] and len(ids) <= limits.ANSWER_TOKENS:
                logits = viewer.network.text_decoder(input_ids=torch.tensor([ids]), encoder_hidden_states=heard).logits
                best, following = probabilities(logits[0, -1]).max(-1)
                ids, chance = [*ids, following.item()], chance * best.item()
            likely[token] = chance
            written[token] = viewer.tokenizer.decode([one for one in ids[1:] if one != end]).strip() or "∅"
    best = max(likely, key=likely.get)
    assert ranking.labels[0] == written[best]
    assert ranking.probabilities == pytest.approx(sorted(likely.values(), reverse=True), rel=1e-3)


@EVERY
def test_what_is_not_there_is_refused_and_the_next_question_is_answered(viewer, picture):
    patches = answer(viewer, picture, QUESTION).patches.weights.size
    for patch in (-1, patches):
        with pytest.raises(NoSuchPart) as error:
            answer(viewer, picture, QUESTION, WhatIf(hidden_patches=frozenset({patch})))
        assert error.value.facts == {"part": "patch", "found": patch + 1, "limit": patches}
    with pytest.raises(HiddenEverything):
        answer(viewer, picture, QUESTION, WhatIf(hidden_patches=frozenset(range(patches))))
    with pytest.raises(NoSuchPart):
        answer(viewer, picture, QUESTION, WhatIf(silenced_heads=frozenset({(0, 4)})))
    with pytest.raises(NoSuchPart):
        answer(viewer, picture, QUESTION, WhatIf(hidden_tokens=frozenset({40})))
    assert answer(viewer, picture, QUESTION).ranking.labels


@EVERY
def test_no_picture_and_no_question_are_refused_in_their_own_words(viewer, picture, tmp_path):
    with pytest.raises(PictureMissing):
        answer(viewer, None, QUESTION)
    text = tmp_path / "picture.png"
    text.write_text("not a picture")
    with pytest.raises(PictureUnreadable):
        answer(viewer, text, QUESTION)
    for question in ("", " ", None):
        with pytest.raises(NothingTyped) as error:
            answer(viewer, picture, question)
        assert error.value.facts == {"field": "question"}
    with pytest.raises(TextTooLong) as error:
        answer(viewer, picture, "red " * 60)
    assert error.value.facts["limit"] == limits.QUESTION_TOKENS


@EVERY
@pytest.mark.parametrize("size", [(16, 16), (40, 16), (1, 300), (500, 7)])
def test_a_picture_of_any_shape_is_looked_at_whole(viewer, size):
    noise = Image.effect_noise(size, 90)
    weights = answer(viewer, noise, QUESTION).patches.weights
    assert np.isfinite(weights).all() and weights.max() == 1


@EVERY
def test_hidden_words_and_silenced_heads_change_the_answer(viewer, picture):
    plain = answer(viewer, picture, QUESTION).ranking.probabilities
    for what_if in (WhatIf(hidden_tokens=frozenset({2})), WhatIf(silenced_heads=frozenset({(0, 0), (1, 1)}))):
        changed = answer(viewer, picture, QUESTION, what_if).ranking.probabilities
        assert changed != pytest.approx(plain, rel=1e-4)


@EVERY
def test_words_the_model_has_never_met_are_named(viewer, picture):
    assert answer(viewer, picture, QUESTION).unknown == ()
    assert answer(viewer, picture, "how many 猫 circles?").unknown == ("猫",)


@EVERY
def test_half_precision_answers_too(viewer, picture):
    try:
        viewer.network.to(torch.bfloat16)
        found = answer(viewer, picture, QUESTION)
    finally:
        viewer.network.to(torch.float32)
    assert np.isfinite(found.patches.weights).all() and found.ranking.probabilities[0] > 0
