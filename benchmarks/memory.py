"""What does each memory policy remember? `python -m benchmarks.memory --model nano [--quick]`

Needles (see benchmarks/needles.py) in streams that every policy watches with the same budget of
tokens. Asked for: of one thing shown and one never shown, which is likelier (the model's probe, two
questions); and which of four things it was, asked at once. A score is the mean of both, 0 by chance
and 1 when all is right; "now" is on screen or gone for less than 4 s, "past" 10 s to 1000 s.
Intervals: 95 %, bootstrap over needles; differences are paired.
Each policy and stream is a line of a file as it ends, so a run that was cut off goes on; a table
and a plot go into docs/. Features of the clips are computed once; their time is not counted.
"""
import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha1
from inspect import getfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import needle_table
from benchmarks.common import Outcome, Sheet, main, parser_of, specs_of, start
from benchmarks.looks import Looks, Watching
from benchmarks.needles import Ask, Stream, build_streams, load_material, read_photos
from models.probing import yes_to_question
from streamassist.cache import KVCache
from streamassist.config import EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.memory import METHODS, MemoryPolicy
from streamassist.paths import ROOT, cache_dir
from streamassist.types import Frame, VideoLLM
from streamassist.video import open_video

CONTROL = "last_n"
UNBOUNDED = "full"
BUDGETS = ("budget", "max_tokens")   # fields that hold a budget in tokens
HELD = ("tokens", "cache_bytes", "gpu_bytes", "ram_bytes", "disk_bytes")   # most of each is told
QUICK = {"policies": "last_n,recall", "budgets": "128", "streams": 1, "minutes": 0.6,
         "needles": 5, "fps": 1.0}
WHOLE = {"policies": "all", "budgets": "512", "streams": 2, "minutes": 20.0, "needles": 300,
         "fps": 2.0}

log = logging.getLogger(__name__)


# ---------------------------------------------------------------- asking

class Examiner:
    """Asks an engine about needles; every question leaves it as it was."""

    def __init__(self, engine: Engine, fps: float):
        self.engine, self.model, self.fps = engine, engine.model, fps

    def put(self, ask: Ask, pts: float) -> dict[str, Any]:
        """pair: how likely the shown and the unshown thing are; choice: the same, asked about
        four things at once, the shown one first; denied: whether memory says of each of the pair
        that it was not seen; evidence: whether each recalled frame shows the thing, best first."""
        memory, shown = self.engine.memory, range(*ask.needle.ticks(self.fps))
        pair, denied = [self.ask(ask, ask.thing, pts)], [not memory.supported()]
        evidence = [frame in shown for frame, _ in memory.evidence()]
        pair.append(self.ask(ask, ask.others[0], pts))
        denied.append(not memory.supported())
        begun = clock()
        turn = self.engine.ask(ask.which(), pts)
        int(turn.logits.argmax())   # waits for a GPU
        question_ms = 1000 * (clock() - begun)
        turn.cache.truncate(turn.first_slot)
        choice = [self.probe(ask, thing, turn.cache, pts) for thing in (ask.thing, *ask.others)]
        tokens = len(turn.cache)
        self.engine.close()
        return {"thing": ask.thing, "age": ask.age, "pair": pair, "choice": choice,
                "denied": denied, "evidence": evidence,
                "question_ms": round(question_ms, 1), "answer_tokens": tokens}

    def ask(self, ask: Ask, thing: str, pts: float) -> float:
        memory = self.engine.memory
        cache = memory.before_answer(self.engine.cache, ask.about(thing))
        try:
            return self.probe(ask, thing, cache, pts)
        finally:
            memory.after_answer(self.engine.cache)

    def probe(self, ask: Ask, thing: str, cache: KVCache, pts: float) -> float:
        """How likely the model says yes: to the question itself or, where it reads one picture at
        a time, to the thing being on the one that memory chose."""
        size = cache.size
        try:
            if self.model.frames_at_once > 1:
                return yes_to_question(self.model, ask.about(thing), cache, pts)
            return self.model.probe(f"There is {thing}.", cache, pts)
        finally:
            cache.truncate(size)


# ---------------------------------------------------------------- one policy, one stream

@dataclass(frozen=True)
class Job:
    """key: the model, the streams and the questions; code: of the policy's own file."""

    policy: str
    budget: int
    stream: int
    key: str
    code: str


def run_stream(
    model: VideoLLM, looks: Looks, stream: Stream, spec: str, fps: float, config: EngineConfig
) -> dict[str, Any]:
    """Watch the stream and ask; what it cost, most of it, and every answer."""
    memory = make_method("memory", spec, METHODS)
    engine = Engine(Watching(model, looks, stream.shots), memory, config)
    examiner, asks = Examiner(engine, fps), list(stream.asks)
    answers, watched_s, most = [], 0.0, dict.fromkeys(HELD, 0)
    for tick in range(len(stream.shots)):
        begun = clock()
        engine.observe(Frame(np.empty((0, 0, 3), np.uint8), tick / fps, tick))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        watched_s += clock() - begun
        held = {"tokens": len(engine.cache), "cache_bytes": engine.cache.bytes,
                **store_bytes(memory)}
        most = {name: max(most[name], held[name]) for name in most}
        while asks and asks[0].tick == tick:
            answers.append(examiner.put(asks.pop(0), tick / fps))
    return {**most, "frame_ms": round(1000 * watched_s / len(stream.shots), 2),
            "answers": answers}


def clock() -> float:
    """Seconds; of one thread alone on a CPU its own time, which others beside it do not stretch."""
    if torch.get_num_threads() == 1 and not torch.cuda.is_available():
        return time.process_time()
    return time.perf_counter()


def store_bytes(memory: MemoryPolicy) -> dict[str, int]:
    """What a policy holds outside of the cache."""
    held = memory.bytes()
    return {f"{tier}_bytes": held.get(tier, 0) for tier in ("gpu", "ram", "disk")}


def spec_for(policy: str, budget: int, model: VideoLLM) -> str:
    """The policy with this budget, unless it names its own."""
    name, _, given = policy.partition(":")
    known = {f.name for f in fields(METHODS[name])} if name in METHODS else set()
    sizes = {n: budget for n in BUDGETS if n in known} or (
        {"frames": max(1, budget // model.tokens_per_frame)} if "frames" in known else {}
    )
    named = {part.partition("=")[0] for part in given.split(",")}
    more = [f"{n}={size}" for n, size in sizes.items() if n not in named]
    settings = ",".join(filter(None, [*more, given]))
    return f"{name}:{settings}" if settings else name


def policies_of(text: str) -> list[str]:
    """"a,b:x=1,y=2,c" -> ["a", "b:x=1,y=2", "c"]; "all" but for what has no budget; the control
    comes first."""
    specs: list[str] = []
    for spec in specs_of(text):
        specs += [n for n in METHODS if n != UNBOUNDED] if spec == "all" else [spec]
    return list(dict.fromkeys([CONTROL, *specs]))


def code_of(policy: str) -> str:
    file = getfile(METHODS[policy.partition(":")[0]])
    return sha1(Path(file).read_bytes()).hexdigest()[:12]


# ---------------------------------------------------------------- the run

def rows_in(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; the last one may have been cut off."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            log.warning("%s has a line that was cut off; it is measured again", path)


def append(path: Path, line: str) -> None:
    """A line of its own, also behind one that was cut off."""
    cut = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write("\n" * cut + line + "\n")


def run_jobs(
    jobs: Sequence[Job], path: Path, run: Callable[[Job], dict[str, Any]], sheet: Sheet,
    until: float = float("inf"),
) -> tuple[list[dict[str, Any]], list[str]]:
    """(rows of all jobs, what failed or was not begun before the monotonic time `until`). Rows
    already in the file are not run again; another process may add to it meanwhile."""
    rows, failed = [], []
    path.parent.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        row = next((row for row in rows_in(path) if row["job"] == asdict(job)), None)
        if row is None and time.monotonic() >= until:
            failed.append(f"{job.policy} at {job.budget}, stream {job.stream}: no time")
            continue
        if row is None:
            try:
                row = {"job": asdict(job), **run(job)}
            except Exception as error:   # one policy that breaks must not end a run of hours
                log.exception("%s failed", job.policy)
                failed.append(f"{job.policy} at {job.budget}: {type(error).__name__}: {error}")
                continue
            append(path, json.dumps(row))
        rows.append(row)
        sheet.row(needle_table.progress(row))
    return rows, failed


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    for name, value in (QUICK if args.quick else WHOLE).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    app = start(args, sheet)
    budgets, policies = [int(b) for b in args.budgets.split(",")], policies_of(args.policies)
    for policy in policies:
        make_method("memory", spec_for(policy, budgets[0], app.model), METHODS)
    material = load_material(args.clips, args.part)
    streams = build_streams(
        material, args.streams, 60 * args.minutes, args.fps, args.needles, args.seed
    )
    looks = look_at(app.model, args, streams, material.clips)
    key = f"{looks.folder.name} {args.part} seed {args.seed}: {args.streams} x {args.minutes} min" \
          f" at {args.fps}, {args.needles}"
    jobs = [
        Job(policy, budget, number, key, code_of(policy))
        for number in range(args.streams) for budget in budgets for policy in policies
    ]

    def run(job: Job) -> dict[str, Any]:
        spec = spec_for(job.policy, job.budget, app.model)
        stream = streams[job.stream]
        return run_stream(app.model, looks, stream, spec, args.fps, app.config.engine)

    file = args.out or cache_dir() / "needles" / "rows.jsonl"
    until = time.monotonic() + 60 * args.stop_after
    rows, failed = run_jobs(jobs, file, run, sheet, until)
    return needle_table.report(rows, failed, args, sheet)


def look_at(
    model: VideoLLM, args: argparse.Namespace, streams: Sequence[Stream], clips: dict[str, float]
) -> Looks:
    """All features the streams need."""
    photos = read_photos([n.file for stream in streams for n in stream.needles])

    def read(source: str) -> list[np.ndarray]:
        if source in photos:
            return [photos[source]]
        return [image for image, _ in open_video(args.clips / f"{source}.mp4").frames(args.fps)]

    looks = Looks(model, read, cache_dir() / "needles" / f"{args.fps}fps")
    looks.prepare((source for s in streams for source, _ in s.shots), clips.__contains__)
    return looks


def command(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--policies", help='names or name:setting=value, by commas; or "all"')
    parser.add_argument("--budgets", help="tokens, by commas")
    parser.add_argument("--streams", type=int)
    parser.add_argument("--minutes", type=float, help="of each stream")
    parser.add_argument("--needles", type=int, help="most questions about needles, in all streams")
    parser.add_argument("--fps", type=float)
    parser.add_argument("--part", choices=("dev", "test"), default="test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSONL of the rows; it goes on where it ended")
    parser.add_argument("--stop-after", type=float, default=float("inf"), metavar="MIN",
                        help="begin nothing more after so many minutes; 0: only report")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs",
                        help="folder of the table and the plot (not with --quick)")
    return main(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(command())
