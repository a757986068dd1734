"""Asking a model whether a sentence holds: the plain yes/no probe."""
from collections.abc import Sequence

import torch

from streamassist.cache import KVCache
from streamassist.types import Role, VideoLLM


def yes_no_probe(model: VideoLLM, statement: str, cache: KVCache, pts: float) -> float:
    """P(yes) / (P(yes) + P(no)) as the next token. Appends a branch; the caller drops it."""
    ids, yes, no = model.yes_no_ids(statement)
    return _yes(model, ids, yes, no, cache, pts)


def yes_no_probes(
    model: VideoLLM, statements: Sequence[str], cache: KVCache, pts: float
) -> list[float]:
    """The same of many statements in one pass over one cache (StreamingClaw, arXiv 2603.22120, asks
    for all its goals at once; the branches side by side are ours). Leaves no trace."""
    first_slot = cache.size
    asked = [model.yes_no_ids(statement) for statement in statements]
    try:
        rows = model.last_of_branches([ids for ids, _, _ in asked], cache, pts)
    finally:
        cache.truncate(first_slot)
    return [_odds(row, yes, no) for row, (_, yes, no) in zip(rows, asked, strict=True)]


def yes_to_question(model: VideoLLM, question: str, cache: KVCache, pts: float) -> float:
    """The same for a question as a user asks it."""
    _, yes, no = model.yes_no_ids("It is")
    return _yes(model, model.question_ids(question), yes, no, cache, pts)


def _yes(
    model: VideoLLM, ids: Sequence[int], yes: list[int], no: list[int], cache: KVCache, pts: float
) -> float:
    logits = model.forward(model.text_chunk(ids, cache.next_position, Role.BRANCH, pts), cache)
    return _odds(logits, yes, no)


def _odds(logits: torch.Tensor, yes: list[int], no: list[int]) -> float:
    scores = logits.log_softmax(-1)
    return float(torch.sigmoid(scores[yes].logsumexp(0) - scores[no].logsumexp(0)))
