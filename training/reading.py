"""What a network with two heads learns on and is measured by: batches drawn, words hidden from it, texts it judges."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertTokenizer

from training import calibration, card, loop
from training.baselines import NaiveBayes
from training.corpus import Judged
from training.loop import RecipeError
from training.report import Figure
from training.two_heads import SPECIAL, TwoHeads, encode

MASKED = 0.15  # of a sentence's tokens; of these 80 % become [MASK], 10 % another piece, 10 % stay
DRAWN = 512  # rows drawn at once, of which neighbours in length make a batch
TEMPERATURE = "calibration_temperature"  # in the saved configuration: what the classifier's logits were divided by


class Pool:
    """Rows of tokens by source, from which batches of like length are drawn, so that little of them is padding."""

    def __init__(self, sources: dict[str, list], shares: dict[str, float], length: Callable[[object], int]):
        self.sources = [sources[name] for name in sources]
        self.shares = torch.tensor([shares[name] for name in sources])
        self.length = length

    def draw(self, random: torch.Generator, rows: int | None = None, tokens: int | None = None) -> list:
        """Return a batch of so many rows, or of so many tokens, padding included."""
        sources = torch.multinomial(self.shares, DRAWN, replacement=True, generator=random).tolist()
        luck = torch.rand(DRAWN, generator=random).tolist()
        pool = [self.sources[one][int(at * len(self.sources[one]))] for one, at in zip(sources, luck, strict=True)]
        pool.sort(key=self.length)
        last = int(torch.randint(rows or 1, DRAWN + 1, (), generator=random))
        return pool[max(0, last - (rows or tokens // self.length(pool[last - 1]))) : last]


def pad(rows: list[list[int]]) -> torch.Tensor:
    """Return the rows as one batch: int64[row, token], filled up with [PAD], which is 0."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def hide(ids: torch.Tensor, random: torch.Generator, share: float = MASKED) -> tuple[torch.Tensor, torch.Tensor]:
    """Put [MASK] over a share of each row's tokens, one at least: ids with masks, and which places they are."""
    ordinary = ids >= len(SPECIAL)
    count = (ordinary.sum(1, keepdim=True) * share).round().clamp(min=1)
    rank = torch.rand(ids.shape, generator=random).masked_fill(~ordinary, 2.0).argsort(1).argsort(1)
    chosen = (rank < count) & ordinary
    return ids.masked_fill(chosen, SPECIAL.index("[MASK]")), chosen


def disturb(seen: torch.Tensor, ids: torch.Tensor, vocabulary: int, random: torch.Generator) -> torch.Tensor:
    """Put a tenth of the hidden tokens back and a tenth wrong, so that the network doubts every word it sees."""
    luck = torch.rand(ids.shape, generator=random).masked_fill(seen == ids, 0.5)
    wrong = torch.randint(len(SPECIAL), vocabulary, ids.shape, generator=random)
    return torch.where(luck < 0.1, ids, torch.where(luck > 0.9, wrong, seen))


Guess = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # ids with masks, which places -> pieces (place, 5)


def by_network(network: TwoHeads) -> Guess:
    """Guess the five pieces the network finds likeliest."""

    @torch.inference_mode()
    def guess(seen: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        return network.guess(seen.to(network.device), chosen.to(network.device)).topk(5).indices.cpu()

    return guess


def by_frequency(used: Counter) -> Guess:
    """Guess the five commonest pieces, whatever the sentence."""
    common = torch.tensor([piece for piece, _ in used.most_common(5)])

    def guess(seen: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        return common.expand(int(chosen.sum()), 5)

    return guess


def right_guesses(guess: Guess, rows: list[list[int]]) -> torch.Tensor:
    """Return how many hidden pieces are the first guess, how many among the first five, and of how many: int64[3]."""
    found = torch.zeros(3, dtype=torch.int64)
    rows = sorted(rows, key=len)
    for first in range(0, len(rows), 64):
        ids = pad(rows[first : first + 64])
        seen, chosen = hide(ids, loop.generator(first))
        hits = guess(seen, chosen) == ids[chosen][:, None]
        found += torch.tensor([hits[:, 0].sum(), hits.sum(), len(hits)])
    return found


@torch.inference_mode()
def five_guesses(network: TwoHeads, tokenizer: BertTokenizer, text: str) -> str:
    """Return the five likeliest words for the blank of a sentence, each with its probability."""
    ids = pad(encode(tokenizer, [text])).to(network.device)
    best = network.guess(ids, ids == tokenizer.mask_token_id)[0].float().softmax(-1).topk(5)
    words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
    return ", ".join(f"{word} {share:.2f}" for word, share in zip(words, best.values.tolist(), strict=True))


@torch.inference_mode()
def judge(network: TwoHeads, tokenizer: BertTokenizer, texts: list[Judged]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of negative and positive, float (text, 2), and the labels, int64 (text)."""
    rows = encode(tokenizer, [text for text, _ in texts])
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]))  # so that little of a batch is padding
    parts = [order[first : first + 32] for first in range(0, len(order), 32)]
    found = [network.judge(pad([rows[number] for number in part]).to(network.device)).float().cpu() for part in parts]
    logits = torch.cat(found)[torch.tensor(order).argsort()]
    return logits, torch.tensor([label for _, label in texts])


def calibrate(network: TwoHeads, tokenizer: BertTokenizer, held_out: list[Judged]) -> None:
    """Let the network say it is as sure as it is right, on the half of the held-out texts that is for fitting."""
    fitting = [(text, label) for text, label in held_out if calibration.is_for_fitting(text)]
    found = calibration.temperature(*judge(network, tokenizer, fitting))
    calibration.fold(network.classifier, found)
    setattr(network.config, TEMPERATURE, found)


def load(folder: Path) -> tuple[TwoHeads, BertTokenizer]:
    """Return the saved network with both its heads, in float32, and its tokenizer."""
    network, found = TwoHeads.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if found["missing_keys"]:
        raise RecipeError(f"{folder} lacks {sorted(found['missing_keys'])[0]}. Train it again.")
    return network.to(loop.device()).eval(), AutoTokenizer.from_pretrained(folder)


def told_apart(
    network: TwoHeads,
    tokenizer: BertTokenizer,
    held_out: list[Judged],
    votes: NaiveBayes,
    name: str,
    bar: float,
    published: str,
) -> list[Figure]:
    """Return how often praise and complaint are told apart, and how far the network is as sure as it is right.

    The second on the half of the texts that its temperature was not fitted on.
    """
    simple = sum(votes.label(text) == label for text, label in held_out) / len(held_out)
    logits, labels = judge(network, tokenizer, held_out)
    right = float((logits.argmax(-1) == labels).float().mean())
    rest = torch.tensor([not calibration.is_for_fitting(text) for text, _ in held_out])
    raw = getattr(network.config, TEMPERATURE, 1.0)
    sure, before = (calibration.error((logits * one)[rest].softmax(-1), labels[rest]) for one in (1.0, raw))
    beside = {f"naive Bayes, 1+2 {votes.votes.__name__}": simple}
    uncalibrated = {f"before calibration (temperature {raw:.2f})": before}
    return [
        Figure(f"{name}, right, {len(held_out):,} texts", right, beside, bar, published=published),
        Figure(f"{name}, expected calibration error, {int(rest.sum()):,} texts", sure, uncalibrated, lower=True),
    ]


def answered(folder: Path, blanks: list[str], texts: list[str]) -> dict[str, str]:
    """Return a table, under its heading, of what both heads of a saved folder answer."""
    network, tokenizer = load(folder)
    praise = judge(network, tokenizer, [(text, 0) for text in texts])[0].softmax(-1)[:, 1].tolist()
    rows = [[text, five_guesses(network, tokenizer, text)] for text in blanks]
    rows += [[text, f"positive {share:.2f}"] for text, share in zip(texts, praise, strict=True)]
    return {"Examples, none of them chosen afterwards": card.table(["text", "answer"], rows)}
