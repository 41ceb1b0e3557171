"""What the English reader reads: the sets in, sentences and judged phrases out."""

import io
import re
import zipfile
from pathlib import Path

from training import corpus
from training.corpus import Judged, is_held_out
from training.loop import RecipeError
from training.sources import SOURCES

# How often a masked row comes from each: whole sentences of many kinds, short ones most.
SENTENCES = {
    "tatoeba": 0.22,
    "commonvoice": 0.12,
    "wikisplit": 0.13,
    "news": 0.10,
    "dialogues": 0.08,
    "children": 0.08,
    "fairytales": 0.05,
    "books": 0.16,
    "sst2": 0.06,
}
# How often a judged row comes from each.
REVIEWS = {"sst2": 0.76, "snippets": 0.10, "pros_cons": 0.05, "goemotions": 0.09}
WORDS = 60  # the longest masked row
NEGATIVE, POSITIVE = 0, 1


def lines(data: Path, name: str) -> list[str]:
    """Return the distinct sentences of a source, tidy, without speakers' names."""
    found = (re.sub(r"^(User|Assistant): ", "", line) for line in corpus.read(data, name).splitlines())
    return list(dict.fromkeys(line for line in map(corpus.tidy, found) if is_sentence(line)))


def is_sentence(text: str) -> bool:
    """Tell a whole sentence, or several, of fitting length."""
    return (
        3 <= len(text.split()) <= WORDS
        and text[-1] in '.!?"'
        and text.count('"') % 2 == 0
        and not re.search(r"\s[.,']", text)
        and not corpus.SLURS.search(text)
    )


def units(document: str) -> list[str]:
    """Return each sentence of a document, and each paragraph short enough to be read whole."""
    paragraphs = [paragraph for paragraph in document.split("\n\n") if len(corpus.sentences(paragraph)) > 1]
    return [text for text in corpus.sentences(document) + paragraphs if is_sentence(text)]


def gather_sentences(data: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return sentences to learn from and sentences held out, by source."""
    whole = {name: lines(data, name) for name in ("tatoeba", "commonvoice", "wikisplit", "dialogues")}
    whole["wikisplit"] = [line for line in whole["wikisplit"] if '"' not in line]  # quotation marks are astray in it
    whole["dialogues"] = whole["dialogues"][::4]  # they repeat themselves
    phrases = [natural(text) for text, _ in corpus.labelled(data, "sst2") if text[-1] in ".!?"]
    whole["sst2"] = list(dict.fromkeys(phrases))
    whole["children"] = corpus.picture_books(data)
    for name in ("news", "fairytales"):
        whole[name] = corpus.documents(data, name)
    prose = corpus.read(data, "books").replace(corpus.END, "").split("\n\n")[::10]
    whole["books"] = list(filter(corpus.is_prose, corpus.paragraphs("\n\n".join(prose))))
    parts = []
    for aside in (False, True):
        chosen = {name: [text for text in whole[name] if is_held_out(text) is aside] for name in SENTENCES}
        parts.append({name: [unit for text in texts for unit in units(text)] for name, texts in chosen.items()})
    return parts[0], parts[1]


def natural(phrase: str) -> str:
    """Write a phrase of SST-2 as people write: words joined again, a full stop at the end."""
    phrase = re.sub(r" (n't|'\w+)\b", r"\1", phrase.replace("`` ", '"').replace(" ''", '"').replace("-lrb- ", "("))
    phrase = re.sub(r" ([.,;:!?)])", r"\1", phrase.replace(" -rrb-", ")")).strip()
    return phrase if phrase[-1:] in tuple(".!?") else phrase + "."


def gather_reviews(data: Path) -> dict[str, list[Judged]]:
    """Return phrases with 0 for complaint and 1 for praise, by source."""
    return {
        "sst2": corpus.labelled(data, "sst2"),
        "snippets": corpus.labelled(data, "snippets"),
        "pros_cons": pros_and_cons(data),
        "goemotions": feelings(data),
    }


def pros_and_cons(data: Path) -> list[Judged]:
    """Return what buyers praised and what they complained of."""
    found = []
    archive = corpus.open_source(data, "pros_cons")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            for name, label in (("IntegratedCons", NEGATIVE), ("IntegratedPros", POSITIVE)):
                text = packed.read(f"pros_cons/{name}.txt").decode("latin-1")
                found += [(corpus.tidy(one), label) for one in re.findall(r"<(?:Pros|Cons)>([^<&]+)</", text)]
    except (zipfile.BadZipFile, KeyError) as error:
        raise RecipeError(f"{data / SOURCES['pros_cons'].path} cannot be read: {error}. Fetch it again.") from error
    return [(text, label) for text, label in found if len(text.split()) > 2]


def feelings(data: Path) -> list[Judged]:
    """Return the everyday remarks with one plain feeling: group 1 negative, group 3 positive."""
    rows = (line.split("\t") for line in corpus.read(data, "goemotions").splitlines())
    groups = {"1": NEGATIVE, "3": POSITIVE}
    found = [(corpus.tidy(row[0]), groups[row[1]]) for row in rows if len(row) > 1 and row[1] in groups]
    return [(text, label) for text, label in found if text and "[NAME]" not in text and not corpus.SLURS.search(text)]
