"""Train the storyteller: children's stories and fairy tales in, a small Llama that goes on with a story out.

python -m training.storyteller --data FOLDER
"""

import math
import sys
from collections import Counter
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training import card, corpus, loop, recipe, report
from training.baselines import KneserNey
from training.report import Figure

NAME, TITLE, LANGUAGE, TASK = "storyteller", "Storyteller", "en", "text-generation"
DATA = ("children", "fairytales", "books", "tatoeba", "fairytales_held_out", "books_held_out")
BAD_AT = (
    "It knows words and sentences better than events: people and things change or vanish within a few lines. It knows no "
    "facts and answers no questions. Two thirds of what it read were written before 1930: kings, servants, punishment, "
    "and the roles of men, women and peoples are as in those books. Paragraphs with the coarsest slurs were left out; "
    "other dated attitudes were not."
)

VOCABULARY = 6144
CONTEXT = 512  # tokens
BATCH = 4096  # tokens a step: 16 rows of 256, and every eighth step 8 rows of 512
STEPS = 2300
RATE = 3e-3  # AdamW: embeddings and norms
MUON_RATE = 6e-3  # Muon, matched to the size of an AdamW step
# How often a row comes from each: the simplest stories most, sentences for everyday words.
SHARES = {"children": 0.27, "fairytales": 0.33, "books": 0.34, "tatoeba": 0.06}
TITLES = frozenset(
    [
        "Heidi",
        "The Adventures of Pinocchio",
        "The Princess and the Goblin",
        "The Story of Doctor Dolittle",
        "Through the Looking-Glass",
        "The Christmas Angel",
        "A Little Princess",
        "Five Children and It",
        "Andersen's Fairy Tales",
        "Peter Pan",
        "Alice's Adventures in Wonderland",
        "Dorothy and the Wizard in Oz",
        "The Book of Dragons",
        "Grimms' Fairy Tales",
        "The Marvelous Land of Oz",
        "Black Beauty",
        "The Jungle Book",
        "The Little Mermaid",
        "Aesop's Fables",
        "The Wind in the Willows",
        "The Life and Adventures of Santa Claus",
        "The Happy Prince & Other Tales",
        "The King of the Golden River",
    ]
)
OVERLAP = 64  # tokens that a window of the context shares with the one before when a long text is measured
BAR = 0.75  # of the perplexity of a Kneser-Ney 5-gram
TOLD = 100  # tokens of a sample in the card
PROMPTS = [
    "Once upon a time there was a little",
    "The fox looked at the hen and said",
    "One morning, Lily found a small door in the garden.",
    "There was once a king who had three daughters.",
    "The dragon was very sad because",
    "It was raining, and the children",
    "A mouse and an elephant",
    '"Where have you been?" asked her mother.',
    "In the middle of the forest stood an old house.",
    "Tom opened the box. Inside it was",
    "The wind blew all night, and in the morning",
    "My grandmother always told me",
    "Long ago, when animals could speak,",
    "The princess did not want to",
    "Every day after school, Sam and his dog",
    "The sailor looked out over the sea and saw",
    "There was no bread left in the kitchen.",
    "The little star was afraid of the dark.",
    "An old man lived alone by the river.",
    '"I have an idea," said the bear.',
]


def gather(data: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Return the training documents by source, and the held-out stories: fairy tales, and every 20th picture book."""
    stories = corpus.picture_books(data)
    training = {
        "children": [story for number, story in enumerate(stories) if number % 20],
        "fairytales": corpus.documents(data, "fairytales"),
        "books": corpus.books(data, TITLES),
        "tatoeba": [corpus.tidy(line) for line in corpus.read(data, "tatoeba").splitlines() if line.strip()],
    }
    held_out = stories[::20] + corpus.documents(data, "fairytales_held_out")
    seen = [text for name in ("children", "fairytales", "books") for text in training[name]]
    return training, corpus.unseen(held_out, seen)


def learn_tokenizer(training: dict[str, list[str]], size: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE from the stories themselves."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[corpus.END], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator((text for texts in training.values() for text in texts), trainer)
    end = {"bos_token": corpus.END, "eos_token": corpus.END, "pad_token": corpus.END}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, model_max_length=CONTEXT, **end)


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Return the tokens of each text, the end token last."""
    return [[*pieces.ids, tokenizer.eos_token_id] for pieces in tokenizer._tokenizer.encode_batch(texts)]


def stream(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """Return all texts as one row of tokens, each closed by the end token: int64[tokens]."""
    return torch.tensor([token for row in encode(tokenizer, texts) for token in row])


def architecture(vocabulary: int, quick: bool) -> LlamaConfig:
    """Return the shape of the network: RoPE, RMSNorm, SwiGLU, tied embeddings; 9.2 million parameters."""
    wide, deep = (64, 2) if quick else (320, 6)
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=wide,
        intermediate_size=wide * 13 // 5,
        num_hidden_layers=deep,
        num_attention_heads=wide // 64,
        num_key_value_heads=wide // 64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )


def draw(streams: dict[str, torch.Tensor], seed: int, step: int, batch: int) -> torch.Tensor:
    """Cut a step's rows at random places: int64[rows, length], each row from a source drawn by its share."""
    length = CONTEXT if step % 8 == 7 else CONTEXT // 2
    random = loop.generator(seed, step)
    shares = torch.tensor([SHARES[name] for name in streams])
    sources = list(streams.values())
    rows = []
    for source in torch.multinomial(shares, batch // length, replacement=True, generator=random).tolist():
        first = int(torch.randint(max(1, len(sources[source]) - length), (), generator=random))
        rows.append(sources[source][first : first + length])
    shortest = min(map(len, rows))
    return torch.stack([row[:shortest] for row in rows])


@torch.inference_mode()
def surprise(network: LlamaForCausalLM, tokens: list[int]) -> float:
    """Return the sum of -log probability, in nats, over all tokens but the first.

    A text longer than the context is read in windows that overlap: no token has fewer than OVERLAP before it but those
    at the text's beginning.
    """
    total = 0.0
    for first in range(0, max(1, len(tokens) - OVERLAP), CONTEXT - OVERLAP):
        window = torch.tensor(tokens[first : first + CONTEXT], device=network.device)
        known = OVERLAP if first else 1
        logits = network(input_ids=window[None]).logits[0, known - 1 : -1].float()
        total += torch.nn.functional.cross_entropy(logits, window[known:], reduction="sum").item()
    return total


@torch.inference_mode()
def tell(network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, seed: int, length: int) -> str:
    """Go on with a prompt, at temperature 0.8, until the story ends or `length` tokens are written."""
    torch.manual_seed(seed)
    tokens = tokenizer(prompt, return_tensors="pt").to(network.device)
    told = network.generate(**tokens, do_sample=True, temperature=0.8, top_k=0, max_new_tokens=length)
    return tokenizer.decode(told[0], skip_special_tokens=True)


def loops(story: str) -> bool:
    """Tell whether the same four words come four times."""
    words = story.lower().split()
    return max(Counter(zip(*(words[first:] for first in range(4)), strict=False)).values(), default=0) >= 4


def load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Return the saved network, in float32, and its tokenizer."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(loop.device()).eval()
    return network, AutoTokenizer.from_pretrained(folder)


def tell_all(folder: Path, quick: bool = False) -> list[str]:
    """Return the story after each of PROMPTS, the first and only one drawn."""
    network, tokenizer = load(folder)
    prompts = PROMPTS[:2] if quick else PROMPTS
    return [tell(network, tokenizer, prompt, number, TOLD) for number, prompt in enumerate(prompts)]


def measure(folder: Path, data: Path | None, quick: bool) -> list[Figure]:
    """Return how well held-out books and tales are foretold, and whether the stories in the card go round in circles."""
    network, tokenizer = load(folder)
    training, tales = gather(data)
    documents = (row for texts in training.values() for row in encode(tokenizer, texts))
    end = tokenizer.eos_token_id  # before a text as after it, so that every word is foretold
    counts = KneserNey(5).fit(([end, *row] for row in documents), len(tokenizer))

    def perplexity(name: str, texts: list[str], must: bool) -> Figure:
        """Compare the two on the same tokens, all of them."""
        rows = [[end, *row][: 2 * CONTEXT if quick else None] for row in encode(tokenizer, texts)]
        words = sum(len(tokenizer.decode(row, skip_special_tokens=True).split()) for row in rows)
        ours = math.exp(sum(surprise(network, row) for row in rows) / words)
        theirs = math.exp(sum(map(counts.surprise, rows)) / words)
        beside = {"Kneser-Ney 5-gram, trained on the same": theirs}
        return Figure(f"perplexity a word, {name}, {words:,} words", ours, beside, BAR * theirs if must else None, True)

    stories = tell_all(folder, quick)
    return [
        perplexity("six books held out", corpus.documents(data, "books_held_out"), must=True),
        perplexity("tales held out", tales, must=False),
        Figure(
            f"of {len(stories)} stories, those with four words in a row four times",
            sum(map(loops, stories)),
            bar=0,
            lower=True,
        ),
    ]


def what_it_is(folder: Path) -> str:
    """Return what the network is, in a few sentences."""
    network, tokenizer = load(folder)
    return (
        f"A Llama of {network.num_parameters() / 1e6:.1f} million parameters, made from nothing to write simple English "
        f"stories and to be looked into. Context {CONTEXT} tokens, vocabulary {len(tokenizer):,} pieces (byte-level BPE of "
        f"its own), bfloat16, {card.megabytes(folder):.1f} MB. Of the classic prose it read only: "
        f"{', '.join(sorted(TITLES))}."
    )


def examples(folder: Path) -> dict[str, str]:
    """Return a story after each of the prompts."""
    stories = [f"{number}. " + story.replace("\n", "\n   ") for number, story in enumerate(tell_all(folder), 1)]
    return {f"{len(stories)} stories, {TOLD} tokens each, at temperature 0.8, none chosen": "\n\n".join(stories)}


def main(arguments: list[str] | None = None) -> None:
    """Gather, learn, save, measure."""
    chosen = recipe.Options("storyteller", "Train the storyteller.", STEPS).parse(arguments)
    batch, steps = (1024, min(chosen.steps, 10)) if chosen.quick else (BATCH, chosen.steps)
    torch.manual_seed(chosen.seed)
    training, held_out = gather(chosen.data)
    tokenizer = learn_tokenizer(training, 600 if chosen.quick else VOCABULARY)
    streams = {name: stream(tokenizer, texts) for name, texts in training.items()}
    print(", ".join(f"{name} {len(tokens):,} tokens" for name, tokens in streams.items()), flush=True)
    network = LlamaForCausalLM(architecture(len(tokenizer), chosen.quick)).to(loop.device())

    def loss_at(step: int) -> torch.Tensor:
        rows = draw(streams, chosen.seed, step, batch).to(loop.device())
        return network(input_ids=rows, labels=rows).loss

    seconds = loop.train(network, loss_at, steps=steps, checkpoint=chosen.checkpoint, rate=RATE, muon_rate=MUON_RATE)
    card.save(network, tokenizer, chosen.out)
    training = (
        f"`python -m training.storyteller --data FOLDER`: {steps:,} steps of {batch:,} tokens, {seconds / 60:.0f} minutes "
        f"on {card.machine()}; Muon for the blocks, AdamW for the rest."
    )
    this = sys.modules[__name__]
    report.record(this, chosen.out, chosen.data, chosen.results, training=training, quick=chosen.quick)


if __name__ == "__main__":
    recipe.run(main)
