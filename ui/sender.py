"""What the page that films is asked to send: what the model uses, and less where that is too much.

After Artic (arXiv 2507.10510): encode for the model and not for the eye, give up rate before
detail, never queue. Its cheap part only: the whole picture has one quality, nothing is predicted.
Pure arithmetic on reports; `ui.stream` knows the sockets, `static/grabber.js` does what is asked.
"""
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from streamassist.config import EngineConfig
from streamassist.errors import StreamAssistError
from streamassist.types import Stats

FALLBACK_SIDE = 448           # pixels, for a model that does not say what it uses
SIDES = (240, 1080)           # 240 is 320 x 240: people can still be told apart in a thumbnail
RATES = (0.5, 30.0)           # pictures a second; the slowest still moves what other pages show
SLOWEST_AT_EASE = 1.0         # while nothing is wrong
# The model takes the first picture of each of its ticks. At its own rate that picture would be up
# to a whole tick old, and a little jitter would leave ticks empty; at twice the rate neither.
PER_TICK = 2.0
QUALITY = 0.8

RATE_STEPS = (1.0, 0.75, 0.5, 0.35, 0.25)   # of the rate at ease: given up first,
QUALITY_STEPS = (QUALITY, 0.65, 0.5)        # then this,
SIDE_STEPS = (1.0, 0.85, 0.7)               # and last the size

LATE_SHARE = 0.1              # of the pictures that were due; more is trouble on the way
SLOW_S, CALM_S = 0.5, 0.2     # round trip above the best one seen: trouble, and at ease
STUCK_S = 2.0                 # round trip at which two steps are taken at once
BEHIND_S = 1.0                # lag of the model at which it counts as behind (the gate's too)
LINK_PATIENCE_S, MODEL_PATIENCE_S = 2.0, 4.0
RECOVER_S, RECOVER_MOST_S = 8.0, 120.0

MOST = {"seconds": 10.0, "sent": 1e4, "same": 1e4, "late": 1e4, "bytes": 1e9, "round_trip_s": 60.0}
SLOW_LINK, BUSY_MODEL = "slow connection", "busy model"


@dataclass(frozen=True, slots=True)
class Plan:
    """side: the shorter side of a picture, pixels; fps: pictures a second that are looked at;
    quality: of the JPEG, 0..1; refresh_s: an unchanged picture is sent anew after this time, 0 for
    always; why: what holds it back, for the page, "" for nothing."""

    side: int
    fps: float
    quality: float = QUALITY
    refresh_s: float = 1.0
    why: str = ""

    def line(self) -> dict[str, Any]:
        return {"type": "send", **asdict(self)}


def best_plan(side: Any = None, fps: Any = None) -> Plan:
    """At ease, for a model that uses `side` pixels and `fps` pictures a second; what is no number
    is replaced, what is out of bounds is clamped."""
    side = FALLBACK_SIDE if not _is_number(side) else side
    fps = EngineConfig().fps if not _is_number(fps) else fps
    return Plan(int(_within(side, *SIDES)), _within(fps * PER_TICK, SLOWEST_AT_EASE, RATES[1]))


@dataclass(frozen=True, slots=True)
class Report:
    """What a page did in the last `seconds`: pictures sent, skipped as unchanged, dropped because
    they were late; bytes of those sent; mean time to their acknowledgement, None without one."""

    seconds: float
    sent: float = 0
    same: float = 0
    late: float = 0
    bytes: float = 0
    round_trip_s: float | None = None

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> "Report":
        """From a page's message; raises StreamAssistError for a number that is none."""
        given = {name: message.get(name, 0) for name in MOST}
        if message.get("round_trip_s") is None:
            del given["round_trip_s"]
        if not all(_is_number(value) and value >= 0 for value in given.values()):
            raise StreamAssistError("The page's count of its pictures is unreadable; reload it.")
        return cls(**{name: min(value, MOST[name]) for name, value in given.items()})

    @property
    def due(self) -> float:
        return self.sent + self.same + self.late


@dataclass(slots=True)
class Ladder:
    """A level from 0 (nothing held back) to `top`.

    Up after `patience_s` of trouble in a row, down after `wait_s` of calm. The wait doubles when a
    step down brought the trouble back, and halves when it did not, so that it never swings fast.
    """

    top: int
    patience_s: float
    level: int = 0
    wait_s: float = RECOVER_S
    _bad_s: float = field(default=0.0, init=False)
    _calm_s: float = field(default=0.0, init=False)
    _tried: bool = field(default=False, init=False)   # the last step was down

    def trouble(self, seconds: float, steps: int = 1) -> None:
        self._calm_s, self._bad_s = 0.0, self._bad_s + seconds
        if self._bad_s < self.patience_s:
            return
        if self._tried:
            self.wait_s = min(RECOVER_MOST_S, 2 * self.wait_s)
        self._bad_s, self._tried = 0.0, False
        self.level = min(self.top, self.level + steps)

    def calm(self, seconds: float) -> None:
        self._bad_s, self._calm_s = 0.0, self._calm_s + seconds
        if self._calm_s < self.wait_s:
            return
        if self._tried or not self.level:
            self.wait_s = max(RECOVER_S, self.wait_s / 2)
        self._calm_s, self._tried = 0.0, self.level > 0
        self.level = max(0, self.level - 1)

    def unsure(self) -> None:
        """Neither: what has begun does not go on."""
        self._bad_s = 0.0


class Sender:
    """For one connection: `best`, and less of it while the way or the model cannot keep up.

    A slow way takes all steps (rate, quality, size); a slow model only those of the rate, since it
    reads every picture at one cost. `fixed`: whatever is reported, `best` stays.
    """

    def __init__(self, best: Plan, fixed: bool = False):
        self.best, self.fixed, self.plan = best, fixed, best
        rates = len(RATE_STEPS) - 1
        self._link = Ladder(rates + len(QUALITY_STEPS) + len(SIDE_STEPS) - 2, LINK_PATIENCE_S)
        self._model = Ladder(rates, MODEL_PATIENCE_S)
        self._fastest_s = math.inf          # the best round trip: how far away the page is
        self._dropped: int | None = None    # frames that the model had dropped by the last report

    def heard(self, report: Report, stats: Stats | None) -> Plan | None:
        """The new plan when this report changes it."""
        if self.fixed:
            return None
        self._judge_link(report)
        self._judge_model(report.seconds, stats)
        before, self.plan = self.plan, self._planned()
        return self.plan if self.plan != before else None

    def _judge_link(self, report: Report) -> None:
        trip = report.round_trip_s
        if trip is not None:
            self._fastest_s = min(self._fastest_s, trip)
        above = 0.0 if trip is None else trip - self._fastest_s
        stuck = above > STUCK_S or report.late == report.due > 0
        if stuck or above > SLOW_S or report.late > LATE_SHARE * report.due:
            self._link.trouble(report.seconds, 2 if stuck else 1)
        elif above < CALM_S and not report.late and report.due:
            self._link.calm(report.seconds)
        else:
            self._link.unsure()

    def _judge_model(self, seconds: float, stats: Stats | None) -> None:
        if stats is None:
            return
        before, self._dropped = self._dropped, stats.frames_dropped
        dropped = before is not None and stats.frames_dropped > before
        if dropped or stats.lag_s > BEHIND_S:
            self._model.trouble(seconds)
        else:
            self._model.calm(seconds)

    def _planned(self) -> Plan:
        link, model, best = self._link.level, self._model.level, self.best
        rates, qualities = len(RATE_STEPS) - 1, len(QUALITY_STEPS) - 1
        rate = RATE_STEPS[min(rates, max(link, model))]
        quality = QUALITY_STEPS[min(qualities, max(0, link - rates))]
        side = best.side * SIDE_STEPS[max(0, link - rates - qualities)]
        why = "" if not link and not model else SLOW_LINK if link >= model else BUSY_MODEL
        return Plan(
            max(SIDES[0], round(side)), max(RATES[0], round(best.fps * rate, 2)),
            min(best.quality, quality), best.refresh_s, why,
        )


def _is_number(value: Any) -> bool:
    """Whether it is a finite number; JSON's true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
