"""Linear layers at 8 or 4 bits a weight: what compression takes from a model, and what it leaves.

8 bits: every row of weights has one scale, the largest weight of the row being 127 of it. 4 bits: every GROUP weights of a row
have 16 values between their smallest and their largest. Layers whose rows are no whole number of groups stay as they are. On
a processor the products are torch's own kernels, in bfloat16; elsewhere the weights are spread out again for every product.

Source: Dettmers et al. 2022 (LLM.int8(), rows); Frantar et al. 2023 (GPTQ, groups; here without its corrections).
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.halves import replace_linear

BITS = (8, 4)
GROUP = 32  # weights that share a scale, of 4 bits


class SqueezedLinear(nn.Module):
    """A linear layer whose weights, (out, in), are whole numbers and their scales."""

    def __init__(self, weight: Tensor, bias: Tensor | None, bits: int):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bits = bits if self.out_features % 16 == 0 else 8  # the kernel of 4 bits takes 16 rows at a time
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        numbers, scales = (to_rows if self.bits == 8 else to_groups)(weight.detach().float().contiguous())
        if weight.device.type == "cpu":
            scales = scales.bfloat16()
            numbers = (
                numbers if self.bits == 8 else torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers.int(), 1)
            )
        elif self.bits == 4:
            numbers = numbers[:, ::2] << 4 | numbers[:, 1::2]
        self.register_buffer("numbers", numbers)  # 8 bits: int8 (out, in); 4 bits: two in a byte
        self.register_buffer("scales", scales)  # 8 bits: (out); 4 bits: (in / GROUP, out, 2), step and middle

    @property
    def bytes(self) -> int:
        """What the weights take, with their scales."""
        return sum(one.numel() * one.element_size() for one in (self.numbers, self.scales))

    @property
    def weight(self) -> Tensor:
        """The weights as float32 (out, in), spread out anew each time."""
        if self.bits == 8:
            return self.numbers.float() * self.scales.float()[:, None]
        if self.numbers.device.type == "cpu":  # only the kernel knows how it keeps them
            return self._multiply(torch.eye(self.in_features)).T
        numbers = torch.stack([self.numbers >> 4, self.numbers & 15], -1).reshape(self.out_features, -1, GROUP)
        step, middle = self.scales.float().transpose(0, 1).unbind(-1)  # (out, in / GROUP)
        return ((numbers.float() - 8) * step[..., None] + middle[..., None]).reshape(self.out_features, -1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Multiply (..., in) into (..., out), of the same precision."""
        if inputs.device.type != "cpu":
            return functional.linear(inputs, self.weight.to(inputs.dtype), self.bias)
        product = (
            Product.apply(inputs, self) if inputs.requires_grad and torch.is_grad_enabled() else self._multiply(inputs)
        )
        return product if self.bias is None else product + self.bias

    def _multiply(self, inputs: Tensor) -> Tensor:
        rows = inputs.reshape(-1, self.in_features).bfloat16()
        if self.bits == 8:
            product = torch.ops.aten._weight_int8pack_mm(rows, self.numbers, self.scales)
        else:
            product = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.numbers, GROUP, self.scales)
        return product.to(inputs.dtype).reshape(*inputs.shape[:-1], self.out_features)


class Product(torch.autograd.Function):
    """The product of a SqueezedLinear on a processor, for gradients of its inputs."""

    @staticmethod
    def forward(context, inputs: Tensor, layer: SqueezedLinear) -> Tensor:
        context.layer = layer
        return layer._multiply(inputs)

    @staticmethod
    def backward(context, slope: Tensor):
        return slope @ context.layer.weight.to(slope.dtype), None


def to_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights (out, in) as int8 and the scale of each row, (out)."""
    scales = (weight.abs().amax(1) / 127).clamp_min(1e-12)
    return (weight / scales[:, None]).round().clamp(-127, 127).to(torch.int8), scales


def to_groups(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights (out, in) as uint8 from 0 to 15, and step and middle of each group, (in / GROUP, out, 2)."""
    groups = weight.reshape(len(weight), -1, GROUP)
    low = groups.amin(-1)
    steps = ((groups.amax(-1) - low) / 15).clamp_min(1e-12)
    numbers = ((groups - low[..., None]) / steps[..., None]).round().clamp(0, 15).to(torch.uint8)
    return numbers.reshape(weight.shape), torch.stack([steps, low + 8 * steps], -1).transpose(0, 1).contiguous()


def squeeze(network: nn.Module, bits: int) -> None:
    """Put a SqueezedLinear in the place of every linear layer; tables of words stay as they are."""
    tables = {id(table.weight) for table in network.modules() if isinstance(table, nn.Embedding)}
    replace_linear(network, partial(squeezed, tables=tables, bits=bits))


def squeezed(layer: nn.Module, weight: Tensor, tables: set[int], bits: int) -> SqueezedLinear | None:
    """Return what stands in for a layer, None where it stays: a table of words, or rows that are no whole groups."""
    fits = id(layer.weight) not in tables and weight.shape[1] % GROUP == 0
    return SqueezedLinear(weight, layer.bias, bits) if fits else None
