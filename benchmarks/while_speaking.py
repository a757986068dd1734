"""Does an answer notice what changes while it is given? `python -m benchmarks.while_speaking`

A picture is on screen and the model is asked to describe it. After one to three words the picture
is another one, and frames keep coming, one every so many words. For every `--branch`, gaps of
several sizes, and "stop", where frames are held back until the answer is over (as most
demonstrations do):
(a) how likely the captions of the new and of the old picture are as what is said next;
(b) how often the words after the change name a thing that only the new picture shows, and none that
    only the old one does;
and where nothing changes, how likely the finished answer is to the model itself when it reads it
in plain order behind the frames (mean log-probability a token).
Then questions about the past with and without notes (benchmarks/noting.py).

It holds when by (b) the default is not worse than any other by more than chance, and better than
holding frames back; the figure names the others that are not.
"""
import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from benchmarks import noting
from benchmarks.common import Outcome, Sheet, main, parser_of, start
from benchmarks.looks import Looks, Shot, Watching
from benchmarks.needles import Photo, photo_of
from benchmarks.staged import Staged
from models.nano.data import DATA, Picture, load_pictures, read_images
from models.nano.questions import things_in
from streamassist.config import EngineConfig
from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS
from streamassist.paths import cache_dir
from streamassist.types import Frame, Role, VideoLLM

VIEWS = 4                # noisy pictures of each photograph
BEFORE, LONGEST = 4, 24  # frames before the question; tokens of an answer
WORDS = (1, 2, 3)        # said before the change: one after the other, pair by pair
DRAWS = 2000        # of the bootstrap
STOP, DEFAULT = "stop", "follow"
MODES = {"follow": EngineConfig(), "overlap": EngineConfig(branch="overlap"),
         **{f"gap {gap}": EngineConfig(branch="gap", gap=gap) for gap in (64, 256, 1024)},
         "group": EngineConfig(branch="group"), STOP: EngineConfig()}
QUICK_MODES = ("follow", "overlap", "gap 256", "group", STOP)
NOTHING = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True)
class Pair:
    """The picture that is asked about, and the one that comes after `words` words of the answer.
    only: things that one of them shows and the other does not; captions: one of each."""

    old: str
    new: str
    words: int
    only_old: frozenset[int]
    only_new: frozenset[int]
    captions: tuple[str, str]


@dataclass
class Said:
    """after: the words after the change; likely: mean log-probability of a token of the old and of
    the new picture's caption."""

    after: str
    ids: list[int]
    likely: tuple[float, float] | None = None


@dataclass
class Marks:
    """Of one mode: (names the new, names the old, likelihoods) pair by pair, and fluency."""

    new: list[bool] = field(default_factory=list)
    old: list[bool] = field(default_factory=list)
    likely: list[tuple[float, float]] = field(default_factory=list)
    fluency: list[float] = field(default_factory=list)

    @property
    def hits(self) -> np.ndarray:
        """(N,) 1 where the words tell of the new picture alone."""
        return np.array(self.new, float) * ~np.array(self.old, bool)


# ---------------------------------------------------------------- material

def draw_pairs(pictures: Sequence[Picture], count: int, seed: int = 0) -> list[Pair]:
    """Pictures of which most captions name a thing that no caption of the other names."""
    rng, photos = random.Random(seed), {p.file: photo_of(p.file, p.captions) for p in pictures}
    pairs: list[Pair] = []
    while len(pairs) < count:
        old, new = rng.sample(list(pictures), 2)
        a, b = photos[old.file], photos[new.file]
        if a.main - b.shows and b.main - a.shows:
            told = caption_of(old, a), caption_of(new, b)
            words = WORDS[len(pairs) % len(WORDS)]
            pairs.append(Pair(a.file, b.file, words, a.shows - b.shows, b.shows - a.shows, told))
    return pairs


def caption_of(picture: Picture, photo: Photo) -> str:
    """The first caption that names what most of them do."""
    return next(c for c in picture.captions if things_in([c]) & photo.main)


def noisy_views(pictures: Sequence[Picture], files: set[str]) -> dict[str, list[np.ndarray]]:
    """file -> the picture as an unsteady, noisy camera sees it."""
    wanted = [p for p in pictures if p.file in files]
    return {
        wanted[i].file: [view for view, _ in Staged([np.asarray(image)], VIEWS).frames(1.0)]
        for i, image in read_images(wanted)
    }


def looks_of(model: VideoLLM, pictures: Sequence[Picture], files: set[str]) -> Looks:
    views = noisy_views(pictures, files)
    looks = Looks(model, views.__getitem__, cache_dir() / "while-speaking")
    looks.prepare(files, lambda _: False)
    return looks


# ---------------------------------------------------------------- one answer

class Stage:
    """The model watching a pair of pictures; `show` brings the next frame."""

    def __init__(self, model: VideoLLM, looks: Looks, shots: Sequence[Shot], config: EngineConfig):
        watching = Watching(model, looks, shots)
        self.engine, self.model = Engine(watching, METHODS["full"](), config), model
        self.shown = 0
        for _ in range(BEFORE):
            self.show()

    @property
    def t(self) -> float:
        return self.shown / self.engine.config.fps

    def show(self) -> None:
        self.engine.observe(Frame(NOTHING, self.t, self.shown))
        self.shown += 1

    def answer(self, words: int, held: bool, captions: Sequence[str] = ()) -> Said:
        """Describe; after so many tokens frames come, one every `tokens_per_turn` of them, unless
        they are held back."""
        turn = self.engine.ask(self.model.describe_prompt, self.t, limit=LONGEST)
        said, before = Said("", turn.ids), 0
        while not turn.done:
            since = len(turn.ids) - words
            if since >= 0 and since % self.engine.config.tokens_per_turn == 0 and not held:
                self.show()
            if since == 0:
                before = len(turn.text)
                said.likely = self.likely(captions)
            self.engine.step()
        said.after = turn.text[before:]
        self.engine.close()
        return said

    def likely(self, captions: Sequence[str]) -> tuple[float, ...] | None:
        """Mean log-probability of each caption, its first word aside, as what is said next."""
        turn = self.engine.turn
        rests = [self.model.encode_text(" " + caption.partition(" ")[2]) for caption in captions]
        return tuple(mean_logp(self.model, turn.cache, turn.unread, ids) for ids in rests) or None


def mean_logp(model: VideoLLM, cache: Any, before: Sequence[int], ids: Sequence[int]) -> float:
    """Of `ids` behind the cache and `before`, a token; leaves no trace."""
    size, position = cache.size, cache.next_position
    chunk = model.text_chunk([*before, *ids], position, Role.BRANCH, 0.0)
    try:
        rows = model.last_rows(chunk, cache, len(ids) + 1)[:-1].log_softmax(-1)
    finally:
        cache.truncate(size)
        cache.next_position = position
    said = torch.tensor(ids, device=rows.device)
    return float(rows.gather(1, said[:, None]).mean())


def fluency(
    model: VideoLLM, looks: Looks, pair: Pair, answers: dict[str, Said]
) -> dict[str, float]:
    """Of finished answers about the old picture, read in plain order behind its frames."""
    stage = Stage(model, looks, [(pair.old, i) for i in range(BEFORE)], MODES[DEFAULT])
    ids, cache = model.question_ids(model.describe_prompt), stage.engine.cache
    return {mode: mean_logp(model, cache, ids, said.ids) for mode, said in answers.items()}


# ---------------------------------------------------------------- all of them

def try_pairs(
    model: VideoLLM, looks: Looks, pairs: Sequence[Pair], modes: Sequence[str], undisturbed: int
) -> dict[str, Marks]:
    """The marks of each mode; the first pairs are also answered without a change."""
    marks = {mode: Marks() for mode in modes}
    for number, pair in enumerate(pairs):
        old, new = ([(file, i % VIEWS) for i in range(LONGEST)] for file in (pair.old, pair.new))
        calm: dict[str, Said] = {}
        for mode in modes:
            stage = Stage(model, looks, [*old[:BEFORE], *new], MODES[mode])
            said, mark = stage.answer(pair.words, mode == STOP, pair.captions), marks[mode]
            named = things_in([said.after])
            mark.new.append(bool(named & pair.only_new))
            mark.old.append(bool(named & pair.only_old))
            mark.likely.append(said.likely)
            if number < undisturbed:
                calm[mode] = Stage(model, looks, old, MODES[mode]).answer(1, mode == STOP)
        for mode, value in fluency(model, looks, pair, calm).items() if calm else ():
            marks[mode].fluency.append(value)
    return marks


def row_of(mode: str, mark: Marks) -> dict[str, Any]:
    old, new = np.mean(mark.likely, 0)
    return {
        "mode": mode, "new": float(mark.hits.mean()), "names_new": float(np.mean(mark.new)),
        "names_old": float(np.mean(mark.old)), "logp_new": float(new), "logp_old": float(old),
        "fluency": float(np.mean(mark.fluency)),
    }


def line_of(row: dict[str, Any]) -> str:
    return (f"{row['mode']:>8}: the new thing alone in {row['new']:.0%} (names it "
            f"{row['names_new']:.0%}, the old one {row['names_old']:.0%}); caption of the new "
            f"{row['logp_new']:.2f}, of the old {row['logp_old']:.2f} a token; undisturbed "
            f"{row['fluency']:.2f}")


def apart(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean difference, pair by pair, by bootstrap."""
    draw = np.random.default_rng(0).integers(0, len(one), (DRAWS, len(one)))
    low, high = np.quantile((one - other)[draw].mean(1), (0.025, 0.975))
    return float(low), float(high)


def judged(marks: dict[str, Marks]) -> tuple[str, dict[str, Any], bool]:
    """The figure; the rows and differences; whether the default is not worse than any other by
    more than chance, and better than holding frames back."""
    rows = [row_of(mode, mark) for mode, mark in marks.items()]
    hits = {mode: mark.hits for mode, mark in marks.items()}
    worse = [m for m in hits if apart(hits[DEFAULT], hits[m])[1] < 0]
    over_stop = {m: apart(hits[m], hits[STOP]) for m in hits if m != STOP}
    better = [m for m, (low, _) in over_stop.items() if low > 0]
    deaf = [m for m in over_stop if m not in better]
    figure = (
        f"after the change {hits[DEFAULT].mean():.0%} of {len(hits[DEFAULT])} answers tell of the "
        f"new picture ({DEFAULT}; held back: {hits[STOP].mean():.0%}); "
        f"better than {DEFAULT}: {', '.join(worse) or 'none'}; "
        f"not better than held back: {', '.join(deaf) or 'none'}"
    )
    return figure, {"rows": rows, "over_stop": over_stop}, not worse and DEFAULT in better


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    if not DATA.is_dir():
        raise StreamAssistError(f"The evaluation pictures are not there: {DATA} is missing.")
    model = start(args, sheet).model
    pictures = [p for p in load_pictures() if p.split == "test" and p.kind == "human"]
    count, undisturbed, streams = (6, 2, 1) if args.quick else (args.pairs, 10, args.streams)
    modes = QUICK_MODES if args.quick else tuple(MODES)
    pairs = draw_pairs(pictures, count)
    looks = looks_of(model, pictures, {file for pair in pairs for file in (pair.old, pair.new)})
    figure, numbers, ok = judged(try_pairs(model, looks, pairs, modes, undisturbed))
    for row in numbers["rows"]:
        sheet.row(line_of(row))
    numbers["notes"] = noting.compare(model, pictures, streams, looks_of)
    for row in numbers["notes"]:
        sheet.row(noting.line_of(row))
    figure += f"; {noting.figure_of(numbers['notes'])}"
    return Outcome(figure, numbers, ok, {"pairs": count, "streams": streams})


def parser() -> argparse.ArgumentParser:
    flags = parser_of(__doc__)
    flags.add_argument("--pairs", type=int, default=40, help="of pictures, without --quick")
    flags.add_argument("--streams", type=int, default=14, help="asked about the past, ditto")
    return flags


if __name__ == "__main__":
    sys.exit(main(parser(), measure, None))
