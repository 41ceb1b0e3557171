"""The models on offer: one line a model."""

from dataclasses import dataclass

from core.errors import UnknownModel


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Where a model is and what it is for."""

    name: str  # as the menu shows it and the API takes it
    tasks: tuple[str, ...]  # the tabs that offer it; the first one is its own
    repo: str  # a folder of the project
    auto: str  # the class of Transformers that loads it
    languages: tuple[str, ...] = ("en",)


CATALOGUE = (
    ModelCard("english", ("masking", "attention"), "weights/english", "AutoModelForMaskedLM"),
    ModelCard("storyteller", ("generation", "attention"), "weights/storyteller", "AutoModelForCausalLM"),
    ModelCard("english-sentiment", ("sentiment", "attention"), "weights/english", "AutoModelForSequenceClassification"),
    ModelCard("shapes", ("vqa",), "weights/shapes", "AutoModelForVisualQuestionAnswering"),
)


def offered(task: str) -> list[str]:
    """Return the names of a tab's models, its own ones first."""
    cards = [card for card in CATALOGUE if task in card.tasks]
    return [card.name for card in sorted(cards, key=lambda card: card.tasks.index(task))]


def find(name: str, task: str | None = None) -> ModelCard:
    """Return the card of that name.

    Raises UnknownModel for a name that is not there, or not for that task.
    """
    known = {card.name: card for card in CATALOGUE if task is None or task in card.tasks}
    if name not in known:
        raise UnknownModel(found=str(name)[:60], known=", ".join(known))
    return known[name]
