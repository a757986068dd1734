"""Frames encoded in groups and ahead of the language model, on a GPU in a stream of its own.

Overlapped stages as in ViCoStream (arXiv 2606.19849): while one group of frames is prefilled, or an
answer decoded, the next group is in the vision tower. Prefill and decode write the same cache and
keep their order. Without a GPU the same things happen one after another.
Not live: there a group would have to wait for its last frame.
"""
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from streamassist.types import Frame, VideoLLM, VisualTokens

log = logging.getLogger(__name__)

GROUPS = 2   # one that is read and the next; an older one falls out


@dataclass(slots=True)
class Group:
    """Frames on their way, by identity; `done` is when the GPU will have encoded them."""

    tokens: dict[int, tuple[Frame, VisualTokens]]
    done: "torch.cuda.Event | None"


class EncodeAhead:
    """The model, whose `encode` knows the frames that were given to `prepare`."""

    def __init__(self, model: VideoLLM):
        self._model = model
        self._stream: torch.cuda.Stream | None = None
        if model.device.type == "cuda":
            self._stream = torch.cuda.Stream(model.device)
            self._stream.wait_stream(torch.cuda.current_stream(model.device))   # for the weights
        self._waiting: deque[Group] = deque(maxlen=GROUPS)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def prepare(self, frames: Sequence[Frame]) -> None:
        """Begin to encode frames that will be asked for. What is wrong with one of them is raised
        when it is: a group that fails is encoded frame by frame then."""
        try:
            self._waiting.append(self._begin(frames))
        except Exception as error:
            log.debug("a group of %d frames will be encoded one by one: %s", len(frames), error)

    def _begin(self, frames: Sequence[Frame]) -> Group:
        if self._stream is None:
            seen, done = self._model.encode(frames), None
        else:
            with torch.cuda.stream(self._stream):
                seen, done = self._model.encode(frames), self._stream.record_event()
        pairs = zip(frames, seen, strict=True)
        return Group({id(frame): (frame, tokens) for frame, tokens in pairs}, done)

    def encode(self, frames: Sequence[Frame]) -> list[VisualTokens]:
        """As the model's, from what was prepared where all of it was."""
        groups = [next((g for g in self._waiting if id(f) in g.tokens), None) for f in frames]
        if None not in groups:
            return [self._take(f, group) for f, group in zip(frames, groups, strict=True)]
        if self._stream is not None:   # what the encoder keeps for itself may be under way there
            torch.cuda.current_stream(self._model.device).wait_stream(self._stream)
        return self._model.encode(frames)

    def _take(self, frame: Frame, group: Group) -> VisualTokens:
        """Once: the tokens are the taker's to change. The GPU waits, this thread does not."""
        _, tokens = group.tokens.pop(id(frame))
        if group.done is not None:
            stream = torch.cuda.current_stream(self._model.device)
            stream.wait_event(group.done)
            parts = (tokens.embeds, tokens.places, tokens.signature, *tokens.deepstack)
            for tensor in parts:
                if tensor is not None and tensor.is_cuda:
                    tensor.record_stream(stream)   # not to be given away before it was read
        return tokens
