"""What a question asks about, read off its words (English): a time, things, words that count."""
import re
from dataclasses import dataclass
from itertools import takewhile

_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "fifteen": 15, "twenty": 20, "thirty": 30, "half a": 0.5,
}
_AGO = re.compile(
    r"\b(half a|\d+(?:\.\d+)?|" + "|".join(w for w in _NUMBER if " " not in w) + r")\s+"
    r"(?:(?:and a half|more|or so)\s+)?(s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?)\s+"
    r"(?:ago|earlier|before|back)\b"
)
_CLOCK = re.compile(r"\b(?:at|around|about|after)\s+(?:(\d{1,2}):)?(\d{1,2}):(\d{2})\b")
_PRESENT = re.compile(
    r"\b(?:now|right now|currently|at the moment|at present|this moment|is|are|am|do|does|can|'s)\b"
)
_PAST = re.compile(
    r"\b(?:did|was|were|had|ago|earlier|before|previously|happened|so far|ever|until now|"
    r"first|last|back then|at the (?:start|beginning)|when|miss(?:ed)?|appeared|saw|seen|"
    r"(?:has|have)(?: \w+){0,4} (?:been|ever|\w+ed)|"
    r"summari[sz]e|remember|recall|just)\b"
)
_JUST = re.compile(r"\bjust\b|\ba (?:moment|little while) ago\b")
JUST_S = 2.0
_START = re.compile(r"\bat (?:the )?(?:very )?(?:start|beginning)\b|\bfirst thing\b")

STOP_WORDS = frozenset(
    "a an the of in on at to is are was were be been did do does has have had i you he she it they "
    "we me us there this that what which who whom whose when where why how and or not any some "
    "see saw seen show shown appear appeared happen happened earlier before ago now so far ever "
    "picture video frame just seconds minutes hours second minute hour these those with by from "
    "into as if my your his her its their our".split()
)
_THING = re.compile(r"\b(an?|the|any|some|my|your|his|her|their|our)\s+((?:[\w-]+\s*)+)")
MOST_WORDS = 3   # of a thing


@dataclass(frozen=True, slots=True)
class When:
    """past: True, False, or None when the words do not tell; at: stream time asked about in
    seconds, None when none is named; within: how far from it an answer may lie."""

    past: bool | None
    at: float | None = None
    within: float = 0.0


def when(question: str, now: float) -> When:
    """The time a question asks about; `now` is the stream time of the newest frame."""
    text = question.lower()
    if match := _AGO.search(text):
        word, unit = match.groups()
        age = float(_NUMBER.get(word) or word) * _UNIT[unit[0]]
        return When(True, max(0.0, now - age), max(5.0, 0.25 * age))
    if match := _CLOCK.search(text):
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return When(True, min(now, 3600.0 * hours + 60.0 * minutes + seconds), 5.0)
    if _JUST.search(text):
        return When(True, max(0.0, now - JUST_S), 2 * JUST_S)
    if _START.search(text):
        return When(True, 0.0, max(5.0, 0.1 * now))
    if _PAST.search(text):
        return When(True)
    return When(False) if _PRESENT.search(text) else When(None)


def _counts(word: str) -> bool:
    return word not in STOP_WORDS and not word.isdigit()


def content_words(question: str) -> list[str]:
    text = "".join(c if c.isalnum() else " " for c in question.lower())
    return [word for word in text.split() if _counts(word)]


def things_in(question: str) -> list[str]:
    """What stands behind an article or the like: "Did the red car and a dog come by?" ->
    ["a red car", "a dog"]."""
    things = []
    for part in re.split(r"[,.;:!?]|\b(?:and|or)\b", question.lower()):
        if match := _THING.search(part):
            words = " ".join(list(takewhile(_counts, match[2].split()))[:MOST_WORDS])
            if content_words(words):
                own = match[1] in ("some", "any")
                article = match[1] if own else "an" if words[0] in "aeiou" else "a"
                things.append(f"{article} {words}")
    return things
