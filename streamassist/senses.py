"""The costly signals: what the model says of the newest frame when it is asked, without a trace.

Each is a branch behind the frames that is dropped again, so nothing of it stays in memory.
"""
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import torch

from streamassist.cache import KVCache
from streamassist.engine import Engine
from streamassist.response.scenes import graph_of, likeness
from streamassist.types import FrameSignals, Role, VideoLLM

LIVE = (
    'You comment on a live video. If nothing has changed, say only "...". '
    "Otherwise say in one short sentence what is new."
)
NO_REPLY = (
    "You comment on a live video. If there is nothing new to tell, answer NO REPLY. "
    "Otherwise answer with one short sentence."
)
NEWS = "Something new has just happened"
WORDS = 16        # tokens of a sentence the model makes for itself
SEGMENT_S = 2.0   # one such sentence for so long, for scene graphs
SCENES = 64       # of these are kept
SHOWN = 2         # like scenes beside a condition


class Senses:
    """State of one stream: the last remark as a hypothesis, and the scenes so far."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._hypothesis: list[int] = []
        self._baseline: float | None = None   # perplexity on the frame it was made for
        self._born = -1                       # that frame
        self._scenes: deque[tuple[str, frozenset]] = deque(maxlen=SCENES)
        self._told_at = float("-inf")
        self._alone: KVCache | None = None    # while the goals of a frame are asked

    def spoken(self, engine: Engine, text: str) -> None:
        """A remark was made: from now on it is the hypothesis, wherever it was spoken."""
        self._suppose(engine.model.encode_text(text))

    def _suppose(self, ids: Sequence[int]) -> None:
        self._hypothesis, self._baseline = list(ids), None

    # ------------------------------------------------------------ about the frame

    def measure(self, engine: Engine, signals: FrameSignals, names: Iterable[str]) -> None:
        """Fill in the named signals of the newest frame."""
        for name in sorted(names):
            setattr(signals, name, getattr(self, f"_{name}")(engine, signals))

    def _p_first(self, engine: Engine, signals: FrameSignals) -> float:
        silent = openings(engine, "...", "…")
        own = engine.model.choice_ids.get("silent")
        return self._first(engine, signals, LIVE, silent | ({own} - {None}))

    def _p_no_reply(self, engine: Engine, signals: FrameSignals) -> float:
        return self._first(engine, signals, NO_REPLY, openings(engine, "NO"))

    def _first(
        self, engine: Engine, signals: FrameSignals, prompt: str, tokens: set[int]
    ) -> float:
        """How likely an answer to the prompt begins with one of these tokens."""
        ids = engine.model.question_ids(prompt)
        with engine.branch():
            row = append(engine.model, engine.cache, ids, signals.t, 1)[0]
        return float(row.softmax(-1)[sorted(tokens)].sum())

    def _p_news(self, engine: Engine, signals: FrameSignals) -> float:
        return engine.probe(NEWS, signals.t)

    def _ppl_ratio(self, engine: Engine, signals: FrameSignals) -> float:
        if not self._hypothesis:
            self._suppose(self._sentence(engine, signals.t))
        if not self._hypothesis:
            return 1.0
        now = self._perplexity(engine, signals.t)
        frames = engine.cache.frames()
        if self._baseline is None or not frames or self._born < frames[0]:
            self._baseline, self._born = now, signals.frame
        return now / self._baseline

    def _perplexity(self, engine: Engine, t: float) -> float:
        said = self._hypothesis
        ids = [*engine.model.question_ids(engine.model.describe_prompt), *said]
        with engine.branch():
            rows = append(engine.model, engine.cache, ids[:-1], t, len(said)).log_softmax(-1)
        return math.exp(min(50.0, -float(of_words(rows, said).mean())))

    def _sentence(self, engine: Engine, t: float) -> list[int]:
        """What the model would say now, greedily."""
        ids, said = engine.model.question_ids(engine.model.describe_prompt), []
        with engine.branch():
            while len(said) < WORDS:
                token = int(append(engine.model, engine.cache, ids, t, 1)[0].argmax())
                if token in engine.model.stop_ids:
                    break
                said.append(token)
                ids = [token]
        return said

    # ------------------------------------------------------------ about goals

    def ask_goals(
        self, engine: Engine, signals: FrameSignals, wanted: Mapping[int, frozenset[str]],
        conditions: Mapping[int, str],
    ) -> None:
        """Fill in what is wanted of each goal at the newest frame; goals of a kind together."""
        asks = {"p_yes": self._yes, "p_now": self._now, "p_graph": self._graph,
                "relevance": self._relevance}
        for name, ask in asks.items():
            goals = [goal for goal, names in wanted.items() if name in names]
            if goals:
                values = ask(engine, signals.t, [conditions[goal] for goal in goals])
                getattr(signals, name).update(zip(goals, values, strict=True))
        self._alone = None

    def _yes(self, engine: Engine, t: float, conditions: list[str]) -> list[float]:
        with engine.branch():
            return ask_all(engine.model, conditions, engine.cache, t)

    def _now(self, engine: Engine, t: float, conditions: list[str]) -> list[float]:
        return ask_all(engine.model, conditions, self._newest(engine), t)

    def _newest(self, engine: Engine) -> KVCache:
        """A cache of the prompt and the newest frame alone: in the stream's own what has just left
        the picture still speaks for a while."""
        if self._alone is None:
            self._alone = cache = engine.cache.opening()
            model = engine.model
            model.forward(model.frame_chunk(engine.newest, cache.next_position), cache)
        return self._alone

    def _relevance(self, engine: Engine, t: float, conditions: list[str]) -> list[float]:
        """Mean probability of the condition's words as a caption of the newest frame."""
        model, cache = engine.model, self._newest(engine)
        ask, values = model.question_ids(model.describe_prompt), []
        for condition in conditions:
            words, size = model.encode_text(condition + "."), cache.size
            rows = append(model, cache, [*ask, *words[:-1]], t, len(words)).log_softmax(-1)
            cache.truncate(size)
            values.append(math.exp(float(of_words(rows, words).mean())))
        return values

    def _graph(self, engine: Engine, t: float, conditions: list[str]) -> list[float]:
        if t - self._told_at >= SEGMENT_S:
            text = engine.model.detokenize(self._sentence(engine, t)).strip().rstrip(".")
            self._scenes.append((text, graph_of(text)))
            self._told_at = t
        return self._now(engine, t, [self._beside(condition) for condition in conditions])

    def _beside(self, condition: str) -> str:
        """The condition with the scenes most like it, newest first among equals."""
        wanted = graph_of(condition)
        scenes = [(likeness(wanted, graph), text) for text, graph in reversed(self._scenes)]
        like = [text for much, text in sorted(scenes, key=lambda s: -s[0]) if much > 0][:SHOWN]
        return f"{condition} (seen: {'; '.join(like)})" if like else condition


def ask_all(
    model: VideoLLM, conditions: Sequence[str], cache: KVCache, t: float
) -> list[float]:
    """How likely each holds; the cache is left as it was."""
    if len(conditions) > 1:
        return model.probe_many(conditions, cache, t)
    size = cache.size
    try:
        return [model.probe(conditions[0], cache, t)]
    finally:
        cache.truncate(size)


def append(
    model: VideoLLM, cache: KVCache, ids: Sequence[int], t: float, rows: int
) -> torch.Tensor:
    """Logits (rows, V) of the last rows of this text behind the cache."""
    chunk = model.text_chunk(ids, cache.next_position, Role.BRANCH, t)
    return model.last_rows(chunk, cache, rows)


def of_words(rows: torch.Tensor, words: Sequence[int]) -> torch.Tensor:
    """Of each row (S, V) the entry of its word: (S,)."""
    return rows[torch.arange(len(words)), torch.tensor(words, device=rows.device)]


def openings(engine: Engine, *words: str) -> set[int]:
    """First tokens of the ways these can begin an answer."""
    ways = [way for word in words for way in (word, " " + word)]
    return {engine.model.encode_text(way)[0] for way in ways}
