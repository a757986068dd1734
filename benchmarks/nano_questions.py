"""Questions put to nano, and the answers counted: short ones made by rule, about what a made-up
stream showed before, and those of the annotated clips. Part of `benchmarks.nano`."""
import random
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accept import is_right
from benchmarks.common import Clip, load_clips
from benchmarks.needles import Photo, name_of, photo_of
from models.nano import asking
from models.nano.data import Picture, read_images
from models.nano.describe import prefill, reply
from models.nano.questions import YesNoMaker, things_in
from streamassist.config import EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.memory import METHODS
from streamassist.types import Frame, VideoLLM

FPS, NEWEST = 2.0, 4             # of the clips; frames an answer about now is given on
MOST_OF_A_KIND = 60
INDOOR = "indoor rooms (DAQUAR)"
DISTANCES_S = (10, 60, 300)
EVERY_S = 2.0                    # a frame of a made-up stream, each another picture
POLICIES = ("recall", "last_n", "attention_sinks", "video_scan:top=0")   # the last: carriers alone


# ---------------------------------------------------------------- short questions

def balanced(pictures: Sequence[Picture], each: int) -> dict[int, list[asking.Fact]]:
    """Place of a picture -> what it is asked. Of every kind at most MOST_OF_A_KIND, and of these
    at most `each` with the same answer."""
    rng, counts = random.Random(0), Counter()
    weights = YesNoMaker([p.captions for p in pictures]).weights
    chosen: dict[int, list[asking.Fact]] = defaultdict(list)
    for i, picture in enumerate(pictures):
        facts = [*asking.facts_of(picture.captions),
                 asking.absent_fact(picture.captions, rng, weights)]
        if things_in(picture.captions):
            facts.append(asking.choice_fact(picture.captions, rng, weights))
        for fact in facts:
            answer = fact.answer if fact.kind == "absent" else min(fact.keys)
            if counts[fact.kind] < MOST_OF_A_KIND and counts[fact.kind, answer] < each:
                counts.update([fact.kind, (fact.kind, answer)])
                chosen[i].append(fact)
    return chosen


def short_questions(
    model: VideoLLM, blind: VideoLLM, human: Sequence[Picture], indoor: Sequence[Picture],
    each: int,
) -> dict[str, Any]:
    """right, blind: shares of right answers, the average over the kinds; kinds: a line of each."""
    right: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    nothing, known = prefill(blind, [np.zeros((1, 1, 3), np.uint8)]), {}
    asked = balanced(human, each)
    tasks = [(human[i], [(f.kind, f.question, [sorted(f.keys)]) for f in facts])
             for i, facts in asked.items()]
    tasks += [(p, [(INDOOR, q, [a.split(", ")]) for q, a in p.qa[:2]]) for p in indoor]
    for i, image in read_images([picture for picture, _ in tasks]):
        cache = prefill(model, [np.asarray(image)])
        for kind, question, accept in tasks[i][1]:
            if question not in known:
                known[question] = reply(blind, nothing, question)
            said = reply(model, cache, question)
            right[kind].append((is_right(said, accept), is_right(known[question], accept)))
    shares = {kind: np.mean(pairs, 0) for kind, pairs in right.items()}
    lines = [f"{kind}: {shares[kind][0]:.0%} right, blind {shares[kind][1]:.0%} ({len(pairs)})"
             for kind, pairs in sorted(right.items())]
    mine, theirs = np.mean(list(shares.values()), 0)
    return {"right": float(mine), "blind": float(theirs), "kinds": lines,
            "questions": sum(map(len, right.values()))}


# ---------------------------------------------------------------- memory

def memory_questions(
    model: VideoLLM, pictures: Sequence[Picture], streams: int
) -> dict[str, Any]:
    """Of each policy and distance: how many yes/no questions about a thing that was shown once, or
    never, are answered rightly. Half of them want a no."""
    photos = [photo_of(p.file, p.captions) for p in pictures]
    right: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for number in range(streams):
        target, thing, other, rest = _made_stream(photos, random.Random(number))
        files = {photo.file for photo in (target, *rest)}
        wanted = [p for p in pictures if p.file in files]
        images = {wanted[i].file: np.asarray(image) for i, image in read_images(wanted)}
        shown = [images[photo.file] for photo in (target, *rest)]
        for policy in POLICIES:
            engine = Engine(model, make_method("memory", policy, METHODS), EngineConfig())
            for i, image in enumerate(shown):
                t = i * EVERY_S
                engine.observe(Frame(image, t, i))
                if t in DISTANCES_S:
                    for asked, yes in ((thing, True), (other, False)):
                        said = _answer(engine, f"Did {name_of(asked)} appear earlier?", t)
                        right[policy, int(t)].append(said.lower().startswith("yes") == yes)
    table = {key: float(np.mean(marks)) for key, marks in right.items()}
    lines = [f"{policy}: " + ", ".join(f"{table[policy, d]:.0%} at {d} s" for d in DISTANCES_S)
             for policy in POLICIES]
    first = POLICIES[0]
    figure = ", ".join(f"{table[first, d]:.0%} at {d} s" for d in DISTANCES_S)
    return {"policies": lines, "questions": sum(map(len, right.values())) // len(POLICIES),
            "figure": f"{figure} ({first})"}


def _made_stream(
    photos: Sequence[Photo], rng: random.Random
) -> tuple[Photo, int, int, list[Photo]]:
    """A picture, its thing, a thing never shown, and pictures of other things."""
    while True:
        target = rng.choice([p for p in photos if p.main])
        thing = rng.choice(sorted(target.main))
        other = rng.choice(sorted(set().union(*(p.main for p in photos)) - target.shows))
        rest = [p for p in photos if thing not in p.shows and other not in p.shows]
        count = int(DISTANCES_S[-1] / EVERY_S)
        if len(rest) >= count:
            return target, thing, other, rng.sample(rest, count)


def _answer(engine: Engine, question: str, t: float) -> str:
    turn = engine.ask(question, t)
    while not turn.done:
        engine.step()
    engine.close()
    return turn.text


# ---------------------------------------------------------------- clips

def clip_questions(
    model: VideoLLM, blind: VideoLLM, folder: Path, limit: int | None
) -> dict[str, Any]:
    """right, blind: shares of the present questions whose answer is accepted; wrong: examples."""
    marks: list[tuple[bool, bool]] = []
    lines: list[str] = []
    clips = [clip for clip in load_clips(folder) if "scenes" not in clip.facts]
    for clip in clips[:limit]:
        for item, frames in present_questions(clip):
            said, unseen = (
                reply(one, prefill(one, frames), item["question"]) for one in (model, blind)
            )
            mark = is_right(said, item["accept"]), is_right(unseen, item["accept"])
            marks.append(mark)
            lines.append(f"{'+' if mark[0] else '-'} {clip.name}: {item['question']} -> {said} "
                         f"({item.get('answer', '')})")
    mine, theirs = np.mean(marks, 0)
    return {"right": float(mine), "blind": float(theirs), "questions": len(marks),
            "answers": lines}


def present_questions(clip: Clip) -> list[tuple[dict[str, Any], list[np.ndarray]]]:
    """Each present question with the newest frames at its time."""
    waiting = sorted((q for q in clip.facts["qa"] if q["type"] == "present"),
                     key=lambda q: q["t_ask"])
    newest: deque[np.ndarray] = deque(maxlen=NEWEST)
    found = []
    for image, t in clip.open().frames(FPS):
        while waiting and waiting[0]["t_ask"] < t and newest:
            found.append((waiting.pop(0), list(newest)))
        newest.append(image)
    return found + [(item, list(newest)) for item in waiting]
