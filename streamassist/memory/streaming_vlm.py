"""StreamingVLM: a short window of vision, and a longer one of words."""
from dataclasses import dataclass

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import MAX_TOKENS, MemoryPolicy, check_setting
from streamassist.types import Role


@dataclass
class StreamingVLM(MemoryPolicy):
    """StreamingVLM, arXiv 2510.09608, section 3: the prompt is the attention sink, frames older
    than 16 s leave, of the text that stays in the stream the first 512 and the last 512 tokens are
    kept, and positions are contiguous. The rule alone, on a model that was not tuned for it.

    Unlike the paper there is a budget over all of it: beyond that the oldest frames leave first,
    then the oldest text of the window. Nothing need be moved in front of the frames: text older
    than the window already stands there (our inference). Frames leave whole.
    """

    budget: int = 512        # tokens
    window_s: float = 16.0   # age of the oldest frame kept, in seconds
    text_sink: int = 512     # first tokens of text that stay
    text_window: int = 512   # last tokens of text that stay

    def __post_init__(self) -> None:
        check_setting(self, "budget", 1, MAX_TOKENS)
        check_setting(self, "window_s", 0, 1e6)
        check_setting(self, "text_sink", 0, MAX_TOKENS)
        check_setting(self, "text_window", 0, MAX_TOKENS)

    def after_prefill(self, cache: KVCache) -> None:
        used = cache.used().map(lambda f: f[..., cache.num_pinned :])
        visual = used.role == Role.VISUAL
        if not visual.any():
            return
        now, newest = used.pts.max(), used.frame[visual][-1]
        frames = visual & (now - used.pts <= self.window_s)
        words = used.role == Role.TEXT
        number = words.cumsum(0)   # 1 for the first word
        words &= (number <= self.text_sink) | (number > number[-1] - self.text_window)
        kept = frames | words
        if int(kept.sum()) > self.budget:
            kept = self._within(frames, words, used.frame, visual & (used.frame == newest))
        if not kept.all():
            cache.keep(kept)
            cache.renumber()

    def _within(self, frames: Tensor, words: Tensor, frame: Tensor, newest: Tensor) -> Tensor:
        """(T,) bool: of the frames and words still wanted, those that the budget has room for."""
        room = self.budget - int(newest.sum()) - int(words.sum())
        behind = frames.flip(0).cumsum(0).flip(0) - int(newest.sum())   # with it, but the newest
        cut = frame[frames & (behind > room) & ~newest].unique()
        frames = (frames & ~torch.isin(frame, cut)) | newest
        sink = words & (words.cumsum(0) <= self.text_sink)
        room = max(0, self.budget - int(frames.sum()))
        rest = words & ~sink
        sink &= sink.cumsum(0) <= room
        last = rest.flip(0).cumsum(0).flip(0) <= room - int(sink.sum())
        return frames | sink | (rest & last)
