"""Training batches of nano: pictures, or made-up streams of pictures, with branches of questions.

A stream is a row of scenes, each shown for a few frames; asked is about now, before, the start, and
what appeared when. It is made by cutting and joining training pictures, never from clips. Whether a
frame brings news (its scene differs from the one before) is known, and learnt beside the answers.
"""
import random
from collections.abc import Sequence

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
VERDICT_WEIGHT, SHORT_WEIGHT = 5.0, 2.0    # of a yes or no; of the words of other short answers

Branch = tuple[str, list[str], float]      # question, answers, weight of each answer's first token


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
        self.open = self.encode(prompts.OPEN)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def draw(self, step: int) -> tuple[list[Tree], Tensor]:
        """`BATCH` trees, and the features of their frames (F, 16, 1280) tree by tree."""
        rng = random.Random(step)
        trees, frames = [], []
        for _ in range(BATCH):
            (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
            scenes = [rng.choice(self.by_kind[kind])]
            if kind == "human" and rng.random() < STREAM_SHARE:
                scenes = rng.sample(self.by_kind[kind], rng.choice((2, 2, 3, 4)))
            shown = self._shown(scenes, rng)
            frames += self._views([scene for scene, _ in shown], rng)
            branches = self._about_stream(scenes, rng) if len(scenes) > 1 else []
            branches += self._about_now(scenes[-1], rng, few=len(scenes) > 1)
            trees.append(self.tree([news for _, news in shown], branches))
        return trees, torch.stack(frames)

    # ------------------------------------------------------------ frames

    def _shown(self, scenes: Sequence[int], rng: random.Random) -> list[tuple[int, bool]]:
        """(scene, is it new) of each frame."""
        if len(scenes) == 1:
            counts = [rng.randint(2, 4) if rng.random() < STILL_SHARE else 1]
        else:
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

    def tree(self, news: Sequence[bool], branches: Sequence[Branch]) -> Tree:
        tree = Tree()
        root = tree.add(self.open + [0] * (NUM_TOKENS * len(news)))
        tree.visual = list(range(len(self.open), len(tree.ids)))
        if len(news) > 1:
            ends = tree.visual[NUM_TOKENS - 1 :: NUM_TOKENS]
            tree.news = list(zip(ends, news, strict=True))
        for question, answers, weight in branches:
            node = tree.add(self.encode(question + prompts.CLOSE), root)
            for answer in answers:
                tree.add(self.encode(answer + prompts.END), node, weight)
        return tree

    def _about_now(self, index: int, rng: random.Random, few: bool) -> list[Branch]:
        """Branches about the newest frame; one or two where the frames before it were costly."""
        picture = self.pictures[index]
        if picture.kind == "label":
            return [(prompts.NAME_OBJECT, [picture.captions[0].replace("A photo of a", "A")], 1.0)]
        if picture.kind == "vqa":
            picked = rng.sample(picture.qa, min(3, len(picture.qa)))
            return [(q, [a[:1].upper() + a[1:] + "."], SHORT_WEIGHT) for q, a in picked]
        count = 1 if few else min(CAPTIONS_PER_PICTURE, len(picture.captions))
        captions = rng.sample(picture.captions, count)
        branches: list[Branch] = [(rng.choice(prompts.DESCRIBE_VARIANTS), captions, 1.0)]
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

    def _about_stream(self, scenes: Sequence[int], rng: random.Random) -> list[Branch]:
        """What was there before or first, and a yes or no about earlier and about now."""
        captions = [self.pictures[i].captions for i in scenes]
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
        alone = [f for f in self.facts[scenes[place]] if f.kind in ("doing", "colour", "where")
                 and not _names(f, now)]
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
