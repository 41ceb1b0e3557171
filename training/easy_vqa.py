"""easy-VQA: its archive in, pictures of one shape each with their questions out, answered in our words."""

import io
import json
import tarfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from core.scenes import COLOURS, KINDS
from training.corpus import open_source
from training.loop import RecipeError
from training.questions import RECTANGLE, Question
from training.sources import SOURCES

SPELLED = {"gray": "grey"}
HELD_OUT = 10  # every so manieth picture is kept out of the training


class Picture(NamedTuple):
    image: Image.Image  # RGB, 64 x 64
    questions: tuple[Question, ...]

    def pair(self) -> tuple[str, str]:
        """Return colour and kind of its shape, "" for what its questions do not say; a rectangle is a square."""
        said = {word for one in self.questions for word in truths(one)}
        said = {"square" if word == RECTANGLE else SPELLED.get(word, word) for word in said}
        return next(iter(said & set(COLOURS)), ""), next(iter(said & set(KINDS)), "")


def truths(one: Question) -> set[str]:
    """Return the words of a question and its answer that are true of the picture."""
    words = one.text.rstrip("?").split()
    denied = "not" in words or "no" in words
    agreed = words[0] == "what" or (one.answer == "yes") != denied
    return {one.answer, *(words if agreed else ())}


def read(data: Path) -> tuple[list[Picture], list[Picture]]:
    """Return the pictures to learn from, and those kept out. Raises RecipeError where the archive is missing or damaged."""
    raw = open_source(data, "easy_vqa")
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
            asked: dict[int, list[Question]] = {}
            for text, answer, number in json.load(archive.extractfile("train/questions.json")):
                asked.setdefault(number, []).append(Question("easy-VQA", text, SPELLED.get(answer, answer)))
            pictures = {
                number: Picture(
                    Image.open(archive.extractfile(f"train/images/{number}.png")).convert("RGB"), tuple(found)
                )
                for number, found in sorted(asked.items())
            }
    except (tarfile.TarError, KeyError, ValueError, OSError) as error:
        origin = SOURCES["easy_vqa"]
        raise RecipeError(f"{data / origin.path} is damaged: {error}. Fetch it again from {origin.origin}.") from error
    learned = [picture for number, picture in pictures.items() if number % HELD_OUT]
    return learned, [picture for number, picture in pictures.items() if number % HELD_OUT == 0]
