"""Text generation: a prompt in, a story out, token by token, with all that each token could have been."""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from core import attention, limits, sampling
from core.beams import search
from core.decoding import Said, open_story
from core.errors import NoSuchPart, TextTooLong
from core.models import Model
from core.rankings import probabilities, rank
from core.results import Beams, Ranking, Saliency, Settings, Step, Verdict, WhatIf
from core.saliency import explain, hide
from core.tokens import FIRST_CJK, Encoded, Spelling, encode_prompt, joins, token_label


@torch.inference_mode()
def generate(
    model: Model,
    prompt: str,
    settings: Settings = Settings(),
    forced: tuple[int, ...] = (),
    what_if: WhatIf = WhatIf(),
) -> Iterator[Step]:
    """Write on after a prompt, one Step a token; the first tokens are `forced` ones, to go on along a branch.

    Stops at the model's end of text, at a stop word, at `settings.length` tokens or at the end of its context, and when
    nobody listens. A token is one turn at the device; stories that wait for theirs are read in one pass.
    The same seed gives the same story, whoever else is writing. `what_if.hidden_tokens` are numbers of the prompt's words.
    Raises NothingTyped, TextTooLong, BadValue, NoSuchPart, HiddenEverything before the first step.
    """
    settings = sampling.check(settings)
    reader, steps, text = open_story(model, what_if), [], ""
    try:
        encoded = encode_prompt(model, prompt)
        room = model.context - len(encoded.ids)
        if room < 1:
            raise TextTooLong(field="prompt", found=len(encoded.ids), limit=model.context - 1, unit="tokens")
        whole = model.inputs(input_ids=encoded.ids, attention_mask=[1] * len(encoded.ids))
        left = hide(model, whole, encoded.by_word(), what_if.hidden_tokens)
        ids, mask = left["input_ids"][0].tolist(), left["attention_mask"][0].tolist()
        length = min(settings.length, room)
        forced = known_tokens(model, forced[:length])
        writer = Writer(model, encoded.ids, ids, settings, forced)
        waiting = deque(reader.begin(ids, mask, forced, writer))
        for at in range(length):
            step = waiting.popleft() if waiting else reader.read(steps[-1].token)
            if step is None:
                return
            steps.append(step)
            yield step
            text += step.text
            if at >= len(forced) and any(word in text[-len(word) - len(step.text) :] for word in settings.stop):
                return
    finally:
        reader.leave(steps)


def known_tokens(model: Model, tokens: tuple[int, ...]) -> tuple[int, ...]:
    """Return tokens. Raises NoSuchPart for one that the vocabulary has not."""
    vocabulary = model.network.config.get_text_config().vocab_size
    for token in tokens:
        if not 0 <= token < vocabulary:
            raise NoSuchPart(part="token", found=token, limit=vocabulary - 1)
    return tokens


class Writer:
    """Picks a story's tokens, one after the other, and makes their records."""

    def __init__(
        self, model: Model, typed: Sequence[int], read: Sequence[int], settings: Settings, forced: Sequence[int]
    ):
        """typed: the prompt's tokens; read: the same as the network reads them, with blanks for what is hidden."""
        generator = torch.Generator().manual_seed(settings.seed)
        self._numbers = iter(torch.rand(settings.length + 1, dtype=torch.float64, generator=generator).tolist())
        self._forced, self._settings, self._ends = iter(forced), settings, ends_of_text(model)
        self._tokenizer, self._spelling = model.tokenizer, Spelling(model.tokenizer, typed)
        self._held = np.zeros(model.network.config.get_text_config().vocab_size, bool)  # tokens the text holds already
        self._held[list(read)] = True

    def again(self, step: Step) -> Step:
        """Write the next token, whose record is known."""
        next(self._numbers), next(self._forced)
        self._spelling.add(step.token)
        self._held[step.token] = True
        return step

    def write(self, said: Said) -> Step | None:
        """Return the record of the next token: the forced one, or one that is drawn; None where the text ends."""
        logs, settings = said.log_probabilities, self._settings  # (vocabulary)
        number, token = next(self._numbers), next(self._forced, None)
        if token is None:
            repeats = np.flatnonzero(self._held) if settings.repetition > 1 else ()
            token = sampling.draw(number, sampling.chances(logs, settings, len(logs), said.offset, repeats))
        if token in self._ends:
            return None
        kept = np.argpartition(-logs, min(limits.RIVALS_KEPT, len(logs)) - 1)[: limits.RIVALS_KEPT]
        kept = kept[np.argsort(-logs[kept])]  # the likeliest first
        repeats = np.flatnonzero(self._held[kept])
        rivals, ranks = kept[: limits.CHOICES].tolist(), [*range(min(limits.CHOICES, len(kept)))]
        if token not in rivals:
            rivals.append(token)
            ranks.append(max(len(ranks), int((logs > logs[token]).sum())))
        self._held[token] = True
        labels = tuple(token_label(self._tokenizer, rival) for rival in rivals)
        return Step(
            text=self._spelling.add(token),
            token=token,
            probability=float(np.exp(logs[token])),
            alternatives=Ranking(labels, tuple(np.exp(logs[rivals]).tolist())),
            rivals=tuple(rivals),
            ranks=tuple(ranks),
            log_probabilities=logs[kept],
            vocabulary=len(logs),
            offset=said.offset,
            repeats=tuple(repeats.tolist()),
        )


def ends_of_text(model: Model) -> set[int]:
    """Return the tokens that end a text."""
    found = model.network.generation_config.eos_token_id
    ends = found if isinstance(found, list) else [found]
    return {token for token in [*ends, model.tokenizer.eos_token_id] if token is not None}


@torch.no_grad()
def explain_step(
    model: Model, prompt: str, tokens: tuple[int, ...], what_if: WhatIf = WhatIf(), why: bool = True
) -> Verdict:
    """Rank what could stand in the place of the last of `tokens`, a story after a prompt, and say what that one hangs on.

    The last token is among the limits.RIVALS_KEPT likeliest that are ranked, whatever its place. Of a long text the last
    limits.COVERED_WORDS words are weighed; `what_if.hidden_tokens` are their numbers. why: weigh them; else there is only
    the ranking, at a tenth of the time.
    Raises NothingTyped, TextTooLong, NoSuchPart, HiddenEverything.
    """
    encoded = encode_prompt(model, prompt)
    *story, last = tokens
    ids = [*encoded.ids, *story][: model.context]
    spelling = Spelling(model.tokenizer, encoded.ids)
    letters = [spelling.add(token) for token in story]
    words, shown = spell_on(encoded, letters[: len(ids) - len(encoded.ids)])
    words, shown = words[-limits.COVERED_WORDS :], shown[-limits.COVERED_WORDS :]
    inputs = hide(model, model.inputs(input_ids=ids, attention_mask=[1] * len(ids)), words, what_if.hidden_tokens)
    name = partial(token_label, model.tokenizer)

    def look() -> tuple[Tensor, Saliency | None]:
        with attention.watch(model.network, silenced=what_if.silenced_heads):
            chances = probabilities(model.network(**inputs, logits_to_keep=1).logits)[0, -1].cpu()  # (vocabulary,)
        silenced = what_if.silenced_heads
        return chances, explain(model, inputs, words, shown, last, name(last), -1, silenced) if why else None

    chances, reasons = model.run(look)
    ranking = rank(chances, name, limits.RIVALS_KEPT)
    if chances[last] < ranking.probabilities[-1]:
        ranking = Ranking((*ranking.labels, name(last)), (*ranking.probabilities, float(chances[last])))
    return Verdict(ranking, reasons)


def spell_on(encoded: Encoded, letters: Sequence[str]) -> tuple[list[list[int]], list[str]]:
    """Return the words of a prompt and of the tokens after it, as tokens and as letters; letters: what each token adds."""
    words = encoded.by_word()
    shown = list(encoded.written(words))
    apart = encoded.words[-1] is None  # a chat's template stands between the two
    for token, added in enumerate(letters, len(encoded.ids)):
        if shown and goes_on(shown[-1], added) and not (apart and token == len(encoded.ids)):
            words[-1].append(token)
            shown[-1] += added
        else:
            words.append([token])
            shown.append(added)
    return words, shown


def goes_on(word: str, added: str) -> bool:
    """Whether what a token adds belongs to the word before it: both touch with letters, or a character is not whole yet."""
    if not word or joins(word, added):
        return True
    ends = word[-1] + added[:1]
    return len(ends) == 2 and ends.isalpha() and all(ord(letter) < FIRST_CJK for letter in ends)


def beams(model: Model, prompt: str, tokens: tuple[int, ...] = (), width: int = 3, depth: int = 5) -> Beams:
    """Look ahead from a prompt and a story after it, along the `width` likeliest ways at once, `depth` tokens far.

    Raises NothingTyped, TextTooLong, BadValue, NoSuchPart.
    """
    return search(model, encode_prompt(model, prompt).ids, tokens, ends_of_text(model), width, depth)
