"""The hook into Transformers' AttentionInterface: record what every head looks at, and silence heads.

SDPA does the work for everybody; the weights are worked out beside it only while somebody is watching.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from core.errors import NoSuchPart

NAME = "glassbox"


@dataclass
class Probe:
    """What is recorded and silenced while a network runs."""

    layers: int
    record: bool
    silenced: frozenset[tuple[int, int]]  # (layer, head)
    weights: list[torch.Tensor] = field(default_factory=list)  # one (batch, head, query, key) for each call of a layer
    calls: int = 0  # layers run so far: a network calls them in order

    def heads_to_silence(self) -> list[int]:
        """Return the heads to silence in the layer that runs now, and count the call."""
        layer = self.calls % self.layers
        self.calls += 1
        return [head for silenced, head in self.silenced if silenced == layer]


_probe: ContextVar[Probe | None] = ContextVar("probe", default=None)


def attend(module, query, key, value, attention_mask, scaling=None, **options):
    """Attend by SDPA; record the weights and silence heads when watched.

    query: (batch, head, query, size); key, value: (batch, key head, key, size). Returns (batch, query, head, size), None.
    Source: Vaswani et al. 2017, eq. 1.
    """
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    probe = _probe.get()
    if probe is None:
        return output, None
    if probe.record:
        causal = options.get("is_causal")
        causal = getattr(module, "is_causal", True) if causal is None else causal
        bias = options.get("position_bias")
        probe.weights.append(weigh(query, key, attention_mask, scaling, causal, bias))
    heads = probe.heads_to_silence()
    if heads:
        output = output.index_fill(2, torch.tensor(heads, device=output.device), 0)  # a copy: gradients need the other
    return output, None


def weigh(query, key, mask, scaling, causal, bias) -> torch.Tensor:
    """Return the weights SDPA used: float32 (batch, head, query, key), every row summing to 1."""
    key = repeat_kv(key, query.shape[1] // key.shape[1])
    logits = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    logits = logits.float() + (0 if bias is None else bias)
    queries, keys = logits.shape[-2:]
    if mask is None and causal and queries > 1:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril()
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    return logits.softmax(-1).nan_to_num(0.0)  # a row that may look at nothing looks at nothing


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def implementation_for(network_class: type[PreTrainedModel]) -> str:
    """Return our hook where the architecture calls the interface, else "eager" (ViLT, BLIP)."""
    return NAME if network_class._supports_sdpa else "eager"


def counts(network: PreTrainedModel) -> tuple[int, int]:
    """Return how many layers the network has, and heads a layer."""
    config = network.config.get_text_config()
    return config.num_hidden_layers, config.num_attention_heads


@contextmanager
def watch(
    network: PreTrainedModel, record: bool = False, silenced: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[Probe]:
    """Record attention and silence heads in this thread while the block runs.

    A network that is not on the interface must be called with `output_attentions=True` for its weights to be recorded.
    Raises NoSuchPart for a layer or head that is not there.
    """
    layers, heads = counts(network)
    for layer, head in silenced:
        if not 0 <= layer < layers:
            raise NoSuchPart(part="layer", found=layer + 1, limit=layers)
        if not 0 <= head < heads:
            raise NoSuchPart(part="head", found=head + 1, limit=heads)
    probe = Probe(layers, record, silenced)
    hooks = []
    if network.config._attn_implementation != NAME:
        modules = [
            module
            for name, module in network.named_modules()
            if type(module).__name__.endswith("SelfAttention")
            and "crossattention" not in name  # BLIP's, of the same class
        ]
        hooks = [module.register_forward_hook(_eager_hook(probe)) for module in modules]
    token = _probe.set(probe)
    try:
        yield probe
    finally:
        _probe.reset(token)
        for hook in hooks:
            hook.remove()


def _eager_hook(probe: Probe):
    """Return a hook that records and silences in a module that returns (context, weights)."""

    def hook(module, inputs, outputs):
        context, *weights = outputs  # (batch, query, head x size)
        if _probe.get() is not probe:  # another visitor's call, in another thread
            return outputs
        if probe.record and weights and weights[0] is not None:
            probe.weights.append(weights[0])
        heads = probe.heads_to_silence()
        if heads:
            context = context.unflatten(-1, (module.num_attention_heads, -1)).clone()
            context[:, :, heads] = 0
            context = context.flatten(-2)
        return (context, *weights)

    return hook
