"""Tiny random networks of real architectures, saved and loaded the way every model is."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from core.catalogue import ModelCard
from core.models import Model, processor_class, read

TEXT = [
    "the cat sat on the mat",
    "the dog ran to the red house",
    "a film that i loved and hated",
    "how many red circles?",
]
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
VISION = {"image_size": 16, "patch_size": 4}
CHATS = ("idefics3", "llava", "gemma3", "qwen2_vl", "qwen3_vl")
CHAT_TOKENS = [
    "<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>",
    "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<boi>", "<eoi>",
]  # fmt: skip
CHAT_TEMPLATE = (
    "{% for turn in messages %}{{ turn.role }}:{% for part in turn.content %}"
    "{% if part.type == 'image' %}PLACE{% else %}{{ part.text | trim }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


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


def chat_processor(kind: str) -> transformers.ProcessorMixin:
    """Return what a chat model of that architecture is handed pictures and words by, with a template."""
    tokenizer = byte_pieces(framed=False)
    tokenizer.add_special_tokens({"additional_special_tokens": CHAT_TOKENS})
    square, place = {"height": 16, "width": 16}, "<image>"
    if kind == "idefics3":
        images = transformers.Idefics3ImageProcessorPil(size={"longest_edge": 16}, max_image_size={"longest_edge": 16})
        more = {"image_seq_len": 4}
    elif kind == "gemma3":
        names = {"image_token": "<image>", "boi_token": "<boi>", "eoi_token": "<eoi>"}
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
            model_specific_special_tokens=names, extra_special_tokens=CHAT_TOKENS,
        )  # fmt: skip
        images, more, place = transformers.Gemma3ImageProcessorPil(size=square), {"image_seq_length": 4}, "<boi>"
    elif kind == "llava":
        images = transformers.CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=square)
        more = {"patch_size": 4, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    else:
        images = transformers.Qwen2VLImageProcessorPil(
            patch_size=4, merge_size=2, temporal_patch_size=2, size={"shortest_edge": 64, "longest_edge": 4096}
        )
        more, place = {}, "<|vision_start|><|image_pad|><|vision_end|>"
    template = CHAT_TEMPLATE.replace("PLACE", place)
    return processor_class(transformers.CONFIG_MAPPING[kind])(images, tokenizer, chat_template=template, **more)


def chat_config(kind: str, tokenizer, shared: dict) -> transformers.PretrainedConfig:
    """Return the shape of a tiny chat model."""
    number = tokenizer.convert_tokens_to_ids
    text = {**shared, **SIZES, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256}
    roped = {**text, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}}
    seen = {**SIZES, **VISION}
    merged = {"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_heads": 4, "in_channels": 3}
    qwen = {
        "image_token_id": number("<|image_pad|>"), "video_token_id": number("<|video_pad|>"),
        "vision_start_token_id": number("<|vision_start|>"), "vision_end_token_id": number("<|vision_end|>"),
        "text_config": roped,
    }  # fmt: skip
    return {
        "idefics3": lambda: transformers.Idefics3Config(
            text_config={**text, "model_type": "llama"}, vision_config=seen, image_token_id=number("<image>"), scale_factor=2
        ),
        "llava": lambda: transformers.LlavaConfig(
            text_config={**text, "model_type": "llama"}, image_token_id=number("<image>"),
            vision_config={**seen, "model_type": "clip_vision_model", "projection_dim": 32}, vision_feature_layer=-2,
        ),
        "gemma3": lambda: transformers.Gemma3Config(
            text_config=text, vision_config=seen, image_token_id=number("<image>"), mm_tokens_per_image=4,
            boi_token_index=number("<boi>"), eoi_token_index=number("<eoi>"),
        ),
        "qwen2_vl": lambda: transformers.Qwen2VLConfig(
            **qwen, vision_config={**merged, "embed_dim": 32, "hidden_size": 32, "depth": 2, "mlp_ratio": 2}
        ),
        "qwen3_vl": lambda: transformers.Qwen3VLConfig(
            **qwen, vision_config={**merged, "hidden_size": 32, "out_hidden_size": 32, "depth": 2, "intermediate_size": 48,
                                   "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]},
        ),
    }[kind]()  # fmt: skip


def network_of(kind: str, auto: str, vocabulary: int) -> transformers.PreTrainedModel:
    """Return a random network of an architecture, with the head that `auto` stands for."""
    torch.manual_seed(0)
    shared = {"vocab_size": vocabulary, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    grouped = {"num_key_value_heads": 2, "head_dim": 8}
    config = {
        "gpt2": lambda: transformers.GPT2Config(**shared, n_embd=32, n_layer=3, n_head=4, n_positions=64),
        "llama": lambda: transformers.LlamaConfig(**shared, **SIZES, **grouped, max_position_embeddings=64),
        "qwen3": lambda: transformers.Qwen3Config(**shared, **SIZES, **grouped, max_position_embeddings=64),
        "mistral": lambda: transformers.MistralConfig(
            **shared, **SIZES, **grouped, max_position_embeddings=64, sliding_window=4
        ),
        "gemma3": lambda: transformers.Gemma3TextConfig(
            **shared, **SIZES, **grouped, max_position_embeddings=64, sliding_window=4, sliding_window_pattern=2,
            query_pre_attn_scalar=8,
        ),
        "gemma2": lambda: transformers.Gemma2Config(
            **shared, **SIZES, **grouped, max_position_embeddings=64, sliding_window=4, query_pre_attn_scalar=8
        ),
        "gpt_oss": lambda: transformers.GptOssConfig(
            **shared, **SIZES, **grouped, max_position_embeddings=64, sliding_window=4, num_local_experts=2,
            num_experts_per_tok=1,
        ),
        "bloom": lambda: transformers.BloomConfig(**shared, hidden_size=32, n_layer=3, n_head=4),
        "falcon": lambda: transformers.FalconConfig(
            **shared, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=64, alibi=False
        ),
        "albert": lambda: transformers.AlbertConfig(
            vocab_size=vocabulary, **SIZES, embedding_size=16, max_position_embeddings=64
        ),
        "deberta-v2": lambda: transformers.DebertaV2Config(
            vocab_size=vocabulary, **SIZES, max_position_embeddings=64, relative_attention=True, pos_att_type=["c2p", "p2c"]
        ),
        "mamba": lambda: transformers.MambaConfig(**shared, hidden_size=32, num_hidden_layers=3, state_size=4),
        "lfm2": lambda: transformers.Lfm2Config(
            **shared, **SIZES, num_key_value_heads=2, max_position_embeddings=64,
            layer_types=["conv", "full_attention", "full_attention"],
        ),
        "t5": lambda: transformers.T5Config(
            vocab_size=vocabulary, d_model=32, d_kv=8, d_ff=48, num_layers=3, num_decoder_layers=2, num_heads=4,
            decoder_start_token_id=0, pad_token_id=1, eos_token_id=2,
        ),
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


def louder(network: transformers.PreTrainedModel, loud: float) -> transformers.PreTrainedModel:
    """Return a network with its weights made larger: fresh ones are so small that all answers are alike."""
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.mul_(loud)
    return network


def tiny(folder: Path, kind: str, auto: str, task: str, loud: float = 1) -> Model:
    """Save a tiny network with its tokenizer or processor to a folder, and load it as the app loads models."""
    if kind in CHATS:
        return tiny_chat(folder, kind, auto, task, loud)
    pieces = kind in ("bert", "distilbert", "albert", "deberta-v2", "vilt", "blip")
    tokenizer = word_pieces() if pieces else byte_pieces(framed=kind in ("roberta", "modernbert"))
    louder(network_of(kind, auto, len(tokenizer)), loud).save_pretrained(folder)
    if kind == "vilt":
        images = transformers.ViltImageProcessorPil(size={"shortest_edge": 16}, size_divisor=4)
        transformers.ViltProcessor(images, tokenizer).save_pretrained(folder)
    elif kind == "blip":
        images = transformers.BlipImageProcessorPil(size={"height": 16, "width": 16})
        transformers.BlipProcessor(images, tokenizer).save_pretrained(folder)
    else:
        tokenizer.save_pretrained(folder)
    return read(ModelCard(kind, (task,), str(folder), auto))


def tiny_chat(folder: Path, kind: str, auto: str, task: str, loud: float = 1) -> Model:
    """Save a tiny chat model that sees pictures, and load it as the app loads models."""
    processor = chat_processor(kind)
    tokenizer = processor.tokenizer
    torch.manual_seed(0)
    shared = {"vocab_size": len(tokenizer), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    config = chat_config(kind, tokenizer, shared)
    network = getattr(transformers, auto)._model_mapping[type(config)](config).eval()
    louder(network, loud).save_pretrained(folder)
    processor.save_pretrained(folder)
    return read(ModelCard(kind, (task,), str(folder), auto))
