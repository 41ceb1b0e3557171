"""A picture and a question in a network's own numbers, to be asked about again and again with parts of either hidden.

Networks look in three ways. ViLT draws patches and words through one stack and chooses among answers; in BLIP the words of
the question look across at the patches, and an answer is written; a chat model reads patches as tokens of its prompt.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor, nn

from core import attention, limits
from core.errors import AttentionUnreadable, HiddenEverything, NoSuchPart, TextTooLong
from core.models import Model
from core.rankings import probabilities, rank
from core.results import Ranking, WhatIf
from core.saliency import Inputs, hide
from core.tokens import BROKEN, Encoded, frame

QUESTION = "\N{OBJECT REPLACEMENT CHARACTER}"  # stands for the question while a prompt is put together


@dataclass(frozen=True, slots=True)
class Question:
    """The words of a question, without what a tokenizer puts around them where the prompt is not theirs."""

    ids: list[int]
    words: list[list[int]]  # the tokens of each
    written: tuple[str, ...]  # parallel to words


class Sight:
    """What all sights share. `inputs` are the question's input_ids or inputs_embeds, its attention_mask, and `seen`, the
    patches that may be looked at: (1, patch), row by row; the first dimension may be any number of askings.
    """

    model: Model  # its network is the stack in which words look: what is watched and silenced
    question: Question
    grid: tuple[int, int] | None  # rows and columns of patches; None where the picture's tokens form no grid
    patches: int

    def ask(self, inputs: Inputs) -> Tensor:
        """Return the logits of the answer, or of its first word: (asking, label)."""
        raise NotImplementedError

    def rank(self, inputs: Inputs) -> tuple[Ranking, int]:
        """Return the likeliest answers, and the label that begins the first one."""
        raise NotImplementedError

    @contextmanager
    def watched(self, silenced: frozenset[tuple[int, int]]) -> Iterator[list[Tensor]]:
        """Record all attention between question and answer while the block runs, in the order of the network."""
        raise NotImplementedError

    def trace(self, looks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Follow what reaches the answer back to where it came from: (word token,) and (patch,).

        looks: what `watched` recorded, each (query, key), its heads taken together. With every look a place also keeps
        what it had: rows are carried through (1 + looks), which is rollout for plain attention and Chefer's rule for
        gradient x attention, but for a factor that all places share.
        Source: Abnar & Zuidema 2020, eq. 1; Chefer et al. 2021, eq. 5-11.
        """
        raise NotImplementedError

    def inputs(self, what_if: WhatIf) -> Inputs:
        """Return what is asked with, some words and patches hidden.

        Raises NoSuchPart and HiddenEverything.
        """
        for patch in what_if.hidden_patches:
            if not 0 <= patch < self.patches:
                raise NoSuchPart(part="patch", found=patch + 1, limit=self.patches)
        if len(what_if.hidden_patches) == self.patches:
            raise HiddenEverything()
        ids = self.question.ids
        plain = self.model.inputs(input_ids=ids, attention_mask=[1] * len(ids), seen=[1] * self.patches)
        plain["seen"][:, sorted(what_if.hidden_patches)] = 0
        return hide(self.model, plain, self.question.words, what_if.hidden_tokens)

    def embedded(self, inputs: Inputs) -> Tensor:
        """Return the question's words as the network takes them, (asking, token, size): a tensor of one's own."""
        embed = self.model.network.get_input_embeddings()
        return embed(inputs["input_ids"]) if "input_ids" in inputs else inputs["inputs_embeds"].clone()


def look(model: Model, picture: Image.Image, encoded: Encoded) -> Sight:
    """Return the sight that a network's parts ask for. The caller holds the turn at the device.

    Raises TextTooLong, AttentionUnreadable.
    """
    if hasattr(model.network, "text_decoder"):
        kind = AcrossSight
    elif getattr(model.network.config, "image_token_id", None) is not None:
        kind = PromptSight
    else:
        kind = OneStackSight
    with torch.no_grad():
        return kind(model, picture, encoded)


class OneStackSight(Sight):
    """Words and patches in one stack, a closed list of answers (ViLT).

    ViLT draws its patches in random order: here they are put back row by row.
    Source: Kim et al. 2021.
    """

    def __init__(self, model: Model, picture: Image.Image, encoded: Encoded):
        self.model, self.question = model, Question(encoded.ids, encoded.by_word(), encoded.written(encoded.by_word()))
        pixels = model.inputs(**model.processor.image_processor(picture, return_tensors="pt"))
        values = pixels["pixel_values"]
        real = pixels.get("pixel_mask", torch.ones_like(values[:, 0], dtype=torch.long))
        patches, _, (places, self.grid) = model.network.base_model.embeddings.visual_embed(values, real, -1)
        order = (places[0, :, 0] * self.grid[1] + places[0, :, 1]).argsort()
        self.patches = len(order)
        self._patches = torch.cat(
            [patches[:, :1], patches[:, 1 + order]], 1
        )  # (1, a place of their own + patches, size)

    def ask(self, inputs: Inputs) -> Tensor:
        words, seen = self.embedded(inputs), inputs["seen"]
        return self.model.network(
            inputs_embeds=words,
            attention_mask=inputs["attention_mask"],
            image_embeds=self._patches.expand(len(words), -1, -1),
            pixel_mask=torch.cat([torch.ones_like(seen[:, :1]), seen], 1),
            output_attentions=True,  # or its layers keep them to themselves
        ).logits

    def rank(self, inputs: Inputs) -> tuple[Ranking, int]:
        chances = probabilities(self.ask(inputs))[0]
        return rank(chances.cpu(), self.model.network.config.id2label.get), int(chances.argmax())

    @contextmanager
    def watched(self, silenced: frozenset[tuple[int, int]]) -> Iterator[list[Tensor]]:
        with watched_stack(self, silenced) as looks:
            yield looks

    def trace(self, looks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        row = carried_back(looks, 0)  # the answer is read at the first place
        return row[: len(self.question.ids)], row[-self.patches :]


class AcrossSight(Sight):
    """A question whose words look across at the patches, and a writer who looks at the words (BLIP).

    The picture's places are those the picture's own network has made of its patches. What reaches the answer goes from
    its first place through the writer's cross-attention to the words, from word to word, and through the words'
    cross-attention to the patches.
    Source: Li et al. 2022; the rules for cross-attention: Chefer et al. 2021, eq. 10.
    """

    def __init__(self, model: Model, picture: Image.Image, encoded: Encoded):
        self._whole = model.network
        self.model = replace(model, network=self._whole.text_encoder)
        self.question = Question(encoded.ids, encoded.by_word(), encoded.written(encoded.by_word()))
        pixels = model.inputs(**model.processor.image_processor(picture, return_tensors="pt"))
        self._seen = self._whole.vision_model(**pixels).last_hidden_state  # (1, a place of their own + patches, size)
        self.patches = self._seen.shape[1] - 1
        side = round(self.patches**0.5)
        self.grid = (side, side)
        text = self._whole.config.text_config
        self._start, self._end = getattr(self._whole, "decoder_start_token_id", text.bos_token_id), text.sep_token_id

    def ask(self, inputs: Inputs) -> Tensor:
        start = torch.full((len(inputs["seen"]), 1), self._start, device=inputs["seen"].device)
        return self._write(start, self._hear(inputs), inputs["attention_mask"])

    def _hear(self, inputs: Inputs) -> Tensor:
        """Return what the question's words have become after looking at the picture: (asking, token, size)."""
        seen = torch.cat([torch.ones_like(inputs["seen"][:, :1]), inputs["seen"]], 1)
        with masked_across(self._whole.text_encoder, seen):
            return self._whole.text_encoder(
                inputs_embeds=self.embedded(inputs),
                attention_mask=inputs["attention_mask"],
                encoder_hidden_states=self._seen.expand(len(seen), -1, -1),
            ).last_hidden_state

    def _write(self, ids: Tensor, heard: Tensor, mask: Tensor) -> Tensor:
        """Return the logits of an answer's next word, (asking, vocabulary)."""
        with masked_across(self._whole.text_decoder, mask):
            return self._whole.text_decoder(input_ids=ids, encoder_hidden_states=heard).logits[:, -1]

    def rank(self, inputs: Inputs) -> tuple[Ranking, int]:
        heard, mask = self._hear(inputs), inputs["attention_mask"]

        def following(ids: Tensor) -> Tensor:
            begun = torch.cat([torch.full_like(ids[:, :1], self._start), ids], 1)
            return self._write(begun, heard.expand(len(ids), -1, -1), mask.expand(len(ids), -1))

        return carry_on(self.ask(inputs), following, [self._end], self.model.tokenizer)

    @contextmanager
    def watched(self, silenced: frozenset[tuple[int, int]]) -> Iterator[list[Tensor]]:
        looks, hooks = [], []

        def record(module: nn.Module, inputs: tuple, outputs: tuple) -> None:
            looks.append(outputs[1])  # (asking, head, query, key)

        for stack in (self._whole.text_encoder, self._whole.text_decoder):
            hooks += [one.register_forward_hook(record) for one in eager_attentions(stack)]
        try:
            with attention.watch(self.model.network, silenced=silenced):
                yield looks
        finally:
            for hook in hooks:
                hook.remove()

    def trace(self, looks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        words, patches = torch.zeros_like(looks[-1][0]), torch.zeros_like(looks[1][0])  # a layer is own, then across
        half = 2 * len(eager_attentions(self._whole.text_encoder)) // 2
        share = 1.0  # of the one place the answer has by now
        for own, across in reversed(list(zip(looks[half::2], looks[half + 1 :: 2], strict=True))):
            words = words + share * across[0]
            share = share + share * own[0, 0]
        for own, across in reversed(list(zip(looks[:half:2], looks[1:half:2], strict=True))):
            patches = patches + words @ across
            words = words + words @ own
        return words, patches[1:]


class PromptSight(Sight):
    """Patches as tokens of a chat model's prompt; the answer is read at the prompt's last token and written from there.

    The picture goes through its own network once; what that made of it is handed to the stack of words at every asking.
    """

    def __init__(self, model: Model, picture: Image.Image, encoded: Encoded):
        self.model, network = model, model.network
        before, after = (len(edge) for edge in frame(model.tokenizer))
        words = [[token - before for token in word] for word in encoded.by_word()]
        ids = encoded.ids[before : len(encoded.ids) - after]
        self.question = Question(ids, words, encoded.written(encoded.by_word()))
        prompt = self._prompt(picture)
        self._ids = prompt["input_ids"]
        images = (self._ids[0] == network.config.image_token_id).nonzero()[:, 0]  # (patch): its place
        self._images, self.patches = images, len(images)
        self.grid = grid_of(prompt, images, model.processor.image_processor)
        self._handed = handed_to(network.get_decoder(), network, prompt)
        self._embeds, self._positions = self._handed.pop("inputs_embeds"), self._handed.pop("position_ids", None)
        self._masks = self._handed.pop("attention_mask", None)  # Gemma 3's, in which patches see one another

    def _prompt(self, picture: Image.Image) -> Inputs:
        """Return the prompt with picture and question in one turn; what a visitor types never is a special token."""
        model, processor = self.model, self.model.processor
        parts = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        turn = [{"role": "user", "content": parts}]
        written = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        before, _, after = written.partition(QUESTION)
        prompt = processor(
            text=[before], images=[picture], add_special_tokens=False, return_tensors="pt",
            **whole_picture(processor.image_processor),
        )  # fmt: skip
        rest = self.question.ids + model.tokenizer(after, add_special_tokens=False)["input_ids"]
        start = prompt["input_ids"].shape[1]
        self._words = torch.arange(start, start + len(self.question.ids), device=model.device.place)
        found, limit = start + len(rest), model.network.config.get_text_config().max_position_embeddings
        if found > limit:
            raise TextTooLong(field="question", found=found, limit=limit, unit="tokens")
        taken = inspect.signature(model.network.forward).parameters
        rests = {"input_ids": rest, "attention_mask": [1] * len(rest)}
        rests |= {name: [0] * len(rest) for name in ("token_type_ids", "mm_token_type_ids")}
        return model.inputs(
            **{
                name: torch.cat([tensor, torch.tensor([rests[name]])], 1) if name in rests else tensor
                for name, tensor in prompt.items()
                if name in taken
            }
        )

    def ask(self, inputs: Inputs) -> Tensor:
        return self._read(inputs).logits

    def _read(self, inputs: Inputs, cache: bool = False) -> "Read":
        words, many = self.embedded(inputs), len(inputs["seen"])
        embeds = self._embeds.repeat(many, 1, 1).index_copy(1, self._words, words.to(self._embeds.dtype))
        mask = torch.ones(many, embeds.shape[1], dtype=torch.long, device=embeds.device)
        mask = mask.index_copy(1, self._words, inputs["attention_mask"]).index_copy(1, self._images, inputs["seen"])
        masks = self._masks and {name: one & mask[:, None, None].bool() for name, one in self._masks.items()}
        options = {"masks": masks, "use_cache": cache, **repeated(self._handed, many)}
        return self._run(embeds, mask, self._positions, **options)

    def _run(
        self, embeds: Tensor, mask: Tensor, positions: Tensor | None, masks: dict | None = None, **options: object
    ) -> "Read":
        network = self.model.network
        if positions is not None:
            options["position_ids"] = positions.expand(*positions.shape[:-2], len(embeds), -1)
        output = network.get_decoder()(inputs_embeds=embeds, attention_mask=masks or mask, **options)
        logits = network.get_output_embeddings()(output.last_hidden_state[:, -1])
        return Read(logits, mask, output.past_key_values)

    def rank(self, inputs: Inputs) -> tuple[Ranking, int]:
        network, read = self.model.network, self._read(inputs, cache=True)
        mask, cache = read.mask.expand(limits.CHOICES, -1), read.cache
        cache.batch_repeat_interleave(limits.CHOICES)
        last = None if self._positions is None else self._positions.max()

        def following(ids: Tensor) -> Tensor:
            seen = torch.cat([mask, torch.ones_like(ids)], 1)
            place = None if last is None else (last + ids.shape[1]).reshape(1, 1)
            if place is not None and self._positions.ndim == 3:
                place = place.expand(len(self._positions), 1, 1)
            embeds = network.get_input_embeddings()(ids[:, -1:])
            return self._run(embeds, seen, place, use_cache=True, past_key_values=cache).logits

        ends = network.generation_config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        ends = [*{*ends, self.model.tokenizer.eos_token_id} - {None}]
        return carry_on(read.logits, following, ends, self.model.tokenizer)

    @contextmanager
    def watched(self, silenced: frozenset[tuple[int, int]]) -> Iterator[list[Tensor]]:
        with watched_stack(self, silenced) as looks:
            yield looks

    def trace(self, looks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        row = carried_back(looks, -1)  # the answer is read at the last place
        return row[self._words], row[self._images]


@dataclass(frozen=True, slots=True)
class Read:
    """What a stack of words made of a prompt."""

    logits: Tensor  # (asking, vocabulary), of the next token
    mask: Tensor  # (asking, place)
    cache: object  # of keys and values, where it is kept


@contextmanager
def watched_stack(sight: Sight, silenced: frozenset[tuple[int, int]]) -> Iterator[list[Tensor]]:
    """Record the attention of one stack, layer by layer; the list is filled when the block has run."""
    looks = []
    with attention.watch(sight.model.network, record=True, silenced=silenced, gradient=True) as probe:
        yield looks
    looks += [probe.weights[layer] for layer in sorted(probe.weights)]


def carried_back(looks: Sequence[Tensor], place: int) -> Tensor:
    """Return how much of each place has reached one place through all layers, up to a factor: (place,)."""
    row = torch.zeros_like(looks[0][0])
    row[place] = 1
    for look in reversed(looks):
        row = row + row @ look
    return row


def eager_attentions(stack: nn.Module) -> list[nn.Module]:
    """Return a stack's attentions that return their weights, in the order in which they run."""
    return [module for module in stack.modules() if type(module).__name__.endswith("SelfAttention")]


@contextmanager
def masked_across(stack: nn.Module, mask: Tensor) -> Iterator[None]:
    """Hide places from a stack's cross-attention: Transformers 5.23 drops the mask that BLIP's is given.

    mask: (asking, place), 0 where nobody may look.
    """

    def hand_in(module: nn.Module, inputs: tuple, options: dict) -> tuple[tuple, dict]:
        return inputs, options | {"encoder_attention_mask": added}

    weight = next(stack.parameters())
    added = (1 - mask[:, None, None].to(weight.dtype)) * torch.finfo(weight.dtype).min
    across = [module.crossattention.self for module in stack.modules() if hasattr(module, "crossattention")]
    hooks = [module.register_forward_pre_hook(hand_in, with_kwargs=True) for module in across]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def handed_to(stack: nn.Module, network: nn.Module, inputs: Inputs) -> dict[str, object]:
    """Return what a network hands to its stack of words: embeddings in which the picture is, positions, and the like.

    A mask is among it only where it is not simply the inputs' own. Raises AttentionUnreadable where patches cannot be
    hidden in it.
    """
    handed = {}

    def note(module: nn.Module, args: tuple, options: dict) -> None:
        handed.update(options)

    hook = stack.register_forward_pre_hook(note, with_kwargs=True)
    try:
        network(**inputs)
    finally:
        hook.remove()
    mask = handed.get("attention_mask")
    plain = mask is None or isinstance(mask, Tensor) and mask.ndim == 2
    if "inputs_embeds" not in handed:
        raise AttentionUnreadable(name=network.config.model_type)
    if plain:
        handed.pop("attention_mask", None)
    elif not isinstance(mask, dict) or any(getattr(one, "dtype", None) != torch.bool for one in mask.values()):
        raise AttentionUnreadable(name=network.config.model_type)
    dropped = ("past_key_values", "use_cache", "input_ids", "return_dict")
    return {name: one for name, one in handed.items() if one is not None and name not in dropped}


def repeated(handed: dict[str, object], many: int) -> dict[str, object]:
    """Return what is handed to a stack beside embeddings, for many askings: of each tensor the first dimension grows."""
    return {
        name: [each.repeat(many, *[1] * (each.ndim - 1)) for each in one]
        if isinstance(one, list | tuple)
        else one.repeat(many, *[1] * (one.ndim - 1))
        if isinstance(one, Tensor)
        else one
        for name, one in handed.items()
    }


def whole_picture(images: object) -> dict[str, object]:
    """Return the options that keep a picture in one piece, so that a place in it is a place in the prompt.

    No cutting into tiles, no cropping, and no more places than limits.PICTURE_PATCHES where a picture keeps its size.
    """
    options = {}
    if hasattr(images, "do_image_splitting"):
        options["do_image_splitting"] = False
    if getattr(images, "do_center_crop", False) and getattr(images, "crop_size", None):
        options |= {"do_center_crop": False, "size": {name: images.crop_size[name] for name in ("height", "width")}}
    if getattr(images, "merge_size", None) and getattr(images, "patch_size", None):
        least, most = (images.size[name] for name in ("shortest_edge", "longest_edge"))  # pixels of the picture
        most = min(most, limits.PICTURE_PATCHES * (images.patch_size * images.merge_size) ** 2)
        options["size"] = {"shortest_edge": min(least, most), "longest_edge": most}
    return options


def grid_of(prompt: Inputs, images: Tensor, processor: object) -> tuple[int, int] | None:
    """Return the rows and columns of a picture's tokens, None where they form no grid."""
    side = round(len(images) ** 0.5)
    grid = (side, side)
    if "image_grid_thw" in prompt:
        merged = getattr(processor, "merge_size", 1)
        _, rows, columns = (prompt["image_grid_thw"][0]).tolist()
        grid = (rows // merged, columns // merged)
    return grid if len(images) and grid[0] * grid[1] == len(images) else None


@torch.no_grad()
def carry_on(
    logits: Tensor, following: Callable[[Tensor], Tensor], ends: Sequence[int], tokenizer: object
) -> tuple[Ranking, int]:
    """Write answers word by word: the likeliest first tokens, each carried on greedily; and say which token the first has.

    logits: (1, vocabulary) of the first token; following: answers so far (answer, token) -> logits (answer, vocabulary) of
    the next. An answer's probability is the product of its tokens' and of its end, up to limits.ANSWER_TOKENS; answers that
    read alike are one.
    """
    values, firsts = probabilities(logits)[0].topk(limits.CHOICES)
    ids, ends = firsts[:, None], torch.tensor(ends, device=firsts.device)  # (answer, token)
    for _ in range(limits.ANSWER_TOKENS - 1):
        done = torch.isin(ids, ends).any(1)
        if done.all():
            break
        best, token = probabilities(following(ids)).max(-1)
        values = torch.where(done, values, values * best)
        ids = torch.cat([ids, torch.where(done, ends[0], token)[:, None]], 1)
    chances, begun = {}, {}
    for row, value in zip(ids.tolist(), values.tolist(), strict=True):
        text = tokenizer.decode([token for token in row if token not in ends.tolist()], skip_special_tokens=True)
        text = text.rstrip(BROKEN).strip() or "∅"
        chances[text] = chances.get(text, 0.0) + value
        begun.setdefault(text, row[0])
    order = sorted(chances, key=chances.get, reverse=True)
    return Ranking(tuple(order), tuple(chances[text] for text in order)), begun[order[0]]
