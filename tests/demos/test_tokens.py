"""A strip is safe whatever its tokens hold, and shows every one of them."""

import re
from html.parser import HTMLParser

import pytest

from demos.tokens import LeftOut, Token, TokenStrip

LAYOUTS = pytest.mark.parametrize("layout", ["story", "words"])
UGLY = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><b onclick="x">', "' onfocus='alert(1)", "</span>",
    "&lt;b&gt;", "<!--", "<s>", "\x00", "\ud83d", "a\udc00b", "\u202etxt", "\u2066<b>\u2069", "\u200b", "\ufeff",
    "e" + "\u0301" * 1000, "\u2028", "`${alert(1)}`", "{{value}}",
]  # fmt: skip


class Strip(HTMLParser):
    """The elements of a strip's HTML: every one has to be a token, or the name of a character inside one."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tokens: list[dict] = []
        self.left_out: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if attrs == {"class": "gb-more"}:
            assert not self.open and tag == "span"
            self.left_out.append("")
        elif tag == "span":
            assert not self.open, "a token inside a token"
            assert set(attrs) <= {
                "class", "role", "tabindex", "style", "aria-description", "aria-pressed", "data-covered", "data-at",
                "data-to",
            }  # fmt: skip
            assert attrs["class"] == "gb-token" and attrs["role"] == "button"
            self.tokens.append({**attrs, "text": "", "inkless": []})
        else:
            assert tag == "i" and self.open == ["span"] and not attrs, f"a token became an element <{tag}>"
            self.tokens[-1]["inkless"].append("")
        self.open.append(tag if attrs != {"class": "gb-more"} else "more")

    def handle_endtag(self, tag):
        assert self.open.pop().replace("more", "span") == tag

    def handle_data(self, data):
        assert self.open, f"text outside of tokens: {data!r}"
        if self.open == ["more"]:
            self.left_out[-1] += data
            return
        self.tokens[-1]["text"] += data
        if self.open[-1] == "i":
            self.tokens[-1]["inkless"][-1] += data

    def handle_comment(self, data):
        raise AssertionError("a token became a comment")


def html(*tokens: Token | str, layout: str = "story") -> str:
    """Return what the page receives for tokens."""
    made = [Token(token) if isinstance(token, str) else token for token in tokens]
    return TokenStrip(layout=layout).postprocess(made)


def only(token: Token | str, layout: str = "story") -> dict:
    """Return the one element that one token became."""
    (found,) = Strip(html(token, layout=layout)).tokens
    return found


@LAYOUTS
@pytest.mark.parametrize("text", UGLY, ids=ascii)
def test_what_a_token_holds_never_becomes_an_element(text, layout):
    assert len(Strip(html("a", text, "b", layout=layout)).tokens) == 3
    only(Token("a", note=text), layout)


@LAYOUTS
@pytest.mark.parametrize("text", UGLY, ids=ascii)
def test_what_is_sent_can_be_encoded_and_turns_no_text_around(text, layout):
    sent = html(Token(text, note=text), layout=layout)
    sent.encode("utf-8")
    assert not re.search("[\x00\u202a-\u202e\u2066-\u2069]", sent)


@LAYOUTS
@pytest.mark.parametrize(
    "text", ["<s>", "&lt;b&gt;", "<img src=x>", '"quoted"', "你好", "👩‍👩‍👧", "e" + "\u0301" * 1000]
)
def test_text_with_ink_is_shown_as_typed(text, layout):
    assert only(text, layout)["text"] == text


@LAYOUTS
@pytest.mark.parametrize(
    "text", ["", " ", "   ", "\n", "\t", "\xa0", "\x00", "\u200b", "\u202e", "\ud83d", "\ufeff"], ids=ascii
)
def test_a_token_without_ink_is_seen(text, layout):
    found = only(text, layout)
    assert found["inkless"] and all(name.strip() for name in found["inkless"])


def test_a_line_break_is_named_and_breaks_the_line_of_a_story_only():
    assert only("\n")["text"] == "⏎\n"
    assert only("\n", "words")["text"] == "⏎"


def test_repeated_tokens_are_all_there_and_counted():
    assert [token["text"] for token in Strip(html(*["<s>"] * 5)).tokens] == ["<s>"] * 5


def test_a_longer_storys_html_extends_a_shorter_ones():
    tokens = [Token(text, 0.5, "note") for text in ["Once", " a", " <b>", "\n", "", " ", "\ud83d", " end"]]
    sent = [html(*tokens[:count]) for count in range(len(tokens) + 1)]
    for shorter, longer in zip(sent, sent[1:], strict=False):
        assert longer.startswith(shorter) and len(longer) > len(shorter)


def test_no_tokens_are_nothing():
    strip = TokenStrip()
    assert strip.postprocess(None) == strip.postprocess([]) == ""


def test_only_the_first_token_can_be_tabbed_to():
    assert [token.get("tabindex") for token in Strip(html("a", "b", "c")).tokens] == ["0", None, None]


def test_what_is_left_out_is_said_and_is_no_token():
    made = [LeftOut("… <b>12</b> more before"), Token("a", number=12), Token("b"), LeftOut("3 more after …")]
    sent = TokenStrip(layout="words", lines=True).postprocess(made)
    strip = Strip(sent)
    assert [token["text"] for token in strip.tokens] == ["a", "b"]
    assert strip.left_out == ["… <b>12</b> more before", "3 more after …"]
    assert strip.tokens[0]["tabindex"] == "0" and strip.tokens[0]["data-at"] == "12"


def test_tokens_are_numbered_from_the_first_ones_number_on():
    first, second = Strip(html(Token("a", 0.5, number=512), Token("b"))).tokens
    assert first["data-at"] == "512" and first["style"] == "--tint:0.500;--first:513"
    assert "data-at" not in second and "style" not in second


def test_a_token_says_where_it_looks_in_a_few_letters():
    (token,) = Strip(html(Token("a", looks=((12, 41), (3, 20))))).tokens
    assert token["data-to"] == "12:41,3:20"
    assert "data-to" not in only("a")


def test_five_hundred_tokens_that_all_look_at_five_are_a_small_strip():
    looks = tuple((at, 20) for at in range(500, 505))
    sent = TokenStrip(layout="words", lines=True).postprocess([Token(" token", looks=looks) for _ in range(512)])
    assert len(sent) < 60_000


def test_only_marked_tokens_are_pressed_and_only_covered_ones_hatched():
    plain, marked, covered = Strip(html("a", Token("b", marked=True), Token("c", covered=True))).tokens
    assert [token.get("aria-pressed") for token in (plain, marked, covered)] == [None, "true", None]
    assert ["data-covered" in token for token in (plain, marked, covered)] == [False, False, True]


@pytest.mark.parametrize("tint", [-1e9, -1, -0.25, 0, 0.123456, 1, 7, float("inf"), float("-inf")])
def test_a_tint_is_a_number_from_minus_one_to_one(tint):
    style = only(Token("a", tint))["style"]
    shown = float(re.fullmatch(r"--tint:(-?\d\.\d{3})", style)[1])
    assert shown == pytest.approx(min(1, max(-1, tint)), abs=0.0005)


@pytest.mark.parametrize("tint", [None, float("nan")])
def test_no_number_is_no_tint(tint):
    assert "style" not in only(Token("a", tint))


def test_a_note_is_read_to_the_blind_with_its_lines():
    assert only(Token("a", note='50 % "sure"\nline <2>'))["aria-description"] == '50 % "sure"\nline <2>'
    assert "aria-description" not in only("a")


def test_the_empty_sentence_is_text():
    assert "<" not in TokenStrip(empty="<b>nothing</b>").props["empty"]


@LAYOUTS
@pytest.mark.parametrize("scale", ["probability", "push", "attention"])
def test_a_strip_wears_its_layout_and_scale(layout, scale):
    assert TokenStrip(layout=layout, scale=scale).props["look"] == f"gb-{layout} gb-by-{scale}"
