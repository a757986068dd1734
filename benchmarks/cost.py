"""What does a new frame cost? `python -m benchmarks.cost [--quick]`

Ours: encode the frame and prefill it onto the cache. Beside it, in turns in the same run, what is
done without a streaming cache whenever an answer may be wanted: encode and prefill the window of
the last 64 frames again; prefill it again from kept vision features; encode and prefill the last
four frames. Medians in milliseconds, ratios to ours; the window must cost ten times as much.
`--model nano,Qwen2.5-VL-7B`: also shapes with random weights, on a GPU (benchmarks/shapes.py).
"""
import argparse
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

from benchmarks.common import Outcome, Sheet, load_clips, main, parser_of, start
from benchmarks.shape_runs import CHEAPER, LAST, WINDOW, with_shapes
from benchmarks.shape_stream import encoded, prefilled
from streamassist.config import EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.memory import METHODS
from streamassist.types import Frame

ROUNDS, QUICK_ROUNDS = 12, 3


def ways(engine: Engine, frames: Sequence[Frame]) -> dict[str, Callable[[int], object]]:
    """Name -> what is done when frame number n has come."""
    model, features = engine.model, encoded(engine.model, frames)

    def window(n: int) -> Sequence[Frame]:
        return frames[n + 1 - WINDOW : n + 1]

    return {
        "ours": lambda n: engine.observe(frames[n]),
        "window sent again": lambda n: prefilled(model, encoded(model, window(n))),
        "window from features": lambda n: prefilled(model, features[n + 1 - WINDOW : n + 1]),
        "last four": lambda n: prefilled(model, encoded(model, frames[n + 1 - LAST : n + 1])),
    }


def timed(action: Callable[[int], object], n: int) -> float:
    begun = time.perf_counter()
    action(n)
    return 1000 * (time.perf_counter() - begun)


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    app = start(args, sheet)
    rounds = QUICK_ROUNDS if args.quick else ROUNDS
    clip = max(load_clips(args.clips), key=lambda c: c.duration_s)
    shots = []
    for image, t in clip.open().frames(4.0):
        shots.append(Frame(image, t, len(shots)))
        if len(shots) == WINDOW + rounds:
            break
    engine = Engine(app.model, make_method("memory", args.memory, METHODS), EngineConfig())
    for frame in shots[:WINDOW]:
        engine.observe(frame)
    actions = ways(engine, shots)
    spent: dict[str, list[float]] = {name: [] for name in actions}
    for n in range(WINDOW, len(shots)):
        for name, action in actions.items():
            spent[name].append(timed(action, n))
    return told({name: median(times) for name, times in spent.items()}, sheet)


def told(ms: dict[str, float], sheet: Sheet) -> Outcome:
    sheet.row("| what is done for a new frame | ms | times ours |")
    sheet.row("| --- | --- | --- |")
    for name, value in ms.items():
        sheet.row(f"| {name} | {value:.1f} | {value / ms['ours']:.1f} |")
    times = ms["window sent again"] / ms["ours"]
    figure = (f"a frame costs {ms['ours']:.0f} ms, {times:.0f} times less than sending the window "
              f"of {WINDOW} again")
    return Outcome(figure, {"ms": ms}, times >= CHEAPER)


def command(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--memory", default="recall")
    return main(parser, with_shapes("cost", measure), argv)


if __name__ == "__main__":
    sys.exit(command())
