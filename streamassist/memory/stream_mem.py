"""StreamMem: what the opening of an answer would look at, and one prototype a frame."""
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import check_setting, drop_since, question_queries
from streamassist.memory.scored import Scored, last_slots, mask_of, newest, refill
from streamassist.scoring import attention_mass, frame_means, top_slots
from streamassist.types import Role, VisualTokens


@dataclass(slots=True)
class Run:
    """Frames averaged into one. parts: mean of the embeds and of each deepstack level;
    look: (N, F) mean of what frames are compared by; slots: of its frame in the cache."""

    parts: list[Tensor]
    look: Tensor
    count: int = 1
    slots: int = 0


@dataclass
class StreamMem(Scored):
    """StreamMem, arXiv 2508.15717, section 3: in clips of 8 frames, frames with a similarity over
    0.95 are averaged before they are prefilled; the tokens that open an answer, asked without a
    question, give every token its attention, and the best of old memory and new clip stay; each
    frame of the clip leaves a prototype, the attention-weighted mean of its keys and values. Equal
    budgets in all layers.

    Our inference: a frame like the ones before it takes their place as their average, of at most
    `chunk` frames, by the mean cosine of rows at the same place; a prototype, made of raw keys,
    takes the slot of its frame's least attended token and competes like any other from then on;
    attention is averaged over heads. Contexts are not stretched (the paper uses YaRN).
    """

    similar: float = 0.95   # cosine from which a frame is averaged with the last; 1 for never
    _run: Run | None = field(init=False, repr=False)
    _merged: int = field(init=False, repr=False)   # newest frame that has its prototype

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "similar", -1, 1)
        self.reset()

    def reset(self) -> None:
        self._run, self._merged = None, -1

    def forget(self, cache: KVCache, since: float) -> None:
        drop_since(cache, since)
        self._run = None

    # ------------------------------------------------------------ frames that look alike

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        now, run = Run([tokens.embeds, *tokens.deepstack], tokens.look.float()), self._run
        if run is not None and run.count < self.chunk and self._alike(run, now):
            now = Run([_mean(*pair, run.count) for pair in zip(run.parts, now.parts, strict=True)],
                      _mean(run.look, now.look, run.count), run.count + 1)
            tokens.embeds, tokens.deepstack = now.parts[0], tuple(now.parts[1:])
            cache.truncate(cache.size - run.slots)   # the frames it now stands for
        self._run = now

    def _alike(self, run: Run, now: Run) -> bool:
        shapes = [[p.shape for p in (r.look, *r.parts)] for r in (run, now)]
        if shapes[0] != shapes[1] or self.similar == 1:
            return False
        return float(F.cosine_similarity(run.look, now.look, dim=-1).mean()) > self.similar

    def after_prefill(self, cache: KVCache) -> None:
        if self._run is not None:
            self._run.slots = newest(cache)
        super().after_prefill(cache)

    # ------------------------------------------------------------ what stays

    def choose(self, cache: KVCache, room: int) -> Tensor:
        mass = attention_mass(cache, question_queries(self.model, cache, ""))
        protected = last_slots(cache, newest(cache)).expand(cache.num_layers, -1)
        score = mass.mean(1)
        clip = self._clip(cache, room)
        if clip.any():
            protected = protected | self._prototypes(cache, mass, score, clip)
        return top_slots(score, room, protected)

    def _clip(self, cache: KVCache, room: int) -> Tensor:
        """(T,) bool: slots of the frames, the newest not counted, that get a prototype now."""
        used = cache.used().map(lambda f: f[..., cache.num_pinned :])
        new = (used.role == Role.VISUAL) & (used.frame > self._merged)
        size = newest(cache)
        new &= ~last_slots(cache, size)
        frames = used.frame[new].unique()
        self._merged = max([self._merged, *frames.tolist()])
        return new & torch.isin(used.frame, frames[max(0, len(frames) - (room - size)) :])

    def _prototypes(self, cache: KVCache, mass: Tensor, score: Tensor, clip: Tensor) -> Tensor:
        """Put each frame's prototype into a slot of its own; returns where, (L, T) bool."""
        where = clip.nonzero()[:, 0]
        frame = cache.used().frame[cache.num_pinned :][where]
        at = where.to(cache.device)
        weight = mass[:, :, at, None]
        total = frame_means(weight, frame)[1].clamp(min=1e-30)
        raw, value = (
            frame_means(buffer[:, :, at + cache.num_pinned].float() * weight, frame)[1] / total
            for buffer in (cache.raw, cache.value)
        )
        least = torch.stack([
            where[frame == f][score[:, at[frame == f]].argmin(1).cpu()] for f in frame.unique()
        ], 1)
        refill(cache, least, raw, value)
        return mask_of(least, len(cache))


def _mean(old: Tensor, new: Tensor, count: int) -> Tensor:
    """The mean of `count` frames, with one more."""
    return old + (new - old) / (count + 1)
