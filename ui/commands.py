"""What a page may ask for: one JSON message -> one command, or a sentence that says what is wrong.

Types and ranges are judged here, so that nothing misshapen reaches the assistant; what the words
and settings mean is judged there.
"""
import json
from collections.abc import Callable
from typing import Any

from streamassist.errors import StreamAssistError
from streamassist.types import (
    AddRule,
    Command,
    Configure,
    EditRule,
    Forget,
    Interrupt,
    Query,
    Rate,
    RemoveRule,
    TryRule,
    UserSpeaking,
)

MAX_TEXT = 4000                    # characters of a question or a rule
MAX_CHANGES = 16                   # settings of a rule in one message; words in a list of them
MAX_NAME = 40                      # characters of a setting's name
MAX_SNOOZE_S = 7 * 86_400.0
PAST_MINUTES = (0.1, 1440.0)
REMARKS_PER_MINUTE = (0.1, 30.0)
FAR = 1e9                          # seconds or minutes no stream reaches

Message = dict[str, Any]


def parse(text: str) -> Message:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise StreamAssistError("The server got a message it cannot read; reload the page.")
    return message


def text_of(message: Message, key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise StreamAssistError(f"The {key} must be text of at most {MAX_TEXT} characters.")
    return _whole(value).strip()


def _whole(value: str) -> str:
    return value.encode(errors="replace").decode()   # half a surrogate pair is no text


def _is_number(value: Any, low: float = -FAR, high: float = FAR) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and low <= value <= high        # which NaN is not


def _number(message: Message, key: str, low: float, high: float, sentence: str) -> float | None:
    """None where the message says nothing of it."""
    value = message.get(key)
    if value is None:
        return None
    if not _is_number(value, low, high):
        raise StreamAssistError(sentence)
    return float(value)


def _yes_or_no(message: Message, key: str, sentence: str) -> bool:
    value = message.get(key)
    if not isinstance(value, bool):
        raise StreamAssistError(sentence)
    return value


def _rule_id(message: Message) -> int:
    value = message.get("rule_id")
    if not isinstance(value, int) or isinstance(value, bool):
        raise StreamAssistError("The server got no number of a watch rule; reload the page.")
    return value


def _changes(message: Message) -> dict[str, Any]:
    changes = message.get("changes", {})
    if not isinstance(changes, dict) or len(changes) > MAX_CHANGES:
        raise StreamAssistError(
            f"The changes to a rule are at most {MAX_CHANGES} settings by name; reload the page."
        )
    return {_setting(name): _value(name, value) for name, value in changes.items()}


def _setting(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME:
        raise StreamAssistError(f"A rule's setting has a name of 1 to {MAX_NAME} letters.")
    return _whole(name)


def _value(name: str, value: Any) -> Any:
    if isinstance(value, bool) or _is_number(value):
        return value
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return _whole(value)
    if isinstance(value, list) and len(value) <= MAX_CHANGES and all(map(_is_word, value)):
        return [_whole(word) for word in value]
    raise StreamAssistError(
        f"A rule's {_whole(name)} is a number, yes or no, a text, or a short list of words."
    )


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME


def _edit(message: Message) -> EditRule:
    snooze = _number(message, "snooze_s", 0, MAX_SNOOZE_S,
                     "A rule sleeps for a number of seconds, a week at most; 0 wakes it.")
    return EditRule(_rule_id(message), _changes(message), snooze)


def _try(message: Message) -> TryRule:
    low, high = PAST_MINUTES
    minutes = _number(message, "minutes", low, high,
                      f"A rule is tried on {low:g} to {high:g} minutes of the past.")
    text = text_of(message, "text")
    return TryRule(text) if minutes is None else TryRule(text, minutes)


def _rate(message: Message) -> Rate:
    sentence = "The server got no time of what was rated; reload the page."
    t = _number(message, "t", -FAR, FAR, sentence)
    if t is None:
        raise StreamAssistError(sentence)
    return Rate(t, _yes_or_no(message, "good", "A rating is either good or not."))


def _configure(message: Message) -> Configure:
    commentary = message.get("commentary")
    if commentary is not None:
        commentary = _yes_or_no(message, "commentary", "Commentary is either on or off.")
    low, high = REMARKS_PER_MINUTE
    return Configure(
        commentary,
        _number(message, "threshold", 0, 1, "The threshold must be a number between 0 and 1."),
        _number(message, "remarks_per_minute", low, high,
                f"The remarks a minute are a number between {low:g} and {high:g}."),
    )


def _forget(message: Message) -> Forget:
    minutes = _number(message, "minutes", -FAR, FAR, "The minutes to forget are a number.")
    return Forget(rules=bool(message.get("rules")), minutes=minutes)


COMMANDS: dict[str, Callable[[Message], Command]] = {
    "ask": lambda m: Query(text_of(m, "text")),
    "interrupt": lambda m: Interrupt(),
    "add_rule": lambda m: AddRule(text_of(m, "text")),
    "remove_rule": lambda m: RemoveRule(_rule_id(m)),
    "edit_rule": _edit,
    "try_rule": _try,
    "rate": _rate,
    "user_speaking": lambda m: UserSpeaking(
        _yes_or_no(m, "speaking", "The user is either speaking or not.")),
    "configure": _configure,
    "forget": _forget,
}
