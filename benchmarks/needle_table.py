"""What came of the needles: scores with their intervals, the table, the plot, the verdict."""
import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.common import Outcome, Sheet
from benchmarks.needle_plot import svg
from benchmarks.needles import PAST_S, SHOWN_S

CONTROL, OURS = "last_n", "recall"
RESAMPLES = 2000
LEAST_ASKED = 300       # questions behind a verdict
LEAST_GAIN = 1.5        # of the past score of ours over the control's

Answer = dict[str, Any]


# ---------------------------------------------------------------- scores

def credit(answer: Answer) -> float:
    """1 right, 0 by chance: the mean over the pair (chance 1/2) and the choice (1/4)."""
    kinds = answer["pair"], answer["choice"]
    return mean((share(k) - 1 / len(k)) / (1 - 1 / len(k)) for k in kinds)


def share(scores: Sequence[float]) -> float:
    """How right it is that the first scores best; equals share."""
    best = max(scores)
    return 1 / scores.count(best) if scores[0] == best else 0.0


def is_past(answer: Answer) -> bool:
    return answer["age"] >= PAST_S[0]


def is_now(answer: Answer) -> bool:
    return not is_past(answer)


@dataclass(frozen=True)
class Estimate:
    """value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def estimate(credits: dict[tuple, list[float]]) -> Estimate | None:
    """Mean over all; the bootstrap draws needles, whose questions are not independent.

    credits: needle -> what its questions brought.
    """
    if not credits:
        return None
    needles = sorted(credits)
    sums = np.array([sum(credits[n]) for n in needles])
    counts = np.array([len(credits[n]) for n in needles])
    drawn = np.random.default_rng(0).integers(0, len(needles), (RESAMPLES, len(needles)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high))


class Line:
    """A policy at a budget: what all its streams brought. rows: one a stream."""

    def __init__(self, rows: Sequence[dict[str, Any]]):
        self.policy, self.budget = rows[0]["job"]["policy"], rows[0]["job"]["budget"]
        self.rows = rows
        self.answers = {
            (row["job"]["stream"], a["thing"], a["age"]): a for row in rows for a in row["answers"]
        }

    def score(self, wanted: Callable[[Answer], bool]) -> Estimate | None:
        return estimate(grouped((k, credit(a)) for k, a in self.answers.items() if wanted(a)))

    def gain(self, other: "Line", wanted: Callable[[Answer], bool]) -> Estimate | None:
        """Over another line on the same questions."""
        return estimate(grouped(
            (k, credit(a) - credit(other.answers[k])) for k, a in self.answers.items()
            if wanted(a) and k in other.answers
        ))

    def yes_no(self, wanted: Callable[[Answer], bool]) -> float | None:
        """Share of right answers when a probe of 0.5 or more means yes; chance is 0.5."""
        pairs = [a["pair"] for a in self.answers.values() if wanted(a)]
        return mean(((p[0] >= 0.5) + (p[1] < 0.5)) / 2 for p in pairs) if pairs else None

    def evidence(self) -> float | None:
        """How often the best recalled frame shows the thing, of questions about the past for which
        any was recalled."""
        first = [a["evidence"][0] for a in self.answers.values() if is_past(a) and a["evidence"]]
        return mean(first) if first else None

    def denied(self) -> str | None:
        """How often memory says that it did not see what was shown / what was never shown."""
        pairs = [a["denied"] for a in self.answers.values() if is_past(a)]
        if not any(map(any, pairs)):
            return None
        return " / ".join(f"{100 * mean(side):.0f} %" for side in zip(*pairs, strict=True))

    def most(self, name: str) -> int:
        return max(row.get(name, 0) for row in self.rows)

    @property
    def frame_ms(self) -> float:
        return mean(row["frame_ms"] for row in self.rows)

    @property
    def question_ms(self) -> float | None:
        times = [a["question_ms"] for a in self.answers.values()]
        return median(times) if times else None

    @property
    def answer_tokens(self) -> int:
        return max((a["answer_tokens"] for a in self.answers.values()), default=0)


def grouped(items: Iterable[tuple[tuple, float]]) -> dict[tuple, list[float]]:
    groups: dict[tuple, list[float]] = {}
    for (stream, thing, _), value in items:
        groups.setdefault((stream, thing), []).append(value)
    return groups


def lines_of(rows: Sequence[dict[str, Any]]) -> list[Line]:
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["job"]["budget"], row["job"]["policy"]), []).append(row)
    return [Line(group) for group in groups.values()]


# ---------------------------------------------------------------- table

Figures = dict[str, Any]   # column -> an Estimate, a number, a word, or None


def figures(line: Line, control: Line | None) -> Figures:
    rival = None if line is control else control
    return {
        "policy": line.policy,
        "budget": line.budget,
        "asked": len(line.answers),
        "now": line.score(is_now),
        "past": line.score(is_past),
        **{f"{age:.0f} s": line.score(lambda a, age=age: a["age"] == age) for age in PAST_S},
        "past, gain": rival and line.gain(rival, is_past),
        "now, gain": rival and line.gain(rival, is_now),
        "yes/no": line.yes_no(is_past),
        "tokens": line.most("tokens"),
        "to answer": line.answer_tokens,
        "cache MB": line.most("cache_bytes") / 1e6,
        "beside it MB": (line.most("gpu_bytes") + line.most("ram_bytes")) / 1e6,
        "disk MB": line.most("disk_bytes") / 1e6,
        "evidence": line.evidence(),
        "denied": line.denied(),
        "ms a frame": line.frame_ms,
        "ms a question": line.question_ms,
    }


def cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column[0].isdigit():   # an age; its interval would be too much
        return f"{value.value:.2f}"
    digits = 2 if column in ("yes/no", "evidence") else 1
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def markdown(lines: Sequence[Line], settings: str, failed: Sequence[str]) -> str:
    def row(texts: Iterable[str]) -> str:
        return "| " + " | ".join(texts) + " |"

    all_figures = [figures(line, control_of(lines, line)) for line in ranked(lines)]
    head = list(all_figures[0]) if all_figures else []
    body = [row(head), row(["---"] * len(head))]
    body += [row(cell(c, value) for c, value in one.items()) for one in all_figures]
    notes = [
        "# Needles in a stream", "", f"`python -m benchmarks.memory`, {settings}. "
        f"A picture is shown for {SHOWN_S:.0f} s in a stream of clips; the hours are loops and "
        "joins of short clips. Scores: 0 by chance, 1 all right, with 95 % intervals (bootstrap "
        f"over needles); \"gain\" is the paired difference to `{CONTROL}` at the same budget, a "
        "tie where its interval holds 0. \"yes/no\": right answers about the past when the probe "
        "is cut at 0.5, chance 0.50. Tokens and bytes (of the cache; of what is kept beside it, in "
        "RAM or on a GPU; on disk): the most at any time; \"to answer\": slots that an answer "
        "stands on. \"evidence\": how often the best recalled frame shows the thing; \"denied\": "
        "how often memory says that it did not see what was shown, and what was never shown. The "
        "encoder is not in the milliseconds.", "",
    ]
    missing = [f"Not measured: {'; '.join(failed)}.", ""] if failed else []
    return "\n".join([*notes, *body, "", *missing, "![scores](memory.svg)", ""])


def control_of(lines: Sequence[Line], line: Line) -> Line | None:
    same = (o for o in lines if o.policy == CONTROL and o.budget == line.budget)
    return next(same, None)


def ranked(lines: Sequence[Line]) -> list[Line]:
    """Best past score first in each budget."""
    return sorted(lines, key=lambda x: (x.budget, -value_of(x.score(is_past))))


def value_of(estimate: Estimate | None) -> float:
    """Below every score where nothing was asked."""
    return estimate.value if estimate else -1.0


def progress(row: dict[str, Any]) -> str:
    line, job = Line([row]), row["job"]
    return (f"{job['policy']:24} {job['budget']:6} stream {job['stream']}: now "
            f"{line.score(is_now) or '-'}, past {line.score(is_past) or '-'}, "
            f"{line.frame_ms:.0f} ms a frame")


# ---------------------------------------------------------------- verdict

def report(
    rows: Sequence[dict[str, Any]], failed: Sequence[str], args: argparse.Namespace, sheet: Sheet
) -> Outcome:
    """Print the table, write it with the plot, and judge."""
    lines = lines_of(rows)
    settings = (f"{args.model}, {args.streams} streams of {args.minutes:g} minutes at "
                f"{args.fps:g} frames a second, part {args.part}, seed {args.seed}")
    table = markdown(lines, settings, failed)
    sheet.row(table)
    if not args.quick:
        args.docs.mkdir(parents=True, exist_ok=True)
        (args.docs / "memory.md").write_text(table)
        (args.docs / "memory.svg").write_text(svg([
            (f"{x.policy} ({x.budget})", x.score(is_past), x.score(is_now)) for x in ranked(lines)
        ]))
    return judge(lines, failed, args.quick)


def judge(lines: Sequence[Line], failed: Sequence[str], quick: bool) -> Outcome:
    """A short run holds when everything ran; a whole one when ours is what it must be as well."""
    numbers = {"failed": list(failed), "policies": [
        {c: asdict(v) if isinstance(v, Estimate) else v
         for c, v in figures(line, control_of(lines, line)).items()} for line in lines
    ]}
    asked = max((len(line.answers) for line in lines), default=0)
    best = max(lines, key=lambda x: value_of(x.score(is_past)), default=None)
    sentence = f"{len(lines)} policies, {asked} questions about needles" + (
        f"; best past score {best.score(is_past) or '-'} by {best.policy}" if best else "")
    ours = [line for line in lines if line.policy.partition(":")[0] == OURS]
    wrong = [w for line in ours for w in shortcomings(line, lines)] if not quick else []
    if not quick and asked < LEAST_ASKED:
        wrong.append(f"only {asked} questions")
    return Outcome("; ".join([sentence, *wrong]), {**numbers, "asked": asked, "wrong": wrong},
                   bool(lines) and not failed and not wrong)


def shortcomings(ours: Line, lines: Sequence[Line]) -> list[str]:
    """Present not below the control's, past 1.5 times its, and not below the best other one's:
    "below" means that the interval of the paired difference lies under 0."""
    rivals = [x for x in lines if x.budget == ours.budget and x.policy.partition(":")[0] != OURS]
    control, name, wrong = control_of(lines, ours), f"{ours.policy} at {ours.budget}", []
    if control and ours.gain(control, is_now) and ours.gain(control, is_now).high < 0:
        wrong.append(f"{name} tells the present worse than {CONTROL}")
    least = LEAST_GAIN * max(0.0, value_of(control and control.score(is_past)))
    if value_of(ours.score(is_past)) < least:
        wrong.append(f"{name} has less than {LEAST_GAIN} times the past score of {CONTROL}")
    worse = [x.policy for x in rivals
             if (g := ours.gain(x, is_past)) is not None and g.high < 0]
    return wrong + ([f"{name} is below {', '.join(worse)} on the past"] if worse else [])
