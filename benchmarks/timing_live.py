"""The whole assistant beside staged events: what many rules cost, how late they are, how quiet it
is when nothing happens."""
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from app import App, compose
from benchmarks.common import Sheet
from benchmarks.memory import clock
from benchmarks.staged import NOTICED_S
from benchmarks.staged import Staged as Camera
from benchmarks.timing_grid import Recorded
from benchmarks.timing_streams import Staged, Watch
from models.nano.questions import GROUPS, with_article
from streamassist.clock import RealClock
from streamassist.config import Config
from streamassist.replay import Plan, replay
from streamassist.session import Session
from streamassist.types import AddRule, Alert, Configure, Event, Frame, Remark, RemoveRule, VideoLLM

ABSENT = (
    "whale penguin helicopter tractor submarine castle waterfall volcano camel kangaroo lion tiger "
    "monkey panda fox wolf deer rabbit squirrel owl eagle parrot duck swan flamingo turtle "
    "crocodile snake frog spider butterfly bee shark dolphin crab violin trumpet harp telescope "
    "microscope rocket tank parachute windmill lighthouse tent campfire snowman cactus"
).split()
RULES = ("Tell me when a dog appears.", "Tell me when a train appears.",
         "Tell me when a bicycle appears.", "Tell me when a bed appears.",
         "Tell me when a boat appears.")


def started(model: VideoLLM, **settings: Any) -> App:
    return compose(model, "", Config(**settings), RealClock())


# ---------------------------------------------------------------- nothing happens

def quiet(model: VideoLLM, part: Recorded, seconds: float, sheet: Sheet) -> dict[str, Any]:
    """A still picture as an unsteady, noisy camera sees it, with the default policy and five rules
    for what is not there."""
    things = {w.thing for s in part.streams for w in s.watches}
    file = next(f for s in part.streams for _, _, f in s.pictures if part.reader.shows[f] & things)
    picture = part.reader(file)[0]
    app = started(model)
    plan = Plan.parse([], [rule for rule in RULES if not named_in(rule, part.reader.shows[file])])
    events = list(replay(Camera([picture], seconds), app.make_session, app.config, plan))
    later = [e for e in events if isinstance(e, Remark) and e.t > NOTICED_S]
    alerts = [e for e in events if isinstance(e, Alert)]
    sheet.row(f"still picture, {seconds:.0f} s: {len(later)} remarks, {len(alerts)} alerts of "
              f"{len(plan.commands)} rules")
    return {"seconds": seconds, "remarks": len(later), "rules": len(plan.commands),
            "remarks_per_10_min": 600 * len(later) / seconds,
            "alerts_per_hour": 3600 * len(alerts) / seconds}


def named_in(rule: str, shows: frozenset[int]) -> bool:
    return any(word in rule.lower().split() for thing in shows for word in GROUPS[thing])


# ---------------------------------------------------------------- many rules

def costs(
    model: VideoLLM, part: Recorded, counts: Sequence[int], ticks: int, sheet: Sheet
) -> list[dict[str, Any]]:
    """Milliseconds a frame and the delay of the rule that matters, beside so many others."""
    rows: list[dict[str, Any]] = []
    stream = part.streams[0]
    for count in counts:
        row = with_rules(model, part, stream, count, min(ticks, len(stream.shots)))
        row["ratio"] = row["frame_ms"] / rows[0]["frame_ms"] if rows else 1.0
        rows.append(row)
        sheet.row(f"{count:3} rules: {row['frame_ms']:.0f} ms a frame ({row['ratio']:.2f} times), "
                  f"checked every {row['every_s']:.1f} s, delay {shown(row['delay_s'])}, "
                  f"{row['found']} of {row['events']}")
    return rows


def shown(delay_s: float | None) -> str:
    return "-" if delay_s is None else f"{delay_s:.1f} s"


def with_rules(
    model: VideoLLM, part: Recorded, stream: Staged, count: int, ticks: int
) -> dict[str, Any]:
    events: list[Event] = []
    session = started(model, memory="last_n").make_session(events.append)
    session.submit(Configure(commentary=False), 0.0)
    for text in fillers(count - 1):
        session.submit(AddRule(text), 0.0)
    spent, shown_at = 0.0, {w.start: w for w in reversed(stream.watches)}
    now: Watch | None = None
    waited = [w for w in shown_at.values() if w.end < ticks / stream.fps]
    for tick, shot in enumerate(stream.shots[:ticks]):
        t = tick / stream.fps
        now = take_turn(session, stream, now, t)
        frame = Frame(part.reader.whole(shot), t, tick)
        begun = clock()
        session.observe(frame)
        spent += clock() - begun
    delays = list(delays_of(events, waited))
    return {"rules": count, "frame_ms": 1000 * spent / ticks,
            "every_s": session.rules.check_interval_s, "events": len(waited),
            "found": len(delays), "delay_s": float(np.median(delays)) if delays else None}


def take_turn(session: Session, stream: Staged, now: Watch | None, t: float) -> Watch | None:
    """Keep the rule of the next picture in force, and no other that matters."""
    wanted = next((w for w in stream.in_force(t) if t < w.end), None)
    if wanted is now:
        return now
    if now is not None:
        session.submit(RemoveRule(session.rules.rules[-1].id), t)
    if wanted is not None:
        session.submit(AddRule(f"Tell me when {wanted.condition.lower()}"), t)
    return wanted


def delays_of(events: Sequence[Event], watches: Sequence[Watch]) -> Iterator[float]:
    for w in watches:
        times = [e.t - w.start for e in events if isinstance(e, Alert)
                 and e.text.lower() == w.condition.lower() and w.start <= e.t < w.end]
        if times:
            yield times[0]


def fillers(count: int) -> list[str]:
    """Rules for what neither pictures nor footage show."""
    return [f"Tell me when {with_article(name)} appears" for name in ABSENT[:count]]
