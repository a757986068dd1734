"""All watch rules of a conversation: whose turn it is, and how many alerts are too many."""
import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from streamassist.errors import StreamAssistError
from streamassist.rules.rule import Rule
from streamassist.rules.settings import number

MAX_RULES = 50
MAX_FAULTS = 2          # of the model, at one rule
ALERTS = 6              # at once, and a minute
REFILL_S = 10.0         # of stream time, for one more

Probe = Callable[[str], float | None]


class Bucket:
    """At most `ALERTS` at once, then one every `REFILL_S`. A jump of the clock is worth one."""

    def __init__(self) -> None:
        self._tokens, self._t = float(ALERTS), math.nan

    def move(self, t: float) -> None:
        """Now it is `t`; a clock that runs back brings nothing."""
        gained = min(1.0, (t - self._t) / REFILL_S) if t > self._t else 0.0
        self._tokens = min(float(ALERTS), self._tokens + gained)
        self._t = t

    def take(self) -> bool:
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class RuleBook:
    """`per_frame`: probes a frame; the rules take turns. `change(before, now)`: 0..1 of two views
    as given to `check`, for rules that fire again only if the view changed; usual: settings of a
    rule whose words say nothing else."""

    def __init__(
        self, per_frame: int = 1, change: Callable[[Any, Any], float] | None = None,
        usual: Mapping[str, Any] = MappingProxyType({}),
    ):
        self.per_frame, self.usual = per_frame, usual
        self.rules: list[Rule] = []
        self._change = change or (lambda before, now: 1.0)
        self._bucket = Bucket()
        self._broken: list[Rule] = []
        self._suppressed = 0
        self._next_id = 1
        self._turn = 0
        self._t: float | None = None
        self._wall: float | None = None
        self._covered = False
        self._frame_s = 0.0     # usual seconds between frames
        self._probes = per_frame

    # ------------------------------------------------------------ the list

    def add(self, text: str, t: float) -> Rule:
        """Raises StreamAssistError for a rule that `parse` refuses, that is there already, or one
        too many."""
        rule = Rule.of(self._next_id, text, t, **self.usual)
        twin = next((r for r in self.rules if _key(r) == _key(rule)), None)
        if twin and not twin.done:
            raise StreamAssistError(
                f'There is a rule for "{rule.condition}" already; change or remove that one.'
            )
        if len(self.rules) - bool(twin) >= MAX_RULES:
            raise StreamAssistError(f"There are {MAX_RULES} rules already; remove one first.")
        self.rules = [r for r in self.rules if r is not twin] + [rule]
        self._next_id += 1
        return rule

    def remove(self, rule_id: int) -> None:
        rule = self.get(rule_id)
        self.rules = [r for r in self.rules if r is not rule]

    def get(self, rule_id: int) -> Rule:
        """Raises StreamAssistError when it is not there."""
        for rule in self.rules:
            if rule.id == rule_id:
                return rule
        raise StreamAssistError(f"There is no rule number {rule_id}; it may be gone already.")

    def edit(
        self, rule_id: int, changes: dict[str, Any], snooze_s: float | None = None,
        t: float | None = None,
    ) -> Rule:
        """Change settings of a rule, snooze it for so many seconds from stream time `t` (None: the
        newest frame's), 0 wakes it. Raises StreamAssistError, and changes nothing, when one of them
        cannot be."""
        rule = self.get(rule_id)
        if t is not None:
            rule.move(t, self._wall, self._covered)
        if snooze_s is not None:
            number("snooze_s", snooze_s)   # before anything is changed
        rule.edit(changes)
        if snooze_s is not None:
            rule.snooze(snooze_s)
        return rule

    def load(self, rows: Iterable[dict[str, Any]]) -> int:
        """Take the rules of an earlier run, see `Rule.row`; how many could not be restored."""
        lost = 0
        for row in rows:
            try:
                rule = Rule.restored(row)
            except (StreamAssistError, KeyError, TypeError, ValueError, OverflowError):
                lost += 1
                continue
            if len(self.rules) < MAX_RULES and all(rule.id != other.id for other in self.rules):
                self.rules.append(rule)
            else:
                lost += 1
        self._next_id = 1 + max((rule.id for rule in self.rules), default=0)
        return lost

    # ------------------------------------------------------------ checking

    def check(
        self, t: float, probe: Probe, wall: float | None = None, view: Any = None,
        probe_many: Callable[[list[str]], Sequence[float | None]] | None = None,
        per_frame: int | None = None, covered: bool = False,
    ) -> list[Rule]:
        """Probe the rules whose turn it is at stream time `t`; returns those that fire.

        `wall`: Unix time, for hours of the day; `probe_many` does several in one pass; a probe that
        comes to nothing in time gives None or raises TimeoutError, and the rule keeps its state;
        `covered`: the picture shows nothing, so that nothing is asked about it.
        """
        self._move(t, wall, covered)
        self._probes = per_frame or self.per_frame
        ripe = [rule for rule in self.rules if rule.due()]
        for rule, score in self._scores(self._due(), probe, probe_many):
            if rule.ripe(score, self._changed(rule, view)):
                ripe.append(rule)
        return self._allowed(ripe, view)

    def _move(self, t: float, wall: float | None, covered: bool) -> None:
        if not math.isfinite(t):
            t = self._t or 0.0
        if self._t is not None and t > self._t:
            # A pause is no slow camera.
            gap = min(t - self._t, 3 * self._frame_s) if self._frame_s else t - self._t
            self._frame_s = 0.8 * self._frame_s + 0.2 * gap if self._frame_s else gap
        self._t, self._wall, self._covered = t, wall, covered
        self._bucket.move(t)
        for rule in self.rules:
            rule.move(t, wall, covered)

    def _asking(self) -> list[Rule]:
        return [
            rule for rule in self.rules
            if rule.kind == "event" and rule.watching and rule not in self._broken
        ]

    def _due(self) -> list[Rule]:
        """Those that are to be confirmed, then those that waited longest for their turn."""
        due = heapq.nsmallest(
            self._probes, self._asking(), key=lambda rule: (not rule.confirming, rule.turn)
        )
        for rule in due:
            self._turn += 1
            rule.turn = self._turn
        return due

    def _scores(
        self, due: list[Rule], probe: Probe, probe_many: Callable | None
    ) -> Iterator[tuple[Rule, float | None]]:
        """After a fault each rule of a pass is asked alone, to find the one at which it happens."""
        together = [rule for rule in due if probe_many and not rule.faults]
        if together:
            yield from zip(together, _pass(together, probe_many), strict=True)
        for rule in due:
            if rule not in together:
                yield rule, self._probe(rule, probe)

    def _probe(self, rule: Rule, probe: Probe) -> float | None:
        """A rule at which the model fails twice is set aside, so that it cannot stop everything."""
        try:
            score = probe(rule.condition)
        except TimeoutError:
            return None
        except Exception:
            rule.faults += 1
            if rule.faults < MAX_FAULTS:
                raise
            self._broken.append(rule)
            return None
        rule.faults = 0
        return score

    def _changed(self, rule: Rule, view: Any) -> float:
        return 1.0 if rule.seen is None else self._change(rule.seen, view)

    def _allowed(self, ripe: list[Rule], view: Any) -> list[Rule]:
        """Those that fire now, urgent ones first. The others stay ripe: their alert comes when
        there is room again, if it is still true."""
        fired = []
        for rule in sorted(ripe, key=lambda rule: rule.severity != "urgent"):
            if self._bucket.take():
                rule.fire()
                rule.seen = view if rule.only_if_changed else None
                fired.append(rule)
            elif not rule.held_back:
                rule.held_back = True
                self._suppressed += 1
        return fired

    # ------------------------------------------------------------ what is to be told

    def take_broken(self) -> list[Rule]:
        """The rules that had to be set aside since the last call; they are removed."""
        broken, self._broken = self._broken, []
        self.rules = [rule for rule in self.rules if rule not in broken]
        return broken

    def take_suppressed(self) -> int:
        """How many alerts were held back since the last call, because there were too many."""
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed

    @property
    def check_interval_s(self) -> float:
        """About how often each rule's turn comes, in seconds of the stream."""
        return round(self._frame_s * math.ceil(len(self._asking()) / self._probes), 3)

    def restart_clock(self) -> None:
        """Another stream begins at time 0."""
        self._t = None
        for rule in self.rules:
            rule.restart_clock()

    def view(self) -> list[dict[str, Any]]:
        """Every rule as the page shows it."""
        interval_s = self.check_interval_s
        return [rule.view(interval_s) for rule in self.rules]


def _key(rule: Rule) -> tuple:
    """Rules of one key are the same rule."""
    return rule.condition.casefold(), rule.every_s, rule.in_s


def _pass(rules: list[Rule], probe_many: Callable) -> Sequence[float | None]:
    try:
        scores = list(probe_many([rule.condition for rule in rules]))
        if len(scores) != len(rules):
            raise ValueError(f"{len(scores)} scores for {len(rules)} rules")
    except TimeoutError:
        return [None] * len(rules)
    except Exception:
        for rule in rules:
            rule.faults += 1
        raise
    return scores
