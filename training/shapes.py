"""Train the shapes model: scenes we draw and questions we ask in, a small ViLT that answers out.

    python -m training.shapes

Several questions share a pass over their picture for most of the training: each sees its own words and the picture, and
the picture sees itself. The last part is in the true form, one question a picture and everything sees everything.
"""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
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
from training import card, loop, recipe
from training.questions import ANSWERS, ASKERS, ask

SIDE, PATCH = 64, 8  # pixels
GRID = SIDE // PATCH  # patches a side
WORDS = 20  # tokens of a question at most
PICTURES, QUESTIONS = 32, 8  # a step: pictures, and questions about each
STEPS = 7400
RATE, MUON_RATE = 1.5e-3, 4e-3
ALONE = 0.87  # of all steps: from here on one question a picture, as the model is used
LOOKING = 0.7  # of all steps: until here the patches also learn to name what lies on them
FEW = 0.3  # of all pictures have one shape or two, to learn on
EASY = ("colour", "shape", "yes/no", "number")  # asked alone in the first tenth


def make_processor() -> ViltProcessor:
    """Return the processor: every picture becomes SIDE x SIDE; every word that our questions use is a token."""
    rng = random.Random(0)
    asked = [ask(scene, rng).text for scene in (random_scene(rng) for _ in range(500)) for _ in range(16)]
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
    """Return the number of what covers the middle of each patch: colour x kind, 0 for the ground; int64 (GRID * GRID)."""
    found = np.zeros((GRID, GRID), np.int64)
    rows, columns = np.mgrid[0:GRID, 0:GRID]
    across, down = (columns + 0.5) / GRID, (rows + 0.5) / GRID
    wide, high = max(1.0, scene.aspect), max(1.0, 1 / scene.aspect)  # of the picture, in shorter sides
    for shape in scene.shapes:
        far = np.hypot((across - shape.x) * wide, (down - shape.y) * high)
        found[far < 0.9 * shape.size] = 1 + list(COLOURS).index(shape.colour) * len(KINDS) + KINDS.index(shape.kind)
    return found.ravel()


def scene_to_learn_on(rng: random.Random) -> Scene:
    """Make up a scene; FEW of all have but one shape or two."""
    few = rng.random() < FEW
    while True:
        scene = random_scene(rng)
        if not few or 1 <= len(scene.shapes) <= 2:
            return scene


def draw_batch(
    tokenizer,
    seed: int,
    step: int,
    pictures: int,
    questions: int,
    kinds: tuple[str, ...],
    make: Callable[[random.Random], Scene] = random_scene,
) -> dict:
    """Make up the pictures and questions of a step.

    Returns pixels float32 (picture, 3, SIDE, SIDE); patches int64 (picture, patch); ids and mask int64
    (picture, question, word); answers int64 (picture, question).
    """
    rng = random.Random(hash((seed, step)))
    scenes = [make(rng) for _ in range(pictures)]
    drawn = [pixels_of(draw(scene, rng.choice((64, 64, 96, 128)))) for scene in scenes]
    asked = [ask(scene, rng, kinds) for scene in scenes for _ in range(questions)]
    words = tokenizer(
        [one.text for one in asked], padding="longest", truncation=True, max_length=WORDS, return_tensors="pt"
    )
    shape = (pictures, questions, -1)
    return {
        "pixels": torch.from_numpy(np.stack(drawn)),
        "patches": torch.from_numpy(np.stack([named_patches(scene) for scene in scenes])),
        "ids": words["input_ids"].view(shape),
        "mask": words["attention_mask"].view(shape),
        "answers": torch.tensor([ANSWERS.index(one.answer) for one in asked]).view(pictures, questions),
    }


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
        self.naming = torch.nn.Linear(network.config.hidden_size, 1 + len(COLOURS) * len(KINDS))

    def loss(self, batch: dict, looking: float) -> torch.Tensor:
        """Return the loss of the answers, and `looking` times that of the patches' names."""
        logits, patches = look(self.network, batch)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["answers"].flatten())
        if looking:
            named = self.naming(patches).flatten(0, 1)
            loss = loss + looking * torch.nn.functional.cross_entropy(named, batch["patches"].flatten())
        return loss


@torch.inference_mode()
def right(network, tokenizer, count: int, seed: int) -> dict[str, tuple[int, int]]:
    """Return right answers and questions of each kind, on fresh scenes, one question a scene, in the true form."""
    found = {}
    for kind in ASKERS:
        hits = total = 0
        for start in range(0, count, 100):
            batch = draw_batch(tokenizer, seed, start, min(100, count - start), 1, (kind,))
            logits, _ = look(network, {name: tensor.to(network.device) for name, tensor in batch.items()})
            hits += int((logits.argmax(-1).cpu() == batch["answers"]).sum())
            total += batch["answers"].numel()
        found[kind] = (hits, total)
    return found


def blind(count: int, seed: int) -> dict[str, float]:
    """Return how often the commonest answer to the same words is right, by kind: what the question alone gives away."""
    rng = random.Random(seed)
    floor = {}
    for kind in ASKERS:
        asked = [ask(random_scene(rng), rng, (kind,)) for _ in range(8 * count)]
        answers: dict[str, Counter] = {}
        for one in asked[count:]:
            answers.setdefault(one.text.rstrip("?"), Counter())[one.answer] += 1
        usual = Counter(one.answer for one in asked).most_common(1)[0][0]
        guesses = [answers.get(one.text.rstrip("?"), Counter({usual: 1})).most_common(1)[0][0] for one in asked[:count]]
        floor[kind] = sum(guess == one.answer for guess, one in zip(guesses, asked, strict=False)) / count
    return floor


def describe(folder: Path, steps: int, count: int, minutes: float) -> None:
    """Measure the saved model and write its card."""
    network = AutoModelForVisualQuestionAnswering.from_pretrained(folder, dtype=torch.float32).to(loop.device()).eval()
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    found, floor = right(network, tokenizer, count, seed=10_007), blind(count, seed=10_007)
    rows = [[kind, f"{hits / total:.3f}", f"{floor[kind]:.3f}", f"{total:,}"] for kind, (hits, total) in found.items()]
    hits, total = (sum(column) for column in zip(*found.values(), strict=True))
    rows.append(["**all**", f"**{hits / total:.3f}**", f"{sum(floor.values()) / len(floor):.3f}", f"{total:,}"])
    result = card.table(["question", "right", "right from the question alone", "fresh scenes"], rows)
    print(result, flush=True)
    size = sum(weight.numel() for weight in network.parameters())
    card.write(
        folder,
        title="Shapes",
        language="en",
        task="visual-question-answering",
        sections={
            "What it is": f"A ViLT of {size / 1e6:.1f} million parameters that answers questions about scenes of coloured "
            f"shapes: words and {GRID} x {GRID} picture patches in one stream. Pictures become {SIDE} x {SIDE} pixels. "
            f"{len(ANSWERS)} answers: {', '.join(ANSWERS)}. bfloat16, {card.megabytes(folder):.1f} MB.",
            "Training": f"`python -m training.shapes`: from nothing, {steps:,} steps of {PICTURES} pictures with {QUESTIONS} "
            f"questions each, the last {1 - ALONE:.0%} of them with one question a picture; {minutes:.0f} minutes on "
            f"{card.machine()}; Muon for the blocks, AdamW for the rest.",
            "Data": "Scenes drawn by `core/scenes.py`, with questions and answers by `training/questions.py`: no pictures or "
            "texts of anybody else.",
            "Evaluation": result,
            "What it is bad at": "Anything but flat shapes on a plain ground: it was never shown a photograph, and will "
            "answer all the same. It knows no other words than those of its questions. Small shapes, shapes that touch, and "
            "numbers above four are where it errs most.",
        },
    )


def main(arguments: list[str] | None = None) -> None:
    """Draw, ask, learn, save, measure."""
    options = recipe.Options("shapes", "Train the shapes model.", STEPS, needs_data=False)
    chosen = options.parse(arguments)
    pictures, steps = (4, min(chosen.steps, 8)) if chosen.quick else (PICTURES, chosen.steps)
    torch.manual_seed(chosen.seed)
    processor = make_processor()
    config = architecture(len(processor.tokenizer), chosen.quick)
    learner = Learner(ViltForQuestionAnswering(config)).to(loop.device())

    def loss_at(step: int) -> torch.Tensor:
        alone = step >= ALONE * steps
        shape = (5 * pictures // 2, 1) if alone else (pictures, QUESTIONS)
        kinds = EASY if step < 0.1 * steps else (*ASKERS, "position", "number")  # the hard ones twice
        batch = draw_batch(processor.tokenizer, chosen.seed, step, *shape, kinds, scene_to_learn_on)
        return learner.loss(
            {name: tensor.to(loop.device()) for name, tensor in batch.items()}, 0.5 * (step < LOOKING * steps)
        )

    seconds = loop.train(learner, loss_at, steps=steps, checkpoint=chosen.checkpoint, rate=RATE, muon_rate=MUON_RATE)
    card.save(learner.network, processor, chosen.out)
    describe(chosen.out, steps, 20 if chosen.quick else 1000, seconds / 60)


if __name__ == "__main__":
    recipe.run(main)
