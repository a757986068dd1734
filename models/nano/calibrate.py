"""Turn nano's evidence for a sentence into a probability: `python -m models.nano.calibrate`.

Fits scale and bias of `Nano.probe` by logistic regression on pictures of the validation split (a
thing or a caption that is there, and one that is not), writes them into the weights, and prints
how well they do on the test split. Training calls it at its end.
"""
import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.nano import prompts
from models.nano.adapter import PROBE, Nano
from models.nano.data import Picture, load_pictures, read_images
from models.nano.questions import GROUPS, YesNoMaker, things_in, with_article
from models.nano.weights import OWN_WEIGHTS, sha256_of
from streamassist.types import Frame, Role

PICTURES = 40
PAIRS = 3     # true and false statements a picture


def statements(picture: Picture, maker: YesNoMaker, rng: random.Random) -> list[tuple[str, bool]]:
    """Balanced: things and, once, a whole caption; of this picture and of others."""
    present = sorted(things_in(picture.captions))
    out = []
    for _ in range(PAIRS - 1):
        if present:
            out.append((with_article(GROUPS[rng.choice(present)][0]), True))
        group = rng.choices(range(len(GROUPS)), maker.weights)[0]
        if group not in present:
            out.append((with_article(GROUPS[group][0]), False))
    out.append((rng.choice(picture.captions), True))
    other = rng.choice(maker.all_captions)
    if not things_in(other) & set(present):
        out.append((rng.choice(other), False))
    return out


def collect(nano: Nano, split: str) -> tuple[Tensor, Tensor]:
    """(evidence, truth), each (M,), over pictures of a split with five captions."""
    pictures = [p for p in load_pictures() if p.split == split and len(p.captions) >= 5]
    rng = random.Random(split)
    pictures = rng.sample(pictures, min(PICTURES, len(pictures)))
    maker, rows = YesNoMaker([p.captions for p in pictures]), []
    for index, image in read_images(pictures):
        cache = nano.new_cache()
        nano.forward(nano.text_chunk(nano.prompt_ids(), 0, Role.PROMPT, 0.0), cache)
        (tokens,) = nano.encode([Frame(np.asarray(image), 0.0, 0)])
        nano.forward(nano.frame_chunk(tokens, cache.next_position), cache)
        size = cache.size
        for statement, truth in statements(pictures[index], maker, rng):
            claim = nano.encode_text(prompts.claim(statement))
            rows.append((nano.evidence(claim, cache, 0.0), float(truth)))
            cache.truncate(size)
    evidence, truth = torch.tensor(rows).T
    return evidence, truth


def fit(evidence: Tensor, truth: Tensor) -> Tensor:
    """(2,) scale and bias of the logistic regression."""
    weights = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100)

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = weights[0] * evidence + weights[1]
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()


def area_under_curve(score: Tensor, truth: Tensor) -> float:
    """Chance that a true statement scores above a false one."""
    yes, no = score[truth == 1], score[truth == 0]
    wins = (yes[:, None] > no).float() + 0.5 * (yes[:, None] == no).float()
    return float(wins.mean())


def calibrate(file: Path = OWN_WEIGHTS) -> dict[str, float]:
    """Write scale and bias into `file`; the figures on the test split."""
    state = load_file(file)
    state.pop(PROBE, None)
    nano = Nano.load(state=state)
    weights = fit(*collect(nano, "val"))
    with safe_open(file, "pt") as old:
        metadata = old.metadata()
    save_file({**state, PROBE: weights}, file, metadata=metadata)
    file.with_suffix(".sha256").write_text(f"{sha256_of(file)}  {file.name}\n")
    evidence, truth = collect(nano, "test")
    right = (weights[0] * evidence + weights[1] > 0) == (truth == 1)
    return {
        "scale": round(float(weights[0]), 3),
        "bias": round(float(weights[1]), 3),
        "test_statements": len(truth),
        "test_accuracy": round(float(right.float().mean()), 3),
        "test_auc": round(area_under_curve(evidence, truth), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=OWN_WEIGHTS)
    print(json.dumps({"calibrated": calibrate(parser.parse_args().weights)}), flush=True)


if __name__ == "__main__":
    main()
