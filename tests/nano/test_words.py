"""The projector's warm start: it learns to name what the pictures' captions name."""
import random

import torch

from models.nano.network import FEATURE_DIM, NUM_TOKENS, Projector
from models.nano.words import MIN_PICTURES, content_words, warm_up, word_targets

DOG, CAT, BALL = ["A dog runs."], ["The cat sits."], ["A dog with a ball.", "A red ball."]


def test_targets_are_the_shares_of_words_and_leave_out_the_rare():
    tokens = {"dog": 7, "cat": 3, "ball": 9, "runs": None}.get
    groups = [DOG, CAT, BALL] * MIN_PICTURES + [["A zebra eats."]]
    vocabulary, table = word_targets(groups, tokens)
    assert vocabulary.tolist() == [3, 7, 9]
    assert table[0].tolist() == [0, 1, 0]
    torch.testing.assert_close(table[2], torch.tensor([0, 1 / 3, 2 / 3]))
    assert table[-1].sum() == 0          # no known word: never drawn


def test_words_without_content_are_left_out():
    assert content_words("A man is standing next to the red car.") == [
        "man", "standing", "red", "car"
    ]


def test_the_projector_learns_to_name_unseen_pictures():
    """Two sorts of features, two words: after training fresh noise of a sort names its word."""
    torch.manual_seed(0)
    kinds = torch.randn(2, FEATURE_DIM)
    pictures = [kinds[i % 2] + 0.5 * torch.randn(NUM_TOKENS, FEATURE_DIM) for i in range(256)]
    targets = torch.eye(2)[torch.arange(256) % 2]
    embeddings = torch.randn(2, 32) / 32**0.5
    projector = Projector(32)

    def features(places, rng: random.Random):
        return torch.stack([pictures[i] for i in places])

    lines: list[dict] = []
    warm_up(projector, embeddings, targets, features, 6, lines.append)
    assert lines[-1]["loss"] < 0.3 * lines[0]["loss"]
    new = torch.stack([k + 0.5 * torch.randn(NUM_TOKENS, FEATURE_DIM) for k in kinds])
    with torch.no_grad():
        said = (projector(new) @ embeddings.T).mean(1)
    assert said.argmax(1).tolist() == [0, 1]
