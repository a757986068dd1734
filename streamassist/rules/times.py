"""Times in rules: spans ("a minute", "30 s") and hours of the day ("between 9 am and 5 pm").

Spans are seconds; moments of a day are minutes since midnight, local time.
"""
import re
import time

from streamassist.errors import StreamAssistError

DAY = 24 * 60   # minutes
Schedule = tuple[int, int]

# name of a setting -> (what it is, lowest, highest), in seconds
LIMITS = {
    "dwell_s": ("The time for which something holds", 0.0, 3600.0),
    "cooldown_s": ("The pause between two alerts", 1.0, 86400.0),
    "every_s": ("The time between two reminders", 10.0, 86400.0),
    "in_s": ("The time until a reminder", 1.0, 86400.0),
    "snooze_s": ("The time a rule is snoozed", 0.0, 7 * 86400.0),
}

_WORDS = {
    "half a": 0.5, "half an": 0.5, "a couple of": 2, "a few": 3, "a": 1, "an": 1, "one": 1,
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40,
    "forty-five": 45, "fifty": 50, "sixty": 60, "ninety": 90,
}
_NUMBER = "|".join(sorted(_WORDS, key=len, reverse=True))
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}   # by the first letter
# Not "m" alone: "for 5 m" may be metres.
SPAN = (
    rf"(?:(?P<n>[0-9]+(?:\.[0-9]+)?|(?:{_NUMBER})\b)[\s-]*)?"
    r"(?P<unit>seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|s|h)\b"
)

_HALF = r"[ap]\.?m\b\.?"
_MARKED = (
    rf"(?:[0-9]{{1,2}}:[0-9]{{2}}(?:\s*{_HALF})?(?![0-9])"
    rf"|[0-9]{{1,2}}(?:\.[0-9]{{2}})?\s*(?:{_HALF}|o'?clock\b)|noon\b|midnight\b)"
)
_BARE = r"[0-9]{1,2}(?:\.[0-9]{2})?"
_CLOCK = rf"(?:{_MARKED}|{_BARE})"
_TO = r"\s*(?:and|to|until|till|-|–)\s*"
# After a bare number: "between 2 and 5 people" is no time of day.
_NO_NOUN = (
    r"(?=\s*(?:$|[,;:.!?]|(?:to|that|and|but|only|once|urgently|with|say|speak|call|send|when|"
    r"whenever|if|as|for|at|every|please|tell|alert|notify|warn|inform|ping|let|remind|watch|look)"
    r"\b))"
)
_HOURS = re.compile(
    rf"\b(?:only\s+)?(?P<word>between|from)\s+(?P<a>{_CLOCK}){_TO}"
    rf"(?P<b>{_MARKED}|{_BARE}{_NO_NOUN})", re.I,
)
_PAIR = re.compile(
    rf"\s*(?:between\s+|from\s+)?(?P<a>{_CLOCK}){_TO}(?P<b>{_CLOCK})\s*", re.I
)
_MOMENT = re.compile(r"([0-9]{1,2})(?:[:.]([0-9]{2}))?\s*(?:([ap])\.?m\.?|o'?clock)?", re.I)


def seconds(match: re.Match) -> float:
    """The length that SPAN found; without a number it is one unit."""
    words = re.sub(r"\s+", " ", match["n"] or "one").lower()
    number = _WORDS[words] if words in _WORDS else float(words)
    return number * _UNITS[match["unit"][0].lower()]


def spoken(span_s: float) -> str:
    """Seconds in words: 30 -> "30 s", 300 -> "5 min", 5400 -> "90 min"."""
    for unit, length in (("h", 3600), ("min", 60)):
        if span_s >= length and span_s % length == 0:
            return f"{span_s / length:g} {unit}"
    return f"{span_s:g} s"


def check_span(name: str, span_s: float) -> float:
    """Raises StreamAssistError when a length lies outside the LIMITS of its setting."""
    what, low, high = LIMITS[name]
    if not low <= span_s <= high:
        raise StreamAssistError(
            f"{what} must lie between {spoken(low)} and {spoken(high)}; say another time."
        )
    return float(span_s)


# ---------------------------------------------------------------- hours of the day

def cut_hours(text: str) -> tuple[list[re.Match], str]:
    """Where a sentence names hours of the day (see `hours`), and the sentence without them."""
    found = [match for match in _HOURS.finditer(text) if not _is_count(match)]
    for match in reversed(found):
        text = f"{text[:match.start()]} {text[match.end():]}"
    return found, text


def _is_count(match: re.Match) -> bool:
    """ "the number goes from 2 to 5" """
    bare = match["a"].isdigit() and match["b"].isdigit()
    return bare and match["word"].lower() == "from" and match.start() > 0


def hours_of(text: str) -> Schedule:
    """ "09:00-17:00", "9 am to 5 pm"; raises StreamAssistError for anything else."""
    match = _PAIR.fullmatch(text)
    if not match:
        raise StreamAssistError('Write the hours like this: "09:00-17:00", or leave them empty.')
    return hours(match)


def hours(match: re.Match) -> Schedule:
    """(begin, end) of what `cut_hours` found; raises StreamAssistError when it makes no sense."""
    first, second = match["a"], match["b"]
    (a, half_a), (b, half_b) = _moment(first), _moment(second)
    said = f'"{first} to {second}"'
    if half_a is None and half_b is None and _unclear(first, second, a, b):
        raise StreamAssistError(
            f'Say whether {said} is morning or evening, for instance "between 9 am and 5 pm".'
        )
    # What lacks "am" or "pm" goes by the other: "9 to 5 pm", "10 pm to 6".
    if half_a is None and half_b and _twelve_hour(first, a):
        a = a % 720 + 720 * ((b >= 720) ^ (a % 720 >= b % 720))
    if half_b is None and half_a and _twelve_hour(second, b):
        b = b % 720 + 720 * ((a >= 720) ^ (b % 720 <= a % 720))
    if a == b:
        raise StreamAssistError(f"{said} begins and ends at the same time; name two times.")
    return a, b


def _unclear(first: str, second: str, a: int, b: int) -> bool:
    """ "between 9 and 5" """
    return b < a and _twelve_hour(first, a) and _twelve_hour(second, b)


def _twelve_hour(said: str, minute: int) -> bool:
    return minute < 13 * 60 and not said.startswith("0")


def _moment(text: str) -> tuple[int, str | None]:
    """(minute of the day, "a" or "p" when it was said)."""
    if text.lower() in ("noon", "midnight"):
        return (720, "p") if text.lower() == "noon" else (0, "a")
    match = _MOMENT.fullmatch(text)
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").lower() or None
    if hour > (12 if half else 24) or minute > 59 or hour * 60 + minute > DAY:
        raise StreamAssistError(f'"{text}" is no time of day; write for instance 9:30 pm or 21:30.')
    if half:
        hour = hour % 12 + 12 * (half == "p")
    return (hour * 60 + minute) % DAY, half


def clock_text(schedule: Schedule | None) -> str:
    """(540, 1020) -> "09:00 and 17:00"; "" without a schedule."""
    if schedule is None:
        return ""
    return " and ".join(f"{minute // 60:02}:{minute % 60:02}" for minute in schedule)


def length_of(schedule: Schedule) -> int:
    """Minutes from its begin to its end."""
    return (schedule[1] - schedule[0]) % DAY


def minute_of(wall: float | None) -> int | None:
    """The minute of the day at Unix time `wall`; None when it is unknown or absurd."""
    try:
        now = time.localtime(wall) if wall is not None else None
    except (ValueError, OverflowError, OSError):
        return None
    return now and now.tm_hour * 60 + now.tm_min


def within(schedule: Schedule | None, wall: float | None) -> bool:
    """Whether `wall` lies in these hours, which may go over midnight; unknown times do."""
    minute = None if schedule is None else minute_of(wall)
    if minute is None:
        return True
    begin, end = schedule
    return begin <= minute < end if begin < end else minute >= begin or minute < end
