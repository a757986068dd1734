"""DSCache: which frames its past holds, and how the newest are read for an answer."""
import pytest
import torch

from made_up import HEADS, LAYERS, MadeUpModel, pinned_cache, watch
from streamassist.cache import KVCache
from streamassist.memory import METHODS


def seen(model: MadeUpModel, frames: int):
    """A policy with room for six frames, two of them instant, and its cache."""
    policy, cache = METHODS["dscache"](budget=24, recent=2), pinned_cache()
    policy.attach(model)
    for frame in range(frames):
        watch(policy, cache, frame)
    return policy, cache


@pytest.mark.parametrize(("frames", "kept"), [
    (6, [0, 1, 2, 3, 4, 5]), (9, [0, 2, 4, 6, 7, 8]), (11, [2, 4, 6, 8, 9, 10]),
])
def test_dscache_thins_out_its_past(frames, kept):
    assert seen(MadeUpModel(), frames)[1].frames() == kept


class Counting(MadeUpModel):
    """A key tells how many slots there were to look at."""

    def forward(self, chunk, cache: KVCache) -> torch.Tensor:
        if chunk.frame < 0:
            return super().forward(chunk, cache)
        raw = torch.full((HEADS, chunk.positions.shape[1], 8), float(cache.size))
        with cache.appending(chunk):
            for layer in range(LAYERS):
                cache.update(layer, raw, raw)
        return torch.zeros(16)


def test_dscache_reads_the_newest_frames_on_the_prompt_alone():
    policy, cache = seen(Counting(), 9)
    answer = policy.before_answer(cache, "What did you see?")
    assert answer.frames() == cache.frames() == [0, 2, 4, 6, 7, 8]
    now = answer.raw[0, 0, 3 : answer.size : 4, 0].tolist()
    then = cache.raw[0, 0, 3 : cache.size : 4, 0].tolist()
    assert now[:4] == then[:4] and now[4:] == [3.0, 7.0] and then[4:] == [27.0, 27.0]
    assert answer.used().position[0].diff().eq(1).all()
