"""Text in, tokens out, and tokens as a reader would write them: no ##, Ġ, ▁ or broken characters."""

import codecs
import json
import re
import unicodedata
import weakref
from collections import Counter
from copy import copy
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import TemplateError

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
    if not any(visible(mark) for mark in text):
        raise NothingTyped(field=field)
    return text


def visible(mark: str) -> bool:
    """Whether a character leaves anything on a page: blanks, joiners and the turns of a line do not."""
    return not mark.isspace() and unicodedata.category(mark) != "Cf"


def encode(
    model, text: object, field: str, limit: int = limits.TEXT_TOKENS, blanks: bool = False, chat: bool = False
) -> Encoded:
    """Tokenize a visitor's text; special tokens typed in it are text, but for [MASK] where `blanks` are wanted.

    chat: what the text says is a visitor's turn, and the model's turn begins, where its tokenizer has a template for that.
    Raises NothingTyped, and TextTooLong above `limit` tokens or the model's context.
    """
    text = clean(text, field, limits.TEXT_CHARACTERS if limit <= limits.TEXT_TOKENS else limits.LONG_CHARACTERS)
    tokenizer = model.tokenizer
    turn = chat_frame(tokenizer) if chat else None
    before, after = turn or frame(tokenizer)
    text = text.strip() if turn else text  # as nearly every template does; a turn has no edges to keep
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
        spelled = spell(part, found["offset_mapping"])
        letters += spelled
        words += [None if word is None else first + word for word in number_words(found.word_ids(), spelled)]
    if not ids:
        raise NothingTyped(field=field)
    total, limit = len(before) + len(ids) + len(after), min(limit, model.context)
    if total > limit:
        raise TextTooLong(field=field, found=total, limit=limit, unit="tokens")
    specials = [tuple(piece(tokenizer, token) for token in edge) for edge in (before, after)]
    return Encoded(
        before + ids + after,
        specials[0] + tuple(shown) + specials[1],
        ("",) * len(before) + tuple(letters) + ("",) * len(after),
        (None,) * len(before) + tuple(words) + (None,) * len(after),
    )


def encode_prompt(model, prompt: object) -> Encoded:
    """Tokenize what a story goes on from; a chat model is told that a visitor said it.

    Raises NothingTyped and TextTooLong.
    """
    return encode(model, prompt, "prompt", chat=True)


def split_at_blanks(text: str, mask_token: str) -> list[str]:
    """Return the stretches of text between blanks, written [MASK] in any case or as the model's own mask token."""
    return re.split(f"{re.escape(BLANK)}|{re.escape(mask_token)}", text, flags=re.IGNORECASE)


def frame(tokenizer) -> tuple[list[int], list[int]]:
    """Return the special tokens a tokenizer puts before and after a text."""
    bare, full = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    start = next(at for at in range(len(full)) if full[at : at + len(bare)] == bare)
    return full[:start], full[start + len(bare) :]


PLACE = "GLASSBOX"  # stands for the visitor's words in a chat template
# What a template, which is a program, may stumble over; its own refusals are the first.
STUMBLES = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def chat_frame(tokenizer) -> tuple[list[int], list[int]] | None:
    """Return the tokens a chat template puts before and after a visitor's turn, the beginning of the model's own among them.

    None where there is no template, or none that takes one turn of text and repeats it unchanged.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    for content in (PLACE, [{"type": "text", "text": PLACE}]):  # of models that see pictures a turn has parts
        try:
            written = tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # Qwen3's and the like: the answer, not what is thought before it
            )
        except STUMBLES:
            continue
        edges = written.split(PLACE)
        if len(edges) == 2:
            found = [tokenizer(e, add_special_tokens=False, split_special_tokens=False)["input_ids"] for e in edges]
            return found[0], found[1]
    return None


def spell(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """Return what each token adds to the text, a space in front where a word begins; a character counts once."""
    spelled, done = [], 0
    for start, end in spans:
        begins = any(mark.isspace() for mark in text[done:start])
        spelled.append(" " * begins + text[max(start, done) : end])
        done = max(done, end)
    return spelled


def number_words(numbers: list[int | None], letters: list[str]) -> list[int | None]:
    """Return the number of the word each token belongs to, from those a tokenizer cut the text into before its tokens.

    Some cut nothing, and most cut no Chinese: a word also begins at a blank, and each character there is one.
    """
    found, count, written, before = [], -1, "", None
    for number, added in zip(numbers, letters, strict=True):
        begins = bool(written.strip()) and (added[:1].isspace() or is_word(added[:1]))
        if number is not None and (number != before or begins):
            count, written, before = count + 1, "", number
        written += added
        found.append(None if number is None else count)
    return found


def is_word(character: str) -> bool:
    """Whether a character is a word of its own, as in Chinese."""
    return character.isalpha() and ord(character) >= FIRST_CJK


def as_written(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """Return the visitor's own letters for each token; parts of one character are numbered, as in "你 1/3"."""
    parts = Counter(spans)
    return [
        f"{alone(text[start:end])} {at - spans.index((start, end)) + 1}/{parts[start, end]}"
        if end - start == 1 and parts[start, end] > 1
        else letters or text[start:end]
        for at, ((start, end), letters) in enumerate(zip(spans, spell(text, spans), strict=True))
    ]


class Vocabulary:
    """The tokens of one tokenizer, one at a time: as bytes, as text, as the names of bars."""

    def __init__(self, tokenizer):
        # Not the tokenizer itself: it may go when its model goes, and what is kept about it with it.
        self._backend = tokenizer.backend_tokenizer
        self._special = frozenset(tokenizer.all_special_ids)
        decoder = json.loads(self._backend.decoder.__getstate__()) if self._backend.decoder else {"type": None}
        kinds = {part["type"] for part in decoder.get("decoders", [decoder])}
        self._by_bytes = "ByteLevel" in kinds
        self._falls_back = "ByteFallback" in kinds
        self.label = lru_cache(limits.NAMES_KEPT)(self._label)

    def bytes_of(self, token: int, before: int | None = None) -> bytes:
        """Return what a token adds to a text after the token `before`, a space in front where it begins a word.

        A token that is a lone byte is that byte, whatever is before it.
        """
        raw = self._backend.id_to_token(token) or ""
        if self._by_bytes or self.is_byte(token):
            return byte_values(raw)
        start = [token if before is None else before]  # a space is left out at the beginning of a text only
        spelled, both = (self._backend.decode(ids, skip_special_tokens=False) for ids in (start, [*start, token]))
        return both[len(spelled) :].encode()

    def is_byte(self, token: int) -> bool:
        """Whether a token stands for one byte, written as in "<0xE4>"."""
        return self._falls_back and bool(LONE_BYTE.fullmatch(self._backend.id_to_token(token) or ""))

    def piece(self, token: int) -> str:
        """Return a token as text, a space in front where it begins a word; lone bytes as in "‹E4 BD›"."""
        if token in self._special:
            return self._backend.id_to_token(token)
        found = self.bytes_of(token)
        text = found.decode(errors="replace")
        return "‹" + " ".join(f"{byte:02X}" for byte in found) + "›" if BROKEN in text else text

    def _label(self, token: int) -> str:
        return label(self.piece(token))


_vocabularies: dict[int, Vocabulary] = {}  # by the tokenizer's id: two may be equal, or have no hash


def vocabulary(tokenizer) -> Vocabulary:
    """Return what is known of a tokenizer's tokens, worked out once and kept as long as the tokenizer is."""
    found = _vocabularies.get(id(tokenizer))
    if found is None:
        found = _vocabularies[id(tokenizer)] = Vocabulary(tokenizer)
        weakref.finalize(tokenizer, _vocabularies.pop, id(tokenizer), None)
    return found


def piece(tokenizer, token: int) -> str:
    """Return one token of the vocabulary as text, a space in front where it begins a word; lone bytes as in "‹E4 BD›"."""
    return vocabulary(tokenizer).piece(token)


LONE_BYTE = re.compile("<0x[0-9A-F]{2}>")


def byte_table() -> dict[str, int]:
    """Return GPT-2's letter a byte: a printable byte stands for itself, the others for the letters from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}


BYTES = byte_table()


def byte_values(raw: str) -> bytes:
    """Return the bytes behind a byte-level token: "<0xE4>", or a letter a byte; those of the text where it is neither."""
    if LONE_BYTE.fullmatch(raw):
        return bytes([int(raw[3:5], 16)])
    return bytes(BYTES[letter] for letter in raw) if all(letter in BYTES for letter in raw) else raw.encode()


def label(text: str) -> str:
    """Return a token as the name of a bar: line breaks made visible, "…ing" for what is glued to the word before it."""
    bare = text.strip(" ").replace("\n", "⏎")
    bare = alone(bare) if len(bare) == 1 else "".join(mark if mark in JOINERS else inked(mark) for mark in bare)
    bare = f"◌{bare}" if is_accent(bare[:1]) else bare
    if not bare:
        return "␣" if text else "∅"
    glued = text[0] != " " and bare[0].isalpha() and ord(bare[0]) < FIRST_CJK
    return f"…{bare}" if glued else bare


JOINERS = "\u200c\u200d"  # inside words and pictures of several parts; they turn nothing around


def alone(mark: str) -> str:
    """Return a character as it can be seen with no other beside it: an accent on a circle, a joiner by its number."""
    return f"◌{mark}" if is_accent(mark) else inked(mark)


def is_accent(mark: str) -> bool:
    """Whether a character is written onto the one before it."""
    return mark != "" and unicodedata.category(mark).startswith("M")


def inked(mark: str) -> str:
    """Return a character, or what can be seen of one without ink or that turns the text around it: ␉, ‹U+202E›."""
    if ord(mark) < 32:
        return chr(0x2400 + ord(mark))
    if mark != " " and unicodedata.category(mark) == "Zs":
        return "␣"
    return f"‹U+{ord(mark):04X}›" if unicodedata.category(mark) in ("Cf", "Zl", "Zp", "Cc") else mark


def token_label(tokenizer, token: int) -> str:
    """Return a token of the vocabulary as the name of a bar."""
    return vocabulary(tokenizer).label(token)


def joins(text: str, added: str) -> bool:
    """Whether what is added begins with a part of the last character of a text: an accent, the rest of a flag or a family.

    Source: Unicode Standard Annex 29, in so far as it matters for text that is not Hangul's single letters.
    """
    if not text or not added:
        return False
    first, flags = added[0], len(text) - len(text.rstrip(FLAG_LETTERS))
    if first in JOINERS or first in SKINS_AND_TAGS or is_accent(first):
        return True
    return (text[-1] == JOINERS[1] and not first.isascii()) or (first in FLAG_LETTERS and flags % 2 == 1)


FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))  # two are a flag
SKINS_AND_TAGS = "".join(map(chr, (*range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080))))


FIRST_CJK = 0x2E80  # from here on scripts write no spaces between words


BROKEN = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer writes for bytes that are no character, or not one yet


class Spelling:
    """Turns a stream of tokens into text, holding a character back until all its bytes are there.

    Bytes that cannot become a character are left out as soon as that is plain, so that nothing waits for more than three.
    """

    def __init__(self, tokenizer, ids: list[int]):
        """`ids` are the tokens before, a whole text."""
        self._vocabulary = vocabulary(tokenizer)
        self._reader = codecs.getincrementaldecoder("utf-8")("ignore")
        self._before = next((token for token in reversed(ids) if not self._vocabulary.is_byte(token)), None)

    def add(self, token: int) -> str:
        """Return what this token adds to the text, "" while a character is not whole yet."""
        added = self._reader.decode(self._vocabulary.bytes_of(token, self._before))
        if not self._vocabulary.is_byte(token):
            self._before = token
        return added.replace(BROKEN, "")

    def fork(self) -> "Spelling":
        """Return a spelling that goes on from here on its own."""
        other = copy(self)
        other._reader = codecs.getincrementaldecoder("utf-8")("ignore")
        other._reader.setstate(self._reader.getstate())
        return other
