"""The model menu: what it offers and says, and what happens while a model of the Hub is fetched. No Hub, no torch."""

import inspect
import re
from dataclasses import dataclass, field
from types import SimpleNamespace

import gradio as gr
import pytest

import app
import core
from core import catalogue, errors, limits
from core.hub import Progress
from demos import shelf, ui
from demos.shelf import Choice
from demos.words import LANGUAGES, Words

EN = Words("en")
TASKS = [tab.TITLE for tab in app.TABS]
BOTH = pytest.mark.parametrize("language", LANGUAGES)
PARTS = [Progress(0, 0, 0.1), Progress(0, 551_000_000, 0), Progress(110_000_000, 551_000_000, 10)]


@dataclass
class FakeHub:
    """What is here, how what is not arrives, and who asked for it."""

    here: set[str] = field(default_factory=set)
    parts: list = field(default_factory=lambda: list(PARTS))
    asked: list[tuple] = field(default_factory=list)  # (name, token)
    closed: list[str] = field(default_factory=list)

    def snapshot(self, card, key="", used=True):
        assert not used  # who only looks at a menu uses no model
        return "here" if card.name in self.here else None

    def fetch(self, card, accept, token=None):
        self.asked.append((card.name, token))
        try:
            for part in self.parts:
                if isinstance(part, Exception):
                    raise part
                yield part
            self.here.add(card.name)
        finally:
            self.closed.append(card.name)


@pytest.fixture(autouse=True)
def hub(monkeypatch) -> FakeHub:
    """Put a fake Hub, and no torch, where the menu looks for them; on a machine of the visitor's own."""
    found = FakeHub()
    monkeypatch.setattr(shelf.hub, "snapshot", found.snapshot)
    monkeypatch.setattr(shelf.hub, "fetch", found.fetch)
    monkeypatch.setitem(vars(core), "models", SimpleNamespace(accept=len))
    for name in ("SPACE_ID", "GRADIO_SERVER_NAME", "GRADIO_SHARE", "GLASSBOX_OWN_MODELS", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture
def page(built, hub):
    """Return the tab Write, built anew: with what the fake Hub has."""
    return built.__wrapped__("generation", "en")


def alone(task: str, words: Words = EN) -> shelf.ModelMenu:
    """Return a menu on a page of its own."""
    with gr.Blocks():
        return shelf.menu(task, words)


def seen(shown: dict) -> dict:
    """Return what a visitor sees of what a handler shows: the props that it changes, by the names of the parts."""
    found = {}
    for name, value in shown.items():
        if isinstance(value, gr.blocks.Block):
            found |= {f"{name}.{key}": it for key, it in value.constructor_args.items()}
            found |= {f"{name}.{key}": it for key, it in getattr(value, "props", {}).items()}
        elif not isinstance(value, dict):
            found[name] = value
    return found


def choose(page, name: str, choice: Choice, login=None) -> list[dict]:
    """Choose a model, and return everything that is shown."""
    return [seen(shown) for shown in page.stream("show_chosen", name, choice, login)]


def told(page, name: str, choice: Choice) -> tuple[list[dict], str]:
    """Choose a model that is refused; return what is shown and what the visitor reads."""
    shown = []
    with pytest.raises(gr.Error) as refused:
        for part in page.stream("show_chosen", name, choice, None):
            shown.append(seen(part))
    return shown, refused.value.message


@pytest.mark.parametrize("task", TASKS)
def test_a_menu_offers_the_models_of_its_tab_those_on_board_first(task):
    menu = alone(task)
    names = [name for _, name in menu.choices]
    shelves = [catalogue.find(name).shelf for name in names]
    assert names == catalogue.offered(task) and menu.value == names[0]
    assert shelves == sorted(shelves, key=catalogue.SHELVES.index) and shelves[0] == "board"


def test_a_menu_refuses_nothing_itself():
    menu = alone("masking")
    for name in ("nobody", "", "../../etc/passwd", None):
        assert menu.preprocess(name) == name
    for nonsense in ([1, "a"], {"a": 1}):
        assert isinstance(menu.preprocess(nonsense), str)  # it can be looked up, and is not there


@BOTH
def test_a_menu_says_what_a_model_of_the_hub_weighs_or_that_it_is_here(language, hub):
    words, card = Words(language), catalogue.find("gpt2")
    away = shelf.offer(card, words)
    hub.here.add("gpt2")
    assert "GPT-2" in away and "551 MB" in away
    assert shelf.offer(card, words) == words.say("shelf.here", name="GPT-2", size="551 MB") != away


@BOTH
def test_every_language_of_the_catalogue_has_a_name(language):
    assert all(Words(language).has(f"shelf.language.{one}") for card in catalogue.CATALOGUE for one in card.languages)


@BOTH
@pytest.mark.parametrize("card", catalogue.CATALOGUE, ids=lambda card: card.name)
def test_of_a_model_of_the_hub_size_languages_and_licence_are_told(card, language):
    words = Words(language)
    known = shelf.known(card, words)
    if card.shelf == "hub":
        assert shelf.size(card.megabytes * 1e6, words) in known["facts"] and card.licence in known["facts"]
        assert words.say(f"shelf.language.{card.languages[0]}") in known["facts"]
    assert "{" not in known["about"] + known["facts"]


def test_choosing_a_model_that_is_here_says_so_and_asks_the_hub_for_nothing(page, hub):
    hub.here.add("gpt2")
    choice = Choice("storyteller")
    (shown,) = choose(page, "gpt2", choice)
    assert shown["panel.said"] == EN.say("shelf.ready", go=EN.say("generation.go"))
    assert shown["panel.percent"] is None and shown["stop.visible"] is False and "licence" in shown["panel.facts"]
    assert choice.works == "gpt2" and not hub.asked


def test_choosing_a_model_on_board_says_so(page):
    (shown,) = choose(page, "storyteller", Choice("gpt2"))
    assert shown["panel.said"] == EN.say("shelf.ready_board", go=EN.say("generation.go"))


def test_choosing_a_model_that_is_not_here_fetches_it_and_shows_how(page, hub):
    choice = Choice("storyteller")
    asking, waiting, begun, arriving, done = choose(page, "gpt2", choice)
    assert hub.asked == [("gpt2", None)]
    assert asking["panel.said"] == EN.say("shelf.asking") and asking["panel.percent"] == 0
    assert waiting["panel.said"] == asking["panel.said"]  # said again: a page that is closed meanwhile is noticed
    assert begun["panel.percent"] == 0 and begun["panel.said"] == "0 MB of 551 MB"
    assert arriving["panel.said"] == "110 MB of 551 MB · 11 MB a second · about 40 seconds left"
    assert arriving["panel.percent"] == 19
    assert all(one["stop.visible"] for one in (asking, waiting, begun, arriving))
    assert done["panel.percent"] is None and done["stop.visible"] is False
    assert done["panel.said"] == EN.say("shelf.ready", go=EN.say("generation.go"))
    assert ("GPT-2 · here already (551 MB)", "gpt2") in done["model.choices"]
    assert choice == Choice("gpt2", choice.number)


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("kind", ["ModelMissing", "ModelGated", "HubUnreachable", "ModelUnfit"])
def test_a_refusal_is_told_and_the_menu_goes_back_to_the_model_that_worked(page, hub, kind, at):
    facts = {"name": "GPT-2", "found": "swan", "known": "gpt2"}
    error = getattr(errors, kind)(**facts)
    hub.parts.insert(at, error)
    choice = Choice("storyteller")
    shown, message = told(page, "gpt2", choice)
    assert message == ui.say_error(error, EN)
    assert shown[-1]["model.value"] == "storyteller" and shown[-1]["stop.visible"] is False
    assert shown[-1]["panel.percent"] is None and shown[-1]["panel.about"] == EN.say("about.storyteller")
    assert choice.works == "storyteller" and not choice.fetching
    assert choose(page, "storyteller", choice) == [{}]  # the menu's own going back says nothing, and fetches nothing


@pytest.mark.parametrize("name", ["", None, "no such model", "<img src=x onerror=alert(1)>", "/etc", "~", "a/b/c"])
def test_what_is_no_model_gets_its_sentence_and_the_menu_goes_back(page, hub, name):
    shown, message = told(page, name, Choice("storyteller"))
    assert "There is no model called" in message and "<" not in message
    assert [one["model.value"] for one in shown] == ["storyteller"] and not hub.asked


def test_a_typed_model_of_the_hub_is_fetched_like_the_others(page, hub):
    choice = Choice("storyteller")
    *_, arriving, done = choose(page, " somebody/something ", choice)
    assert hub.asked == [("somebody/something", None)] and arriving["panel.percent"] == 19
    assert done["panel.facts"] == "somebody/something" and choice.works.strip() == "somebody/something"


def test_a_folder_needs_no_fetching(page, hub, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (shown,) = choose(page, str(tmp_path), Choice("storyteller"))
    assert shown["panel.said"] == EN.say("shelf.ready", go=EN.say("generation.go")) and not hub.asked


def test_no_part_of_a_stream_relies_on_the_one_before_it(page):
    parts = choose(page, "gpt2", Choice("storyteller"))
    assert all(
        {"panel.said", "panel.percent", "panel.about", "panel.facts", "stop.visible"} <= set(part) for part in parts
    )


def test_stop_ends_the_fetching_and_goes_back(page, hub):
    choice = Choice("storyteller")
    stream = page.stream("show_chosen", "gpt2", choice, None)
    next(stream), next(stream)
    shown = seen(page.call("show_given_up", choice))
    assert shown["model.value"] == "storyteller" and shown["stop.visible"] is False and shown["panel.percent"] is None
    assert shown["panel.said"].startswith("Stopped.")
    assert [seen(part) for part in stream] == [{}] and hub.closed == ["gpt2"]
    assert "gpt2" not in hub.here and choice.works == "storyteller"


def test_the_latest_choice_counts_and_an_earlier_one_takes_nothing_back(page, hub):
    hub.parts.append(errors.HubUnreachable())
    choice = Choice("storyteller")
    first = page.stream("show_chosen", "gpt2", choice, None)
    next(first), next(first)
    assert choose(page, "storyteller", choice)[0]["panel.said"].startswith("It is on board")
    assert [seen(part) for part in first] == [{}] and hub.closed == ["gpt2"]


def test_a_fetch_that_fails_after_another_choice_is_nobodys_error(page, hub):
    choice = Choice("storyteller")
    first = page.stream("show_chosen", "gpt2", choice, None)
    next(first)
    hub.parts = [errors.HubUnreachable()]
    choose(page, "storyteller", choice)
    assert [seen(part) for part in first] == [{}]


def test_a_page_that_is_closed_ends_its_fetching(page, hub):
    stream = page.stream("show_chosen", "gpt2", Choice("storyteller"), None)
    next(stream), next(stream)
    stream.close()
    assert hub.closed == ["gpt2"]


def test_two_visitors_choose_each_for_themselves(page, hub):
    one, other = Choice("storyteller"), Choice("storyteller")
    first = page.stream("show_chosen", "gpt2", one, None)
    next(first)
    second = page.stream("show_chosen", "smollm2", other, None)
    next(second)
    page.call("show_given_up", other)
    assert len(list(first)) == 4 and one.works == "gpt2" and other.works == "storyteller"
    list(second)
    assert hub.here == {"gpt2"}


def test_a_menu_that_is_opened_knows_what_has_come_since(page, hub):
    assert ("GPT-2 · 551 MB from the Hub", "gpt2") in seen(page.call("show_offers", "storyteller"))["model.choices"]
    hub.here.add("gpt2")
    assert ("GPT-2 · here already (551 MB)", "gpt2") in seen(page.call("show_offers", "gpt2"))["model.choices"]
    for typed in (None, "", "no such model"):
        assert len(seen(page.call("show_offers", typed))["model.choices"]) == len(catalogue.offered("generation"))


def test_a_model_is_squeezed_and_spread_out_again(page, hub):
    assert seen(page.call("show_squeezed", "storyteller", 4))["model.value"] == "storyteller@4"
    squeezed = seen(page.call("show_squeezed", "storyteller@4", 8))
    assert squeezed["model.value"] == "storyteller@8"
    assert ("Storyteller (English, on board) · 8 bits a weight", "storyteller@8") in squeezed["model.choices"]
    assert seen(page.call("show_squeezed", "storyteller@8", 0))["model.value"] == "storyteller"
    shown = choose(page, "storyteller@8", Choice("storyteller"))
    assert shown[-1]["bits"] == 8 and not hub.asked


def test_a_gated_model_bears_its_visitors_key_once_it_is_here(page, hub, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/glassbox")
    monkeypatch.setenv("GLASSBOX_OWN_MODELS", "hub")
    key = core.hub.key_of("theirs")
    monkeypatch.setattr(shelf.hub, "snapshot", lambda card, key="", used=True: "here" if key and hub.asked else None)
    shown = choose(page, "owner/gated", Choice("storyteller"), gr.OAuthToken("theirs", "", 0))
    assert shown[-1]["model.value"] == f"owner/gated@{key}"
    assert catalogue.find(f"owner/gated@{key}", "generation").key == key


def test_a_visitor_who_logged_in_fetches_with_their_own_right(page, hub, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/glassbox")
    monkeypatch.setenv("HF_TOKEN", "the host's")
    choose(page, "gpt2", Choice("storyteller"), gr.OAuthToken("theirs", "", 0))
    assert hub.asked == [("gpt2", "theirs")]


@pytest.mark.parametrize(
    ("name", "value"), [("SPACE_ID", "a/b"), ("GRADIO_SERVER_NAME", "0.0.0.0"), ("GRADIO_SHARE", "1")]
)
def test_the_hosts_right_is_never_lent_on_a_public_host(monkeypatch, name, value):
    monkeypatch.setenv("HF_TOKEN", "the host's")
    assert shelf.token_of(None) == "the host's"
    monkeypatch.setenv(name, value)
    assert shelf.token_of(None) is None


def test_the_visitors_right_is_filled_in_by_gradio_and_is_no_input(page):
    event = page.events["show_chosen"]
    assert list(inspect.signature(event.fn).parameters) == ["name", "choice", "login"] and len(event.inputs) == 2
    inputs, *_ = gr.helpers.special_args(event.fn, ["gpt2", Choice("storyteller")], None)
    assert inputs[2:] == [None]  # off a Space nobody is logged in


@pytest.mark.parametrize(
    ("allowed", "key"),
    [("both", "own_hub_folder"), ("hub", "own_hub"), ("folder:/models", "own_folder"), ("none", None)],
)
def test_what_may_be_typed_is_said_where_it_may_be(monkeypatch, allowed, key):
    monkeypatch.setenv("GLASSBOX_OWN_MODELS", allowed)
    menu = alone("masking")
    assert menu.info == (EN.say(f"shelf.{key}") if key else None)
    assert menu.allow_custom_value is menu.filterable is (key is not None)


def test_on_a_public_host_nothing_may_be_typed(monkeypatch, tab, hub):
    monkeypatch.setenv("SPACE_ID", "somebody/glassbox")
    assert alone("masking").info is None
    told(tab("generation"), "somebody/something", Choice("storyteller"))
    assert not hub.asked


def test_names_are_put_into_the_page_as_text():
    template = (ui.STATIC / "shelf.html").read_text("utf-8")
    assert set(re.findall(r"\$\{(\w+)", template)) == {"about", "facts", "label", "percent", "said", "character"}
    for name in ("about", "facts", "said"):  # `label` is ours, `percent` a number
        assert len(re.findall(rf"\$\{{{name}\b", template)) == template.count(f"${{{name}.replace(/[<&]/g, ") == 1


@BOTH
def test_sizes_and_times_are_said_as_people_do(language):
    words = Words(language)
    sizes = [shelf.size(bytes, words) for bytes in (0, 300_000, 4_200_000, 96e6, 551e6, 1.13e9, 42e9)]
    assert sizes == ["0 MB", "0.3 MB", "4.2 MB", "96 MB", "551 MB", "1.1 GB", "42 GB"]
    times = [shelf.time(seconds, words) for seconds in (3, 12, 44, 100, 3000, 9000)]
    kinds = [("moment", None), ("seconds", 10), ("seconds", 45), ("minutes", 2), ("minutes", 50), ("hours", 2)]
    assert times == [words.say(f"shelf.{kind}", **({"number": number} if number else {})) for kind, number in kinds]


def test_fetching_takes_no_slot_of_the_device(page):
    event = page.events["show_chosen"]
    assert event.concurrency_id == shelf.FETCHES != ui.ONE_DEVICE and event.concurrency_limit == limits.CALLS_AT_ONCE
    assert not page.events["show_given_up"].queue  # a full queue does not keep anybody from stopping
    assert all(other.concurrency_id != shelf.FETCHES for name, other in page.events.items() if name != "show_chosen")


@pytest.mark.parametrize("task", TASKS)
def test_what_is_remembered_of_an_answer_never_meets_the_model_chosen_since(task, tab):
    made = tab(task)
    (menu,) = (part for part in made.blocks.blocks.values() if isinstance(part, shelf.ModelMenu))
    asking = [event for event in made.blocks.fns.values() if menu in event.inputs and event.fn]
    assert any(event.api_name == task for event in asking)
    for event in asking:
        remembered = [part for part in event.inputs if isinstance(part, gr.State)]
        assert not remembered or event.fn.__name__ == "show_chosen"


@pytest.mark.parametrize("task", TASKS)
def test_a_menu_costs_the_page_few_parts(task):
    with gr.Blocks() as page:
        shelf.menu(task, EN)
    assert len(page.blocks) <= 8
