"""What every tab of app.TABS keeps to, in both languages."""

import inspect
import tomllib
from pathlib import Path

import gradio as gr
import pytest

import app
import core
from core import catalogue
from core.errors import NothingTyped
from demos import shelf
from demos import words as sentences_of
from demos.words import LANGUAGES, Words

TABS = pytest.mark.parametrize("name", [tab.TITLE for tab in app.TABS])
BOTH = pytest.mark.parametrize("language", LANGUAGES)
TASKS = Path(core.__file__).parent / "tasks"


@pytest.fixture(scope="module")
def page() -> gr.Blocks:
    """Return the whole app, both languages."""
    return app.build(lambda *_: None)


def shown_by(part: gr.blocks.Block) -> list[str]:
    """Return every word of a part of the page that a visitor reads and that is not a value."""
    said = [getattr(part, name, None) for name in ("label", "info", "placeholder", "empty")]
    if isinstance(part, gr.Button | gr.Markdown | gr.DownloadButton):
        said.append(part.value)
    if isinstance(part, gr.Radio | gr.Dropdown):
        said += [name for name, _ in part.choices]
    return [text for text in said if isinstance(text, str) and text]


@TABS
def test_a_tab_is_named_like_its_module_and_its_task(name):
    tab = {tab.TITLE: tab for tab in app.TABS}[name]
    assert tab.__name__ == f"demos.{name}"
    assert (TASKS / f"{name}.py").is_file()
    assert tab.__doc__ and f"python -m demos.{name}" in tab.__doc__


def test_every_task_has_a_tab():
    tasks = {file.stem for file in TASKS.glob("*.py")} - {"__init__"}
    assert tasks == {tab.TITLE for tab in app.TABS}


@TABS
@BOTH
def test_a_tab_says_its_title_name_purpose_and_workings(name, language):
    said = [Words(language).say(f"{name}.{key}") for key in ("title", "technical", "about", "how")]
    assert all(text.strip() for text in said)


@TABS
def test_the_catalogue_offers_a_tab_a_model(name):
    assert catalogue.offered(name)


@TABS
def test_a_tab_is_an_endpoint_named_after_it_whose_parameters_are_the_pages_inputs(name, page):
    endpoint = page.get_api_info()["named_endpoints"][f"/{name}"]
    (event,) = (event for event in page.fns.values() if event.api_name == name and event.api_visibility == "public")
    assert event.page == ""
    handler = inspect.signature(event.fn)
    assert [one["parameter_name"] for one in endpoint["parameters"]] == list(handler.parameters)
    assert [one["label"] for one in endpoint["parameters"]] == [part.label for part in event.inputs]
    assert "model" in handler.parameters


def test_the_endpoints_are_the_tabs_and_no_others(page):
    assert set(page.get_api_info()["named_endpoints"]) == {f"/{tab.TITLE}" for tab in app.TABS}
    assert not page.get_api_info()["unnamed_endpoints"]


@TABS
@BOTH
def test_a_tab_builds_alone(name, language, tab):
    made = tab(name, language)
    buttons = [part for part in made.blocks.blocks.values() if isinstance(part, gr.Button)]
    assert [part.value for part in buttons if part.variant == "primary"] == [made.words.say(f"{name}.go")]


@TABS
@BOTH
def test_a_tab_has_examples_that_fit_its_inputs(name, language, tab):
    made = tab(name, language)
    (samples,) = (part for part in made.blocks.blocks.values() if isinstance(part, gr.Dataset))
    (choose,) = (event for event in made.blocks.fns.values() if event.inputs == [samples])
    assert len(samples.samples) == len(made.module.EXAMPLES[language]) > 1
    for sample in made.module.EXAMPLES[language]:
        for value, part in zip(sample, choose.outputs, strict=True):
            assert Path(value).is_file() if isinstance(part, gr.Image) else part.postprocess(value) == value


@TABS
@BOTH
def test_a_tab_lets_its_numbers_be_taken_away_and_explains_itself(name, language, tab):
    made = tab(name, language)
    parts = list(made.blocks.blocks.values())
    (data,) = (part for part in parts if isinstance(part, gr.JSON))
    (save,) = (event for event in made.blocks.fns.values() if event.js and event.inputs == [data])
    assert data.label == made.words.say("ui.data")
    assert f"glassbox-{name}" in save.js and save.outputs == []
    closed = {part.label: part.open for part in parts if isinstance(part, gr.Accordion)}
    assert closed[made.words.say("ui.how")] is False and closed[made.words.say("ui.numbers")] is False
    assert made.words.say(f"{name}.how") in [part.value for part in parts if isinstance(part, gr.Markdown)]


@TABS
@BOTH
def test_a_tab_says_only_what_stands_in_the_words_of_its_language(name, language, tab):
    made = tab(name, language)
    known = set(sentences_of.sentences(language).values())
    known |= {f"### {said}" for said in known} | {offer for offer, _ in shelf.offers(name, made.words)}
    said = [text for part in made.blocks.blocks.values() for text in shown_by(part)]
    assert len(said) > 10
    assert [text for text in said if text not in known] == []


@TABS
def test_the_pages_of_both_languages_have_the_same_parts(name, tab):
    english, chinese = (tab(name, language) for language in LANGUAGES)
    kinds = [[type(part).__name__ for part in made.blocks.blocks.values()] for made in (english, chinese)]
    assert kinds[0] == kinds[1]
    assert english.events.keys() == chinese.events.keys()


def test_the_tabs_of_a_page_bear_their_titles_in_its_language(page):
    for language, path in (("en", ""), ("zh", "zh")):
        titles = [part.label for part in page.blocks.values() if isinstance(part, gr.Tab) and part.page == path]
        assert titles == [Words(language).say(f"{tab.TITLE}.title") for tab in app.TABS]


@TABS
def test_a_refusal_reaches_the_visitor_as_its_sentence(name, tab, run):
    run.answers = dict.fromkeys(run.answers, NothingTyped(field="text"))
    made = tab(name)
    event = next(event for event in made.blocks.fns.values() if event.api_name == name)
    with pytest.raises(gr.Error, match="Type some text first"):
        list(event.fn(*(part.value for part in event.inputs)))


@TABS
def test_pressing_the_button_answers_through_gradio_with_the_pages_own_values(name, tab, run):
    made = tab(name)
    event = next(event for event in made.blocks.fns.values() if event.api_name == name)
    values = [getattr(part.value, "path", part.value) for part in event.inputs]
    if name == "vqa":
        values[0] = {"path": str(made.module.EXAMPLES["en"][0][0]), "meta": {"_type": "gradio.FileData"}}
    sent = made.visit(name, *values)
    assert isinstance(sent["say"], str) and sent["say"].strip() and "{" not in sent["say"]
    assert run.calls or name == "generation"  # the first event of a story comes before its first step


class Nameless:
    """A tab that nobody wrote the words for."""

    TITLE = "nameless"

    @staticmethod
    def build(run, words):
        raise AssertionError("its title is missing already")


def test_a_tab_whose_words_are_missing_fails_when_the_page_is_built(monkeypatch):
    monkeypatch.setattr(app, "TABS", (*app.TABS[:1], Nameless))
    with pytest.raises(KeyError, match="nameless.title"):
        app.build(lambda *_: None)


def test_the_words_of_tabs_that_are_gone_are_gone():
    shared = {"page", "device", "ui", "number", "label", "field", "unit", "part", "error", "model"}
    for language in LANGUAGES:
        found = tomllib.loads((sentences_of.FOLDER / f"{language}.toml").read_text("utf-8"))
        assert {tab.TITLE for tab in app.TABS} == {
            section for section in found if section not in shared and "technical" in found[section]
        }
