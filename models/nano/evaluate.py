"""Measure nano honestly: `python -m models.nano.evaluate [--write-card]`.

On the test pictures with five human captions, through the shipped adapter from pixels to words.
Beside it: the most common training caption; the first caption of the nearest training picture by
the same features (pictures of the same series excluded); nano with its features zeroed, or
replaced by the average of the training pictures; and nano's captions given to other pictures.
Needs `../shared/data/train` and the features that training computed. About 15 minutes on 2 cores.
"""
import argparse
import json
import logging
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.nano.adapter import GRID, Nano
from models.nano.backbone import FEATURE_DIM
from models.nano.data import DATA, Picture, load_pictures, read_images
from models.nano.describe import describe, prefill
from models.nano.network import NUM_TOKENS
from models.nano.questions import YesNoMaker
from models.nano.rivals import mean_features, most_common_caption, nearest, shuffled
from models.nano.scores import CiderD, bleu4, bootstrap_interval
from models.nano.series import hashes, same_series
from models.nano.weights import OWN_WEIGHTS, sha256_of
from models.probing import yes_to_question
from streamassist.errors import StreamAssistError
from streamassist.types import Frame, VideoLLM, VisualTokens

log = logging.getLogger(__name__)

CARD = Path(__file__).with_name("CARD.md")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NANO, NEAREST, SHUFFLED = "nano, greedy", "nearest training picture", "nano, pictures shuffled"
BLANK = np.zeros((1, 1, 3), np.uint8)
GOAL, YES_NO_GOAL = 0.70, 0.75   # CIDEr-D; balanced accuracy
QUESTIONS_EACH = 2    # yes/no questions of each answer, per picture

Question = tuple[str, str]   # question, "Yes." or "No."


# ---------------------------------------------------------------- what nano says

class Blind:
    """The same model, shown `features` (16, 1280) in place of every picture's own."""

    def __init__(self, model: Nano, features: Tensor):
        self._model = model
        with torch.inference_mode():
            self._embeds = model.projector(features[None].to(model.device))[0].to(model.dtype)

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def encode(self, frames: Sequence[Frame]) -> list[VisualTokens]:
        return [VisualTokens(self._embeds.clone(), GRID, f.pts, f.index) for f in frames]


def chances_of_yes(
    model: VideoLLM, image: np.ndarray, questions: Sequence[Question]
) -> list[float]:
    """P(yes) / (P(yes) + P(no)) as the first word of the answer to each question."""
    cache = prefill(model, [image])
    start, answers = cache.size, []
    for question, _ in questions:
        answers.append(yes_to_question(model, question, cache, 0.0))
        cache.truncate(start)
    return answers


@dataclass
class Said:
    """What a model said about every picture, in the order of the pictures."""

    greedy: list[str] = field(default_factory=list)
    beam: list[str] = field(default_factory=list)
    yes: list[list[float]] = field(default_factory=list)


def look(
    model: VideoLLM, pictures: list[Picture], questions: list[list[Question]], beam: int
) -> Said:
    said = Said(*([None] * len(pictures) for _ in range(3)))
    for done, (i, picture) in enumerate(read_images(pictures), 1):
        image = np.asarray(picture)
        said.greedy[i] = describe(model, image)
        said.beam[i] = describe(model, image, beam) if beam > 1 else said.greedy[i]
        said.yes[i] = chances_of_yes(model, image, questions[i])
        if done % 50 == 0 or done == len(pictures):
            log.info("%d of %d pictures", done, len(pictures))
    return said


def balanced_questions(pictures: list[Picture], seed: int = 0) -> list[list[Question]]:
    """As many "yes" as "no" for every picture, made by rule from the captions."""
    rng, maker = random.Random(seed), YesNoMaker([p.captions for p in pictures])
    table = []
    for picture in pictures:
        kept: dict[str, list[Question]] = {"Yes.": [], "No.": []}
        while any(len(group) < QUESTIONS_EACH for group in kept.values()):
            question, answer = maker.make(picture.captions, rng)
            if len(kept[answer]) < QUESTIONS_EACH:
                kept[answer].append((question, answer))
        table.append(kept["Yes."] + kept["No."])
    return table


def accuracy(questions: Sequence[Question], chances: Sequence[float]) -> float:
    pairs = zip(questions, chances, strict=True)
    return sum((yes > 0.5) == (truth == "Yes.") for (_, truth), yes in pairs) / len(questions)


def calibration_error(questions: Sequence[Question], chances: Sequence[float]) -> float:
    """Expected calibration error of P(yes) in ten bins (arXiv 1706.04599), 0 at best."""
    truth = np.array([answer == "Yes." for _, answer in questions], float)
    said, error = np.array(chances), 0.0
    bins = np.minimum((said * 10).astype(int), 9)
    for b in np.unique(bins):
        here = bins == b
        error += here.mean() * abs(truth[here].mean() - said[here].mean())
    return float(error)


# ---------------------------------------------------------------- the figures

def pictures_of_test(pictures: list[Picture]) -> list[Picture]:
    """The test split; only pictures with five human captions, so that references are alike."""
    return [
        p for p in pictures if p.split == "test" and p.kind == "human" and len(p.captions) == 5
    ]


def evaluate(
    model: Nano, limit: int | None = None, beam: int = 3, among: int | None = None
) -> dict:
    """Everything measured, as one JSON-ready dictionary; `beam` 1 leaves that row out, `among`
    looks for neighbours among so many training pictures only."""
    everything = load_pictures()
    test = pictures_of_test(everything)[:limit]
    train = [p for p in everything if p.split == "train" and p.kind == "human"][:among]
    features = mean_features(everything, test), mean_features(everything, train)
    series = same_series(*(hashes(read_images(p), len(p)) for p in (test, train)))
    blind = Blind(model, torch.zeros(NUM_TOKENS, FEATURE_DIM))
    average = Blind(model, torch.from_numpy(features[1].mean(0)).expand(NUM_TOKENS, -1))
    questions = balanced_questions(test)
    log.info("neighbours found; nano reads %d pictures", len(test))
    said = look(model, test, questions, beam)
    first = [p.captions[0] for p in train]
    captions = {
        NANO: said.greedy,
        f"nano, beam {beam}": said.beam,
        NEAREST: [first[i] for i in nearest(*features, series)],
        "nearest, same series allowed": [first[i] for i in nearest(*features)],
        "most common caption": [most_common_caption(train)] * len(test),
        "blind: features zeroed": [describe(blind, BLANK)] * len(test),
        "blind: the average picture": [describe(average, BLANK)] * len(test),
        SHUFFLED: shuffled(said.greedy),
    }
    if beam == 1:
        del captions["nano, beam 1"]
    return {
        "pictures": len(test),
        **caption_scores(captions, [p.captions for p in test], alone=~series.any(1)),
        "yes_no": yes_no_scores(questions, said.yes, blind),
    }


def caption_scores(
    captions: dict[str, list[str]], references: list[Sequence[str]], alone: np.ndarray
) -> dict:
    """A row for each set of captions, and how sure nano's gain over the nearest picture is.

    alone: (N,) True where no training picture may be of the same series.
    """
    scorer = CiderD(references)
    each = {name: scorer.score(texts) for name, texts in captions.items()}
    gain = each[NANO] - each[NEAREST]
    return {
        "rows": [
            {"name": name, "cider_d": float(each[name].mean()), "bleu4": bleu4(texts, references)}
            for name, texts in captions.items()
        ],
        "gain": [float(gain.mean()), *bootstrap_interval(gain)],
        "alone": int(alone.sum()),
        "gain_alone": [float(gain[alone].mean()), *bootstrap_interval(gain[alone])],
    }


def yes_no_scores(
    questions: list[list[Question]], answers: list[list[float]], blind: Blind
) -> dict:
    asked = [q for group in questions for q in group]
    given = [yes for group in answers for yes in group]
    return {
        "questions": len(asked),
        "nano": accuracy(asked, given),
        "blind": accuracy(asked, chances_of_yes(blind, BLANK, asked)),
        "calibration_error": calibration_error(asked, given),
    }


# ---------------------------------------------------------------- the report

def verdicts(result: dict) -> dict[str, bool]:
    """What must hold of it."""
    cider = {row["name"]: row["cider_d"] for row in result["rows"]}
    bleu = {row["name"]: row["bleu4"] for row in result["rows"]}
    rivals = [name for name in cider if not name.startswith("nano")]
    best_cider, best_bleu = (max(scores[r] for r in rivals) for scores in (cider, bleu))
    return {
        f"CIDEr-D is at least {GOAL:.2f}": cider[NANO] >= GOAL,
        "CIDEr-D is at least twice the nearest picture's": cider[NANO] >= 2 * cider[NEAREST],
        "CIDEr-D is above every baseline": cider[NANO] > best_cider,
        "BLEU-4 is above every baseline": bleu[NANO] > best_bleu,
        "the gain over the nearest picture is not chance": result["gain"][1] > 0,
        "shuffling the pictures at least halves CIDEr-D": cider[SHUFFLED] <= cider[NANO] / 2,
        f"yes/no is right in at least {YES_NO_GOAL:.0%}": result["yes_no"]["nano"] >= YES_NO_GOAL,
    }


def table(result: dict) -> str:
    """The result in Markdown."""
    yes_no, gain = result["yes_no"], "{:+.3f} (95 % interval {:+.3f} to {:+.3f})"
    return "\n".join([
        "| | CIDEr-D | BLEU-4 |",
        "| --- | --- | --- |",
        *(f"| {r['name']} | {r['cider_d']:.3f} | {r['bleu4']:.3f} |" for r in result["rows"]),
        "",
        f"{result['pictures']} pictures, weights `{result['weights'][:12]}`. CIDEr-D of {NANO}, "
        f"minus {NEAREST}: {gain.format(*result['gain'])}; on the {result['alone']} pictures that "
        f"may have no series in training: {gain.format(*result['gain_alone'])}.",
        "",
        f"Yes/no questions, as many of each answer ({yes_no['questions']}): nano "
        f"{100 * yes_no['nano']:.1f} % right, with the features zeroed "
        f"{100 * yes_no['blind']:.1f} %; expected calibration error of its P(yes) "
        f"{yes_no['calibration_error']:.3f}.",
        "",
        *(f"- {'held' if held else '**not held**'}: {what}"
          for what, held in verdicts(result).items()),
    ])


def write_card(text: str, card: Path = CARD) -> None:
    """Put `text` between the markers of the model card."""
    before, begin, rest = card.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise StreamAssistError(f"{card} has lost its markers; put back {BEGIN} and {END}.")
    card.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.nano.evaluate", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--write-card", action="store_true", help="put the table into CARD.md")
    parser.add_argument("--limit", type=int, help="only the first pictures (scores then differ)")
    parser.add_argument("--beam", type=int, default=3, help="beam width of a second row; 1: none")
    parser.add_argument("--weights", type=Path, help="another file of trained tensors")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.write_card and (options.limit or options.weights):
        parser.error("--write-card is for the shipped weights on all pictures")
    try:
        if not DATA.is_dir():
            raise StreamAssistError(f"The evaluation pictures are not there: {DATA} is missing.")
        model = Nano.load(state=load_file(options.weights) if options.weights else None)
        result = evaluate(model, options.limit, options.beam)
        result["weights"] = sha256_of(options.weights or OWN_WEIGHTS)
        if options.write_card:
            write_card(table(result))
    except StreamAssistError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(result), file=sys.stderr)
    print(json.dumps({"ok": all(verdicts(result).values()), **result}))
    return 0 if all(verdicts(result).values()) else 1


if __name__ == "__main__":
    sys.exit(main())
