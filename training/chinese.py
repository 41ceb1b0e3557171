"""Train the Chinese reader: a small BERT of characters with two heads, one guesses masked ones, one judges reviews.

    python -m training.chinese --data FOLDER --start FOLDER

The start is that of the English reader: an encoder that knows one language learns another one sooner.
"""

import sys
from collections import Counter
from pathlib import Path

import torch
from transformers import BertTokenizer

from training import card, loop, recipe, report
from training.baselines import NaiveBayes, characters
from training.chinese_text import REVIEWS, SENTENCES, copies, gather_reviews, gather_sentences
from training.corpus import Judged
from training.reading import (
    Pool,
    answered,
    by_frequency,
    by_network,
    calibrate,
    hide,
    load,
    pad,
    right_guesses,
    told_apart,
)
from training.report import Figure
from training.two_heads import SPECIAL, TwoHeads, begin_anew, encode, open_start, tokenizer_of

NAME = "chinese"
TITLE = "Chinese reader"
LANGUAGE = "zh"
TASK = "fill-mask"
DATA = (*SENTENCES, *REVIEWS, "chnsenticorp_held_out")
BAD_AT = (
    "It reads character by character and knows words only from what stands beside them: for a name, a number or a fact "
    "its guesses are common characters, no more. Most of its prose is single sentences of an encyclopaedia. There is no "
    "neutral: a plain statement gets a side, often with certainty; irony, mixed feelings and anything but opinions about "
    "hotels, books, meals and goods are guesses. It read simplified characters, and few traditional ones. Texts beyond "
    "512 tokens are not read, and it learned from the first 256 of each review."
)
STEPS = 5000
RATE = 1e-3  # AdamW: embeddings, heads and norms
MUON_RATE = 1e-3  # Muon, matched to the size of an AdamW step
TOKENS = 2048  # of masked sentences a step
JUDGED = 768  # tokens of reviews a step
HIDDEN = (0.4, 0.15)  # of the tokens, at the first step and at the last: much to learn from, then as visitors ask
OFTEN = 3  # times a character must occur to have a piece of its own
LONGEST = 256  # tokens of a review
DRAWS = 3  # of hidden characters from every held-out sentence
BLANKS = [
    "今天天气很[MASK]。",
    "北京是中国的[MASK]都。",
    "他在大[MASK]学习历史。",
    "我想喝一[MASK]茶。",
    "这本[MASK]很有意思。",
    "她高[MASK]地笑了。",
]
VERDICTS = [
    "房间很干净，服务员也很热情。",
    "味道太差了，再也不来了。",
    "一点也不好用。",
    "没想到这么好，下次还会买。",
    "书的内容一般，但是印刷很漂亮。",
    "等了两个小时，送来的时候已经凉了。",
    "今天真是美好的一天！",
    "本来很想喜欢它，可是做不到。",
]


def learn_pieces(texts: list[str]) -> list[str]:
    """Return the pieces: special ones, letters and digits, each also inside a word, and the characters met often."""
    counts = Counter(character for text in texts for character in text.lower() if not character.isspace())
    often = [character for character, count in counts.most_common() if count >= OFTEN]
    plain = list(dict.fromkeys([*"abcdefghijklmnopqrstuvwxyz0123456789", *often]))
    inside = [f"##{one}" for one in plain if one.isalnum() and not "\u3400" <= one <= "\u9fff"]
    return [*SPECIAL, *plain, *inside]


def encoded(tokenizer: BertTokenizer, judged: list[Judged]) -> list[tuple[list[int], int]]:
    """Return the token numbers of each review, and its label."""
    rows = [row[:LONGEST] for row in encode(tokenizer, [text for text, _ in judged])]
    return list(zip(rows, (label for _, label in judged), strict=True))


def measure(folder: Path, data: Path | None, quick: bool) -> list[Figure]:
    """Return how well both heads do on what was held out."""
    network, tokenizer = load(folder)
    sentences, held_out = gather_sentences(data)
    reviews, dev = gather_reviews(data)
    used = Counter(piece for texts in sentences.values() for row in encode(tokenizer, texts) for piece in row[1:-1])
    texts = [text for found in held_out.values() for text in found]
    hidden = hidden_characters(network, used, encode(tokenizer, texts[:20] if quick else texts))
    votes = NaiveBayes([one for judged in reviews.values() for one in judged], characters)
    published = "BERT-base-Chinese about 0.94, its training set with copies of dev reviews"
    return [*hidden, *told_apart(network, tokenizer, dev, votes, "ChnSentiCorp dev", 0.88, published)]


def hidden_characters(network: TwoHeads, used: Counter, rows: list[list[int]]) -> list[Figure]:
    """Return the shares of hidden characters guessed right, by the network and by how common each is."""
    guesses = {"": by_network(network), "by frequency": by_frequency(used)}
    found = {name: right_guesses(guess, rows * DRAWS) for name, guess in guesses.items()}
    figures = []
    for at, what, bar in ((0, "first guess right", None), (1, "among the first five", 0.60)):
        shares = {name: float(hits[at] / hits[2]) for name, hits in found.items()}
        text = f"hidden characters, signs included, {what}, {len(rows):,} held-out sentences, each asked {DRAWS} times"
        figures.append(Figure(text, shares.pop(""), shares, bar))
    return figures


def what_it_is(folder: Path) -> str:
    """Return what the network is, in a sentence."""
    network, _ = load(folder)
    return (
        f"A BERT of {network.num_parameters() / 1e6:.1f} million parameters, {network.config.num_hidden_layers} layers, "
        f"{network.config.hidden_size} wide, {network.config.vocab_size:,} pieces of one character, bfloat16, "
        f"{card.megabytes(folder):.1f} MB, with two heads in one folder: `AutoModelForMaskedLM` guesses hidden characters, "
        "`AutoModelForSequenceClassification` tells negative from positive. How sure the second is was set by one "
        "temperature, fitted on half of ChnSentiCorp dev and folded into its last layer."
    )


def examples(folder: Path) -> dict[str, str]:
    """Return what both heads answer."""
    return answered(folder, BLANKS, VERDICTS)


def lesson(
    network: TwoHeads,
    rows: list[list[int]],
    judged: list[tuple[list[int], int]],
    hidden: float,
    random: torch.Generator,
) -> torch.Tensor:
    """Return the loss of guessing a share `hidden` of the tokens and of judging; every other review is read whole."""
    ids, reviews = pad(rows), pad([row for row, _ in judged])
    seen, places = hide(ids, random, hidden)
    covered, among = hide(reviews, random, hidden)
    whole = torch.rand(len(reviews), 1, generator=random) < 0.5  # as visitors' texts will be
    covered, among = torch.where(whole, reviews, covered), among & ~whole
    where = network.device
    network.bert.eval()  # no dropout: no sentence is read so often that it is known by heart
    guesses = network.guess(seen.to(where), places.to(where))
    network.bert.train()
    more, verdicts = network.both(covered.to(where), among.to(where))
    right = torch.cat([ids[places], reviews[among]]).to(where)
    labels = torch.tensor([label for _, label in judged], device=where)
    cross_entropy = torch.nn.functional.cross_entropy
    return cross_entropy(torch.cat([guesses, more]).float(), right) + cross_entropy(verdicts.float(), labels)


def main(arguments: list[str] | None = None) -> None:
    """Gather, learn, save, measure."""
    options = recipe.Options(NAME, "Train the Chinese reader.", STEPS)
    options.add_argument("--start", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    chosen = options.parse(arguments)
    steps, tokens, judged_tokens = (min(chosen.steps, 10), 256, 256) if chosen.quick else (chosen.steps, TOKENS, JUDGED)
    torch.manual_seed(chosen.seed)
    tensors, old, config = open_start(chosen.start, check=not chosen.quick)
    sentences, _ = gather_sentences(chosen.data)
    reviews, dev = gather_reviews(chosen.data)
    texts = [text for found in sentences.values() for text in found]
    texts += [text for judged in reviews.values() for text, _ in judged]
    pieces = learn_pieces(texts)
    print(f"{len(pieces):,} pieces, {sum(map(len, texts)):,} characters", flush=True)
    tokenizer = tokenizer_of(pieces)
    network = begin_anew(tensors, config, old, pieces, encode(tokenizer, texts)).to(loop.device())
    masked_pool = Pool({name: encode(tokenizer, found) for name, found in sentences.items()}, SENTENCES, len)
    encoded_reviews = {name: encoded(tokenizer, found) for name, found in reviews.items()}
    judged_pool = Pool(encoded_reviews, REVIEWS, lambda one: len(one[0]))

    def loss_at(step: int) -> torch.Tensor:
        random = loop.generator(chosen.seed, step)
        torch.manual_seed(step)  # dropout's stream, so that a resumed run drops what an unbroken one would
        hidden = HIDDEN[0] + (HIDDEN[1] - HIDDEN[0]) * step / steps
        rows, judged = masked_pool.draw(random, tokens=tokens), judged_pool.draw(random, tokens=judged_tokens)
        return lesson(network, rows, judged, hidden, random)

    seconds = loop.train(network, loss_at, steps=steps, checkpoint=chosen.checkpoint, rate=RATE, muon_rate=MUON_RATE)
    calibrate(network, tokenizer, dev)
    card.save(network, tokenizer, chosen.out, ["BertForMaskedLM", "BertForSequenceClassification"])
    training = (
        f"`python -m training.chinese --data FOLDER --start FOLDER`: {steps:,} steps of {tokens + judged_tokens:,} tokens, "
        f"{seconds / 60:.0f} minutes on {card.machine()}; masked sentences and judged reviews side by side in every step. "
        "The start is the encoder of all-MiniLM-L6-v2 (Apache-2.0, sentence-transformers), which knows English; vocabulary, "
        f"embeddings and both heads are new. {copies(chosen.data)}"
    )
    report.record(sys.modules[__name__], chosen.out, chosen.data, chosen.results, training=training, quick=chosen.quick)


if __name__ == "__main__":
    recipe.run(main)
