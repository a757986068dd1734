"""Policies decide over recorded signals, through the product's own gate and rules."""
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from benchmarks.timing_record import Scene
from benchmarks.timing_streams import Staged
from streamassist.config import GateConfig
from streamassist.response import GoalPolicy, ResponsePolicy
from streamassist.response.gate import SPEAK, Gate
from streamassist.rules import Rule
from streamassist.types import FrameSignals

# The scene changes ten times a minute here: so much may be said, by all.
GATE = GateConfig(refill_s=5.0)
TOKENS = 8           # decoded between two frames, as in the product


@dataclass(frozen=True)
class Said:
    """A remark about the frame `tick`, out at `t`."""

    t: float
    tick: int
    text: str


@dataclass
class Always(ResponsePolicy):
    """A control: as much as the gate lets pass."""

    def score(self, signals: FrameSignals) -> float:
        return 1.0


@dataclass
class Chance(ResponsePolicy):
    """A control: speaks at random, `share` of the frames that it might."""

    share: float = 0.1
    seed: int = 0
    _draw: random.Random = field(default_factory=random.Random, init=False, repr=False)

    def __post_init__(self) -> None:
        self._draw.seed(self.seed)

    def score(self, signals: FrameSignals) -> float:
        return float(self._draw.random() < self.share)


def play(
    policy: ResponsePolicy, hi: float, stream: Staged, signals: Sequence[FrameSignals],
    scene: Scene, config: GateConfig = GATE,
) -> list[Said]:
    """What it says, and when the whole remark is out, as in a replay of the product."""
    gate, said = Gate(config, hi), []
    spoken, supposed = None, 0    # ticks: last spoken about; whose remark is the hypothesis
    due: tuple[int, int] | None = None    # a remark: about which tick, out at which
    for tick, now in enumerate(signals):
        now = replace(now, novelty=scene.novelty(tick, spoken),
                      assistant_speaking=due is not None)
        if "ppl_ratio" in policy.wants(now):
            now = replace(now, ppl_ratio=scene.surprise(tick, supposed))
        decision = gate.decide(now, policy.score(now))
        if decision.action == SPEAK and due is None:
            due = tick, tick + len(scene.told(tick)) // TOKENS
        if due is not None and tick >= due[1]:
            seen, due = due[0], None
            text = scene.text(seen)
            stale = gate.stale(signals[seen].t, now.t)
            spoken = spoken if stale else seen
            if not text or stale or gate.repeats(text):
                gate.withheld()
                continue
            gate.spoken(text, now.t)
            policy.on_spoken(signals[seen].t)
            supposed = seen
            said.append(Said(now.t, seen, text))
    return said


@dataclass(frozen=True)
class Alerted:
    watch: int
    t: float


def watch(
    goals: GoalPolicy, threshold: float, stream: Staged, signals: Sequence[FrameSignals],
    **settings: float,
) -> list[Alerted]:
    """The alerts of all rules of a stream; a rule is checked at each frame that has its signal."""
    rules = {
        w.id: Rule(w.id, w.condition, w.since, threshold=threshold, release=threshold / 2,
                   **settings)
        for w in stream.watches
    }
    alerts = []
    for now in signals:
        for w in stream.in_force(now.t):
            wanted = goals.wants(w.id, now)
            if all(w.id in getattr(now, name) for name in wanted):
                if rules[w.id].check(goals.score(w.id, now), now.t):
                    alerts.append(Alerted(w.id, now.t))
    return alerts
