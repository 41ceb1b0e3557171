"""A visitor's text becomes tokens and comes back as they wrote it, in any script and with any nonsense in it."""

import random
import unicodedata

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as kinds
from transformers import PreTrainedTokenizerFast

from core import limits, tokens
from core.errors import HiddenEverything, NoSuchPart, NothingTyped, TextTooLong
from core.tokens import BROKEN, Spelling, encode

SHAPES = pytest.mark.parametrize(
    ("kind", "task"),
    [("bert", "masking"), ("distilbert", "masking"), ("roberta", "masking"), ("modernbert", "masking"),
     ("gpt2", "generation"), ("llama", "generation")],
)  # fmt: skip
BYTES = pytest.mark.parametrize(("kind", "task"), [("roberta", "masking"), ("gpt2", "generation")])
BLANKED = pytest.mark.parametrize(("kind", "task"), [("bert", "masking"), ("roberta", "masking")])
STRANGE = [
    "the cat sat on the mat",
    "  the   cat ",
    "the\ncat\n\nsat\ton\rthe\r\nmat",
    "你好，世界",
    "the 猫 sat",
    "naïve café",
    "👩‍👩‍👧 and 🏳️‍🌈",
    "שלום עולם",
    "a\u202eb\u202cc",  # right-to-left override
    "a\u0000b\u0007c",
    "half \ud83d of a pair",
    "e" + "\u0301" * 20,
    "<b onclick=x>the &amp; cat</b>",
    "\ufb01ne Ⅳ ①",
]


def squeezed(text):
    """Return a text without blanks of any kind, what no model reads, and marks above letters, which BERT drops."""
    kept = (mark for mark in unicodedata.normalize("NFD", text) if unicodedata.category(mark) not in ("Mn", "Cs"))
    return "".join(mark for mark in kept if not mark.isspace() and unicodedata.category(mark) not in ("Cc", "Cf"))


@SHAPES
@pytest.mark.parametrize("text", STRANGE)
def test_the_words_put_together_are_the_text(model, kind, task, text):
    encoded = encode(model(kind, task), text, "text", 500)
    words = encoded.written(encoded.by_word())
    assert squeezed("".join(words)) == squeezed(text)
    assert " ".join("".join(words).split()).count(" ") <= " ".join(text.split()).count(" ")  # no blank where none was


@SHAPES
@pytest.mark.parametrize("text", STRANGE)
def test_everything_shown_is_parallel_and_whole(model, kind, task, text):
    encoded = encode(model(kind, task), text, "text", 500)
    assert len(encoded.ids) == len(encoded.shown) == len(encoded.words) == len(encoded.letters)
    assert sorted(at for word in encoded.by_word() for at in word) == [
        at for at, word in enumerate(encoded.words) if word is not None
    ]
    for shown in encoded.shown:
        assert BROKEN not in shown and not set("Ġ▁Ċ") & set(shown) and not shown.startswith("##")
        shown.encode()  # no half of a character


@SHAPES
def test_the_ids_are_those_of_the_tokenizer_itself(model, kind, task):
    model = model(kind, task)
    assert encode(model, "the cat sat on the mat", "text").ids == model.tokenizer("the cat sat on the mat")["input_ids"]


@SHAPES
def test_a_thousand_combining_marks_are_an_answer_or_a_sentence(model, kind, task):
    text = "e" + "\u0301" * 1000
    try:
        assert encode(model(kind, task), text, "text").ids
    except TextTooLong as error:
        assert error.facts["unit"] == "tokens"


@BYTES
def test_parts_of_one_character_are_numbered_and_its_word_is_whole(model, kind, task):
    encoded = encode(model(kind, task), "the 猫 sat", "text")
    parts = [shown for shown in encoded.shown if "猫" in shown]
    assert parts == [f"猫 {number + 1}/{len(parts)}" for number in range(len(parts))] and len(parts) > 1
    assert " 猫" in [word.rstrip() for word in encoded.written(encoded.by_word())]


@SHAPES
def test_special_tokens_that_are_typed_are_text(model, kind, task):
    model = model(kind, task)
    bare = set(encode(model, "the", "text").ids) - set(model.tokenizer("the", add_special_tokens=False)["input_ids"])
    for special in model.tokenizer.all_special_tokens:
        encoded = encode(model, f"a {special} b", "text")
        typed = [token for token, word in zip(encoded.ids, encoded.words, strict=True) if word is not None]
        allowed = {model.tokenizer.unk_token_id}  # a letter the tiny vocabulary lacks
        assert not (set(typed) - allowed) & set(model.tokenizer.all_special_ids)
        assert {token for token, word in zip(encoded.ids, encoded.words, strict=True) if word is None} == bare


@BLANKED
@pytest.mark.parametrize("blank", ["[MASK]", "[mask]", "[Mask]", "own", "OWN"])
@pytest.mark.parametrize("pattern", ["{} sat", "the {} sat", "the cat {}", "the{}sat", "{}", "{}{}", "the {} {} mat"])
def test_blanks_in_any_case_become_the_models_own(model, kind, task, blank, pattern):
    model = model(kind, task)
    own = model.tokenizer.mask_token
    written = {"own": own, "OWN": own.upper()}.get(blank, blank)
    encoded = encode(model, pattern.replace("{}", written), "text", blanks=True)
    wanted = pattern.count("{}")
    places = [at for at, token in enumerate(encoded.ids) if token == model.tokenizer.mask_token_id]
    assert len(places) == wanted
    assert all(encoded.shown[at].strip() == tokens.BLANK for at in places)
    assert len({encoded.words[at] for at in places}) == wanted  # each is a word of its own
    shown = "".join(encoded.shown[at] for at, word in enumerate(encoded.words) if word is not None)
    assert shown.strip() == pattern.replace("{}", tokens.BLANK)


@BLANKED
def test_a_blank_is_text_where_none_is_wanted(model, kind, task):
    model = model(kind, task)
    encoded = encode(model, "the [MASK] sat", "text")
    assert model.tokenizer.mask_token_id not in encoded.ids


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u3000", "\x00", "\ud800", None, 7, True, ["the cat"], {}, b"cat"])
@SHAPES
def test_nothing_typed_is_said_so(model, kind, task, text):
    with pytest.raises(NothingTyped) as error:
        encode(model(kind, task), text, "prompt")
    assert error.value.facts == {"field": "prompt"}


def test_what_a_tokenizer_leaves_nothing_of_is_nothing_typed(model):
    with pytest.raises(NothingTyped):
        encode(model("bert", "masking"), "\u200b\u200d", "text")


@SHAPES
def test_too_many_characters_are_counted_before_anything_is_tokenized(model, kind, task, monkeypatch):
    model = model(kind, task)
    monkeypatch.setattr(type(model.tokenizer), "__call__", lambda *inputs, **options: pytest.fail("tokenized"))
    with pytest.raises(TextTooLong) as error:
        encode(model, "a" * (limits.TEXT_CHARACTERS + 1), "text")
    facts = error.value.facts
    assert (facts["found"], facts["limit"], facts["unit"]) == (5001, 5000, "characters")


@SHAPES
def test_exactly_the_limit_of_tokens_passes_and_one_more_does_not(model, kind, task):
    model = model(kind, task)
    long = len(encode(model, "the cat sat", "text").ids)
    assert encode(model, "the cat sat", "text", long).ids
    for text, limit, most in [
        ("the cat sat", long - 1, long - 1),
        ("the cat " * 200, limits.TEXT_TOKENS, model.context),
    ]:
        with pytest.raises(TextTooLong) as error:
            encode(model, text, "text", limit)
        facts = error.value.facts
        assert (facts["limit"], facts["unit"]) == (most, "tokens") and facts["found"] > most


def test_clean_keeps_what_can_be_read():
    assert tokens.clean("a\r\nb\rc\td", "text") == "a\nb\nc\td"
    assert tokens.clean("你好 👩‍👩‍👧 e\u0301", "text") == "你好 👩‍👩‍👧 e\u0301"
    assert tokens.clean("a\ud83db\x00c\x85d", "text") == "abcd"


@SHAPES
def test_hidden_tokens_are_what_the_mask_leaves_out(model, kind, task):
    encoded = encode(model(kind, task), "the cat sat", "text")
    assert encoded.mask(frozenset()) == [1] * len(encoded.ids)
    assert [at for at, seen in enumerate(encoded.mask(frozenset({1, 2}))) if not seen] == [1, 2]
    for wrong in (-1, len(encoded.ids), 10**9):
        with pytest.raises(NoSuchPart) as error:
            encoded.mask(frozenset({wrong}))
        assert error.value.facts == {"part": "token", "found": wrong + 1, "limit": len(encoded.ids)}
    with pytest.raises(HiddenEverything):
        encoded.mask(frozenset(at for at, word in enumerate(encoded.words) if word is not None))


@SHAPES
def test_every_token_of_the_vocabulary_has_a_name_one_can_read(model, kind, task):
    tokenizer = model(kind, task).tokenizer
    for token in range(len(tokenizer)):
        name = tokens.token_label(tokenizer, token)
        assert name and name == name.strip(" ") and BROKEN not in name and not name.startswith(("##", "Ġ", "▁"))
        assert all(ord(mark) >= 32 for mark in name)


@SHAPES
def test_a_piece_is_glued_unless_it_begins_a_word(model, kind, task):
    model = model(kind, task)
    encoded = encode(model, "the cat loved circles", "text")
    middle = [at for at, word in enumerate(encoded.words) if word is not None]
    pieces = [tokens.piece(model.tokenizer, encoded.ids[at]) for at in middle]
    assert "".join(pieces).strip() == "the cat loved circles"
    assert [one.strip() for one in pieces] == [encoded.shown[at].strip() for at in middle]


@pytest.mark.parametrize(
    ("text", "label"),
    [(" the", "the"), ("ing", "…ing"), ("你", "你"), (" ", "␣"), ("", "∅"), ("\n", "⏎"), (" \n\n", "⏎⏎"), ("\t", "␉"),
     (".", "."), ("7", "7"), ("<s>", "<s>"), ("‹E4 BD›", "‹E4 BD›"), ("\x1b", "␛")],
)  # fmt: skip
def test_a_label_shows_what_cannot_be_seen(text, label):
    assert tokens.label(text) == label


@pytest.mark.parametrize(
    ("raw", "values"), [("<0xE4>", [0xE4]), ("ä½ł", [0xE4, 0xBD, 0xA0]), ("Ġa", [32, 97]), ("Ċ", [10])]
)
def test_the_bytes_behind_a_token_are_read_off(raw, values):
    assert tokens.byte_values(raw) == values


@pytest.fixture(scope="module")
def crossing():
    """A byte-level tokenizer trained on Chinese without a blank, so that its tokens cut characters anywhere."""
    text = ["你好世界我们喜欢猫和狗" * 3, "猫喜欢世界你们好狗和我", "👩‍👩‍👧 你好"] * 5
    tokenizer = Tokenizer(kinds.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("text", ["你好世界我们喜欢猫和狗", "the 猫 and 👩‍👩‍👧!", "a\nb", "狗猫狗猫" * 20])
def test_a_text_streamed_token_by_token_is_the_text(crossing, text):
    ids = crossing(text)["input_ids"]
    spelling = Spelling(crossing, crossing("你好 ")["input_ids"])
    told = [spelling.add(token) for token in ids]
    assert "".join(told) == text
    assert BROKEN not in "".join(told)
    assert all(text.startswith("".join(told[: at + 1])) for at in range(len(told)))  # it grows by extension


def test_a_character_cut_anywhere_is_held_back_until_it_is_whole(crossing):
    byte = {value: crossing.convert_tokens_to_ids(raw) for raw, value in letters()}
    spelling = Spelling(crossing, crossing("好")["input_ids"])
    told = [spelling.add(byte[value]) for value in "a猫👧b".encode()]
    assert told == ["a", "", "", "猫", "", "", "", "👧", "b"]


def letters():
    return [(letter, tokens.byte_values(letter)[0]) for letter in pre_tokenizers.ByteLevel.alphabet()]


@pytest.mark.parametrize("seed", range(5))
def test_a_soup_of_bytes_streams_as_its_readable_part(crossing, seed):
    dice = random.Random(seed)
    ids = [dice.randrange(len(crossing)) for _ in range(200)] + crossing("!")["input_ids"]
    spelling = Spelling(crossing, crossing("好 ")["input_ids"])
    assert "".join(spelling.add(token) for token in ids) == crossing.decode(ids).replace(BROKEN, "")


@pytest.mark.parametrize("text", ["你好世界", "狗猫狗 the猫", "👩‍👩‍👧"])
def test_tokens_that_share_a_character_spell_it_once(crossing, text):
    found = crossing(text, return_offsets_mapping=True)
    assert "".join(tokens.spell(text, found["offset_mapping"])) == text
    assert all(tokens.as_written(text, found["offset_mapping"]))  # and every token shows something


def test_words_begin_with_a_blank_where_the_tokenizer_leaves_it_out():
    assert tokens.spell("the  cat", [(0, 3), (5, 8)]) == ["the", " cat"]
    assert tokens.spell(" the", [(1, 4)]) == [" the"]
    assert tokens.spell("a\nb", [(0, 1), (1, 2), (2, 3)]) == ["a", "\n", "b"]
