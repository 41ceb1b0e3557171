"""Tiny random networks of real architectures, saved and loaded the way every model is."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from core.catalogue import ModelCard
from core.models import Model, read

TEXT = [
    "the cat sat on the mat",
    "the dog ran to the red house",
    "a film that i loved and hated",
    "how many red circles?",
]
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
VISION = {"image_size": 16, "patch_size": 4}


def word_pieces() -> transformers.PreTrainedTokenizerFast:
    """Return BERT's kind of tokenizer."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(TEXT, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    return transformers.BertTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name}_token": special[at] for name, at in names.items()}
    )


def byte_pieces(framed: bool) -> transformers.PreTrainedTokenizerFast:
    """Return GPT-2's kind of tokenizer, or with `framed` RoBERTa's: <s> and </s> around and a <mask>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXT, trainer)
    if framed:
        tokenizer.post_processor = processors.TemplateProcessing(
            "<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    if framed:
        names |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def network_of(kind: str, auto: str, vocabulary: int) -> transformers.PreTrainedModel:
    """Return a random network of an architecture, with the head that `auto` stands for."""
    torch.manual_seed(0)
    shared = {"vocab_size": vocabulary, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    grouped = {"num_key_value_heads": 2, "head_dim": 8}
    config = {
        "gpt2": lambda: transformers.GPT2Config(**shared, n_embd=32, n_layer=3, n_head=4, n_positions=64),
        "llama": lambda: transformers.LlamaConfig(**shared, **SIZES, **grouped, max_position_embeddings=64),
        "qwen3": lambda: transformers.Qwen3Config(**shared, **SIZES, **grouped, max_position_embeddings=64),
        "bert": lambda: transformers.BertConfig(vocab_size=vocabulary, **SIZES, max_position_embeddings=64),
        "roberta": lambda: transformers.RobertaConfig(**shared, **SIZES, max_position_embeddings=66),
        "distilbert": lambda: transformers.DistilBertConfig(
            vocab_size=vocabulary, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=64
        ),
        "modernbert": lambda: transformers.ModernBertConfig(
            **shared, **SIZES, cls_token_id=0, sep_token_id=2, max_position_embeddings=64, local_attention=8
        ),
        "vilt": lambda: transformers.ViltConfig(
            vocab_size=vocabulary, **SIZES, **VISION, max_position_embeddings=40, max_image_length=-1, num_labels=5
        ),
        "blip": lambda: transformers.BlipConfig(
            text_config={
                "vocab_size": vocabulary, **SIZES, "encoder_hidden_size": 32, "projection_dim": 32,
                "max_position_embeddings": 64, "bos_token_id": 2, "sep_token_id": 3, "pad_token_id": 0,
            },
            vision_config={**SIZES, **VISION, "projection_dim": 32, "initializer_range": 0.02},
            projection_dim=32,
        ),
    }[kind]()  # fmt: skip
    classes = getattr(transformers, auto)._model_mapping[type(config)]
    return classes(config).eval()


def tiny(folder: Path, kind: str, auto: str, task: str) -> Model:
    """Save a tiny network with its tokenizer or processor to a folder, and load it as the app loads models."""
    pieces = kind in ("bert", "distilbert", "vilt", "blip")
    tokenizer = word_pieces() if pieces else byte_pieces(framed=kind in ("roberta", "modernbert"))
    network_of(kind, auto, len(tokenizer)).save_pretrained(folder)
    if kind == "vilt":
        images = transformers.ViltImageProcessorPil(size={"shortest_edge": 16}, size_divisor=4)
        transformers.ViltProcessor(images, tokenizer).save_pretrained(folder)
    elif kind == "blip":
        images = transformers.BlipImageProcessorPil(size={"height": 16, "width": 16})
        transformers.BlipProcessor(images, tokenizer).save_pretrained(folder)
    else:
        tokenizer.save_pretrained(folder)
    return read(ModelCard(kind, (task,), str(folder), auto))
