"""A scripted VideoLLM for tests of everything around the model; it is never chosen by itself.

It sees how bright a picture is and which colour leads, answers from a script, and keeps no state:
what it saw and what it was asked it reads back from the values in the KVCache, so eviction,
branches and restarts change its answers as they would a real model's.
"""
import math
import re
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.probing import yes_no_probe, yes_no_probes
from streamassist.cache import KVCache
from streamassist.rope import Rope
from streamassist.types import Chunk, Frame, Role, VisualTokens

GRID = (1, 2, 2)
DIM = 8                      # of a head, and of an embedding: see `_row`
QUESTION, PROBE, ANSWER, END, PICTURE = range(256, 261)
WORDS = 261                  # ids from here on are the words of `VOCABULARY`
SHADES, COLOURS = ("dark", "bright"), ("red", "green", "blue", "grey")
VOCABULARY = (
    *("I see a", " bright", " dark", " red", " green", " blue", " grey", " picture."),
    *("I see nothing yet.", "yes", "no"),
)
VOCAB_SIZE = 512
ID = 1                       # the column of a text row that holds its token id
COLOUR_MARGIN = 16.0         # how much one channel leads before a colour has a name, 0..255


@dataclass(frozen=True)
class Scene:
    """Mean red, green, blue of the newest picture, 0..255."""

    rgb: tuple[float, float, float]

    def likelihood(self, word: str) -> float:
        """How well a shade or colour word fits, 0..1; "bright" is 0.5 at a mean of 128."""
        mean, top = sum(self.rgb) / 3, max(self.rgb)
        lead = 2 * top + min(self.rgb) - sum(self.rgb)   # of the first channel over the second
        if word in SHADES:
            margin = (mean - 128) * (1 if word == "bright" else -1)
        elif word == "grey":
            margin = COLOUR_MARGIN - lead
        else:
            own = self.rgb[COLOURS.index(word)]
            margin = lead - COLOUR_MARGIN if own == top else own - top - COLOUR_MARGIN
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, margin / 4))))

    def words(self) -> str:
        shade, colour = (max(names, key=self.likelihood) for names in (SHADES, COLOURS))
        return f"I see a {shade} {colour} picture."


@dataclass
class FakeLLM:
    """answers: lower-case part of a question -> what is answered to it, else the scene is told.

    delay_s: time of one forward; fail_at: numbers of the forwards (from 1) that raise; a question
    that holds `fail_on` raises too. A probe is likely when every shade and colour word in it fits
    the newest picture, and unlikely when it has none.
    """

    answers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    fail_at: Container[int] = ()
    fail_on: str = "please fail"

    name: str = "fake"
    num_axes: int = 1
    tokens_per_frame: int = 4
    frame_side: int = 288
    stop_ids: frozenset[int] = frozenset({END})
    choice_ids: Mapping[str, int] = field(default_factory=dict)
    p_silence: float | None = None
    history_turns: int = 0
    max_context: int = 1 << 20
    frames_at_once: int = 32
    describe_prompt: str = "Describe the picture."
    device: torch.device = torch.device("cpu")
    forwards: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self._key = torch.randn(2, DIM, DIM, generator=draw) / DIM**0.5

    # ------------------------------------------------------------ frames and chunks

    def new_cache(self) -> KVCache:
        return KVCache(2, 1, DIM, Rope.one_axis(DIM, 1e4), self.num_axes)

    def encode(self, frames: Sequence[Frame]) -> list[VisualTokens]:
        return [VisualTokens(_quarters(f), GRID, f.pts, f.index) for f in frames]

    def frame_chunk(self, tokens: VisualTokens, start: int) -> Chunk:
        count, span = len(tokens.embeds), math.prod(tokens.grid)
        places = torch.arange(span) if tokens.places is None else tokens.places
        return Chunk(
            ids=torch.full((count,), PICTURE),
            positions=(start + places)[None],
            start=start,
            span=span,
            role=Role.VISUAL,
            pts=tokens.pts,
            frame=tokens.frame,
            visual=tokens,
            visual_at=torch.arange(count),
        )

    def text_chunk(self, ids: Sequence[int], start: int, role: Role, pts: float) -> Chunk:
        positions = torch.arange(start, start + len(ids))[None]
        return Chunk(torch.tensor(ids), positions, start, len(ids), role, pts)

    # ------------------------------------------------------------ words

    def prompt_ids(self) -> list[int]:
        return list(b"stream:")

    def question_ids(self, question: str, history: Sequence[tuple[str, str]] = ()) -> list[int]:
        return [QUESTION, *_ids(question), ANSWER]

    def yes_no_ids(self, statement: str) -> tuple[list[int], list[int], list[int]]:
        return [PROBE, *_ids(statement), ANSWER], _ids("yes"), _ids("no")

    def probe(self, statement: str, cache: KVCache, pts: float) -> float:
        return yes_no_probe(self, statement, cache, pts)

    def last_rows(self, chunk: Chunk, cache: KVCache, rows: int) -> Tensor:
        """The last ones row by row, as what follows is read off the cache."""
        ids, logits = chunk.ids.tolist(), []
        first = len(ids) - rows + 1
        for start, stop in ((0, first), *((i, i + 1) for i in range(first, len(ids)))):
            part = self.text_chunk(ids[start:stop], chunk.start + start, chunk.role, chunk.pts)
            logits.append(self.forward(part, cache))
        return torch.stack(logits)

    def probe_many(self, statements: Sequence[str], cache: KVCache, pts: float) -> list[float]:
        return yes_no_probes(self, statements, cache, pts)

    def last_of_branches(
        self, branches: Sequence[Sequence[int]], cache: KVCache, pts: float
    ) -> Tensor:
        rows, size = [], cache.size
        for ids in branches:
            chunk = self.text_chunk(ids, cache.next_position, Role.BRANCH, pts)
            rows.append(self.forward(chunk, cache))
            cache.truncate(size)
        return torch.stack(rows)

    def detokenize(self, ids: Sequence[int]) -> str:
        """A character whose last bytes are still to come is left out."""
        raw = b"".join(_bytes(i) for i in ids)
        return raw.decode(errors="replace").rstrip("\ufffd")

    # ------------------------------------------------------------ forward

    def forward(self, chunk: Chunk, cache: KVCache) -> Tensor:
        self.forwards += 1
        time.sleep(self.delay_s)
        with cache.appending(chunk):
            rows = _row(chunk)
            for layer, key in enumerate(self._key):
                cache.update(layer, (rows @ key)[None], rows[None])
            if self.forwards in self.fail_at:
                raise RuntimeError(f"scripted failure at forward {self.forwards}")
        return self._next(cache)

    def queries_of(self, chunk: Chunk, cache: KVCache) -> Tensor:
        self.forward(chunk, cache)
        return torch.stack([(_row(chunk) @ key)[None] for key in self._key])

    def embed_text(self, ids: Sequence[int]) -> Tensor:
        return _row(self.text_chunk(ids, 0, Role.TEXT, 0.0))

    def encode_text(self, text: str) -> list[int]:
        return _ids(text)

    def _next(self, cache: KVCache) -> Tensor:
        """Logits that follow from what the cache holds."""
        ids = cache.value[0, 0, : cache.size, ID]
        ids = [int(i) for i, frame in zip(ids, cache.used().frame, strict=True) if frame < 0]
        if ANSWER not in ids:
            return torch.zeros(VOCAB_SIZE)
        answer = len(ids) - 1 - ids[::-1].index(ANSWER)
        asked = max(i for i in range(answer) if ids[i] in (QUESTION, PROBE))
        text = self.detokenize(ids[asked + 1 : answer])
        scene = _scene(cache)
        if ids[asked] == PROBE:
            return _yes_no_logits(scene, text)
        reply, said = [*_ids(self._reply(text, scene)), END], len(ids) - answer - 1
        return _peak({reply[min(said, len(reply) - 1)]: 1.0})

    def _reply(self, question: str, scene: Scene | None) -> str:
        if self.fail_on in question.lower():
            raise RuntimeError(f"scripted failure on the question {question!r}")
        for part, text in self.answers.items():
            if part in question.lower():
                return text
        return scene.words() if scene else "I see nothing yet."


def _quarters(frame: Frame) -> Tensor:
    """(4, DIM) mean colour of each quarter of the picture, 0..1."""
    image = torch.tensor(frame.image).permute(2, 0, 1)[None].float() / 255
    colours = torch.nn.functional.adaptive_avg_pool2d(image, GRID[1:])[0].flatten(1).T
    return torch.cat((colours, torch.full((4, 1), 0.25), torch.zeros(4, DIM - 4)), 1)


def _row(chunk: Chunk) -> Tensor:
    """(S, DIM): a visual row holds its colour, a text row its id."""
    rows = torch.zeros(len(chunk.ids), DIM)
    rows[:, ID] = chunk.ids.float()
    if chunk.visual is not None:
        rows[chunk.visual_at] = chunk.visual.embeds
    return rows


def _scene(cache: KVCache) -> Scene | None:
    """The newest picture of which a slot is left."""
    frames = cache.used().frame
    if not len(frames) or int(frames.max()) < 0:
        return None
    rows = cache.value[0, 0, : cache.size][frames == frames.max()]
    return Scene(tuple((rows[:, :3].mean(0) * 255).tolist()))


def _yes_no_logits(scene: Scene | None, statement: str) -> Tensor:
    words = [w for w in re.findall("[a-z]+", statement.lower()) if w in SHADES + COLOURS]
    p_yes = 0.02
    if scene and words:
        p_yes = min(scene.likelihood(word) for word in words)
    (yes,), (no,) = _ids("yes"), _ids("no")
    return _peak({yes: p_yes, no: 1 - p_yes})


def _peak(chances: Mapping[int, float]) -> Tensor:
    logits = torch.full((VOCAB_SIZE,), -50.0)
    for token, chance in chances.items():
        logits[token] = math.log(max(chance, 1e-9))
    return logits


def _ids(text: str) -> list[int]:
    """Words of the vocabulary where they fit, longest first, else the bytes of the text."""
    pattern = "|".join(map(re.escape, sorted(VOCABULARY, key=len, reverse=True)))
    ids: list[int] = []
    for piece in re.split(f"({pattern})", text):
        known = piece in VOCABULARY
        ids += [WORDS + VOCABULARY.index(piece)] if known else list(piece.encode())
    return ids


def _bytes(token: int) -> bytes:
    if token < 256:
        return bytes([token])
    word = token - WORDS
    return VOCABULARY[word].encode() if 0 <= word < len(VOCABULARY) else b""
