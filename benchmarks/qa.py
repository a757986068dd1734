"""Are the answers right? `python -m benchmarks.qa [--quick]`

The questions of the annotated clips, asked at their times in a replay, scored by the `accept`
lists (see benchmarks/accept.py); present, count and past apart. Beside it the score of one fixed
answer, a list of 15 common nouns. Watch rules: "alert" is right when the first alert comes within
the tolerance after the event and none before it; "never" when there is no alert. Times are stream
times: this tells what is noticed, not how fast the machine is.
Clips are split by name into dev and test; tables in the README are of test.
"""
import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app import App
from benchmarks.accept import COMMON_NOUNS, is_right
from benchmarks.common import (
    Clip,
    Outcome,
    Sheet,
    load_clips,
    main,
    parser_of,
    part_of,
    start,
    watched,
)
from streamassist.replay import Plan, replay
from streamassist.types import Alert, Answer

RULES = ("alert", "never")
QUICK_CLIPS = 2


@dataclass(frozen=True)
class Mark:
    """One question or rule, and whether it went right. `said`: the answer, or times of alerts;
    evidence: stream times of the frames that the answer names as its proof, best first."""

    clip: str
    part: str
    type: str
    question: str
    said: str
    right: bool
    by_nouns: bool = False
    evidence: tuple[float, ...] = ()


def plan_of(clip: Clip) -> Plan:
    timed = defaultdict(list)
    for item in clip.facts["qa"]:
        timed[item["type"] in RULES].append(f"{item['t_ask']}:{item['question']}")
    return Plan.parse(asks=timed[False], watches=timed[True])


def marks_of(app: App, clip: Clip) -> Iterator[Mark]:
    """Replay one clip with everything asked about it."""
    events = watched(replay(clip.open(), app.make_session, app.config, plan_of(clip)))
    answers = {(e.question, e.question_t): e for e in events if isinstance(e, Answer)}
    alerts = defaultdict(list)
    for event in events:
        if isinstance(event, Alert):
            alerts[event.rule, event.rule_t].append(event.t)
    for item in clip.facts["qa"]:
        key = item["question"], float(item["t_ask"])
        if item["type"] in RULES:
            yield mark_rule(clip, item, alerts[key])
        else:
            answer = answers.get(key)
            shown = tuple(e["t"] for e in answer.evidence) if answer else ()
            yield mark_answer(clip, item, answer.text if answer else "", shown)


def mark_answer(
    clip: Clip, item: dict[str, Any], text: str, evidence: tuple[float, ...] = ()
) -> Mark:
    scene = item.get("clip") or clip.scene_at(item["t_ask"])
    nouns = is_right(COMMON_NOUNS, item["accept"])
    right = is_right(text, item["accept"])
    return Mark(
        clip.name, part_of(scene), item["type"], item["question"], text, right, nouns, evidence
    )


def mark_rule(clip: Clip, item: dict[str, Any], times: Sequence[float]) -> Mark:
    event = item.get("t_event")
    right = not times if event is None else alert_in_time(times, event, item["tolerance_s"])
    scene = clip.scene_at(item["t_ask"] if event is None else event)
    said = ", ".join(f"{t:.1f}" for t in times)
    return Mark(clip.name, part_of(scene), item["type"], item["question"], said, right)


def alert_in_time(times: Sequence[float], event: float, tolerance_s: float) -> bool:
    return bool(times) and event <= min(times) <= event + tolerance_s


def tally(marks: Sequence[Mark]) -> dict[str, dict[str, Any]]:
    """Per type: how many, how many right, and how many the fixed nouns get right."""
    rows = {}
    for kind in ("present", "count", "past", *RULES):
        of_kind = [m for m in marks if m.type == kind]
        if of_kind:
            rows[kind] = {"asked": len(of_kind), "right": sum(m.right for m in of_kind)}
            if kind not in RULES:
                rows[kind]["fixed_nouns"] = sum(m.by_nouns for m in of_kind)
    return rows


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    clips = load_clips(args.clips)
    if args.quick:
        clips = clips[:: max(1, len(clips) // QUICK_CLIPS)]
    app = start(args, sheet, memory=args.memory)
    marks = []
    for clip in clips:
        for mark in marks_of(app, clip):
            marks.append(mark)
            sheet.row(json.dumps(vars(mark), ensure_ascii=False))
    parts = {"all": marks, **{p: [m for m in marks if m.part == p] for p in ("dev", "test")}}
    figure = {name: tally(part) for name, part in parts.items()}
    for name, rows in figure.items():
        for kind, row in rows.items():
            sheet.row(f"{name:5}{kind:8} {row['right']:3} of {row['asked']:3} right"
                      + (f"; fixed nouns {row['fixed_nouns']}" if "fixed_nouns" in row else ""))
    whole = figure["all"]
    sentence = ", ".join(f"{kind} {row['right']} of {row['asked']}" for kind, row in whole.items())
    settings = {"memory": args.memory, "clips": len(clips)}
    return Outcome(sentence + " right", figure, beats_nouns(whole), settings)


def beats_nouns(rows: dict[str, dict[str, Any]]) -> bool:
    """Whether the present is told better than by the fixed nouns."""
    row = rows.get("present", {"right": 0, "fixed_nouns": 0})
    return row["right"] > row["fixed_nouns"]


def command(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--memory", default="last_n")
    return main(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(command())
