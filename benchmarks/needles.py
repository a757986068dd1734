"""Needles in a stream: pictures of known things, shown for two seconds at seeded times in a long
stream of real clips, and the questions about them.

Streams are loops and joins of the annotated clips of one part ("dev" or "test"). A needle is a
picture nano was not trained on, of a thing that most of its captions name, but no annotation of a
clip and no caption of another needle in the stream. So the time since a thing was seen is known,
and so is what was never seen. The things of wrong answers are drawn such that a thing is right
about as often as it is wrong: knowing what is common does not help.
"""
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Clip, load_clips, part_of
from models.nano import data
from models.nano.questions import GROUPS, things_in, with_article
from streamassist.errors import StreamAssistError

SHOWN_S = 2.0
JUST_S = 3.0                             # "just now"
PAST_S = (10.0, 60.0, 300.0, 1000.0)     # since the needle was last on screen
CLOSEST_S = 5.0                          # from one needle's start to the next
EARLY = 0.4                              # of the needles come early enough to be asked at 1000 s
WRONG = 3                                # wrong things beside the right one
PLACES = frozenset(
    "bathroom kitchen beach field park city sky road building tunnel traffic".split()
)
PICTURES = {"dev": "val", "test": "test"}   # part -> split of the pictures


@dataclass(frozen=True)
class Photo:
    """A picture that can be a needle. shows: every thing a caption names; main: those that most
    captions name."""

    file: str
    shows: frozenset[int]
    main: frozenset[int]


@dataclass(frozen=True)
class Material:
    """clips: name -> seconds; common: things that the clips show."""

    clips: dict[str, float]
    common: frozenset[int]
    photos: tuple[Photo, ...]


@dataclass(frozen=True)
class Needle:
    stream: int
    thing: int
    file: str
    shows: frozenset[int]
    start: float

    @property
    def end(self) -> float:
        return self.start + SHOWN_S

    def ticks(self, fps: float) -> tuple[int, int]:
        """Its first frame, and the first one after it."""
        return int(self.start * fps), int(self.end * fps)


@dataclass(frozen=True)
class Ask:
    """A question about a needle, `age` seconds after its last frame; `others` were never shown."""

    needle: Needle
    age: float
    tick: int
    others: tuple[str, ...] = ()

    @property
    def thing(self) -> str:
        return name_of(self.needle.thing)

    @property
    def past(self) -> bool:
        return self.age >= PAST_S[0]

    def about(self, thing: str) -> str:
        if self.past:
            return f"Did {thing} appear earlier?"
        return f"Was there {thing} just now?" if self.age else f"Is there {thing} now?"

    def which(self) -> str:
        """All things in one question, the right one at a place that depends on its time."""
        things = list(self.others)
        things.insert(self.tick % (len(things) + 1), self.thing)
        verb = "appeared earlier" if self.past else "was there just now" if self.age else "is there"
        return f"Which of these {verb}: {', '.join(things[:-1])} or {things[-1]}?"


@dataclass
class Stream:
    """shots: at each tick the source (a clip or a picture) and which of its frames."""

    shots: list[tuple[str, int]]
    needles: list[Needle]
    asks: list[Ask] = field(default_factory=list)


def name_of(thing: int) -> str:
    """"a dog"."""
    return with_article(GROUPS[thing][0])


# ---------------------------------------------------------------- material

def load_material(folder: Path, part: str) -> Material:
    clips = [c for c in load_clips(folder) if "scenes" not in c.facts and part_of(c.name) == part]
    photos = []
    for picture in data.load_pictures():
        if picture.split == PICTURES[part] and picture.kind == "human":
            photos.append(photo_of(picture.file, picture.captions))
    if not clips or not photos:
        raise StreamAssistError(f"There are no clips or pictures of the part {part}; see --clips.")
    lengths = {c.name: c.duration_s for c in clips}
    return Material(lengths, frozenset(chain(*map(things_of, clips))), tuple(photos))


def things_of(clip: Clip) -> set[int]:
    """Every thing its annotation names, questions and answers too."""
    return things_in(list(texts_in([clip.facts.get(k) for k in ("scene", "events", "qa")])))


def texts_in(facts: Any) -> Iterator[str]:
    if isinstance(facts, str):
        yield facts
    elif isinstance(facts, list | dict):
        for item in facts.values() if isinstance(facts, dict) else facts:
            yield from texts_in(item)


def photo_of(file: str, captions: Sequence[str]) -> Photo:
    counts = Counter(chain(*(things_in([caption]) for caption in captions)))
    main = {
        thing for thing, count in counts.items()
        if count > len(captions) / 2 and GROUPS[thing][0] not in PLACES
    }
    return Photo(file, frozenset(counts), frozenset(main))


def read_photos(files: Sequence[str]) -> dict[str, np.ndarray]:
    """file -> RGB (H, W, 3) uint8."""
    wanted = [p for p in data.load_pictures() if p.file in set(files)]
    return {wanted[i].file: np.asarray(image) for i, image in data.read_images(wanted)}


# ---------------------------------------------------------------- streams

def build_streams(
    material: Material, count: int, seconds: float, fps: float, most_asks: int, seed: int = 0
) -> list[Stream]:
    """The same streams for the same arguments."""
    streams, shown = [], Counter()
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        chosen = choose(material, int(seconds / CLOSEST_S / 1.5), shown, rng)
        shown.update(thing for thing, _ in chosen)
        times = start_times(len(chosen), seconds, rng)
        needles = [
            Needle(number, thing, photo.file, photo.shows, start)
            for (thing, photo), start in zip(chosen, times, strict=False)
        ]
        streams.append(Stream(shots_of(material, needles, seconds, fps, rng), needles))
    give_asks(streams, material, seconds, fps, most_asks, random.Random(seed))
    return streams


def choose(
    material: Material, most: int, shown: Counter[int], rng: random.Random
) -> list[tuple[int, Photo]]:
    """(thing, picture of it), no thing twice and none in the picture of another; things that
    earlier streams have not shown first."""
    photos = list(material.photos)
    rng.shuffle(photos)
    by_thing = {}
    for photo in photos:
        for thing in photo.main - material.common:
            by_thing.setdefault(thing, []).append(photo)
    order = sorted(by_thing, key=lambda t: (shown[t], rng.random()))
    chosen: list[tuple[int, Photo]] = []
    for thing in order[: len(order) * 4 // 5]:   # some are left that were never shown
        for photo in sorted(by_thing[thing], key=lambda p: len(p.shows - material.common)):
            if len(chosen) < most and not any(
                thing in other.shows or mine in photo.shows for mine, other in chosen
            ):
                chosen.append((thing, photo))
                break
    rng.shuffle(chosen)
    return chosen


def start_times(count: int, seconds: float, rng: random.Random) -> list[float]:
    """Whole seconds, ascending, spread over the stream; more where the oldest can be asked for."""
    first, last = CLOSEST_S, seconds - SHOWN_S - JUST_S
    early = seconds - PAST_S[-1] - SHOWN_S
    if early < 2 * CLOSEST_S:
        return spread(count, first, last, rng)
    number = min(round(EARLY * count), int((early - first) / CLOSEST_S))
    return spread(number, first, early, rng) + spread(count - number, early, last, rng)


def spread(count: int, low: float, high: float, rng: random.Random) -> list[float]:
    count = max(0, min(count, int((high - low) / CLOSEST_S)))
    width = (high - low) / max(1, count)
    return [float(int(low + width * i + rng.uniform(0, width - CLOSEST_S))) for i in range(count)]


def shots_of(
    material: Material, needles: Sequence[Needle], seconds: float, fps: float, rng: random.Random
) -> list[tuple[str, int]]:
    """Clips one after the other in ever new order; a needle hides what runs on behind it."""
    shots: list[tuple[str, int]] = []
    while len(shots) < seconds * fps:
        names = sorted(material.clips)
        rng.shuffle(names)
        for name in names:
            shots += [(name, i) for i in range(max(1, int(material.clips[name] * fps)))]
    del shots[int(seconds * fps):]
    for needle in needles:
        for tick in range(*needle.ticks(fps)):
            shots[tick] = needle.file, 0
    return shots


# ---------------------------------------------------------------- questions

def give_asks(
    streams: Sequence[Stream], material: Material, seconds: float, fps: float, most: int,
    rng: random.Random,
) -> None:
    """Fill in `asks`, in order of time: at most `most` in all, evenly of each age."""
    asks = [a for stream in streams for a in possible(stream, seconds, fps)]
    if len(asks) > most:
        rng.shuffle(asks)
        seen: Counter[float] = Counter()
        ranks = {}
        for ask in asks:
            kind = ask.age if ask.past else 0.0
            ranks[ask] = seen[kind] = seen[kind] + 1
        asks = sorted(asks, key=ranks.get)[:most]
    asks.sort(key=lambda a: (a.needle.stream, a.tick, a.needle.thing))
    things = set(chain(*(photo.main for photo in material.photos))) - material.common
    spare = Counter(a.needle.thing for a in asks)   # how often right less how often wrong
    for ask in asks:
        stream = streams[ask.needle.stream]
        free = sorted(things - shown_by(stream, ask.tick / fps))
        free.sort(key=lambda t: (-spare[t], rng.random()))
        others = free[:1] + rng.sample(free[1:], min(WRONG - 1, len(free) - 1))
        spare[others[0]] -= 1
        names = tuple(map(name_of, others))
        stream.asks.append(Ask(ask.needle, ask.age, ask.tick, names))


def possible(stream: Stream, seconds: float, fps: float) -> Iterator[Ask]:
    """Every needle on screen or just gone, in turns, and at each age that the stream reaches."""
    for number, needle in enumerate(stream.needles):
        last = needle.ticks(fps)[1] - 1
        for age in (JUST_S if number % 2 else 0.0, *PAST_S):
            tick = last + int(age * fps)
            if tick < int(seconds * fps):
                yield Ask(needle, age, tick)


def shown_by(stream: Stream, t: float) -> set[int]:
    """Things that pictures of needles up to `t` show."""
    return set(chain(*(n.shows for n in stream.needles if n.start <= t)))
