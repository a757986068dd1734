"""Does memory stay flat? `python -m benchmarks.soak [--minutes 30] [--memory last_n ...]`

All clips in a loop, as one stream of so many minutes, as fast as it goes, with commentary, three
watch rules and a question every minute, about now and about the past in turns; once for each memory
policy. After the first quarter of the time neither the cache nor the process may grow, nor the time
from a question to the first token. Thumbnails (under their own quota of 32 MiB) are counted apart.
The minutes are minutes of video: nano needs about a third of them on 2 cores at 2 frames a second.
"""
import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from app import App
from benchmarks.common import RULES, Clip, Outcome, Sheet, load_clips, main, parser_of, start
from streamassist.config import EngineConfig
from streamassist.engine import Engine, Turn
from streamassist.errors import StreamAssistError
from streamassist.frames import decode_jpeg, jpeg
from streamassist.replay import Plan, replay
from streamassist.session import Session
from streamassist.types import Event, Failed, Stats

MOST_GROWTH_MB = 16.0
MOST_SLOWER = 1.5   # a question at the end against one in the second quarter
QUESTIONS = ("What is happening?", "Was there a dog earlier?")
QUICK_MINUTES = 2.0
ROWS = 12   # printed for each policy


@dataclass(frozen=True)
class Sample:
    """The state at one moment of the stream; `rss_mb` without the thumbnails."""

    t: float
    cache_tokens: int
    cache_bytes: int
    rss_mb: float
    ask_ms: float | None   # the last question about the past, up to the first token


class Stopwatch:
    """Times an engine's `ask`, of questions about the past."""

    def __init__(self, engine: Engine):
        self.ms: float | None = None
        self._ask = engine.ask
        engine.ask = self

    def __call__(self, question: str, *args: Any, **kwargs: Any) -> Turn:
        begun = time.perf_counter()
        turn = self._ask(question, *args, **kwargs)
        if question == QUESTIONS[1]:
            self.ms = 1000 * (time.perf_counter() - begun)
        return turn


class Loop:
    """Clips one after the other, again and again, as one stream. After the first round the frames
    come from JPEGs: reading the clips anew would take longer than watching them."""

    def __init__(self, clips: Sequence[Clip], seconds: float):
        self.clips, self.seconds = clips, seconds

    def frames(self, fps: float) -> Iterator[tuple[np.ndarray, float]]:
        for count, image in enumerate(self._images(fps)):
            if count >= self.seconds * fps:
                return
            yield image, count / fps

    def _images(self, fps: float) -> Iterator[np.ndarray]:
        kept: list[bytes] = []
        for clip in self.clips:
            for image, _ in clip.open().frames(fps):
                kept.append(jpeg(image, max(image.shape)))
                yield image
        yield from (decode_jpeg(data) for data in cycle(kept))


def rss_mb() -> float:
    """Memory of this process that is in RAM, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(app: App, clips: Sequence[Clip], seconds: float, rules: int) -> list[Sample]:
    asks = [f"{60.0 * i + 30}:{QUESTIONS[i % 2]}" for i in range(int(seconds // 60))]
    plan, sessions, samples = Plan.parse(asks, list(RULES[:rules])), [], []
    watches: list[Stopwatch] = []

    def make_session(emit: Callable[[Event], None]) -> Session:
        sessions.append(app.make_session(emit))
        watches.append(Stopwatch(sessions[-1].engine))
        return sessions[-1]

    for event in replay(Loop(clips, seconds), make_session, app.config, plan):
        if isinstance(event, Failed):
            raise StreamAssistError(f"The model failed during the soak: {event.text}")
        if isinstance(event, Stats):
            gc.collect()
            own = rss_mb() - sessions[0].archive.bytes / 2**20
            samples.append(
                Sample(event.t, event.cache_tokens, event.cache_bytes, own, watches[0].ms)
            )
    return samples


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """What the last quarter has more than the second; the first is for warming up."""
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter] or samples[:1], samples[-quarter:]
    return {
        "cache_tokens": max(s.cache_tokens for s in late) - max(s.cache_tokens for s in early),
        "cache_bytes": max(s.cache_bytes for s in late) - max(s.cache_bytes for s in early),
        "rss_mb": round(median(s.rss_mb for s in late) - median(s.rss_mb for s in early), 1),
        "ask_times": round(ask_ms(late) / ask_ms(early), 2),
    }


def ask_ms(samples: Sequence[Sample]) -> float:
    """Median; 1 where nothing was asked."""
    times = [s.ask_ms for s in samples if s.ask_ms is not None]
    return median(times) if times else 1.0


def is_flat(grown: dict[str, float]) -> bool:
    return (grown["cache_tokens"] <= 0 and grown["rss_mb"] <= MOST_GROWTH_MB
            and grown["ask_times"] <= MOST_SLOWER)


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    clips = load_clips(args.clips)
    minutes = args.minutes or (QUICK_MINUTES if args.quick else 30.0)
    figure = {}
    for policy in args.memory:
        engine = EngineConfig(fps=args.fps)
        app = start(args, sheet, memory=policy, response=args.response, engine=engine)
        samples = soak(app, clips, 60 * minutes, args.rules)
        for s in samples[:: max(1, len(samples) // ROWS)]:
            sheet.row(f"{policy:16} {s.t:7.0f} s {s.cache_tokens:5d} tokens "
                      f"{s.cache_bytes / 2**20:6.1f} MiB cache, process {s.rss_mb:7.1f} MiB, "
                      f"question {s.ask_ms or 0:5.0f} ms")
        figure[policy] = {
            "grown": growth(samples),
            "most_tokens": max(s.cache_tokens for s in samples),
            "most_cache_bytes": max(s.cache_bytes for s in samples),
            "rss_mb_at_end": round(samples[-1].rss_mb, 1),
            "ask_ms_at_end": round(ask_ms(samples[-max(1, len(samples) // 4) :]), 1),
        }
    ok = all(is_flat(row["grown"]) for row in figure.values())
    grown = ", ".join(
        f"{name} {row['grown']['cache_tokens']:+d} tokens, {row['grown']['rss_mb']:+.1f} MiB, "
        f"questions {row['grown']['ask_times']:.2f} times as long"
        for name, row in figure.items()
    )
    sentence = f"growth over the second half of {minutes:g} minutes: {grown}"
    return Outcome(sentence, figure, ok, {"minutes": minutes, "fps": args.fps, "clips": len(clips)})


def command(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--minutes", type=float, help="of video, 30 unless --quick")
    parser.add_argument("--response", default="change_gate", help="on_query makes no remarks")
    parser.add_argument("--fps", type=float, default=2.0, help="frames a second of video")
    parser.add_argument("--rules", type=int, default=len(RULES), help="watch rules, at most 3")
    parser.add_argument("--memory", nargs="+", default=["last_n", "attention_sinks"])
    return main(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(command())
