"""The page as a Gradio tree: markup and styling, no logic. Its life is in static/live.js."""
from pathlib import Path
from typing import Any

import gradio as gr

STATIC = Path(__file__).parent / "static"

# Gradio runs this when the part is in the document.
_ON_LOAD = "import('/page/live.js').then((live) => live.mount(element));"

_STYLES = ("base", "live")     # linked, since Gradio would rewrite the selectors of its css option
_SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]


class Part(gr.HTML):
    """A piece of our own markup; `${value}` in it is the session's token."""

    def __init__(self, **given: Any):
        defaults = {"value": "", "js_on_load": _ON_LOAD, "apply_default_css": False}
        super().__init__(**{**defaults, **given})   # Gradio calls this again: what it gives wins

    def api_info(self) -> dict[str, Any]:
        return {"type": "string"}


def build_page(token: str) -> gr.Blocks:
    with gr.Blocks(title="streamassist", fill_width=True, analytics_enabled=False) as page:
        with gr.Row(elem_id="sa-columns"):
            with gr.Column(scale=3, min_width=320):
                Part(value=token, html_template=_markup("stage.html"), elem_id="sa-stage-part")
            with gr.Column(scale=2, min_width=320):
                Part(value=token, html_template=_markup("talk.html"), elem_id="sa-talk-part")
    return page


def page_options() -> dict[str, Any]:
    """What Gradio 6 takes at mount time."""
    return {
        "theme": gr.themes.Base(font=_SYSTEM_FONTS, font_mono=["ui-monospace", "monospace"]),
        "head": "".join(f'<link rel="stylesheet" href="/page/{name}.css">' for name in _STYLES),
        "favicon_path": STATIC / "icon.svg",
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "pwa": False,
        "max_file_size": 0,
    }


def _markup(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
