"""The model menu of a tab, with its three shelves: what is known of the chosen model, and getting one that is not here.

What a visitor chose last counts: what an earlier choice was fetching ends, and its child too unless others wait for it.
"""

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

import gradio as gr

import core
from core import catalogue, hub
from core.catalogue import ModelCard
from core.errors import UnknownModel, VisitorError
from demos import ui
from demos.words import Words

FETCHES = "fetches"  # waiting for the Hub takes no slot of the device
BITS = (0, 8, 4)  # a weight; 0: all it comes with
SECONDS = {"hours": 3600, "minutes": 60, "seconds": 1}


class ModelMenu(gr.Dropdown):
    """The models of one tab. A name that is not on offer is refused where models are found, in the visitor's language."""

    is_template = True

    def preprocess(self, payload: object) -> str | None:
        return str(payload) if isinstance(payload, list | dict) else payload


@dataclass(slots=True)
class Choice:
    """What a menu remembers of one visitor. It is changed in place, so that what is still running sees it."""

    works: str  # the last model chosen that was here: the menu goes back to it
    number: int = 0  # of the latest choice: what an earlier one was fetching ends
    fetching: bool = False

    def take_turn(self) -> int:
        """End what is being fetched, and return the number of this choice."""
        self.number, self.fetching = self.number + 1, False
        return self.number


def menu(task: str, words: Words) -> ModelMenu:
    """Put the menu of a tab's models on the page, its own one chosen; under it what is known of it, and what is fetched."""

    def show_offers(name: str | None):
        return {model: gr.Dropdown(choices=offers(task, words, name or ""))}

    def show_squeezed(name: str | None, bits: int):
        whole = catalogue.unsqueezed(name or "")
        return {model: chosen(f"{whole}@{bits}" if bits else whole)}

    def chosen(name: str) -> gr.Dropdown:
        return gr.Dropdown(choices=offers(task, words, name), value=name)

    # Gradio shows the last part of a stream again when it ends, and may leave out one that another follows at once: so
    # each part says everything, and one that comes too late ends by saying nothing.
    def show_chosen(name: str, choice: Choice, login: gr.OAuthToken | None):
        if name == choice.works and not choice.fetching:  # the menu only went back
            yield nothing()
            return
        number = choice.take_turn()
        try:
            card, key = catalogue.find(name, task), hub.key_of(token_of(login))
            if not is_here(card, key):
                choice.fetching = True
                yield from arriving(card, choice, login)
        except VisitorError:
            if choice.number == number:
                yield back(choice, "shelf.refused")
                raise
        if choice.number != number:  # the visitor chose again meanwhile, or stopped
            yield nothing()
            return
        card = with_key(card, key)
        choice.works, choice.fetching = card.name, False
        ready = "shelf.ready_board" if card.shelf == "board" else "shelf.ready"
        yield shown(card, words.say(ready, go=words.say(f"{task}.go"))) | {model: chosen(card.name)}

    def arriving(card: ModelCard, choice: Choice, login: gr.OAuthToken | None) -> Iterator[dict]:
        """Show a model of the Hub arriving, until it is here, or until its visitor chooses again or stops."""
        number = choice.number
        yield shown(card, words.say("shelf.asking"), 0)
        with closing(hub.fetch(card, core.models.accept, token_of(login))) as parts:
            for progress in parts:
                if choice.number != number:
                    return
                said = tell(progress, words) if progress.total else words.say("shelf.asking")
                yield shown(
                    card, said, 100 * progress.done // max(1, progress.total)
                )  # also while nothing comes: is it read?

    def nothing() -> dict:
        return {model: gr.skip()}

    def show_given_up(choice: Choice):
        return back(choice, "shelf.stopped")

    def back(choice: Choice, why: str) -> dict:
        """Choose the model again that worked."""
        choice.take_turn()
        card = catalogue.find(choice.works, task)
        return {model: chosen(choice.works)} | shown(card, words.say(why, works=title(card, words)))

    def shown(card: ModelCard, said: str, percent: int | None = None) -> dict:
        """Show what is known of a model, what there is to say, and while it is fetched how much of it has come."""
        return {
            panel: gr.HTML(said=said, percent=percent, **known(card, words)),
            stop: gr.Button(visible=percent is not None),
            bits: card.bits,
        }

    choices = offers(task, words)
    mine = own_info(words)
    with gr.Column(elem_classes="gb-shelf"):
        model = ModelMenu(
            choices, value=choices[0][1], label=words.say("ui.model"), info=mine, allow_custom_value=mine is not None,
            filterable=mine is not None,
        )  # fmt: skip
        panel = gr.HTML(
            html_template=(ui.STATIC / "shelf.html").read_text("utf-8"), apply_default_css=False, said="", percent=None,
            label=words.say("shelf.arriving"), **known(catalogue.find(model.value, task), words),
        )  # fmt: skip
        stop = gr.Button(words.say("shelf.stop"), size="sm", visible=False)
        bits = gr.Radio(
            [(words.say(f"squeezing.{number}"), number) for number in BITS], value=0, label=words.say("squeezing.bits"),
            show_label=False, container=False,
        )  # fmt: skip
    visitor = gr.State(Choice(model.value))

    here = {"show_progress": "hidden", "trigger_mode": "multiple"}
    ui.on([model.focus], show_offers, [model], [model], words, queue=False, **here)
    # Not `input`, which comes twice with every click, and whenever somebody only looks at the menu.
    ui.on(
        [model.change], show_chosen, [model, visitor], [model, panel, stop, bits], words, concurrency_id=FETCHES, **here
    )
    ui.on([stop.click], show_given_up, [visitor], [model, panel, stop, bits], words, queue=False, **here)
    ui.on([bits.input], show_squeezed, [model, bits], [model], words, queue=False, **here)
    return model


def offers(task: str, words: Words, chosen: str = "") -> list[tuple[str, str]]:
    """Return the models of a tab as its menu shows them, and their names; the chosen one too, if it is any."""
    names = catalogue.offered(task, words.language)
    found = [(offer(catalogue.find(name, task), words), name) for name in names]
    if chosen and chosen not in names:
        with suppress(UnknownModel):
            found.append((title(catalogue.find(chosen, task), words), chosen))
    return found


def offer(card: ModelCard, words: Words) -> str:
    """Return what a menu says of a model: of one of the Hub also its size, or that it is here."""
    if card.shelf == "board":
        return title(card, words)
    state = "here" if is_here(card) else "offer"
    return words.say(f"shelf.{state}", name=title(card, words), size=size(card.megabytes * 1e6, words))


def title(card: ModelCard, words: Words) -> str:
    """Return a model's name for people."""
    if card.bits:
        whole = catalogue.find(catalogue.unsqueezed(card.name), card.tasks[0])
        return words.say("squeezing.name", name=title(whole, words), bits=card.bits)
    return words.say(f"model.{card.name}") if words.has(f"model.{card.name}") else card.title or card.name


def own_info(words: Words) -> str | None:
    """Say which models of their own visitors may type, None where they may type none."""
    allowed = catalogue.own()
    kinds = [kind for kind, may in (("hub", allowed.hub), ("folder", allowed.folder)) if may]
    return words.say(f"shelf.own_{'_'.join(kinds)}") if kinds else None


def known(card: ModelCard, words: Words) -> dict[str, str]:
    """Return what is known of a model: a sentence about it, and of one of the Hub its facts."""
    name = catalogue.unsqueezed(card.name)
    about = words.say(f"about.{name}") if words.has(f"about.{name}") else ""
    return {"about": about, "facts": words.say("shelf.dot").join(facts(card, words))}


def facts(card: ModelCard, words: Words) -> list[str]:
    """Return the number of a Hub model's parameters, its size, languages and licence, as far as they are known."""
    if card.shelf != "hub" or not card.megabytes:
        return [] if card.shelf == "board" else [card.name]
    millions = card.parameters / int(words.say("shelf.millions"))
    languages = [
        words.say(f"shelf.language.{one}") if words.has(f"shelf.language.{one}") else one for one in card.languages
    ]
    return [
        words.say("shelf.parameters", number=short(millions)),
        size(card.megabytes * 1e6, words),
        words.say("number.comma").join(languages),
        words.say("shelf.licence", name=card.licence),
    ]


def is_here(card: ModelCard, key: str = "") -> bool:
    """Whether a model needs no fetching: by anybody, or by the visitor whose key that is."""
    return card.shelf != "hub" or hub.snapshot(card, card.key or key, used=False) is not None


def with_key(card: ModelCard, key: str) -> ModelCard:
    """Return the card of a model that is here, under a name with its visitor's key if it is for that visitor alone."""
    if not key or card.key or is_here(card):
        return card
    return catalogue.find(f"{card.name}@{key}", card.tasks[0])


def token_of(login: gr.OAuthToken | None) -> str | None:
    """Return whose right to a model counts: the visitor's who logged in, or the owner's on a machine of their own."""
    if login is not None:
        return login.token
    return None if catalogue.is_public() else os.environ.get("HF_TOKEN")


def tell(progress: hub.Progress, words: Words) -> str:
    """Say how much of a model has come, how fast, and how long it will take."""
    said = [words.say("shelf.of", done=size(progress.done, words), total=size(progress.total, words))]
    if progress.speed > 0:
        said.append(words.say("shelf.speed", size=size(progress.speed, words)))
    if progress.left is not None:
        said.append(words.say("shelf.left", time=time(progress.left, words)))
    return words.say("shelf.dot").join(said)


def size(bytes: float, words: Words) -> str:
    """Return a number of bytes as people say it."""
    unit, number = ("gigabytes", bytes / 1e9) if bytes >= 1e9 else ("megabytes", bytes / 1e6)
    return words.say(f"shelf.{unit}", number=short(number))


def short(number: float) -> str:
    """Return a number in as many digits as matter: 551, 12, 1.5, 0.3."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}".removesuffix(".0")


def time(seconds: float, words: Words) -> str:
    """Return a span of time as people say it: a few seconds, about 40 seconds, about 3 minutes."""
    if seconds < 10:
        return words.say("shelf.moment")
    unit = next(unit for unit, length in SECONDS.items() if seconds >= 1.5 * length)
    number = round(seconds / SECONDS[unit])
    return words.say(f"shelf.{unit}", number=number if unit != "seconds" else 5 * round(number / 5))
