"""Does an answer wait longer as the stream grows old? `python -m benchmarks.latency [--quick]`

From a question to its first token when the stream is a minute, an hour and eight hours old, about
now and about the past: medians over several questions, the cache and what is beside it at that age.
The stream is the annotated clips in a loop, a frame every `--step` seconds of stream time; the
encoder looks at every clip once. The last age may take half as long again as the first one at which
memory holds something beside the cache, no more: before that there is nothing to look back to.
`--model nano,Qwen2.5-VL-7B`: also shapes with random weights, on a GPU (benchmarks/shapes.py).
"""
import argparse
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import Outcome, Sheet, load_clips, main, parser_of, start
from benchmarks.looks import Looks, Watching
from benchmarks.shape_runs import is_flat, with_shapes
from streamassist.config import make_method
from streamassist.engine import Engine
from streamassist.memory import METHODS
from streamassist.paths import cache_dir
from streamassist.types import Frame

AGES_S, QUICK_AGES_S = (60.0, 3600.0, 28800.0), (120.0, 300.0, 900.0)
QUESTIONS = {
    "now": ("What is happening?", "Is there a person?", "What do you see now?"),
    "past": ("Was there a dog earlier?", "What happened before?", "Did a car appear earlier?"),
}
NOTHING = np.empty((0, 0, 3), np.uint8)


def first_token_ms(engine: Engine, question: str, t: float) -> float:
    begun = time.perf_counter()
    turn = engine.ask(question, t)
    int(turn.logits.argmax())   # waits for a GPU
    engine.close()
    return 1000 * (time.perf_counter() - begun)


def at_age(engine: Engine, t: float, rounds: int) -> dict[str, Any]:
    row: dict[str, Any] = {"age_s": t, "cache_mb": engine.cache.bytes / 1e6,
                           "beside_mb": sum(engine.memory.bytes().values()) / 1e6}
    for kind, questions in QUESTIONS.items():
        asked = [q for _ in range(rounds) for q in questions]
        row[kind] = median(first_token_ms(engine, q, t) for q in asked)
    return row


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    app = start(args, sheet)
    ages = QUICK_AGES_S if args.quick else AGES_S
    clips = {clip.name: clip for clip in load_clips(args.clips)[: 3 if args.quick else None]}
    looks = Looks(
        app.model, lambda name: [image for image, _ in clips[name].open().frames(1.0)],
        cache_dir() / "tokens" / "1.0fps",
    )
    looks.prepare(clips, lambda _: True)
    shots = [(name, i) for name, clip in clips.items() for i in range(int(clip.duration_s))]
    loop = cycle(shots)
    shown = [next(loop) for _ in range(int(ages[-1] / args.step) + 1)]
    memory = make_method("memory", args.memory, METHODS)
    engine = Engine(Watching(app.model, looks, shown), memory, app.config.engine)
    rows, due = [], list(ages)
    for tick in range(len(shown)):
        engine.observe(Frame(NOTHING, tick * args.step, tick))
        if tick * args.step >= due[0]:
            rows.append(at_age(engine, due.pop(0), 1 if args.quick else 5))
            sheet.row(line(rows[-1]))
            if not due:
                break
    return judged(rows)


def line(row: dict[str, Any]) -> str:
    return (f"{row['age_s'] / 60:.0f} minutes: now {row['now']:.0f} ms, past {row['past']:.0f} ms; "
            f"cache {row['cache_mb']:.1f} MB, beside it {row['beside_mb']:.1f} MB")


def judged(rows: Sequence[dict[str, Any]]) -> Outcome:
    first, last = rows[0], rows[-1]
    figure = "first token, " + "; ".join(
        f"{kind} {first[kind]:.0f} ms after {first['age_s'] / 60:.0f} minutes, "
        f"{last[kind]:.0f} after {last['age_s'] / 60:.0f}" for kind in QUESTIONS
    )
    return Outcome(figure, {"rows": list(rows)}, is_flat(rows))


def command(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--memory", default="recall")
    parser.add_argument("--step", type=float, default=4.0, help="seconds of stream a frame")
    return main(parser, with_shapes("latency", measure), argv)


if __name__ == "__main__":
    sys.exit(command())
