"""How many frames a second go in? `python -m benchmarks.ingest [--quick] [--tokens NAME]`

Clips from the file to the cache as fast as they go, with the default memory: frames a second, and
of each frame the milliseconds spent in the encoder, the reducer, the language model, the memory and
the rest (above all decoding that was waited for). Decoding runs ahead in threads of its own; beside
it how long decoding alone takes in one pass and in parts. Six frames a second must go in.
`--together 8` encodes as many frames in one pass, ahead of their time.
`--model nano,Qwen2.5-VL-7B`: also shapes with random weights, on a GPU (benchmarks/shapes.py).
"""
import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks.common import Clip, Outcome, Sheet, load_clips, main, parser_of, start
from benchmarks.shape_runs import LEAST_FPS, with_shapes
from benchmarks.stages import stages_of
from models.overlap import EncodeAhead
from streamassist.config import EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.ingest import ahead, frames_in_parts, in_groups
from streamassist.memory import METHODS as MEMORY
from streamassist.tokens import METHODS as TOKENS
from streamassist.types import Frame

FPS, QUICK_CLIPS = 8.0, 3


def pictures(clips: Sequence[Clip], fps: float) -> Iterator[Frame]:
    """All clips one behind the other, as one stream."""
    t, index = 0.0, 0
    for clip in clips:
        for image, _ in frames_in_parts(clip.open(), fps):
            yield Frame(image, t, index)
            t, index = t + 1 / fps, index + 1


def decoding_s(clips: Sequence[Clip]) -> tuple[float, float]:
    """Seconds to decode the clips in one pass each, and in parts."""
    spent = []
    for read in (lambda v: v.frames(FPS), lambda v: frames_in_parts(v, FPS)):
        begun = time.perf_counter()
        for clip in clips:
            for _ in read(clip.open()):
                pass
        spent.append(time.perf_counter() - begun)
    return spent[0], spent[1]


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    app = start(args, sheet)
    clips = load_clips(args.clips)[: QUICK_CLIPS if args.quick else None]
    reader = EncodeAhead(app.model)
    engine = Engine(reader, make_method("memory", args.memory, MEMORY), EngineConfig(),
                    make_method("tokens", args.tokens, TOKENS))
    frames, count = ahead(pictures(clips, FPS)), 0
    if args.together > 1:
        frames = in_groups(frames, args.together, reader.prepare)
    begun = time.perf_counter()
    with stages_of(engine, app.model) as stages:
        for frame in frames:
            engine.observe(frame)
            count += 1
    whole = time.perf_counter() - begun
    one, parts = decoding_s(clips)
    each = {stage: ms / count for stage, ms in stages.spent.items()}
    each["rest"] = 1000 * whole / count - sum(each.values())
    numbers = {"fps": count / whole, "frames": count, "ms": each, "decode_s": [one, parts],
               "tokens_read": engine.tokens_read / engine.tokens_seen}
    stages = ", ".join(f"{what} {ms:.1f} ms" for what, ms in each.items())
    sheet.row(f"{count} frames in {whole:.1f} s: {stages}")
    sheet.row(f"decoding alone: {one:.1f} s in one pass each, {parts:.1f} s in parts")
    return Outcome(f"{count / whole:.1f} frames a second ({stages})", numbers,
                   count / whole >= LEAST_FPS)


def command(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--memory", default="recall")
    parser.add_argument("--tokens", default="none")
    parser.add_argument("--together", type=int, default=1, metavar="N")
    return main(parser, with_shapes("ingest", measure), argv)


if __name__ == "__main__":
    sys.exit(command())
