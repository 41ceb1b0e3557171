"""Linear layers at half the bytes: weights are kept in half precision, everything is worked out in float32.

On a processor a token costs what it takes to fetch the weights from memory. Half precision (11 bits, of which bfloat16
checkpoints fill 8) halves that, and FBGEMM multiplies it with float32 inputs as exactly as float32 weights. Each row of its
result is the same whatever other rows are worked out beside it, which keeps a story the same alone and in company.

Small networks are halved where that changes nothing; large ones are rounded, as they are to bfloat16 on a card.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor, nn
from torch.backends import quantized
from transformers.pytorch_utils import Conv1D

Places = list[tuple[nn.Module, str]]  # of a layer: the modules that have it, and its name there; several may share one
MOST = torch.finfo(torch.float16).max
LEAST = 2.0**-24  # what half precision may round away of a weight that it holds: bfloat16's smallest ones


class HalfLinear(nn.Module):
    """A linear layer whose weights, (out, in), are packed in half precision."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._packed = pack(weight, bias)
        self._back = None  # the transposed weights, once a gradient was asked for

    @property
    def weight(self) -> Tensor:
        """The weights as float32 (out, in), unpacked anew each time."""
        return torch.ops.quantized.linear_unpack_fp16(self._packed)[0].float()

    @property
    def bias(self) -> Tensor | None:
        """The bias, (out)."""
        return torch.ops.quantized.linear_unpack_fp16(self._packed)[1]

    @property
    def bytes(self) -> int:
        """What the weights take."""
        return 2 * self.in_features * self.out_features

    def forward(self, inputs: Tensor) -> Tensor:
        """Multiply (..., in) into (..., out), of the same precision."""
        if inputs.requires_grad and torch.is_grad_enabled():
            return Product.apply(inputs, self)
        return multiply(inputs, self._packed)

    def back(self, slope: Tensor) -> Tensor:
        """Return the gradient of the inputs, (..., in), from that of the outputs, (..., out)."""
        if self._back is None:
            self._back = pack(self.weight.T)
        return multiply(slope, self._back)


class Product(torch.autograd.Function):
    """The product of a HalfLinear, for gradients of its inputs."""

    @staticmethod
    def forward(context, inputs: Tensor, layer: HalfLinear) -> Tensor:
        context.layer = layer
        return multiply(inputs, layer._packed)

    @staticmethod
    def backward(context, slope: Tensor):
        return context.layer.back(slope), None


def pack(weight: Tensor, bias: Tensor | None = None):
    """Pack weights (out, in) the way FBGEMM reads them."""
    bias = None if bias is None else bias.detach().to(torch.float32, copy=True)  # or it holds on to the file it is from
    return torch.ops.quantized.linear_prepack_fp16(weight.detach().float().contiguous(), bias)


def multiply(inputs: Tensor, packed) -> Tensor:
    """Multiply by packed weights, in float32."""
    if inputs.ndim == 1:
        return multiply(inputs[None], packed)[0]
    product = torch.ops.quantized.linear_dynamic_fp16(inputs.float(), packed)
    return product.to(inputs.dtype)


def serve(place: torch.device) -> bool:
    """Whether a device has the kernel: processors with AVX2, which other kinds of processors have not."""
    return (
        place.type == "cpu"
        and "fbgemm" in quantized.supported_engines
        and torch.cpu.get_capabilities().get("avx2", False)
    )


def halve(network: nn.Module, rounded: bool) -> None:
    """Put a HalfLinear in the place of every linear layer whose weights half precision holds: exactly, or rounded."""
    replace_linear(network, partial(halved, rounded=rounded))


def halve_behind(network: nn.Module, rounded: bool) -> Iterator[int]:
    """Do as `halve` while the network is in use: layers are packed in a thread of its own, beside what the network does.

    A step puts those in their places that are ready, between two passes, so that each finds a layer as it was or as it will
    stay; it yields how many are to come.
    """
    packer = ThreadPoolExecutor(1, "packing")
    try:
        layers = reversed(linear_layers(network).items())
        todo = deque((packer.submit(halved, layer, weight_of(layer), rounded), places) for layer, places in layers)
        while todo:
            while todo and todo[0][0].done():
                made, places = todo.popleft()
                put(made.result(), places)
            yield len(todo)
    finally:
        packer.shutdown(wait=False, cancel_futures=True)


def halved(layer: nn.Module, weight: Tensor, rounded: bool) -> HalfLinear | None:
    """Return what stands in for a layer, None where it stays."""
    return HalfLinear(weight, layer.bias) if holds(weight, rounded) else None


def replace_linear(network: nn.Module, other: Callable[[nn.Module, Tensor], nn.Module | None]) -> None:
    """Put another layer in the place of every linear one: what `other` makes of it and its weights (out, in), if anything.

    One layer after the other, so that no more than one is in memory twice.
    """
    layers = linear_layers(network)
    while layers:
        layer, places = layers.popitem()
        put(other(layer, weight_of(layer)), places)


def linear_layers(network: nn.Module) -> dict[nn.Module, Places]:
    """Return the linear layers of a network and where they are."""
    found = {}
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) in (nn.Linear, Conv1D):
                found.setdefault(child, []).append((module, name))
    return found


def weight_of(layer: nn.Module) -> Tensor:
    """Return a linear layer's weights, (out, in)."""
    return layer.weight.T if type(layer) is Conv1D else layer.weight


def put(made: nn.Module | None, places: Places) -> None:
    """Put a layer in its places, if there is one."""
    for module, name in places if made is not None else ():
        setattr(module, name, made)


def holds(weight: Tensor, rounded: bool) -> bool:
    """Whether half precision holds these weights: as they are, as it does those of a bfloat16 checkpoint, or rounded."""
    if rounded:
        low, high = weight.aminmax()
        return bool(-low <= MOST and high <= MOST)
    return bool((weight.half().float() - weight).abs().max() <= LEAST)
