"""Captions rewarded as a whole: self-critical training (Rennie et al., arXiv 1612.00563).

Of a picture several captions are drawn from the model; each is scored by CIDEr-D against the human
ones, and made more or less likely by how far it is above or below the mean of the others (Luo,
2003.09971). The end of a caption counts as a word, or captions would break off. The pictures are
those of training; a word's weight is counted over them as well.
"""
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from models.nano import prompts
from models.nano.batches import Batches
from models.nano.network import NUM_TOKENS, LoRALinear
from models.nano.scores import CiderD
from models.nano.tree import Tree
from streamassist.hardware import fast_dtype

PICTURES, DRAWS = 16, 5   # of a step; captions of each
MAX_TOKENS = 24
ENDED = " end"            # a word no caption has at its end


class Rewards:
    """Draws captions and tells how much better each is than the others of its picture."""

    def __init__(self, batches: Batches):
        self.batches, self.human = batches, batches.by_kind["human"]
        captions = [batches.pictures[i].captions for i in self.human]
        self.scorer = CiderD([[c + ENDED for c in group] for group in captions])

    def draw(self, model: torch.nn.Module, step: int) -> tuple[list[Tree], Tensor, float]:
        """Trees whose weights are advantages, their frames (B, 16, 1280), the mean reward."""
        rng = random.Random(-1 - step)
        places = rng.sample(range(len(self.human)), min(PICTURES, len(self.human)))
        frames = torch.stack([self.batches.view(self.human[p], rng) for p in places])
        question = self.batches.encode(rng.choice(prompts.DESCRIBE_VARIANTS) + prompts.CLOSE)
        with merged(model):
            drawn = sample(
                model, frames, self.batches.open, question, self.batches.silence[0], step
            )
        scores = torch.stack([
            torch.from_numpy(self.scorer.score_one(p, [self._text(ids) for ids in group]))
            for p, group in zip(places, drawn, strict=True)
        ])
        advantage = advantages(scores)
        trees = [
            self._tree(question, group, row.tolist())
            for group, row in zip(drawn, advantage, strict=True)
        ]
        return trees, frames, float(scores.mean())

    def _text(self, ids: Sequence[int]) -> str:
        ended = bool(ids) and ids[-1] == self.batches.silence[0]
        words = self.batches.tokenizer.decode(ids[: len(ids) - ended])
        return words + ENDED * ended

    def _tree(self, question: list[int], group: list[list[int]], weights: list[float]) -> Tree:
        tree = Tree()
        frame = tree.frame(NUM_TOKENS, tree.add(self.batches.open))
        node = tree.add(question, frame)
        for ids, weight in zip(group, weights, strict=True):
            tree.add(ids, node, weight, weight)
        return tree


@contextmanager
def merged(model: torch.nn.Module) -> Iterator[None]:
    """LoRA is part of the weights meanwhile: a third less work a token."""
    layers = [layer for layer in model.modules() if isinstance(layer, LoRALinear)]
    for layer in layers:
        layer.merge(True)
    try:
        yield
    finally:
        for layer in layers:
            layer.merge(False)


def advantages(scores: Tensor) -> Tensor:
    """(P, D) rewards -> how far each is from the mean of the others of its row, over the spread of
    all: a step is as large whatever the rewards are."""
    count = scores.shape[1]
    apart = (scores - scores.mean(1, keepdim=True)) * count / (count - 1)
    return apart / apart.square().mean().sqrt().clamp_min(1e-6)


@torch.no_grad()
def sample(
    model: torch.nn.Module, frames: Tensor, opening: list[int], question: list[int], stop: int,
    seed: int,
) -> list[list[list[int]]]:
    """`DRAWS` captions of each of the frames (P, 16, 1280), as token ids with their end, drawn at
    temperature 1. model: a TrainModel."""
    count, dice = len(frames), torch.Generator(model.device).manual_seed(seed)
    text, table = model.text, model.text.get_input_embeddings()
    words = table(torch.tensor(opening + question, device=model.device)).expand(count, -1, -1)
    visual = model.projector(frames.to(model.device)).to(words.dtype)
    embeds = torch.cat([words[:, : len(opening)], visual, words[:, len(opening):]], 1)
    size = embeds.shape[1]
    mask = torch.ones(size, size, dtype=torch.bool, device=model.device).tril()
    out = text.model(inputs_embeds=embeds, attention_mask=mask.expand(count, 1, -1, -1),
                     use_cache=True)
    cache, hidden = out.past_key_values, out.last_hidden_state[:, -1]
    cache.batch_repeat_interleave(DRAWS)
    hidden, head = hidden.repeat_interleave(DRAWS, 0), text.lm_head.weight
    head = head.to(fast_dtype(head.device))
    said: list[list[int]] = [[] for _ in range(count * DRAWS)]
    going = torch.arange(len(said))   # which captions are not yet at their end
    for _ in range(MAX_TOKENS):
        logits = F.linear(hidden.to(head.dtype), head).float()
        token = draw(logits.softmax(-1), dice)
        for row, drawn in zip(going.tolist(), token[:, 0].tolist(), strict=True):
            said[row].append(drawn)
        on = (token[:, 0] != stop).nonzero()[:, 0]
        if not len(on):
            break
        if len(on) < len(going):
            cache.batch_select_indices(on)
            going, token = going[on.cpu()], token[on]
        size += 1
        seen = torch.ones(len(on), 1, 1, size, dtype=torch.bool, device=model.device)
        out = text.model(input_ids=token, attention_mask=seen, past_key_values=cache,
                         use_cache=True)
        hidden = out.last_hidden_state[:, -1]
    return [said[i : i + DRAWS] for i in range(0, len(said), DRAWS)]


def draw(chance: Tensor, dice: torch.Generator) -> Tensor:
    """(R, V) chances -> (R, 1) one token of each row; multinomial takes four times as long."""
    rising = chance.cumsum(-1)
    point = torch.rand(len(chance), 1, generator=dice, device=chance.device) * rising[:, -1:]
    return torch.searchsorted(rising, point).clamp_max(chance.shape[1] - 1)
