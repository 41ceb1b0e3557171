"""Chinese verse for training: the poems of the Tang in, pieces of four lines in both scripts out, some kept back."""

import itertools
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training import corpus
from training.loop import RecipeError

HELD_OUT = 50  # one poem in so many is kept back
NOTES = re.compile(r"（[^（）]*）|〖[^〖〗]*〗|[「」『』《》〈〉]")  # editors' notes, and quotation marks
MARKS = re.compile("[，。？！；]")
# Forms of characters that nobody types any more, each before the one that has taken its place.
OLD_FORMS = (
    "疎疏劒劍鴈雁猨猿慙慚簷檐鬬鬥徧遍媿愧斾旆嬾懶蘂蕊堦階褭裊臯皋廻迴珮佩覩睹髪髮飜翻煖暖秪祇暎映桮杯歛斂隣鄰檝楫妬妒呌叫"
    "竝並逈迥荅答羇羈顇悴燄焰鏁鎖巵卮罇樽鼇鰲牋箋顦憔僊仙嚬顰鵶鴉缾瓶栢柏緜綿讐讎隄堤棃梨壻婿麤粗粧妝碁棋秖祇筯箸牕窗醆盞牓榜趂趁"
    "懃勤邨村鸎鶯藂叢懽歡悮誤慇殷虵蛇帬裙歘欻峩峨飡餐槃盤彊強蔕蒂徴徵汚污穉稚椀碗怱匆諠喧欵款拏拿毬球搆構衞衛却卻烟煙嶮險"
)
TODAY = str.maketrans(dict(zip(OLD_FORMS[::2], OLD_FORMS[1::2], strict=True)))
LINE = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]+")


@dataclass(frozen=True, slots=True)
class Quatrain:
    """Four lines of five or of seven characters: "甲，乙。丙，丁。"."""

    traditional: str
    simplified: str
    whole: bool  # a poem of four lines, not cut from a longer one
    opens: bool  # a poem begins with it

    @property
    def lines(self) -> list[str]:
        """Its four lines, in simplified characters, without marks."""
        return MARKS.split(self.simplified)[:4]


def converters() -> tuple:
    """Return what writes old characters as Taiwan does today, and what writes them simplified."""
    try:
        import opencc
    except ImportError as error:
        raise RecipeError("opencc is missing: pip install -r requirements-dev.txt") from error
    return opencc.OpenCC("t2tw"), opencc.OpenCC("t2s")


def cut(text: str) -> Iterator[tuple[str, bool, bool]]:
    """Cut a poem into pieces of four lines of one length, five or seven: text, whether it is the poem, and its opening.

    Of a stretch of six lines the middle two come twice; a stretch of an odd number of lines is no regular verse.
    """
    lines = [line for line in MARKS.split(NOTES.sub("", text)) if line]
    at = 0
    for length, stretch in itertools.groupby(lines, len):
        stretch = list(stretch)
        count, first = len(stretch), at
        at += count
        if length not in (5, 7) or count % 2 or count < 4:
            continue
        for start in sorted({*range(0, count - 3, 4), count - 4}):
            one, two, three, four = stretch[start : start + 4]
            if LINE.fullmatch(one + two + three + four):
                yield f"{one}，{two}。{three}，{four}。", len(lines) == 4, first + start == 0


def quatrains(data: Path) -> tuple[list[Quatrain], list[Quatrain]]:
    """Return the pieces to train on and those of the poems kept back, in the order of the book, each once.

    A poem is kept back by its first line. No line of those is left in training; of pieces whose first two lines are the
    same, as variants of a poem are, only the first stays.
    """
    poems = [row.split("\t")[-1] for row in corpus.read(data, "tang").translate(TODAY).splitlines()]
    pieces = [(number, *piece) for number, poem in enumerate(poems) for piece in cut(poem)]
    originals = "\n".join(text for _, text, _, _ in pieces)
    scripts = [converter.convert(originals).split("\n") for converter in converters()]
    kept_back = {number for number, poem in enumerate(poems) if zlib.crc32(poem[:5].encode()) % HELD_OUT == 0}
    training, held_out, seen = [], [], set()
    for (number, _, whole, opens), traditional, simplified in zip(pieces, *scripts, strict=True):
        piece = Quatrain(traditional, simplified, whole, opens)
        begins = tuple(piece.lines[:2])
        if begins not in seen:
            (held_out if number in kept_back else training).append(piece)
        seen.add(begins)
    secret = {line for piece in held_out for line in piece.lines}
    return [piece for piece in training if secret.isdisjoint(piece.lines)], held_out
