"""Does memory stay flat? `python -m benchmarks.soak [--minutes 30] [--memory last_n ...]`

All clips in a loop, as one stream of so many minutes, as fast as it goes, with commentary, three
watch rules and a question every minute; once for each memory policy. After the first quarter of
the time neither the cache nor the process may grow. Thumbnails (under their own quota of 32 MiB)
are counted apart. The minutes are minutes of video: nano needs about a third of them on 2 cores.
"""
import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median

import numpy as np

from app import App
from benchmarks.common import RULES, Clip, Outcome, Sheet, load_clips, main, parser_of, start
from streamassist.errors import StreamAssistError
from streamassist.replay import Plan, replay
from streamassist.session import Session
from streamassist.types import Event, Failed, Stats

MOST_GROWTH_MB = 16.0
QUICK_MINUTES = 2.0
ROWS = 12   # printed for each policy


@dataclass(frozen=True)
class Sample:
    """The state at one moment of the stream; `rss_mb` without the thumbnails."""

    t: float
    cache_tokens: int
    cache_bytes: int
    rss_mb: float


class Loop:
    """Clips one after the other, again and again, as one stream."""

    def __init__(self, clips: Sequence[Clip], seconds: float):
        self.clips, self.seconds = clips, seconds

    def frames(self, fps: float) -> Iterator[tuple[np.ndarray, float]]:
        count = 0
        for clip in cycle(self.clips):
            for image, _ in clip.open().frames(fps):
                if count >= self.seconds * fps:
                    return
                yield image, count / fps
                count += 1


def rss_mb() -> float:
    """Memory of this process that is in RAM, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(app: App, clips: Sequence[Clip], seconds: float, rules: int) -> list[Sample]:
    asks = [f"{60.0 * i + 30}:What is happening?" for i in range(int(seconds // 60))]
    plan, sessions, samples = Plan.parse(asks, list(RULES[:rules])), [], []

    def make_session(emit: Callable[[Event], None]) -> Session:
        sessions.append(app.make_session(emit))
        return sessions[-1]

    for event in replay(Loop(clips, seconds), make_session, app.config, plan):
        if isinstance(event, Failed):
            raise StreamAssistError(f"The model failed during the soak: {event.text}")
        if isinstance(event, Stats):
            gc.collect()
            own = rss_mb() - sessions[0].archive.bytes / 2**20
            samples.append(Sample(event.t, event.cache_tokens, event.cache_bytes, own))
    return samples


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """What the last quarter has more than the second; the first is for warming up."""
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter] or samples[:1], samples[-quarter:]
    return {
        "cache_tokens": max(s.cache_tokens for s in late) - max(s.cache_tokens for s in early),
        "cache_bytes": max(s.cache_bytes for s in late) - max(s.cache_bytes for s in early),
        "rss_mb": round(median(s.rss_mb for s in late) - median(s.rss_mb for s in early), 1),
    }


def is_flat(grown: dict[str, float]) -> bool:
    return grown["cache_tokens"] <= 0 and grown["rss_mb"] <= MOST_GROWTH_MB


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    clips = load_clips(args.clips)
    minutes = args.minutes or (QUICK_MINUTES if args.quick else 30.0)
    figure = {}
    for policy in args.memory:
        app = start(args, sheet, memory=policy, response=args.response)
        samples = soak(app, clips, 60 * minutes, args.rules)
        for s in samples[:: max(1, len(samples) // ROWS)]:
            sheet.row(f"{policy:16} {s.t:7.0f} s {s.cache_tokens:5d} tokens "
                      f"{s.cache_bytes / 2**20:6.1f} MiB cache, process {s.rss_mb:7.1f} MiB")
        figure[policy] = {
            "grown": growth(samples),
            "most_tokens": max(s.cache_tokens for s in samples),
            "most_cache_bytes": max(s.cache_bytes for s in samples),
            "rss_mb_at_end": round(samples[-1].rss_mb, 1),
        }
    ok = all(is_flat(row["grown"]) for row in figure.values())
    grown = ", ".join(
        f"{name} {row['grown']['cache_tokens']:+d} tokens and {row['grown']['rss_mb']:+.1f} MiB"
        for name, row in figure.items()
    )
    sentence = f"growth over the second half of {minutes:g} minutes: {grown}"
    return Outcome(sentence, figure, ok, {"minutes": minutes, "clips": len(clips)})


def command(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--minutes", type=float, help="of video, 30 unless --quick")
    parser.add_argument("--response", default="change_gate", help="on_query makes no remarks")
    parser.add_argument("--rules", type=int, default=len(RULES), help="watch rules, at most 3")
    parser.add_argument("--memory", nargs="+", default=["last_n", "attention_sinks"])
    return main(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(command())
