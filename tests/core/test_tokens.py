"""A visitor's text becomes tokens and comes back as they wrote it, in any script and with any nonsense in it."""

import gc
import random
import time
import unicodedata
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers import models as kinds
from transformers import PreTrainedTokenizerFast

from core import limits, tokens
from core.errors import HiddenEverything, NoSuchPart, NothingTyped, TextTooLong
from core.tokens import BROKEN, Spelling, encode, encode_prompt
from tests.tiny import byte_pieces, word_pieces

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


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\t ", "\u3000", "\u200b\u200d", "\x00", "\ud800", None, 7, ["the cat"], {}, b"cat"],
)
@SHAPES
def test_nothing_typed_is_said_so(model, kind, task, text):
    with pytest.raises(NothingTyped) as error:
        encode(model(kind, task), text, "prompt")
    assert error.value.facts == {"field": "prompt"}


def test_what_a_tokenizer_leaves_nothing_of_is_nothing_typed(model):
    with pytest.raises(NothingTyped):
        encode(model("bert", "masking"), "\ufe0f", "text")


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
     (".", "."), ("7", "7"), ("<s>", "<s>"), ("‹E4 BD›", "‹E4 BD›"), ("\x1b", "␛"), ("\u0301", "◌\u0301"),
     ("\u0301a", "◌\u0301a"), ("\u200d", "‹U+200D›"), ("\u202e", "‹U+202E›"), (" a\u202eb", "a‹U+202E›b"),
     ("\u3000", "␣"), ("👩\u200d👧", "👩\u200d👧"), (" می\u200cروم", "می\u200cروم")],
)  # fmt: skip
def test_a_label_shows_what_cannot_be_seen(text, label):
    assert tokens.label(text) == label


@pytest.mark.parametrize(
    ("raw", "values"),
    [("<0xE4>", b"\xe4"), ("ä½ł", b"\xe4\xbd\xa0"), ("Ġa", b" a"), ("Ċ", b"\n"), ("<|a b|>", b"<|a b|>")],
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


# ---------------------------------------------------------------- whole characters, whatever the tokenizer

MARKS = ["a", "b", " ", "\n", "the", " cat", "你", "好", "猫", "世", "é", "e\u0301", "\u0301", "ß", "א", "ม", "👧", "🏽",
         "👩‍👩‍👧", "🇨🇳", "🏳️‍🌈", "\u200d", "€", "𝕏", "\u202e", "."]  # fmt: skip


@pytest.fixture(scope="module")
def falling_back():
    """A tokenizer of Llama's kind: ▁ for blanks, and a byte for whatever is not in its vocabulary."""
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz!.,你好", "th", "the", "▁the", "ca", "cat", "▁cat"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("c", "a"), ("ca", "t"), ("▁", "cat")]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(kinds.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


@pytest.fixture(params=["byte level", "byte fallback", "word pieces"])
def kind_of(request, crossing, falling_back):
    """A tokenizer of every kind."""
    return {"byte level": crossing, "byte fallback": falling_back, "word pieces": word_pieces()}[request.param]


@pytest.fixture(params=["byte level", "byte fallback"])
def by_bytes(request, crossing, falling_back):
    """A tokenizer that writes anything, if need be byte by byte."""
    return {"byte level": crossing, "byte fallback": falling_back}[request.param]


def byte_tokens(tokenizer):
    """Return the token of each byte."""
    alphabet = {value: letter for letter, value in tokens.BYTES.items()}
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    found = tokenizer.convert_tokens_to_ids(
        names if "<0xE4>" in tokenizer.vocab else [alphabet[at] for at in range(256)]
    )
    assert len(set(found)) == 256
    return found


def whole(text):
    """Whether a text holds neither half of a character nor what stands for one."""
    return BROKEN not in text and text.encode().decode() == text


@pytest.mark.parametrize("seed", range(20))
def test_random_text_streams_as_it_is_read_in_one_go(by_bytes, seed):
    dice = random.Random(seed)
    ids = by_bytes("cat" + "".join(dice.choices(MARKS, k=60)), add_special_tokens=False)["input_ids"]
    spelling = Spelling(by_bytes, ids[:1])
    told = [spelling.add(token) for token in ids[1:]]
    assert by_bytes.decode(ids[:1]) + "".join(told) == by_bytes.decode(ids)
    assert all(map(whole, told))


@pytest.mark.parametrize("seed", range(5))
def test_random_words_stream_as_they_are_read_in_one_go(seed):
    dice, tokenizer = random.Random(seed), word_pieces()
    ids = [token for token in dice.choices(range(5, len(tokenizer)), k=80)]
    spelling = Spelling(tokenizer, ids[:1])
    told = [spelling.add(token) for token in ids[1:]]
    assert tokenizer.decode(ids[:1]) + "".join(told) == tokenizer.decode(ids) and all(map(whole, told))


@pytest.mark.parametrize("seed", range(20))
def test_any_tokens_stream_whole_and_hold_nothing_back(kind_of, seed):
    dice = random.Random(seed)
    spelling, last = Spelling(kind_of, []), kind_of.convert_tokens_to_ids("!" if "!" in kind_of.vocab else "t")
    for token in dice.choices(range(len(kind_of)), k=150):
        assert whole(spelling.add(token))
        fork = spelling.fork()
        assert fork.add(last)[-1] in "!t"  # whatever came before it, what is whole comes at once


@pytest.mark.parametrize("seed", range(10))
def test_a_character_comes_with_its_last_byte_whatever_was_before_it(by_bytes, seed):
    dice, byte = random.Random(seed), byte_tokens(by_bytes)
    spelling = Spelling(by_bytes, by_bytes("the cat")["input_ids"])
    for value in dice.choices(range(256), k=100):
        spelling.add(byte[value])
        for mark in "é好👧":
            fork = spelling.fork()
            told = [fork.add(byte[value]) for value in mark.encode()]
            assert told[-1] == mark and not any(told[1:-1])


@pytest.mark.parametrize("seed", range(10))
def test_bytes_that_are_no_character_are_left_out_and_all_others_told(by_bytes, seed):
    dice, byte = random.Random(seed), byte_tokens(by_bytes)
    soup = b"".join(
        bytes(dice.choices(range(256), k=3)) if dice.random() < 0.5 else dice.choice(MARKS).encode() for _ in range(80)
    )
    spelling = Spelling(by_bytes, by_bytes("the cat")["input_ids"])
    assert "".join(spelling.add(byte[value]) for value in soup) == soup.rstrip(bytes(range(128, 256))).decode(
        errors="ignore"
    ) + tail(soup)


def tail(soup):
    """Return the whole characters among the bytes at the end of a soup that are not ASCII."""
    return soup[len(soup.rstrip(bytes(range(128, 256)))) :].decode(errors="ignore")


def test_a_fork_goes_on_by_itself(by_bytes):
    byte, mark = byte_tokens(by_bytes), "好".encode()
    spelling = Spelling(by_bytes, by_bytes("the")["input_ids"])
    assert spelling.add(byte[mark[0]]) == ""
    fork = spelling.fork()
    assert [fork.add(byte[value]) for value in mark[1:]] == ["", "好"]
    assert spelling.add(byte[ord("a")]) == "a"
    assert [fork.add(byte[value]) for value in mark] == ["", "", "好"]


def test_a_word_after_bytes_keeps_its_blank(falling_back):
    token = falling_back.convert_tokens_to_ids("▁cat")
    for before in ([], byte_tokens(falling_back)[0xE4:0xE5], falling_back("猫")["input_ids"]):
        assert Spelling(falling_back, before).add(token) == " cat"


def test_tokens_outside_the_vocabulary_add_nothing_and_have_a_name(kind_of):
    unknown = len(kind_of) + 5  # networks are often padded to a round number of tokens
    assert Spelling(kind_of, []).add(unknown) == "" and tokens.token_label(kind_of, unknown) == "∅"


@pytest.mark.parametrize("text", ["the cat 猫 sat", "你好 the 猫", "👩‍👩‍👧 and 🇨🇳", "e\u0301\u0301 a\u200d"])
def test_words_are_counted_where_a_tokenizer_cuts_none(falling_back, text):
    encoded = encode(SimpleNamespace(tokenizer=falling_back, context=500), text, "text")
    words = [word.strip() for word in encoded.written(encoded.by_word())]
    assert "".join(words) == "".join(text.split())
    assert len(words) >= len(text.split()) and not any(" " in word for word in words)
    for shown in encoded.shown:
        assert whole(shown) and not set("Ġ▁Ċ") & set(shown)


@pytest.mark.parametrize(
    ("numbers", "letters", "found"),
    [
        ([0, 0, 0, 0], ["the", " ", "cat", "s"], [0, 1, 1, 1]),
        ([0, 0, 0], [" ", " the", " cat"], [0, 0, 1]),
        ([0, 0, 0, 0], ["你", "", "好", "吗"], [0, 0, 1, 2]),
        ([0, 0, 1], ["can", "'t", "do"], [0, 0, 1]),
        ([None, 0, 0], ["", "a", "b"], [None, 0, 0]),
    ],
)
def test_a_word_begins_where_the_tokenizer_cuts_at_a_blank_and_at_a_chinese_character(numbers, letters, found):
    assert tokens.number_words(numbers, letters) == found


@pytest.mark.parametrize(
    ("text", "added", "joined"),
    [("e", "\u0301", True), ("👩", "\u200d", True), ("👩\u200d", "👧", True), ("👧", "🏽", True), ("🏳", "\ufe0f", True),
     ("🇨", "🇳", True), ("a🇨🇳", "🇫", False), ("a🇨🇳🇫", "🇷", True), ("👩", "👧", False), ("a", "b", False), ("你", "好", False),
     ("", "\u0301", False), ("a", "", False), ("a\u200d", "b", False)],
)  # fmt: skip
def test_parts_of_one_character_belong_together(text, added, joined):
    assert tokens.joins(text, added) == joined


# ---------------------------------------------------------------- what is asked for every token is worked out once


def test_a_token_is_spelled_in_less_than_a_tenth_of_a_millisecond(kind_of):
    spelling, dice = Spelling(kind_of, [5]), random.Random(0)
    ids, taken = dice.choices(range(len(kind_of)), k=512), []
    for token in ids:
        began = time.perf_counter()
        spelling.add(token)
        taken.append(time.perf_counter() - began)
    assert sorted(taken)[len(taken) // 2] < 1e-4
    assert sum(taken[-100:]) < 5 * sum(taken[:100]) + 1e-3  # and the thousandth as soon as the first


def test_a_name_asked_for_again_costs_next_to_nothing(kind_of):
    names = [tokens.token_label(kind_of, token) for token in range(len(kind_of))]
    taken = []
    for token, name in enumerate(names):
        began = time.perf_counter()
        again = tokens.token_label(kind_of, token)
        taken.append(time.perf_counter() - began)
        assert again == name
    assert sorted(taken)[len(taken) // 2] < 1e-5


def test_no_more_names_are_kept_than_the_limit(monkeypatch):
    monkeypatch.setattr(limits, "NAMES_KEPT", 7)
    tokenizer = byte_pieces(framed=False)
    first = [tokens.token_label(tokenizer, token) for token in range(100)]
    assert tokens.vocabulary(tokenizer).label.cache_info().currsize == 7
    assert [tokens.token_label(tokenizer, token) for token in range(100)] == first


def test_tokenizers_that_are_equal_and_have_no_hash_keep_their_own_names(falling_back):
    class Alike(PreTrainedTokenizerFast):
        __hash__ = None

        def __eq__(self, other):
            return True

    one, other = (Alike(tokenizer_object=of.backend_tokenizer) for of in (falling_back, byte_pieces(framed=False)))
    for tokenizer in (one, other, one):
        ids = tokenizer("cat")["input_ids"]
        spelling = Spelling(tokenizer, ids)
        assert "".join(spelling.add(token) for token in ids).strip() == "cat"
    assert tokens.token_label(one, 3) == "␀" != tokens.token_label(other, 3)


def test_what_is_known_of_a_tokenizer_goes_when_it_goes():
    tokenizer = byte_pieces(framed=False)
    tokens.token_label(tokenizer, 30)
    number = id(tokenizer)
    assert number in tokens._vocabularies
    del tokenizer
    gc.collect()
    assert number not in tokens._vocabularies


# ---------------------------------------------------------------- chat models are told that somebody speaks

CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m.role }}<|end|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
PARTS = (
    "{% for m in messages %}{{ m.role }}:{% for part in m.content %}{{ part.text | trim }}{% endfor %}<|eot|>\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
CHAT_SPECIALS = ["<|im_start|>", "<|im_end|>", "<|start|>", "<|end|>", "<|eot|>", "<think>", "</think>"]
TEMPLATES = pytest.mark.parametrize("template", [CHATML, LLAMA, PARTS], ids=["chatml", "llama", "parts"])


def chat(template, framed=False):
    """Return a model, as far as encoding needs one, whose tokenizer has that template."""
    tokenizer = byte_pieces(framed)
    tokenizer.add_special_tokens({"additional_special_tokens": CHAT_SPECIALS})
    tokenizer.chat_template = template
    return SimpleNamespace(tokenizer=tokenizer, context=500)


def templated(model, text, parts):
    """Return the tokens of a turn as Transformers makes them."""
    content = [{"type": "text", "text": text}] if parts else text
    written = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    return model.tokenizer(written, add_special_tokens=False)["input_ids"]


@TEMPLATES
@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize(
    "text", ["the cat sat", "  the cat ", "你好，世界", "the\n\ncat", tokens.PLACE, "{{ 1 + 1 }}", "{% if %}"]
)
def test_a_prompt_is_a_visitors_turn_as_transformers_makes_it(template, framed, text):
    model = chat(template, framed)
    encoded = encode_prompt(model, text)
    assert encoded.ids == templated(model, text.strip(), template == PARTS)
    words = encoded.written(encoded.by_word())
    assert "".join(words).strip() == text.strip()  # what the template adds is nobody's word


@TEMPLATES
def test_what_a_template_adds_is_shown_but_belongs_to_no_word(template):
    encoded = encode_prompt(chat(template), "the cat")
    assert len(encoded.ids) == len(encoded.shown) == len(encoded.words) == len(encoded.letters)
    mine = [at for at, word in enumerate(encoded.words) if word is not None]
    assert mine == list(range(mine[0], mine[-1] + 1)) and mine[0] > 0 and mine[-1] < len(encoded.ids) - 1
    assert all(encoded.letters[at] == "" for at in range(len(encoded.ids)) if at not in mine)
    assert all(whole(shown) and not set("Ġ▁Ċ") & set(shown) for shown in encoded.shown)


@TEMPLATES
def test_special_tokens_typed_into_a_turn_are_text(template):
    model = chat(template)
    bare = encode_prompt(model, "the cat").ids
    for special in [*CHAT_SPECIALS, *model.tokenizer.all_special_tokens]:
        encoded = encode_prompt(model, f"the {special} cat")
        count = [[ids.count(token) for token in model.tokenizer.all_special_ids] for ids in (bare, encoded.ids)]
        assert count[0] == count[1]
        assert special in "".join(encoded.letters)


@pytest.mark.parametrize(
    "template",
    [None, "", "{{ raise_exception('no') }}", "{{ messages[0].content | upper | lower }}", "nobody said anything",
     "{{ messages[0].content }}{{ messages[0].content }}", "{{ messages[7].content.more }}", "{{ 1 / 0 }}", "{% if %}",
     "{{ messages[0].content + 1 }}", "{{ nothing.at.all }}{{ messages[0].content.pop }}", "{{ 'a'.nothing() }}"],
)  # fmt: skip
@pytest.mark.parametrize("framed", [False, True])
def test_without_a_template_that_serves_a_prompt_is_a_text_to_go_on_from(template, framed):
    model = chat(template, framed)
    assert encode_prompt(model, "the cat") == encode(model, "the cat", "prompt")


def test_only_a_prompt_is_a_turn(model):
    chats = chat(CHATML)
    assert encode(chats, "the cat", "text").ids == chats.tokenizer("the cat")["input_ids"]
    plain = model("gpt2", "generation")
    assert encode_prompt(plain, "the cat").ids == plain.tokenizer("the cat")["input_ids"]


@TEMPLATES
def test_what_a_template_adds_counts_against_the_context(template):
    model = chat(template)
    model.context = len(encode_prompt(model, "the cat sat").ids)
    assert encode_prompt(model, "the cat sat").ids
    with pytest.raises(TextTooLong) as error:
        encode_prompt(model, "the cat sat cat")
    assert error.value.facts == {
        "field": "prompt", "found": model.context + 1, "limit": model.context, "unit": "tokens",
    }  # fmt: skip
    with pytest.raises(NothingTyped):
        encode_prompt(model, " \n")
