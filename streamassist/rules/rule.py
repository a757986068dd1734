"""One watch rule: what it says, how it is set, and what has been seen of it.

`t` is stream time in seconds. Where it jumps ahead, a rule counts no more than a few of its usual
steps as seen; where it jumps back, the times a rule waits for move with it. The wall clock serves
the hours of the day alone.
"""
import math
from dataclasses import dataclass, field
from typing import Any

from streamassist.errors import StreamAssistError
from streamassist.rules.parse import MAX_WORDS, parse, sentence_of
from streamassist.rules.phrases import tidy
from streamassist.rules.settings import SETTINGS, number, validated
from streamassist.rules.times import Schedule, clock_text, within

CHANGED = 0.3            # 0..1 of the view, for "again only if changed"
LONGEST_STEP = 3.0       # usual steps
FIRST_STEP_S = 60.0      # at most, while none is usual yet
SLACK_S = 1e-6           # sums of floats
MAX_CHARACTERS = 9 * MAX_WORDS   # of a rule from the disk; some words grow when they are read
NEVER = float("-inf")


@dataclass(eq=False)
class Rule:
    """`threshold` on P(yes); `dwell_s` it must hold; after firing it waits `cooldown_s` and until
    the probability fell below `release`, so a lasting state is told once. `since`, `last_checked`,
    `last_fired`, `snoozed_until`: stream time. `timeouts`: probes that came to nothing in time,
    which says nothing about the picture. `asks`: see `parse.Parsed`."""

    id: int
    text: str
    since: float
    threshold: float = 0.7
    release: float = 0.5
    dwell_s: float = 0.0
    cooldown_s: float = 10.0
    once: bool = False
    only_if_changed: bool = False
    severity: str = "warning"
    schedule: Schedule | None = None
    actions: tuple[str, ...] = ()
    every_s: float | None = None
    in_s: float | None = None
    asks: bool = False
    condition: str = ""
    snoozed_until: float | None = None
    covered: bool = field(default=False, init=False)
    last_checked: float | None = field(default=None, init=False)
    last_score: float = field(default=0.0, init=False)
    last_fired: float | None = field(default=None, init=False)
    fired: int = field(default=0, init=False)
    done: bool = field(default=False, init=False)
    faults: int = field(default=0, init=False)
    timeouts: int = field(default=0, init=False)
    held_back: bool = field(default=False, init=False)   # true, but the alert has to wait
    seen: Any = field(default=None, init=False, repr=False)   # the view at the last alert
    turn: int = field(default=-1, init=False, repr=False)
    _now: float = field(default=0.0, init=False, repr=False)
    _wall: float | None = field(default=None, init=False, repr=False)
    _stepped_at: float | None = field(default=None, init=False, repr=False)
    _step_s: float | None = field(default=None, init=False, repr=False)   # its usual one
    _held_s: float | None = field(default=None, init=False, repr=False)
    _quiet_until: float = field(default=NEVER, init=False, repr=False)
    _armed: bool = field(default=True, init=False, repr=False)
    _due_at: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        self._now = self.since
        self.condition = self.condition or parse(self.text).condition
        self._due_at = self.since + (self.every_s or self.in_s or 0.0)

    @classmethod
    def of(cls, rule_id: int, text: str, t: float, **usual: Any) -> "Rule":
        """A rule as its words say, and as is `usual` where they do not; raises StreamAssistError as
        `parse` does."""
        parsed = parse(text)
        settings = {**usual, **parsed.said()} if parsed.kind == "event" else parsed.said()
        return cls(rule_id, tidy(text), t, **settings)

    @property
    def kind(self) -> str:
        return "time" if self.every_s or self.in_s else "event"

    @property
    def state(self) -> str:
        """What it is doing, in words for the page."""
        if self.done:
            return "done"
        if self.snoozed_until is not None and self._now < self.snoozed_until:
            return "snoozed"
        if not within(self.schedule, self._wall):
            return "outside its hours"
        if self.covered and self.kind == "event":
            return "the camera seems to be covered"
        return "watching" if self._held_s is None else "holding"

    @property
    def watching(self) -> bool:
        return self.state in ("watching", "holding")

    @property
    def confirming(self) -> bool:
        """It was true at its last check, and has to be for a while longer."""
        return self._armed and self._held_s is not None and self._held_s < self.dwell_s - SLACK_S

    def sentence(self) -> str:
        """What it watches for and how, as it is now set."""
        return sentence_of(self)

    # ------------------------------------------------------------ time

    def move(self, t: float, wall: float | None = None, covered: bool = False) -> None:
        """Now it is stream time `t`, Unix time `wall`; `covered`: the picture shows nothing."""
        if math.isfinite(t):
            self._shift(min(0.0, t - self._now))
            self._now = t
        self._wall, self.covered = wall, covered
        if not self.watching:
            self._held_s = self._stepped_at = None
        if self.snoozed_until is not None and self._now >= self.snoozed_until:
            self.snoozed_until = None

    def _shift(self, by_s: float) -> None:
        """Where the clock ran back, what was to come in 5 s comes in 5 s still."""
        self._quiet_until += by_s
        self._due_at += by_s
        for name in ("snoozed_until", "last_checked", "last_fired", "_stepped_at"):
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name) + by_s)

    def restart_clock(self) -> None:
        """Another stream begins at time 0: times of the old one mean nothing any more, but what a
        reminder or a snooze has left to wait does."""
        self._shift(-self._now)
        self._now = self.since = 0.0
        self.last_checked = self.last_fired = None
        self._held_s = self._stepped_at = self._step_s = self.seen = None
        self._quiet_until, self._armed, self.held_back = NEVER, True, False

    # ------------------------------------------------------------ events

    def check(
        self, score: float | None, t: float, clock_s: float | None = None, view_change: float = 1.0
    ) -> bool:
        """Take a probe's result; True when the rule fires. `clock_s`: Unix time, for its hours;
        `view_change`: 0..1 against the view at its last alert; None: it could not be done."""
        self.move(t, clock_s, self.covered)
        ripe = self.ripe(score, view_change)
        if ripe:
            self.fire()
        return ripe

    def ripe(self, score: float | None, view_change: float = 1.0) -> bool:
        """`check` at the time it was moved to, but it does not fire yet."""
        if not self.watching or self.kind == "time":
            return False
        if score is None or not math.isfinite(score):
            self.timeouts += 1
            return False
        self._hold(score)
        changed = not self.only_if_changed or not self.fired or view_change >= CHANGED
        held = self._held_s is not None and self._held_s >= self.dwell_s - SLACK_S
        return held and self._armed and changed and self._now >= self._quiet_until

    def _hold(self, score: float) -> None:
        step = self._step()
        self.last_checked, self.last_score = self._now, score
        if score < self.release:
            self._armed = True
        if score < self.threshold:
            self._held_s, self.held_back = None, False
        else:
            self._held_s = 0.0 if self._held_s is None else self._held_s + step

    def _step(self) -> float:
        """Seconds since the last check, as far as they are to be believed: through a gap in the
        stream nobody saw whether it held."""
        before, self._stepped_at = self._stepped_at, self._now
        if before is None:
            return 0.0
        usual = self._step_s or FIRST_STEP_S / LONGEST_STEP
        step = min(self._now - before, LONGEST_STEP * usual)
        self._step_s = step if self._step_s is None else 0.7 * self._step_s + 0.3 * step
        return step

    # ------------------------------------------------------------ reminders, firing

    def due(self) -> bool:
        """Whether a rule by the clock is to fire now. Ticks missed while it was resting are gone,
        a single reminder waits."""
        if self.kind == "event" or self._now < self._due_at or self.done:
            return False
        if not self.watching:
            self._next_tick()
            return False
        return True

    def _next_tick(self) -> None:
        if self.every_s and self._now >= self._due_at:
            self._due_at += self.every_s * (1 + (self._now - self._due_at) // self.every_s)

    def fire(self) -> None:
        """The alert is given."""
        self.fired += 1
        self.last_fired, self.held_back = self._now, False
        self._armed, self._quiet_until = False, self._now + self.cooldown_s
        self.done = self.once or self.in_s is not None
        self._next_tick()

    # ------------------------------------------------------------ settings

    def edit(self, changes: dict[str, Any]) -> None:
        """Change settings by name; raises StreamAssistError, and changes nothing, when one of them
        is unknown or outside its range."""
        values = validated(changes)
        for name in ("every_s", "in_s"):
            if name in values and getattr(self, name) is None:
                raise StreamAssistError(f'This rule has no "{name}" to change; make a new rule.')
        threshold = values.get("threshold", self.threshold)
        if values.setdefault("release", min(self.release, threshold)) > threshold:
            raise StreamAssistError(
                f"release must not lie above threshold, which is {threshold:g}; set both."
            )
        for name, value in values.items():
            setattr(self, name, value)
        if values.keys() & {"every_s", "in_s"}:
            self._due_at, self.done = self._now + (self.every_s or self.in_s), False
        if "once" in values and self.in_s is None:
            self.done = False

    def snooze(self, span_s: float) -> None:
        """Be quiet for so many seconds; 0 wakes it. Raises StreamAssistError beyond a week."""
        self.snoozed_until = self._now + number("snooze_s", span_s) if span_s else None

    # ------------------------------------------------------------ for the page and the disk

    def view(self, check_interval_s: float = 0.0) -> dict[str, Any]:
        """What the page shows; `check_interval_s`: how often its turn comes. "next_check_s" and
        that are seconds, "next_check_s" is None while it rests."""
        return {
            "id": self.id, "text": self.text, "condition": self.condition, "kind": self.kind,
            "since": self.since, "last_checked": self.last_checked,
            "next_check_s": self._next_check(check_interval_s),
            "check_interval_s": check_interval_s,
            "score": round(self.last_score, 3), "threshold": self.threshold, "fired": self.fired,
            "last_fired": self.last_fired, "dwell_s": self.dwell_s, "cooldown_s": self.cooldown_s,
            "every_s": self.every_s, "in_s": self.in_s, "once": self.once,
            "only_if_changed": self.only_if_changed, "severity": self.severity,
            "actions": list(self.actions), "schedule": clock_text(self.schedule),
            "snoozed_until": self.snoozed_until, "done": self.done, "timeouts": self.timeouts,
            "state": self.state,
        }

    def _next_check(self, interval_s: float) -> float | None:
        if not self.watching:
            return None
        if self.kind == "time":
            return round(max(0.0, self._due_at - self._now), 3)
        ago = 0.0 if self.last_checked is None else self._now - self.last_checked
        return round(max(0.0, interval_s - ago), 3)

    def row(self) -> dict[str, Any]:
        """What outlives the program, as plain values; times are what is left to wait."""
        return {
            "id": self.id, "text": self.text, "condition": self.condition, "asks": self.asks,
            **{name: getattr(self, name) for name in SETTINGS},
            "fired": self.fired, "done": self.done,
            "snooze_left_s": max(0.0, (self.snoozed_until or NEVER) - self._now),
            "due_in_s": max(0.0, self._due_at - self._now),
        }

    @classmethod
    def restored(cls, row: dict[str, Any]) -> "Rule":
        """A rule from its `row`, on a stream that begins at 0; raises StreamAssistError, KeyError,
        TypeError or ValueError for what is none."""
        for words in (row["text"], row["condition"]):
            if not isinstance(words, str) or not 0 < len(words) <= MAX_CHARACTERS:
                raise ValueError("no sentence to watch for")
        settings = {name: row[name] for name in SETTINGS if row.get(name) is not None}
        rule = cls(
            int(row["id"]), row["text"], 0.0, condition=row["condition"], asks=bool(row["asks"]),
            **validated(settings),
        )
        rule.fired, rule.done = int(row["fired"]), bool(row["done"])
        rule.snooze(float(row["snooze_left_s"]))
        left_s = float(row["due_in_s"])
        if not left_s >= 0:
            raise ValueError("no time to wait for")
        rule._due_at = min(left_s, rule.every_s or rule.in_s or 0.0)
        return rule
