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


def texts(made: Batches, tree) -> list[str]:
    return [made.tokenizer.decode([i for i, b in zip(tree.ids, tree.branch, strict=True) if b == n])
            for n in range(len(tree.ancestors))]


def parents(tree) -> list[int]:
    return [max(a - {n}, default=0) for n, a in enumerate(tree.ancestors)]


def branches(made: Batches, tree) -> list[tuple[str, str]]:
    """(question, answer) of every answered branch."""
    text = texts(made, tree)
    return [(text[parent].removesuffix(prompts.CLOSE), answer.removesuffix(prompts.END))
            for parent, answer in zip(parents(tree), text, strict=True)
            if text[parent].endswith(prompts.CLOSE)]


def scenes(made: Batches, tree, frames: torch.Tensor) -> list[tuple[str, ...]]:
    """The captions of each scene: of what is only told, in the opening words, the remark; of what
    is shown, those of the picture, from the features and the marks of news."""
    told = texts(made, tree)[0].removeprefix(prompts.OPEN).removesuffix(prompts.END)
    shown = [int(f[0, 0]) for f in frames[:1]]
    if tree.news:
        shown = [int(f[0, 0]) for f, (_, new) in zip(frames, tree.news, strict=True) if new]
    return [(told,)] * bool(told) + [PICTURES[i].captions for i in shown]


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


def test_words_after_a_frame_are_a_remark_on_news_and_else_the_end(made):
    counts = {True: 0, False: 0}
    for tree, frames in drawn(made, 30):
        if len(scenes(made, tree, frames)) == 1:
            continue
        text, up = texts(made, tree), parents(tree)
        for (at, new), frame in zip(tree.news, frames, strict=True):
            said, = [text[n] for n, parent in enumerate(up)
                     if n and parent == tree.branch[at] and text[n].endswith(prompts.END)]
            words = said.removesuffix(prompts.END)
            assert words in PICTURES[int(frame[0, 0])].captions if new else not words
            assert any(i == at for i, _, _ in tree.learn)
            counts[new] += 1
    assert min(counts.values()) > 30


def test_some_streams_keep_their_remarks_begin_midway_or_carry_old_frames(made):
    kept = midway = carried = 0
    for tree, _ in drawn(made, 40):
        text, up = texts(made, tree), parents(tree)
        visual = [tree.branch[at] for at in tree.visual[:: NUM_TOKENS]]
        kept += any(text[up[n]].endswith(prompts.END) for n in visual[1:])
        midway += text[0] != prompts.OPEN
        if tree.hidden:
            mask = tree.mask()
            newest = slice(tree.visual[-NUM_TOKENS], tree.visual[-1] + 1)
            assert mask[-1, newest].all()
            for first in tree.visual[:: NUM_TOKENS][:-1]:
                assert mask[-1, first : first + NUM_TOKENS].tolist() == [False] * 15 + [True]
            carried += 1
    assert min(kept, midway, carried) > 10


def test_without_captions_no_question_asks_for_one(made):
    for step in range(10):
        trees, _ = made.draw(step, size=4, describe=False)
        assert len(trees) == 4
        asked = {q for tree in trees for q, _ in branches(made, tree)}
        assert asked and not asked & set(prompts.DESCRIBE_VARIANTS)


def test_answers_about_earlier_and_now_are_true(made):
    counts = {"Yes.": 0, "No.": 0}
    for tree, frames in drawn(made, 60):
        seen = scenes(made, tree, frames)
        things = [things_in(captions) for captions in seen]
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
        seen = scenes(made, tree, frames)
        for question, answer in branches(made, tree):
            place = -2 if question in prompts.BEFORE else 0 if question in prompts.FIRST else None
            if place is not None:
                assert answer in seen[place]
                told += 1
    assert told > 30


def test_a_mirrored_view_is_mirrored_in_its_cells(made):
    grid = np.arange(NUM_TOKENS, dtype=np.float16)[None, :, None].repeat(FEATURE_DIM, 2)
    made = Batches(made.tokenizer, PICTURES[:1], SimpleNamespace(views=[grid]))
    seen = {tuple(made.view(0, random.Random(i))[:, 0].int().tolist()) for i in range(20)}
    rows = torch.arange(NUM_TOKENS).view(4, 4)
    assert seen == {tuple(rows.flatten().tolist()), tuple(rows.flip(1).flatten().tolist())}
