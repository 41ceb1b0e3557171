"""The hook into Transformers' AttentionInterface: record what heads look at, keep what they computed, silence them.

SDPA does the work for everybody; weights are worked out beside it, and only of the layers, heads and rows asked for.
Architectures that do not call the interface (ViLT, BLIP's text part) run eager and are read and silenced by hooks.
"""

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from core.anatomy import counts, places, projection_of, value_norms
from core.calls import Call, Seen, weighed_sum
from core.errors import AttentionUnreadable, NoSuchPart

NAME = "glassbox"
OURS = ("gemma2", "vaultgemma", "gpt_oss")  # what they ask for SDPA cannot do: a cap on logits, a look at nothing
# What architectures hand to their attention beside its arguments, as far as it is known here what to do with it.
KNOWN = ("position_bias", "softcap", "s_aux", "dropout")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose weights are recorded. Everything of the stack that reads text, by default."""

    part: str = "text"  # "text", "encoder" and "cross" of a network that has a decoder too, or "picture"
    layers: Collection[int] | None = None
    heads: Sequence[int] | None = None
    rows: Sequence[int] | slice | None = None  # queries


@dataclass
class Probe:
    """What is recorded, kept and silenced while a network runs."""

    network: PreTrainedModel
    wanted: Wanted
    record: bool
    keep: bool
    gradient: bool
    silenced: frozenset[tuple[int, int]]  # (layer, head) of the wanted part
    weights: dict[int, Tensor] = field(default_factory=dict)  # by layer, of its last call: (batch, head, row, key)
    calls: dict[int, Call | Seen] = field(default_factory=dict)  # by layer, where they are kept
    norms: dict[int, Tensor] = field(default_factory=dict)  # by layer, where they are kept: (head, key)

    def __post_init__(self):
        self._places = places(self.network)
        self._layers, self.heads = counts(self.network, self.wanted.part)
        self.times = Counter()  # calls of a module: several layers may share one (ALBERT)
        self._shared = sum(part == self.wanted.part for part, *_ in self._places.values()) == 1 < self._layers

    def layer_of(self, module: nn.Module) -> int | None:
        """Return the layer a call of a module belongs to, None for another part of the network; counts the call."""
        where, layer, _ = self._places.get(module, (None, None, None))
        if where != self.wanted.part:
            return None
        if self._shared:
            layer = self.times[module] % self._layers
        self.times[module] += 1
        return layer

    def take(self, layer: int, call: Call | Seen) -> None:
        """Record and keep what is asked for of a layer."""
        if self.record and (self.wanted.layers is None or layer in self.wanted.layers):
            self.weights[layer] = call.weights(self.wanted.heads, self.wanted.rows)
        if self.keep:
            self.calls[layer] = call.kept(self._layers)

    def take_norms(self, layer: int, module: nn.Module, value: Tensor) -> None:
        """Keep how long what each head carries from each token is, once it has gone through the output projection.

        Source: Kobayashi et al. 2020 ("Attention is not only a weight"), eq. 5.
        """
        *_, name = self._places[module]
        projection = projection_of(self.network, name, module) if self.keep else None
        if projection is not None:
            self.norms[layer] = value_norms(value, projection, self.heads)

    def heads_to_silence(self, layer: int) -> list[int]:
        """Return the heads that fall silent in a layer."""
        return [head for silenced, head in self.silenced if silenced == layer]


_probe: ContextVar[Probe | None] = ContextVar("probe", default=None)


def attend(module, query, key, value, attention_mask, scaling=None, **options):
    """Attend by SDPA; record, keep and silence when watched.

    query: (batch, head, query, size); key, value: (batch, key head, key, size). Returns (batch, query, head, size), None.
    """
    causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    extras = [options.get(name) for name in ("softcap", "s_aux")]
    if any(isinstance(one, Tensor) and one.is_floating_point() for name, one in options.items() if name not in KNOWN):
        raise AttentionUnreadable(name=module.config.model_type)  # it attends in a way of its own
    call = Call(query, key, attention_mask, options.get("position_bias"), scaling, causal, *extras)
    probe = _probe.get()
    layer = None if probe is None else probe.layer_of(module)
    if extras != [None, None] or (layer is not None and probe.gradient):  # SDPA knows no extras, and shows no weights
        call = Seen(call.weights())
        output = weighed_sum(call.all, value)
    else:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    if layer is None:
        return output, None
    probe.take(layer, call)
    probe.take_norms(layer, module, value)
    heads = probe.heads_to_silence(layer)
    if heads:
        output = output.index_fill(2, torch.tensor(heads, device=output.device), 0)  # a copy: gradients need the other
    return output, None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def implementation_for(network_class: type[PreTrainedModel]) -> str:
    """Return our hook where the architecture calls the interface and SDPA, or we, can do what it asks for; else "eager"."""
    named = hasattr(sys.modules[network_class.__module__], "ALL_ATTENTION_FUNCTIONS")
    calls = named or network_class._supports_attention_backend
    able = network_class._supports_sdpa or network_class.config_class.model_type in OURS
    return NAME if calls and able else "eager"


@contextmanager
def watch(
    network: PreTrainedModel,
    record: Wanted | bool = False,
    silenced: frozenset[tuple[int, int]] = frozenset(),
    keep: bool = False,
    gradient: bool = False,
) -> Iterator[Probe]:
    """Record, keep and silence attention in this thread while the block runs.

    record: whose weights go into `probe.weights`, True for all of the part that reads text. keep: what is needed to work
    out any weights later goes into `probe.calls` and `probe.norms`. gradient: the recorded weights take part in what the
    network computes, so that gradients reach them. A network that is not on the interface must be called with
    `output_attentions=True` to be recorded.
    Raises NoSuchPart for a layer or head that is not there, AttentionUnreadable where heads cannot be silenced.
    """
    wanted = record if isinstance(record, Wanted) else Wanted()
    layers, heads = counts(network, wanted.part)
    if silenced and not layers:
        raise AttentionUnreadable(name=network.config.model_type)
    for layer, head in silenced:
        if not 0 <= layer < layers:
            raise NoSuchPart(part="layer", found=layer + 1, limit=layers)
        if not 0 <= head < heads:
            raise NoSuchPart(part="head", found=head + 1, limit=heads)
    probe = Probe(network, wanted, bool(record), keep, gradient, silenced)
    hooks = [] if network.config._attn_implementation == NAME else eager_hooks(probe)
    token = _probe.set(probe)
    try:
        yield probe
    finally:
        _probe.reset(token)
        for hook in hooks:
            hook.remove()
    if silenced and not hooks and not probe.times:  # nobody asked us: nothing was silenced (LongT5)
        raise AttentionUnreadable(name=network.config.model_type)


def eager_hooks(probe: Probe) -> list:
    """Hook an eager network: its attentions are recorded, and what goes into their projections is silenced.

    Raises AttentionUnreadable.
    """
    found = [
        (module, layer, name)
        for module, (part, layer, name) in places(probe.network).items()
        if part == probe.wanted.part
    ]
    hooks = [module.register_forward_hook(recorder(probe, layer)) for module, layer, _ in found]
    for layer in {layer for layer, _ in probe.silenced}:
        projections = [projection_of(probe.network, name, module) for module, at, name in found if at == layer]
        projections = {projection for projection in projections if projection is not None}
        if len(projections) != 1:
            raise AttentionUnreadable(name=probe.network.config.model_type)
        hooks.append(projections.pop().register_forward_pre_hook(silencer(probe, layer)))
    return hooks


def recorder(probe: Probe, layer: int):
    """Return a hook that takes the weights a module returns beside its result."""

    def hook(module, inputs, outputs):
        others = outputs[1:] if isinstance(outputs, tuple | list) else ()
        weights = [one for one in others if isinstance(one, Tensor) and are_weights(one.detach(), probe.heads)]
        if weights and _probe.get() is probe:  # not another visitor's call, in another thread
            probe.take(layer, Seen(weights[0]))

    return hook


def are_weights(found: Tensor, heads: int) -> bool:
    """Whether a tensor is (batch, head, query, key) and its rows are shares: of what comes beside a result not all is."""
    if found.ndim != 4 or found.shape[1] != heads:
        return False
    sums = found.float().sum(-1)
    return bool((found >= 0).all()) and bool(((sums - 1).abs() < 0.01).any()) and bool((sums < 1.01).all())


def silencer(probe: Probe, layer: int):
    """Return a hook that lets a projection hear nothing of silenced heads."""

    def hook(module, inputs):
        if _probe.get() is not probe:
            return None
        heads = inputs[0].unflatten(-1, (probe.heads, -1)).clone()  # (batch, query, head, size)
        heads[:, :, probe.heads_to_silence(layer)] = 0
        return (heads.flatten(-2), *inputs[1:])

    return hook
