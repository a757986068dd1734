"""Search memory: when something was seen, of what the memory brings back and of what was said."""
import re
from collections.abc import Sequence
from dataclasses import dataclass

from streamassist.engine import Engine
from streamassist.memory.question import content_words
from streamassist.tools.base import Found, Seen, ToolDesk, quoted
from streamassist.types import Alert, Note, Remark

MOST_TIMES = 6       # told of one search
WORDS_TOLD = 60      # characters of a remark
NOTHING = "nothing found among older pictures and remarks"
HALF = 0.5           # of the question's words must stand in a remark
EARLIER = "Earlier: "   # so that a policy looks back, whatever tense the question is in

_WANTS = re.compile(
    r"\bwhen (?:did|was|were|have|had)\b|\bhow (?:often|many times)\b|\blast time\b|"
    r"\bwhere (?:did|was|were|have) (?:i|we|you|he|she|they|it|my|our|the)\b|"
    r"\b(?:did|have) you (?:ever )?(?:see|seen|notice|noticed)\b|\bsearch (?:your |the )?memory\b"
)
_NO_THING = frozenset(
    "often times time put left leave search memory find play replay clip look looked notice "
    "noticed moment part please".split()
)


@dataclass(frozen=True, slots=True)
class Moment:
    """A time that fits a question; words: what was said then, "" where it was only seen."""

    pts: float
    frame: int | None
    words: str = ""


class SearchMemory:
    name = "search_memory"
    slow = False

    def describe(self) -> str:
        return "Finds when something was seen or remarked on."

    def wants(self, question: str) -> bool:
        return bool(_WANTS.search(question.lower()))

    def run(self, question: str, desk: ToolDesk) -> Found:
        moments = find(question, desk)
        if not moments:
            return Found("searched memory", NOTHING)
        times = sorted(moments, key=lambda moment: moment.pts)
        text = "; ".join(_told(moment, desk) for moment in times)
        frames = [(m.frame, m.pts) for m in moments if m.frame is not None]
        return Found("searched memory", text, frames)


def _told(moment: Moment, desk: ToolDesk) -> str:
    words = f" {quoted(moment.words, WORDS_TOLD)}" if moment.words else ""
    return desk.told(moment.pts) + words


# ---------------------------------------------------------------- finding

def find(question: str, desk: ToolDesk) -> list[Moment]:
    """Times that fit the question, best first: what the memory policy brings back, then what was
    said with the question's words. At most one a frame."""
    seen = [Moment(pts, frame) for frame, pts in recalled(EARLIER + question, desk)]
    moments = [*said(question, desk), *seen]
    best: dict[object, Moment] = {}
    for moment in moments:   # words tell more than a bare time
        best.setdefault(moment.pts if moment.frame is None else moment.frame, moment)
    order = [moment.frame for moment in seen]
    ranked = sorted(
        best.values(), key=lambda m: order.index(m.frame) if m.frame in order else len(order)
    )
    return ranked[:MOST_TIMES]


def recalled(question: str, desk: ToolDesk) -> list[Seen]:
    """(frame, pts) of what the memory policy brings back for a question, best first; nothing where
    it has not seen it. The stream's cache is left as it was."""
    found = _evidence(question, desk.engine)
    if not found:
        return []
    used = desk.engine.cache.in_use()
    times = dict(zip(used.frame.flatten().tolist(), used.pts.flatten().tolist(), strict=True))
    times |= dict(desk.pictures(0.0))
    return [(frame, times[frame]) for frame in found if frame in times]


def _evidence(question: str, engine: Engine) -> Sequence[int]:
    engine.stop_note()   # a branch that is open is no part of the stream
    memory = engine.memory
    memory.before_answer(engine.cache, question)
    try:
        return [frame for frame, _ in memory.evidence()] if memory.supported() else []
    finally:
        memory.after_answer(engine.cache)


def said(question: str, desk: ToolDesk) -> list[Moment]:
    """Remarks, alerts and notes with at least half of the question's words, those with most of
    them first, the newer before the older."""
    words = {stem(word) for word in content_words(question)} - _NO_THING
    ranked = []
    for event in desk.transcript:
        if isinstance(event, Remark | Alert | Note):
            count = len(words & {stem(word) for word in content_words(event.text)})
            if count and count >= HALF * len(words):
                ranked.append((count, event.t, event))
    ranked.sort(key=lambda entry: entry[:2], reverse=True)
    return [_moment(event) for *_, event in ranked[:MOST_TIMES]]


def _moment(event: Remark | Alert | Note) -> Moment:
    evidence = getattr(event, "evidence", None)
    if evidence:
        return Moment(evidence[0]["t"], evidence[0]["frame"], event.text)
    return Moment(event.t, None, event.text)


def stem(word: str) -> str:
    """A word without the ending of its plural, as far as English spelling is regular."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
