"""The words the house speaks: frames, tokens, chunks, commands, events, and the model's Protocol.

Seconds are floats; `pts` is time on the stream's own clock, `wall` is Unix time.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

    from streamassist.cache import KVCache


# ---------------------------------------------------------------- what the model sees

class Role(IntEnum):
    """What a cache slot holds."""

    PROMPT = 0
    VISUAL = 1
    TEXT = 2
    BRANCH = 3   # a question and its answer, removed when the turn ends


@dataclass(frozen=True, slots=True)
class Frame:
    """`image` is RGB (H, W, 3) uint8; `index` counts the frames the source delivered."""

    image: np.ndarray
    pts: float
    index: int


@dataclass(slots=True)
class VisualTokens:
    """One frame (or frame pair) as the text model will read it.

    embeds: (N, D); grid: (t, h, w) in tokens, t * h * w = N before any reduction;
    places: (N,) index of each surviving row in that grid, None when all are there;
    deepstack: per level (N, D) rows added in early decoder layers (Qwen3-VL);
    signature: (N, F) what frames are compared by, `embeds` when None;
    before, after: text token ids around the frame.
    """

    embeds: torch.Tensor
    grid: tuple[int, int, int]
    pts: float
    frame: int
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    places: torch.Tensor | None = None
    deepstack: tuple[torch.Tensor, ...] = ()
    signature: torch.Tensor | None = None

    @property
    def look(self) -> torch.Tensor:
        """(N, F) what this frame is compared with others by."""
        return self.embeds if self.signature is None else self.signature


@dataclass(slots=True)
class Chunk:
    """What one forward pass appends to the cache.

    ids: (S,) int64, a place-holder id where a visual row goes; positions: (A, S) int64 with A = 1
    or 3 (M-RoPE); span: positions taken by the undropped layout, so the next chunk starts at
    `start + span`; visual_at: (N,) rows of this chunk that hold `visual.embeds`.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    start: int
    span: int
    role: Role
    pts: float
    frame: int = -1
    visual: VisualTokens | None = None
    visual_at: torch.Tensor | None = None


class VideoLLM(Protocol):
    """A video-language model as the engine needs it. One thread calls it; it keeps no stream state.

    Everything a stream remembers is in the `KVCache`; positions are always explicit.
    """

    name: str
    num_axes: int                 # rows of `Chunk.positions`: 1, or 3 for M-RoPE
    tokens_per_frame: int         # with the default frame size
    stop_ids: frozenset[int]
    choice_ids: dict[str, int]    # "silent", "speak", "delegate" -> its token, where trained so
    p_silence: float | None       # 0..1, of the frame forwarded last: no news; None: not trained so
    history_turns: int            # earlier question/answer pairs repeated before a question
    max_context: int              # positions the model was trained for
    frame_side: int               # shorter side, in pixels, of a 4:3 picture that it sees all of
    frames_at_once: int           # unlike frames that the model was trained to read together
    describe_prompt: str          # asks for one sentence about the newest frame
    device: torch.device

    def new_cache(self) -> KVCache: ...

    def encode(self, frames: Sequence[Frame]) -> list[VisualTokens]:
        """Frames -> visual tokens, one entry a frame, in order."""

    def prompt_ids(self) -> list[int]:
        """The pinned opening of the stream."""

    def question_ids(self, question: str, history: Sequence[tuple[str, str]] = ()) -> list[int]:
        """The branch behind the frames, up to where the answer starts."""

    def yes_no_ids(self, statement: str) -> tuple[list[int], list[int], list[int]]:
        """(branch ids, ids that begin "yes", ids that begin "no") for a probe of `statement`."""

    def probe(self, statement: str, cache: KVCache, pts: float) -> float:
        """How likely it is, 0..1, that `statement` holds. Appends a branch; the caller drops it."""

    def probe_many(self, statements: Sequence[str], cache: KVCache, pts: float) -> list[float]:
        """The same of many statements in one pass; leaves no trace."""

    def last_rows(self, chunk: Chunk, cache: KVCache, rows: int) -> torch.Tensor:
        """Append the chunk; logits (rows, V) in float32 of its last rows."""

    def last_of_branches(
        self, branches: Sequence[Sequence[int]], cache: KVCache, pts: float
    ) -> torch.Tensor:
        """Append branches side by side, none of which sees another; logits (B, V) in float32 of
        their last rows. The caller drops them."""

    def frame_chunk(self, tokens: VisualTokens, start: int) -> Chunk: ...

    def text_chunk(self, ids: Sequence[int], start: int, role: Role, pts: float) -> Chunk: ...

    def forward(self, chunk: Chunk, cache: KVCache) -> torch.Tensor:
        """Append the chunk to the cache; return the last row's logits (V,) in float32."""

    def queries_of(self, chunk: Chunk, cache: KVCache) -> torch.Tensor:
        """Append the chunk; return its rows' raw queries in every layer, (L, Hq, S, D) float32."""

    def encode_text(self, text: str) -> list[int]: ...

    def embed_text(self, ids: Sequence[int]) -> torch.Tensor:
        """(S, D) rows of the input embedding."""

    def detokenize(self, ids: Sequence[int]) -> str: ...


# ---------------------------------------------------------------- commands: user -> worker

@dataclass(frozen=True, slots=True)
class Query:
    """A question; `pts` is the stream time it was asked at, None for "now"."""

    text: str
    pts: float | None = None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop what is being said, which stays in the transcript; questions that wait come next."""


@dataclass(frozen=True, slots=True)
class AddRule:
    text: str
    pts: float | None = None


@dataclass(frozen=True, slots=True)
class RemoveRule:
    rule_id: int


@dataclass(frozen=True, slots=True)
class EditRule:
    """Change a rule: any of its settings by name (see `streamassist.rules.rule.SETTINGS`), such as
    {"dwell_s": 3, "once": True}; `snooze_s`: be quiet about it for so long, 0 wakes it."""

    rule_id: int
    changes: dict[str, Any] = field(default_factory=dict)
    snooze_s: float | None = None


@dataclass(frozen=True, slots=True)
class TryRule:
    """Would this rule have fired on what was seen in the last `minutes`? `RuleTried` answers."""

    text: str
    minutes: float = 10.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Thumbs up or down for the remark or alert made at `t`: more or less of the kind."""

    t: float
    good: bool


@dataclass(frozen=True, slots=True)
class UserSpeaking:
    """The user begins or ends speaking or typing; what is unasked waits meanwhile."""

    speaking: bool


@dataclass(frozen=True, slots=True)
class Configure:
    """Change live settings: any of commentary (bool), threshold (0..1), remarks_per_minute."""

    commentary: bool | None = None
    threshold: float | None = None
    remarks_per_minute: float | None = None


@dataclass(frozen=True, slots=True)
class Forget:
    """Forget frames, KV, transcript: all of it, or the last `minutes` of the stream.

    Rules stay unless `rules`.
    """

    rules: bool = False
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class NewStream:
    """Another source begins: the memory of the old one is dropped, the transcript stays."""


Command = (
    Query | Interrupt | AddRule | RemoveRule | EditRule | TryRule | Rate | UserSpeaking
    | Configure | Forget | NewStream
)


# ---------------------------------------------------------------- events: worker -> user

@dataclass(frozen=True, slots=True)
class Event:
    """Something the user sees. `t` is stream time in seconds, `wall` Unix time."""

    t: float
    wall: float

    @property
    def type(self) -> str:
        """The name of the kind, as written in files and on the socket."""
        return _SNAKE[type(self)]

    def line(self) -> dict[str, Any]:
        """The event as one JSON object."""
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True, slots=True)
class ReplyStarted(Event):
    """The first word of turn `turn` is about to come."""

    turn: int = 0
    question: str = ""


@dataclass(frozen=True, slots=True)
class TextDelta(Event):
    turn: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Answer(Event):
    """A finished (or interrupted) answer. `evidence`: [{"t": seconds, "frame": index}], the frames
    that memory brought back for it, best first, else the newest frame it could see.

    `span`: (oldest, newest) stream time of the frames in memory; `frame_age_s`: age of the newest
    frame when the first word came; `dropped`: frames dropped so far.
    """

    text: str = ""
    question: str = ""
    question_t: float = 0.0
    first_word_ms: float | None = None
    evidence: list[dict[str, Any]] = field(default_factory=list)
    turn: int = 0
    interrupted: bool = False
    span: tuple[float, float] | None = None
    frame_age_s: float = 0.0
    dropped: int = 0
    used: list[str] = field(default_factory=list)   # tools and delegates, in plain words


@dataclass(frozen=True, slots=True)
class Remark(Event):
    """Unprompted commentary; `reason` says why now, in plain words."""

    text: str = ""
    evidence: list[dict[str, Any]] = field(default_factory=list)
    score: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Alert(Event):
    """A watch rule came true; `rule` is its text, `rule_t` when it was set; severity: "info",
    "warning" or "urgent"; actions: what is to be done beside telling it ("sound", "speech",
    "webhook")."""

    rule: str = ""
    rule_t: float = 0.0
    text: str = ""
    rule_id: int = 0
    score: float = 0.0
    evidence: list[dict[str, Any]] = field(default_factory=list)
    severity: str = "warning"
    actions: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """Something broke, in a sentence for the user; `fatal` when the worker gave up."""

    text: str = ""
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """Plain information: a source came or went, a rule was set, a command was refused."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Rules(Event):
    """The watch rules as they now stand."""

    rules: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RuleTried(Event):
    """What a rule would have done in the past: `checked` pictures between `since` and `t`, and it
    would have fired at `times`: [{"t": seconds, "frame": index, "score": 0..1}]."""

    text: str = ""
    condition: str = ""
    since: float = 0.0
    checked: int = 0
    times: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Why(Event):
    """A stretch of frames, from `since` to `t`, at which the same was decided for the same reason:
    `action` "speak" or "silent"; `score` and `signals` are those of its strongest frame."""

    since: float = 0.0
    action: str = ""
    reason: str = ""
    frames: int = 0
    score: float = 0.0
    threshold: float = 0.0
    signals: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note(Event):
    """A note the assistant took for itself about the stream from `since` to `t`."""

    since: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Forgotten(Event):
    """Pages clear what they show: all of it, or what came at stream time `since` and later."""

    since: float | None = None


@dataclass(frozen=True, slots=True)
class Stats(Event):
    """Counters; a newer one replaces an older one that was not sent yet."""

    frames_seen: int = 0
    frames_used: int = 0
    frames_dropped: int = 0
    cache_tokens: int = 0
    cache_bytes: int = 0
    lag_s: float = 0.0
    source_fps: float = 0.0
    used_fps: float = 0.0
    first_word_ms: float | None = None
    urge: float = 0.0
    threshold: float = 0.0
    busy: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


_SNAKE = {
    ReplyStarted: "reply_started",
    TextDelta: "text_delta",
    Answer: "answer",
    Remark: "remark",
    Alert: "alert",
    Failed: "failed",
    Notice: "notice",
    Rules: "rules",
    RuleTried: "rule_tried",
    Why: "why",
    Note: "note",
    Forgotten: "forgotten",
    Stats: "stats",
}


# ---------------------------------------------------------------- when to speak

@dataclass(slots=True)
class FrameSignals:
    """What a response policy may look at, after each frame (all causal).

    Free: change 0..1 against the previous frame, novelty 0..1 against the frame last spoken about,
    both of the model's features; motion: 0..1 of the picture's cells that changed; dropped: share
    of the visual tokens that equal those of the previous frame (None for the first); news: share of
    them that the token reducer takes for new; p_silence: the model's flag; choice: the model's own
    {"silent", "speak", "delegate"} after the frame, of those it has a token for.

    Measured when a policy wants them: p_first: silence as the first token of a live remark;
    p_no_reply: "NO REPLY" as the first words; p_news: yes to "something new has happened";
    ppl_ratio: how much worse the last remark explains this frame than the one it was made for. By
    rule id: p_yes of its condition by all that is in memory, p_now by the newest frame alone,
    p_graph the same beside scenes like it, relevance of its cue.
    """

    t: float
    frame: int
    change: float = 0.0
    novelty: float = 1.0
    motion: float = 0.0
    dropped: float | None = None
    p_silence: float | None = None
    choice: dict[str, float] = field(default_factory=dict)
    news: float = 1.0
    p_first: float | None = None
    p_no_reply: float | None = None
    p_news: float | None = None
    ppl_ratio: float | None = None
    p_yes: dict[int, float] = field(default_factory=dict)
    p_now: dict[int, float] = field(default_factory=dict)
    p_graph: dict[int, float] = field(default_factory=dict)
    relevance: dict[int, float] = field(default_factory=dict)
    user_speaking: bool = False
    assistant_speaking: bool = False
    pending_query: str | None = None
    lag_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """`action` is "silent", "speak" or "alert"; `reason` is for people."""

    action: str = "silent"
    score: float = 0.0
    reason: str = ""
    rule_id: int | None = None
    ttl_s: float = 3.0
