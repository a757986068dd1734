"""What the model makes of the staged streams, frame by frame: recorded once, then every policy
decides over the same signals.

Novelty and the last remark's perplexity depend on what was said, so these are worked out while a
policy decides (`Scene`); everything else of `FrameSignals` is recorded.
"""
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from benchmarks.looks import Looks, Watching
from benchmarks.needles import Photo, read_photos
from benchmarks.timing_streams import Shot, Staged
from streamassist.cache import KVCache
from streamassist.config import EngineConfig
from streamassist.engine import Engine, distance
from streamassist.memory.last_n import LastN
from streamassist.senses import Senses
from streamassist.timing import Meter, Moment
from streamassist.types import Frame, FrameSignals, Role, VideoLLM
from streamassist.video import open_video

SMALL = (64, 48)      # pixels of the pictures that motion is measured on
FRAMES = 4            # in the memory of the stream, so that "now" is what is asked about
NEWS_S, SLOW_S = 1.0, 2.0   # between two measurements: of ABOUT_FRAMES, of ABOUT_GOALS
WORDS = 24            # tokens of a remark
TOLD, MEASURED = 4, 2   # frames
ABOUT_FRAMES = frozenset({"p_first", "p_no_reply", "p_news"})
ABOUT_GOALS = frozenset({"relevance", "p_graph"})


class Reader:
    """Pictures of shots: whole for the encoder, small for what moves. `shows`: of each picture the
    things that its captions name."""

    def __init__(self, clips: Path, photos: Mapping[str, Photo], fps: float):
        self.clips, self.fps = clips, fps
        self.shows = {file: photo.shows for file, photo in photos.items()}
        self._photos = read_photos(list(photos))
        self._small: dict[str, list[np.ndarray]] = {}
        self._whole: tuple[str, list[np.ndarray]] = ("", [])   # one source at a time

    def __call__(self, source: str) -> list[np.ndarray]:
        """All pictures of a clip, or a picture."""
        if source in self._photos:
            return [self._photos[source]]
        video = open_video(self.clips / f"{source}.mp4")
        return [image for image, _ in video.frames(self.fps)]

    def small(self, shot: Shot) -> np.ndarray:
        source, number = shot
        if source not in self._small:
            self._small[source] = [shrunk(image) for image in self(source)]
        kept = self._small[source]
        return kept[min(number, len(kept) - 1)]

    def whole(self, shot: Shot) -> np.ndarray:
        source, number = shot
        if source != self._whole[0]:
            self._whole = source, self(source)
        kept = self._whole[1]
        return kept[min(number, len(kept) - 1)]


def shrunk(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(SMALL, Image.Resampling.BOX))


class Memo(Senses):
    """What is asked of the newest frame alone is asked once of a shot: pictures stand still, and
    clips come again."""

    kept: ClassVar[dict[tuple, Any]] = {}   # of all streams of one run

    def __init__(self, shots: Sequence[Shot]):
        super().__init__()
        self.shots = shots

    def _each(
        self, kind: str, ask: Callable, engine: Engine, t: float, conditions: list[str]
    ) -> list[float]:
        shot = self.shots[engine.newest.frame]
        missing = [c for c in conditions if (kind, shot, c) not in self.kept]
        if missing:
            answers = ask(engine, t, missing)
            self.kept.update({(kind, shot, c): a for c, a in zip(missing, answers, strict=True)})
        return [self.kept[kind, shot, c] for c in conditions]

    def _now(self, engine: Engine, t: float, conditions: list[str]) -> list[float]:
        return self._each("now", super()._now, engine, t, conditions)

    def _relevance(self, engine: Engine, t: float, conditions: list[str]) -> list[float]:
        return self._each("relevance", super()._relevance, engine, t, conditions)


def record(
    model: VideoLLM, looks: Looks, stream: Staged, small: Callable[[Shot], np.ndarray],
    names: frozenset[str] = ABOUT_FRAMES | ABOUT_GOALS,
) -> Iterator[FrameSignals]:
    """Signals of every frame; `small` is the picture of a shot, of any size."""
    engine = Engine(Watching(model, looks, stream.shots), LastN(FRAMES), EngineConfig())
    senses, meter, news = Memo(stream.shots), Meter(), {}
    for tick, shot in enumerate(stream.shots):
        t = tick / stream.fps
        frame = Frame(small(shot), t, tick)
        signals = meter.read(frame, engine.observe(frame), engine, Moment())
        if tick % round(stream.fps * NEWS_S) == 0:
            senses.measure(engine, signals, names & ABOUT_FRAMES)
            news = {name: getattr(signals, name) for name in names & ABOUT_FRAMES}
        signals = replace(signals, **news)
        watches = stream.in_force(t)
        slow = names & ABOUT_GOALS if tick % round(stream.fps * SLOW_S) == 0 else frozenset()
        wanted = {w.id: frozenset({"p_now"}) | slow for w in watches}
        senses.ask_goals(engine, signals, wanted, {w.id: w.condition for w in watches})
        yield signals


def kept(file: Path, make: Callable[[], Iterator[FrameSignals]]) -> list[FrameSignals]:
    """From the file, else made and written to it when whole."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".tmp")
        with part.open("w") as out:
            for signals in make():
                out.write(json.dumps(asdict(signals)) + "\n")
        part.replace(file)
    return [signals_of(json.loads(line)) for line in file.read_text().splitlines()]


def signals_of(facts: dict) -> FrameSignals:
    """JSON has made the goals' numbers into words."""
    for name in ("p_yes", "p_now", "p_graph", "relevance"):
        facts[name] = {int(goal): value for goal, value in facts[name].items()}
    return FrameSignals(**facts)


class Scene:
    """One stream's shots as the model sees and tells them, each by itself; what was worked out is
    kept, since many policies ask for the same. Of a clip every `TOLD` th frame is told, and the
    perplexity of a remark is measured at every `MEASURED` th, which stand for those behind them."""

    def __init__(self, model: VideoLLM, looks: Looks, shots: Sequence[Shot]):
        self.model, self.looks, self.shots = model, looks, shots
        self._told: dict[Shot, list[int]] = {}
        self._surprise: dict[tuple[Shot, Shot], float] = {}

    def novelty(self, tick: int, spoken: int | None) -> float:
        """Against the frame last spoken about."""
        if spoken is None:
            return 1.0
        return distance(self._look(tick), self._look(spoken))

    def _look(self, tick: int) -> torch.Tensor:
        return self.looks.tokens(*self.shots[tick], Frame(np.empty((0, 0, 3)), 0.0, tick)).look

    def told(self, tick: int) -> list[int]:
        """Token ids of a remark about this frame."""
        shot = self._near(tick, TOLD)
        if shot not in self._told:
            cache, ids = self._seen(shot), self.model.question_ids(self.model.describe_prompt)
            said: list[int] = []
            while len(said) < WORDS:
                chunk = self.model.text_chunk(ids, cache.next_position, Role.BRANCH, 0.0)
                token = int(self.model.forward(chunk, cache).argmax())
                if token in self.model.stop_ids:
                    break
                said.append(token)
                ids = [token]
            self._told[shot] = said
        return self._told[shot]

    def text(self, tick: int) -> str:
        return self.model.detokenize(self.told(tick)).strip()

    def surprise(self, tick: int, hypothesis: int) -> float:
        """How much worse the remark about the frame `hypothesis` explains this one than that."""
        return self._perplexity(tick, hypothesis) / self._perplexity(hypothesis, hypothesis)

    def _perplexity(self, tick: int, hypothesis: int) -> float:
        key = self._near(tick, MEASURED), self._near(hypothesis, TOLD)
        if key not in self._surprise:
            said, cache = self.told(hypothesis), self._seen(key[0])
            ids = [*self.model.question_ids(self.model.describe_prompt), *said]
            chunk = self.model.text_chunk(ids[:-1], cache.next_position, Role.BRANCH, 0.0)
            rows = self.model.last_rows(chunk, cache, len(said)).log_softmax(-1)
            nll = -rows[torch.arange(len(said)), torch.tensor(said)].mean()
            self._surprise[key] = float(nll.clamp(max=50).exp())
        return self._surprise[key]

    def _near(self, tick: int, every: int) -> Shot:
        source, number = self.shots[tick]
        return source, number - number % every

    def _seen(self, shot: Shot) -> KVCache:
        """The prompt and this shot alone."""
        model, cache = self.model, self.model.new_cache()
        model.forward(model.text_chunk(model.prompt_ids(), 0, Role.PROMPT, 0.0), cache)
        tokens = self.looks.tokens(*shot, Frame(np.empty((0, 0, 3)), 0.0, 0))
        model.forward(model.frame_chunk(tokens, cache.next_position), cache)
        return cache
