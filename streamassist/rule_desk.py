"""The user's side of watch rules: setting, changing and trying them, and telling what they did."""
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from streamassist.archive import Archive
from streamassist.clock import Clock
from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.frames import RawFrame
from streamassist.rules import Rule, RuleBook, spaced, would_have_fired
from streamassist.rules.store import RuleStore
from streamassist.timing import Timing
from streamassist.types import (
    AddRule,
    Alert,
    EditRule,
    Event,
    Notice,
    Role,
    Rules,
    RuleTried,
    TryRule,
)

MOST_PICTURES = 60   # looked at again when a rule is tried
MOST_TRIALS = 4      # that wait

Emit = Callable[..., None]


@dataclass
class Trial:
    """A rule being tried on pictures that are still held: `left` to be looked at."""

    text: str   # as it was asked
    rule: Rule
    since: float
    t: float
    left: deque[tuple[int, float]]
    looked: list[tuple[float, int, float]] = field(default_factory=list)   # t, frame, score


class RuleDesk:
    """`store` keeps the rules over a restart, None: they end with the program."""

    def __init__(
        self, timing: Timing, archive: Archive, clock: Clock, emit: Emit,
        store: RuleStore | None = None,
    ):
        self.timing, self.archive, self.clock, self.emit = timing, archive, clock, emit
        self.store = store
        self._trials: deque[Trial] = deque()
        self._told = ""   # the last fault of the store
        self._untold: list[str] = []   # until the first frame
        if store:
            self._restore(store)

    def _restore(self, store: RuleStore) -> None:
        lost = self.rules.load(store.load())
        if store.fault:
            self._untold.append(store.fault)
        if lost:
            self._untold.append(f"{lost} watch rules could not be restored; set them again.")

    @property
    def rules(self) -> RuleBook:
        return self.timing.rules

    # ------------------------------------------------------------ what the user asks

    def add(self, command: AddRule, t: float) -> None:
        rule = self.rules.add(command.text, t if command.pts is None else command.pts)
        self.emit(Notice, t, text=rule.sentence())
        self._changed(t)

    def edit(self, command: EditRule, t: float) -> None:
        self.rules.edit(command.rule_id, command.changes, command.snooze_s, t)
        self._changed(t)

    def remove(self, rule_id: int, t: float) -> None:
        self.rules.remove(rule_id)
        self.timing.goals.drop(rule_id)
        self._changed(t)

    def clear(self, t: float) -> None:
        """Remove all, and erase them from disk."""
        for rule in list(self.rules.rules):
            self.rules.remove(rule.id)
        if self.store:
            self.store.erase()
            self._tell_fault(t)
        self.emit(Rules, t, rules=[])

    def rate(self, told: Event | None, good: bool, t: float) -> None:
        """A thumb for an alert."""
        rule = next((r for r in self.rules.rules if r.id == getattr(told, "rule_id", None)), None)
        if rule is None:
            raise StreamAssistError("There is no remark or rule of that time any more to be rated.")
        self.emit(Notice, t, text=self.timing.rate_rule(rule, good))
        self._changed(t)

    def _changed(self, t: float) -> None:
        self._save(t)
        self.emit(Rules, t, rules=self.rules.view())

    def _save(self, t: float) -> None:
        if self.store:
            self.store.save(self.rules.rules)
            self._tell_fault(t)

    def _tell_fault(self, t: float) -> None:
        """Each once in a row; what cannot be saved is still watched for."""
        fault = self.store.fault if self.store else ""
        if fault and fault != self._told:
            self.emit(Notice, t, text=fault)
        self._told = fault

    # ------------------------------------------------------------ on the past

    @property
    def trying(self) -> bool:
        return bool(self._trials)

    def try_on_past(self, command: TryRule, t: float) -> None:
        """Begin to look at the pictures of the last minutes; `step` goes on with it."""
        if not command.minutes > 0:
            raise StreamAssistError("Say how many minutes to look back: a number above 0.")
        if len(self._trials) >= MOST_TRIALS:
            raise StreamAssistError("Several rules are being tried already; give me a moment.")
        usual = {**self.rules.usual, "dwell_s": 0.0}   # the pictures are too far apart to confirm
        rule = RuleBook(usual=usual).add(command.text, t)
        would_have_fired(rule, ())   # refuses a reminder, which has no past
        since = max(0.0, t - 60 * command.minutes)
        frames = spaced(self.archive.frames(since), MOST_PICTURES)
        self._trials.append(Trial(command.text, rule, since, t, deque(frames)))

    def step(self, engine: Engine) -> None:
        """Look at one picture."""
        trial = self._trials[0]
        while trial.left:
            frame, pts = trial.left.popleft()
            if jpeg := self.archive.get(frame):
                trial.looked.append((pts, frame, look_again(engine, jpeg, frame, pts, trial.rule)))
                return
        self._trials.popleft()
        self.emit(
            RuleTried, trial.t, text=trial.text, condition=trial.rule.condition,
            since=round(trial.since, 3), checked=len(trial.looked),
            times=would_have_fired(trial.rule, trial.looked),
        )

    def stop_trying(self) -> None:
        self._trials.clear()

    # ------------------------------------------------------------ what they did

    def fired(self, rule: Rule, t: float, frame: int) -> None:
        seen = {"t": round(t, 3), "frame": frame}
        self.emit(
            Alert, t, rule=rule.text, rule_t=rule.since, text=rule.condition, rule_id=rule.id,
            score=round(rule.last_score, 3), evidence=[seen] if rule.kind == "event" else [],
            severity=rule.severity, actions=list(rule.actions),
        )
        if rule.once:
            self._save(t)   # it is done, also after a restart

    def tell(self, t: float) -> None:
        """What is to be said of rules beside their alerts."""
        while self._untold:
            self.emit(Notice, t, text=self._untold.pop(0))
        for rule in self.rules.take_broken():
            self.emit(Notice, t, text=f'The rule "{rule.text}" cannot be checked; removed.')
            self._changed(t)
        if held := self.rules.take_suppressed():
            self.emit(Notice, t, text=f"{held} more alerts came within a minute and were held "
                                      "back; make the rules narrower, or give them a longer wait.")


def look_again(engine: Engine, jpeg: bytes, number: int, pts: float, rule: Rule) -> float:
    """How likely the rule's condition holds in a picture from the archive, looked at alone."""
    model = engine.model
    cache = model.new_cache()
    model.forward(model.text_chunk(model.prompt_ids(), 0, Role.PROMPT, pts), cache)
    cache.pin()
    (tokens,) = model.encode([RawFrame(pts, jpeg, number).decode()])
    model.forward(model.frame_chunk(tokens, cache.next_position), cache)
    return model.probe(rule.condition, cache, pts)
