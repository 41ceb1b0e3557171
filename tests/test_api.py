"""The five endpoints, called as a program calls them."""

from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image, ImageDraw

SCENES = Path(__file__).parent.parent / "demos" / "static" / "scenes"


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    """Give a client of the running app."""
    return Client(address, verbose=False)


def test_there_are_five_endpoints_with_the_names_of_the_tabs(client):
    found = client.view_api(return_format="dict")["named_endpoints"]
    assert set(found) == {"/generation", "/masking", "/sentiment", "/vqa", "/attention"}
    assert [one["parameter_name"] for one in found["/masking"]["parameters"]] == ["text", "model"]
    assert [one["parameter_name"] for one in found["/vqa"]["parameters"]] == ["picture", "question", "model"]


def test_the_cat_sits_on_something_one_sits_on(client):
    sentence, *_, numbers = client.predict("The cat sat on the [MASK].", api_name="/masking")
    likeliest = numbers["rankings"][0]["labels"]
    assert {"floor", "bed", "table", "chair", "couch", "sofa", "ground", "roof", "mat", "grass"} & set(likeliest[:6])
    assert likeliest[0] in sentence


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("I loved this film. The acting was wonderful and the story moved me.", "positive"),
        ("What a waste of time: boring, badly acted and far too long.", "negative"),
        ("The food was cold and the waiter was rude.", "negative"),
        ("We had a great time and would go back tomorrow.", "positive"),
    ],
)
def test_a_review_feels_as_it_reads(client, text, verdict):
    sentence, *_, numbers = client.predict(text, api_name="/sentiment")
    assert numbers["ranking"]["labels"][0] == verdict and verdict in sentence


def test_two_red_circles_are_counted(client, tmp_path):
    picture = Image.new("RGB", (240, 240), "white")
    brush = ImageDraw.Draw(picture)
    brush.ellipse((20, 20, 90, 90), fill="red")
    brush.ellipse((140, 40, 210, 110), fill="red")
    brush.rectangle((80, 140, 160, 220), fill="blue")
    picture.save(tmp_path / "drawn.png")
    drawn = handle_file(tmp_path / "drawn.png")
    answers = {
        "how many red circles": "2",
        "How many red circles are there?": "2",
        "What color is the square?": "blue",
        "Is there a green triangle?": "no",
    }
    for question, right in answers.items():
        *_, numbers = client.predict(drawn, question, api_name="/vqa")
        assert numbers["ranking"]["labels"][0] == right, question


def test_a_story_goes_on_and_the_same_seed_tells_it_again(client):
    told = [client.predict("Once upon a time there was a", length=20, seed=7, api_name="/generation") for _ in range(2)]
    assert told[0][-1]["text"] == told[1][-1]["text"]
    assert (
        told[0][-1]["text"].startswith("Once upon a time there was a") and len(told[0][-1]["stories"][0]["steps"]) > 5
    )


def test_attention_rows_sum_to_one(client):
    *_, numbers = client.predict("The king loved his daughter.", aside=False, api_name="/attention")
    assert abs(sum(numbers["row"]) - 1) < 0.02


@pytest.mark.parametrize(
    ("endpoint", "inputs", "said"),
    [
        ("/masking", {"text": ""}, "Type some text first"),
        ("/masking", {"text": "No blank here."}, "0 blanks"),
        ("/masking", {"text": "[MASK] " * 50}, "50 blanks"),
        ("/masking", {"text": "A [MASK].", "model": "gpt-9"}, "no model called"),
        ("/masking", {"text": "A [MASK].", "model": "storyteller"}, "no model called"),
        ("/sentiment", {"text": " \n "}, "Type some text first"),
        ("/sentiment", {"text": "word " * 900}, "Shorten it"),
        ("/sentiment", {"text": "a" * 2_000_000}, "Shorten it"),
        ("/generation", {"prompt": ""}, "Type some text first"),
        ("/generation", {"prompt": "word " * 700}, "Shorten it"),
        ("/generation", {"prompt": "A fox", "seed": -5}, "Choose a value"),
        ("/attention", {"text": "word " * 900}, "Shorten it"),
        ("/vqa", {"picture": None, "question": "How many?"}, "no picture yet"),
    ],
)
def test_what_cannot_be_answered_gets_one_sentence(client, endpoint, inputs, said):
    with pytest.raises(AppError, match=said) as refused:
        client.predict(**inputs, api_name=endpoint)
    assert "/" not in str(refused.value).replace("and/or", "") and "Error(" not in str(refused.value)


def test_an_unreadable_picture_is_refused_and_the_next_one_answered(client, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes((SCENES / "mixed.png").read_bytes()[:300])
    words = tmp_path / "words.png"
    words.write_text("not a picture")
    for file in (broken, words):
        with pytest.raises(AppError, match="not a picture that can be read"):
            client.predict(handle_file(file), "What is it?", api_name="/vqa")
    sentence, *_ = client.predict(handle_file(SCENES / "mixed.png"), "How many shapes?", api_name="/vqa")
    assert "sure" in sentence
