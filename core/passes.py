"""What a network says comes next, and the pass that reads one token of each of several stories."""

import copy
import logging
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from types import FunctionType, MethodType

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # of numbers that would be constants: see `traced`
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")  # torch.jit looks at every attribute

log = logging.getLogger("glassbox")

# By kind of device: how torch.compile makes the pass. Transformers' registries change as others are loaded: not guarded.
COMPILED = {
    "cuda": {
        "options": {"triton.cudagraphs": True, "guard_filter_fn": torch.compiler.skip_guard_on_globals_unsafe},
    },
}
COMPILE_SECONDS = 300  # where it takes longer, nobody knows what it keeps busy
TRIES = 5  # passes compared before a compiled one is taken: some warm up, one is recorded, the others are played


@dataclass(frozen=True, slots=True)
class Said:
    """What a network says comes after a token."""

    log_probabilities: np.ndarray  # float32[vocabulary], of the full softmax
    offset: float  # what they lack to be the network's logits


def said_by(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities in float32, (..., vocabulary), and what they lack to be the logits, (..., 1)."""
    logits = logits.float()
    found = logits.log_softmax(-1)
    return found, logits[..., :1] - found[..., :1]


def rows_of(logits: Tensor) -> list[Said]:
    """Return what is said in every row of (row, vocabulary)."""
    found, offsets = said_by(logits)
    return [Said(row, offset) for row, offset in zip(found.cpu().numpy(), offsets[:, 0].tolist(), strict=True)]


class Slots(Cache):
    """Keys and values of one more token for each of several stories, written into the columns they are handed."""

    def __init__(self, columns: Sequence[Tensor], slots: Tensor):
        """columns: of each layer the keys and the values, (row, head, column, size); slots: (row), the column to write."""
        self.columns, self.slots, self.layers = columns, slots, []

    def update(self, key: Tensor, value: Tensor, layer: int, *others, **options) -> tuple[Tensor, Tensor]:
        """Write (row, head, 1, size) in its columns and return all of them, (row, head, column, size)."""
        keys, values = self.columns[2 * layer], self.columns[2 * layer + 1]
        rows = torch.arange(self.slots.shape[0], device=self.slots.device)
        keys[rows, :, self.slots] = key[:, :, 0]
        values[rows, :, self.slots] = value[:, :, 0]
        return keys, values

    def get_seq_length(self, layer: int = 0) -> int:
        return 0

    def get_mask_sizes(self, *others, **options) -> tuple[int, int]:
        return self.columns[0].shape[2], 0


class Next(nn.Module):
    """One pass over one token of each of several stories."""

    def __init__(self, network: PreTrainedModel):
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, slots: Tensor, *columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is said after each token, (row, vocabulary) and (row, 1).

        ids, slots: (row), the tokens and the columns they go to; the first token of a story is in column 1. A row that
        nobody waits for writes to column 0, which no story reads. columns: see Slots.
        """
        places = torch.arange(columns[0].shape[2], device=ids.device)
        seen = (places >= slots.clamp(max=1)[:, None]) & (places <= slots[:, None])  # (row, column)
        mask = torch.where(seen, 0.0, -torch.inf).to(columns[0].dtype)
        output = self.network(
            input_ids=ids[:, None],
            position_ids=(slots - 1).clamp(min=0)[:, None],
            attention_mask=mask[:, None, None],
            past_key_values=Slots(columns, slots),
            use_cache=True,
        )
        return said_by(output.logits[:, -1])


@torch.inference_mode()
def traced(run: Next) -> Callable:
    """Return the pass without Python's share of it, where that says the same; else the pass itself."""
    found = torch.jit.trace(run, tuple(made_up(run.network, 2, 24)), check_trace=False)
    return found if same(found, run, made_up(run.network, 3, 32), 1e-4) else run


def compiled(run: Next, **how) -> Callable:
    """Return the pass as torch.compile makes it, when it is first called, for any number of columns and of rows but one.

    how: options of torch.compile. The network is a twin of the same weights: what others hook into theirs, or look at in it,
    does not become part of the pass. Recorded as CUDA graphs, one for each shape, these hold:
    - Columns are inputs that are written to. torch records that only where their addresses are said to stay, and records
      anew where they moved all the same; so they are handed in whole, and kept as long as they are large enough.
    - What is returned lies where the next pass writes: it is to be read before.
    - Nothing is compiled for other inputs later on, in somebody's turn: these are worked out step by step.
    """
    twin = copy.deepcopy(run.network, {id(one): one for one in chain(run.network.parameters(), run.network.buffers())})
    twin.set_attn_implementation("sdpa")  # as ours where nobody watches
    how = {"options": dict(how.pop("options", {})), **how}  # torch takes what it knows out of it
    kept = {**globals()}  # torch puts what it compiles there
    forward = MethodType(FunctionType(Next.forward.__code__.replace(), kept), Next(twin))
    made = torch.compile(forward, dynamic=True, fullgraph=True, **how)
    stance = "default"

    def go(ids: Tensor, slots: Tensor, *columns: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal stance
        for column in columns:
            torch._dynamo.mark_static_address(column)
        torch.compiler.cudagraph_mark_step_begin()
        with torch.compiler.set_stance(stance):
            found = made(ids, slots, *columns)
        stance = "eager_on_recompile"
        return found

    weakref.finalize(go, let_go, kept)
    return go


def let_go(scope: dict[str, object]) -> None:
    """Empty the scope of what was compiled: torch holds on to it for as long as the classes live that it looked at."""
    scope.update(dict.fromkeys(scope))  # it still takes out names of its own


def succeeds(work: Callable[[], bool]) -> bool:
    """Return what comes of an attempt to be faster; False where it fails for want of a compiler, of memory, of anything."""
    try:
        return work()
    except Exception as error:  # each of the compilers behind torch.compile has classes of its own
        log.info("the pass over single tokens stays as it is: %s", type(error).__name__)
        return False


@torch.inference_mode()
def in_time(made: Callable, inputs: Sequence[Tensor]) -> bool:
    """Compile a pass by calling it; whether that took no longer than it may."""
    began = time.monotonic()
    made(*inputs)
    return time.monotonic() - began <= COMPILE_SECONDS


@torch.inference_mode()
def pays(made: Callable, run: Next) -> bool:
    """Whether a compiled pass says what the plain one does, in less time."""
    inputs, seconds = made_up(run.network, 2, 64), {made: [], run: []}
    if not same(made, run, inputs, torch.finfo(run.network.dtype).eps ** 0.5):
        return False
    for _ in range(TRIES):
        for one, spent in seconds.items():
            began = time.perf_counter()
            one(*inputs)[0].cpu()  # as it is waited for
            spent.append(time.perf_counter() - began)
    return min(seconds[made]) < min(seconds[run])


def same(one: Callable, other: Callable, inputs: Sequence[Tensor], most: float) -> bool:
    """Whether two passes say and write the same, time after time: log-probabilities differ by so much at most."""
    ids, slots, *columns = inputs
    apart = [[column.clone() for column in columns] for _ in range(2)]
    written = [[column[:, :, 1:] for column in mine] for mine in apart]  # column 0 is nobody's
    for number in range(TRIES):
        said = [run(ids + number, slots, *mine)[0][:-1].clone() for run, mine in zip((one, other), apart, strict=True)]
        if not all(torch.allclose(*pair, atol=most) for pair in (said, *zip(*written, strict=True))):
            return False
    return True


@torch.inference_mode()
def made_up(network: PreTrainedModel, rows: int, width: int) -> list[Tensor]:
    """Return inputs for the pass: tokens, their columns, and so many columns of noise; nobody waits for the last row."""
    cache = DynamicCache(config=network.config)
    network(input_ids=torch.tensor([[0, 1]], device=network.device), past_key_values=cache, use_cache=True)
    parts = [part for layer in cache.layers for part in (layer.keys, layer.values)]  # (1, head, token, size)
    slots = [width - 2 - 5 * row for row in range(rows - 1)] + [0]
    inputs = [torch.arange(3, 3 + rows, device=network.device), torch.tensor(slots, device=network.device)]
    noise = torch.Generator().manual_seed(0)
    shapes = [(rows, part.shape[1], width, part.shape[3]) for part in parts]
    return inputs + [torch.randn(shape, generator=noise).to(parts[0]) for shape in shapes]
