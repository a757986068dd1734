"""What can be set on a rule, and which values are accepted."""
from collections.abc import Callable, Sequence
from typing import Any

from streamassist.errors import StreamAssistError
from streamassist.rules.times import DAY, LIMITS, Schedule, check_span, hours_of

SEVERITIES = ("info", "warning", "urgent")
ACTIONS = {"sound": "with a sound", "speech": "said aloud", "webhook": "sent to the webhook"}

# name -> (type, lowest, highest); lengths in seconds, the schedule in minutes of the day
SETTINGS: dict[str, tuple[type, float | None, float | None]] = {
    "threshold": (float, 0.05, 0.99),
    "release": (float, 0.0, 0.99),
    "dwell_s": (float, *LIMITS["dwell_s"][1:]),
    "cooldown_s": (float, *LIMITS["cooldown_s"][1:]),
    "every_s": (float, *LIMITS["every_s"][1:]),
    "in_s": (float, *LIMITS["in_s"][1:]),
    "once": (bool, None, None),
    "only_if_changed": (bool, None, None),
    "severity": (str, None, None),
    "schedule": (tuple, 0, DAY - 1),
    "actions": (tuple, None, None),
}


def validated(changes: dict[str, Any]) -> dict[str, Any]:
    """Settings by name, as a rule holds them; raises StreamAssistError that names what is allowed.

    A schedule may be "09:00-17:00", (540, 1020), or "" and None for the whole day.
    """
    unknown = changes.keys() - SETTINGS.keys()
    if unknown:
        raise StreamAssistError(
            f'A rule has no setting "{sorted(map(str, unknown))[0]:.40}"; there are '
            f"{', '.join(SETTINGS)}."
        )
    return {name: _check_of(name)(name, value) for name, value in changes.items()}


def _check_of(name: str) -> Callable[[str, Any], Any]:
    by_name = {"severity": _severity, "schedule": _schedule, "actions": _actions}
    return by_name.get(name) or (_flag if SETTINGS[name][0] is bool else number)


def number(name: str, value: Any) -> float:
    """A number within the range of its setting."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise StreamAssistError(f"{name} must be a number.")
    if name in LIMITS:
        return check_span(name, value)
    _, low, high = SETTINGS[name]
    if not low <= value <= high:
        raise StreamAssistError(f"{name} must lie between {low:g} and {high:g}.")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise StreamAssistError(f"{name} must be true or false.")
    return value


def _severity(name: str, value: Any) -> str:
    if value not in SEVERITIES:
        raise StreamAssistError(f"{name} must be one of {', '.join(SEVERITIES)}.")
    return value


def _actions(name: str, value: Any) -> tuple[str, ...]:
    known = tuple(ACTIONS)
    if isinstance(value, str) or not isinstance(value, Sequence) or any(
        action not in known for action in value
    ):
        raise StreamAssistError(f"{name} must be a list of any of {', '.join(ACTIONS)}.")
    return tuple(action for action in known if action in value)


def _schedule(name: str, value: Any) -> Schedule | None:
    if value in (None, "", (), []):
        return None
    if isinstance(value, str):
        return hours_of(value)
    minutes = tuple(value) if isinstance(value, Sequence) else ()
    _, low, high = SETTINGS[name]
    if len(minutes) != 2 or minutes[0] == minutes[1] or not all(
        type(minute) is int and low <= minute <= high for minute in minutes
    ):
        raise StreamAssistError(
            f'The {name} must be two different times such as "09:00-17:00", or empty.'
        )
    return minutes
