"""Does it speak when it matters? `python -m benchmarks.timing [--quick]`

Staged events over real footage (benchmarks/timing_streams.py), recorded once frame by frame with
the model; every response policy then decides over the same signals, through the product's gate and
rules, all with the same limits. Thresholds and settings of each are chosen on the dev part from a
grid of its own scores, by F1, among those that speak at most a tenth more often than there are
events; the table is of the test part. A remark is right within 3 s of a change of scene, an alert
while what it waits for is on screen. Intervals: 95 %, bootstrap over minutes; differences are
paired.
"""
import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import timing_grid, timing_table
from benchmarks.common import (
    Outcome,
    Sheet,
    hardware,
    load_clips,
    main,
    parser_of,
    part_of,
    start,
)
from benchmarks.looks import Looks
from benchmarks.needles import Material, load_material, things_of
from benchmarks.timing_goals import goals_table
from benchmarks.timing_grid import Recorded, remarks_table
from benchmarks.timing_live import costs, quiet
from benchmarks.timing_record import ABOUT_FRAMES, ABOUT_GOALS, Reader, Scene, kept, record
from benchmarks.timing_streams import PICTURES, Staged, build, build_rules
from models.nano.questions import GROUPS
from streamassist.paths import ROOT, cache_dir
from streamassist.types import VideoLLM

STREAMS = {"dev": 4, "test": 16}
RULE_STREAMS = {"dev": 3, "test": 8}
COMPARED = 3         # streams on which all ways of checking rules are compared; ours on all
QUICK = {"dev": 1, "test": 1}
QUICK_PICTURES, QUICK_STEPS = 3, 2   # of a stream, of a grid
FPS = 2.0
# What nano tells well: on 200 pictures of the dev part, of things that two or more of them show, an
# area under the curve of 0.95 and three quarters found at 0.7.
SEEN = (
    "bird giraffe bear train boat skateboard racket bed sink television slide dog cat bicycle bus "
    "table toilet sandwich snow water mountain sign rock ski bat window ball tree"
).split()
# Of these a rule may wait for what footage does not show unless its annotation says so.
WAITED = frozenset(SEEN) - set("slide table water mountain sign rock window ball tree".split())


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    app = start(args, sheet)
    timing_grid.STEPS = QUICK_STEPS if args.quick else timing_grid.STEPS
    dev, test = (remark_part(app.model, part, args, sheet) for part in ("dev", "test"))
    remarks = remarks_table(dev, test, sheet)
    dev, waited = (rule_part(app.model, part, args, sheet) for part in ("dev", "test"))
    goals = goals_table(dev, waited, COMPARED, sheet)
    still = quiet(app.model, waited, 20.0 if args.quick else 600.0, sheet)
    counts, ticks = ((1, 50), 40) if args.quick else ((1, 5, 20, 50), 240)
    rules = costs(app.model, waited, counts, ticks, sheet)
    outcome = timing_table.outcome(remarks, goals, still, rules, test)
    if not args.quick:
        timing_table.write(args.docs, remarks, goals, still, rules, outcome, hardware())
    return outcome


def remark_part(
    model: VideoLLM, part: str, args: argparse.Namespace, sheet: Sheet
) -> Recorded:
    """Streams for remarks, with the signals of all policies that make some."""
    material = load_material(args.clips, part)
    count, size = (QUICK[part], QUICK_PICTURES) if args.quick else (STREAMS[part], PICTURES)
    streams = build(material, count, FPS, groups_of(SEEN), size)
    return recorded(model, part, streams, material, [ABOUT_FRAMES] * count, args, sheet)


def rule_part(model: VideoLLM, part: str, args: argparse.Namespace, sheet: Sheet) -> Recorded:
    """Streams for rules over footage that shows none of what is waited for."""
    things = groups_of(WAITED)
    clips = [c for c in load_clips(args.clips) if "scenes" not in c.facts]
    shown = {c.name: things_of(c) for c in clips if part_of(c.name) == part}
    material = load_material(args.clips, part)
    empty = {name: s for name, s in material.clips.items() if not shown[name] & things}
    common = frozenset().union(*(shown[name] for name in empty))
    material = replace(material, clips=empty, common=common)
    count, size = (QUICK[part], QUICK_PICTURES) if args.quick else (RULE_STREAMS[part], PICTURES)
    streams = build_rules(material, count, FPS, things, size)
    names = [ABOUT_GOALS if n < COMPARED else frozenset() for n in range(count)]
    return recorded(model, f"rules-{part}", streams, material, names, args, sheet)


def groups_of(names: Iterable[str]) -> frozenset[int]:
    return frozenset(i for i, group in enumerate(GROUPS) if group[0] in names)


def recorded(
    model: VideoLLM, part: str, streams: list[Staged], material: Material,
    names: Sequence[frozenset[str]], args: argparse.Namespace, sheet: Sheet,
) -> Recorded:
    """The streams and what the model made of them; `names`: the costly signals of each."""
    photos = {file: photo for s in streams for file, photo in s.photos.items()}
    reader = Reader(args.clips, photos, FPS)
    looks = Looks(model, reader, cache_dir() / "needles" / f"{FPS}fps")
    looks.prepare((source for s in streams for source, _ in s.shots), material.clips.__contains__)
    folder = cache_dir() / "timing" / looks.folder.name
    signals = []
    for n, stream in enumerate(streams):
        sheet.row(f"{part} stream {n}: {stream.seconds:.0f} s, {len(stream.cuts)} changes, "
                  f"{len(stream.watches)} rules")
        file = folder / f"{part}-{n}-{stream.key}.jsonl"
        signals.append(kept(
            file, lambda s=stream, n=n: record(model, looks, s, reader.small, names[n])
        ))
    return Recorded(streams, signals, [Scene(model, looks, s.shots) for s in streams], reader)


def command(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs",
                        help="folder of the table (not with --quick)")
    return main(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(command())
