"""Text for training: the sets under a folder in, clean documents and sentences out, or what is missing."""

import csv
import io
import itertools
import lzma
import re
import zlib
from pathlib import Path

from training.loop import RecipeError
from training.sources import SOURCES

END = "<|endoftext|>"

Judged = tuple[str, int]  # a text and its label: 0 negative, 1 positive

# Words nobody should meet in a demonstration: a paragraph with one of them is left out.
SLURS = re.compile(
    r"\b(?:nigg\w+|negro\w*|negress|dark(?:ey|ie|y)s?|coons?|fagg?ots?|half-breeds?|redskins?|chink|spic)\b", re.I
)
MARKS = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "…": "...", "\u00a0": " "})
BRITISH_SPEECH = re.compile(r"(?<![\w'])'(?!(?:em|tis|twas|im|is|er|ole)\b)([A-Za-z][^\"]*?[,.!?-])'(?!\w)")
SENTENCE_END = re.compile(r"(?<![A-Z]\.)(?<!\bMr\.)(?<!Mrs\.)(?<!\bDr\.)(?<!\bSt\.)(?<=[.!?\"])\s+(?=[\"A-Z])")


def open_source(data: Path, name: str) -> bytes:
    """Return the bytes of one of SOURCES, unpacked. Raises RecipeError where it is missing or damaged."""
    source = SOURCES[name]
    path = data / source.path
    if not path.is_file():
        raise RecipeError(f"{path} is missing: {source.what}, from {source.origin} ({source.licence}). Put it there.")
    try:
        raw = path.read_bytes()
        return lzma.decompress(raw) if path.suffix == ".xz" else raw
    except (OSError, lzma.LZMAError) as error:
        raise RecipeError(f"{path} cannot be read: {error}. Fetch it again from {source.origin}.") from error


def read(data: Path, name: str) -> str:
    """Return one of SOURCES as text."""
    return open_source(data, name).decode("utf-8", errors="replace")


def rows(data: Path, name: str) -> list[dict[str, str]]:
    """Return a tab-separated source row by row."""
    return list(csv.DictReader(io.StringIO(read(data, name)), delimiter="\t", quoting=csv.QUOTE_NONE))


def labelled(data: Path, name: str) -> list[Judged]:
    """Return the sentences of a sentiment source with their labels: 0 negative, 1 positive."""
    return [(row["sentence"].strip(), int(row["label"])) for row in rows(data, name)]


def is_held_out(text: str) -> bool:
    """Set aside every 50th text by its own letters, so that a text and its copies go the same way."""
    return zlib.crc32(text.encode()) % 50 == 0


def tidy(text: str) -> str:
    """Write a paragraph on one line in one style: straight quotes, spaced dashes, nothing an editor added."""
    text = text.translate(MARKS)
    text = re.sub(r"\[[^\]]*\]|[\u200b-\u200f\ufeff_*#]|<[^>]{1,20}>", "", text)
    text = re.sub(r"''|``", '"', text)
    text = re.sub(r"\b([Tt]o)-(day|morrow|night)\b", r"\1\2", text)
    text = BRITISH_SPEECH.sub(r'"\1"', text)
    text = re.sub(r"([,;:])?\s*(?:--+|[—–])\s*", lambda dash: (dash[1] or " -") + " ", text)
    text = re.sub(r" - (?=[\"')]\B)", "-", text)
    return re.sub(r"\s+", " ", text).strip()


def paragraphs(text: str) -> list[str]:
    """Return the tidy paragraphs of a hard-wrapped text. One that goes on after a page break is joined again."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        block = tidy(block)
        if not re.search(r"[A-Za-z]", block) or SLURS.search(block):
            continue
        goes_on = found and found[-1][-1] not in ".!?\"')" and block.lstrip(". ")[:1].islower()
        if goes_on:
            found[-1] = f"{found[-1].rstrip('.')} {block.lstrip('. ')}"
        else:
            found.append(block)
    return found


def is_prose(paragraph: str) -> bool:
    """Tell a sentence from a heading, a verse number, a translator's name."""
    heading = re.match(r"(chapter|part|book|volume|translated|the end|contents)\b", paragraph, re.I)
    return paragraph[-1] in ".!?\"')-,;:" and not (heading and len(paragraph) < 120) and not paragraph.isupper()


def documents(data: Path, name: str) -> list[str]:
    """Return the documents of a source, each as paragraphs of prose parted by an empty line."""
    found = ["\n\n".join(filter(is_prose, paragraphs(text))) for text in read(data, name).split(END)]
    return [document for document in found if document]


def picture_books(data: Path) -> list[str]:
    """Return the children's stories, without their titles, the pages of a few words joined to paragraphs."""
    stories = []
    for text in read(data, "children").split(END):
        pages = paragraphs(text)[1:]  # the first is the title
        foreign = sum(not character.isascii() for character in "".join(pages))
        if not pages or foreign > 0.01 * sum(map(len, pages)):
            continue
        story = [""]
        for page in pages:
            page = page if page[-1] in ".!?\"')" else page.rstrip(",;:- ") + "."
            if len(story[-1]) > 200:
                story.append("")
            story[-1] = f"{story[-1]} {page}".strip()
        stories.append("\n\n".join(story))
    return stories


def books(data: Path, titles: frozenset[str]) -> list[str]:
    """Return the chapters, or tales, of the books of these titles. The manifest lists them in the order of the text."""
    order = [row["title"].strip() for row in rows(data, "manifest") if row["split"] == "easy"]
    texts = read(data, "books").split(END)
    if len(order) != len(texts):
        raise RecipeError(f"{data / SOURCES['books'].path} has {len(texts)} books and its manifest {len(order)}.")
    return [
        "\n\n".join(chapter)
        for title, text in zip(order, texts, strict=True)
        if title in titles
        for prose, chapter in itertools.groupby(paragraphs(text), is_prose)
        if prose
    ]


def sentences(document: str) -> list[str]:
    """Part a document into its sentences, quotes and abbreviations taken as they come."""
    return [one for paragraph in document.split("\n") for one in SENTENCE_END.split(paragraph) if one]


def runs(text: str, length: int = 8) -> set[tuple[str, ...]]:
    """Return every run of so many words of a text."""
    words = text.lower().split()
    return {tuple(words[first : first + length]) for first in range(len(words) - length + 1)}


def unseen(held_out: list[str], training: list[str]) -> list[str]:
    """Return the held-out texts that are not also, in part or in another edition, among the training texts."""
    seen = set().union(*map(runs, training))
    return [text for text in held_out if len(found := runs(text)) and len(found & seen) < 0.02 * len(found)]
