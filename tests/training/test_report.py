"""What is measured has one home, from which cards and tables are written."""

from types import SimpleNamespace

import pytest

from training import report
from training.loop import RecipeError
from training.report import Figure


@pytest.mark.parametrize(
    ("ours", "bar", "lower", "reached"),
    [(0.7, 0.6, False, True), (0.5, 0.6, False, False), (0.5, 0.6, True, True), (0.7, 0.6, True, False)],
)
def test_a_bar_is_cleared_from_the_right_side(ours, bar, lower, reached):
    figure = Figure("it", ours, bar=bar, lower=lower)
    assert figure.reached is reached
    assert ("met" if reached else "missed") in report.table([figure])


def test_without_a_bar_there_is_no_verdict():
    assert Figure("it", 0.5).reached is None
    assert "met" not in report.table([Figure("it", 0.5)]) and "missed" not in report.table([Figure("it", 0.5)])


def test_what_is_found_of_one_model_leaves_the_others_and_what_is_known_of_it(tmp_path):
    results = tmp_path / "new" / "results.json"
    report.keep(results, "a", {"training": "two minutes"})
    report.keep(results, "b", {"figures": []})
    assert report.keep(results, "a", {"megabytes": 3}) == {"training": "two minutes", "megabytes": 3}
    assert set(report.read(results)) == {"a", "b"}


def test_a_damaged_file_is_said_in_one_line_and_left_alone(tmp_path):
    results = tmp_path / "results.json"
    results.write_text('{"a": ')
    with pytest.raises(RecipeError, match="is damaged"):
        report.keep(results, "a", {})
    assert results.read_text() == '{"a": '


def test_a_file_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match="could not write"):
        report.keep(tmp_path / "file" / "results.json", "a", {})


def made(ours: float) -> SimpleNamespace:
    """Return a recipe that measures one thing."""
    figure = Figure("share right", ours, {"chance": 0.5}, 0.9, published="others 0.95")
    return SimpleNamespace(
        NAME="made", TITLE="Made", LANGUAGE="en", TASK="fill-mask", DATA=(), BAD_AT="Everything.",
        measure=lambda folder, data, quick, start=None: [figure],
        what_it_is=lambda folder: "A thing.",
        examples=lambda folder: {"Examples": "one, two"},
    )  # fmt: skip


def test_the_card_says_what_was_measured_last_and_how_it_was_trained(tmp_path):
    results, folder = tmp_path / "results.json", tmp_path / "made"
    report.record(made(0.8), folder, None, results, training="Ten minutes.")
    report.record(made(0.925), folder, None, results, start=tmp_path)
    text = (folder / "README.md").read_text()
    assert "0.925" in text and "chance 0.500" in text and "0.900, met" in text and "others 0.95" in text
    assert "0.800" not in text and "Ten minutes." in text and "Everything." in text and "one, two" in text
    assert "## Data" not in text and "## Size and speed" not in text  # nothing to say there
    assert report.figures(report.read(results)["made"]) == made(0.925).measure(folder, None, False)


def test_the_card_says_how_large_and_fast_the_model_is_once_that_was_measured(tmp_path):
    speed = {
        "device": "CPU", "cores": 2, "load_seconds": 0.5, "first_answer_seconds": 0.25, "a_second": 81.5, "unit": "tokens"
    }  # fmt: skip
    report.keep(tmp_path / "results.json", "made", {"megabytes": 3.5, "speed": {"made": speed}})
    report.record(made(0.8), tmp_path / "made", None, tmp_path / "results.json")
    text = (tmp_path / "made" / "README.md").read_text()
    assert "3.5 MB" in text and "81.5 tokens a second (CPU, 2 cores)" in text
