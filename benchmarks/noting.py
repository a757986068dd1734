"""Are notes worth taking? Part of `benchmarks.while_speaking`: questions about what a staged stream
showed before, with and without `--thinking`.

A stream is five photographs, each for eight seconds, with a note at the end of each; then it is
asked whether a thing of the first three appeared (it did), whether one that no picture shows did,
what was there before and what at first. `last_n` has only the last photograph left; `recall`, the
default, brings an old frame back. `--quick` asks the default memory alone.
"""
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.accept import is_right
from benchmarks.looks import Looks, Shot, Watching
from benchmarks.needles import name_of, photo_of
from models.nano.data import Picture
from models.nano.questions import GROUPS
from streamassist.config import EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.memory import METHODS as MEMORY
from streamassist.thinking import METHODS as THINKING
from streamassist.types import Frame, VideoLLM

SCENES, SCENE_S, FRAMES = 5, 8.0, 2   # photographs; seconds and frames of each
LONGEST = 24                          # tokens of an answer
MEMORIES = ("recall", f"last_n:frames={FRAMES}")
KINDS = ("appeared", "did not", "before", "first")
NOTHING = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True)
class Story:
    """The files shown; of each kind of question its words and what a right answer has."""

    files: tuple[str, ...]
    asked: dict[str, tuple[str, list[list[str]]]]


def draw_stories(pictures: Sequence[Picture], count: int, seed: int = 0) -> list[Story]:
    """The thing that was not shown is drawn as often as it is shown elsewhere: knowing what is
    common does not help."""
    rng, photos = random.Random(seed), [photo_of(p.file, p.captions) for p in pictures]
    everywhere = [thing for photo in photos for thing in sorted(photo.main)]
    stories: list[Story] = []
    while len(stories) < count:
        shown = rng.sample(photos, SCENES)
        seen = frozenset().union(*(photo.shows for photo in shown))
        told = [sorted(photo.main - shown[-1].shows) for photo in shown]
        target = rng.choice(told[: SCENES - 2])
        if not (target and told[0] and told[-2]):
            continue
        absent = rng.choice([thing for thing in everywhere if thing not in seen])
        stories.append(Story(tuple(photo.file for photo in shown), {
            "appeared": (f"Did {name_of(rng.choice(target))} appear earlier?", [["yes"]]),
            "did not": (f"Did {name_of(absent)} appear earlier?", []),
            "before": ("What did you see before?", [names_of(told[-2])]),
            "first": ("What did you see first?", [names_of(told[0])]),
        }))
    return stories


def names_of(things: Sequence[int]) -> list[str]:
    return [word for thing in things for word in GROUPS[thing]]


# ---------------------------------------------------------------- watching and asking

def shots_of(story: Story) -> list[Shot]:
    return [(file, i) for file in story.files for i in range(FRAMES)]


def watched(model: VideoLLM, looks: Looks, story: Story, memory: str, thinking: str) -> Engine:
    """An engine that saw the story, and noted at the end of each picture what it could."""
    notes = make_method("thinking", thinking, THINKING)
    engine = Engine(
        Watching(model, looks, shots_of(story)), make_method("memory", memory, MEMORY),
        EngineConfig(), thinking=notes,
    )
    engine.note_due(0.0)
    for i in range(SCENES * FRAMES):
        engine.observe(Frame(NOTHING, i * SCENE_S / FRAMES, i))
        if (i + 1) % FRAMES == 0 and engine.note((i + 1) * SCENE_S / FRAMES):
            finish(engine)
    return engine


def finish(engine: Engine) -> str:
    turn = engine.turn
    while not turn.done:
        engine.step()
    engine.close()
    return turn.text


def answers(engine: Engine, story: Story) -> Iterator[tuple[str, bool]]:
    """(kind of question, whether it was answered rightly). What it did not see is a no."""
    for kind, (question, accept) in story.asked.items():
        engine.ask(question, SCENES * SCENE_S, limit=LONGEST)
        said = finish(engine)
        right = is_right(said, accept) if accept else not said.lower().startswith("yes")
        yield kind, right


def compare(
    model: VideoLLM, pictures: Sequence[Picture], count: int,
    looks_of: Callable[[VideoLLM, Sequence[Picture], set[str]], Looks],
) -> list[dict[str, Any]]:
    """A row for each memory and each way of taking notes."""
    stories = draw_stories(pictures, count)
    looks = looks_of(model, pictures, {file for story in stories for file in story.files})
    memories = MEMORIES if count > 1 else MEMORIES[:1]
    marks: dict[tuple[str, str], dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for story in stories:
        for memory in memories:
            for thinking in THINKING:
                engine = watched(model, looks, story, memory, thinking)
                for kind, right in answers(engine, story):
                    marks[memory, thinking][kind].append(right)
    return [
        {"memory": memory, "thinking": thinking, "questions": len(KINDS) * count,
         "right": float(np.mean([told[kind] for kind in KINDS])),
         **{kind: float(np.mean(told[kind])) for kind in KINDS}}
        for (memory, thinking), told in marks.items()
    ]


def line_of(row: dict[str, Any]) -> str:
    shares = ", ".join(f"{kind} {row[kind]:.0%}" for kind in KINDS)
    what = f"past, {row['memory']}, {row['thinking']}"
    return f"{what}: {row['right']:.0%} right of {row['questions']}; {shares}"


def figure_of(rows: Sequence[dict[str, Any]]) -> str:
    """Of each memory what was answered rightly, by ways of taking notes."""
    told = defaultdict(list)
    for row in rows:
        told[row["memory"]].append(f"{row['thinking']} {row['right']:.0%}")
    return "past questions right, " + "; ".join(f"{m}: {', '.join(t)}" for m, t in told.items())
