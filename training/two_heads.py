"""A small BERT with two heads, begun from all-MiniLM-L6-v2: its encoder kept, its vocabulary cut or new, its heads new."""

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

WORDS = "embeddings.word_embeddings.weight"
LABELS = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}


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
        self.set_attn_implementation("eager")  # on a processor, for rows so short, twice as fast as the fused one

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.cls.predictions.decoder

    def guess(self, ids: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Return the logits of the chosen places: float[chosen, vocabulary] of ids int64[row, token]."""
        return self.cls(self.bert(ids, attention_mask=(ids != 0).long()).last_hidden_state[chosen])

    def both(self, ids: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `guess` and `judge` do, of the same rows read once."""
        found = self.bert(ids, attention_mask=(ids != 0).long())
        return self.cls(found.last_hidden_state[chosen]), self.classifier(self.dropout(found.pooler_output))

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


def alike(stream: torch.Tensor, vocabulary: int, wide: int) -> torch.Tensor:
    """Return float[ordinary piece, wide], of variance 1: pieces that stand beside the same others lie close together.

    Source: Levy and Goldberg 2014, the singular vectors of positive pointwise mutual information; neighbours before
    and after are told apart, and those next but one count half.
    """
    beside = torch.zeros(vocabulary * vocabulary)
    for distance in (1, 2):
        pairs = stream[:-distance] * vocabulary + stream[distance:]
        beside += torch.bincount(pairs, minlength=len(beside)) / distance
    beside = beside.view(vocabulary, vocabulary)[len(SPECIAL) :, len(SPECIAL) :]
    beside = torch.cat([beside, beside.T], 1)
    chance = beside.sum(1, keepdim=True) * beside.sum(0) / beside.sum()
    told = (beside / chance.clamp(min=1e-6)).clamp(min=1).log()
    left, sizes, _ = torch.svd_lowrank(told, q=min(wide, len(told)), niter=4)
    mixed = left * sizes.sqrt() @ torch.linalg.qr(torch.randn(wide, wide))[0][: len(sizes)]
    return mixed / mixed.std()


def begin(tensors: dict[str, torch.Tensor], config: dict, old: list[str], pieces: list[str]) -> TwoHeads:
    """Return the network: the encoder as it was, the embeddings of the kept pieces, fresh heads."""
    place = {piece: number for number, piece in enumerate(old)}
    return with_words(tensors, config, tensors[WORDS][[place[piece] for piece in pieces]])


def begin_anew(
    tensors: dict[str, torch.Tensor], config: dict, old: list[str], pieces: list[str], rows: list[list[int]]
) -> TwoHeads:
    """Return the network for another language: the encoder as it was, for its pieces what counting their rows tells.

    Their embeddings have the mean and the size of the old ones, and the bias of a guess is how common the piece is.
    Source: Artetxe et al. 2020, "On the Cross-lingual Transferability of Monolingual Representations": what an encoder
    has learned of one language serves another one under new embeddings.
    """
    known, ordinary = tensors[WORDS].float(), len(SPECIAL)
    stream = torch.tensor([piece for row in rows for piece in (*row[1:-1], 0, 0)])
    new = alike(stream, len(pieces), known.shape[1]) * (known - known.mean(0)).std() + known.mean(0)
    network = with_words(tensors, config, torch.cat([known[[old.index(piece) for piece in SPECIAL]], new]))
    counts = torch.bincount(stream, minlength=len(pieces)).float()
    counts[:ordinary] = 0
    network.cls.predictions.bias.data.copy_((counts / counts.sum()).clamp(min=1e-6).log())
    return network


def with_words(tensors: dict[str, torch.Tensor], config: dict, words: torch.Tensor) -> TwoHeads:
    """Return the network with these embeddings of its pieces, float[piece, wide], and fresh heads."""
    config = config | {"vocab_size": len(words), "attention_probs_dropout_prob": 0.0, "pad_token_id": 0}
    network = TwoHeads(BertConfig(**config, **LABELS))
    missing = network.bert.load_state_dict(tensors | {WORDS: words}, strict=False).missing_keys
    if missing:
        raise RecipeError(f"The weights to start from lack {missing[0]}.")
    transform = network.cls.predictions.transform.dense.weight
    transform.data += torch.eye(len(transform))  # begin by guessing what the encoder already says: half the time saved
    return network
