"""Train the shapes model: scenes we draw and questions we ask in, a small ViLT that answers out.

    python -m training.shapes

Several questions share a pass over their picture for most of the training: each sees its own words and the picture, and
the picture sees itself. The last part is in the true form, one question a picture and everything sees everything.
"""

import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
    BertTokenizerFast,
    ViltConfig,
    ViltForQuestionAnswering,
    ViltProcessor,
    ViTImageProcessorPil,
)

from core.scenes import COLOURS, KINDS, Scene, draw, random_scene
from training import card, easy_vqa, loop, recipe, report
from training.easy_vqa import Picture
from training.questions import ANSWERS, ASKERS, DRILLS, Question, ask

NAME, TITLE, LANGUAGE, TASK = "shapes", "Shapes", "en", "visual-question-answering"
DATA = ("easy_vqa",)
BAD_AT = (
    "Anything but flat shapes on a plain ground: it was never shown a photograph, and will answer all the same. It knows no "
    "other words than those of its questions. Asked in easy-VQA's words it calls a square a rectangle, as easy-VQA does. "
    "Small shapes, shapes that touch, and numbers above four are where it errs most."
)

SIDE, PATCH = 96, 12  # pixels
GRID = SIDE // PATCH  # patches a side
WORDS = 20  # tokens of a question at most
PICTURES, QUESTIONS = 32, 8  # a step: pictures, and questions about each
STEPS = 16_000
RATE, MUON_RATE = 1.5e-3, 4e-3
ALONE = 0.9  # of all steps: from here on one question a picture, as the model is used
LOOKING = 1.0  # how much the loss of the patches' names counts beside that of the answers
FEW = 0.3  # of all pictures have one shape or two, to learn on
EASY_VQA = 1 / 8  # of all pictures
EASY = ("colour", "shape", "yes/no", "number")  # asked alone in the first tenth
HARD = (*ASKERS, *DRILLS, "number", "number")  # after that
PAIRS = tuple(itertools.product(COLOURS, KINDS))
UNSEEN = frozenset(PAIRS[6::7])  # pairs of colour and kind that no picture and no question of the training has
SEEN = frozenset(PAIRS) - UNSEEN
NAMES = (1 + len(COLOURS), 1 + len(KINDS)) * 2  # a patch can have, or none: what named_patches returns
FRESH = 10_007  # the seed of the scenes that are measured with


def make_processor(pictures: list[Picture]) -> ViltProcessor:
    """Return the processor: every picture becomes SIDE x SIDE; every word that our questions, and theirs, use is a token."""
    rng = random.Random(0)
    asked = [ask(scene, rng).text for scene in (random_scene(rng) for _ in range(500)) for _ in range(16)]
    asked += [one.text for picture in pictures for one in picture.questions]
    words = sorted({word for text in asked for word in text.replace("?", " ").split()} | {"?", ".", ",", "!"})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *words])}
    pieces = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    tokenizer = BertTokenizerFast(tokenizer_object=pieces, model_max_length=40, **names)
    images = ViTImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        resample=Image.Resampling.BILINEAR,
    )
    return ViltProcessor(images, tokenizer)


def architecture(vocabulary: int, quick: bool) -> ViltConfig:
    """Return the shape of the network: 5 layers, 192 wide, 2.3 million parameters."""
    wide, deep = (32, 2) if quick else (192, 5)
    return ViltConfig(
        vocab_size=vocabulary,
        hidden_size=wide,
        num_hidden_layers=deep,
        num_attention_heads=wide // 32,
        intermediate_size=4 * wide,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=40,
        image_size=SIDE,
        patch_size=PATCH,
        max_image_length=-1,
        modality_type_vocab_size=2,
        id2label=dict(enumerate(ANSWERS)),
        label2id={answer: number for number, answer in enumerate(ANSWERS)},
    )


PLACE_SIZE = 1.5  # root mean square of a place's code; a patch of pixels comes to about 2


def places(size: int) -> torch.Tensor:
    """Return a code of where each patch is, (patch, size), from waves across and down the picture, mixed at random.

    Transformers starts it at zero, and what is learned from there is drowned out by the pixels.
    Source of the waves: Vaswani et al. 2017, section 3.5, here in two dimensions.
    """
    along = (torch.arange(GRID) + 0.5) / GRID  # 0 to 1
    phases = along[:, None] * torch.pi * 2.0 ** torch.arange(-1, 3)  # (patch of a side, wave)
    waves = torch.cat([phases.sin(), phases.cos()], 1)  # (patch of a side, 8)
    across, down = waves[None].expand(GRID, -1, -1), waves[:, None].expand(-1, GRID, -1)
    waves = torch.cat([across, down, across * down, across - down], 2).flatten(0, 1)  # (patch, 32)
    code = waves @ torch.randn(waves.shape[1], size, generator=loop.generator(0))
    code = code - code.mean(0)
    return PLACE_SIZE * code / code.square().mean().sqrt()


def pixels_of(picture: Image.Image) -> np.ndarray:
    """Return what the processor makes of a picture: float32 (3, SIDE, SIDE), from -1 to 1."""
    small = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32).transpose(2, 0, 1) / 127.5 - 1


def named_patches(scene: Scene) -> np.ndarray:
    """Return colour and kind of what covers the middle of each patch, and of the shape whose centre it holds.

    int64 (GRID * GRID, 4); 0 for nothing, 1 for the first. A shape lies on many patches and has its centre on one, which
    is what counting needs; colour and kind apart, so that what is true of each is learned for pairs never seen.
    """
    found = np.zeros((GRID, GRID, 4), np.int64)
    rows, columns = np.mgrid[0:GRID, 0:GRID]
    across, down = (columns + 0.5) / GRID, (rows + 0.5) / GRID
    wide, high = max(1.0, scene.aspect), max(1.0, 1 / scene.aspect)  # of the picture, in shorter sides
    for shape in scene.shapes:
        far = np.hypot((across - shape.x) * wide, (down - shape.y) * high)
        names = 1 + list(COLOURS).index(shape.colour), 1 + KINDS.index(shape.kind)
        found[far < 0.9 * shape.size, :2] = names
        found[int(shape.y * GRID), int(shape.x * GRID), 2:] = names
    return found.reshape(-1, 4)


def scene_to_learn_on(rng: random.Random) -> Scene:
    """Make up a scene without the pairs of UNSEEN; FEW of all have but one shape or two."""
    few = rng.random() < FEW
    while True:
        scene = random_scene(rng, UNSEEN)
        if not few or 1 <= len(scene.shapes) <= 2:
            return scene


def unseen_scene(rng: random.Random) -> Scene:
    """Make up a scene with a shape, or more, of UNSEEN."""
    while True:
        scene = random_scene(rng)
        if any((shape.colour, shape.kind) in UNSEEN for shape in scene.shapes):
            return scene


def names_unseen(question: str) -> bool:
    """Say whether a question names one of UNSEEN: in training the answer would always be no, or 0."""
    text = question.replace("gray", "grey")
    return any(f"{colour} {kind}" in text or f"{kind} {colour}" in text for colour, kind in UNSEEN)


class Lesson(NamedTuple):
    """A picture and what is asked about it."""

    pixels: np.ndarray  # float32 (3, SIDE, SIDE)
    patches: np.ndarray  # int64 (patch, 4), as named_patches; -100: not known
    asked: list[Question]


def drawn(scene: Scene, rng: random.Random, asked: list[Question]) -> Lesson:
    """Return a lesson about a scene."""
    return Lesson(pixels_of(draw(scene, rng.choice((64, 96, 96, 128)))), named_patches(scene), asked)


def lesson_at(rng: random.Random, questions: int, kinds: tuple[str, ...], pictures: list[Picture]) -> Lesson:
    """Make up a lesson of so many questions of these kinds; EASY_VQA of all are about one of its pictures."""
    if rng.random() < EASY_VQA:
        picture = rng.choice(pictures)
        asked = rng.choices(picture.questions, k=questions)
        return Lesson(pixels_of(picture.image), np.full((GRID * GRID, 4), -100), asked)
    scene, asked = scene_to_learn_on(rng), []
    while len(asked) < questions:
        one = ask(scene, rng, kinds)
        if not names_unseen(one.text):
            asked.append(one)
    return drawn(scene, rng, asked)


def batch_of(tokenizer, lessons: list[Lesson]) -> dict[str, torch.Tensor]:
    """Return lessons as tensors on the device: pixels float32 (picture, 3, SIDE, SIDE); patches int64 (picture, patch, 4);
    ids and mask int64 (picture, question, word); answers int64 (picture, question)."""
    asked = [one for lesson in lessons for one in lesson.asked]
    words = tokenizer(
        [one.text for one in asked], padding="longest", truncation=True, max_length=WORDS, return_tensors="pt"
    )
    batch = {
        "pixels": torch.from_numpy(np.stack([lesson.pixels for lesson in lessons])),
        "patches": torch.from_numpy(np.stack([lesson.patches for lesson in lessons])),
        "ids": words["input_ids"].view(len(lessons), -1, words["input_ids"].shape[1]),
        "mask": words["attention_mask"].view(len(lessons), -1, words["input_ids"].shape[1]),
        "answers": torch.tensor([ANSWERS.index(one.answer) for one in asked]).view(len(lessons), -1),
    }
    return {name: tensor.to(loop.device()) for name, tensor in batch.items()}


def look(network: ViltForQuestionAnswering, batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits, (picture, question, answer), and what the patches have become, (picture, patch, size).

    With one question this is the network's own forward pass, but for the order of the patches, which it draws at random.
    """
    embed, ids, mask = network.vilt.embeddings, batch["ids"], batch["mask"]
    pictures, questions, words = ids.shape
    text = embed.text_embeddings(ids.flatten(0, 1)) + embed.token_type_embeddings.weight[0]
    text = text.view(pictures, questions * words, -1)
    patches = embed.patch_embeddings(batch["pixels"]).flatten(2).transpose(1, 2)  # (picture, patch, size)
    patches = torch.cat([embed.cls_token.expand(pictures, -1, -1), patches], 1) + embed.position_embeddings
    patches = patches + embed.token_type_embeddings.weight[1]
    hidden = torch.cat([text, patches], 1)  # (picture, place, size)
    places = hidden.shape[1]
    group = torch.full((places,), -1, device=ids.device)  # -1: the picture
    group[: questions * words] = torch.arange(questions, device=ids.device).repeat_interleave(words)
    seen = (group[:, None] == group[None]) | (group[None] == -1)  # (looking, looked at)
    if questions == 1:
        seen = torch.ones_like(seen)
    real = torch.cat([mask.flatten(1), mask.new_ones(pictures, places - questions * words)], 1).bool()
    allowed = seen[None, None] & real[:, None, None]
    bias = torch.zeros(allowed.shape, device=ids.device).masked_fill(~allowed, -60.0)
    hidden = network.vilt.layernorm(network.vilt.encoder(hidden, attention_mask=bias).last_hidden_state)
    firsts = hidden[:, : questions * words : words]  # (picture, question, size)
    pooled = network.vilt.pooler(firsts.flatten(0, 1)[:, None])
    return network.classifier(pooled).view(pictures, questions, -1), hidden[:, -GRID * GRID :]


class Learner(torch.nn.Module):
    """The network and the head with which patches name what lies on them; the head is thrown away."""

    def __init__(self, network: ViltForQuestionAnswering):
        super().__init__()
        self.network = network
        with torch.no_grad():
            network.vilt.embeddings.position_embeddings[0, 1:] += places(network.config.hidden_size)
        self.naming = torch.nn.Linear(network.config.hidden_size, sum(NAMES))

    def loss(self, batch: dict) -> torch.Tensor:
        """Return the loss of the answers, and LOOKING times that of the patches' names."""
        logits, patches = look(self.network, batch)
        answering = cross_entropy(logits.flatten(0, 1), batch["answers"].flatten())
        named, names = self.naming(patches).flatten(0, 1).split(NAMES, 1), batch["patches"].flatten(0, 1).unbind(1)
        return answering + LOOKING * sum(cross_entropy(mine, name) for mine, name in zip(named, names, strict=True))


@torch.inference_mode()
def answers(network: ViltForQuestionAnswering, tokenizer, lessons: list[Lesson]) -> list[str]:
    """Answer lessons of as many questions each, one question a pass, in the network's own form."""
    alone = [lesson._replace(asked=[one]) for lesson in lessons for one in lesson.asked]
    found = []
    for first in range(0, len(alone), 100):
        logits, _ = look(network, batch_of(tokenizer, alone[first : first + 100]))
        found += [ANSWERS[number] for number in logits[:, 0].argmax(-1).tolist()]
    return found


def question_of(kind: str, rng: random.Random, make: Callable[[random.Random], Scene]) -> tuple[Scene, Question]:
    """Make up scenes until one can be asked a question of the kind."""
    while True:
        scene = make(rng)
        one = ask(scene, rng, (kind,))
        if one.kind == kind:
            return scene, one


def alone_right(asked: list[Question], known: list[Question]) -> float:
    """Return how often the commonest answer to the same words is right: what the question alone gives away."""
    usual: dict[str, Counter] = {}
    for one in known:
        for text in (one.text.rstrip("?"), ""):
            usual.setdefault(text, Counter())[one.answer] += 1
    guesses = [usual.get(one.text.rstrip("?"), usual[""]).most_common(1)[0][0] for one in asked]
    return sum(guess == one.answer for guess, one in zip(guesses, asked, strict=True)) / len(asked)


def measure(folder: Path, data: Path, quick: bool) -> list[report.Figure]:
    """Ask fresh scenes with UNSEEN in them, by kind, fresh scenes as the page draws them, and easy-VQA's held-out ones."""
    network, tokenizer = opened(folder)
    count = 20 if quick else 1000  # of each kind

    def share(lessons: list[Lesson]) -> float:
        truth = [one.answer for lesson in lessons for one in lesson.asked]
        found = answers(network, tokenizer, lessons)
        return sum(mine == right for mine, right in zip(found, truth, strict=True)) / len(truth)

    kinds, whole = [], []
    for kind in ASKERS:
        rng = random.Random(f"{kind} {FRESH}")
        lessons = [
            drawn(scene, rng, [one]) for scene, one in (question_of(kind, rng, unseen_scene) for _ in range(count))
        ]
        known = [question_of(kind, rng, unseen_scene)[1] for _ in range(5 * count)]
        floor = alone_right([lesson.asked[0] for lesson in lessons], known)
        whole += [(share(lessons), floor)]
        kinds.append(report.Figure(f"of them {kind}", whole[-1][0], {"the question alone": floor}, bar=0.93))
    mean, floor = (sum(column) / len(column) for column in zip(*whole, strict=True))
    what = f"right answers on {count * len(ASKERS):,} fresh scenes with pairs of colour and kind kept out of training"
    rng = random.Random(FRESH)
    page = [drawn(scene, rng, [ask(scene, rng)]) for scene in (random_scene(rng) for _ in range(count))]
    learned, held_out = easy_vqa.read(data)
    asked = [one for picture in held_out for one in picture.questions]
    easy = [Lesson(pixels_of(one.image), np.empty(0), list(one.questions)) for one in held_out[: count // 2]]
    return [
        report.Figure(what, mean, {"the question alone": floor}, bar=0.97),
        *kinds,
        report.Figure(f"right answers on {count:,} fresh scenes as the page draws them", share(page)),
        report.Figure(
            f"right answers on {len(easy)} held-out pictures of easy-VQA",
            share(easy),
            {"the question alone": alone_right(asked, [one for picture in learned for one in picture.questions])},
            bar=0.95,
            published="CNN and LSTM 0.876 on its test pictures, vzhou842/easy-VQA-keras",
        ),
    ]


def opened(folder: Path) -> tuple[ViltForQuestionAnswering, BertTokenizerFast]:
    """Return the saved network, on the device in float32, and its tokenizer."""
    network = AutoModelForVisualQuestionAnswering.from_pretrained(folder, dtype=torch.float32).to(loop.device()).eval()
    return network, AutoProcessor.from_pretrained(folder).tokenizer


def what_it_is(folder: Path) -> str:
    """Return what the network is, and what it was shown."""
    network, _ = opened(folder)
    size = sum(weight.numel() for weight in network.parameters())
    pairs = ", ".join(f"{colour} {kind}" for colour, kind in PAIRS if (colour, kind) in UNSEEN)
    return (
        f"A ViLT of {size / 1e6:.1f} million parameters that answers questions about scenes of coloured shapes: words and "
        f"{GRID} x {GRID} picture patches in one stream. Pictures become {SIDE} x {SIDE} pixels. {len(ANSWERS)} answers: "
        f"{', '.join(ANSWERS)}. bfloat16, {card.megabytes(folder):.1f} MB.\n\n"
        "Its scenes are drawn by `core/scenes.py`, their questions and answers by `training/questions.py`; one picture in "
        f"{1 / EASY_VQA:.0f} is of easy-VQA. Kept out of them, in pictures and in words, to see whether it puts together what "
        f"it learned apart: {pairs}."
    )


def examples(folder: Path) -> dict[str, str]:
    """Return what it answers to the first questions on twenty fresh scenes with UNSEEN in them."""
    network, tokenizer = opened(folder)
    rng = random.Random("examples")
    lessons = [drawn(scene, rng, [ask(scene, rng)]) for scene in (unseen_scene(rng) for _ in range(20))]
    asked = [lesson.asked[0] for lesson in lessons]
    rows = [[one.text, mine, one.answer] for one, mine in zip(asked, answers(network, tokenizer, lessons), strict=True)]
    return {"Twenty questions, none chosen afterwards": card.table(["question", "its answer", "the truth"], rows)}


def main(arguments: list[str] | None = None) -> None:
    """Draw, ask, learn, save, measure."""
    chosen = recipe.Options("shapes", "Train the shapes model.", STEPS).parse(arguments)
    few, steps = (4, min(chosen.steps, 8)) if chosen.quick else (PICTURES, chosen.steps)
    torch.manual_seed(chosen.seed)
    pictures = [picture for picture in easy_vqa.read(chosen.data)[0] if picture.pair() in SEEN]
    processor = make_processor(pictures)
    config = architecture(len(processor.tokenizer), chosen.quick)
    learner = Learner(ViltForQuestionAnswering(config)).to(loop.device())

    def loss_at(step: int) -> torch.Tensor:
        alone = step >= ALONE * steps
        lessons, questions = (5 * few // 2, 1) if alone else (few, QUESTIONS)
        rng = random.Random(hash((chosen.seed, step)))
        kinds = EASY if step < 0.1 * steps else HARD
        batch = batch_of(processor.tokenizer, [lesson_at(rng, questions, kinds, pictures) for _ in range(lessons)])
        return learner.loss(batch)

    seconds = loop.train(learner, loss_at, steps=steps, checkpoint=chosen.checkpoint, rate=RATE, muon_rate=MUON_RATE)
    card.save(learner.network, processor, chosen.out)
    told = (
        f"`python -m training.shapes`: from nothing, {steps:,} steps of {PICTURES} pictures with {QUESTIONS} questions each, "
        f"the last {1 - ALONE:.0%} of them with one question a picture; {seconds / 60:.0f} minutes on {card.machine()}; Muon "
        "for the blocks, AdamW for the rest."
    )
    report.record(sys.modules[__name__], chosen.out, chosen.data, chosen.results, training=told, quick=chosen.quick)


if __name__ == "__main__":
    recipe.run(main)
