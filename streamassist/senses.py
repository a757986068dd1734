"""The costly signals: what the model says of the newest frame when it is asked, without a trace.

Each is a branch behind the frames that is dropped again, so nothing of it stays in memory.
"""
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import torch

from streamassist.engine import Engine
from streamassist.response.scenes import graph_of, likeness
from streamassist.types import FrameSignals, Role

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
            row = append(engine, ids, signals.t, 1)[0]
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
            rows = append(engine, ids[:-1], t, len(said)).log_softmax(-1)
        nll = -rows[torch.arange(len(said)), torch.tensor(said, device=rows.device)].mean()
        return math.exp(min(50.0, float(nll)))

    def _sentence(self, engine: Engine, t: float) -> list[int]:
        """What the model would say now, greedily."""
        ids, said = engine.model.question_ids(engine.model.describe_prompt), []
        with engine.branch():
            while len(said) < WORDS:
                token = int(append(engine, ids, t, 1)[0].argmax())
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
        for name, ask in (
            ("p_yes", self._yes), ("p_graph", self._graph), ("relevance", self._relevance)
        ):
            goals = [goal for goal, names in wanted.items() if name in names]
            if goals:
                values = ask(engine, signals.t, [conditions[goal] for goal in goals])
                getattr(signals, name).update(zip(goals, values, strict=True))

    def _yes(self, engine: Engine, t: float, conditions: list[str]) -> list[float]:
        with engine.branch():
            if len(conditions) == 1:
                return [engine.model.probe(conditions[0], engine.cache, t)]
            return engine.model.probe_many(conditions, engine.cache, t)

    def _relevance(self, engine: Engine, t: float, conditions: list[str]) -> list[float]:
        """Mean probability of the condition's words as a caption of what is seen."""
        ask = engine.model.question_ids(engine.model.describe_prompt)
        values = []
        for condition in conditions:
            words = engine.model.encode_text(condition + ".")
            with engine.branch():
                rows = append(engine, [*ask, *words[:-1]], t, len(words)).log_softmax(-1)
            picked = rows[torch.arange(len(words)), torch.tensor(words, device=rows.device)]
            values.append(math.exp(float(picked.mean())))
        return values

    def _graph(self, engine: Engine, t: float, conditions: list[str]) -> list[float]:
        if t - self._told_at >= SEGMENT_S:
            text = engine.model.detokenize(self._sentence(engine, t)).strip().rstrip(".")
            self._scenes.append((text, graph_of(text)))
            self._told_at = t
        return self._yes(engine, t, [self._beside(condition) for condition in conditions])

    def _beside(self, condition: str) -> str:
        """The condition with the scenes most like it, newest first among equals."""
        wanted = graph_of(condition)
        scenes = [(likeness(wanted, graph), text) for text, graph in reversed(self._scenes)]
        like = [text for much, text in sorted(scenes, key=lambda s: -s[0]) if much > 0][:SHOWN]
        return f"{condition} (seen: {'; '.join(like)})" if like else condition


def append(engine: Engine, ids: Sequence[int], t: float, rows: int) -> torch.Tensor:
    """Logits (rows, V) of the last rows of this text behind the cache."""
    chunk = engine.model.text_chunk(ids, engine.cache.next_position, Role.BRANCH, t)
    return engine.model.last_rows(chunk, engine.cache, rows)


def openings(engine: Engine, *words: str) -> set[int]:
    """First tokens of the ways these can begin an answer."""
    ways = [way for word in words for way in (word, " " + word)]
    return {engine.model.encode_text(way)[0] for way in ways}
