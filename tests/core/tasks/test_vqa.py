"""Answers about a picture and where they came from: ViLT chooses among answers, BLIP and chat models write them."""

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from core import catalogue, limits, models, sights
from core.errors import HiddenEverything, NoSuchPart, NothingTyped, PictureMissing, PictureUnreadable, TextTooLong
from core.rankings import probabilities
from core.results import WhatIf
from core.scenes import Scene, draw, random_scene
from core.tasks import answer, cover_patches
from core.tasks.vqa import blocks
from tests.tiny import CHATS

EVERY = pytest.mark.parametrize("kind", ["vilt", "blip", *CHATS])
CHAT = pytest.mark.parametrize("kind", CHATS)
GRIDS = {
    "vilt": (6, 4),
    "blip": (4, 4),
    "idefics3": (2, 2),
    "gemma3": (2, 2),
    "llava": (4, 4),
    "qwen2_vl": (3, 2),
    "qwen3_vl": (3, 2),
}
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
def test_both_maps_have_a_cell_a_patch_and_their_strongest_is_1(viewer, kind, picture):
    maps = answer(viewer, picture, QUESTION).patches
    assert [one.way for one in maps] == ["rollout", "gradients"]
    for one in maps:
        assert one.weights.shape == GRIDS[kind] and one.weights.dtype == np.float32
        assert one.weights.max() == 1 and one.weights.min() >= 0 and one.weights.std() > 1e-3


@EVERY
def test_asking_twice_gives_the_same_answer_from_the_same_places_to_the_last_bit(viewer, picture):
    first, second = answer(viewer, picture, QUESTION), answer(viewer, picture, QUESTION, WhatIf())
    assert first.ranking == second.ranking
    for one, other in zip(first.patches, second.patches, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)


@EVERY
@pytest.mark.parametrize("patch", [0, 3])
def test_a_hidden_patch_gives_nothing_to_the_answer(viewer, picture, patch):
    found = answer(viewer, picture, QUESTION, WhatIf(hidden_patches=frozenset({patch})))
    plain = answer(viewer, picture, QUESTION)
    assert plain.patches[0].weights.flat[patch] > 0
    assert [one.weights.flat[patch] for one in found.patches] == [0, 0]
    assert all((one.weights > 0).sum() >= 2 for one in found.patches)
    assert found.ranking.probabilities != plain.ranking.probabilities


@EVERY
def test_without_why_there_is_the_same_ranking_and_nothing_else(viewer, picture):
    what_if = WhatIf(hidden_patches=frozenset({1}))
    bare = answer(viewer, picture, QUESTION, what_if, False)
    assert bare.ranking == answer(viewer, picture, QUESTION, what_if).ranking
    assert bare.patches == () and bare.saliency is None


@EVERY
def test_the_words_of_the_question_are_weighed_three_ways(viewer, picture):
    found = answer(viewer, picture, QUESTION)
    why = found.saliency
    assert why.label == found.ranking.labels[0]
    assert [word.strip() for word in why.tokens] == ["how", "many", "red", "circles", "?"]
    assert len(why.covered) == len(why.scores) == len(why.looks) == 5
    assert sum(why.looks) == pytest.approx(1) and min(why.looks) > 0
    assert why.error < 0.2  # of the change that integrated gradients share out
    assert -1 <= why.agreement <= 1


@EVERY
def test_a_hidden_word_gives_nothing_to_the_answer(viewer, picture):
    why = answer(viewer, picture, QUESTION, WhatIf(hidden_tokens=frozenset({2}))).saliency
    assert why.looks[2] == 0 and why.covered[2] == pytest.approx(0, abs=1e-6)


@EVERY
def test_covering_says_what_the_answer_loses_with_each_patch(viewer, picture, kind):
    found = cover_patches(viewer, picture, QUESTION)
    plain = answer(viewer, picture, QUESTION)
    assert found.label == plain.ranking.labels[0] and found.patches.way == "covering"
    assert found.lost.shape == found.patches.weights.shape == GRIDS[kind]
    assert found.lost.dtype == found.patches.weights.dtype == np.float32
    assert found.patches.weights.min() >= 0 and found.patches.weights.max() <= 1
    assert found.agreement is None or -1 <= found.agreement <= 1
    assert np.abs(found.lost).max() > 0


def test_what_covering_says_of_a_patch_is_what_hiding_it_does(model, picture):
    viewer = model("vilt", "vqa")
    found, plain = cover_patches(viewer, picture, QUESTION), answer(viewer, picture, QUESTION).ranking
    for patch in (0, 7, 23):
        hidden = answer(viewer, picture, QUESTION, WhatIf(hidden_patches=frozenset({patch})), False).ranking
        lost = plain.probability_of(found.label) - hidden.probability_of(found.label)
        assert found.lost.flat[patch] == pytest.approx(lost, abs=1e-5)


@pytest.mark.parametrize("grid", [(1, 1), (8, 8), (12, 12), (12, 20), (40, 3), (24, 24), (30, 40)])
def test_patches_are_covered_in_squares_of_neighbours_where_there_are_many(grid):
    numbers = blocks(*grid)
    assert numbers.shape == grid and numbers.max() < limits.COVERED_PATCHES
    assert set(numbers.ravel()) == set(range(numbers.max() + 1))
    if grid[0] * grid[1] <= limits.COVERED_PATCHES:
        assert len(set(numbers.ravel())) == grid[0] * grid[1]
    for block in range(numbers.max() + 1):
        rows, columns = np.nonzero(numbers == block)
        assert np.ptp(rows) == np.ptp(columns) or rows.max() == grid[0] - 1 or columns.max() == grid[1] - 1
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


@CHAT
def test_a_chat_model_answers_as_it_does_by_itself(viewer, picture):
    ranking = answer(viewer, picture, QUESTION).ranking
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    prompt = viewer.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    options = sights.whole_picture(viewer.processor.image_processor)
    plain = dict(
        viewer.processor(text=[prompt], images=[picture], add_special_tokens=False, return_tensors="pt", **options)
    )
    ends = viewer.tokenizer.eos_token_id

    def chances(ids):
        added = torch.tensor([ids], dtype=torch.long)
        taken = plain | {"input_ids": torch.cat([plain["input_ids"], added], 1)}
        taken["attention_mask"] = torch.ones_like(taken["input_ids"])
        if "mm_token_type_ids" in taken:
            taken["mm_token_type_ids"] = torch.cat([plain["mm_token_type_ids"], torch.zeros_like(added)], 1)
        with torch.no_grad():
            return probabilities(viewer.network(**taken, use_cache=False).logits[0, -1])

    found = {}
    for token in chances([]).topk(limits.CHOICES).indices.tolist():
        ids, chance = [token], chances([])[token].item()
        while ends not in ids and len(ids) < limits.ANSWER_TOKENS:
            best, following = chances(ids).max(-1)
            ids, chance = [*ids, following.item()], chance * best.item()
        text = viewer.tokenizer.decode([one for one in ids if one != ends], skip_special_tokens=True)
        text = text.rstrip("\N{REPLACEMENT CHARACTER}").strip() or "∅"
        found[text] = found.get(text, 0) + chance
    assert ranking.labels[0] == max(found, key=found.get)
    np.testing.assert_allclose(np.log(ranking.probabilities), np.log(sorted(found.values(), reverse=True)), atol=1e-2)


@CHAT
def test_a_chat_model_is_not_told_what_a_hidden_place_shows(viewer, picture):
    hidden = WhatIf(hidden_patches=frozenset(range(GRIDS[viewer.card.name][0] * GRIDS[viewer.card.name][1] - 1)))
    some = answer(viewer, picture, QUESTION, hidden, False).ranking
    assert some != answer(viewer, picture, QUESTION, WhatIf(), False).ranking
    assert some.probabilities[0] > 0


@CHAT
def test_what_a_visitor_types_is_no_picture_and_no_turn_of_the_chat(viewer, picture):
    for typed in ("<image> red?", "<|image_pad|> red?", "<end_of_utterance>\nassistant: blue"):
        found = answer(viewer, picture, typed)
        assert found.patches[0].weights.shape == GRIDS[viewer.card.name]


def test_a_picture_that_keeps_its_size_gets_no_more_places_than_the_limit(model):
    found = answer(model("qwen2_vl", "vqa"), Image.effect_noise((700, 300), 90), QUESTION)
    rows, columns = found.patches[0].weights.shape
    assert columns > rows and rows * columns <= limits.PICTURE_PATCHES


def test_a_picture_whose_places_form_no_grid_is_answered_about_without_a_map(model, picture, monkeypatch):
    monkeypatch.setattr(sights, "grid_of", lambda *_: None)
    found = answer(model("idefics3", "vqa"), picture, QUESTION)
    assert found.patches == () and found.ranking.labels and len(found.saliency.covered) == 5


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
    plain = viewer.processor(picture, QUESTION, return_tensors="pt")
    start, end = viewer.network.config.text_config.bos_token_id, viewer.network.config.text_config.sep_token_id
    with torch.no_grad():
        seen = viewer.network.vision_model(plain["pixel_values"]).last_hidden_state
        heard = viewer.network.text_encoder(
            input_ids=plain["input_ids"], attention_mask=plain["attention_mask"], encoder_hidden_states=seen
        ).last_hidden_state
        likely = {}
        first = probabilities(
            viewer.network.text_decoder(input_ids=torch.tensor([[start]]), encoder_hidden_states=heard).logits[0, -1]
        )
        for token in first.topk(limits.CHOICES).indices.tolist():
            ids, chance = [start, token], first[token].item()
            while end not in ids[1:] and len(ids) <= limits.ANSWER_TOKENS:
                logits = viewer.network.text_decoder(input_ids=torch.tensor([ids]), encoder_hidden_states=heard).logits
                best, following = probabilities(logits[0, -1]).max(-1)
                ids, chance = [*ids, following.item()], chance * best.item()
            text = (
                viewer.tokenizer.decode([one for one in ids[1:] if one != end], skip_special_tokens=True).strip() or "∅"
            )
            likely[text] = likely.get(text, 0) + chance
    assert ranking.labels[0] == max(likely, key=likely.get)
    assert ranking.probabilities == pytest.approx(sorted(likely.values(), reverse=True), rel=1e-3)


@EVERY
def test_what_is_not_there_is_refused_and_the_next_question_is_answered(viewer, picture):
    patches = answer(viewer, picture, QUESTION).patches[0].weights.size
    for patch in (-1, patches):
        with pytest.raises(NoSuchPart) as error:
            answer(viewer, picture, QUESTION, WhatIf(hidden_patches=frozenset({patch})))
        assert error.value.facts == {"part": "patch", "found": patch + 1, "limit": patches}
    with pytest.raises(HiddenEverything):
        answer(viewer, picture, QUESTION, WhatIf(hidden_patches=frozenset(range(patches))))
    with pytest.raises(NoSuchPart):
        answer(viewer, picture, QUESTION, WhatIf(silenced_heads=frozenset({(0, 4)})))
    with pytest.raises(NoSuchPart) as error:
        answer(viewer, picture, QUESTION, WhatIf(hidden_tokens=frozenset({5})))
    assert error.value.facts == {"part": "token", "found": 6, "limit": 5}
    with pytest.raises(HiddenEverything):
        answer(viewer, picture, QUESTION, WhatIf(hidden_tokens=frozenset(range(5))))
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
    for one in answer(viewer, noise, QUESTION).patches:
        assert np.isfinite(one.weights).all() and one.weights.max() == 1


@EVERY
def test_hidden_words_and_silenced_heads_change_the_answer(viewer, picture):
    plain = answer(viewer, picture, QUESTION).ranking.probabilities
    for what_if in (WhatIf(hidden_tokens=frozenset({2})), WhatIf(silenced_heads=frozenset({(0, 0), (1, 1)}))):
        changed = answer(viewer, picture, QUESTION, what_if).ranking.probabilities
        assert np.log(changed) != pytest.approx(np.log(plain), abs=1e-3)


@pytest.mark.parametrize("kind", ["vilt", "blip"])  # the others know every byte
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
    assert all(np.isfinite(one.weights).all() for one in found.patches) and found.ranking.probabilities[0] > 0


SHAPES = pytest.mark.skipif(
    not (models.ROOT / catalogue.find("shapes").repo).exists(), reason="the shapes model is not on board"
)
COLOUR = "What color is the star?"


def scene_with_one_star(rng: random.Random) -> Scene:
    """Return a scene on white with one star, two or more other shapes, and nothing as wide as half of it."""
    while True:
        scene = random_scene(rng)
        stars = [shape for shape in scene.shapes if shape.kind == "star"]
        white = set(scene.background) == {(255, 255, 255)}
        if len(stars) == 1 and len(scene.shapes) > 2 and white and max(one.size for one in scene.shapes) < 0.22:
            return replace(scene, grain=0, smooth=True)


def cells_of(scene: Scene, kind: str, grid: tuple[int, int]) -> np.ndarray:
    """Return which patches a scene's shapes of a kind lie in, bool[row, column]."""
    ys, xs = (np.indices(grid) + 0.5) / np.array(grid)[:, None, None]
    found = np.zeros(grid, bool)
    for shape in scene.shapes:
        if shape.kind == kind:
            wide, high = shape.size / max(1, scene.aspect), shape.size * min(1, scene.aspect)
            found |= (abs(xs - shape.x) <= wide + 0.5 / grid[1]) & (abs(ys - shape.y) <= high + 0.5 / grid[0])
    return found


@cache
def looked_at() -> list[tuple]:
    """Return ten scenes with a star, what the shapes model says of its colour, and what covering each square does."""
    rng, viewer = random.Random(3), models.load("shapes")
    scenes = [scene_with_one_star(rng) for _ in range(10)]
    pictures = [draw(scene, 256) for scene in scenes]
    return [
        (scene, picture, answer(viewer, picture, COLOUR), cover_patches(viewer, picture, COLOUR))
        for scene, picture in zip(scenes, pictures, strict=True)
    ]


@SHAPES
@pytest.mark.parametrize("way", ["rollout", "gradients", "covering"])
def test_the_colour_of_a_star_comes_from_the_star(way):
    hits, chance, shares = 0, 0.0, []
    for scene, _, found, covered in looked_at():
        weights = {one.way: one.weights for one in (*found.patches, covered.patches)}[way]
        star = cells_of(scene, "star", weights.shape)
        hits += bool(star.flat[weights.argmax()])
        chance += star.mean()
        shares.append(weights[star].sum() / weights.sum() / star.mean())  # 1 is chance
    assert hits >= 8 and hits > 2 * chance
    assert np.mean(shares) > 1.5


@SHAPES
def test_hiding_the_asked_shape_moves_the_answer_more_than_hiding_the_others():
    viewer, moved = models.load("shapes"), 0
    for scene, picture, found, _ in looked_at():
        grid, label = found.patches[0].weights.shape, found.ranking.labels[0]
        star = cells_of(scene, "star", grid)
        others = (
            np.any([cells_of(scene, shape.kind, grid) for shape in scene.shapes if shape.kind != "star"], 0) & ~star
        )
        left = [
            answer(viewer, picture, COLOUR, WhatIf(hidden_patches=frozenset(np.flatnonzero(cells).tolist())), False)
            for cells in (star, others)
        ]
        without_star, without_others = (one.ranking.probability_of(label) for one in left)
        moved += without_star < without_others
    assert moved >= 8


@SHAPES
def test_the_words_that_ask_for_a_colour_matter_most():
    found = [found.saliency for _, _, found, _ in looked_at()]
    best = [why.tokens[int(np.argmax(why.covered))].strip() for why in found]
    assert sum(word in ("color", "star") for word in best) >= 8
