"""Look again: a part of the newest picture, or all of it in four parts, at the model's full
resolution, on a cache of its own. The stream's memory never holds it."""
import re
from collections.abc import Sequence
from dataclasses import replace

from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.memory.base import MemoryPolicy
from streamassist.tools.base import Found, ToolDesk
from streamassist.types import Frame

LEAST_SIDE = 16      # pixels of a part
PARTS = 5            # the whole and its quarters
QUARTERS = (
    "the first picture is the whole one, the others are its quarters: top left, top right, "
    "bottom left, bottom right"
)
Share = tuple[float, float]   # from where to where, of a side
HALVES: dict[str, Share] = {
    "low": (0.0, 0.5), "mid": (0.25, 0.75), "high": (0.5, 1.0), "all": (0.0, 1.0),
}

_WANTS = re.compile(
    r"\bzoom\b|\blook (?:again|closer|more closely)\b|\bcloser look\b|\bmagnify\b|\benlarge\b|"
    r"\bin (?:more )?detail\b"
)
_ACROSS = (("low", r"\bleft\b"), ("high", r"\bright(?! now)\b"))
_DOWN = (("low", r"\b(?:top|upper|above)\b"), ("high", r"\b(?:bottom|lower|below)\b"))
ACROSS_NAMES, DOWN_NAMES = {"low": "left", "high": "right"}, {"low": "top", "high": "bottom"}
_CENTRE = re.compile(r"\b(?:cent(?:re|er)|middle)\b")


class LookAgain:
    name = "look_again"
    slow = False

    def describe(self) -> str:
        return "Looks at a part of the newest picture, or at all of it, in more detail."

    def wants(self, question: str) -> bool:
        return bool(_WANTS.search(question.lower()))

    def run(self, question: str, desk: ToolDesk) -> Found:
        newest = desk.recent[-1]
        name, across, down = region(question)
        text = ""
        if name == "whole" and reads_parts(desk.engine):
            images, text = quarters(newest), QUARTERS
        elif name == "whole":
            name, images = "centre", (crop(newest, HALVES["mid"], HALVES["mid"]),)
        else:
            images = (crop(newest, across, down),)
        height, width = images[-1].image.shape[:2]
        did = f"looked again at the {name} of the picture ({width} x {height} pixels)"
        return Found(did, text, [(newest.index, newest.pts)], images)


def reads_parts(engine: Engine) -> bool:
    """Whether the model can be told what five pictures are to each other, and reads as many."""
    return engine.model.history_turns > 0 and engine.model.frames_at_once >= PARTS


# ---------------------------------------------------------------- where to look

def region(question: str) -> tuple[str, Share, Share]:
    """What the words name: (name, share of the width, share of the height)."""
    text = question.lower()
    down, across = _side(_DOWN, text), _side(_ACROSS, text)
    if down or across:
        words = (DOWN_NAMES.get(down), ACROSS_NAMES.get(across))
        return " ".join(filter(None, words)), HALVES[across or "all"], HALVES[down or "all"]
    if _CENTRE.search(text):
        return "centre", HALVES["mid"], HALVES["mid"]
    return "whole", HALVES["all"], HALVES["all"]


def _side(sides: Sequence[tuple[str, str]], text: str) -> str | None:
    return next((side for side, pattern in sides if re.search(pattern, text)), None)


def crop(frame: Frame, across: Share, down: Share) -> Frame:
    """A part of a picture; raises StreamAssistError for one too small."""
    height, width = frame.image.shape[:2]
    (top, bottom), (left, right) = ([round(s * height) for s in down],
                                    [round(s * width) for s in across])
    part = frame.image[top:bottom, left:right]
    if min(part.shape[:2]) < LEAST_SIDE:
        raise StreamAssistError(
            "The picture is too small to be looked at in parts; I answer from all of it."
        )
    return Frame(part, frame.pts, frame.index)


def quarters(frame: Frame) -> tuple[Frame, ...]:
    """The whole, then its quarters, each of which the model reads as large as a picture."""
    halves = HALVES["low"], HALVES["high"]
    return (frame, *(crop(frame, across, down) for down in halves for across in halves))


# ---------------------------------------------------------------- looking

def close_up(engine: Engine, images: Sequence[Frame]) -> Engine:
    """An engine of the same model that has seen nothing but these."""
    config = replace(engine.config, cuda_graphs=False)   # of the model; switched on already
    aside = Engine(engine.model, MemoryPolicy(), config)
    for image in images:
        aside.observe(image)
    return aside
