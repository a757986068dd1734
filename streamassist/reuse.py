"""What stands around the encoder: how much of a frame is encoded anew. Methods: `models/reuse/`."""
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from streamassist.config import check_range
from streamassist.types import Frame, VideoLLM, VisualTokens


@dataclass
class EncoderReuse:
    """Encodes every frame whole (`none`).

    One object belongs to one stream and holds all that is kept of it, bounded by one frame's
    states; the model holds nothing. Only what came before a frame decides how it is encoded.

    work: of the encoder's work on the newest frame, the share that was done; see each method.
    """

    work: float = field(default=1.0, init=False)

    def attach(self, model: VideoLLM) -> None:
        """Raise StreamAssistError when the model's encoder does not suit the method."""
        self.model = model

    def encode(self, frame: Frame) -> VisualTokens:
        return self.model.encode([frame])[0]

    def reset(self) -> None:
        """Keep nothing of what was seen: every field that is no setting is as it was at first."""
        for state in (f for f in fields(self) if not f.init):
            fresh = state.default_factory() if callable(state.default_factory) else state.default
            setattr(self, state.name, fresh)

    @property
    def bytes(self) -> int:
        """What is kept of the stream."""
        kept = [getattr(self, f.name) for f in fields(self) if not f.init]
        return sum(tensor.nbytes for tensor in _tensors(kept))


def check_setting(method: EncoderReuse, name: str, low: float, high: float) -> None:
    """Raise StreamAssistError, naming the setting, when a method's field is out of range."""
    check_range(f"The reuse setting {name}", getattr(method, name), low, high)


def _tensors(thing: Any) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        yield from _tensors(thing.values())
    elif isinstance(thing, Iterable):
        for item in thing:
            yield from _tensors(item)
