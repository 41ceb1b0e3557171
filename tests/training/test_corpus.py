"""The reading of the sets: one style, no headings, no wrapped lines, and clear words about what is missing."""

import pytest

from tests.training.tiny_sets import write_sets
from training import corpus
from training.loop import RecipeError


@pytest.mark.parametrize(
    ("written", "tidied"),
    [
        ("“Who’s there?”  said\nshe—softly", '"Who\'s there?" said she - softly'),
        ("He ran [Illustration: a hare] _fast_.", "He ran fast."),
        ("'Come in,' said the Duck, 'it's warm.'", '"Come in," said the Duck, "it\'s warm."'),
        ("The boys' kite flew to-day.", "The boys' kite flew today."),
    ],
)
def test_tidy_writes_one_style(written, tidied):
    assert corpus.tidy(written) == tidied


def test_paragraphs_join_wrapped_lines_and_pages():
    assert corpus.paragraphs("I ran\nafter it\n\n...until it stopped.\n\nThen I slept.") == [
        "I ran after it until it stopped.",
        "Then I slept.",
    ]


@pytest.mark.parametrize(
    "heading", ["CHAPTER I. The Fox.", "THE FOX!", "The Fox and the Hen", "Translated by Ann Bell."]
)
def test_headings_are_not_prose(heading):
    assert not corpus.is_prose(heading)


def test_sentences_keep_titles_of_people_together():
    assert corpus.sentences('Mr. Fox slept. "Wake up!" said Mrs. Hen.') == [
        "Mr. Fox slept.",
        '"Wake up!" said Mrs. Hen.',
    ]


def test_picture_books_lose_their_titles(tmp_path):
    write_sets(tmp_path)
    stories = corpus.picture_books(tmp_path)
    assert len(stories) == 60
    assert all(story.startswith("The ") and "Title" not in story for story in stories)


def test_books_are_found_by_title(tmp_path):
    write_sets(tmp_path)
    assert len(corpus.books(tmp_path, frozenset(["Peter Pan"]))) == 1


def test_a_missing_set_is_named_with_where_it_came_from(tmp_path):
    with pytest.raises(RecipeError, match="tatoeba_en.txt.xz is missing: .* from Tatoeba"):
        corpus.read(tmp_path, "tatoeba")


def test_a_damaged_set_is_told_from_a_missing_one(tmp_path):
    path = tmp_path / corpus.SOURCES["tatoeba"].path
    path.parent.mkdir()
    path.write_bytes(b"not xz")
    with pytest.raises(RecipeError, match="cannot be read"):
        corpus.read(tmp_path, "tatoeba")


def test_every_source_names_its_origin_and_licence():
    assert all(source.origin and source.licence and source.what for source in corpus.SOURCES.values())
