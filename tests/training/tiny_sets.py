"""The training sets in small: made-up sentences in the files and forms that the recipes read."""

import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from training import corpus

WHO = ["fox", "hen", "king", "girl", "old man", "little bear", "doctor", "farmer"]
WHAT = ["went home", "found a key", "ate the bread", "sat on the gate", "sang a song", "saw the sea"]
WHEN = ["at night", "in the morning", "after the rain", "in winter", "on a hill"]
SENTENCES = [f"The {who} {what} {when}." for who in WHO for what in WHAT for when in WHEN]

ZH_SENTENCES = [
    f"{who}{when}{what}。"
    for who in ("狐狸", "国王", "小姑娘", "老人家", "医生")
    for when in ("在早上", "下雨以后", "冬天", "昨天晚上")
    for what in ("回家去了", "找到一把钥匙", "坐在门口唱歌", "看见了大海", "吃了三个面包")
]

SCENERY = "天地山水風雲雨雪花月江海春秋日夜歸來遠見聞聲舊鄉門樓舟馬鳥魚"


def poems() -> list[str]:
    """Return 800 poems of four and of eight lines, of five and of seven characters, in traditional characters."""
    random = Random(0)
    forms = [(length, count) for length in (5, 7) for count in (4, 8)]
    return [
        "".join("".join(random.choices(SCENERY, k=length)) + "，。"[line % 2] for line in range(count))
        for length, count in forms * 200
    ]


def write_sets(data: Path) -> None:
    """Write every set of corpus.SOURCES under the folder."""
    stories = ["A Title\n\n" + "\n\n".join(SENTENCES[first : first + 12]) for first in range(0, 240, 4)]
    prose = ["CHAPTER I\n\n" + "\n\n".join(SENTENCES[first : first + 40]) + "\n\n" for first in range(0, 200, 40)]
    opinions = [(f"the {who} is {word} .", label) for who in WHO for word, label in (("good", 1), ("bad", 0))]
    judged = "\n".join(["sentence\tlabel", *(f"{text}\t{label}" for text, label in opinions)])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, tag in (("IntegratedCons", "Cons"), ("IntegratedPros", "Pros")):
            archive.writestr(f"pros_cons/{name}.txt", f"<{tag}>it is what it is</{tag}>\n" * 3)
    zh_judged = [
        (f"{who}真{word}，我很{word}。", label)
        for who in ("饭", "书", "衣服")
        for word, label in (("好", 1), ("差", 0))
    ]
    contents = {
        "children": corpus.END.join(stories),
        "fairytales": corpus.END.join(stories),
        "fairytales_held_out": "One day a cow came to town, and nobody knew why. " * 20,
        "books_held_out": corpus.END.join("\n\n".join(SENTENCES[first : first + 20]) for first in (190, 215)),
        "countries": "country\tcapital\nFox\tHen\nKing\tGirl\nCote d'Ivoire\tYamoussoukro\n",
        "news": corpus.END.join(stories),
        "books": corpus.END.join(prose),
        "manifest": "split\ttitle\n" + "\n".join(f"easy\t{title}" for title in ["Heidi", "Peter Pan", "A", "B", "C"]),
        "tatoeba": "\n".join(SENTENCES),
        "commonvoice": "\n".join(SENTENCES),
        "wikisplit": "\n".join(SENTENCES),
        "dialogues": "\n".join(f"User: {sentence}" for sentence in SENTENCES),
        "sst2": judged,
        "sst2_held_out": judged,
        "snippets": judged,
        "goemotions": "I like it\t3\tx\nI hate it\t1\ty\nWell\t2\tz\n",
        "pros_cons": packed.getvalue(),
        "easy_vqa": pictures_of_one_shape(),
        "tang": "\n".join(f"無題\t無名氏\t{poem}" for poem in poems()),
        "zh_wiki": "\n".join(ZH_SENTENCES),
        "zh_talk": "\n".join(sentence.replace("。", "吗？") for sentence in ZH_SENTENCES),
        "zh_collected": "\n".join(ZH_SENTENCES[:9]),
        "chnsenticorp": "label\ttext_a\n" + "\n".join(f"{label}\t{text}" for text, label in zh_judged),
        "chnsenticorp_held_out": "label\ttext_a\n" + "\n".join(f"{label}\t昨天{text}" for text, label in zh_judged),
        "waimai": "label,review\n" + "\n".join(f"{label},{text}" for text, label in zh_judged),
        "online_shopping": "cat,label,review\n" + "\n".join(f"衣服,{label},{text}" for text, label in zh_judged),
    }
    for name, content in contents.items():
        path = data / corpus.SOURCES[name].path
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(lzma.compress(raw) if path.suffix == ".xz" else raw)


def pictures_of_one_shape() -> bytes:
    """Return easy-VQA's archive, unpacked, with 20 pictures of a box: five questions about each."""
    packed, asked = io.BytesIO(), []
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for number in range(20):
            colour = ("red", "gray", "teal", "green")[number % 4]
            asked += [
                ("what color is the shape?", colour, number),
                (f"what is the {colour} shape?", "rectangle", number),
                ("is no rectangle present?", "no", number),
                ("is no circle present?", "yes", number),
                (f"does the image not contain a {colour} shape?", "no", number),
            ]
            picture = Image.new("RGB", (64, 64), "white")
            ImageDraw.Draw(picture).rectangle((10 + number, 20, 30 + number, 50), fill=colour)
            drawn = io.BytesIO()
            picture.save(drawn, "PNG")
            add(archive, f"train/images/{number}.png", drawn.getvalue())
        add(archive, "train/questions.json", json.dumps(asked).encode())
    return packed.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Put a file into an archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
