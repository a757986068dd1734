"""Shared by all methods: step into the encoder for one frame, and leave no trace in the model."""
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

from streamassist.errors import StreamAssistError
from streamassist.reuse import EncoderReuse
from streamassist.types import Frame, VideoLLM, VisualTokens


@contextmanager
def standing_in(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """While this holds, the given functions run in place of the modules' `forward`.

    A forward that was set on the module itself, as offloading does, comes back afterwards.
    """
    before = {module: module.__dict__.get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module, own in before.items():
            module.__dict__.pop("forward", None)
            if own is not None:
                module.forward = own


@dataclass
class InsideReuse(EncoderReuse):
    """The model's own `encode` runs, with parts of the encoder replaced while it does.

    part: which attribute of an adapter makes the method possible; encoder: its name in a sentence;
    instead: what to use where it is absent.
    """

    part: ClassVar[str]
    encoder: ClassVar[str]
    instead: ClassVar[str]

    pts: float = field(default=0.0, init=False)                # seconds, of the newest frame
    shape: tuple[int, ...] | None = field(default=None, init=False)   # of its picture

    def attach(self, model: VideoLLM) -> None:
        super().attach(model)
        self.inner = getattr(model, self.part, None)
        if self.inner is None:
            raise StreamAssistError(
                f"This --reuse method works inside {self.encoder}, which the model {model.name} "
                f"does not have; use --reuse {self.instead} or --reuse none."
            )

    @abstractmethod
    def inside(self) -> AbstractContextManager[None]:
        """The encoder with this method in it."""

    def encode(self, frame: Frame) -> VisualTokens:
        """A picture of another size begins anew, and so does what follows after a fault."""
        if frame.image.shape != self.shape:
            self.reset()
        self.pts, self.shape = frame.pts, frame.image.shape
        try:
            with self.inside():
                return self.model.encode([frame])[0]
        except BaseException:
            self.reset()
            raise
