"""Training sequences: streams of pictures whose questions have the answers they should."""
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.nano import prompts
from models.nano.backbone import FEATURE_DIM
from models.nano.batches import Batches
from models.nano.data import Picture
from models.nano.network import MOST_FRAMES, NUM_TOKENS
from models.nano.questions import things_in
from tests.tiny_models import tokenizer

CAPTIONS = [
    ("A dog runs on the grass.", "A brown dog is running on the lawn."),
    ("Two men ride bicycles on a street.", "Men on bikes."),
    ("A cat sleeps on a sofa.", "A black cat is lying on a couch."),
    ("A boat on the lake.", "A small boat floats on the water."),
]
PICTURES = [Picture(f"{i}.jpg", "a.tar", "train", "human", c) for i, c in enumerate(CAPTIONS)] + [
    Picture("l.jpg", "a.tar", "train", "label", ("A photo of a buckeye.",)),
    Picture("v.jpg", "a.tar", "train", "vqa", (), (("What is on the desk?", "lamp"),)),
    Picture("t.jpg", "a.tar", "test", "human", ("A giraffe.",)),
]


@pytest.fixture(scope="module")
def made() -> Batches:
    views = [np.full((len(PICTURES), NUM_TOKENS, FEATURE_DIM), 0, np.float16) for _ in range(2)]
    for view in views:
        view[:] = np.arange(len(PICTURES))[:, None, None]     # a picture is told by its value
    return Batches(tokenizer("qwen"), PICTURES, SimpleNamespace(views=views))


def branches(made: Batches, tree) -> list[tuple[str, str]]:
    """(question, answer) of every answered branch."""
    text = [made.tokenizer.decode([i for i, b in zip(tree.ids, tree.branch, strict=True) if b == n])
            for n in range(len(tree.ancestors))]
    parents = [max(a - {n}, default=0) for n, a in enumerate(tree.ancestors)]
    return [(text[parents[n]].removesuffix(prompts.CLOSE), text[n].removesuffix(prompts.END))
            for n in range(len(text)) if parents[n]]


def scenes(tree, frames: torch.Tensor) -> list[int]:
    """The picture of each scene, from the features and the marks of news."""
    if not tree.news:
        return [int(frames[0, 0, 0])]
    return [int(f[0, 0]) for f, (_, new) in zip(frames, tree.news, strict=True) if new]


def drawn(made: Batches, steps: int):
    for step in range(steps):
        trees, frames = made.draw(step)
        at = 0
        for tree in trees:
            count = len(tree.visual) // NUM_TOKENS
            yield tree, frames[at : at + count]
            at += count
        assert at == len(frames)


def test_a_step_is_drawn_alike_every_time(made):
    (one, views), (two, again) = made.draw(7), made.draw(7)
    assert [t.ids for t in one] == [t.ids for t in two] and torch.equal(views, again)
    assert [t.ids for t in made.draw(8)[0]] != [t.ids for t in one]


def test_frames_of_the_test_split_are_never_drawn(made):
    shown = {int(frame[0, 0]) for _, frames in drawn(made, 30) for frame in frames}
    assert shown == set(range(6))


def test_news_is_where_the_scene_changes(made):
    streams = 0
    for tree, frames in drawn(made, 30):
        assert len(frames) <= MOST_FRAMES
        if tree.news:
            shown = [int(f[0, 0]) for f in frames]
            changed = [True] + [a != b for a, b in zip(shown, shown[1:], strict=False)]
            assert [new for _, new in tree.news] == changed
            assert [at for at, _ in tree.news] == tree.visual[NUM_TOKENS - 1 :: NUM_TOKENS]
            streams += any(changed[1:])
    assert streams > 50


def test_answers_about_earlier_and_now_are_true(made):
    counts = {"Yes.": 0, "No.": 0}
    for tree, frames in drawn(made, 60):
        seen = scenes(tree, frames)
        things = [things_in(PICTURES[i].captions) for i in seen]
        for question, answer in branches(made, tree):
            if any(_made_by(form, question) for form in prompts.EARLIER):
                present = set().union(*things[:-1])
                counts[answer] += 1
            elif len(seen) > 1 and any(_made_by(f, question) for f in prompts.PRESENCE_QUESTIONS):
                present = things[-1]
            else:
                continue
            assert (answer == "Yes.") == bool(things_in([question]) & present), (question, seen)
    assert min(counts.values()) > 20


def _made_by(form: str, question: str) -> bool:
    before, after = form.split("{thing}")
    return question.startswith(before) and question.endswith(after)


def test_before_and_first_name_the_right_scene(made):
    told = 0
    for tree, frames in drawn(made, 40):
        seen = scenes(tree, frames)
        for question, answer in branches(made, tree):
            place = -2 if question in prompts.BEFORE else 0 if question in prompts.FIRST else None
            if place is not None:
                assert answer in PICTURES[seen[place]].captions
                told += 1
    assert told > 30


def test_a_mirrored_view_is_mirrored_in_its_cells(made):
    grid = np.arange(NUM_TOKENS, dtype=np.float16)[None, :, None].repeat(FEATURE_DIM, 2)
    made = Batches(made.tokenizer, PICTURES[:1], SimpleNamespace(views=[grid]))
    seen = {tuple(made.view(0, random.Random(i))[:, 0].int().tolist()) for i in range(20)}
    rows = torch.arange(NUM_TOKENS).view(4, 4)
    assert seen == {tuple(rows.flatten().tolist()), tuple(rows.flip(1).flatten().tolist())}
