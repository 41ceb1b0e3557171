"""What each layer would have said, had it been the last: the logit lens, on any network of stacked layers.

No norm and no head is looked for by name: what every layer hands on is put, as a batch, where the last one hands on its
own, and the network itself does to it whatever it does to that.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from core import anatomy
from core.errors import AttentionUnreadable


def says_labels(network: PreTrainedModel) -> bool:
    """Whether a network gives a text one label, rather than every place a token."""
    return "SequenceClassification" in type(network).__name__


def says_once(network: PreTrainedModel) -> bool:
    """Whether a network says one thing of a whole text: its label, or what a decoder behind it begins with."""
    return says_labels(network) or network.config.is_encoder_decoder


@contextmanager
def narrowed(network: PreTrainedModel, places: Sequence[int], tokens: int, every: bool = False) -> Iterator[dict]:
    """Let a network say something in a few places only: its logits are (text, place, vocabulary).

    Gives the options to call it with. tokens: of a text; every: of one text (layer + 1, place, vocabulary), from what went
    into the first layer to what came out of the last. A network whose layers are not found says all it would have said.
    Raises AttentionUnreadable for layers that hand on something else than the text's tokens.
    Source: nostalgebraist 2020 ("interpreting GPT: the logit lens").
    """
    stack = anatomy.blocks(network)
    keeps = "logits_to_keep" in inspect.signature(network.forward).parameters
    places = list(places)
    said: list[Tensor] = []  # by layer: (text, place, size)

    def enter(module, inputs, named):
        said.append((inputs[0] if inputs else named["hidden_states"])[:, places])

    def leave(module, inputs, outputs):
        several = isinstance(outputs, tuple | list)
        hidden = outputs[0] if several else outputs  # (text, token, size)
        if hidden.ndim != 3 or hidden.shape[1] != tokens:  # CPM-Ant puts tokens of its own before the text
            raise AttentionUnreadable(name=network.config.model_type)
        said.append(hidden[:, places])
        if module is not stack[-1]:
            return None
        spoken = torch.cat(said if every else said[-1:])  # (text, or layer, place, size)
        if keeps:  # the network names its last places: those asked for are put there
            spoken = torch.cat([hidden[:, : hidden.shape[1] - len(places)].expand(len(spoken), -1, -1), spoken], 1)
        return (spoken, *outputs[1:]) if several else spoken

    if not stack:
        yield {}
        return
    hooks = [stack[0].register_forward_pre_hook(enter, with_kwargs=True)] if every else []
    hooks += [layer.register_forward_hook(leave) for layer in (stack if every else stack[-1:])]
    try:
        yield {"logits_to_keep": len(places), "use_cache": False} if keeps else {}
    finally:
        for hook in hooks:
            hook.remove()


def say_all(network: PreTrainedModel, inputs: dict[str, Tensor], places: Sequence[int]) -> Tensor:
    """Return what every layer would have said in some places: logits (layer + 1, place, vocabulary).

    Raises AttentionUnreadable for a network whose layers cannot be told apart, or that says one thing of a whole text.
    """
    stack: list[nn.Module] = anatomy.blocks(network)
    if not stack or says_once(network):
        raise AttentionUnreadable(name=network.config.model_type)
    with narrowed(network, places, inputs["input_ids"].shape[1], every=True) as options:
        try:
            logits = network(**inputs, **options).logits
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # GPT-BigCode insists on as many texts behind its layers as before them
            raise AttentionUnreadable(name=network.config.model_type) from error
    if logits.shape[:2] != (len(stack) + 1, len(places)):
        raise AttentionUnreadable(name=network.config.model_type)
    return logits
