"""Warm start of nano's projector: every visual token learns to name what is in its picture.

The text model takes no part, only its embedding table E (V, D): a token v of the projector says the
word w with probability softmax(TEMPERATURE * v . E_w + bias_w), and the average over the 16 tokens
of a picture is held against the words of its captions. A projected token then lies among the
embeddings of the words it stands for, and the text model can read it from the first step on. This
costs about a hundredth of what a picture costs the whole model. The objective is our own.
"""
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nano.network import NUM_TOKENS, Projector

TEMPERATURE = 4.0   # a projected token comes out about as long as a word's embedding
BATCH = 64
LR = 1e-3
MIN_PICTURES = 8    # a word is learnt when so many pictures' captions have it
STOP_WORDS = frozenset(
    "a an the of in on at to is are and with his her their its it he she they that this as by for "
    "from while next up down into out over there be has have other another some one two three who "
    "which or not so being off near through".split()
)


def content_words(caption: str) -> list[str]:
    return [w for w in re.findall(r"[a-z]+", caption.lower()) if w not in STOP_WORDS]


def word_targets(
    captions: Sequence[Sequence[str]], token_of: Callable[[str], int | None]
) -> tuple[Tensor, Tensor]:
    """Which words the captions of each picture use.

    token_of: the one token of a word, or None where the tokenizer splits it. Returns the tokens
    (W,) and (N, W) float32: a picture's row sums to 1, or is empty where no word is known.
    """
    pictures = [Counter(w for c in group for w in set(content_words(c))) for group in captions]
    seen = Counter(w for words in pictures for w in words)
    tokens = {w: token_of(w) for w, n in seen.items() if n >= MIN_PICTURES}
    vocabulary = sorted({t for t in tokens.values() if t is not None})
    column = {t: i for i, t in enumerate(vocabulary)}
    table = torch.zeros(len(captions), len(vocabulary))
    for i, words in enumerate(pictures):
        for word, count in words.items():
            if tokens.get(word) is not None:
                table[i, column[tokens[word]]] += count
    return torch.tensor(vocabulary), table / table.sum(1, keepdim=True).clamp(min=1)


class NamesWords(nn.Module):
    """log-probability of each word, averaged over the tokens of a picture."""

    def __init__(self, projector: Projector, embeddings: Tensor, targets: Tensor):
        super().__init__()
        self.projector = projector
        self.register_buffer("embeddings", embeddings)
        self.bias = nn.Parameter((targets.mean(0) + 1e-5).log().to(embeddings.device))

    def forward(self, features: Tensor) -> Tensor:
        """(B, 16, 1280) -> (B, W)."""
        logits = TEMPERATURE * self.projector(features) @ self.embeddings.T + self.bias
        return logits.log_softmax(-1).logsumexp(1) - math.log(NUM_TOKENS)


def warm_up(
    projector: Projector,
    embeddings: Tensor,
    targets: Tensor,
    features: Callable[[Sequence[int], random.Random], Tensor],
    epochs: int,
    report: Callable[[dict], None] = print,
) -> None:
    """Train the projector in place.

    embeddings: (W, D) of the words. targets: (N, W) of `word_targets`. features: (B, 16, 1280) of
    the pictures at these places of the targets, a view of each drawn with the generator.
    """
    model, rng = NamesWords(projector, embeddings, targets), random.Random(0)
    known = [i for i in range(len(targets)) if targets[i].sum() > 0]
    steps = epochs * (len(known) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, steps, pct_start=0.1)
    model.train()
    for epoch in range(epochs):
        rng.shuffle(known)
        total = 0.0
        for start in range(0, len(known) - BATCH + 1, BATCH):
            batch = known[start : start + BATCH]
            said = model(features(batch, rng).to(embeddings.device))
            loss = F.kl_div(said, targets[batch].to(said.device), reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        report({"words": epoch + 1, "of": epochs, "loss": round(total / (len(known) // BATCH), 3)})
