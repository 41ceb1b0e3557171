"""What every tab does the same way, and the one door for errors."""

import logging
import re
from pathlib import Path

import gradio as gr
import pytest
from gradio.data_classes import ImageData

import core
from core.errors import NothingTyped, UnknownModel
from core.results import Ranking
from demos import ui
from demos.words import Words
from tests.tables import read_back

EN = Words("en")
SECRET = "/home/host/secret.txt token=abc"


class Leak(RuntimeError):
    """What nobody foresaw."""


def told(handler, *inputs) -> gr.Error:
    """Return what a visitor reads when a handler fails."""
    with pytest.raises(gr.Error) as error:
        ui.door(handler, EN)(*inputs)
    return error.value


def fails(error: Exception):
    """Return a handler that raises an error."""

    def handler():
        raise error

    return handler


def test_the_door_lets_an_answer_through():
    assert ui.door(lambda first, second: (second, first), EN)(1, 2) == (2, 1)


@pytest.mark.parametrize("typed", ["a\ud83db", "\udfff", "你好 👩‍👩‍👧\x00", None, 3, ["a"]], ids=ascii)
def test_the_door_replaces_halves_of_characters_and_nothing_else(typed):
    (found,) = ui.door(lambda typed: (typed,), EN)(typed)
    if isinstance(typed, str):
        found.encode("utf-8")
        assert len(found) == len(typed)
    assert found == typed or "\ufffd" in found


def test_a_visitors_error_becomes_its_sentence_and_is_not_logged(caplog):
    error = told(fails(NothingTyped(field="text")))
    assert error.message == EN.say("error.NothingTyped", field=EN.say("field.text"))
    assert error.title == EN.say("ui.sorry") and not error.print_exception
    assert not caplog.records


def test_a_visitors_error_speaks_the_language_of_its_page():
    chinese = Words("zh")
    with pytest.raises(gr.Error) as error:
        ui.door(fails(NothingTyped(field="text")), chinese)()
    assert error.value.message == chinese.say("error.NothingTyped", field=chinese.say("field.text"))


def test_markup_a_visitor_typed_is_shown_as_typed():
    message = told(fails(UnknownModel(found="<img src=x onerror=alert(1)> \"&' {known}", known="english"))).message
    assert "<" not in message
    assert "&lt;img src=x onerror=alert(1)&gt; &quot;&amp;&#x27; {known}" in message


def test_a_bug_becomes_an_incident_id_and_says_nothing_else(caplog):
    error = told(fails(Leak(SECRET)))
    assert error.message == EN.say("error.bug", id=incident_of(error))
    for hidden in ("secret", "/home", "abc", "Leak", "RuntimeError", "Traceback", "test_ui"):
        assert hidden not in error.message
    assert not error.print_exception


def test_the_log_has_the_incident_with_its_traceback(caplog):
    incident = incident_of(told(fails(Leak(SECRET))))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and incident in record.getMessage()
    assert "Traceback" in caplog.text and "Leak" in caplog.text and SECRET in caplog.text


def test_no_two_incidents_have_one_id():
    assert len({incident_of(told(fails(Leak()))) for _ in range(20)}) == 20


def test_what_the_visitor_typed_is_not_logged(caplog):
    def show(text: str):
        raise Leak("broken")

    told(show, "my own diary")
    assert caplog.records and "diary" not in caplog.text


def incident_of(error: gr.Error) -> str:
    """Return the incident id in a message."""
    (found,) = re.findall(r"\b[0-9a-f]{8}\b", error.message)
    return found


@pytest.mark.parametrize("at", [0, 3, 9])
@pytest.mark.parametrize("error", [NothingTyped(field="prompt"), Leak(SECRET)], ids=["theirs", "ours"])
def test_a_stream_hands_on_what_came_before_an_error_at_any_step(at, error):
    def handler(text: str):
        for number in range(10):
            if number == at:
                raise error
            yield number

    seen = []
    with pytest.raises(gr.Error) as found:
        for number in ui.door(handler, EN)("text"):
            seen.append(number)
    assert seen == list(range(at))
    assert "secret" not in found.value.message


def test_a_stream_that_nobody_reads_on_is_closed():
    closed = []

    def handler():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    stream = ui.door(handler, EN)()
    next(stream)
    stream.close()
    assert closed == [True]


def test_the_door_keeps_the_handlers_name_and_parameters_for_the_api():
    with gr.Blocks() as page:
        box, button = gr.Textbox(), gr.Button()

        def show_text(text: str):
            return {box: text}

        ui.on([button.click], show_text, [box], [box], EN, api_name="text")
    (endpoint,) = page.get_api_info()["named_endpoints"].values()
    assert [one["parameter_name"] for one in endpoint["parameters"]] == ["text"]


@pytest.mark.parametrize(
    ("language", "api_name", "endpoints"), [("en", "text", ["/text"]), ("en", None, []), ("zh", "text", [])]
)
def test_on_publishes_only_named_events_of_the_english_page(language, api_name, endpoints):
    with gr.Blocks() as page:
        box, button = gr.Textbox(), gr.Button()
        ui.on([button.click], lambda text: text, [box], [box], Words(language), api_name=api_name)
    assert list(page.get_api_info()["named_endpoints"]) == endpoints


def test_events_that_run_a_model_share_one_limit():
    with gr.Blocks() as page:
        box, button = gr.Textbox(), gr.Button()
        for handler in (str.upper, str.lower):
            ui.on([button.click], lambda text, handler=handler: handler(text), [box], [box], EN)
    assert {event.concurrency_id for event in page.fns.values()} == {ui.ONE_DEVICE}


@pytest.mark.parametrize("found", [None, "x", [1], {}, True, 10**400, float("nan"), float("inf"), 1.5, 99])
def test_a_number_out_of_bounds_is_left_to_who_has_a_sentence_for_it(found):
    with gr.Blocks():
        parts = ui.Slider(0, 10, 5, step=1), ui.Number(1, precision=0)
    for part in parts:
        assert part.preprocess(found) is found


def test_a_picture_is_handed_over_as_its_file():
    with gr.Blocks():
        picture = ui.Picture(type="filepath")
    assert picture.preprocess(ImageData(path="/nowhere/is-not-opened.png")) == "/nowhere/is-not-opened.png"
    assert picture.preprocess(None) is None


def test_a_sentence_is_put_into_the_page_as_text():
    with gr.Blocks():
        sentence = ui.sentence()
    assert "value" in sentence.html_template
    for raw in ("${value}", "{{{value}}}"):  # what Gradio puts in as markup
        assert raw not in sentence.html_template


def test_data_is_one_result_alone_or_several_in_a_list():
    ranking = Ranking(("tea",), (0.123456789,))
    alone = {"labels": ["tea"], "probabilities": [0.123457]}
    assert ui.data_of(ranking) == alone
    assert ui.data_of(ranking, ranking) == [alone, alone]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1", "\r=1+1", '=HYPERLINK("http://x")'])
def test_no_cell_of_a_saved_table_is_a_formula(cell):
    header, row = read_back(ui.write_table("x", ["text", "verdict", "probability"], [[cell, "positive", 0.9]]))
    assert header == ["text", "verdict", "probability"]
    assert row[0] == f"'{cell}" and row[1:] == ["positive", "0.9"]


@pytest.mark.parametrize("cell", ["good", "a, b", 'say "hi"', "two\nlines", "你好", "1 = 1", ""])
def test_other_cells_of_a_saved_table_come_back_as_they_were(cell):
    assert read_back(ui.write_table("x", ["text", "probability"], [[cell, 0.5]]))[1] == [cell, "0.5"]


def test_a_saved_table_begins_with_the_mark_spreadsheets_know_utf_8_by():
    assert Path(ui.write_table("x", ["文本"], [])).read_bytes().startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize(("name", "wrong"), [("GLASSBOX_OWN_MODELS", "all"), ("GLASSBOX_DEVICE", "toaster")])
def test_a_setting_that_cannot_be_is_one_line_and_the_end(monkeypatch, name, wrong):
    monkeypatch.setenv(name, wrong)
    monkeypatch.setattr(core.models, "device", core.models.device.__wrapped__)  # it may have been asked before
    with pytest.raises(SystemExit, match=f"{name} is '{wrong}'") as left:
        ui.check_settings()
    assert "\n" not in left.value.code
