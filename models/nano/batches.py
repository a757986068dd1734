"""Training batches of nano: pictures, or made-up streams of pictures, with branches of questions.

A stream is a row of scenes, each shown for a few frames; asked is about now, before, the start, and
what appeared when. It is made by cutting and joining training pictures, never from clips. Whether a
frame brings news (its scene differs from the one before) is known, and learnt beside the answers:
by the flag, and as words, where what follows a frame is a remark or at once the end (VideoLLM-
online, arXiv 2406.11816). Some streams keep their remarks between the frames, and may begin in the
middle of a longer one, of which only the last remark is left (StreamingVLM's chunks, 2510.09608).
In some only the last token of an older frame is seen, its carrier (VideoScan, 2503.09387).
"""
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from models.nano import asking, prompts
from models.nano.data import FeatureStore, Picture
from models.nano.network import MOST_FRAMES, NUM_TOKENS, TOKEN_SIDE
from models.nano.questions import GROUPS, YesNoMaker, things_in, with_article
from models.nano.tree import Tree

BATCH = 16
KINDS = {"human": 0.88, "label": 0.04, "vqa": 0.08}
CAPTIONS_PER_PICTURE = 3
FACTS_PER_PICTURE = 2
YES_NO_SHARE, CHOICE_SHARE, ABSENT_SHARE = 0.4, 0.3, 0.25
STREAM_SHARE, STILL_SHARE = 0.25, 0.15     # several scenes; several frames of one scene
CHUNK_SHARE, MIDWAY_SHARE, CARRIER_SHARE = 0.3, 0.5, 0.3   # of streams; of chunks; of streams
VERDICT_WEIGHT, SHORT_WEIGHT = 5.0, 2.0    # of a yes or no; of the words of other short answers
SILENCE_WEIGHT = 1.0                       # of the end, and of a remark's first token

Branch = tuple[str, list[str], float]      # question, answers, weight of each answer's first token


@dataclass(frozen=True)
class Scene:
    """A picture of a stream; captions: all that may be told of it; remark: what is said when it
    comes; seen: its frames are in the sequence, not the remark alone."""

    picture: int
    captions: tuple[str, ...]
    remark: str
    seen: bool = True


class Batches:
    """Draws training batches; the draw of step n depends only on n."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, pictures: list[Picture], features: FeatureStore
    ):
        self.tokenizer, self.pictures, self.features = tokenizer, pictures, features
        train = [i for i, p in enumerate(pictures) if p.split == "train"]
        self.by_kind = {kind: [i for i in train if pictures[i].kind == kind] for kind in KINDS}
        human = self.by_kind["human"]
        self.yes_no = YesNoMaker([pictures[i].captions for i in human])
        self.facts = {i: asking.facts_of(pictures[i].captions) for i in human}
        self.open, self.silence = self.encode(prompts.OPEN), self.encode(prompts.END)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def draw(
        self, step: int, size: int = BATCH, describe: bool = True
    ) -> tuple[list[Tree], Tensor]:
        """`size` trees, and the features of their frames (F, 16, 1280) tree by tree; without
        `describe` nothing asks to describe the newest frame."""
        rng = random.Random(step)
        trees, frames = [], []
        while len(trees) < size:
            (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
            streams = kind == "human" and rng.random() < STREAM_SHARE
            pictures = rng.sample(self.by_kind[kind], rng.choice((2, 2, 3, 4)) if streams else 1)
            picture = pictures[-1]
            branches = self._about_now(picture, rng, streams, describe)
            if streams:
                tree, shown = self._stream(pictures, branches, rng)
            elif branches:
                shown = [(picture, k == 0) for k in range(self._stays(rng))]
                tree = self.still([new for _, new in shown], branches)
            else:
                continue
            trees.append(tree)
            frames += self._views([scene for scene, _ in shown], rng)
        return trees, torch.stack(frames)

    # ------------------------------------------------------------ frames

    @staticmethod
    def _stays(rng: random.Random) -> int:
        """Frames of a picture that is alone."""
        return rng.randint(2, 4) if rng.random() < STILL_SHARE else 1

    @staticmethod
    def _shown(scenes: Sequence[int], rng: random.Random) -> list[tuple[int, bool]]:
        """(scene, is it new) of each frame of a stream."""
        counts = [rng.choice((1, 1, 2, 3)) for _ in scenes]
        while sum(counts) > MOST_FRAMES:
            counts[counts.index(max(counts))] -= 1
        return [(s, k == 0) for s, n in zip(scenes, counts, strict=True) for k in range(n)]

    def _views(self, scenes: Sequence[int], rng: random.Random) -> list[Tensor]:
        """Features of each frame: a scene that stays keeps its view, or is seen a little moved."""
        views: list[Tensor] = []
        for i, scene in enumerate(scenes):
            stays = i > 0 and scenes[i - 1] == scene and rng.random() < 0.5
            views.append(views[-1] if stays else self.view(scene, rng))
        return views

    def view(self, index: int, rng: random.Random) -> Tensor:
        """(16, 1280) of one of the views, perhaps mirrored."""
        view = torch.from_numpy(rng.choice(self.features.views)[index].astype("float32"))
        if rng.random() < 0.5:
            view = view.view(TOKEN_SIDE, TOKEN_SIDE, -1).flip(1).reshape(NUM_TOKENS, -1)
        return view

    # ------------------------------------------------------------ words

    def still(self, news: Sequence[bool], branches: Sequence[Branch]) -> Tree:
        """Frames of one scene, and questions; a frame alone tells nothing about news."""
        tree = Tree()
        node = tree.add(self.open)
        for new in news:
            node = tree.frame(NUM_TOKENS, node, new if len(news) > 1 else None)
        self._ask(tree, node, branches)
        return tree

    def _stream(
        self, pictures: Sequence[int], branches: Sequence[Branch], rng: random.Random
    ) -> tuple[Tree, list[tuple[int, bool]]]:
        """A stream that ends with the last picture, and (picture, is it new) of its frames."""
        keeps, carries = rng.random() < CHUNK_SHARE, rng.random() < CARRIER_SHARE
        scenes = [self._scene(i, rng) for i in pictures]
        midway = keeps and rng.random() < MIDWAY_SHARE
        if midway:
            first = scenes[0]
            scenes[0] = Scene(first.picture, (first.remark,), first.remark, seen=False)
        shown = self._shown([s.picture for s in scenes if s.seen], rng)
        remarks = {s.picture: self.encode(s.remark + prompts.END) for s in scenes}
        tree = Tree()
        node = tree.add(self.open + (remarks[pictures[0]] if midway else []))
        frames: list[int] = []
        for picture, new in shown:
            frames.append(node := tree.frame(NUM_TOKENS, node, new))
            if carries and len(frames) > 1:
                tree.carry(frames[-2], since=node)
            said = tree.add(remarks[picture] if new else self.silence, node, SILENCE_WEIGHT)
            node = said if keeps and new else node
        self._ask(tree, node, [*self._about_stream(scenes, rng), *branches])
        return tree, shown

    def _scene(self, picture: int, rng: random.Random) -> Scene:
        captions = tuple(self.pictures[picture].captions)
        return Scene(picture, captions, rng.choice(captions))

    def _ask(self, tree: Tree, parent: int, branches: Sequence[Branch]) -> None:
        for question, answers, weight in branches:
            node = tree.add(self.encode(question + prompts.CLOSE), parent)
            for answer in answers:
                tree.add(self.encode(answer + prompts.END), node, weight)

    def _about_now(
        self, index: int, rng: random.Random, few: bool, describe: bool = True
    ) -> list[Branch]:
        """Branches about the newest frame; one or two where the frames before it were costly."""
        picture = self.pictures[index]
        if picture.kind == "label":
            return [(prompts.NAME_OBJECT, [picture.captions[0].replace("A photo of a", "A")], 1.0)]
        if picture.kind == "vqa":
            picked = rng.sample(picture.qa, min(3, len(picture.qa)))
            return [(q, [a[:1].upper() + a[1:] + "."], SHORT_WEIGHT) for q, a in picked]
        count = 1 if few else min(CAPTIONS_PER_PICTURE, len(picture.captions))
        captions = rng.sample(picture.captions, count)
        question = rng.choice(prompts.DESCRIBE_VARIANTS)
        branches: list[Branch] = [(question, captions, 1.0)] if describe else []
        if not few:
            branches += self._short(index, rng)
        return branches

    def _short(self, index: int, rng: random.Random) -> list[Branch]:
        captions, weights = self.pictures[index].captions, self.yes_no.weights
        facts = list(self.facts[index])
        rng.shuffle(facts)
        chosen = facts[:FACTS_PER_PICTURE]
        if rng.random() < ABSENT_SHARE:
            chosen.append(asking.absent_fact(captions, rng, weights))
        if rng.random() < CHOICE_SHARE and things_in(captions):
            chosen.append(asking.choice_fact(captions, rng, weights))
        branches: list[Branch] = [
            (asking.reworded(fact.question, rng), [fact.answer], SHORT_WEIGHT) for fact in chosen
        ]
        if rng.random() < YES_NO_SHARE:
            question, answer = self.yes_no.make(captions, rng)
            branches.append((question, [answer], VERDICT_WEIGHT))
        return branches

    def _about_stream(self, scenes: Sequence[Scene], rng: random.Random) -> list[Branch]:
        """What was there before or first, and a yes or no about earlier and about now."""
        captions = [scene.captions for scene in scenes]
        if len(scenes) == 2 or rng.random() < 0.5:
            questions, place = prompts.BEFORE, -2
        else:
            questions, place = prompts.FIRST, 0
        branches: list[Branch] = [(rng.choice(questions), [rng.choice(captions[place])], 1.0)]
        things = [things_in(c) for c in captions]
        earlier, now = set().union(*things[:-1]), things[-1]
        for present, decoys, forms in (
            (earlier, now - earlier, prompts.EARLIER),
            (now, earlier - now, prompts.PRESENCE_QUESTIONS),
        ):
            question, answer = self._is_there(present, decoys, forms, rng)
            branches.append((question, [answer], VERDICT_WEIGHT))
        alone = [f for f in self.facts[scenes[place].picture]
                 if f.kind in ("doing", "colour", "where") and not _names(f, now)]
        if alone:
            fact = rng.choice(alone)
            branches.append((_in_the_past(fact.question), [fact.answer], SHORT_WEIGHT))
        return branches

    def _is_there(
        self, present: set[int], decoys: set[int], forms: Sequence[str], rng: random.Random
    ) -> tuple[str, str]:
        """A decoy is a thing of the other time: half of the "no" ask for one."""
        yes = bool(present) and rng.random() < 0.5
        if yes:
            thing = rng.choice(sorted(present))
        elif decoys and rng.random() < 0.5:
            thing = rng.choice(sorted(decoys))
        else:
            others = [w * (g not in present) for g, w in enumerate(self.yes_no.weights)]
            (thing,) = rng.choices(range(len(GROUPS)), others)
        question = rng.choice(forms).format(thing=with_article(GROUPS[thing][0]))
        return question, "Yes." if yes else "No."


def _in_the_past(question: str) -> str:
    return question.replace(" is the ", " was the ").replace(" are the ", " were the ")


def _names(fact: asking.Fact, things: set[int]) -> bool:
    """Does the question name one of these things?"""
    return bool(things_in([fact.question]) & things)
