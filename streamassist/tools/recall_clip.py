"""Recall a clip: the pictures around a moment that a question asks about, to be played again."""
import re

from streamassist.memory.question import when
from streamassist.tools.base import Found, Seen, ToolDesk
from streamassist.tools.search_memory import NOTHING, find

AROUND_S = 5.0
MOST_PICTURES = 60   # of a clip

_WANTS = re.compile(
    r"\bshow me (?:again )?(?:when|how|the (?:moment|part|clip|scene))\b|\breplay\b|\bclip\b|"
    r"^(?:please |can you |could you )*play\b|\bplay (?:back|it|that|the (?:moment|part|scene))\b"
)


class RecallClip:
    name = "recall_clip"
    slow = False

    def describe(self) -> str:
        return f"Brings back the pictures of {AROUND_S:.0f} s before and after a moment."

    def wants(self, question: str) -> bool:
        return bool(_WANTS.search(question.lower()))

    def run(self, question: str, desk: ToolDesk) -> Found:
        at = moment_of(question, desk)
        frames = [] if at is None else around(at, desk)
        if not frames:
            return Found("looked for a clip", NOTHING)
        text = f"{desk.told(at)}, {len(frames)} pictures"
        return Found("recalled a clip", text, frames)


def moment_of(question: str, desk: ToolDesk) -> float | None:
    """Stream time in seconds: named by the question, else of what fits its words best."""
    named = when(question, desk.now).at
    if named is not None:
        return named
    moments = find(question, desk)
    return moments[0].pts if moments else None


def around(at: float, desk: ToolDesk) -> list[Seen]:
    """(frame, pts) of the pictures held around a stream time, in order, spread when too many."""
    held = [seen for seen in desk.pictures(at - AROUND_S) if seen[1] <= at + AROUND_S]
    step = max(1, -(-len(held) // MOST_PICTURES))
    return held[::step]
