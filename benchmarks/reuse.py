"""What does reusing the encoder's work cost, and save? `python -m benchmarks.reuse [--quick]`

nano on the annotated clips, watched at 2 fps: for each setting the share of the backbone's work
that was done, the time to encode a frame against a whole encoding of the same frame just before
(median of wall time; mean of processor time, which other programs disturb less), the cosine of the
16 features with the whole encoding's, and the questions of `benchmarks.tokens` with the paired
difference to plain encoding and its 95 % interval (bootstrap over questions).
Without clips this part is left out, and the last line says so.

The methods for vision transformers: one tower with random weights in the shape of Qwen3-VL-2B's
(fewer layers), shown a picture of which a tenth moves. Only the ratio of times means anything.
"""
import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cosine_similarity
from transformers import Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from benchmarks import tokens
from benchmarks.common import Clip, Outcome, Sheet, load_clips, main, parser_of, specs_of, start
from models.checkpoint import fast_dtype
from models.nano.scores import bootstrap_interval
from models.preprocess import PatchFrames
from models.qwen_vl import FRAME_PIXELS, MIN_PIXELS, Qwen3VL
from models.reuse import METHODS
from models.reuse.families import qwen_tower
from streamassist.config import make_method
from streamassist.reuse import EncoderReuse
from streamassist.types import Frame, VideoLLM, VisualTokens

SETTINGS = "tiles,tiles:most=0,tiles:halo=0,tiles:threshold=0.08"
QUICK = ("tiles", 3)             # settings, clips
INSIDE = "cacher,cacher:interval=4,gated,interleave"
LAYERS, FRAMES = (6, 2), (12, 6)   # of the tower, and shown to it: in all, in a quick run
SIDE, SQUARE = 448, 144          # pixels: the picture and the part of it that moves
ALIKE, LOSES = 0.95, 0.02        # what must hold of `tiles`: cosine, share of right answers lost
LEAST_ASKED = 500                # questions that say something about so small a loss


@dataclass
class Looked:
    """What a setting made of the clips; in the place of `benchmarks.looks.Looks`. Times in ms."""

    spent: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)      # of the processor
    work: list[float] = field(default_factory=list)
    alike: list[float] = field(default_factory=list)     # cosine of each frame's features
    seen: dict[str, list[VisualTokens]] = field(default_factory=dict)

    def by_clip(self) -> dict[str, float]:
        """Share of the work that each clip took."""
        ends = np.cumsum([len(seen) for seen in self.seen.values()])[:-1]
        parts = np.split(np.array(self.work), ends)
        return {name: float(part.mean()) for name, part in zip(self.seen, parts, strict=True)}

    def tokens(self, source: str, number: int, frame: Frame) -> VisualTokens:
        """A copy, which a policy may change. A clip shorter than announced stands still."""
        kept = self.seen[source][min(number, len(self.seen[source]) - 1)]
        return replace(kept, embeds=kept.embeds.clone(), signature=kept.signature.clone(),
                       pts=frame.pts, frame=frame.index)


def attached(model: Any, spec: str) -> EncoderReuse:
    method = make_method("reuse", spec, METHODS)
    method.attach(model)
    return method


def timed(method: EncoderReuse, frame: Frame) -> tuple[VisualTokens, float, float]:
    """The frame encoded, and the ms of wall and of processor time it took."""
    begun, busy = time.perf_counter(), time.process_time()
    made = method.encode(frame)
    spent = time.perf_counter() - begun, time.process_time() - busy
    return made, *(1000 * seconds for seconds in spent)


def look(model: VideoLLM, clips: Sequence[Clip], specs: Sequence[str]) -> dict[str, Looked]:
    """Every frame through all settings, one after the other, plain encoding ("none") first."""
    looked = {spec: Looked() for spec in ("none", *specs)}
    for clip in clips:
        methods = {spec: attached(model, spec) for spec in looked}
        for i, (image, pts) in enumerate(clip.open().frames(tokens.FPS)):
            frame, plain = Frame(image, pts, i), None
            for spec, method in methods.items():
                made, spent, busy = timed(method, frame)
                plain = plain or made
                to = looked[spec]
                to.seen.setdefault(clip.name, []).append(made)
                to.spent.append(spent)
                to.busy.append(busy)
                to.work.append(method.work)
                pair = made.signature.float(), plain.signature.float()
                to.alike.append(float(cosine_similarity(*pair, dim=-1).mean()))
    return looked


def on_clips(model: VideoLLM, clips: Sequence[Clip], specs: Sequence[str], sheet: Sheet
             ) -> list[dict[str, Any]]:
    looked = look(model, clips, specs)
    whole = looked["none"]
    sheet.row("| setting | work | ms a frame | of plain: wall, processor | cosine, worst 1 % "
              "| right | difference |")
    sheet.row("| --- | --- | --- | --- | --- | --- | --- |")
    rows, plain = [], None
    for spec, made in looked.items():
        right = np.array(tokens.watch(model, made, clips, "none").right, float)
        plain = right if plain is None else plain
        low, high = bootstrap_interval(right - plain)
        rows.append({
            "setting": spec, "work": float(np.mean(made.work)),
            "ms": float(np.median(made.spent)),
            "ratio": float(np.median(made.spent) / np.median(whole.spent)),
            "processor": float(np.mean(made.busy) / np.mean(whole.busy)),
            "cosine": float(np.mean(made.alike)), "worst": float(np.quantile(made.alike, 0.01)),
            "right": float(right.mean()), "gain": float((right - plain).mean()),
            "low": low, "high": high, "asked": len(right), "frames": len(made.work),
            "by_clip": made.by_clip(),
        })
        tell(rows[-1], sheet)
    return rows


def tell(row: dict[str, Any], sheet: Sheet) -> None:
    gain, low, high = (100 * row[name] for name in ("gain", "low", "high"))
    sheet.row(
        f"| {row['setting']} | {row['work']:.0%} | {row['ms']:.1f} | {row['ratio']:.2f}, "
        f"{row['processor']:.2f} | {row['cosine']:.4f}, {row['worst']:.3f} "
        f"| {row['right']:.1%} | {gain:+.1f} ({low:+.1f} to {high:+.1f}) |"
    )


# ---------------------------------------------------------------- a vision transformer

class Eye:
    """The vision part of Qwen3-VL-2B with random weights, and nothing behind it."""

    name = "a vision tower"

    def __init__(self, layers: int):
        config = Qwen3VLVisionConfig(
            depth=layers, hidden_size=1024, intermediate_size=4096, num_heads=16,
            out_hidden_size=2048, deepstack_visual_indexes=[layers // 2],
        )
        self.visual = Qwen3VLVisionModel(config).eval().to(fast_dtype(torch.device("cpu")))
        colours = Qwen3VL.mean, Qwen3VL.std
        self.pixels = PatchFrames(config.patch_size, config.spatial_merge_size,
                                  config.temporal_patch_size, *colours, MIN_PIXELS, FRAME_PIXELS)
        self.tower = qwen_tower(self.visual, *colours, lambda _: None)

    @torch.inference_mode()
    def encode(self, frames: Sequence[Frame]) -> list[VisualTokens]:
        """One frame."""
        patches, (height, width) = self.pixels(frames[0].image, torch.device("cpu"))
        out = self.visual(patches, grid_thw=torch.tensor([[1, height, width]]))
        grid = (1, height // self.pixels.merge, width // self.pixels.merge)
        return [VisualTokens(out.pooler_output, grid, frames[0].pts, frames[0].index)]


def moving_picture(count: int) -> list[Frame]:
    """A square of noise that crosses a still picture of noise."""
    draw = np.random.default_rng(0)
    still, square = (draw.integers(0, 256, (s, s, 3), np.uint8) for s in (SIDE, SQUARE))
    frames = []
    for i in range(count):
        image, left = still.copy(), 16 * i
        image[100 : 100 + SQUARE, left : left + SQUARE] = square
        frames.append(Frame(image, i / tokens.FPS, i))
    return frames


def on_tower(quick: bool, sheet: Sheet) -> list[dict[str, Any]]:
    """Each method's processor time for all frames against whole encodings in between."""
    layers, count = (sizes[quick] for sizes in (LAYERS, FRAMES))
    eye, frames = Eye(layers), moving_picture(count)
    names = ("none", *specs_of(INSIDE))
    methods = {spec: attached(eye, spec) for spec in names}
    eye.encode(frames[:1])   # the first pass is slow
    spent, work = ({spec: [] for spec in names} for _ in range(2))
    for frame in frames:
        for spec, method in methods.items():
            spent[spec].append(timed(method, frame)[2])
            work[spec].append(method.work)
    rows = [
        {"setting": spec, "work": float(np.mean(work[spec])), "layers": layers,
         "processor": sum(spent[spec]) / sum(spent["none"]),
         "kept_mb": method.bytes / 1e6}
        for spec, method in methods.items()
    ]
    sheet.row(f"| in a tower of {layers} layers | work | time of plain | MB kept |")
    sheet.row("| --- | --- | --- | --- |")
    for row in rows:
        sheet.row(f"| {row['setting']} | {row['work']:.0%} | {row['processor']:.2f} "
                  f"| {row['kept_mb']:.0f} |")
    return rows


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    specs = specs_of(QUICK[0] if args.quick else args.settings)
    for spec in specs:
        make_method("reuse", spec, METHODS)
    tower, rows = on_tower(args.quick, sheet), []
    if args.clips.is_dir():
        clips = load_clips(args.clips)[: QUICK[1] if args.quick else None]
        model = start(args, sheet).model
        if args.float32:
            model.backbone.float()
        rows = on_clips(model, clips, specs, sheet)
    else:
        sheet.row(f"left out: nano on clips, for there is no folder {args.clips}")
    return judged(rows, tower)


def judged(rows: Sequence[dict[str, Any]], tower: Sequence[dict[str, Any]]) -> Outcome:
    """Whether the first setting on the clips stays close, and all methods save time in a tower."""
    slowest = max((r for r in tower if r["setting"] != "none"), key=lambda r: r["processor"])
    figure = f"in a vision tower at most {slowest['processor']:.2f} of the time"
    numbers, ok = {"clips": list(rows), "tower": list(tower)}, slowest["processor"] < 1
    if not rows:
        return Outcome(f"{figure}; no clips, so nano was not measured", numbers, ok)
    first = rows[1]
    gain, low, high = (100 * first[name] for name in ("gain", "low", "high"))
    few = first["asked"] < LEAST_ASKED
    figure = (f"nano, {first['setting']}: {first['processor']:.2f} of the encoder's time, "
              f"cosine {first['cosine']:.3f}, {gain:+.1f} points ({low:+.1f} to {high:+.1f}) on "
              f"{first['asked']} questions{' (too few to judge)' * few}; {figure}")
    close = first["cosine"] >= ALIKE and (few or first["gain"] >= -LOSES)
    return Outcome(figure, numbers, ok and close)


def command(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--settings", default=SETTINGS, help="names or name:setting=value")
    parser.add_argument("--float32", action="store_true",
                        help="nano's encoder in 32 bits, as where the processor has no bfloat16")
    return main(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(command())
