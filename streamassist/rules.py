"""Watch rules in plain words: "Tell me when a dog appears".

A rule is checked by asking the model whether its sentence holds now (a yes/no probe). Rules take
turns, so many of them cost no more per frame than a few; each one's last check is kept and shown.
"""
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from streamassist.errors import StreamAssistError

MAX_RULES = 50
MAX_WORDS = 60
MAX_FAULTS = 2   # of the model, at one rule

_OPENING = re.compile(
    r"^\s*(?:please\s+|can you\s+|could you\s+|hey,?\s+)*"
    r"(?:tell|alert|notify|warn|inform|ping|let)\s+me\s+(?:know\s+)?"
    r"(?:when(?:ever)?|if|once|as soon as)\b\s*(?P<event>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_WATCH_FOR = re.compile(
    r"^\s*(?:please\s+)?(?:watch|look)\s+(?:out\s+)?for\b\s*(?P<thing>.*)$", re.I
)
_WHEN = re.compile(r"^\s*(?:when(?:ever)?|if|once|as soon as)\s+(?P<event>.+)$", re.I)


def is_rule(text: str) -> bool:
    """True when a typed sentence asks to be told about something later."""
    return bool(_OPENING.match(text) or _WATCH_FOR.match(text))


def condition_of(text: str) -> str:
    """The sentence that must hold: "Tell me when a dog appears" -> "A dog appears"."""
    text = re.sub(r"\s+", " ", text).strip()
    for pattern in (_OPENING, _WHEN):
        if match := pattern.match(text):
            text = match["event"]
            break
    else:
        if match := _WATCH_FOR.match(text):
            text = match["thing"] and "there is " + match["thing"]
    text = re.sub(r"^(?:you\s+(?:can\s+)?see)\s+", "there is ", text, flags=re.I).rstrip(" .!?")
    return text[:1].upper() + text[1:]


@dataclass
class Rule:
    """`threshold` on P(yes); `dwell_s` it must hold; after firing it waits `cooldown_s` and until
    the probability fell below `release`, so a lasting state is told once."""

    id: int
    text: str
    since: float
    threshold: float = 0.7
    release: float = 0.5
    dwell_s: float = 0.0
    cooldown_s: float = 10.0
    condition: str = field(init=False)
    last_checked: float | None = field(default=None, init=False)
    last_score: float = field(default=0.0, init=False)
    fired: int = field(default=0, init=False)
    faults: int = field(default=0, init=False)
    _true_since: float | None = field(default=None, init=False, repr=False)
    _quiet_until: float = field(default=float("-inf"), init=False, repr=False)
    _armed: bool = field(default=True, init=False, repr=False)

    def __post_init__(self) -> None:
        self.condition = condition_of(self.text)

    def check(self, score: float, t: float) -> bool:
        """Take a probe's result; True when the rule fires."""
        self.last_checked, self.last_score = t, score
        if score < self.release:
            self._armed = True
        if score < self.threshold:
            self._true_since = None
            return False
        if self._true_since is None:
            self._true_since = t
        ripe = t - self._true_since >= self.dwell_s
        if not (ripe and self._armed and t >= self._quiet_until):
            return False
        self._armed, self._quiet_until = False, t + self.cooldown_s
        self.fired += 1
        return True

    def restart_clock(self) -> None:
        """Another stream begins at time 0: times of the old one mean nothing any more."""
        self.since, self.last_checked, self._true_since = 0.0, None, None
        self._quiet_until, self._armed = float("-inf"), True

    def view(self) -> dict:
        """What the page shows."""
        return {
            "id": self.id, "text": self.text, "condition": self.condition, "since": self.since,
            "last_checked": self.last_checked, "score": round(self.last_score, 3),
            "fired": self.fired,
        }


class RuleBook:
    """All rules of a conversation, checked in turns of `per_frame` probes a frame."""

    def __init__(self, per_frame: int = 1):
        self.per_frame = per_frame
        self.rules: list[Rule] = []
        self._broken: list[Rule] = []
        self._next_id = 1
        self._turn = 0

    def add(self, text: str, t: float) -> Rule:
        """Raises StreamAssistError for an empty or endless rule, or one too many."""
        text = re.sub(r"\s+", " ", text).strip()
        if not condition_of(text):
            raise StreamAssistError(
                'A rule needs words, for instance "Tell me when a dog appears".'
            )
        if len(text.split()) > MAX_WORDS or len(text) > 8 * MAX_WORDS:
            raise StreamAssistError(f"That rule is too long; say it in {MAX_WORDS} words or fewer.")
        if len(self.rules) >= MAX_RULES:
            raise StreamAssistError(f"There are {MAX_RULES} rules already; remove one first.")
        rule = Rule(self._next_id, text, t)
        self._next_id += 1
        self.rules.append(rule)
        return rule

    def remove(self, rule_id: int) -> None:
        if all(r.id != rule_id for r in self.rules):
            raise StreamAssistError(f"There is no rule number {rule_id}; it may be gone already.")
        self.rules = [r for r in self.rules if r.id != rule_id]

    def check(self, t: float, probe: Callable[[str], float]) -> list[Rule]:
        """Probe the rules whose turn it is; returns those that fire."""
        return [rule for rule in self._due() if rule.check(self._probe(rule, probe), t)]

    def _probe(self, rule: Rule, probe: Callable[[str], float]) -> float:
        """A rule at which the model fails twice is set aside, so that it cannot stop everything."""
        try:
            score = probe(rule.condition)
        except Exception:
            rule.faults += 1
            if rule.faults < MAX_FAULTS:
                raise
            self._broken.append(rule)
            return 0.0
        rule.faults = 0
        return score

    def take_broken(self) -> list[Rule]:
        """The rules that had to be set aside since the last call; they are removed."""
        broken, self._broken = self._broken, []
        self.rules = [rule for rule in self.rules if rule not in broken]
        return broken

    def _due(self) -> list[Rule]:
        count = min(self.per_frame, len(self.rules))
        due = [self.rules[(self._turn + i) % len(self.rules)] for i in range(count)]
        self._turn = (self._turn + count) % max(1, len(self.rules))
        return due

    def restart_clock(self) -> None:
        for rule in self.rules:
            rule.restart_clock()

    def view(self) -> list[dict]:
        return [rule.view() for rule in self.rules]
