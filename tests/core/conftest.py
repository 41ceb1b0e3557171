"""Tiny networks for the tests of core, made once and loud enough that attention is not flat."""

from functools import cache

import numpy as np
import pytest
from PIL import Image

from tests.tiny import CHATS, tiny

HEAD = {
    "generation": "AutoModelForCausalLM",
    "masking": "AutoModelForMaskedLM",
    "sentiment": "AutoModelForSequenceClassification",
    "vqa": "AutoModelForVisualQuestionAnswering",
}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Return a function (kind, task) -> Model."""

    @cache
    def made(kind: str, task: str):
        auto = "AutoModelForImageTextToText" if kind in CHATS else HEAD[task]
        return tiny(tmp_path_factory.mktemp(kind), kind, auto, task, loud=6)  # or every answer would be alike

    return made


@pytest.fixture(scope="session")
def picture():
    """Return a picture of noise, taller than it is wide."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8))
