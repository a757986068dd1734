"""Training sequences as trees: branches that do not see each other, packed into rows."""
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from models.checkpoint import fast_dtype

ROUND_TO = 16   # tokens of a row: few different shapes, so that their kernels are made once


@dataclass
class Tree:
    """Token ids in branches; `learn`: (index of the predicting token, its target, weight)."""

    ids: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    learn: list[tuple[int, int, float]] = field(default_factory=list)
    ancestors: list[set[int]] = field(default_factory=list)
    last: list[int] = field(default_factory=list)     # index of each branch's last token
    visual: list[int] = field(default_factory=list)   # indices of the frames' tokens, in order
    news: list[tuple[int, bool]] = field(default_factory=list)   # a frame's last token; is it new
    hidden: list[tuple[int, int, int]] = field(default_factory=list)   # indices from, to; branch

    def add(
        self, ids: list[int], parent: int | None = None, learn: float | None = None,
        rest: float = 1.0,
    ) -> int:
        """Append a branch behind `parent` and return its number.

        A branch is learnt where `learn`, the weight of its first token, is given; that token is
        predicted by the parent's last one, which siblings share. `rest`: of its other tokens.
        """
        number, start = len(self.ancestors), len(self.ids)
        before = -1 if parent is None else self.last[parent]
        first = 0 if parent is None else self.position[before] + 1
        self.ancestors.append({number} | (set() if parent is None else self.ancestors[parent]))
        self.ids += ids
        self.branch += [number] * len(ids)
        self.position += range(first, first + len(ids))
        self.last.append(start + len(ids) - 1)
        if learn is not None:
            weights = [learn] + [rest] * (len(ids) - 1)
            self.learn += zip([before, *range(start, self.last[-1])], ids, weights, strict=True)
        return number

    def frame(self, size: int, parent: int, new: bool | None = None) -> int:
        """Append a frame of `size` visual tokens; `new` tells the flag whether it brings news."""
        number = self.add([0] * size, parent)
        end = self.last[number]
        self.visual += range(end + 1 - size, end + 1)
        if new is not None:
            self.news.append((end, new))
        return number

    def carry(self, frame: int, since: int) -> None:
        """From the branch `since` on only the last token of the frame, its carrier, is seen."""
        end = self.last[frame]
        start = self.branch.index(frame)
        self.hidden.append((start, end, since))

    def mask(self) -> Tensor:
        """(T, T), True where a token may look: itself, and what is earlier on its own path."""
        branch = torch.tensor(self.branch)
        sees = torch.tensor([[j in a for j in range(len(self.ancestors))] for a in self.ancestors])
        mask = sees[branch][:, branch].tril()
        for start, end, since in self.hidden:
            mask[sees[branch, since], start:end] = False
        return mask


def pack(trees: list[Tree], per_row: int) -> list[tuple[int, int]]:
    """(row, first column) of every tree: longest first, each into the shortest row so far.

    Rows of several trees come out nearly equal, so that little of a batch is padding.
    """
    filled = [0] * -(-len(trees) // per_row)
    places = [(0, 0)] * len(trees)
    for i in sorted(range(len(trees)), key=lambda i: -len(trees[i].ids)):
        row = filled.index(min(filled))
        places[i] = row, filled[row]
        filled[row] += len(trees[i].ids)
    return places


def collate(trees: list[Tree], per_row: int = 2) -> dict[str, Tensor]:
    """One batch of R rows of T tokens, `per_row` trees in a row.

    `ids`, `position` (R, T); `mask` (R, 1, T, T), True where a token may look; `visual` (V, 2)
    places (row, column) of the frames' tokens, tree by tree; `learn` (M, 3) rows of (row, column
    of the predicting token, token to predict); `weight` (M,); `news` (N, 3) rows of (row, column of
    a frame's last token, 1 where the frame brings news).
    """
    places = pack(trees, per_row)
    rows = 1 + max(row for row, _ in places)
    size = max(start + len(t.ids) for t, (_, start) in zip(trees, places, strict=True))
    size = -(-size // ROUND_TO) * ROUND_TO
    ids, position = torch.zeros(2, rows, size, dtype=torch.long)
    mask = torch.eye(size, dtype=torch.bool).repeat(rows, 1, 1)
    visual, learn, news = [], [], []
    for t, (row, start) in zip(trees, places, strict=True):
        here = slice(start, start + len(t.ids))
        ids[row, here], position[row, here] = torch.tensor(t.ids), torch.tensor(t.position)
        mask[row, here, here] = t.mask()
        visual += [(row, start + i) for i in t.visual]
        learn += [(row, start + i, target) for i, target, _ in t.learn]
        news += [(row, start + i, int(new)) for i, new in t.news]
    weight = torch.tensor([w for t in trees for _, _, w in t.learn])
    return {
        "ids": ids, "position": position, "mask": mask[:, None],
        "visual": torch.tensor(visual).view(-1, 2), "learn": torch.tensor(learn), "weight": weight,
        "news": torch.tensor(news, dtype=torch.long).view(-1, 3),
    }


def tree_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor,
    scaling: float, **_: object,
) -> tuple[Tensor, None]:
    """Attention on short rows with a mask of their own: fast products, softmax in float32.

    query (R, H, T, D), key and value (R, H / groups, T, D), attention_mask (R, 1, T, T) bool. On a
    CPU that multiplies bfloat16 it takes half the time of torch's fused one, backward included.
    """
    dtype, groups = fast_dtype(query.device), query.shape[1] // key.shape[1]
    key, value = (x.to(dtype).repeat_interleave(groups, 1) for x in (key, value))
    scores = (query.to(dtype) @ key.transpose(-1, -2)).float() * scaling
    scores = scores.masked_fill(~attention_mask, torch.finfo(torch.float32).min)
    out = scores.softmax(-1).to(dtype) @ value
    return out.transpose(1, 2).to(query.dtype), None


AttentionInterface.register("tree", tree_attention)
