"""One line a model, and each line holds; and who may bring models of their own, from where."""

import importlib
import json
import re
from pathlib import Path

import pytest
import transformers

from core import catalogue
from core.catalogue import CATALOGUE, ModelCard, Own
from core.errors import UnknownModel

EVERY = pytest.mark.parametrize("card", CATALOGUE, ids=lambda card: card.name)
PRIVATE = {"GLASSBOX_OWN_MODELS": "", "SPACE_ID": "", "GRADIO_SHARE": "", "GRADIO_SERVER_NAME": ""}


@pytest.fixture(autouse=True)
def private(monkeypatch):
    """A machine of one's own, where nothing is set."""
    for name in PRIVATE:
        monkeypatch.delenv(name, raising=False)


@EVERY
def test_a_card_names_tasks_that_exist_and_a_class_that_loads_it(card):
    assert card.tasks
    for task in card.tasks:
        importlib.import_module(f"core.tasks.{task}")
    assert card.auto.startswith("AutoModelFor") and hasattr(transformers, card.auto)
    assert set(card.languages) <= {"en", "zh"} and card.languages


@EVERY
def test_a_card_says_where_its_model_is_and_of_the_hub_which_one_how_large_and_under_which_licence(card):
    if card.shelf == "board":
        assert card.repo.startswith("weights/") and not card.revision
        return
    assert card.shelf == "hub" and catalogue.ON_HUB.fullmatch(card.repo)
    assert re.fullmatch(r"[0-9a-f]{40}|main|refs/pr/\d+", card.revision)
    assert card.title and card.licence
    assert card.parameters < card.megabytes < 5 * card.parameters  # 2 to 4 bytes a parameter, and a tokenizer


def test_names_are_not_used_twice():
    names = [card.name for card in CATALOGUE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("task", ["generation", "masking", "sentiment", "vqa", "attention"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_tab_offers_those_on_board_first_then_those_of_its_language_then_its_own(task, language):
    cards = [catalogue.find(name, task) for name in catalogue.offered(task, language)]
    places = [(card.shelf != "board", language not in card.languages, card.tasks.index(task)) for card in cards]
    assert places == sorted(places) and not places[0][0]
    assert set(catalogue.offered(task)) == set(catalogue.offered(task, language))


@pytest.mark.parametrize("task", ["generation", "masking", "sentiment", "attention"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_tab_of_words_begins_with_a_model_of_its_language(task, language):
    assert language in catalogue.find(catalogue.offered(task, language)[0]).languages


@pytest.mark.parametrize("name", ["gpt5", "", None, 7, "../english", "English", "@8", "english@3"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(UnknownModel) as error:
        catalogue.find(name)
    assert all(card.name in error.value.facts["known"] for card in CATALOGUE)


def test_a_model_of_another_task_is_refused_with_those_of_this_one():
    stranger = next(card.name for card in CATALOGUE if "vqa" not in card.tasks)
    with pytest.raises(UnknownModel) as error:
        catalogue.find(stranger, "vqa")
    assert set(error.value.facts["known"].split(", ")) == set(catalogue.offered("vqa"))


def test_a_very_long_name_is_not_repeated_whole():
    with pytest.raises(UnknownModel) as error:
        catalogue.find("x" * 10_000)
    assert len(error.value.facts["found"]) <= 60


def test_one_line_adds_a_model(monkeypatch):
    added = ModelCard("new", ("masking",), "weights/new", "AutoModelForMaskedLM")
    monkeypatch.setattr(catalogue, "CATALOGUE", (*CATALOGUE, added))
    assert "new" in catalogue.offered("masking") and "new" not in catalogue.offered("vqa")
    assert catalogue.find("new", "masking") is added


@pytest.mark.parametrize(
    ("name", "value"),
    [("SPACE_ID", "owner/space"), ("GRADIO_SHARE", "True"), ("GRADIO_SHARE", "1"), ("GRADIO_SERVER_NAME", "0.0.0.0"),
     ("GRADIO_SERVER_NAME", "192.168.1.7"), ("GRADIO_SERVER_NAME", "::")],
)  # fmt: skip
def test_where_others_may_be_visiting_nothing_of_ones_own_is_allowed(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert catalogue.is_public() and catalogue.own() == Own(False, None)


@pytest.mark.parametrize("host", ["", "127.0.0.1", "localhost", "::1"])
def test_on_a_private_machine_everything_is(monkeypatch, host):
    monkeypatch.setenv("GRADIO_SERVER_NAME", host)
    monkeypatch.setenv("GRADIO_SHARE", "false")
    assert not catalogue.is_public() and catalogue.own() == Own(True, Path("/"))


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("hub", Own(True, None)), ("both", Own(True, Path("/"))), ("none", Own(False, None)), (" hub ", Own(True, None)),
        ("folder:/", Own(False, Path("/"))), ("folder:/nowhere/models/..", Own(False, Path("/nowhere"))),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_allowed_wherever_it_runs(monkeypatch, asked, allowed, public):
    monkeypatch.setenv("GLASSBOX_OWN_MODELS", asked)
    if public:
        monkeypatch.setenv("SPACE_ID", "owner/space")
    assert catalogue.own() == allowed


@pytest.mark.parametrize("asked", ["yes", "folder", "folder:", "hub,folder:/", "1", "../models"])
def test_anything_else_is_refused_at_the_start_with_what_there_is(monkeypatch, asked):
    monkeypatch.setenv("GLASSBOX_OWN_MODELS", asked)
    with pytest.raises(ValueError, match="GLASSBOX_OWN_MODELS is .*hub, folder:/path, both or none"):
        catalogue.own()


@pytest.mark.parametrize("name", ["owner/name", "a-b/c_d.e", "openai-community/gpt2-xl", " owner/name "])
def test_a_name_on_the_hub_is_a_model_of_ones_own(name):
    card = catalogue.find(name, "masking")
    assert (card.repo, card.shelf, card.revision, card.tasks) == (name.strip(), "hub", "main", ("masking",))
    assert card.auto == ""  # its configuration says it


@pytest.mark.parametrize(
    "name",
    [
        "name", "owner/", "/name", "a/b/c", "owner/../name", "owner/..", "-a/b", "owner/na me", "owner/n\nm", "https://hub/owner/name",
        "owner/name?x", "owner/" + "n" * 97, "o" * 97 + "/name", "owner/name\x00", "owner//name", "owner\\name", "ⓞ/n\u200b",
    ],
)  # fmt: skip
def test_what_is_no_name_on_the_hub_is_refused(name):
    with pytest.raises(UnknownModel):
        catalogue.find(name, "masking")


def test_a_name_on_the_hub_is_refused_where_these_are_not_allowed(monkeypatch):
    monkeypatch.setenv("GLASSBOX_OWN_MODELS", "none")
    with pytest.raises(UnknownModel):
        catalogue.find("owner/name", "masking")
    assert catalogue.find("english", "masking").shelf == "board"  # the catalogue is always there


@pytest.fixture
def house(tmp_path) -> Path:
    """A folder with a model in it and one beside it, links between them, and a folder that is no model."""
    for name in ("inside/model", "outside/model", "inside/empty"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("inside/model", "outside/model"):
        (tmp_path / name / "config.json").write_text(json.dumps({}))
    (tmp_path / "inside" / "way_out").symlink_to(tmp_path / "outside")
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "inside" / "model")
    (tmp_path / "inside" / "half").mkdir()
    (tmp_path / "inside" / "half" / "config.json").symlink_to(tmp_path / "outside" / "nowhere.json")
    (tmp_path / "inside" / "loop").symlink_to(tmp_path / "inside" / "loop")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["{}/inside/model", "folder:{}/inside/model", "./model", "folder:model", "{}/inside/link", "./link/../model"],
)
def test_a_folder_below_the_one_that_is_allowed_is_a_model_of_ones_own(house, monkeypatch, name):
    monkeypatch.setenv("GLASSBOX_OWN_MODELS", f"folder:{house}/inside")
    name = name.format(house)
    card = catalogue.find(name, "generation")
    assert (card.name, card.repo, card.shelf, card.tasks) == (name, f"{house}/inside/model", "folder", ("generation",))


@pytest.mark.parametrize(
    "name",
    [
        "{}/outside/model", "./../outside/model", "./way_out/model", "{}/inside/way_out/model", "folder:../outside/model",
        "{}/nowhere", "/", "~/x", "~nobody/x", "./empty", "{}/inside/half", "./loop", ".", "..", "folder:", "/\x00",
        "/" + "a" * 9000, "/proc/self/cwd", "C:\\models",
    ],
)  # fmt: skip
def test_every_other_folder_is_refused_alike_whether_it_is_there_or_not(house, monkeypatch, name):
    monkeypatch.setenv("GLASSBOX_OWN_MODELS", f"folder:{house}/inside")
    refusals = []
    for typed in (name.format(house), "/nowhere/at/all"):
        with pytest.raises(UnknownModel) as error:
            catalogue.find(typed, "generation")
        refusals.append(error.value.facts | {"found": typed})
        assert error.value.facts["found"] == typed[:60]
    assert refusals[0]["known"] == refusals[1]["known"]


@pytest.mark.parametrize("asked", ["hub", "none", ""])
def test_a_public_host_says_the_same_of_a_folder_that_is_there_and_of_one_that_is_not(house, monkeypatch, asked):
    monkeypatch.setenv("SPACE_ID", "owner/space")
    monkeypatch.setenv("GLASSBOX_OWN_MODELS", asked)
    told = []
    for typed in (f"{house}/inside/model", f"{house}/inside/nothin"):  # as long as one another
        with pytest.raises(UnknownModel) as error:
            catalogue.find(typed, "generation")
        told.append({name: fact for name, fact in error.value.facts.items() if name != "found"})
    assert told[0] == told[1]


def test_a_folder_is_looked_at_only_where_folders_are_allowed(house, monkeypatch):
    monkeypatch.setenv("GLASSBOX_OWN_MODELS", "hub")
    monkeypatch.setattr(Path, "resolve", lambda self, strict=False: pytest.fail("looked"))
    with pytest.raises(UnknownModel):
        catalogue.find(f"{house}/inside/model", "generation")


def test_zero_gpu_is_known_by_what_a_space_sets(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not catalogue.lends_cards()
    for value, lends in (("true", True), ("1", True), ("false", False), ("", False)):
        monkeypatch.setenv("SPACES_ZERO_GPU", value)
        assert catalogue.lends_cards() is lends


@pytest.mark.parametrize("bits", [8, 4])
def test_a_model_squeezed_is_the_same_one_under_a_name_of_its_own(bits):
    plain, squeezed = (catalogue.find(name, "masking") for name in ("english", f"english@{bits}"))
    assert (squeezed.name, squeezed.bits) == (f"english@{bits}", bits)
    assert (squeezed.repo, squeezed.auto, squeezed.shelf) == (plain.repo, plain.auto, plain.shelf)
    assert catalogue.unsqueezed(squeezed.name) == plain.name == catalogue.unsqueezed(plain.name)


@pytest.mark.parametrize("name", ["english@2", "english@", "@8", "english@8@4", "nobody@8"])
def test_no_other_squeezing_is_known(name):
    with pytest.raises(UnknownModel):
        catalogue.find(name, "masking")


def test_a_model_that_is_its_visitors_alone_bears_their_key():
    card = catalogue.find(f"owner/name@{'0a' * 16}", "masking")
    assert (card.repo, card.key) == ("owner/name", "0a" * 16)
    for name in ("owner/name@0a", "owner/name@../../etc", f"owner/name@{'0A' * 16}"):
        with pytest.raises(UnknownModel):
            catalogue.find(name, "masking")
