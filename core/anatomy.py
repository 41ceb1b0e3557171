"""Where a network keeps its layers, its attentions and what puts their heads together: by what Transformers calls them."""

import re

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.pytorch_utils import Conv1D

# Where heads are put together again, in the words of Transformers' architectures.
PROJECTIONS = ("o_proj", "out_proj", "c_proj", "out_lin", "Wo", "o", "dense", "projection", "proj")
LAYER = re.compile(r"\.(\d+)(?=\.|$)")  # of a module's name: the first number in it
PICTURE = re.compile("vision|visual|image|perceiver|connector|resampler|qformer")


def counts(network: PreTrainedModel, part: str = "text") -> tuple[int, int]:
    """Return how many layers of a part of the network attend, and heads a layer: none of a network without attention."""
    config = network.config.get_text_config()
    names = {layer: name for where, layer, name in places(network).values() if where == part}
    layers = config.num_hidden_layers if len(names) == 1 and serves_for_all(network, *names.values()) else len(names)
    return layers, getattr(config, "num_attention_heads", 0)


def serves_for_all(network: PreTrainedModel, name: str) -> bool:
    """Whether one attention is that of every layer (ALBERT), rather than of the only layer that attends."""
    return len(network.get_submodule(name[: LAYER.search(name).start()])) < network.config.num_hidden_layers


def places(network: nn.Module) -> dict[nn.Module, tuple[str, int, str]]:
    """Return part, layer and name of every attention in a network: the innermost of what is called so.

    The layers of a part are counted among those that attend: in some networks others do not.
    """
    called = [
        (name, module)
        for name, module in network.named_modules()
        if "Attention" in type(module).__name__ and LAYER.search(name)
    ]
    found = [(name, one) for name, one in called if not any(other.startswith(f"{name}.") for other, _ in called)]
    decodes = any("decoder" in name.split(".") for name, _ in found)
    where = {module: (part_of(name, decodes), int(LAYER.search(name)[1]), name) for name, module in found}
    known = {
        part: sorted({layer for other, layer, _ in where.values() if other == part}) for part, *_ in where.values()
    }
    return {module: (part, known[part].index(layer), name) for module, (part, layer, name) in where.items()}


def part_of(name: str, decodes: bool) -> str:
    """Return the part of a network an attention belongs to, by its name; `decodes`: there are encoder and decoder."""
    where = name.lower()
    if PICTURE.search(where):
        return "picture"
    if "cross" in where or "encdec" in where or "encoder_attn" in where:
        return "cross"
    return "encoder" if decodes and "decoder" not in where.split(".") else "text"


def blocks(network: PreTrainedModel) -> list[nn.Module]:
    """Return the layers of the stack that reads text, first to last.

    None where several share one (ALBERT) or not all attend.
    """
    names = {
        layer: name[: LAYER.search(name).end()]
        for part, layer, name in places(network).values()
        if part == "text" and LAYER.search(name).end() < len(name)  # in XLM attentions stand beside the rest of a layer
    }
    found = [network.get_submodule(names[layer]) for layer in sorted(names)]
    return found if len(found) == network.config.get_text_config().num_hidden_layers else []


def projection_of(network: nn.Module, name: str, module: nn.Module) -> nn.Module | None:
    """Return what puts an attention's heads together again: its own part, or beside it (BERT), None if neither is known."""
    beside = getattr(network.get_submodule(name.rpartition(".")[0]), "output", None)
    children = [getattr(holder, one, None) for holder in (module, beside) for one in PROJECTIONS]
    return next((child for child in children if getattr(getattr(child, "weight", None), "ndim", 0) == 2), None)


def value_norms(value: Tensor, projection: nn.Module, heads: int) -> Tensor | None:
    """Return the length of what each head carries from each token, behind the output projection: float32 (head, key).

    value: (1, key head, key, size).
    """
    weight = projection.weight.detach().float()
    weight = weight.T if isinstance(projection, Conv1D) else weight  # (out, in)
    value = repeat_kv(value.detach(), heads // value.shape[1])[0].float()  # (head, key, size)
    weight = weight.unflatten(1, (heads, -1))  # (out, head, size)
    squares = torch.einsum("ohi,ohj->hij", weight, weight)
    return torch.einsum("hki,hij,hkj->hk", value, squares, value).clamp_min(0).sqrt()
