"""What squeezing a model took from its answer, and what it saves: said after the answer itself."""

from collections.abc import Callable

import core
from core import catalogue
from core.errors import VisitorError
from core.results import Ranking
from demos.words import Words


def told(said: str, model: str, task: str, now: Ranking, ask: Callable[[str], Ranking], words: Words) -> str:
    """Return what is said of an answer, and of a squeezed model's also how it differs from the same model's with all its bits.

    ask: answers as another model would, by its name. Raises UnknownModel.
    """
    whole = catalogue.unsqueezed(model)
    if whole == model:
        return said
    bits = catalogue.find(model, task).bits
    try:
        before = ask(whole)
        small, large = (f"{core.models.size(core.models.load(name, task)) / 1e6:,.1f}" for name in (model, whole))
    except VisitorError:  # no room for both, or too busy: there is an answer all the same
        return said
    answer = before.labels[0]
    change = words.say(
        "squeezing.changed", bits=bits, small=small, large=large, answer=words.label(answer),
        before=words.percent(before.probabilities[0]), now=words.percent(now.probability_of(answer)),
    )  # fmt: skip
    return f"{said} {change}"
