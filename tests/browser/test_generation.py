"""The Write tab as a visitor uses it: clicking tokens, bars, branches and beams, stopping, comparing, taking away."""

import json

import pytest

SOON = 1_500  # milliseconds for what needs no model, through Gradio and on a busy machine


@pytest.fixture
def told(watched):
    """Return the tab's panel after a short story was written."""
    page = watched.open()
    panel = watched.tab("Write")
    panel.get_by_text("How it chooses").first.click()
    set_number(panel, "Length", 30)
    watched.run(panel)
    page.wait_for_function("document.querySelectorAll('.gb-story .gb-token').length > 20")
    return panel


def set_number(panel, name: str, value: object) -> None:
    """Set a slider by its number."""
    box = panel.get_by_label(f"number input for {name}")
    box.wait_for()
    box.fill(str(value))
    box.press("Enter")
    box.blur()


def tokens(panel):
    """Return the tokens of the story; the first is the prompt."""
    return panel.locator(".gb-story").first.locator(".gb-token")


def rivals(panel):
    """Return the chart of what a token could have been."""
    return panel.locator(".gb-why .gb-chart").first


def look_at(watched, panel, number: int) -> None:
    """Click a token and wait for its rivals."""
    tokens(panel).nth(number).click()
    rivals(panel).locator(".bars path").first.wait_for(state="attached")
    watched.page.wait_for_timeout(500)


def click_bar(watched, panel, number: int) -> None:
    """Click a bar as a hand does: go there, rest, press."""
    bar = rivals(panel).locator(".bars path").nth(number)
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    watched.page.mouse.move(box["x"] + 3, box["y"] + box["height"] / 2)
    watched.page.wait_for_timeout(300)
    watched.page.mouse.click(box["x"] + 3, box["y"] + box["height"] / 2)


def branch(watched, panel, token: int, bar: int) -> None:
    """Branch the story at a token, and wait until it is written."""
    look_at(watched, panel, token)
    click_bar(watched, panel, bar)
    panel.locator(".gb-sentence p", has_text="so far").first.wait_for()
    panel.locator(".gb-sentence p", has_text="It wrote").first.wait_for()


def test_the_clicked_token_is_marked_its_rivals_come_at_once_and_the_chosen_one_is_among_them(watched, told):
    look_at(watched, told, 5)
    assert tokens(told).nth(5).get_attribute("aria-pressed") == "true"
    assert rivals(told).get_by_text("▸").count() == 1
    told.get_by_text("bits").nth(1).wait_for()
    told.get_by_text("hangs most on").or_(told.get_by_text("hangs on")).first.wait_for()
    assert tokens(told).nth(5).get_attribute("aria-pressed") == "true"


def test_a_slider_says_what_it_shut_out_without_the_model(watched, told):
    look_at(watched, told, 5)
    set_number(told, "Shortlist", 3)
    told.get_by_text("top-k").filter(has_text="shut out").wait_for(timeout=SOON)
    assert rivals(told).get_by_text("✕ top-k").count() >= 7


def test_a_thousand_draws_are_counted(watched, told):
    look_at(watched, told, 5)
    told.get_by_role("button", name="Draw 1,000 times").click()
    told.get_by_text("Drawn 1,000 times").wait_for(timeout=SOON)
    assert told.get_by_text("times it came").count() == 1


def test_branches_become_a_tree_that_can_be_walked_compared_and_taken_away(watched, told):
    branch(watched, told, 4, 2)
    first = tokens(told).all_inner_texts()
    branch(watched, told, 8, 1)
    tree = told.locator(".gb-chart", has_text="2 “").first
    tree.wait_for()
    assert tokens(told).all_inner_texts()[:8] == first[:8]
    watched.page.wait_for_timeout(300)
    tree.locator(".points path").nth(1).hover(force=True)
    watched.page.wait_for_timeout(300)
    tree.locator(".points path").nth(1).click(force=True)
    watched.page.wait_for_function(
        "([node, text]) => node.textContent === text", arg=[tokens(told).nth(9).element_handle(), first[9]]
    )
    told.get_by_label("Compare the story shown with").click()
    watched.page.get_by_role("option").first.click()
    told.get_by_text("They share the first").wait_for()
    assert told.locator(".gb-story").nth(1).locator(".gb-token[aria-pressed]").count() == 1
    told.get_by_text("The numbers behind this").click()
    with watched.page.expect_download() as download:
        told.get_by_role("button", name="Save the numbers").click()
    saved = json.loads(download.value.path().read_text("utf-8"))
    assert [(story["id"], story["parent"]) for story in saved["stories"]] == [(1, None), (2, 1), (3, 2)]


def test_the_arrow_keys_walk_over_the_tree(watched, told):
    first = tokens(told).all_inner_texts()
    branch(watched, told, 4, 2)
    told.locator(".gb-chart", has_text="2 “").first.focus()
    for key in ("ArrowDown", "Enter"):
        watched.page.keyboard.press(key)
    told.locator(".gb-why .gb-chart.gb-empty").first.wait_for()  # the token looked at was another story's
    assert tokens(told).all_inner_texts() == first


# A story of 512 tokens is over within a second or two, so the page itself presses Stop, in the frame that shows the first.
PRESS_STOP = """() => {
  const said = [...document.querySelectorAll('.gb-sentence p')].find(node => node.offsetParent);
  const stop = [...document.querySelectorAll('button')].find(node => node.offsetParent && node.innerText === 'Stop');
  const press = () => { stop.click(); window.pressed = true; };
  const look = () => said.innerText.includes('so far') ? press() : requestAnimationFrame(look);
  look();
}"""


def test_stop_keeps_what_is_written_and_it_can_be_taken_away(watched, told):
    set_number(told, "Length", 512)
    watched.page.evaluate(PRESS_STOP)
    told.locator("button.primary").first.click()
    watched.page.wait_for_function("window.pressed")
    told.locator(".gb-sentence p", has_text="It wrote").first.wait_for()
    watched.page.wait_for_timeout(500)
    count = tokens(told).count()
    watched.page.wait_for_timeout(500)
    assert tokens(told).count() == count < 500
    look_at(watched, told, 1)
    told.get_by_text("The numbers behind this").click()
    with watched.page.expect_download() as download:
        told.get_by_role("button", name="Save the numbers").click()
    (story,) = json.loads(download.value.path().read_text("utf-8"))["stories"]
    assert len(story["steps"]) == count - 1


def test_looking_ahead_draws_beams_and_a_click_goes_on_along_one(watched, told):
    look_at(watched, told, 6)
    told.get_by_role("button", name="Look ahead").click()
    told.get_by_text("The likeliest way on is").wait_for()
    beams = told.locator(".gb-whatif .gb-chart").last
    points = beams.locator(".points path")
    points.first.wait_for(state="attached")
    before = tokens(told).all_inner_texts()
    beams.scroll_into_view_if_needed()
    watched.page.wait_for_timeout(300)
    points.nth(2).hover(force=True)
    watched.page.wait_for_timeout(300)
    points.nth(2).click(force=True)
    told.locator(".gb-chart", has_text="2 “").first.wait_for()
    assert tokens(told).all_inner_texts()[:6] == before[:6]


def test_a_token_clicked_while_the_story_is_written_stays_marked(watched, told):
    set_number(told, "Length", 200)
    told.locator("button.primary").first.click()
    told.locator(".gb-sentence p", has_text="so far").first.wait_for()
    tokens(told).nth(2).click()
    told.locator(".gb-sentence p", has_text="It wrote").first.wait_for()
    assert tokens(told).nth(2).get_attribute("aria-pressed") == "true"
    rivals(told).locator(".bars path").first.wait_for(state="attached")


def test_a_strip_that_grows_keeps_what_it_shows_and_a_long_one_grows_as_fast_as_a_short_one(watched, told):
    page = watched.page
    page.evaluate(
        """() => { const strip = document.querySelector('.gb-story'); window.added = 0; window.kept = strip.firstElementChild;
        new MutationObserver(found => { for (const {addedNodes, removedNodes} of found)
        window.added += addedNodes.length, window.removed = (window.removed ?? 0) + removedNodes.length; })
        .observe(strip, {childList: true}); }"""
    )
    before = tokens(told).count()
    set_number(told, "Length", 120)
    watched.run(told)
    told.locator(".gb-sentence p", has_text="It wrote 120").first.wait_for()
    assert page.evaluate("window.kept === document.querySelector('.gb-story').firstElementChild")
    assert page.evaluate("window.added") <= 120 + before  # each token once


def test_a_phone_shows_tree_and_beams_without_scrolling_the_page_sideways(watched, told):
    watched.page.set_viewport_size({"width": 390, "height": 844})
    branch(watched, told, 4, 2)
    told.get_by_role("button", name="Look ahead").click()
    told.get_by_text("The likeliest way on is").wait_for()
    watched.page.wait_for_timeout(500)
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= 391
