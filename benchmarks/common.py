"""What every benchmark shares: flags, the hardware line, the clips, the last line.

The last line of the output is one JSON object: `ok` (did the figure hold what it must), `figure`
(the numbers), `hardware`, and the settings. `--json` prints nothing else.
"""
import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from typing import Any

import torch

from app import App, build, run
from streamassist.config import Config
from streamassist.errors import StreamAssistError
from streamassist.types import Event
from streamassist.video import VideoFile, open_video

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "videos"
RULES = ("Tell me when you see a bicycle.", "Tell me when a dog appears.", "Tell me when it rains.")


@dataclass
class Outcome:
    """figure: a short sentence with what was measured; numbers: all of it; ok: whether it is as it
    must be."""

    figure: str
    numbers: dict[str, Any]
    ok: bool
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """A video with its annotation (see `../shared/data/README.md`)."""

    path: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def duration_s(self) -> float:
        return float(self.facts["duration_s"])

    def open(self) -> VideoFile:
        return open_video(self.path)

    def scene_at(self, t: float) -> str:
        """The name of the clip shown at `t`: another one where this is a joined stream."""
        for scene in self.facts.get("scenes", ()):
            if scene["start"] <= t < scene["end"]:
                return scene["clip"]
        return self.name


def load_clips(folder: Path) -> list[Clip]:
    """Every annotated video of a folder, by name."""
    clips = [
        Clip(path, json.loads(path.with_suffix(".json").read_text()))
        for path in sorted(folder.glob("*.mp4")) if path.with_suffix(".json").is_file()
    ]
    if not clips:
        raise StreamAssistError(f"There are no annotated clips in {folder}; name a --clips folder.")
    return clips


def part_of(clip_name: str) -> str:
    """"dev" (thresholds may be chosen on it) or "test", by the SHA-1 of the clip's name."""
    return "test" if sha1(clip_name.encode()).digest()[0] % 2 else "dev"


def watched(events: Iterator[Event]) -> list[Event]:
    """All events of a replay; raises StreamAssistError when the model failed in it."""
    kept = list(events)
    if failed := [e for e in kept if e.type == "failed"]:
        raise StreamAssistError(f"The model failed during the benchmark: {failed[0].text}")
    return kept


# ---------------------------------------------------------------- the machine

def hardware() -> str:
    """One line: processor, cores, memory, accelerator, torch, and what else is running."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [
        _processor(),
        f"{len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads",
        f"{memory_gb:.0f} GiB",
        torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        f"torch {torch.__version__}",
        f"load {os.getloadavg()[0]:.1f} at the start",
    ]
    return "; ".join(parts)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


# ---------------------------------------------------------------- the command

class Sheet:
    """Where rows are printed, unless only the last line is wanted."""

    def __init__(self, silent: bool):
        self.silent = silent

    def row(self, text: str) -> None:
        if not self.silent:
            print(text, flush=True)


Measure = Callable[[argparse.Namespace, Sheet], Outcome]


def parser_of(doc: str) -> argparse.ArgumentParser:
    """The flags all benchmarks have; a module's own ones are added to it."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small part, in about a minute")
    parser.add_argument("--json", action="store_true", help="print only the last line")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clips", type=Path, default=CLIPS, help="folder of annotated clips")
    return parser


def specs_of(text: str) -> list[str]:
    """"a,b:x=1,y=2,c" -> ["a", "b:x=1,y=2", "c"]: methods with their settings."""
    specs: list[str] = []
    for part in filter(None, text.split(",")):
        if "=" in part and ":" not in part and specs:
            specs[-1] += f",{part}"
        else:
            specs.append(part)
    return specs


def start(args: argparse.Namespace, sheet: Sheet, **settings: Any) -> App:
    """The model, loaded, with the default configuration but for `settings`."""
    app = build(Config(model=args.model, **settings))
    sheet.row(f"model: {app.model.name}, {app.model.tokens_per_frame} tokens a frame")
    return app


def main(parser: argparse.ArgumentParser, measure: Measure, argv: Sequence[str] | None) -> int:
    """Run one benchmark; the exit code is 0 when its figure holds, 1 when not, 2 for a mistake."""
    args, outcome = parser.parse_args(argv), []
    sheet, machine = Sheet(args.json), hardware()
    sheet.row(f"hardware: {machine}")
    if code := run(lambda: outcome.append(measure(args, sheet))):
        return code
    done = outcome[0]
    last = {"ok": done.ok, "figure": done.figure, "numbers": done.numbers,
            "model": args.model, "quick": args.quick}
    print(json.dumps({**last, **done.settings, "hardware": machine}), file=sys.stdout, flush=True)
    return 0 if done.ok else 1
