"""How well does nano see? `python -m benchmarks.nano [--quick] [--weights FILE]`

Captions and yes or no of the test pictures (models/nano/evaluate.py); short questions made by rule
from their captions, as many of each answer, and indoor questions; questions about what a made-up
stream showed 10, 60 and 300 seconds ago; remarks on a still picture and on staged changes; how well
the flag and the token of silence tell news; the present questions of the annotated clips. Beside
each a control that sees nothing: the same model with the average picture in place of every picture.
"""
import argparse
import random
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.common import Outcome, Sheet, main, parser_of
from benchmarks.examples import EXAMPLES, draw_examples
from benchmarks.nano_questions import clip_questions, memory_questions, short_questions
from benchmarks.staged import news, silence
from models.nano import evaluate
from models.nano.adapter import Nano
from models.nano.data import DATA, Picture, load_pictures
from models.nano.network import NUM_TOKENS
from models.nano.rivals import mean_features
from streamassist.errors import StreamAssistError

QUICK = {"pictures": 6, "rooms": 3, "each": 1, "clips": 1, "streams": 0, "news": 2, "among": 100,
         "still_s": 10.0, "changes": 1}
WHOLE = {"pictures": None, "rooms": 100, "each": 8, "clips": None, "streams": 8,
         "news": 100, "still_s": 600.0, "changes": 24}
CAPTIONS, BLIND_LEAD, CLIPS, RECALL = 0.70, 0.15, 0.40, 0.70   # what must hold


def blind_of(model: Nano) -> evaluate.Blind:
    """The model with the average training picture before its eyes, whatever it is shown."""
    pictures = load_pictures()
    train = [p for p in pictures if p.split == "train" and p.kind == "human"]
    average = torch.from_numpy(mean_features(pictures, train).mean(0))
    return evaluate.Blind(model, average.expand(NUM_TOKENS, -1))


def test_pictures(limit: int | None, kind: str = "human") -> list[Picture]:
    found = [p for p in load_pictures() if p.split == "test" and p.kind == kind]
    random.Random(0).shuffle(found)
    return found[:limit]


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    if not DATA.is_dir():
        raise StreamAssistError(f"The evaluation pictures are not there: {DATA} is missing.")
    size = QUICK if args.quick else WHOLE
    state = load_file(args.weights) if args.weights else None
    model = Nano.load(state=state, bits=args.bits)
    blind, chosen = blind_of(model), set(args.parts.split(","))
    numbers: dict[str, Any] = {}
    parts = {
        "captions": lambda: evaluate.evaluate(model, size["pictures"], 1, size.get("among")),
        "questions": lambda: short_questions(
            model, blind, test_pictures(size["pictures"]), test_pictures(size["rooms"], "vqa"),
            size["each"],
        ),
        "memory": lambda: memory_questions(model, test_pictures(None), size["streams"]),
        "silence": lambda: silence(
            model, test_pictures(size["changes"] + 1), size["still_s"], args.response
        ),
        "news": lambda: news(model, test_pictures(None), size["news"]),
        "clips": lambda: clip_questions(model, blind, args.clips, size["clips"]),
    }
    for name, part in parts.items():
        if name in chosen and not (name == "memory" and not size["streams"]):   # a minute a stream
            numbers[name] = part()
            show(name, numbers[name], sheet)
    if args.examples:
        accepted = draw_examples(model, args.examples)
        sheet.row(f"{args.examples}: {accepted} of {len(EXAMPLES)} answers accepted")
    held = verdicts(numbers)
    figure = "; ".join(f"{what}: {value}" for what, (value, _) in held.items())
    return Outcome(figure, numbers, all(ok for _, ok in held.values()))


def show(name: str, result: dict[str, Any], sheet: Sheet) -> None:
    sheet.row(f"== {name}")
    if name == "captions":
        sheet.row(evaluate.table({**result, "weights": "as named"}))
        return
    for key, value in result.items():
        if isinstance(value, list):
            for line in value:
                sheet.row(f"   {line}")
        else:
            sheet.row(f"{key}: {value}")


def verdicts(numbers: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """What was measured -> (the figure, whether it is as good as it must be)."""
    held: dict[str, tuple[str, bool]] = {}
    if captions := numbers.get("captions"):
        cider = {row["name"]: row["cider_d"] for row in captions["rows"]}
        mine, rival = cider[evaluate.NANO], cider[evaluate.NEAREST]
        held["CIDEr-D"] = (f"{mine:.3f} (nearest picture {rival:.3f})",
                           mine >= CAPTIONS and mine >= 2 * rival)
        right = captions["yes_no"]["nano"]
        held["yes or no"] = f"{right:.0%}", right >= evaluate.YES_NO_GOAL
    if asked := numbers.get("questions"):
        mine, theirs = asked["right"], asked["blind"]
        held["short questions"] = f"{mine:.0%} (blind {theirs:.0%})", mine - theirs >= BLIND_LEAD
    if memory := numbers.get("memory"):
        held["past scene told"] = memory["figure"], True
    if quiet := numbers.get("silence"):
        held["remarks in 10 still minutes"] = (
            f"{quiet['still_remarks_per_10_min']:.1f}, changes noticed {quiet['recall']:.0%}",
            quiet["still_remarks_per_10_min"] <= 1 and quiet["recall"] >= RECALL,
        )
    if told := numbers.get("news"):
        held["news, area under the curve"] = (
            ", ".join(f"{name} {area:.2f}" for name, area in told["area"].items()), True)
    if clips := numbers.get("clips"):
        held["clips, present"] = (f"{clips['right']:.0%} (blind {clips['blind']:.0%})",
                                  clips["right"] >= CLIPS)
    return held


def parser() -> argparse.ArgumentParser:
    flags = parser_of(__doc__)
    flags.add_argument("--weights", type=Path, help="another file of trained tensors")
    flags.add_argument("--bits", type=int, choices=(8, 4), help="round the text model's layers")
    flags.add_argument("--parts", default="captions,questions,memory,silence,news,clips")
    flags.add_argument("--examples", type=Path, help="picture file to draw examples into")
    flags.add_argument("--response", default="change_gate", help="the policy of the silence part")
    return flags


if __name__ == "__main__":
    sys.exit(main(parser(), measure, None))


