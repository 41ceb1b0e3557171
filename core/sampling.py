"""How the next token is drawn: the model's probabilities after temperature, top-k and top-p. Pure numpy, no model."""

import math

import numpy as np

from core import limits
from core.errors import BadValue
from core.results import Settings


def check(settings: Settings) -> Settings:
    """Return the settings with numbers of the right kind.

    Raises BadValue for what the sliders do not offer: NaN, text, a million tokens.
    """
    return Settings(
        temperature=number("temperature", settings.temperature, 0, 2),
        top_k=whole("top_k", settings.top_k, 0, limits.RIVALS_KEPT),
        top_p=number("top_p", settings.top_p, 0.01, 1),
        length=whole("length", settings.length, 1, limits.STORY_TOKENS),
        seed=whole("seed", settings.seed, 0, 2**31 - 1),
    )


def number(field: str, found: object, low: float, high: float) -> float:
    """Return a finite number between two bounds. Raises BadValue."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not low <= found <= high or math.isnan(found):
        raise BadValue(field=field, found=str(found)[:40], needed=f"{low:g} … {high:g}")
    return found


def whole(field: str, found: object, low: int, high: int) -> int:
    """Return a whole number between two bounds. Raises BadValue."""
    if number(field, found, low, high) != int(found):
        raise BadValue(field=field, found=str(found)[:40], needed=f"{low}, {low + 1}, {low + 2} … {high}")
    return int(found)


def chances(log_probabilities: np.ndarray, settings: Settings, vocabulary: int) -> np.ndarray:
    """Return the chance of each token to be drawn: float64[kept], 0 for what is shut out.

    `log_probabilities`: float32[kept], falling, of the full softmax. The other tokens of the vocabulary share what is
    left of the probability evenly; their chance is 1 minus the sum of the returned ones.
    Source: Holtzman et al. 2020 (top-p), Fan et al. 2018 (top-k); in the order in which Transformers applies them.
    """
    kept = len(log_probabilities)
    if settings.temperature == 0:
        return np.eye(1, kept)[0]
    true = np.exp(log_probabilities.astype(np.float64))
    others, left = vocabulary - kept, max(1.0 - true.sum(), 0.0)
    weights = np.exp((log_probabilities.astype(np.float64) - log_probabilities[0]) / settings.temperature)
    rest = 0.0
    if others and left:
        behind = min(0.0, math.log(left / others) - float(log_probabilities[0]))  # rounding may put it in front
        rest = others * math.exp(behind / settings.temperature)
    if settings.top_k and settings.top_k <= kept:
        weights[settings.top_k :] = rest = 0.0
    weights, rest = weights / (weights.sum() + rest), rest / (weights.sum() + rest)
    if settings.top_p < 1:
        shut_out = np.cumsum(weights) - weights >= settings.top_p  # the first one always stays
        weights[shut_out] = 0.0
        if shut_out.any() or weights.sum() >= settings.top_p:
            rest = 0.0
    return weights / (weights.sum() + rest)


def draw(generator: np.random.Generator, drawn_from: np.ndarray) -> int:
    """Return the place of a token drawn with these chances."""
    place = np.searchsorted(np.cumsum(drawn_from), generator.random(), side="right")
    return int(min(place, np.flatnonzero(drawn_from)[-1]))  # rounding may leave the sum a hair below 1
