"""The look Gradio's own components take: system fonts only, and the colours of static/page.css, where the palette lives."""

from pathlib import Path

import gradio as gr

PAGE_CSS = Path(__file__).parent / "static" / "page.css"

SANS = (
    "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial",
    "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "sans-serif",
)  # fmt: skip
MONO = ("ui-monospace", "SF Mono", "Cascadia Mono", "Consolas", "Liberation Mono", "Noto Sans Mono CJK SC", "monospace")

GLASS = gr.themes.Color(
    name="glass", c50="#eef8fa", c100="#d6eef3", c200="#aedde6", c300="#7fc6d4", c400="#4aa9bc", c500="#1f879c",
    c600="#0e6e83", c700="#0b5868", c800="#0b4451", c900="#0c323c", c950="#06222a",
)  # fmt: skip
STONE = gr.themes.Color(
    name="stone", c50="#fbf9f5", c100="#f1eee8", c200="#dcd8cf", c300="#c4c0b8", c400="#9a9ca0", c500="#6f757c",
    c600="#545b62", c700="#39424a", c800="#232a30", c900="#171c21", c950="#0f1317",
)  # fmt: skip

# Gradio's name -> ours. Set for light and dark alike: ours turn dark by themselves, but only where they are declared anew.
COLOURS = {
    "body_background_fill": "paper",
    "body_text_color": "ink",
    "body_text_color_subdued": "muted",
    "background_fill_primary": "surface",
    "background_fill_secondary": "paper",
    "block_background_fill": "surface",
    "block_label_text_color": "muted",
    "block_title_text_color": "muted",
    "block_info_text_color": "muted",
    "border_color_primary": "rule",
    "block_border_color": "rule",
    "input_background_fill": "surface",
    "input_border_color": "edge",
    "input_border_color_focus": "accent",
    "input_placeholder_color": "muted",
    "slider_color": "accent",
    "loader_color": "accent",
    "link_text_color": "accent",
    "link_text_color_hover": "accent",
    "link_text_color_active": "accent",
    "link_text_color_visited": "accent",
    "checkbox_background_color_selected": "accent",
    "checkbox_border_color_selected": "accent",
    "button_primary_background_fill": "accent",
    "button_primary_background_fill_hover": "accent-deep",
    "button_primary_border_color": "accent",
    "button_primary_border_color_hover": "accent-deep",
    "button_primary_text_color": "on-accent",
    "button_secondary_background_fill": "surface",
    "button_secondary_background_fill_hover": "wash",
    "button_secondary_border_color": "edge",
    "button_secondary_border_color_hover": "muted",
    "button_secondary_text_color": "ink",
}

SHAPES = {
    "block_border_width": "1px",
    "block_shadow": "none",
    "block_label_shadow": "none",
    "block_radius": "10px",
    "input_radius": "8px",
    "input_border_width": "1px",
    "input_shadow": "none",
    "button_border_width": "1px",
    "button_large_radius": "8px",
    "button_medium_radius": "8px",
    "button_small_radius": "6px",
    "button_large_text_weight": "600",
    "button_medium_text_weight": "500",
    "button_primary_shadow": "none",
    "button_secondary_shadow": "none",
    "layout_gap": "20px",
}

THEME = gr.themes.Base(
    primary_hue=GLASS,
    secondary_hue=GLASS,
    neutral_hue=STONE,
    text_size=gr.themes.sizes.text_lg,
    font=SANS,
    font_mono=MONO,
).set(
    **SHAPES,
    **{theirs: f"var(--gb-{ours})" for theirs, ours in COLOURS.items()},
    **{f"{theirs}_dark": f"var(--gb-{ours})" for theirs, ours in COLOURS.items()},
)
