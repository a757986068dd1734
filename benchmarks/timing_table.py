"""What `benchmarks.timing` found: is it as it must be? And the tables for docs/timing.md."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import Outcome
from benchmarks.timing_goals import SHIPPED, GoalRow
from benchmarks.timing_grid import Recorded, Row

DEFAULT = "cascade"
CONTROLS = ("on_query", "always", "every 5 s", "random, as often")
OURS = (DEFAULT, "change_gate", "timer", *CONTROLS)   # not published elsewhere
MOST_STILL, MOST_COST = 1.0, 2.0
RECALL, PRECISION, DELAY_S = 0.9, 0.8, 2.0


def outcome(
    remarks: Sequence[Row], goals: Sequence[GoalRow], still: dict[str, Any],
    rules: Sequence[dict[str, Any]], part: Recorded,
) -> Outcome:
    rows = {row.name: row for row in remarks}
    checked = next(row.numbers for row in goals if row.name == SHIPPED)
    ours = rows[DEFAULT].numbers
    published = [row for row in remarks if row.name not in OURS]
    best = max(published, key=lambda row: row.numbers["f1"])
    beaten = all(rows[name].numbers["less"][0] > 0 for name in CONTROLS)
    holds = {
        "better than every control": beaten,
        "not below the best published": best.numbers["less"][1] >= 0,
        "rules": checked["recall"] >= RECALL and checked["precision"] >= PRECISION
        and (checked["delay_s"] or 0) <= DELAY_S,
        "quiet": still["remarks_per_10_min"] <= MOST_STILL,
        "cost": max(row["ratio"] for row in rules) <= MOST_COST,
    }
    low, high = best.numbers["less"]
    figure = (
        f"{DEFAULT}: F1 {ours['f1']:.2f} on {sum(len(s.cuts) for s in part.streams)} changes of "
        f"scene at {ours['per_minute']:.1f} remarks a minute, less that of {best.name}, the best "
        f"published: {low:+.2f} to {high:+.2f}; rules: recall {checked['recall']:.2f}, precision "
        f"{checked['precision']:.2f} of {checked['events']} events, after "
        f"{checked['delay_s'] or 0:.1f} s; {still['remarks_per_10_min']:.1f} remarks in 10 still "
        f"minutes; {rules[-1]['rules']} rules cost {rules[-1]['ratio']:.2f} times one"
    )
    numbers = {
        "remarks": {row.name: {"setting": row.setting, **row.numbers} for row in remarks},
        "goals": {row.name: {"setting": row.setting, **row.numbers} for row in goals},
        "still": still, "rules": list(rules), "holds": holds,
    }
    return Outcome(figure, numbers, all(holds.values()))


# ---------------------------------------------------------------- docs/timing.md

def write(
    folder: Path, remarks: Sequence[Row], goals: Sequence[GoalRow], still: dict[str, Any],
    rules: Sequence[dict[str, Any]], done: Outcome, hardware: str,
) -> None:
    text = "\n".join([
        "# When it speaks: every response policy on the same signals", "",
        "Written by `python -m benchmarks.timing`; what is measured, and how, stands in that file.",
        f"Hardware: {hardware}.", "", done.figure + ".", "",
        *(f"- {name}: {'holds' if ok else 'does not hold'}"
          for name, ok in done.numbers["holds"].items()), "",
        "## Remarks on changes of scene", "",
        *remark_lines(remarks), "",
        "## Watch rules", "", *goal_lines(goals), "",
        "## Many rules at once", "", *rule_lines(rules), "",
        "## Nothing happens", "",
        f"A still picture with noise and shake for {still['seconds']:.0f} s, the default policy and"
        f" {still['rules']} rules for what is not there: {still['remarks']} remarks after the first"
        f" look, {still['alerts_per_hour']:.1f} false alerts an hour.", "",
    ])
    (folder / "timing.md").write_text(text)


def remark_lines(rows: Sequence[Row]) -> list[str]:
    head = ("policy", "F1", "default less this (95 %)", "recall", "precision", "a minute",
            "delay s", "90 % s", "TriggerAcc", "PO", "TimDiff", "TimRedun", "TimCover", "PAUC",
            "in-span", "same again", "setting")
    lines = [head, ("---",) * len(head)]
    for row in sorted(rows, key=lambda row: -row.numbers["f1"]):
        n = row.numbers
        low, high = n["less"]
        lines.append((
            row.name, f"{n['f1']:.2f}", f"{low:+.2f} to {high:+.2f}", f"{n['recall']:.2f}",
            f"{n['precision']:.2f}", f"{n['per_minute']:.1f}", number(n["delay_s"]),
            number(n["late_s"]), f"{n['trigger']:.2f}", f"{n['po']:.2f}", f"{n['TimDiff']:.1f}",
            f"{n['TimRedun']:.2f}", f"{n['TimCover']:.2f}", f"{n['pauc']:.0f}",
            f"{n['in_span']:.2f}", f"{100 * n['duplicates']:.0f} %", row.setting,
        ))
    return table(lines)


def goal_lines(rows: Sequence[GoalRow]) -> list[str]:
    head = ("checked by", "events", "F1", "recall", "precision", "delay s", "90 % s",
            "OVO forward", "false alerts an hour of a rule", "setting")
    lines = [head, ("---",) * len(head)]
    for row in sorted(rows, key=lambda row: -row.numbers["f1"]):
        n = row.numbers
        lines.append((
            row.name, str(n["events"]), f"{n['f1']:.2f}", share(n, "recall"),
            share(n, "precision"), number(n["delay_s"]), number(n["late_s"]), f"{n['ovo']:.2f}",
            f"{n['false_per_rule_hour']:.1f}",
            row.setting,
        ))
    return table(lines)


def rule_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = ("rules", "ms a frame", "times one rule", "checked every s", "delay s", "found")
    lines = [head, ("---",) * len(head)]
    for row in rows:
        lines.append((
            str(row["rules"]), f"{row['frame_ms']:.0f}", f"{row['ratio']:.2f}",
            f"{row['every_s']:.1f}", number(row["delay_s"]), f"{row['found']} of {row['events']}",
        ))
    return table(lines)


def share(numbers: dict[str, Any], name: str) -> str:
    low, high = numbers[f"{name}_from_to"]
    return f"{numbers[name]:.2f} ({low:.2f} to {high:.2f})"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def table(lines: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in lines]
