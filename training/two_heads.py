"""A small BERT with two heads, begun from all-MiniLM-L6-v2: its encoder kept, its vocabulary cut, its heads new."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForMaskedLM, BertModel, BertPreTrainedModel, BertTokenizer
from transformers.models.bert.modeling_bert import BertOnlyMLMHead

from training.corpus import SLURS
from training.loop import RecipeError

START_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class TwoHeads(BertPreTrainedModel):
    """One encoder, both heads: its tensors are those of BertForSequenceClassification and BertForMaskedLM together."""

    _tied_weights_keys = BertForMaskedLM._tied_weights_keys

    def __init__(self, config: BertConfig):
        super().__init__(config)
        self.bert = BertModel(config)
        self.cls = BertOnlyMLMHead(config)
        self.dropout = torch.nn.Dropout(config.hidden_dropout_prob)
        self.classifier = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.cls.predictions.decoder

    def guess(self, ids: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Return the logits of the chosen places: float[chosen, vocabulary] of ids int64[row, token]."""
        return self.cls(self.bert(ids, attention_mask=(ids != 0).long()).last_hidden_state[chosen])

    def judge(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of negative and positive: float[row, 2]."""
        return self.classifier(self.dropout(self.bert(ids, attention_mask=(ids != 0).long()).pooler_output))


def open_start(folder: Path, check: bool) -> tuple[dict[str, torch.Tensor], list[str], dict]:
    """Return the tensors, pieces and configuration to start from. Raises RecipeError if they are not as expected."""
    for name in ("model.safetensors", "vocab.txt", "config.json"):
        if not (folder / name).is_file():
            raise RecipeError(f"{folder / name} is missing. --start takes the folder of all-MiniLM-L6-v2.")
    if check and hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() != START_SHA256:
        raise RecipeError(f"{folder / 'model.safetensors'} is not all-MiniLM-L6-v2: its SHA-256 is another.")
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return load_file(folder / "model.safetensors"), pieces, json.loads((folder / "config.json").read_text())


def tokenizer_of(pieces: list[str]) -> BertTokenizer:
    """Return the lower-casing WordPiece tokenizer of these pieces."""
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=512)


def prune(pieces: list[str], texts: list[str], size: int) -> list[str]:
    """Return the pieces to keep: the special ones, the letters and signs of European writing, and the most used."""
    counts = Counter(piece for row in encode(tokenizer_of(pieces), texts) for piece in row)
    letters = [piece for piece in pieces if len(bare := piece.removeprefix("##")) == 1 and ord(bare) < 0x250]
    used = [pieces[number] for number, _ in counts.most_common() if not SLURS.fullmatch(pieces[number])]
    return list(dict.fromkeys([*SPECIAL, *letters, *used]))[:size]


def encode(tokenizer: BertTokenizer, texts: list[str]) -> list[list[int]]:
    """Return the token numbers of each text, [CLS] and [SEP] included."""
    only_ids = {"return_attention_mask": False, "return_token_type_ids": False}
    return tokenizer(texts, truncation=True, **only_ids)["input_ids"] if texts else []


def begin(tensors: dict[str, torch.Tensor], config: dict, old: list[str], pieces: list[str]) -> TwoHeads:
    """Return the network: the encoder as it was, the embeddings of the kept pieces, fresh heads."""
    place = {piece: number for number, piece in enumerate(old)}
    words = "embeddings.word_embeddings.weight"
    tensors = tensors | {words: tensors[words][[place[piece] for piece in pieces]]}
    labels = {0: "negative", 1: "positive"}
    config = config | {"vocab_size": len(pieces), "attention_probs_dropout_prob": 0.0, "pad_token_id": 0}
    config = BertConfig(**config, id2label=labels, label2id={name: number for number, name in labels.items()})
    network = TwoHeads(config)
    missing = network.bert.load_state_dict(tensors, strict=False).missing_keys
    if missing:
        raise RecipeError(f"The weights to start from lack {missing[0]}.")
    transform = network.cls.predictions.transform.dense.weight
    transform.data += torch.eye(len(transform))  # begin by guessing what the encoder already says: half the time saved
    return network
