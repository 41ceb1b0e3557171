"""The training sets in small: made-up sentences in the files and forms that the recipes read."""

import io
import lzma
import zipfile
from pathlib import Path

from training import corpus

WHO = ["fox", "hen", "king", "girl", "old man", "little bear", "doctor", "farmer"]
WHAT = ["went home", "found a key", "ate the bread", "sat on the gate", "sang a song", "saw the sea"]
WHEN = ["at night", "in the morning", "after the rain", "in winter", "on a hill"]
SENTENCES = [f"The {who} {what} {when}." for who in WHO for what in WHAT for when in WHEN]


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
    contents = {
        "children": corpus.END.join(stories),
        "fairytales": corpus.END.join(stories),
        "fairytales_held_out": "One day a cow came to town, and nobody knew why. " * 20,
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
    }
    for name, content in contents.items():
        path = data / corpus.SOURCES[name].path
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(lzma.compress(raw) if path.suffix == ".xz" else raw)
