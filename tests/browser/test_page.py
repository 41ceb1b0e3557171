"""Every tab clicked through, in both languages, as a visitor would."""

import pytest

from demos.words import Words

TABS = ("generation", "masking", "sentiment", "vqa", "attention")


def test_the_page_is_there_before_the_models_are(watched):
    page = watched.open()
    assert page.title() == "Glassbox"
    assert page.get_by_role("tab").count() >= len(TABS)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("tab", TABS)
def test_a_tab_answers_its_first_example(watched, language, tab):
    words = Words(language)
    watched.open("/" if language == "en" else "/zh")
    panel = watched.tab(words.say(f"{tab}.title"))
    assert len(watched.run(panel)) > (20 if language == "en" else 10)


def test_a_story_streams_in_and_a_token_shows_its_rivals(watched):
    watched.open()
    panel = watched.tab("Write")
    watched.run(panel)
    tokens = panel.locator(".gb-story").first.locator(".gb-token")
    assert tokens.count() > 10
    tokens.nth(4).click()
    bars = panel.locator(".gb-chart .bars path")
    bars.first.wait_for(state="attached")
    assert bars.count() >= 2 * 11  # ten rivals and the rest, before and after the sliders


def test_a_click_on_a_rival_branches_the_story(watched):
    page = watched.open()
    panel = watched.tab("Write")
    watched.run(panel)
    panel.locator(".gb-story").first.locator(".gb-token").nth(3).click()
    bars = panel.locator(".gb-chart .bars path")
    bars.first.wait_for(state="attached")
    page.wait_for_timeout(500)
    bars.nth(1).click(force=True)
    panel.locator(".gb-chart", has_text="2 “").first.wait_for()  # the tree of stories


def test_moving_a_slider_redraws_the_bars_at_once(watched):
    page = watched.open()
    panel = watched.tab("Write")
    panel.get_by_text("How it chooses").first.click()
    boldness = panel.get_by_label("number input for Boldness")
    boldness.wait_for()
    watched.run(panel)
    panel.locator(".gb-story").first.locator(".gb-token").nth(4).click()
    panel.locator(".gb-chart .bars path").first.wait_for(state="attached")
    page.wait_for_timeout(500)
    boldness.fill("0")
    boldness.press("Enter")
    boldness.blur()
    panel.locator(".gb-chart").get_by_text("✕").first.wait_for()


def test_a_click_on_a_word_blanks_it_and_a_click_on_a_bar_fills_it(watched):
    page = watched.open()
    panel = watched.tab("Fill in")
    box = panel.locator("textarea").first
    watched.type(box, "The dog ran home.")
    panel.locator(".gb-words .gb-token", has_text="dog").click()
    page.wait_for_function("box => box.value == 'The [MASK] ran home.'", arg=box.element_handle())
    watched.run(panel)
    bars = panel.locator(".gb-chart").first.locator(".bars path")
    bars.first.wait_for(state="attached")
    assert bars.count() == 11
    bars.first.click(force=True)
    page.wait_for_function("box => !box.value.includes('[MASK]')", arg=box.element_handle())


def test_several_blanks_are_filled_at_once(watched):
    watched.open()
    panel = watched.tab("Fill in")
    watched.type(panel.locator("textarea").first, "She put on her [MASK] and opened the [MASK].")
    assert "2 blanks" in watched.run(panel)


def test_covering_a_word_moves_the_verdict(watched):
    watched.open()
    panel = watched.tab("Feel")
    assert "positive" in watched.run(panel)
    panel.locator(".gb-words .gb-token").nth(4).click()
    panel.get_by_text("Without “").wait_for()
    assert panel.locator(".gb-token[data-covered]").count() == 1


def test_a_list_of_sentences_becomes_a_table_and_a_histogram(watched):
    watched.open()
    panel = watched.tab("Feel")
    panel.get_by_text("A whole list of sentences").click()
    watched.type(panel.get_by_label("One sentence on each line"), "I love it.\nI hate it.\nWhat a wonderful day!")
    panel.get_by_role("button", name="Judge the list").click()
    panel.get_by_text("of 3 are positive").wait_for()
    panel.locator(".gb-chart .bars path").first.wait_for(state="attached")


def test_the_picture_shows_where_the_answer_came_from_and_a_patch_can_be_covered(watched):
    page = watched.open()
    panel = watched.tab("Ask a picture")
    watched.run(panel)
    heat = panel.locator(".gb-chart .heatmaplayer image")
    heat.first.wait_for(state="attached")
    page.wait_for_timeout(500)
    panel.locator(".gb-chart .nsewdrag").last.click(position={"x": 200, "y": 60})
    panel.get_by_text("With 1 square covered").wait_for()


def test_an_empty_text_gets_one_sentence_and_the_tab_stays_usable(watched):
    watched.open()
    panel = watched.tab("Feel")
    box = panel.locator("textarea").first
    watched.type(box, "   ")
    panel.locator("button.primary").first.click()
    watched.page.get_by_text("Type some text first").wait_for()
    watched.type(box, "A lovely day.")
    assert "positive" in watched.run(panel)


def test_markup_a_visitor_types_is_shown_as_typed(watched):
    page = watched.open()
    panel = watched.tab("Feel")
    watched.type(panel.locator("textarea").first, "<img src=x onerror=\"document.title='broken'\"> <b>lovely</b>")
    watched.run(panel)
    assert page.title() == "Glassbox"
    assert panel.locator(".gb-tokens img, .gb-tokens b, .gb-sentence b").count() == 0


def test_the_way_to_the_other_language_is_on_the_page(watched):
    page = watched.open()
    page.locator(".gb-header nav a").click()
    page.get_by_role("tab", name="填空").first.wait_for()
    page.locator(".gb-header nav a").click()
    page.get_by_role("tab", name="Fill in").first.wait_for()


def test_a_phone_shows_no_sideways_scroll(watched):
    page = watched.open()
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("Write", "Fill in", "Feel", "Ask a picture", "Attention"):
        panel = watched.tab(name)
        watched.run(panel)
        assert page.evaluate("document.documentElement.scrollWidth") <= 391, name
