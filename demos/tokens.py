"""Tokens go in; a strip of tinted tokens comes out, each of which can be read, reached by keyboard, touched and clicked."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

import gradio as gr

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class Token:
    text: str  # as the tokenizer gives it, leading space and all
    tint: float | None = None  # 0…1 (probability, attention) or −1…1 (push); None or NaN: no tint
    note: str = ""  # shown when pointed at, touched or focused; "\n" breaks its line
    marked: bool = False  # the chosen one: outlined, and pressed for a screen reader
    covered: bool = False  # hidden from the model: hatched
    number: int | None = None  # in the whole text, from 0: where the first token of a strip has one, all are numbered
    looks: tuple[tuple[int, int], ...] = ()  # (number, percent): lines go to these tokens while it is pointed at


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a strip says in the place of tokens it does not show; it cannot be chosen."""

    text: str  # "… 1,203 tokens before"


class Drawn(str):
    """Tokens as the HTML of a strip, made by TokenStrip.draw: it is shown as it is."""


class TokenStrip(gr.HTML):
    """Shows a sequence of Token; `.select` hands the handler a gr.SelectData whose evt.index is the token's place.

    A strip may begin and end with LeftOut. With `lines`, what a token looks at is drawn. With `choose`, the page marks the
    token that is clicked, and keeps the mark while the strip grows.

    layout: "story" joins the tokens into prose; "words" sets them apart.
    scale: "probability" is calm where the model was sure and warm where it was not; "push" runs from −1 (against) to
    1 (for); "attention" is plain at 0 and strong at 1.
    Through the API the value is the strip's HTML.
    """

    def __init__(
        self,
        value: Sequence[Token | LeftOut] | None = None,
        *,
        lines: bool = False,
        choose: bool = False,
        layout: Literal["story", "words"] = "story",
        scale: Literal["probability", "push", "attention"] = "probability",
        empty: str = "",
        **kwargs,
    ):
        """`empty` is the sentence shown while there are no tokens."""
        self.layout, self.scale_name, self.empty = layout, scale, empty
        super().__init__(
            value,
            html_template=(STATIC / "tokens.html").read_text("utf-8"),
            js_on_load=(STATIC / "tokens.js").read_text("utf-8"),
            apply_default_css=False,
            look=f"gb-{layout} gb-by-{scale}{' gb-lined' if lines else ''}",
            lines=lines,
            choose=choose,
            empty=escape(empty),
            **kwargs,
        )

    def draw(self, value: Sequence[Token | LeftOut], before: Drawn | None = None) -> Drawn:
        """Return tokens as HTML, after those that are drawn already: a strip that grows is not drawn anew."""
        # Nothing but tokens, one after the other: a longer story's HTML extends a shorter one's, and only the rest is sent.
        first = None if before else next((token for token in value if isinstance(token, Token)), None)
        drawn = "".join(
            mark_up(token, self.layout, first=token is first)
            if isinstance(token, Token)
            else f"<span class=gb-more>{escape(token.text)}</span>"
            for token in value
        )
        return Drawn((before or "") + drawn)

    def postprocess(self, value: Sequence[Token | LeftOut] | Drawn | None) -> str:
        return str(value if isinstance(value, Drawn) else self.draw(value or ()))

    def example_payload(self) -> str:
        return ""

    example_value = example_payload


def mark_up(token: Token, layout: str, first: bool) -> str:
    """Turn one token into HTML. Only the first can be tabbed to; the arrow keys go on from there."""
    text = escape(token.text if layout == "story" else token.text.strip(" ") or token.text)
    blank = BLANK if text.isspace() else INKLESS
    text = blank.sub(lambda match: f"<i>{name(match[0])}</i>", text) or "<i>∅</i>"
    if layout == "story":
        text = text.replace("<i>⏎</i>", "<i>⏎</i>\n")
    note = escape(INKLESS.sub(lambda match: match[0] if match[0] == "\n" else name(match[0]), token.note))
    styles = [] if token.tint is None or math.isnan(token.tint) else [f"--tint:{min(1, max(-1, token.tint)):.3f}"]
    numbered = first and token.number is not None
    if numbered:
        styles.append(f"--first:{token.number + 1}")
    return "".join(
        (
            f"<span class=gb-token role=button{' tabindex=0' if first else ''}",
            f" style={';'.join(styles)}" if styles else "",  # what holds no blank needs no quotes
            f" data-at={token.number}" if numbered else "",
            f" data-to={','.join(f'{to}:{share}' for to, share in token.looks)}" if token.looks else "",
            f' aria-description="{note}"' if note else "",
            " aria-pressed=true" if token.marked else "",
            " data-covered" if token.covered else "",
            f">{text}</span>",
        )
    )


# Characters without ink, or that would turn the text around them: controls, format characters but for the joiners that emoji
# and many scripts need, and lone halves of surrogate pairs. A token of nothing but blanks shows these too.
INKLESS = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
BLANK = re.compile(rf"\s|{INKLESS.pattern}")


def name(character: str) -> str:
    """Write a character that has no ink of its own: ⏎, ⇥, ·, ␀ or its code point."""
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    if character in "\n\t":
        return "⏎⇥"["\n\t".index(character)]
    if character.isspace() and code >= 0x20 and character not in "\x85\u2028\u2029":
        return "·"
    return chr(0x2400 + code) if code < 0x20 else f"U+{code:04X}"
