"""Where the slots of a cache stand: position policies by name, each slots -> Layout.

They share the frame of reference of `close_gaps`: the newest chunk stays where it is and all others
are laid out against it, as attention sees only differences of positions; the pinned prompt stands
together in front; chunks stay in the order of their age. Keys are kept raw, so `KVCache.place`
makes any of these layouts exactly, one after another. A position may be negative.
"""
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from streamassist.slots import Layout, Slots, chunks_of, close_gaps, close_ranks
from streamassist.types import Role

FAR = 1 << 62   # beyond every position


@dataclass(frozen=True, slots=True)
class Terms:
    """What a layout goes by; a policy reads what concerns it.

    window: newest slots that `single_angle` leaves in order; whole chunks, the newest at least;
    `true_time` reads the step between frames off them;
    together: with `single_angle` the prompt and every slot of a frame share the one position too;
    rate: positions a second, finite; None: a step between two frames takes a frame's span;
    limit: most positions from the first slot to where the next chunk starts (`KVCache.extent`).
    """

    window: int = 0
    together: bool = False
    rate: float | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        assert self.rate is None or 0 <= self.rate < math.inf


def original(slots: Slots, terms: Terms = Terms()) -> Layout:
    """Nothing moves (LiveVLM, arXiv 2505.15269, for what it recalls).

    Two exceptions: a prompt that does not stand in front goes there (a stream has moved it up to
    its window), and with an extent over the limit all gaps shrink alike.
    """
    pinned = slots.role == Role.PROMPT
    if bool(pinned.all()):
        return _as_is(slots)
    first = torch.where(pinned, FAR, slots.base).amin(1)
    stays = bool((torch.where(pinned, slots.base, -FAR).amax(1) <= first).all())
    if terms.limit is not None:
        stays &= _end(slots) - int(slots.position.min()) <= terms.limit
    if stays:
        return _as_is(slots)
    return _paced(slots, (slots.base[:, -1:] - slots.base).double(), 1.0, terms.limit)


def contiguous(slots: Slots, terms: Terms = Terms()) -> Layout:
    """No position stays empty (StreamingLLM, arXiv 2309.17453; ReKV, arXiv 2503.00540): on three
    axes none between chunks, on one none inside chunks that lost slots either."""
    if not len(slots):
        return _as_is(slots)
    return close_gaps(slots) if len(slots.position) > 1 else close_ranks(slots)


def single_angle(slots: Slots, terms: Terms = Terms()) -> Layout:
    """All that is older than the window stands at one distance, right before it (InfLLM, arXiv
    2402.04617); window and prompt are contiguous.

    On one axis each slot takes that one position; on three each frame starts there and keeps its
    own layout, so their slots are not in order. That is our inference, as is a prompt that keeps
    its order: the paper's, on one axis with text alone, is `together`.
    """
    close, pinned = contiguous(slots), slots.role == Role.PROMPT
    if bool(pinned.all()):
        return close
    edge = slots.group[:, -min(max(1, terms.window), len(slots))]
    local = (slots.group >= edge[:, None]) & ~pinned
    far = ~local & ~pinned
    point = terms.together or len(slots.position) == 1
    start = torch.where(local, close.base, FAR).amin(1, keepdim=True)
    place = start - torch.where(far, 1 if point else close.span, 0).amax(1, keepdim=True)
    shift = place - torch.where(pinned, FAR, close.base).amin(1, keepdim=True)
    base = torch.where(pinned, close.base + shift, torch.where(far, place, close.base))
    if terms.together:
        place = start - 1
        far = far | pinned
        base = torch.where(far, place, base)
    position = close.position + (base - close.base)
    if not point:
        return Layout(position, base, close.span)
    return Layout(torch.where(far, base, position), base, torch.where(far, 1, close.span))


def true_time(slots: Slots, terms: Terms = Terms()) -> Layout:
    """Chunks stand as far apart as they are in time, as in Qwen2.5-VL (arXiv 2502.13923), and on
    one axis at least their span apart.

    On three axes a frame moves whole, so it keeps its rows and columns (Qwen2.5-VL holds those of
    all frames of a video at the same place: ours are single pictures); what chunks take of the time
    axis does not overlap. A rate that would exceed the limit is lowered, for all layers alike.
    """
    rate = _rate_of(slots, terms.window) if terms.rate is None else terms.rate
    return _paced(slots, slots.pts[:, -1:] - slots.pts, rate, terms.limit)


POSITIONS: dict[str, Callable[[Slots, Terms], Layout]] = {
    "original": original,
    "contiguous": contiguous,
    "single_angle": single_angle,
    "true_time": true_time,
}

def _as_is(slots: Slots) -> Layout:
    return Layout(slots.position.clone(), slots.base.clone(), slots.span.clone())


def _end(slots: Slots) -> int:
    """Where the next chunk will start."""
    return int((slots.base[:, -1] + slots.span[:, -1]).max())


def _rate_of(slots: Slots, window: int) -> float:
    """Positions a second at which the usual step between frames is the newest frame's span; the
    median, as a camera's steps vary; 0 with less than two frames."""
    visual = slots.role == Role.VISUAL
    for part in (slice(max(0, len(slots) - window), None), slice(None)):
        planes = zip(slots.pts[:, part], visual[:, part], strict=True)
        steps = torch.cat([pts[seen].unique().diff() for pts, seen in planes])
        if len(steps):
            return int(slots.span[visual][-1]) / float(steps.median())
    return 0.0


# ---------------------------------------------------------------- distances on a line

@dataclass(slots=True)
class Line:
    """The C chunks behind the prompt on one plane. inverse: (T,) the chunk of each slot; ago: (C,)
    how far each would like to stand before the newest, at rate 1; before: (C,) positions that the
    chunks in front of it need at least; latest: (C,) where it may start at most."""

    inverse: Tensor
    ago: Tensor
    before: Tensor
    latest: Tensor

    @classmethod
    def of(cls, plane: Slots, ago: Tensor) -> "Line":
        """Slots without the prompt, and (T,) of each how far before the newest it should stand."""
        inverse, first = chunks_of(plane)
        span = need = plane.span[first]
        if len(plane.position) > 1:   # rows and columns of two frames may overlap, times may not
            depth = plane.position[0] - plane.base + 1
            need = torch.zeros_like(span).scatter_reduce(0, inverse, depth, "amax")
        end = plane.base[-1] + span[-1]
        return cls(inverse, ago[first].clamp(min=0), need.cumsum(0) - need, end - span)

    def fastest(self, floor: int) -> float:
        """The highest rate at which no chunk starts before position `floor`."""
        past = self.ago > 0
        room = (self.latest[-1] - self.before - floor)[past].clamp(min=0)
        return float((room / self.ago[past]).amin()) if len(room) else math.inf

    def starts(self, rate: float) -> Tensor:
        """(C,) where each chunk starts: where it would like to, or further back where those behind
        it need room."""
        wanted = self.latest[-1] - (rate * self.ago).round().long()
        wanted = wanted.minimum(self.latest) - self.before
        return wanted.flip(0).cummin(0).values.flip(0) + self.before


def _paced(slots: Slots, ago: Tensor, rate: float, limit: int | None) -> Layout:
    """Every chunk `rate` times its `ago` (P, T) before the newest, the prompt right in front.

    At most `limit` positions in all, as far as the chunks fit into it without gaps.
    """
    count = int((slots.role[0] == Role.PROMPT).sum())
    if count == len(slots):
        return _as_is(slots)
    prompt, rest = (slots.map(lambda f, p=p: f[..., p]) for p in (slice(count), slice(count, None)))
    lines = [Line.of(rest.plane(p), ago[p, count:]) for p in range(slots.planes)]
    opening = close_gaps(prompt).base if count else prompt.base
    length = int(opening[0, -1] - opening[0, 0] + prompt.span[0, -1]) if count else 0
    if limit is not None:
        floor = _end(slots) - limit + length
        rate = min(rate, *(line.fastest(floor) for line in lines))
    start = [line.starts(rate) for line in lines]
    behind = torch.stack([s[line.inverse] for s, line in zip(start, lines, strict=True)])
    front = opening - opening[:, :1] - length + behind[:, :1]
    base = torch.cat((front, behind), 1)
    return Layout(slots.position + (base - slots.base), base, slots.span.clone())
