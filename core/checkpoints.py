"""What a checkpoint's files say before any of it is loaded, and what speaks against it. Knows nothing of torch."""

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from core import limits
from core.catalogue import ModelCard
from core.errors import ModelUnsafe, ModelUnusable

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # says in which of several files a tensor is
TOKENIZERS = {  # the files of which there is one at least
    "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "spm.model",
    "sentencepiece.bpe.model", "tekken.json",
}  # fmt: skip
CODE = "auto_map"  # names classes that a repository brings along
# The most that a number of a configuration may be, by the names architectures have for it.
BOUNDS = {
    limits.MODEL_LAYERS: (
        "num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "num_decoder_layers",
        "depth", "num_hidden_groups", "num_nextn_predict_layers",
    ),
    limits.MODEL_HEADS: (
        "num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads", "encoder_attention_heads",
        "decoder_attention_heads", "num_local_experts", "num_experts", "n_routed_experts", "num_experts_per_tok",
    ),
    limits.MODEL_WIDTH: (
        "hidden_size", "n_embd", "d_model", "dim", "embedding_size", "embed_dim", "head_dim", "d_kv", "projection_dim",
        "image_size", "patch_size", "num_channels", "in_channels", "state_size", "type_vocab_size", "conv_kernel",
    ),
    limits.MODEL_INNER_WIDTH: (
        "intermediate_size", "n_inner", "d_ff", "hidden_dim", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim",
    ),
    limits.MODEL_VOCABULARY: ("vocab_size",),
    limits.MODEL_PLACES: ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len"),
}  # fmt: skip
MOST = {name: most for most, names in BOUNDS.items() for name in names}
MAY_BE_NONE_OF = ("type_vocab_size", "num_nextn_predict_layers", "num_local_experts", "num_experts", "n_routed_experts")


def called(card: ModelCard) -> str:
    """Return what a model is called in a sentence: of a folder its last part, for a sentence names no path."""
    return Path(card.repo).name if card.shelf == "folder" else card.title or card.name


def unusable(card: ModelCard, lacks: str) -> ModelUnusable:
    """Return the refusal of a checkpoint that has no such thing."""
    return ModelUnusable(name=called(card), lacks=lacks)


def check_files(card: ModelCard, names: Iterable[str]) -> None:
    """Refuse a repository by the names of its files, those in its folders too.

    Raises ModelUnsafe for one that brings code, ModelUnusable for one whose weights are not safetensors.
    """
    names = set(names)
    if any(name.lower().endswith(".py") for name in names):
        raise ModelUnsafe(name=called(card))
    if not names & {WEIGHTS, INDEX}:
        raise unusable(card, "safetensors weights")


def check_config(card: ModelCard, config: object) -> None:
    """Refuse a configuration that asks for code of its own, or whose numbers no network has: before one is made of it.

    Raises ModelUnsafe, ModelUnusable.
    """
    if not isinstance(config, dict):
        raise unusable(card, "sensible configuration")
    for name, value in entries(config):
        if name == CODE:
            raise ModelUnsafe(name=called(card))
        if name == "quantization_config" and value:
            raise unusable(card, "weights in full precision")
        if name in MOST and not is_sane(name, value):
            raise unusable(card, "sensible configuration")


def entries(config: dict) -> Iterator[tuple[str, object]]:
    """Yield the names and values of a configuration and of those in it."""
    waiting = [config]
    while waiting:
        for name, value in waiting.pop().items():
            yield name, value
            waiting += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def is_sane(name: str, value: object) -> bool:
    """Whether a number, or each of a list of them, is a whole one between 1 and the most it may be; None is a default."""
    least = 0 if name in MAY_BE_NONE_OF else 1
    found = value if isinstance(value, list) else [value]
    return all(one is None or (type(one) is int and least <= one <= MOST[name]) for one in found)


@dataclass(frozen=True, slots=True)
class Weights:
    """What is in a checkpoint's safetensors files."""

    parameters: int
    bytes: int


def files_of(folder: Path) -> list[str]:
    """Return the names of the files in a folder and in those below it, of very many the first ones. Raises OSError."""
    found = islice(folder.rglob("*"), limits.MODEL_FILES)
    return [file.relative_to(folder).as_posix() for file in found]


def check(card: ModelCard, folder: Path) -> tuple[dict, Weights]:
    """Return the configuration in a folder, and what its weights say of themselves.

    Raises ModelUnsafe, ModelUnusable.
    """
    with opening(card):
        names = files_of(folder)
        check_files(card, names)
        if not set(names) & TOKENIZERS:  # Transformers would make one up, of a few special tokens
            raise unusable(card, "readable tokenizer")
        config = configuration(card, folder)
        for file in folder.glob("*config.json"):  # the tokenizer's and the processor's may ask for code too
            if any(name == CODE for name, _ in entries({"": read_json(card, file)})):
                raise ModelUnsafe(name=called(card))
        return config, weights_in(card, folder)


@contextmanager
def opening(card: ModelCard) -> Iterator[None]:
    """Raise ModelUnusable for files that may not be opened."""
    try:
        yield
    except OSError:
        raise unusable(card, "files that can be opened") from None


def configuration(card: ModelCard, folder: Path) -> dict:
    """Return the configuration in a folder. Raises ModelUnsafe, ModelUnusable."""
    with opening(card):
        config = read_json(card, folder / "config.json")
    check_config(card, config)
    return config


def read_json(card: ModelCard, file: Path) -> object:
    """Return what is in a file. Raises ModelUnusable, OSError."""
    try:
        if file.is_file() and file.stat().st_size <= limits.MODEL_CONFIG_BYTES:
            return json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError):
        pass
    raise unusable(card, "sensible configuration")


def weights_in(card: ModelCard, folder: Path) -> Weights:
    """Return what the headers of the weights say, and whether they tell the truth about the files.

    Raises ModelUnusable for files that are cut short or no safetensors.
    """
    with opening(card):
        names = [WEIGHTS] if (folder / WEIGHTS).is_file() else names_in(read_json(card, folder / INDEX))
        if not names or any(Path(name).name != name or not (folder / name).is_file() for name in names):
            raise unusable(card, "readable weights")
        files = [folder / name for name in names]
        return Weights(sum(parameters_in(card, file) for file in files), sum(file.stat().st_size for file in files))


def names_in(index: object) -> list[str]:
    """Return the files of weights that an index names."""
    table = index.get("weight_map") if isinstance(index, dict) else None
    return sorted({str(name) for name in table.values()}) if isinstance(table, dict) else []


def parameters_in(card: ModelCard, file: Path) -> int:
    """Return how many numbers a safetensors file holds: 8 bytes that say how long a JSON header is, the header, the numbers.

    Raises ModelUnusable, OSError. Source: https://huggingface.co/docs/safetensors
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length > min(size, limits.MODEL_HEADER_BYTES):
                raise ValueError(length)
            header = json.loads(opened.read(length))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
        if 8 + length + end != size:
            raise ValueError(end)
        return sum(math.prod(tensor["shape"]) for tensor in tensors)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise unusable(card, "readable weights") from None
