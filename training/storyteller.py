"""Train the storyteller: children's stories and fairy tales in, a small Llama that goes on with a story out.

python -m training.storyteller --data FOLDER
"""

import math
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training import card, corpus, loop, recipe
from training.baselines import Bigrams

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
TOLD = 120  # tokens of a sample in the card
PROMPTS = [
    "Once upon a time there was a little",
    "The fox looked at the hen and said",
    "One morning, Lily found a small door in the garden.",
    "There was once a king who had three daughters.",
    "The dragon was very sad because",
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


def stream(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """Return all texts as one row of tokens, each closed by the end token: int64[tokens]."""
    pieces = tokenizer._tokenizer.encode_batch(texts)
    end = tokenizer.eos_token_id
    return torch.tensor([token for piece in pieces for token in (*piece.ids, end)])


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
def surprise(network: LlamaForCausalLM, tokens: torch.Tensor) -> float:
    """Return the sum of -log probability, in nats, over all tokens but the first of each window of the context."""
    total = 0.0
    for window in tokens.split(CONTEXT):
        logits = network(input_ids=window[None].to(network.device)).logits.float()[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, window[1:].to(network.device), reduction="sum").item()
    return total


@torch.inference_mode()
def tell(network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, seed: int, length: int) -> str:
    """Go on with a prompt, at temperature 0.8, until the story ends or `length` tokens are written."""
    torch.manual_seed(seed)
    tokens = tokenizer(prompt, return_tensors="pt").to(network.device)
    told = network.generate(**tokens, do_sample=True, temperature=0.8, top_k=0, max_new_tokens=length)
    return tokenizer.decode(told[0], skip_special_tokens=True)


def describe(folder: Path, streams: dict[str, torch.Tensor], held_out: list[str], steps: int, minutes: float) -> None:
    """Measure the saved model and write its card."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(loop.device()).eval()
    tokens = stream(tokenizer, held_out)
    words = sum(len(text.split()) for text in held_out)
    windows = math.ceil(len(tokens) / CONTEXT)
    counts = Bigrams(torch.cat(list(streams.values())).tolist(), len(tokenizer))
    ours = surprise(network, tokens) / (words * (1 - windows / len(tokens)))
    pairs = counts.surprise(tokens.tolist()) / words
    size = sum(weight.numel() for weight in network.parameters())
    result = card.table(
        ["perplexity a word, lower is better", f"{words:,} words of stories not trained on"],
        [["this model", f"{math.exp(ours):.1f}"], ["pairs of tokens (Witten-Bell bigrams)", f"{math.exp(pairs):.1f}"]],
    )
    print(result, flush=True)
    samples = [tell(network, tokenizer, PROMPTS[number % len(PROMPTS)], number, TOLD) for number in range(10)]
    card.write(
        folder,
        title="Storyteller",
        language="en",
        task="text-generation",
        sections={
            "What it is": f"A Llama of {size / 1e6:.1f} million parameters, made from nothing to write simple English "
            f"stories and to be looked into. Context {CONTEXT} tokens, vocabulary {len(tokenizer):,} pieces "
            f"(byte-level BPE of its own), bfloat16, {card.megabytes(folder):.1f} MB.",
            "Training": f"`python -m training.storyteller --data FOLDER`: {steps:,} steps of {BATCH:,} tokens, "
            f"{minutes:.0f} minutes on {card.machine()}; Muon for the blocks, AdamW for the rest.",
            "Data": card.data_table(["children", "fairytales", "books", "tatoeba", "fairytales_held_out"])
            + f"\n\nOf the classic prose only: {', '.join(sorted(TITLES))}.",
            "Evaluation": result,
            "Ten stories, the first ten drawn, at temperature 0.8": "\n\n".join(
                f"{number}. " + sample.replace("\n", "\n   ") for number, sample in enumerate(samples, 1)
            ),
            "What it is bad at": "It knows words and sentences better than events: people and things change or vanish "
            "within a few lines. It knows no facts and answers no questions. Two thirds of what it read were written "
            "before 1930: kings, servants, punishment, and the roles of men, women and peoples are as in those books. "
            "Paragraphs with the coarsest slurs were left out; other dated attitudes were not.",
        },
    )


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
    describe(chosen.out, streams, held_out, steps, seconds / 60)


if __name__ == "__main__":
    recipe.run(main)
