"""Visual question answering: a picture and a question in, ranked answers and where in the picture they came from out."""

from pathlib import Path

import torch
from PIL import Image

from core import attention, limits
from core.errors import HiddenEverything, NoSuchPart
from core.models import Model
from core.pictures import open_picture
from core.rankings import probabilities, rank
from core.results import Answer, PatchMap, Ranking, WhatIf
from core.tokens import Encoded, encode


def answer(model: Model, picture: str | Path | Image.Image, question: str, what_if: WhatIf = WhatIf()) -> Answer:
    """Answer a question about a picture; `what_if.hidden_patches` are numbers of the answer's patches, row by row.

    Raises NothingTyped, TextTooLong above limits.QUESTION_TOKENS, the Picture errors, NoSuchPart, HiddenEverything.
    """
    encoded = encode(model, question, "question", limits.QUESTION_TOKENS)
    pixels = model.processor.image_processor(open_picture(picture), return_tensors="pt")
    words = model.inputs(input_ids=encoded.ids, attention_mask=encoded.mask(what_if.hidden_tokens))
    respond = from_classes if model.network.config.model_type == "vilt" else from_decoder
    with model.turn():
        ranking, weights = respond(model, words, model.inputs(**pixels), what_if)
    return Answer(ranking, PatchMap((weights / weights.max().clamp_min(1e-12)).cpu().numpy()), unknown(model, encoded))


def from_classes(model: Model, words: dict, pixels: dict, what_if: WhatIf) -> tuple[Ranking, torch.Tensor]:
    """Choose among a closed list of answers (ViLT: words and patches in one stream); weights (row, column).

    ViLT draws its patches in random order: they are embedded first, to know which one is where.
    Source: Kim et al. 2021; the weights: gradient x attention, Chefer et al. 2021, eq. 5-6.
    """
    network, values = model.network, pixels["pixel_values"]
    real = pixels.get("pixel_mask", torch.ones_like(values[:, 0], dtype=torch.long))
    with torch.no_grad():
        embedded = network.vilt.embeddings.visual_embed(values, real, network.config.max_image_length)
        patches, seen, (places, grid) = embedded
        number = places[0, :, 0] * grid[1] + places[0, :, 1]  # (patch): its number in the picture, row by row
        seen = hide(seen, torch.cat([number.new_tensor([-1]), number]), what_if, grid[0] * grid[1])
    with torch.enable_grad(), attention.watch(network, record=True, silenced=what_if.silenced_heads) as probe:
        output = network(**words, image_embeds=patches.requires_grad_(), pixel_mask=seen, output_attentions=True)
        chances = probabilities(output.logits)[0]
        gradients = torch.autograd.grad(output.logits[0, chances.argmax()], probe.weights)
    flow = torch.eye(probe.weights[0].shape[-1], device=chances.device)
    for weights, gradient in zip(probe.weights, gradients, strict=True):
        flow = flow + (weights * gradient).float().clamp_min(0).mean(1)[0].detach() @ flow  # (query, key)
    relevance = torch.zeros(grid[0] * grid[1], device=chances.device)
    relevance[number] = flow[0, -len(number) :]  # from where the answer is read, the first token
    return rank(chances.detach().cpu(), network.config.id2label.get), relevance.unflatten(0, grid)


@torch.inference_mode()
def from_decoder(model: Model, words: dict, pixels: dict, what_if: WhatIf) -> tuple[Ranking, torch.Tensor]:
    """Write answers word by word (BLIP); each one's probability is the product of its words'. Weights (row, column).

    The likeliest first words are each carried on greedily.
    Source: Li et al. 2022; the weights: the question's cross-attention, averaged over layers, heads and words.
    """
    network, tokenizer = model.network, model.tokenizer
    seen = network.vision_model(**pixels).last_hidden_state  # (1, 1 + patches, size)
    side = int((seen.shape[1] - 1) ** 0.5)
    places = torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device)
    places = hide(places, torch.arange(-1, side * side, device=seen.device), what_if, side * side)[0].bool()
    with attention.watch(network.text_encoder, silenced=what_if.silenced_heads):
        # Hidden patches are left out: Transformers 5.23 drops the mask that BLIP's cross-attention is given.
        question = network.text_encoder(**words, encoder_hidden_states=seen[:, places], output_attentions=True)
    start, end = network.config.text_config.bos_token_id, network.config.text_config.sep_token_id
    start = getattr(network, "decoder_start_token_id", start)
    hidden = question.last_hidden_state[:, words["attention_mask"][0].bool()]

    def chances(ids: torch.Tensor) -> torch.Tensor:  # (answers, words so far) -> (answers, vocabulary)
        many = len(ids)
        output = network.text_decoder(
            input_ids=ids,
            encoder_hidden_states=hidden.expand(many, -1, -1),
        )
        return probabilities(output.logits[:, -1])

    values, firsts = chances(torch.tensor([[start]], device=seen.device))[0].topk(limits.CHOICES)
    ids = torch.stack([torch.full_like(firsts, start), firsts], 1)  # (answers, 2)
    for _ in range(limits.ANSWER_TOKENS - 1):
        done = (ids[:, 1:] == end).any(1)
        if done.all():
            break
        best, following = chances(ids).max(-1)
        values = torch.where(done, values, values * best)
        ids = torch.cat([ids, torch.where(done, end, following)[:, None]], 1)
    texts = [tokenizer.decode([token for token in row[1:] if token != end]).strip() for row in ids.tolist()]
    order = values.argsort(descending=True).tolist()
    ranking = Ranking(tuple(texts[at] or "∅" for at in order), tuple(float(values[at]) for at in order))
    looks = torch.zeros(side * side, device=seen.device)
    looked = torch.cat(question.cross_attentions).float()  # (layer, head, word, place)
    looks[places[1:]] = looked.mean((0, 1, 2))[1:]
    return ranking, looks.unflatten(0, (side, side))


def hide(seen: torch.Tensor, numbers: torch.Tensor, what_if: WhatIf, patches: int) -> torch.Tensor:
    """Return the mask (1, places) without the hidden patches; `numbers` says which patch is at which place.

    Raises NoSuchPart and HiddenEverything.
    """
    for patch in what_if.hidden_patches:
        if not 0 <= patch < patches:
            raise NoSuchPart(part="patch", found=patch + 1, limit=patches)
    if len(what_if.hidden_patches) == patches:
        raise HiddenEverything()
    hidden = torch.tensor(sorted(what_if.hidden_patches), device=seen.device, dtype=numbers.dtype)
    return seen.masked_fill(torch.isin(numbers, hidden)[None], 0)


def unknown(model: Model, encoded: Encoded) -> tuple[str, ...]:
    """Return the words of the question that are not in the model's vocabulary."""
    return tuple(
        shown.strip()
        for token, shown in zip(encoded.ids, encoded.shown, strict=True)
        if token == model.tokenizer.unk_token_id
    )
