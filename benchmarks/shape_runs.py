"""Ingest, latency and cost of a frame with models of published shapes, on a GPU.

`python -m benchmarks.shape_runs [--what ingest,latency,cost] [--model A,B] [--seconds 300]` writes
OUT/shapes_<what>.json (else in `results`) after each model; the benchmarks of these names do the
same for `--model Qwen2.5-VL-7B` and its like. Frames come in pairs of 448 x 448, every token kept
and 60 % dropped. Of Qwen2.5-VL-7B is asked what a GPU must reach, of the others what nano must.
"""
import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.shape_stream import encoded, once_ms, pairs, prefilled, watching
from benchmarks.shapes import SHAPES, build, drain, floor_ms, header, matmul_tflops, release, unable
from benchmarks.stages import stages_of

MEMORY = "recall:budget=8192,stored=32768"
SHARES = {"every token": 1.0, "60 % dropped": 0.4}
PAIRS, WARM, TOGETHER = 48, 4, 4
LEAST_FPS, MOST_SLOWER, CHEAPER = 6.0, 1.5, 10.0   # what must hold, as for nano
GOALS = {"Qwen2.5-VL-7B": {"every token": 120.0, "60 % dropped": 200.0}}   # frames a second
MOST_FIRST_MS = {"Qwen2.5-VL-7B": 30.0}   # to the first token, at any age
AGES_S, STEP_S = (60.0, 3600.0, 28800.0), 16.0
QUESTIONS = {"now": "What is happening?", "past": "Was there a dog earlier?"}
WINDOW, LAST, ROUNDS = 64, 4, 3
Result = dict[str, Any]   # ok, figure, numbers


# ---------------------------------------------------------------- ingest

def ingest(model: Any, name: str, memory: str, quick: bool) -> Result:
    """Milliseconds a frame by stage beside the dense floor; frames a second with groups of pairs
    encoded ahead, which is what must hold."""
    tflops, rows = matmul_tflops(1024 if quick else 8192), []
    stream = pairs(WARM + (8 if quick else PAIRS))
    frames, goals = 2 * (len(stream) - WARM), GOALS.get(name, {})
    for label, share in SHARES.items():
        engine = watching(model, memory, share)
        with stages_of(engine, wait=drain) as stages:
            for number, pair in enumerate(stream):
                if number == WARM:
                    stages.clear()
                engine.observe(pair)
        ms = {stage: spent / frames for stage, spent in stages.spent.items()}
        floor = floor_ms(name, tflops, share)
        rows.append({
            "tokens": label, "ms": ms, "floor_ms": floor,
            "left_ms": {stage: ms[stage] - floor[stage] for stage in floor},
            "fps": 1000 / total(ms),
            "ahead_fps": ahead_fps(model, memory, share, stream),
            "graphs_fps": graphs_fps(model, memory, share, stream),
        })
    figure = "; ".join(
        f"{row['tokens']}: {row['ahead_fps']:.1f} frames a second, {total(row['ms']):.1f} "
        f"ms a frame, floor {sum(row['floor_ms'].values()):.1f}" for row in rows
    )
    ok = all(row["ahead_fps"] >= goals.get(row["tokens"], LEAST_FPS) for row in rows)
    return {"ok": ok, "figure": figure, "numbers": {"matmul_tflops": tflops, "rows": rows}}


def ahead_fps(model: Any, memory: str, share: float, stream: Sequence[Any]) -> float:
    """Frames a second when the next pairs are encoded while these are prefilled."""
    from models.overlap import EncodeAhead

    ahead = EncodeAhead(model)
    engine = watching(ahead, memory, share)
    groups = [stream[i : i + TOGETHER] for i in range(0, len(stream), TOGETHER)]
    drain()
    begun = time.perf_counter()
    ahead.prepare(groups[0])
    for group, following in zip(groups, [*groups[1:], []], strict=True):
        if following:
            ahead.prepare(following)
        for pair in group:
            engine.observe(pair)
    drain()
    return 2 * len(stream) / (time.perf_counter() - begun)


def graphs_fps(model: Any, memory: str, share: float, stream: Sequence[Any]) -> float | str | None:
    """The same with CUDA graphs; what went wrong with them; None without a GPU."""
    if model.device.type != "cuda":
        return None
    try:
        model.use_graphs()
        return ahead_fps(model, memory, share, stream)
    except Exception as error:   # not what must hold: they are off by default
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        model.fixed = None


# ---------------------------------------------------------------- latency

class Again:
    """The model, whose encoder shows the same few pairs again and again: only ages matter."""

    def __init__(self, model: Any):
        self._model, self._seen = model, model.encode(pairs(8))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, frames: Sequence[Any]) -> list[Any]:
        return [
            replace(seen, embeds=seen.embeds.clone(), pts=frame.pts, frame=frame.index)
            for frame in frames for seen in [self._seen[frame.index % len(self._seen)]]
        ]


def latency(model: Any, name: str, memory: str, quick: bool) -> Result:
    """Milliseconds from a question to its first token at stream ages, and which stage took them."""
    from streamassist.types import Frame

    engine, rows, index = watching(Again(model), memory), [], 0
    for age in AGES_S:
        age = age / (20 if quick else 1)
        while index * STEP_S < age:
            engine.observe(Frame(None, index * STEP_S, index))
            index += 1
        rows.append({"age_s": age, "cache_tokens": len(engine.cache),
                     "beside_mb": sum(engine.memory.bytes().values()) / 1e6,
                     **{kind: first_token_ms(engine, q) for kind, q in QUESTIONS.items()}})
    ms = [{**row, **{kind: total(row[kind]) for kind in QUESTIONS}} for row in rows]
    most = MOST_FIRST_MS.get(name, float("inf"))
    fast = all(row[kind] <= most for row in ms for kind in QUESTIONS)
    figure = "first token, " + "; ".join(
        f"{kind} {ms[0][kind]:.0f} ms after {ms[0]['age_s']:.0f} s, "
        f"{ms[-1][kind]:.0f} after {ms[-1]['age_s']:.0f}" for kind in QUESTIONS
    )
    return {"ok": fast and is_flat(ms), "figure": figure, "numbers": {"rows": rows}}


def is_flat(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether answers at the last age take no longer than at the first one at which memory holds
    something beside the cache: before that there is nothing to look back to."""
    first = next((row for row in rows if row["beside_mb"]), rows[0])
    return all(rows[-1][kind] <= MOST_SLOWER * first[kind] for kind in QUESTIONS)


def first_token_ms(engine: Any, question: str) -> dict[str, float]:
    """By stage, medians of three after one that warms up."""
    runs = []
    with stages_of(engine, wait=drain) as stages:
        for _ in range(4):
            stages.clear()
            engine.ask(question, 0.0)
            engine.close()
            runs.append(stages.spent)
    return {stage: median(run[stage] for run in runs[1:]) for stage in runs[0]}


def total(stages: dict[str, float]) -> float:
    return sum(stages.values())


# ---------------------------------------------------------------- cost

def cost(model: Any, name: str, memory: str, quick: bool) -> Result:
    """Milliseconds for a new pair: ours, and the window of the last `WINDOW` sent again."""
    window, engine = (8 if quick else WINDOW), watching(model, memory)
    stream = pairs(window + ROUNDS)
    for pair in stream[:window]:
        engine.observe(pair)
    features, spent = encoded(model, stream), {}
    for n in range(window, len(stream)):
        ways = {
            "ours": lambda n=n: engine.observe(stream[n]),
            "window sent again": lambda n=n: prefilled(
                model, encoded(model, stream[n + 1 - window : n + 1])),
            "window from features": lambda n=n: prefilled(model, features[n + 1 - window : n + 1]),
            "last four": lambda n=n: prefilled(model, encoded(model, stream[n + 1 - LAST : n + 1])),
        }
        for way, action in ways.items():
            spent.setdefault(way, []).append(once_ms(action))
    ms = {way: median(times) for way, times in spent.items()}
    times, least = ms["window sent again"] / ms["ours"], CHEAPER * window / WINDOW
    figure = f"a pair costs {ms['ours']:.0f} ms, {times:.0f} times less than {window} sent again"
    return {"ok": times >= least, "figure": figure, "numbers": {"ms": ms}}


# ---------------------------------------------------------------- the run

RUNS: dict[str, Callable[[Any, str, str, bool], Result]] = {
    "ingest": ingest, "latency": latency, "cost": cost,
}


def run_shape(name: str, what: Sequence[str], memory: str = MEMORY, quick: bool = False) -> Result:
    """What -> result; or why it was not run, or failed. ok: nothing that ran did not hold."""
    if why := unable(name):
        return {"model": name, "status": "not run", "why": why, "ok": True}
    try:
        model: Any = build(name)
        done = {kind: RUNS[kind](model, name, memory, quick) for kind in what}
        ok = all(result["ok"] for result in done.values())
        return {"model": name, "status": "ran", "ok": ok, **done}
    except Exception as error:   # one model that breaks must not cost the figures of the others
        why = f"{type(error).__name__}: {error}"[:500]
        return {"model": name, "status": "failed", "why": why, "ok": False}
    finally:
        model = None
        release()


def with_shapes(kind: str, real: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`real(args, sheet)`, a benchmark, for `--model A,B` where some may be shapes; of what could
    not run is told why, and `ok` is of what ran."""

    def measure(args: argparse.Namespace, sheet: Any) -> Any:
        from benchmarks.common import Outcome

        parts = {}
        for name in args.model.split(","):
            one = argparse.Namespace(**{**vars(args), "model": name})
            parts[name] = Outcome(*shape_part(kind, one)) if name in SHAPES else real(one, sheet)
        if list(parts) == [args.model] and args.model not in SHAPES:
            return parts[args.model]
        figure = "; ".join(f"{name}: {part.figure}" for name, part in parts.items())
        numbers = {name: part.numbers for name, part in parts.items()}
        return Outcome(figure, numbers, all(part.ok for part in parts.values()))

    return measure


def shape_part(kind: str, args: argparse.Namespace) -> tuple[str, dict[str, Any], bool]:
    """(figure, numbers, ok) of one shape; the small default memory is not for its many tokens."""
    memory = MEMORY if args.memory == "recall" else args.memory
    result = run_shape(args.model, [kind], memory, args.quick)
    if result["status"] != "ran":
        return f"{result['status']} ({result['why']})", {}, result["ok"]
    done = result[kind]
    return done["figure"], done["numbers"], done["ok"]


def save(kind: str, results: Sequence[Result], machine: dict[str, Any]) -> Path:
    """OUT/shapes_<kind>.json with one entry a model."""
    out = Path(os.environ.get("OUT", "results")) / f"shapes_{kind}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = [{k: v for k, v in r.items() if k not in RUNS or k == kind} for r in results]
    out.write_text(json.dumps({**machine, "rows": rows}, indent=1))
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", default=",".join(RUNS))
    parser.add_argument("--model", default=",".join(SHAPES))
    parser.add_argument("--memory", default=MEMORY)
    parser.add_argument("--quick", action="store_true", help="few frames")
    parser.add_argument("--seconds", type=float, default=300, help="begin no model after this long")
    args = parser.parse_args()
    what, results, began = args.what.split(","), [], time.monotonic()
    if why := unable():
        print(json.dumps({"ok": True, "figure": None, "status": "not run", "why": why}))
        return 0
    for name in args.model.split(","):
        if time.monotonic() - began > args.seconds:
            late = {"model": name, "status": "not run", "why": "out of time", "ok": True}
            results.append(late)
        else:
            results.append(run_shape(name, what, args.memory, args.quick))
        print(json.dumps(results[-1]), flush=True)
        for kind in what:
            save(kind, results, header())
    ok = all(result["ok"] for result in results)
    ran = sum(result["status"] == "ran" for result in results)
    print(json.dumps({"ok": ok, "figure": f"{ran} of {len(results)} shapes ran"}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
