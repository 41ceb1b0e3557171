"""What a network computed while it read a text, kept for a while: every view of it comes from that one run."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from core import attention, layers, limits
from core.attention import Wanted
from core.calls import Call, Seen
from core.errors import AttentionUnreadable
from core.models import Model, when_evicted
from core.results import WhatIf
from core.tokens import Encoded


@dataclass(frozen=True, slots=True)
class Trace:
    """One text read by one network."""

    calls: tuple[Call | Seen, ...]  # by layer
    norms: tuple[Tensor, ...]  # by layer, (head, key): the length of what is carried; none where that is not known
    chances: Tensor | None  # (labels or vocabulary): what the model says; None where nothing is asked of it
    asked: int | None  # the token in whose place it says so; None where a text has one answer
    prepared: dict  # what was worked out of it once, by name

    @property
    def bytes(self) -> int:
        """What it takes to keep it."""
        held = [tensor for call in self.calls for tensor in fields_of(call)] + [*self.norms]
        prepared = sum(one.nbytes for one in self.prepared.values() if isinstance(one, np.ndarray))
        return prepared + sum({one.data_ptr(): one.untyped_storage().nbytes() for one in held}.values())


def fields_of(call: Call | Seen) -> list[Tensor]:
    """Return the tensors a call keeps."""
    values = [call.all] if isinstance(call, Seen) else [call.query, call.key, call.mask, call.bias]
    return [value for value in values if value is not None]


_kept: OrderedDict[tuple, Trace] = OrderedDict()  # least recently used first
_guard = threading.Lock()


def trace(model: Model, encoded: Encoded, what_if: WhatIf) -> Trace:
    """Return the trace of a text: kept, or made now by one forward pass.

    Raises NoSuchPart, HiddenEverything, TooBusy, AttentionUnreadable.
    """
    key = (weakref.ref(model.network), tuple(encoded.ids), what_if)
    with _guard:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    made = read(model, encoded, what_if)
    with _guard:
        _kept[key] = made
        while len(_kept) > 1 and sum(one.bytes for one in _kept.values()) > limits.TRACE_BYTES:
            _kept.popitem(last=False)
    return made


def forget(model: Model) -> None:
    """Drop the traces of a network that is put away."""
    with _guard:
        for key in [key for key in _kept if key[0]() in (model.network, None)]:
            del _kept[key]


when_evicted.append(forget)


@torch.inference_mode()
def read(model: Model, encoded: Encoded, what_if: WhatIf) -> Trace:
    """Read a text once, in one turn at the device, and keep what its attention was asked."""
    return model.run(partial(read_now, model, encoded, what_if))


def read_now(model: Model, encoded: Encoded, what_if: WhatIf) -> Trace:
    """Read a text at the device."""
    network = model.network
    inputs = model.inputs(input_ids=encoded.ids, attention_mask=encoded.mask(what_if.hidden_tokens))
    asked = place_asked(model, encoded.ids)
    wanted = Wanted("encoder" if network.config.is_encoder_decoder else "text", layers=())
    with attention.watch(network, wanted, what_if.silenced_heads, keep=True) as probe:
        logits = ask(model, inputs, [] if asked is None else [asked])
    if not probe.calls or any(call.tokens != len(encoded.ids) for call in probe.calls.values()):
        raise AttentionUnreadable(name=model.card.name)
    order = sorted(probe.calls)
    norms = tuple(probe.norms[layer] for layer in order) if probe.norms.keys() == probe.calls.keys() else ()
    chances = logits[0, -1 if logits.ndim == 3 else slice(None)].float().softmax(-1).cpu()
    answers = asked is not None or layers.says_once(network)
    return Trace(tuple(probe.calls[layer] for layer in order), norms, chances if answers else None, asked, {})


def place_asked(model: Model, ids: Sequence[int]) -> int | None:
    """Return the token in whose place a model says something: the first blank, or the last token of a writer."""
    if layers.says_once(model.network):
        return None
    mask = model.tokenizer.mask_token_id
    if mask is None:
        return len(ids) - 1
    return list(ids).index(mask) if mask in ids else None


def ask(model: Model, inputs: dict[str, Tensor], places: Sequence[int]) -> Tensor:
    """Run the network and return its logits, of a text's labels or at no more places than are needed.

    All of them would be the largest thing by far that a reader of a long text has to hold.
    """
    network = model.network
    extras = {"output_attentions": True} if network.config._attn_implementation != attention.NAME else {}
    if network.config.is_encoder_decoder:  # what it would begin to answer with
        extras["decoder_input_ids"] = torch.tensor([[begin_of(network)]], device=network.device)
    if layers.says_once(network):
        return network(**inputs, **extras).logits
    places = places or [0]
    with layers.narrowed(network, places, inputs["input_ids"].shape[1]) as options:
        logits = network(**inputs, **options, **extras).logits
    return logits if logits.shape[1] == len(places) else logits[:, places]


def begin_of(network: PreTrainedModel) -> int:
    """Return the token an encoder's decoder begins to write with."""
    found = (getattr(network.config, name, None) for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"))
    return next((token for token in found if token is not None), 0)
