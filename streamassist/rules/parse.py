"""What a rule in plain words says: what to watch for, when, and how often.

"Urgent: tell me when the baby has been crying for 10 seconds, at most every 2 minutes" is cut into
its qualifiers, each by a regular expression, and the sentence that must hold.
"""
import re
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Literal

from streamassist.errors import StreamAssistError
from streamassist.rules.phrases import (
    FOR,
    OPENING,
    QUESTION,
    REMIND,
    REMINDER,
    TIMED,
    capital,
    clean,
    condition_of,
    cut,
    tidy,
)
from streamassist.rules.settings import ACTIONS, SEVERITIES
from streamassist.rules.times import (
    Schedule,
    check_span,
    clock_text,
    hours,
    length_of,
    seconds,
    spoken,
)

MAX_WORDS = 60

@dataclass(frozen=True)
class Parsed:
    """A rule in parts. `condition`: the sentence that must hold, for kind "time" what is told or,
    when it `asks`, what is asked of the model then; times in seconds; `schedule`: (begin, end) in
    minutes of the day; None: not said."""

    condition: str
    kind: Literal["event", "time"] = "event"
    every_s: float | None = None
    in_s: float | None = None
    once: bool = False
    dwell_s: float | None = None
    cooldown_s: float | None = None
    schedule: Schedule | None = None
    severity: str | None = None
    actions: tuple[str, ...] = ()
    only_if_changed: bool = False
    asks: bool = False

    def sentence(self) -> str:
        """What was understood, for the user to check."""
        return sentence_of(self)

    def said(self) -> dict:
        """The settings that the words name, by name."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "kind"}
        return {name: value for name, value in named.items() if value is not None}


def sentence_of(rule) -> str:
    """A Parsed, or anything with its fields, in a sentence."""
    if rule.every_s:
        head = f"Every {spoken(rule.every_s)}: {rule.condition}"
    elif rule.in_s:
        head = f"In {spoken(rule.in_s)}: {rule.condition}"
    else:
        head = f"Watching for: {rule.condition}"
    event = rule.kind == "event"
    parts = [
        head,
        "once" if rule.once and not rule.in_s else "",
        f"held for {spoken(rule.dwell_s)}" if rule.dwell_s else "",
        f"at most every {spoken(rule.cooldown_s)}" if rule.cooldown_s and event else "",
        "again only if the view changed" if rule.only_if_changed else "",
        f"between {clock_text(rule.schedule)}" if rule.schedule else "",
        rule.severity if rule.severity in ("urgent", "info") else "",
        *(ACTIONS[action] for action in rule.actions),
    ]
    return "; ".join(part for part in parts if part) + "."


# ---------------------------------------------------------------- reading

def parse(text: str) -> Parsed:
    """Raises StreamAssistError for what is empty, too long, contradictory or out of range."""
    text = tidy(text)
    if len(text.split()) > MAX_WORDS or len(text) > 8 * MAX_WORDS:
        raise StreamAssistError(f"That rule is too long; say it in {MAX_WORDS} words or fewer.")
    found, rest = cut(text)
    parsed = _timed(rest, found) or _event(rest, found)
    if not any(c.isalnum() for c in parsed.condition):
        raise StreamAssistError('A rule needs words, for instance "Tell me when a dog appears".')
    return parsed


def _said(found: dict[str, list[re.Match]]) -> dict:
    """Settings from qualifiers, each said once or always alike."""
    severities = [name for name in SEVERITIES if name in found]
    if "once" in found and found.keys() & {"always", "cooldown_s"}:
        raise StreamAssistError(
            'A rule cannot speak up "once" and again and again; leave one of the two out.'
        )
    pauses = {check_span("cooldown_s", seconds(m)) for m in found.get("cooldown_s", ())}
    return {
        "severity": _single(severities, "severities"),
        "actions": tuple(name for name in ACTIONS if name in found),
        "schedule": _single({hours(m) for m in found["schedule"]}, "times of day"),
        "cooldown_s": _single(pauses, "pauses"),
        "only_if_changed": "only_if_changed" in found, "once": "once" in found,
    }


def _single(values: Collection, what: str):
    """The one value, None when there is none."""
    if len(values) > 1:
        raise StreamAssistError(f"The rule names two {what} that differ; leave one of them out.")
    return next(iter(values), None)


def _event(text: str, found: dict[str, list[re.Match]], **more) -> Parsed:
    """A rule about the picture."""
    if REMINDER.match(text):
        raise StreamAssistError('Say when: "Remind me in 5 minutes to look at the oven".')
    said = {**_said(found), **more}
    lasting = [m for m in FOR.finditer(text) if m["n"] or "last" in m[0]]
    dwell_s = _single({check_span("dwell_s", seconds(m)) for m in lasting}, "lengths of time")
    for match in reversed(lasting):
        text = f"{text[:match.start()]} {text[match.end():]}"
    if lasting:   # the model is asked about a picture
        text = re.sub(r"\bha(?:s|ve) been (?=\w+ing\b)", _is_now, text)
    if said["schedule"] and dwell_s and dwell_s > 60 * length_of(said["schedule"]):
        raise StreamAssistError(
            f"Nothing can hold for {spoken(dwell_s)} between {clock_text(said['schedule'])}; "
            "name a shorter time or longer hours."
        )
    return Parsed(condition_of(clean(text)), dwell_s=dwell_s, **said)


def _is_now(match: re.Match) -> str:
    return "is " if match[0].lower().startswith("has") else "are "


# ---------------------------------------------------------------- by the clock

def _timed(text: str, found: dict[str, list[re.Match]]) -> Parsed | None:
    """A rule of the kind "every 30 seconds" or "in 5 minutes"; None when it is none."""
    for name, patterns in TIMED.items():
        for pattern in patterns:
            if match := pattern.match(text):
                lead = match.groupdict().get("tell") or ""
                span_s = check_span(name, seconds(match))
                return _reminder(name, span_s, f"{lead} {match['rest']}".strip(), found)
    return None


def _reminder(name: str, span_s: float, text: str, found: dict[str, list[re.Match]]) -> Parsed:
    if any(pattern.match(text) for pattern in (*TIMED["every_s"], *TIMED["in_s"])):
        raise StreamAssistError("The rule names two times to remind you; make two rules of it.")
    opening = OPENING.match(text)
    asks = bool(QUESTION.match(text)) and not REMINDER.match(text)
    if opening and not asks:
        if name == "in_s" or "cooldown_s" in found or "once" in found:
            raise StreamAssistError(
                f'"{spoken(span_s)}" and "when" do not go together; name the time or the event.'
            )
        return _event(text, found, cooldown_s=span_s)   # "every 5 minutes tell me when ..."
    said = _said(found)
    if said["only_if_changed"] or said["cooldown_s"] or (said["once"] and name == "every_s"):
        raise StreamAssistError(
            'A reminder comes at its time, whatever is seen; leave out "once", "at most" and '
            '"only if changed".'
        )
    if asks:
        words = re.sub(r"^(tell me|let me know) if\b", "tell me whether", text, flags=re.I)
    else:
        words = REMIND.sub(r"\g<words>", text)
    said["once"] = name == "in_s"
    return Parsed(capital(words), "time", asks=asks, **{name: span_s}, **said)
