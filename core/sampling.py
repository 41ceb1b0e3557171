"""How the next token is drawn: the model's probabilities, and what each setting makes of them. Pure numpy, no model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core import limits
from core.errors import BadValue
from core.results import Settings, Step


@dataclass(frozen=True, slots=True)
class Stage:
    """The chance of every token once a setting has had its say."""

    name: str  # "own", "repetition", "temperature", "top_k", "top_p" or "min_p"
    chances: np.ndarray = field(compare=False)  # float64[kept]; 0 for what is shut out
    rest: float  # the chance of all other tokens together


def check(settings: Settings) -> Settings:
    """Return the settings with numbers of the right kind.

    Raises BadValue for what the sliders do not offer: NaN, text, a million tokens.
    """
    return Settings(
        temperature=number("temperature", settings.temperature, 0, 2),
        top_k=whole("top_k", settings.top_k, 0, limits.RIVALS_KEPT),
        top_p=number("top_p", settings.top_p, 0.01, 1),
        min_p=number("min_p", settings.min_p, 0, 1),
        repetition=number("repetition", settings.repetition, 1, 2),
        length=whole("length", settings.length, 1, limits.STORY_TOKENS),
        seed=whole("seed", settings.seed, 0, 2**31 - 1),
        stop=stop_words(settings.stop),
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


def stop_words(found: object) -> tuple[str, ...]:
    """Return the words at which a story ends, without empty ones. Raises BadValue."""
    if not isinstance(found, tuple | list) or not all(isinstance(word, str) for word in found):
        raise BadValue(field="stop", found=str(found)[:40], needed="A, B, C")
    words = tuple(word for word in found if word)
    if len(words) > limits.STOP_WORDS:
        raise BadValue(field="stop", found=str(len(words)), needed=f"0 … {limits.STOP_WORDS}")
    for word in words:
        if len(word) > limits.STOP_CHARACTERS:
            raise BadValue(field="stop", found=word[:40], needed=f"1 … {limits.STOP_CHARACTERS}")
    return words


def stages(
    log_probabilities: np.ndarray, settings: Settings, vocabulary: int, offset: float = 0.0, repeats: Sequence[int] = ()
) -> tuple[Stage, ...]:
    """Return what each setting makes of the probabilities, one after the other, the model's own first.

    `log_probabilities`: float32[kept], of the full softmax, in any order; the likeliest tokens are among them. The others
    of the vocabulary share what is left of the probability evenly. `offset`: what a log-probability lacks to be a logit.
    `repeats`: places of the tokens that the text holds already.
    Source: Keskar et al. 2019 (repetition penalty), Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p), Nguyen et al.
    2024 (min-p); in the order in which Transformers applies them.
    """
    logs = log_probabilities.astype(np.float64)
    weights, others = np.exp(logs), vocabulary - len(logs)
    rest = max(1.0 - weights.sum(), 0.0) if others else 0.0
    each = math.log(rest / others) if rest else -math.inf  # the log-probability of one of the others
    found = [Stage("own", weights, rest)]

    if settings.repetition > 1 and len(repeats):
        places = list(repeats)
        logits = logs[places] + offset
        logs[places] = np.where(logits < 0, logits * settings.repetition, logits / settings.repetition) - offset
        found.append(stage("repetition", np.exp(logs), rest))
    else:
        found.append(replace(found[-1], name="repetition"))

    first = int(logs.argmax())
    if settings.temperature == 0:
        weights, rest = np.eye(1, len(logs), first)[0], 0.0
    else:
        weights = warmed(logs, settings.temperature)
        rest = others * math.exp(min(0.0, each - logs[first]) / settings.temperature)  # rounding may put them in front
    found.append(stage("temperature", weights, rest))

    for name, bound in {"top_k": of_top_k, "top_p": of_top_p, "min_p": of_min_p}.items():
        before = found[-1]
        least = bound(before.chances, settings)
        if not least:
            found.append(replace(before, name=name))
            continue
        stay = others and before.rest / others >= least
        found.append(stage(name, np.where(before.chances >= least, before.chances, 0.0), before.rest if stay else 0.0))
    return tuple(found)


def of_top_k(chances: np.ndarray, settings: Settings) -> float:
    """Return the chance a token needs to stay on the shortlist; 0: all stay."""
    return falling(chances)[settings.top_k - 1] if 0 < settings.top_k <= len(chances) else 0.0


def of_top_p(chances: np.ndarray, settings: Settings) -> float:
    """Return the chance a token needs to be among the likeliest that together reach top-p; 0: all stay."""
    if settings.top_p == 1:
        return 0.0
    falls = falling(chances)
    enough = int(np.searchsorted(np.cumsum(falls), settings.top_p))
    return falls[enough] if enough < len(falls) else 0.0


def of_min_p(chances: np.ndarray, settings: Settings) -> float:
    """Return the chance a token needs to have its share of the likeliest one's; 0: all stay."""
    return settings.min_p * chances.max()


def falling(weights: np.ndarray) -> np.ndarray:
    """Return weights, the largest first."""
    return -np.sort(-weights)


def stage(name: str, weights: np.ndarray, rest: float) -> Stage:
    """Return a stage whose chances sum to 1 with the rest."""
    total = weights.sum() + rest
    return Stage(name, weights / total, float(rest / total))


def warmed(logs: np.ndarray, temperature: float) -> np.ndarray:
    """Return weights at a temperature above 0; the likeliest token's is 1."""
    return np.exp((logs - logs.max()) / temperature)


def chances(log_probabilities: np.ndarray, settings: Settings, vocabulary: int, *others: object) -> np.ndarray:
    """Return the chance of each token to be drawn: float64[kept], 0 for what is shut out. As `stages`."""
    plain = settings.top_k == settings.min_p == 0 and settings.top_p == settings.repetition == 1
    if (
        plain and settings.temperature and vocabulary == len(log_probabilities)
    ):  # the usual case, in a third of the time
        weights = warmed(log_probabilities.astype(np.float64), settings.temperature)
        return weights / weights.sum()
    return stages(log_probabilities, settings, vocabulary, *others)[-1].chances


def stages_of(step: Step, settings: Settings) -> tuple[Stage, ...]:
    """Return what each setting makes of what a step kept."""
    return stages(step.log_probabilities, settings, step.vocabulary, step.offset, step.repeats)


def shut_out(found: Sequence[Stage]) -> dict[int, str]:
    """Return which setting shut out what, by place among the kept."""
    return {
        int(place): now.name
        for before, now in zip(found, found[1:], strict=False)
        for place in np.flatnonzero((before.chances > 0) & (now.chances == 0))
    }


def draw(number: float, chances: np.ndarray) -> int:
    """Return the place of the token that a number from 0 to 1, drawn evenly, falls on."""
    together = np.cumsum(chances)
    place = int(np.searchsorted(together, number * together[-1], side="right"))
    return place if place < len(chances) else int(np.flatnonzero(chances)[-1])  # rounding may go a hair past the end


def draws(last: Stage, times: int, seed: int) -> tuple[np.ndarray, int]:
    """Return how often each token would come: int[kept], and all others together."""
    chances = np.append(last.chances, last.rest)
    counts = np.random.default_rng(seed).multinomial(times, chances / chances.sum())
    return counts[:-1], int(counts[-1])
