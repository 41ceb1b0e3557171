"""Text in, tokens out, and tokens as a reader would write them: no ##, Ġ, ▁ or broken characters."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from core import limits
from core.errors import HiddenEverything, NoSuchPart, NothingTyped, TextTooLong

BLANK = "[MASK]"  # as visitors write it, whatever the model's own mask token is


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as the model takes it and as the page shows it."""

    ids: list[int]
    shown: tuple[str, ...]  # parallel to ids; a space in front where a word begins
    letters: tuple[str, ...]  # parallel to ids: what it adds to the text, "" for special tokens and rests of characters
    words: tuple[int | None, ...]  # parallel to ids: the number of the word a token belongs to, None for special tokens

    def by_word(self) -> list[list[int]]:
        """Return the tokens of each word."""
        numbers = sorted({word for word in self.words if word is not None})
        return [[at for at, word in enumerate(self.words) if word == number] for number in numbers]

    def written(self, words: list[list[int]]) -> tuple[str, ...]:
        """Return each word as the visitor wrote it."""
        return tuple("".join(self.letters[token] for token in word) for word in words)

    def mask(self, hidden: frozenset[int]) -> list[int]:
        """Return the attention mask that hides these tokens.

        Raises NoSuchPart and HiddenEverything.
        """
        for token in hidden:
            if not 0 <= token < len(self.ids):
                raise NoSuchPart(part="token", found=token + 1, limit=len(self.ids))
        if all(token in hidden for token, word in enumerate(self.words) if word is not None):
            raise HiddenEverything()
        return [int(token not in hidden) for token in range(len(self.ids))]


def clean(text: object, field: str, characters: int = limits.TEXT_CHARACTERS) -> str:
    """Return a visitor's text without what no model reads: control characters and halves of characters.

    Raises NothingTyped, and TextTooLong before anything is tokenized.
    """
    text = text if isinstance(text, str) else ""
    if len(text) > characters:
        raise TextTooLong(field=field, found=len(text), limit=characters, unit="characters")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(mark for mark in text if mark in "\n\t" or unicodedata.category(mark) not in ("Cc", "Cs"))
    if not text.strip():
        raise NothingTyped(field=field)
    return text


def encode(model, text: object, field: str, limit: int = limits.TEXT_TOKENS, blanks: bool = False) -> Encoded:
    """Tokenize a visitor's text; special tokens typed in it are text, but for [MASK] where `blanks` are wanted.

    Raises NothingTyped, and TextTooLong above `limit` tokens or the model's context.
    """
    text = clean(text, field, limits.TEXT_CHARACTERS if limit <= limits.TEXT_TOKENS else limits.LONG_CHARACTERS)
    tokenizer = model.tokenizer
    before, after = frame(tokenizer)
    ids, shown, letters, words = [], [], [], []
    parts = split_at_blanks(text, tokenizer.mask_token) if blanks else [text]
    for number, part in enumerate(parts):
        if number:
            ids.append(tokenizer.mask_token_id)
            shown.append(" " + BLANK if parts[number - 1][-1:].isspace() else BLANK)
            letters.append(shown[-1])
            words.append(1 + max((word for word in words if word is not None), default=-1))
        # The mask token of some tokenizers swallows the space before it; the others do not miss it.
        part = part.rstrip() if number < len(parts) - 1 else part
        found = tokenizer(part, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
        first = 1 + max((word for word in words if word is not None), default=-1)
        ids += found["input_ids"]
        shown += as_written(part, found["offset_mapping"])
        letters += spell(part, found["offset_mapping"])
        words += [None if word is None else first + word for word in found.word_ids()]
    if not ids:
        raise NothingTyped(field=field)
    total, limit = len(before) + len(ids) + len(after), min(limit, model.context)
    if total > limit:
        raise TextTooLong(field=field, found=total, limit=limit, unit="tokens")
    specials = [tuple(tokenizer.convert_ids_to_tokens(edge)) for edge in (before, after)]
    return Encoded(
        before + ids + after,
        specials[0] + tuple(shown) + specials[1],
        ("",) * len(before) + tuple(letters) + ("",) * len(after),
        (None,) * len(before) + tuple(words) + (None,) * len(after),
    )


def split_at_blanks(text: str, mask_token: str) -> list[str]:
    """Return the stretches of text between blanks, written [MASK] in any case or as the model's own mask token."""
    return re.split(f"{re.escape(BLANK)}|{re.escape(mask_token)}", text, flags=re.IGNORECASE)


def frame(tokenizer) -> tuple[list[int], list[int]]:
    """Return the special tokens a tokenizer puts before and after a text."""
    bare, full = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    start = next(at for at in range(len(full)) if full[at : at + len(bare)] == bare)
    return full[:start], full[start + len(bare) :]


def spell(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """Return what each token adds to the text, a space in front where a word begins; a character counts once."""
    spelled, done = [], 0
    for start, end in spans:
        begins = any(mark.isspace() for mark in text[done:start])
        spelled.append(" " * begins + text[max(start, done) : end])
        done = max(done, end)
    return spelled


def as_written(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """Return the visitor's own letters for each token; parts of one character are numbered, as in "你 1/3"."""
    parts = Counter(spans)
    return [
        f"{text[start:end]} {at - spans.index((start, end)) + 1}/{parts[start, end]}"
        if end - start == 1 and parts[start, end] > 1
        else letters or text[start:end]
        for at, ((start, end), letters) in enumerate(zip(spans, spell(text, spans), strict=True))
    ]


def piece(tokenizer, token: int) -> str:
    """Return one token of the vocabulary as text, a space in front where it begins a word; lone bytes as in "‹E4 BD›"."""
    raw = tokenizer.convert_ids_to_tokens(token)
    if token in tokenizer.all_special_ids:
        return raw
    if type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece":
        return raw[2:] if raw.startswith("##") else " " + raw
    text = tokenizer.decode([token])
    if BROKEN in text:
        return "‹" + " ".join(f"{byte:02X}" for byte in byte_values(raw)) + "›"
    return " " + text if raw.startswith("▁") and not text.startswith(" ") else text


def byte_values(raw: str) -> list[int]:
    """Return the bytes behind a byte-level token: "<0xE4>", or a letter a byte in GPT-2's table.

    In that table a printable byte stands for itself and the others for the letters from 256 on.
    """
    if re.fullmatch("<0x[0-9A-F]{2}>", raw):
        return [int(raw[3:5], 16)]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
    return [letters[letter] for letter in raw if letter in letters]


def label(text: str) -> str:
    """Return a token as the name of a bar: line breaks made visible, "…ing" for what is glued to the word before it."""
    bare = text.strip(" ").replace("\n", "⏎")
    bare = "".join(chr(0x2400 + ord(mark)) if ord(mark) < 32 else mark for mark in bare)  # ␉ and the like
    if not bare:
        return "␣" if text else "∅"
    glued = text[0] != " " and bare[0].isalpha() and ord(bare[0]) < FIRST_CJK
    return f"…{bare}" if glued else bare


def token_label(tokenizer, token: int) -> str:
    """Return a token of the vocabulary as the name of a bar."""
    return label(piece(tokenizer, token))


FIRST_CJK = 0x2E80  # from here on scripts write no spaces between words


BROKEN = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer writes for bytes that are no character, or not one yet


class Spelling:
    """Turns a stream of tokens into text, holding a character back until all its bytes are there."""

    def __init__(self, tokenizer, ids: list[int]):
        self._decode = tokenizer.decode
        self._ids = list(ids)
        self._start, self._said = max(0, len(ids) - 8), len(ids)  # a window is enough to know where words begin
        self._told = len(self._decode(self._ids[self._start :]))  # characters of the window

    def add(self, token: int) -> str:
        """Return what this token adds to the text, "" while a character is not whole yet."""
        self._ids.append(token)
        now = self._decode(self._ids[self._start :])
        whole = now.rstrip(BROKEN)
        added, self._told = whole[self._told :], len(whole)
        if whole == now:
            self._start, self._said = self._said, len(self._ids)
            self._told = len(self._decode(self._ids[self._start :]))
        return added.replace(BROKEN, "")
