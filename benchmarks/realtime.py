"""Does it keep up? `python -m benchmarks.realtime [--quick]`

1. Every clip as fast as it goes, at 2 frames a second, with commentary and three watch rules:
   seconds of video per second of work (decoding included, loading not). Must be at least 1.
2. The joined streams at their own speed, a question every six seconds: milliseconds from the
   question to the first word, while frames keep coming in. The median must be at most 600.
Takes about seven minutes; measure while nothing else runs.
"""
import argparse
import sys
import time
from collections.abc import Sequence
from itertools import islice
from statistics import median

import numpy as np

from app import App
from benchmarks.common import (
    RULES,
    Clip,
    Outcome,
    Sheet,
    load_clips,
    main,
    parser_of,
    start,
    watched,
)
from streamassist.replay import Plan, replay, replay_real_time
from streamassist.types import Answer

LEAST_SPEED = 1.0
MOST_FIRST_WORD_MS = 600
ASK_EVERY_S = 6.0
QUESTIONS = ("What is happening now?", "What do you see?", "Is there a person?")
QUICK_CLIPS = 5
QUICK_ASKED_S = 30.0


def speed(app: App, clip: Clip) -> float:
    """Seconds of video per second of work."""
    plan, video, begun = Plan.parse([], list(RULES)), clip.open(), time.perf_counter()
    events = watched(replay(video, app.make_session, app.config, plan))
    elapsed = time.perf_counter() - begun
    return events[-1].frames_seen / app.config.engine.fps / elapsed


def first_words(app: App, clip: Clip, asked_s: float) -> tuple[list[float], int]:
    """(milliseconds of each question asked in the first `asked_s` seconds, frames dropped)."""
    times = np.arange(ASK_EVERY_S / 2, asked_s, ASK_EVERY_S)
    asks = [f"{t}:{QUESTIONS[i % len(QUESTIONS)]}" for i, t in enumerate(times)]
    plan = Plan.parse(asks, list(RULES))
    source = FirstSeconds(clip, asked_s)
    events = watched(replay_real_time(source, app.make_session, app.config, plan, app.clock))
    waits = [e.first_word_ms for e in events if isinstance(e, Answer) and e.first_word_ms]
    return waits, events[-1].frames_dropped


class FirstSeconds:
    """The beginning of a clip."""

    def __init__(self, clip: Clip, seconds: float):
        self.video, self.seconds = clip.open(), seconds

    def frames(self, fps: float):
        return islice(self.video.frames(fps), int(self.seconds * fps))


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    clips = load_clips(args.clips)
    streams = [c for c in clips if "scenes" in c.facts] or [max(clips, key=lambda c: c.duration_s)]
    if args.quick:
        clips, streams = clips[:: max(1, len(clips) // QUICK_CLIPS)], streams[:1]
    app = start(args, sheet)
    speed(app, min(clips, key=lambda c: c.duration_s))   # the first pass of all warms up
    factors = {}
    for clip in clips:
        factors[clip.name] = speed(app, clip)
        sheet.row(f"{clip.name:20} {clip.duration_s:6.1f} s  {factors[clip.name]:5.2f} x real time")
    waits, dropped = [], 0
    for stream in streams:
        asked_s = min(stream.duration_s, QUICK_ASKED_S if args.quick else stream.duration_s)
        more, lost = first_words(app, stream, asked_s)
        waits, dropped = waits + more, dropped + lost
        shown = f"median {median(more):.0f} ms" if more else "none was answered"
        sheet.row(f"{stream.name:20} {len(more)} questions, first word: {shown}")
    return judge(factors, waits, dropped)


def judge(factors: dict[str, float], waits: list[float], dropped: int) -> Outcome:
    slowest = min(factors, key=factors.get)
    figure = {
        "slowest_clip": slowest,
        "slowest_speed": round(factors[slowest], 2),
        "median_speed": round(median(factors.values()), 2),
        "clips": len(factors),
        "first_word_ms_median": round(median(waits)) if waits else None,
        "first_word_ms_worst": round(max(waits)) if waits else None,
        "questions": len(waits),
        "frames_dropped": dropped,
    }
    sentence = (
        f"slowest of {len(factors)} clips {factors[slowest]:.2f}x real time at 2 fps with "
        f"{len(RULES)} rules, first word {figure['first_word_ms_median']} ms median"
    )
    ok = factors[slowest] >= LEAST_SPEED and bool(waits) and median(waits) <= MOST_FIRST_WORD_MS
    return Outcome(sentence, figure, ok, {"fps": 2, "rules": len(RULES)})


def command(argv: Sequence[str] | None = None) -> int:
    return main(parser_of(__doc__), measure, argv)


if __name__ == "__main__":
    sys.exit(command())
