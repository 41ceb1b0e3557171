"""Find, load, keep and evict models; the device and its one queue."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
import transformers
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from core import attention, catalogue, halves, limits
from core.catalogue import ModelCard
from core.errors import ModelUnusable, TooBusy
from core.halves import HalfLinear

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
ROOT = Path(__file__).parent.parent
T = TypeVar("T")


class Queue:
    """What is to be worked out on a device, one thing after the other, in the order in which it was asked for.

    All of it runs in threads of the device's own: OpenMP keeps helpers for every thread that ever multiplied anything, and
    where there are more of these than processors each step waits for them several times as long. Steps too small to be
    shared out among helpers run in a thread that has none.
    """

    def __init__(self):
        self._narrow, self._wide = (ThreadPoolExecutor(1, name) for name in ("device", "device-wide"))
        threads = torch.get_num_threads()
        self._narrow.submit(use_threads, 1).result()
        self._wide.submit(use_threads, threads).result()  # the last one holds for threads to come
        self.served = 0  # turns that came

    def run(self, work: Callable[[], T], seconds: float = limits.TURN_SECONDS) -> T:
        """Wait for one's turn, and return what comes of the work; gradients are on where they are on for the caller.

        Raises TooBusy when the turn does not come in time, and whatever the work raises.
        """
        return self.wait(self.submit(work), seconds)

    def submit(self, work: Callable[[], T], small: bool = False) -> Future[T]:
        """Line up; see `run`. small: not worth sharing out among helpers, or but for what is asked for `widely`."""
        return self._narrow.submit(self._serve, in_modes(work), small)

    def wait(self, turn: Future[T], seconds: float = limits.TURN_SECONDS) -> T:
        """Wait for a turn and return what comes of it; see `run`."""
        try:
            return turn.result(seconds)
        except TimeoutError:
            if turn.cancel():
                raise TooBusy(seconds=int(seconds)) from None
            return turn.result()  # it has begun

    def widely(self, work: Callable[[], T]) -> T:
        """Within a small turn, work something out that is worth sharing out among helpers."""
        return self._wide.submit(in_modes(work)).result()

    def _serve(self, work: Callable[[], T], small: bool) -> T:
        self.served += 1
        return work() if small else self._wide.submit(work).result()


def use_threads(number: int) -> None:
    """Let this thread share its work out among so many."""
    torch.get_num_threads()  # a thread's first look at it undoes what was set before
    torch.set_num_threads(number)


def in_modes(work: Callable[[], T]) -> Callable[[], T]:
    """Return the work with gradients on where they are on here, whatever thread it is done in."""
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def working() -> T:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return work()

    return working


@dataclass(frozen=True)
class Device:
    """Where networks run, why there, and who is next."""

    place: torch.device
    why: str  # "asked", "cuda", "mps" or "processor": the badge's sentence in demos/words
    name: str  # as its maker calls it
    queue: Queue = field(default_factory=Queue)

    def dtype(self, parameters: int) -> torch.dtype:
        """Return bfloat16 for networks large enough to gain from it, on a card that multiplies it; else float32."""
        large = parameters >= limits.HALF_PRECISION_PARAMETERS
        return (
            torch.bfloat16 if large and self.place.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
        )


@cache
def device() -> Device:
    """Return the device: `GLASSBOX_DEVICE` if set, else CUDA, else Apple's MPS, else the processor.

    Raises ValueError, at the start of the app, for a `GLASSBOX_DEVICE` that is not there.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = [*["cuda"][:cards], *(f"cuda:{card}" for card in range(cards))]
    there += [*["mps"] * torch.backends.mps.is_available(), "cpu"]
    asked = os.environ.get("GLASSBOX_DEVICE", "").strip().lower()
    if asked and asked not in there:
        raise ValueError(
            f"GLASSBOX_DEVICE is {asked!r}, and this machine has: {', '.join(there)}. Set it to one of these or unset it."
        )
    place = torch.device(asked or there[0])
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type.upper()
    return Device(place, "asked" if asked else {"cpu": "processor"}.get(place.type, place.type), name)


@dataclass(frozen=True)
class Model:
    """A loaded network with its tokenizer, and the device it runs on."""

    card: ModelCard
    network: transformers.PreTrainedModel
    processor: object  # a tokenizer, or for pictures a processor that holds one
    device: Device
    beside: dict = field(default_factory=dict, compare=False)  # what is prepared for it once and goes with it, by name

    @property
    def tokenizer(self) -> transformers.PreTrainedTokenizerBase:
        """The tokenizer, alone or inside a processor."""
        return getattr(self.processor, "tokenizer", self.processor)

    @property
    def context(self) -> int:
        """How many tokens the network reads at once."""
        bounds = [limits.ATTENTION_TOKENS, self.tokenizer.model_max_length]
        bounds += [getattr(self.network.config.get_text_config(), "max_position_embeddings", limits.ATTENTION_TOKENS)]
        for name, module in self.network.named_modules():
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
                bounds.append(module.num_embeddings - module.padding_idx - 1)  # RoBERTa counts from there
        return min(bounds)

    def run(self, work: Callable[[], T]) -> T:
        """Work something out at the device when one's turn comes: one look, or one step of a story. As Queue.run."""
        return self.device.queue.run(work)

    def inputs(self, **arrays: object) -> dict[str, torch.Tensor]:
        """Return tensors on the device, a batch dimension in front of plain lists, fractions as exact as the network."""
        tensors = {
            name: array if isinstance(array, torch.Tensor) else torch.tensor([array]) for name, array in arrays.items()
        }
        return {
            name: tensor.to(self.device.place, self.network.dtype if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in tensors.items()
        }


_kept: OrderedDict[str, Model] = OrderedDict()  # least recently used first
_loading: dict[str, threading.Lock] = {}
_guard = threading.Lock()
_reading = threading.Lock()  # Transformers keeps what it loads in places all threads share: two at once lose weights


def load(name: str) -> Model:
    """Return the model of that name, loaded once for all who ask at the same time.

    Raises UnknownModel and ModelUnusable.
    """
    card = catalogue.find(name)
    with _loading.setdefault(name, threading.Lock()):
        with _guard:
            if name in _kept:
                _kept.move_to_end(name)
                return _kept[name]
        with _reading:
            model = read(card)
        with _guard:
            _kept[name] = model
            while sum(size(one) for one in _kept.values()) > limits.KEPT_BYTES and len(_kept) > 1:
                _kept.popitem(last=False)  # whoever still uses it keeps it alive
        return model


def size(model: Model) -> int:
    """Return the bytes of a network's weights."""
    packed = sum(module.bytes for module in set(model.network.modules()) if isinstance(module, HalfLinear))
    return packed + sum(weight.numel() * weight.element_size() for weight in model.network.parameters())


def read(card: ModelCard) -> Model:
    """Load a model from its folder: only safetensors, never code of the checkpoint, every tensor the task needs.

    Raises ModelUnusable.
    """
    folder = ROOT / card.repo
    if not any(folder.glob("*.safetensors")):
        raise ModelUnusable(name=card.name, lacks="safetensors weights")
    safe = {"trust_remote_code": False, "local_files_only": True}
    config = lean(transformers.AutoConfig.from_pretrained(folder, **safe))
    auto = getattr(transformers, card.auto)
    place = device()
    network, found = auto.from_pretrained(
        folder,
        config=config,
        use_safetensors=True,
        output_loading_info=True,
        attn_implementation=attention.implementation_for(auto._model_mapping[type(config)]),
        dtype=torch.float32,
        **safe,
    )
    if found["missing_keys"]:
        raise ModelUnusable(name=card.name, lacks=", ".join(sorted(found["missing_keys"]))[:200])
    if "vqa" in card.tasks:
        processor = processor_class(type(config)).from_pretrained(folder, **safe)
    else:
        processor = transformers.AutoTokenizer.from_pretrained(folder, **safe)
    network = network.eval().requires_grad_(False).to(place.place, place.dtype(network.num_parameters()))
    if halves.serve(place.place):
        halves.halve(network, rounded=network.num_parameters() >= limits.HALF_PRECISION_PARAMETERS)
    return Model(card, network, processor, place)


def lean(config: transformers.PretrainedConfig) -> transformers.PretrainedConfig:
    """Return a configuration with GPT-2's activation worked out in one step: the same curve, a quarter of the memory."""
    for name in ("activation_function", "hidden_act"):
        if getattr(config, name, None) == "gelu_new":
            setattr(config, name, "gelu_pytorch_tanh")
    return config


class WithoutVideos:
    """Takes what reads videos out of a processor: it would ask for torchvision, and nobody shows a video here."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return [name for name in super().get_attributes() if name != "video_processor"]


def processor_class(config: type[transformers.PretrainedConfig]) -> type:
    """Return the class that hands an architecture pictures and words."""
    known = PROCESSOR_MAPPING.get(config, None)
    if known is None or "video_processor" not in known.get_attributes():
        return known or transformers.AutoProcessor
    return type(known.__name__, (WithoutVideos, known), {})


def warm_up() -> None:
    """Load every model on board, so that nobody's first answer waits for it."""
    for card in catalogue.CATALOGUE:
        load(card.name)
