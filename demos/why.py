"""Why, and what if, of words: what the tabs about a text say and draw in the same way."""

from collections.abc import Collection

from core import charts
from core.results import Ranking, Saliency
from demos.tokens import Token
from demos.words import Words

NOTHING = 0.005  # of probability: what is lost below it is no loss one could tell
BANDS = ((0.6, "largely"), (0.2, "partly"), (-1.0, "hardly"))  # agreement from here on, and how it is told
BEFORE, NOW = 5, 3  # answers in a comparison: the likeliest of before, and of now


def draw(saliency: Saliency, words: Words) -> charts.Figure | None:
    """Draw the measures side by side for each word, or for those that count most; nothing where there are no words."""
    if not saliency.tokens:
        return None
    return charts.saliency_bars(saliency, [words.say(f"why.{name}") for name in ("covering", "gradients", "looks")])


def strip(
    saliency: Saliency, words: Words, covered: Collection[int] = (), by: str = "covered", sign: int = 1
) -> list[Token]:
    """Return the words, tinted by one measure, "covered" or "scores", each with a note of all; `covered` are hatched."""
    values = getattr(saliency, by) or saliency.covered
    most = max(map(abs, values), default=0) or 1
    return [
        Token(shown(word), sign * value / most, note(saliency, number, words), covered=number in covered)
        for number, (word, value) in enumerate(zip(saliency.tokens, values, strict=True))
    ]


def note(saliency: Saliency, word: int, words: Words) -> str:
    """Say what each measure found about a word, one a line."""
    said = [words.say("why.note_covering", moved=signed(-100 * saliency.covered[word], 1))]
    if saliency.scores:
        said.append(words.say("why.note_gradients", push=signed(saliency.scores[word], 2)))
    if saliency.looks:
        said.append(words.say("why.note_looks", share=words.percent(saliency.looks[word])))
    return "\n".join(said)


def tell(saliency: Saliency, answer: str, probability: float, words: Words) -> str:
    """Say which word counts most, how far the measures agree, and how complete the gradients are."""
    said = {"strongest": tell_strongest(saliency, answer, probability, words), "agreement": "", "complete": ""}
    if saliency.agreement is not None:
        band = next(name for least, name in BANDS if saliency.agreement >= least or least == -1)
        said["agreement"] = words.say(f"why.agree_{band}", agreement=signed(saliency.agreement, 2).removeprefix("+"))
    if saliency.error is not None and saliency.scores:
        said["complete"] = words.say("why.complete", share=words.percent(max(0.0, 1 - saliency.error)))
    told = words.say("why.told", **said).strip()
    if len(saliency.tokens) > charts.SALIENT:
        told = words.say("why.some", told=told, count=charts.SALIENT)
    return told


def tell_strongest(saliency: Saliency, answer: str, probability: float, words: Words) -> str:
    """Say which word the answer hangs on most, by covering; by gradients where covering any changes nothing."""
    if len(saliency.covered) < 2:
        return words.say("why.one" if saliency.covered else "why.no_words", answer=answer)
    most = max(saliency.covered)
    if most >= NOTHING:
        word = shown(saliency.tokens[saliency.covered.index(most)])
        before, after = words.percent(probability), words.percent(max(0.0, probability - most))
        return words.say("why.word", answer=answer, word=word, before=before, after=after)
    if saliency.scores and max(saliency.scores) > 0:
        word = shown(saliency.tokens[saliency.scores.index(max(saliency.scores))])
        return words.say("why.none_pushes", answer=answer, word=word)
    return words.say("why.none", answer=answer)


def draw_moved(before: Ranking, now: Ranking, words: Words) -> charts.Figure:
    """Draw the likeliest answers before and now, side by side."""
    labels = [*dict.fromkeys(before.labels[:BEFORE] + now.labels[:NOW])]
    rows = [[ranking.probability_of(label) for label in labels] for ranking in (before, now)]
    names = [words.say("ui.before"), words.say("ui.after")]
    return charts.compared_bars([words.label(label) for label in labels], rows, names)


def tell_moved(saliency: Saliency, before: Ranking, now: Ranking, covered: Collection[int], words: Words) -> str:
    """Say how covering some words moved the answer that the saliency is about; or, before any is, what can be done."""
    if not covered:
        return words.say("why.whatif")
    facts = {
        "words": words.listed([shown(saliency.tokens[word]) for word in sorted(covered)]),
        "answer": words.label(saliency.label),
        "before": words.percent(before.probability_of(saliency.label)),
        "after": words.percent(now.probability_of(saliency.label)),
    }
    if facts["before"] == facts["after"] and now.labels[0] == before.labels[0]:
        return words.say("why.stayed", **{name: facts[name] for name in ("words", "answer", "after")})
    if now.labels[0] in (saliency.label, before.labels[0]):
        return words.say("why.moved", **facts)
    return words.say("why.changed", **facts, now=words.label(now.labels[0]))


def shown(word: str) -> str:
    """Return a word without the spaces around it; one of nothing else is made visible."""
    return word.strip() or charts.written([word])[0]


def signed(number: float, digits: int) -> str:
    """Return a number with its sign, a true minus, and no sign where it is rounded to nothing."""
    written = f"{number:+.{digits}f}"
    return f"{0:.{digits}f}" if not float(written) else written.replace("-", "−")


def cut(ranking: Ranking, most: int) -> Ranking:
    """Return the first labels of a ranking that knows more than is shown."""
    return Ranking(ranking.labels[:most], ranking.probabilities[:most])
