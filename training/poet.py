"""Train the poet: the poems of the Tang in, a small Llama that goes on from a first line to four lines out.

python -m training.poet --data FOLDER
"""

import math
import re
import sys
from collections import Counter
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training import card, corpus, loop, poetry, recipe, report
from training.baselines import KneserNey
from training.poetry import Quatrain

NAME = "poet"
TITLE = "Poet"
LANGUAGE = "zh"
TASK = "text-generation"
DATA = ("tang",)
BAD_AT = (
    "Its lines keep the form and the mood of the Tang better than a thought: moon, river, parting and old friends come "
    "in every poem, and the four lines seldom tell one story. Rhyme and the pattern of tones it keeps only now and then. "
    "A first line that is written alike in both scripts it goes on with in either, and one poem in thirty or so mixes "
    "the two. It knows no word younger than the Tang, no prose and no longer forms; of famous poems it may know the next "
    "line by heart. Emperors, wars and women are as the men of that time wrote of them."
)

CONTEXT = 64  # tokens; a poem has at most 34, the end before and after it included
LEAST = 3  # times a character stands in one of the scripts, to be in the vocabulary
ROWS = 96  # poems a step
STEPS = 1800
RATE = 3e-3  # AdamW: embeddings and norms
MUON_RATE = 6e-3  # Muon, matched to the size of an AdamW step
SIMPLIFIED = 0.6  # of all poems a step; the rest are in traditional characters
WHOLE = (0.2, 0.6)  # of all poems a step were written as four lines: at first, and while the rate falls
BLANKED = 0.01  # of the characters read stand as unknown, as those will that visitors type and no poem holds
END, UNKNOWN = corpus.END, "[UNK]"
MARKS = "，。"
FIRST_CHARACTER = 4  # of the vocabulary, after the end, the unknown and the marks
TEMPERATURE = 0.8
FORM = {length: re.compile(rf"(?:\w{{{length}}}，\w{{{length}}}。){{2}}") for length in (5, 7)}
OPENINGS = 100  # held-out first lines of each length
FIRST_LINES = [
    *["春眠不觉晓", "白日依山尽", "红豆生南国", "灯下读旧书", "小雨过长桥", "山中无一事", "清风吹我衣", "雪落故人家"],
    *["月落乌啼霜满天", "两个黄鹂鸣翠柳", "故人西辞黄鹤楼", "窗外海棠花正开", "一夜秋风入梦来", "老友相逢话旧年"],
    *["湖上归舟带晚霞", "今夜无眠听雨声", "床前明月光", "舉頭望明月", "雲開見遠山", "獨坐江樓聽雨聲"],
]


def learn_tokenizer(poems: list[Quatrain], least: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token for each character that stands at least so often in one of the scripts."""
    scripts = ((poem.simplified for poem in poems), (poem.traditional for poem in poems))
    counts = [Counter("".join(script)) for script in scripts]
    known = sorted({character for count in counts for character in count if count[character] >= least} - {*MARKS})
    vocabulary = {token: number for number, token in enumerate([END, UNKNOWN, *MARKS, *known])}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    characters.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(found), new)
            for found, new in (("[,;:；：、]", "，"), ("[.?!？！]", "。"), (r"\s", ""))
        ]
    )
    characters.pre_tokenizer = pre_tokenizers.Split(Regex("[^\n]"), "isolated")
    characters.decoder = decoders.Fuse()
    characters.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    named = {"bos_token": END, "eos_token": END, "pad_token": END, "unk_token": UNKNOWN}
    return PreTrainedTokenizerFast(tokenizer_object=characters, model_max_length=CONTEXT, **named)


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """Return each text, all of one length, between two ends: int64[texts, length]."""
    return torch.tensor([[*piece.ids, 0] for piece in tokenizer._tokenizer.encode_batch(texts)])


def of_form(poems: list[Quatrain], length: int) -> list[Quatrain]:
    """Return the poems with lines of so many characters."""
    return [poem for poem in poems if len(poem.lines[0]) == length]


class Anthology:
    """The poems of one form, as tokens, in both scripts."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, poems: list[Quatrain]):
        scripts = [poem.simplified for poem in poems], [poem.traditional for poem in poems]
        self.scripts = torch.stack([encode(tokenizer, script) for script in scripts])
        self.whole = torch.tensor([number for number, poem in enumerate(poems) if poem.whole])

    def draw(self, random: torch.Generator, count: int, share: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw poems, each in a script of its own: what is read and what is to be learned, both int64[count, length].

        `share` of them were written as four lines. An unknown character is read but never learned: -100.
        """
        of_these = torch.randint(len(self.whole), (round(share * count),), generator=random)
        of_all = torch.randint(self.scripts.shape[1], (count - len(of_these),), generator=random)
        script = (torch.rand(count, generator=random) >= SIMPLIFIED).long()
        rows = self.scripts[script, torch.cat([self.whole[of_these], of_all])]
        blanked = (torch.rand(rows.shape, generator=random) < BLANKED) & (rows >= FIRST_CHARACTER)
        return rows.masked_fill(blanked, 1), rows.masked_fill(rows == 1, -100)


def architecture(vocabulary: int, quick: bool) -> LlamaConfig:
    """Return the shape of the network: RoPE, RMSNorm, SwiGLU, tied embeddings; 6.9 million parameters."""
    wide, deep = (64, 2) if quick else (256, 6)
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=wide,
        intermediate_size=wide * 11 // 4,
        num_hidden_layers=deep,
        num_attention_heads=wide // 64,
        num_key_value_heads=wide // 64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )


def begin_alike(network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, poems: list[Quatrain]) -> None:
    """Let each traditional character begin as its simplified one does, so that what is learned of both begins alike."""
    pairs = Counter(pair for one in poems for pair in zip(one.traditional, one.simplified, strict=False))
    rows = network.get_input_embeddings().weight.data
    for (old, new), _ in reversed(pairs.most_common()):
        rows[tokenizer.convert_tokens_to_ids(old)] = rows[tokenizer.convert_tokens_to_ids(new)]


@torch.inference_mode()
def surprise(network: LlamaForCausalLM, rows: torch.Tensor) -> float:
    """Return the sum of -log probability, in nats, over all tokens of the rows but their first ends."""
    total = 0.0
    for some in rows.to(network.device).split(64):
        logits = network(input_ids=some).logits.float()[:, :-1].flatten(0, 1)
        total += torch.nn.functional.cross_entropy(logits, some[:, 1:].flatten(), reduction="sum").item()
    return total


@torch.inference_mode()
def compose(
    network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, beginnings: list[str], seed: int
) -> list[str]:
    """Go on with each beginning, all of as many characters, to the end of the poem, at temperature 0.8."""
    torch.manual_seed(seed)
    tokens = tokenizer(beginnings, return_tensors="pt", return_token_type_ids=False).to(network.device)
    read = tokens["input_ids"].shape[1]
    poems = network.generate(**tokens, do_sample=True, temperature=TEMPERATURE, top_k=0, max_new_tokens=CONTEXT - read)
    added = tokenizer.batch_decode(poems[:, read:], skip_special_tokens=True)
    return [beginning + rest for beginning, rest in zip(beginnings, added, strict=True)]


def read(folder: Path) -> tuple[PreTrainedTokenizerFast, LlamaForCausalLM]:
    """Return a saved folder's tokenizer and network, to be asked."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return AutoTokenizer.from_pretrained(folder), network.to(loop.device()).eval()


def in_form(poem: str) -> bool:
    """Whether a poem has four lines of five or of seven characters, with the marks in their places."""
    return any(form.fullmatch(poem) for form in FORM.values())


def repeats(poem: str) -> bool:
    """Whether a line comes twice."""
    lines = [line for line in re.split(f"[{MARKS}]", poem) if line]
    return len(set(lines)) < len(lines)


def measure(folder: Path, data: Path | None, quick: bool) -> list[report.Figure]:
    """Return how well it foresees held-out poems, and what becomes of held-out first lines."""
    tokenizer, network = read(folder)
    training, held_out = poetry.quatrains(data)
    secret = [encode(tokenizer, [one.simplified for one in of_form(held_out, length) if one.whole]) for length in FORM]
    secret = [rows[(rows != 1).all(1)] for rows in secret]
    seen = [row for length in FORM for row in encode(tokenizer, [one.simplified for one in of_form(training, length)])]
    counts = KneserNey(4).fit(seen, len(tokenizer))
    characters = sum(int((rows >= FIRST_CHARACTER).sum()) for rows in secret)
    ours = sum(surprise(network, rows) for rows in secret)
    beside = sum(counts.surprise(row) for rows in secret for row in rows)
    figures = [
        report.Figure(
            f"perplexity a character, {sum(map(len, secret))} held-out poems of four lines, simplified",
            math.exp(ours / characters),
            {"Kneser-Ney 4-gram": math.exp(beside / characters)},
            lower=True,
        )
    ]
    opening = {one.lines[0]: None for one in held_out if one.opens}
    lines = [[line for line in opening if len(line) == length][: 2 if quick else OPENINGS] for length in FORM]
    for mark, said in (("，", "with a comma"), ("", "without a comma")):
        poems = [
            poem for some in lines if some for poem in compose(network, tokenizer, [one + mark for one in some], 0)
        ]
        given = f"{len(poems)} held-out first lines {said}, temperature {TEMPERATURE}"
        right = sum(map(in_form, poems)) / len(poems)
        fresh = 1 - sum(map(repeats, poems)) / len(poems)
        figures += [
            report.Figure(f"four lines of one right length, {given}", right, bar=0.95),
            report.Figure(f"no line twice, {given}", fresh, bar=0.98),
        ]
    return figures


def what_it_is(folder: Path) -> str:
    """Return what the network is, in a few sentences."""
    tokenizer, network = read(folder)
    size = sum(weight.numel() for weight in network.parameters())
    return (
        f"A Llama of {size / 1e6:.1f} million parameters, made from nothing to write four-line poems (绝句, lines of five "
        "or seven characters) after a first line, in the script of that line, and to be looked into. "
        f"Context {CONTEXT} tokens, one a character, vocabulary {len(tokenizer):,}, bfloat16, "
        f"{card.megabytes(folder):.1f} MB."
    )


def examples(folder: Path) -> dict[str, str]:
    """Return a poem after each of the fixed first lines."""
    tokenizer, network = read(folder)
    poems = [compose(network, tokenizer, [line], number)[0] for number, line in enumerate(FIRST_LINES)]
    listed = "\n".join(f"{number}. {poem}" for number, poem in enumerate(poems, 1))
    return {
        f"A poem after each of {len(poems)} fixed first lines, the first drawn, at temperature {TEMPERATURE}": listed
    }


def main(arguments: list[str] | None = None) -> None:
    """Gather, learn, save, measure."""
    chosen = recipe.Options(NAME, "Train the poet.", STEPS).parse(arguments)
    count, steps = (16, min(chosen.steps, 10)) if chosen.quick else (ROWS, chosen.steps)
    torch.manual_seed(chosen.seed)
    training, _ = poetry.quatrains(chosen.data)
    tokenizer = learn_tokenizer(training, 1 if chosen.quick else LEAST)
    print(f"{len(training):,} pieces of four lines, {len(tokenizer):,} characters", flush=True)
    forms = [Anthology(tokenizer, of_form(training, length)) for length in FORM]
    network = LlamaForCausalLM(architecture(len(tokenizer), chosen.quick)).to(loop.device())
    network.set_attn_implementation("eager")  # on so short rows the fastest on a processor
    begin_alike(network, tokenizer, training)
    network.generation_config.suppress_tokens = [tokenizer.unk_token_id]

    def loss_at(step: int) -> torch.Tensor:
        share = WHOLE[step >= (1 - loop.DECAY) * steps]
        rows, labels = forms[step % 2].draw(loop.generator(chosen.seed, step), count, share)
        return network(input_ids=rows.to(loop.device()), labels=labels.to(loop.device())).loss

    seconds = loop.train(network, loss_at, steps=steps, checkpoint=chosen.checkpoint, rate=RATE, muon_rate=MUON_RATE)
    card.save(network, tokenizer, chosen.out)
    training_said = (
        f"`python -m training.poet --data FOLDER`: {steps:,} steps of {count} poems, {seconds / 60:.0f} minutes on "
        f"{card.machine()}; Muon for the blocks, AdamW for the rest."
    )
    report.record(
        sys.modules[__name__], chosen.out, chosen.data, chosen.results, training=training_said, quick=chosen.quick
    )


if __name__ == "__main__":
    recipe.run(main)
