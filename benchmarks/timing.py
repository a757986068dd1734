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
from collections.abc import Sequence
from pathlib import Path

from benchmarks import timing_table
from benchmarks.common import Outcome, Sheet, hardware, main, parser_of, start
from benchmarks.looks import Looks
from benchmarks.needles import load_material
from benchmarks.timing_goals import goals_table
from benchmarks.timing_grid import Recorded, remarks_table
from benchmarks.timing_live import costs, quiet
from benchmarks.timing_record import Reader, Scene, kept, record
from benchmarks.timing_streams import PICTURES, build
from models.nano.questions import GROUPS
from streamassist.paths import ROOT, cache_dir
from streamassist.types import VideoLLM

STREAMS = {"dev": 4, "test": 16}
QUICK = {"dev": 1, "test": 1}
QUICK_PICTURES = 4
FPS = 2.0
# What nano tells well: on 200 pictures of the dev part, of things that two or more of them show, an
# area under the curve of 0.95 and three quarters found at 0.7.
SEEN = (
    "bird giraffe bear train boat skateboard racket bed sink television slide dog cat bicycle bus "
    "table toilet sandwich snow water mountain sign rock ski bat window ball tree"
).split()


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    app = start(args, sheet)
    dev, test = (recorded(app.model, part, args, sheet) for part in ("dev", "test"))
    remarks = remarks_table(dev, test, sheet)
    goals = goals_table(dev, test, sheet)
    still = quiet(app.model, test, 20.0 if args.quick else 600.0, sheet)
    counts, ticks = ((1, 50), 40) if args.quick else ((1, 5, 20, 50), 240)
    rules = costs(app.model, test, counts, ticks, sheet)
    outcome = timing_table.outcome(remarks, goals, still, rules, test)
    if not args.quick:
        timing_table.write(args.docs, remarks, goals, still, rules, outcome, hardware())
    return outcome


def recorded(model: VideoLLM, part: str, args: argparse.Namespace, sheet: Sheet) -> Recorded:
    """The part's streams and what the model made of them."""
    material = load_material(args.clips, part)
    count = (QUICK if args.quick else STREAMS)[part]
    size = QUICK_PICTURES if args.quick else PICTURES
    seen = frozenset(i for i, group in enumerate(GROUPS) if group[0] in SEEN)
    streams = build(material, count, FPS, None if args.all_things else seen, size)
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
        signals.append(kept(file, lambda s=stream: record(model, looks, s, reader.small)))
    return Recorded(streams, signals, [Scene(model, looks, s.shots) for s in streams], reader)


def command(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--all-things", action="store_true",
                        help="rules also for things that the model hardly sees")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs",
                        help="folder of the table (not with --quick)")
    return main(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(command())
