"""The Attention tab as a visitor uses it: pointing, clicking, walking with the keys, taking away."""

import re

import pytest

SOON = 2_000  # milliseconds


@pytest.fixture
def looked(watched):
    """Return the tab's panel after its first example was looked into."""
    watched.open()
    panel = watched.tab("Attention")
    watched.run(panel)
    panel.locator(".gb-lined .gb-token").first.wait_for()
    watched.page.wait_for_timeout(500)
    return panel


def token(panel, number: int):
    """Return the token of that number, as a visitor counts."""
    return panel.locator(".gb-lined .gb-token").nth(number - 1)


def said(panel) -> str:
    """Return the sentence of the chosen token."""
    return panel.locator(".gb-why .gb-sentence p").inner_text()


def montage(panel):
    """Return the part of the montage that is clicked."""
    return panel.locator(".gb-heads .nsewdrag").first


def head_middle(panel, layer: int, head: int) -> dict:
    """Return where a head of the six by twelve is in the montage."""
    box = montage(panel).bounding_box()
    return {"x": box["width"] * (head - 0.5) / 12, "y": box["height"] * (layer - 0.5) / 6}


def test_pointing_at_a_token_draws_lines_to_what_it_looks_at_and_says_how_much(watched, looked):
    here = token(looked, 4)
    here.scroll_into_view_if_needed()
    watched.page.wait_for_timeout(300)
    here.hover()
    lines = looked.locator(".gb-lines path")
    assert lines.count() == len(here.get_attribute("data-to").split(","))
    note = watched.page.locator("body > .gb-note-over")
    assert re.match(r"→ \d+ \S+ +\d+%", note.inner_text()) and "gb-shown" in note.get_attribute("class")
    widths = [float(one.get_attribute("stroke-width")) for one in lines.all()]
    assert widths == sorted(widths)  # the strongest is drawn last, over the others
    watched.page.mouse.move(5, 5)
    chosen = looked.locator(".gb-lined .gb-token[aria-pressed]")
    assert lines.count() == len(chosen.get_attribute("data-to").split(","))


def test_a_line_ends_at_the_token_it_names(watched, looked):
    here = token(looked, 9)
    here.scroll_into_view_if_needed()
    here.hover()
    to = int(here.get_attribute("data-to").split(",")[0].split(":")[0]) + 1
    end = looked.locator(".gb-lines circle").last.bounding_box()
    box = token(looked, to).bounding_box()
    assert box["x"] <= end["x"] + end["width"] / 2 <= box["x"] + box["width"]
    assert box["y"] - 8 <= end["y"] + end["height"] / 2 <= box["y"] + box["height"] + 8


def test_tokens_are_numbered_and_a_click_chooses_one(watched, looked):
    token(looked, 3).click()
    looked.locator(".gb-lined .gb-token:nth-child(3)[aria-pressed]").wait_for()
    looked.get_by_text("“animal”").first.wait_for()
    number = "node => getComputedStyle(node, '::before').content"
    assert "counter(token)" in token(looked, 3).evaluate(number)
    assert looked.get_by_role("button", name="Cover “animal”").count() == 1


def test_the_arrow_keys_walk_over_the_tokens_and_the_lines_follow(watched, looked):
    token(looked, 3).click()
    looked.locator(".gb-lined .gb-token:nth-child(3)[aria-pressed]").wait_for()
    token(looked, 1).focus()
    for _ in range(4):
        watched.page.keyboard.press("ArrowRight")
    assert watched.page.evaluate("document.activeElement.textContent") == token(looked, 5).inner_text()
    assert looked.locator(".gb-lines path").count() == len(token(looked, 5).get_attribute("data-to").split(","))
    watched.page.keyboard.press("Enter")
    looked.locator(".gb-lined .gb-token:nth-child(5)[aria-pressed]").wait_for()


def test_a_click_on_the_montage_shows_that_head(watched, looked):
    montage(looked).click(position=head_middle(looked, 5, 2))
    looked.get_by_text("layer 5, head 2").first.wait_for()
    assert "layer 5, head 2" in said(looked)


def test_pointing_at_a_head_says_which_it_is(watched, looked):
    montage(looked).scroll_into_view_if_needed()
    watched.page.wait_for_timeout(300)
    montage(looked).hover(position=head_middle(looked, 4, 11))
    watched.page.wait_for_timeout(300)
    assert re.match(r"layer 4(, | · )head 11", watched.page.locator("body > .gb-note-over").inner_text(), re.I)


def test_the_arrow_keys_walk_over_the_heads_and_enter_chooses(watched, looked):
    looked.locator(".gb-heads").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowDown", "Enter"):  # the first one goes to the first head
        watched.page.keyboard.press(key)
    looked.get_by_text("layer 3, head 2").first.wait_for()
    watched.page.keyboard.press("ArrowDown")  # and goes on from there
    assert re.match(r"layer 4\b.*head 2\b", watched.page.locator("body > .gb-note-over").inner_text(), re.I)
    watched.page.keyboard.press("Enter")
    looked.get_by_text("layer 4, head 2").first.wait_for()


def test_pointing_at_the_map_names_who_looks_at_whom_with_a_percentage(watched, looked):
    heat = looked.locator(".gb-heads .nsewdrag").last
    heat.scroll_into_view_if_needed()
    watched.page.wait_for_timeout(300)
    box = heat.bounding_box()
    heat.hover(position={"x": box["width"] * 2.5 / 16, "y": box["height"] * 1.5 / 16})
    watched.page.wait_for_timeout(300)
    text = watched.page.locator("body > .gb-note-over").inner_text()
    assert re.fullmatch(r"2 The → 3 animal: (<0\.\d%|\d+(\.\d)?%)", text)


def test_a_click_on_the_map_chooses_the_row(watched, looked):
    heat = looked.locator(".gb-heads .nsewdrag").last
    box = heat.bounding_box()
    heat.click(position={"x": box["width"] * 9.5 / 16, "y": box["height"] * 6.5 / 16})
    looked.locator(".gb-lined .gb-token:nth-child(7)[aria-pressed]").wait_for()


def test_a_head_with_a_habit_is_one_click_away(watched, looked):
    choice = looked.locator(".gb-habits label").nth(1)
    layer, head = re.search(r"Layer (\d+) · head (\d+)", choice.inner_text()).groups()
    choice.click()
    looked.get_by_text(f"layer {layer}, head {head}").first.wait_for()


def test_rollout_and_the_switches_redraw_without_looking_inside_again(watched, looked):
    looked.get_by_text("all layers together").first.click()
    looked.get_by_text("Through all layers together").first.wait_for()
    looked.get_by_text("Weigh by what is carried").first.click()
    looked.get_by_text("weighed by what is carried,").first.wait_for()
    montage(looked).click(position=head_middle(looked, 1, 1))
    looked.get_by_text("In layer 1, head 1").first.wait_for()
    assert looked.get_by_label("one head").is_checked()


def test_a_head_is_silenced_and_speaks_again(watched, looked):
    looked.get_by_role("button", name="Silence layer").click()
    looked.get_by_text("Without layer").wait_for()
    looked.locator(".gb-whatif .gb-chart .bars path").first.wait_for(state="attached")
    assert "is silent" in said(looked)
    looked.get_by_role("button", name="speak again").click()
    looked.get_by_role("button", name="Silence layer").wait_for()
    looked.locator(".gb-whatif .gb-chart.gb-empty").wait_for()


def test_a_token_is_covered_and_uncovered(watched, looked):
    token(looked, 3).click()
    looked.get_by_role("button", name="Cover “animal”").click()
    looked.locator(".gb-lined .gb-token:nth-child(3)[data-covered]").wait_for()
    looked.get_by_text("Without “animal”").wait_for()
    looked.get_by_role("button", name="Uncover “animal”").click()
    looked.locator(".gb-lined .gb-token[data-covered]").wait_for(state="detached")


def test_every_layer_says_what_it_would_have_said_when_it_is_asked(watched, looked):
    looked.get_by_text("What would each layer have said?").click()
    looked.get_by_role("button", name="Ask every layer").click()
    looked.get_by_text("In the place of “[MASK]”").wait_for()
    cells = looked.locator(".gb-chart .heatmap-label")
    cells.first.wait_for(state="attached")
    assert cells.count() == 7 * 16  # the embeddings and six layers, sixteen tokens
    lens = looked.locator(".gb-scroll:has(.heatmap-label) .nsewdrag")
    lens.scroll_into_view_if_needed()
    box = lens.bounding_box()
    lens.click(position={"x": box["width"] * 2.5 / 16, "y": box["height"] * 3.5 / 7})
    looked.get_by_text("Had layer 3 been the last").wait_for()


def test_what_is_shown_stays_when_another_tab_is_visited_and_the_theme_changes(watched, looked):
    montage(looked).click(position=head_middle(looked, 5, 2))
    looked.get_by_text("layer 5, head 2").first.wait_for()
    watched.tab("Feel")
    panel = watched.tab("Attention")
    watched.page.evaluate("document.body.classList.toggle('dark')")
    watched.page.wait_for_timeout(500)
    montages = panel.locator(".gb-heads").first
    assert montages.locator(".heatmaplayer image").count() == 1
    outline = montages.locator(".shapelayer path").last.bounding_box()
    there, box = head_middle(panel, 5, 2), montage(panel).bounding_box()
    assert outline["x"] <= box["x"] + there["x"] <= outline["x"] + outline["width"]
    assert outline["y"] <= box["y"] + there["y"] <= outline["y"] + outline["height"]


def test_the_table_of_a_window_can_be_saved(watched, looked):
    looked.get_by_role("button", name="Make a table").click()
    save = looked.get_by_role("link", name="Save the table").or_(looked.get_by_role("button", name="Save the table"))
    looked.locator("a[download] >> text=Save the table").or_(save).first.wait_for()
    with watched.page.expect_download() as download:
        save.first.click()
    assert download.value.suggested_filename == "glassbox-attention.csv"


def test_what_cannot_be_done_is_said_and_what_is_shown_stays(watched):
    page = watched.open()
    panel = watched.tab("Attention")
    watched.type(panel.locator("textarea").first, "A [MASK] film")
    watched.run(panel)
    tokens = panel.locator(".gb-lined .gb-token")
    tokens.first.wait_for()
    before = tokens.count()
    watched.type(panel.locator("textarea").first, "word " * 3_000)
    panel.locator("button.primary").first.click()
    page.get_by_text("Shorten it a little").wait_for()
    assert tokens.count() == before and panel.locator("textarea").first.input_value().startswith("word word")


def test_a_full_window_is_drawn_and_a_head_of_it_painted_within_seconds(watched):
    page = watched.open()
    panel = watched.tab("Attention")
    watched.type(panel.locator("textarea").first, "the cat sat on the mat and saw a dog . " * 42)
    watched.run(panel)
    page.wait_for_function("document.querySelectorAll('.gb-lined .gb-token').length > 400")
    page.wait_for_timeout(500)
    page.evaluate("performance.clearMarks()")
    page.evaluate(
        """() => { const node = [...document.querySelectorAll('.gb-why .gb-sentence p')].find(one => one.offsetParent);
        addEventListener('pointerdown', () => { window.began = performance.now(); }, true);
        new MutationObserver(() => requestAnimationFrame(() => requestAnimationFrame(() => {
        window.took ??= performance.now() - window.began; }))).observe(node.parentElement.parentElement,
        {subtree: true, childList: true, characterData: true}); }"""
    )
    montage(panel).click(position=head_middle(panel, 3, 3))
    page.wait_for_function("window.took !== undefined")
    assert page.evaluate("window.took") < SOON


def test_a_phone_shows_all_of_it_without_scrolling_sideways(watched):
    page = watched.open("/zh")
    page.set_viewport_size({"width": 390, "height": 844})
    panel = watched.tab("注意力")
    watched.run(panel)
    panel.locator(".gb-lined .gb-token").first.wait_for()
    panel.get_by_text("每一层会怎么说？").first.click()
    panel.get_by_role("button", name="问问每一层").click()
    panel.locator(".heatmap-label").first.wait_for(state="attached")
    assert page.evaluate("document.documentElement.scrollWidth") <= 391
    square = montage(panel).bounding_box()
    assert square["width"] / square["height"] == pytest.approx(2, rel=0.05)  # twelve heads by six layers, each a square
