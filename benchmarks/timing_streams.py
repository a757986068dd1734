"""Staged events over real footage: pictures of known things shown for seconds in streams of the
annotated clips, the moments at which the scene changes, and watch rules for what will be shown.

A rule is in force from well before its picture until well after, beside other rules, so that it can
be early, late, or wrong; nothing else shown meanwhile is of its kind (see benchmarks/needles.py).
"""
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha1

from benchmarks.needles import Material, Photo, choose, name_of

SHOWN_S = 5.0              # a picture
FOOTAGE_S = (6.0, 10.0)    # between two
BEFORE_S, AFTER_S = 30.0, 15.0   # a rule is in force, around its picture
RULES_EACH = 2             # most of one picture
PICTURES = 24              # of a stream
TWICE = 2                  # how often a picture is shown in all streams for rules
APART = 3                  # pictures between two of a kind there
BEFORE_RULE_S, AFTER_RULE_S = 20.0, 10.0
Shot = tuple[str, int]


@dataclass(frozen=True)
class Watch:
    """A rule, when it is in force, and when what it waits for is on screen."""

    id: int
    thing: int
    since: float
    until: float
    start: float
    end: float

    @property
    def condition(self) -> str:
        name = name_of(self.thing)
        return f"{name[:1].upper()}{name[1:]} appears"


@dataclass
class Staged:
    """shots: at each tick the source and which of its frames; cuts: when the scene changes;
    pictures: (start, end, file)."""

    fps: float
    shots: list[Shot] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    pictures: list[tuple[float, float, str]] = field(default_factory=list)
    photos: dict[str, Photo] = field(default_factory=dict)
    watches: list[Watch] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return len(self.shots) / self.fps

    @property
    def key(self) -> str:
        """Changes with what is shown and what is waited for."""
        return sha1(repr((self.fps, self.shots, self.watches)).encode()).hexdigest()[:12]

    def in_force(self, t: float) -> list[Watch]:
        return [w for w in self.watches if w.since <= t < w.until]


def build(
    material: Material, count: int, fps: float, seen: frozenset[int] | None = None,
    pictures: int = PICTURES, seed: int = 0,
) -> list[Staged]:
    """The same streams for the same arguments; pictures of the things in `seen`, None: of all."""
    if seen is not None:
        photos = (replace(photo, main=photo.main & seen) for photo in material.photos)
        material = replace(material, photos=tuple(photo for photo in photos if photo.main))
    shown: Counter[int] = Counter()
    streams, number = [], 0
    for n in range(count):
        rng = random.Random(f"timing {seed} {n}")
        chosen = choose(material, pictures, shown, rng)
        shown.update(thing for thing, _ in chosen)
        stream = stage(material, chosen, fps, rng)
        number = give_rules(stream, chosen, material, number)
        streams.append(stream)
    return streams


def build_rules(
    material: Material, count: int, fps: float, things: frozenset[int], pictures: int = PICTURES,
    seed: int = 0,
) -> list[Staged]:
    """Streams for watch rules: every picture that mainly shows one of the things, none more than
    `TWICE`, none soon after another of its kind, so that each has a rule of its own."""
    rng = random.Random(f"rules {seed}")
    photos = [replace(photo, main=(photo.main & things) - material.common)
              for photo in material.photos]
    left = [photo for photo in photos if photo.main] * TWICE
    rng.shuffle(left)
    streams, number = [], 0
    for _ in range(count):
        chosen = spread_out(left, pictures)
        stream = stage(material, chosen, fps, rng)
        number = give_rules(
            stream, chosen, material, number, BEFORE_RULE_S, AFTER_RULE_S
        )
        streams.append(stream)
    return streams


def spread_out(left: list[Photo], most: int) -> list[tuple[int, Photo]]:
    """Take pictures off the list, none of which shows what the few before it are waited for as, or
    the other way round."""
    chosen: list[tuple[int, Photo]] = []
    while len(chosen) < most:
        recent = [photo for _, photo in chosen[-APART:]]
        fits = (i for i, photo in enumerate(left) if not any(
            photo.main & other.shows or other.main & photo.shows for other in recent))
        if (index := next(fits, None)) is None:
            break
        photo = left.pop(index)
        chosen.append((min(photo.main), photo))
    return chosen


def stage(
    material: Material, chosen: Sequence[tuple[int, Photo]], fps: float, rng: random.Random
) -> Staged:
    """Footage and pictures in turns; each piece of footage runs on from anywhere in a clip."""
    stream = Staged(fps)
    clips = sorted(c for c, seconds in material.clips.items() if seconds >= FOOTAGE_S[0])
    last = ""
    for _, photo in chosen:
        last = rng.choice([clip for clip in clips if clip != last])
        seconds = min(rng.uniform(*FOOTAGE_S), material.clips[last])
        first = rng.uniform(0, material.clips[last] - seconds)
        if stream.shots:
            stream.cuts.append(stream.seconds)
        stream.shots += [(last, int(first * fps) + i) for i in range(int(seconds * fps))]
        start = stream.seconds
        stream.cuts.append(start)
        stream.shots += [(photo.file, 0)] * int(SHOWN_S * fps)
        stream.pictures.append((start, stream.seconds, photo.file))
        stream.photos[photo.file] = photo
    return stream


def give_rules(
    stream: Staged, chosen: Sequence[tuple[int, Photo]], material: Material, number: int,
    before_s: float = BEFORE_S, after_s: float = AFTER_S,
) -> int:
    """Rules for what is the matter of each picture and of no other near it; the next free id."""
    for (start, end, _), (_, photo) in zip(stream.pictures, chosen, strict=True):
        since, until = max(0.0, start - before_s), end + after_s
        near = [other for (a, b, _), (_, other) in zip(stream.pictures, chosen, strict=True)
                if other is not photo and a < until and b > since]
        things = sorted(photo.main - material.common)
        things = [t for t in things if not any(t in other.shows for other in near)]
        for thing in things[:RULES_EACH]:
            stream.watches.append(Watch(number, thing, since, until, start, end))
            number += 1
    return number
