"""A checkpoint's folder in, a Model out: only safetensors, never code of the checkpoint, every tensor its task needs."""

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from core import attention, checkpoints, halves, limits
from core.catalogue import ModelCard
from core.checkpoints import called, unusable
from core.devices import Device, device, ran_out
from core.errors import ModelUnfit, VisitorError
from core.halves import HalfLinear
from core.squeezing import SqueezedLinear, squeeze

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
log = logging.getLogger("glassbox")
ROOT = Path(__file__).parent.parent
T = TypeVar("T")

WRITES, FILLS, JUDGES = "AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSequenceClassification"
ANSWERS, CHATS = "AutoModelForVisualQuestionAnswering", "AutoModelForImageTextToText"
# By task: the classes that can load its models, and kinds known to everybody that they load.
CLASSES = {
    "generation": ((WRITES,), "gpt2, llama, qwen3"),
    "masking": ((FILLS,), "bert, roberta, modernbert"),
    "sentiment": ((JUDGES,), "bert, distilbert, roberta"),
    "vqa": ((ANSWERS, CHATS), "vilt, blip, smolvlm"),
    "attention": ((FILLS, WRITES, JUDGES), "bert, gpt2, qwen3"),
}
# Kinds a class can load and its task cannot run: they find patches in a way of their own, or read pictures of text alone.
STRANGE = {
    ANSWERS: ("blip-2",),
    CHATS: (
        "blip", "blip-2", "chameleon", "emu3", "evolla", "git", "idefics", "instructblipvideo", "kosmos-2", "kosmos-2.5", "pi0",
        "pix2struct", "pp_formulanet", "udop", "vision-encoder-decoder",
    ),
}  # fmt: skip


def already() -> threading.Event:
    """Return an event that has come."""
    event = threading.Event()
    event.set()
    return event


@dataclass(frozen=True)
class Model:
    """A loaded network with its tokenizer, and the device it runs on."""

    card: ModelCard
    network: transformers.PreTrainedModel
    processor: object  # a tokenizer, or for pictures a processor that holds one
    device: Device
    beside: dict = field(default_factory=dict, compare=False)  # what is prepared for it once and goes with it, by name
    settled: threading.Event = field(
        default_factory=already, compare=False
    )  # whether its weights are as they will stay

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


def size(model: Model) -> int:
    """Return the bytes of a network's weights."""
    packed = sum(
        module.bytes for module in set(model.network.modules()) if isinstance(module, HalfLinear | SqueezedLinear)
    )
    return packed + sum(weight.numel() * weight.element_size() for weight in model.network.parameters())


def class_for(card: ModelCard, config: dict) -> str:
    """Return the class of Transformers that loads a checkpoint: the card's, else what its configuration says.

    Of the classes its task can run that is the one whose head the checkpoint names, else the first that knows its kind.
    Raises ModelUnfit for a kind that none of them knows.
    """
    classes, known = CLASSES[card.tasks[0]]
    classes = (card.auto,) if card.auto else classes
    kind, heads = str(config.get("model_type")), config.get("architectures")
    named = heads[0] if isinstance(heads, list) and heads else None
    fitting = [one for one in classes if kind in kinds(one) and not (one == WRITES and only_fills(kind, named))]
    if not fitting:
        raise ModelUnfit(name=called(card), found=kind[:60], known=known)
    return next((one for one in fitting if named in kinds(one)[kind]), fitting[0])


def kinds(name: str) -> dict[str, Collection[str]]:
    """Return the kinds of networks a class of Transformers loads, as "model_type", and the names of their classes."""
    mapping = getattr(transformers, name)._model_mapping._model_mapping
    return {
        kind: (found,) if isinstance(found, str) else found
        for kind, found in mapping.items()
        if kind not in STRANGE.get(name, ())
    }


def only_fills(kind: str, named: str | None) -> bool:
    """Whether an encoder's checkpoint was never taught to write: Transformers would load it as a writer all the same."""
    return kind in kinds(FILLS) and named not in kinds(WRITES)[kind]


def read(card: ModelCard, folder: Path | None = None, place: Device | None = None) -> Model:
    """Load a model from its folder, by default that of the project which its card names, ready to answer.

    What came from the Hub was verified byte by byte, and nobody changes it: it is looked through the first time only.
    Raises ModelUnusable, ModelUnsafe, ModelUnfit; what `ran_out` knows when memory is full.
    """
    folder, place = folder or ROOT / card.repo, place or device()
    described, weights = checkpoints.check(card, folder)
    auto = getattr(transformers, class_for(card, described))
    safe = {"trust_remote_code": False, "local_files_only": True}
    if card.shelf == "folder":  # of the Hub it was looked at before it was fetched
        check_size(card, described, weights.parameters)
    with blamed_on(unusable(card, "sensible configuration")):
        config = lean(transformers.AutoConfig.from_pretrained(folder, **safe))
    network_class = auto._model_mapping[type(config)]
    frugal = place.frugal(weights.parameters)
    with blamed_on(unusable(card, "weights that fit its configuration")):
        network, found = auto.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            output_loading_info=True,
            attn_implementation=attention.implementation_for(network_class),
            dtype="auto" if frugal else place.dtype(weights.parameters),
            **safe,
        )
    if found["missing_keys"]:
        raise unusable(card, ", ".join(sorted(found["missing_keys"]))[:200])
    with blamed_on(unusable(card, "readable tokenizer")):
        kind = processor_class(type(config)) if "vqa" in card.tasks else transformers.AutoTokenizer
        processor = kind.from_pretrained(folder, **safe)
    network = network.eval().requires_grad_(False)
    looked = folder / f".looked-through-{auto.__name__}-{transformers.__version__}"
    strange = card.shelf == "folder" or (card.shelf == "hub" and not looked.exists())
    if strange:
        check_weights(card, network)
    model = Model(card, network.to(place.place), processor, place, settled=threading.Event())
    if card.bits or frugal or weights.parameters < limits.HALF_PRECISION_PARAMETERS:  # else after the first answer
        settle(model)
    if card.shelf != "board":
        with blamed_on(unusable(card, "readable tokenizer")):
            check_words(model)
    if strange:
        check_answer(model)
    if strange and card.shelf == "hub":
        with suppress(OSError):  # a cache that can only be read
            looked.touch()
    return model


@contextmanager
def blamed_on(refusal: VisitorError) -> Iterator[None]:
    """Let whatever a library stumbles over in a checkpoint be the checkpoint's fault, unless memory is full."""
    try:
        yield
    except VisitorError:
        raise
    except Exception as error:  # Tokenizers knows no other class
        if ran_out(error):
            raise
        log.warning("%s: %s (%s)", type(refusal).__name__, refusal, type(error).__name__)  # its message may name a path
        raise refusal from error


def check_size(card: ModelCard, config: dict, parameters: int) -> None:
    """Refuse a configuration of a far larger network than there are weights: what is missing would be made up in memory.

    Raises ModelUnusable, ModelUnfit.
    """
    auto = getattr(transformers, class_for(card, config))
    with blamed_on(unusable(card, "sensible configuration")), torch.device("meta"):
        made = CONFIG_MAPPING[config["model_type"]].from_dict(config)
        described = sum(weight.numel() for weight in auto._model_mapping[type(made)](made).parameters())
    if described > 2 * parameters + limits.HALF_PRECISION_PARAMETERS:  # heads that are tied are in the file once
        raise unusable(card, "weights for all of its layers")


@torch.inference_mode(False)  # what is made in that mode could not have gradients flow through it
def settle(model: Model) -> None:
    """Keep a network's linear layers the way its device has them, and nothing in its file; once, while nobody uses it."""
    card, network, place = model.card, model.network, model.device
    if "settling" in model.beside:
        model.beside.pop("settling").close()
    if card.bits and not place.waits:
        squeeze(network, card.bits)
    elif place.halves:
        halves.halve(network, rounded=is_large(network))
    if place.halves:
        take_in(network, torch.float32)
    elif card.shelf == "folder":
        take_in(network)
    model.settled.set()


def settle_behind(model: Model) -> Iterator[int]:
    """Do the larger part of `settle` while the network is in use, each step between two passes; yield what is to come.

    What half precision rounds away is of no weight to the keys and values of a story that goes on. Only where a second
    processor can do it: packing costs what it saves in a hundred tokens.
    """
    if model.device.halves and not model.settled.is_set() and torch.get_num_threads() > 1:
        yield from halves.halve_behind(model.network, rounded=is_large(model.network))


def is_large(network: transformers.PreTrainedModel) -> bool:
    """Whether a network's weights may be rounded to half precision, though some of them may be already."""
    packed = sum(module.bytes // 2 for module in set(network.modules()) if isinstance(module, HalfLinear))
    return network.num_parameters() + packed >= limits.HALF_PRECISION_PARAMETERS


def take_in(network: transformers.PreTrainedModel, dtype: torch.dtype | None = None) -> None:
    """Take what is left of the weights out of their file, where Transformers leaves them: a visitor's own may change."""
    for weight in network.parameters():
        weight.data = weight.data.to(dtype or weight.dtype, copy=True)


def check_weights(card: ModelCard, network: transformers.PreTrainedModel) -> None:
    """Raise ModelUnusable for weights that are no numbers, or endless."""
    for weight in network.parameters():
        if weight.numel() and not all(bool(end.isfinite()) for end in weight.aminmax()):
            raise unusable(card, "sensible weights")


def check_words(model: Model) -> None:
    """Raise ModelUnusable for a tokenizer that cannot say where its tokens are, or that knows more than the network."""
    card, tokenizer = model.card, model.tokenizer
    words = model.network.get_input_embeddings()
    if not getattr(tokenizer, "is_fast", False) or len(tokenizer) > getattr(words, "num_embeddings", len(tokenizer)):
        raise unusable(card, "readable tokenizer")
    if card.tasks[0] == "masking" and tokenizer.mask_token is None:
        raise unusable(card, "token for a blank")
    if card.tasks[0] == "sentiment":
        config = model.network.config
        if config.num_labels < 2 or config.problem_type in ("regression", "multi_label_classification"):
            raise unusable(card, "labels of which one is chosen")


def check_answer(model: Model) -> None:
    """Let a network read a word: one that cannot, or whose answer is no probability, is of no use here.

    Raises ModelUnfit, ModelUnusable. Networks that see pictures are asked when there is one.
    """
    card, network = model.card, model.network
    if "vqa" in card.tasks:
        return
    kind = network.config.model_type

    @torch.inference_mode()
    def look() -> torch.Tensor:
        ids = model.tokenizer("a")["input_ids"] or [0]
        inputs = model.inputs(input_ids=ids, attention_mask=[1] * len(ids))
        return network(**inputs).logits.float().softmax(-1)

    with blamed_on(ModelUnfit(name=called(card), found=kind, known=CLASSES[card.tasks[0]][1])):
        chances = model.run(look)
    if not chances.isfinite().all():
        raise unusable(card, "sensible weights")


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
