"""What do fewer tokens cost? `python -m benchmarks.tokens [--quick] [--reducers a,b:x=1,...]`

The annotated clips, watched at 2 fps through each token reducer; every other second a thing is
asked for that the annotation names at that time, and one that it never names, as nano is asked
("Is there a dog?"). Right is P(yes) on the right side of one half. Beside each share of right
answers the paired difference to reading every token, with its 95 % interval (bootstrap over
questions), the share of tokens read, and the language model's time for a frame. The encoder runs
once; its time is not counted. Memory: the last frames, as many as the model reads at once.
"""
import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common import Clip, Outcome, Sheet, load_clips, main, parser_of, specs_of, start
from benchmarks.looks import Looks, Watching
from models.nano import prompts
from models.nano.questions import GROUPS, things_in, with_article
from models.nano.scores import bootstrap_interval
from models.probing import yes_to_question
from streamassist.config import EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.memory import METHODS as MEMORY
from streamassist.paths import cache_dir
from streamassist.tokens import METHODS
from streamassist.types import Frame, VideoLLM

FPS, EVERY_S, MOST_FRAMES = 2.0, 2.0, 8
NOTHING = np.empty((0, 0, 3), np.uint8)
REDUCERS = (
    "temporal_drop:threshold=0.02,temporal_drop:threshold=0.05,temporal_drop:threshold=0.1,"
    "temporal_drop:threshold=0.2,temporal_drop:by=pixel,threshold=0.03,temporal_drop:share=0.4,"
    "stc:share=0.4,stc:share=0.4,score=dual_anchor,tom:share=0.4,basis:share=0.4,"
    "merging:share=0.4,slow_fast,key_norm:share=0.4,motion,scene,curvature"
)
QUICK = ("temporal_drop:threshold=0.2", 4)   # reducers, clips
DROPPED, LOSES = 0.6, 0.02   # what must hold: so much is dropped, at most so much lost


@dataclass(frozen=True)
class Ask:
    t: float
    question: str
    yes: bool


def asks_of(clip: Clip) -> list[Ask]:
    """As many of each answer; a thing may be asked for that another clip shows."""
    rng, events = random.Random(clip.name), clip.facts["events"]
    ever = things_in([clip.facts["scene"], *(e["text"] for e in events)])
    others = [g for g in range(len(GROUPS)) if g not in ever]
    asks = []
    for t in np.arange(EVERY_S, clip.duration_s, EVERY_S):
        now = things_in([clip.facts["scene"]]) if "scenes" not in clip.facts else set()
        now |= things_in([e["text"] for e in events if e["start"] <= t <= e["end"]])
        if now:
            for group, yes in ((rng.choice(sorted(now)), True), (rng.choice(others), False)):
                thing = with_article(GROUPS[group][0])
                form = rng.choice(prompts.PRESENCE_QUESTIONS)
                asks.append(Ask(float(t), form.format(thing=thing), yes))
    return asks


@dataclass
class Result:
    """right: for each question; read: share of tokens; frame_ms: of the language model."""

    right: list[bool]
    read: float
    frame_ms: float


def watch(model: VideoLLM, looks: Looks, clips: Sequence[Clip], spec: str) -> Result:
    right, shares, spent = [], [], []
    for clip in clips:
        images = pictures_for(spec, clip)
        memory = make_method("memory", f"last_n:frames={MOST_FRAMES}", MEMORY)
        shots = [(clip.name, tick) for tick in range(len(images))]
        engine = Engine(Watching(model, looks, shots), memory, EngineConfig(),
                        make_method("tokens", spec, METHODS))
        asks = asks_of(clip)
        for tick, image in enumerate(images):
            begun = time.perf_counter()
            engine.observe(Frame(image, tick / FPS, tick))
            spent.append(time.perf_counter() - begun)
            while asks and asks[0].t <= tick / FPS:
                ask, size = asks.pop(0), engine.cache.size
                said = yes_to_question(model, ask.question, engine.cache, tick / FPS)
                engine.cache.truncate(size)
                right.append((said > 0.5) == ask.yes)
        shares.append(share_read(engine, len(images)))
    return Result(right, float(np.mean(shares)), 1000 * float(np.median(spent)))


def pictures_for(spec: str, clip: Clip) -> list[np.ndarray]:
    """The clip's pictures where the reducer looks at them, else nothing in their place."""
    count = int(clip.duration_s * FPS)
    if "pixel" not in spec and not spec.startswith("motion"):
        return [NOTHING] * count
    return [image for image, _ in clip.open().frames(FPS)][:count]


def share_read(engine: Engine, frames: int) -> float:
    """Of the visual tokens; where slots are taken out of the cache, what is left of its frames."""
    if not engine.reducer.edits_cache:
        return engine.tokens_read / engine.tokens_seen
    whole = engine.tokens_seen / frames
    return len(engine.cache) / (whole * len(engine.cache.frames()))


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    specs = specs_of(QUICK[0] if args.quick else args.reducers)
    for spec in specs:
        make_method("tokens", spec, METHODS)
    app = start(args, sheet)
    clips = load_clips(args.clips)[: QUICK[1] if args.quick else None]
    by_name = {clip.name: clip for clip in clips}

    def read(source: str) -> list[np.ndarray]:
        return [image for image, _ in by_name[source].open().frames(FPS)]

    looks = Looks(app.model, read, cache_dir() / "tokens" / f"{FPS}fps")
    looks.prepare(by_name, lambda _: True)
    plain = watch(app.model, looks, clips, "none")
    sheet.row("| reducer | tokens read | right | difference | ms a frame |")
    sheet.row("| --- | --- | --- | --- | --- |")
    rows = [tell("none", plain, plain, sheet)]
    for spec in specs:
        rows.append(tell(spec, watch(app.model, looks, clips, spec), plain, sheet))
    return judged(rows, len(plain.right))


def tell(spec: str, result: Result, plain: Result, sheet: Sheet) -> dict[str, Any]:
    apart = np.array(result.right, float) - np.array(plain.right, float)
    low, high = bootstrap_interval(apart)
    gain = f"{100 * apart.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    sheet.row(f"| {spec} | {result.read:.0%} | {np.mean(result.right):.1%} | {gain} "
              f"| {result.frame_ms:.1f} |")
    return {"reducer": spec, "read": result.read, "right": float(np.mean(result.right)),
            "gain": float(apart.mean()), "low": low, "high": high, "frame_ms": result.frame_ms}


def judged(rows: Sequence[dict[str, Any]], asked: int) -> Outcome:
    """Whether temporal drop leaves enough out and loses little."""
    drops = [r for r in rows if r["reducer"].startswith("temporal_drop")
             and r["read"] <= 1 - DROPPED]
    if not drops:
        return Outcome("no setting of temporal_drop leaves out enough", {"rows": rows}, False)
    best = max(drops, key=lambda r: r["gain"])
    gain, low, high = (100 * best[name] for name in ("gain", "low", "high"))
    figure = (f"{best['reducer']}: {1 - best['read']:.0%} dropped, {gain:+.1f} points "
              f"({low:+.1f} to {high:+.1f}) on {asked} questions")
    return Outcome(figure, {"rows": rows, "asked": asked}, best["gain"] >= -LOSES)


def command(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--reducers", default=REDUCERS, help="names or name:setting=value")
    return main(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(command())
