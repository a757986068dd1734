"""The assistant as the page sees it: one worker, one source at a time, and the pictures to show."""
import logging
from collections.abc import Callable
from threading import Lock

from streamassist.clock import Clock
from streamassist.errors import StreamAssistError
from streamassist.frames import RawFrame, jpeg
from streamassist.sources import SourceRunner, parse_source
from streamassist.tools import make_tools
from streamassist.types import Command, Event, Forget, NewStream, Stats
from streamassist.worker import Worker

log = logging.getLogger(__name__)

PREVIEW_FPS = 10.0
PREVIEW_SIDE = 640
CLOSE_SIDE = 720   # shorter side, in pixels


class Live:
    """Methods may be called from any thread; mistakes raise StreamAssistError with a sentence."""

    def __init__(self, worker: Worker, clock: Clock, model_name: str, model_note: str):
        self.worker, self.clock = worker, clock
        self.model_name, self.model_note = model_name, model_note
        self.sources = {"current": "none", "name": "none", "paused": False}
        self._runner: SourceRunner | None = None
        self._lock = Lock()
        self._newest: RawFrame | None = None
        self._preview: tuple[bytes, float] | None = None

    @property
    def stats(self) -> Stats | None:
        return self.worker.stats

    @property
    def fps(self) -> float:
        """Frames a second given to the model."""
        return self.worker.config.engine.fps

    @property
    def frame_side(self) -> int | None:
        """See `VideoLLM.frame_side`; None for a model that does not say. Tools that look closer
        need more than the model does."""
        side = getattr(self.worker.session.engine.model, "frame_side", None)
        tools = {tool.name for tool in make_tools(self.worker.config.tools)}
        closer = tools & {"look_again", "read_text"}
        return max(side, CLOSE_SIDE) if side and closer else side

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        return self.worker.subscribe(callback)

    def submit(self, command: Command) -> None:
        self.worker.submit(command)
        if isinstance(command, Forget):
            self._newest = self._preview = None

    def history(self) -> list[dict]:
        return self.worker.session.history()

    def thumbnail(self, frame: int) -> bytes | None:
        return self.worker.session.archive.get(frame)

    def rules(self) -> list[dict]:
        return self.worker.session.rules.view()

    # ------------------------------------------------------------ sources

    def open_source(self, spec: str) -> None:
        """Switch to another source; when it cannot be opened the present one goes on."""
        source = parse_source(spec)
        runner = None
        if source.kind not in ("browser", "none"):
            runner = SourceRunner(
                spec, self._from_source, self.worker.announce, self.clock, PREVIEW_FPS
            )
        with self._lock:
            self._stop_runner()
            self.worker.submit(NewStream())
            self.sources = {"current": spec, "name": str(source), "paused": False}
            self._runner = runner
            if runner:
                runner.start()

    def _stop_runner(self) -> None:
        runner, self._runner = self._runner, None
        if runner:
            runner.stop()
        self._newest = self._preview = None

    def _from_source(self, raw: RawFrame) -> None:
        self._newest = raw
        self.worker.offer(raw)

    def offer_jpeg(self, data: bytes, captured_at: float) -> None:
        """A picture from a page, taken at Unix time `captured_at`."""
        if self.sources["current"] != "browser" or self.sources["paused"]:
            return
        age = max(0.0, self.clock.wall() - captured_at)
        self.worker.offer(RawFrame(max(0.0, self.worker.now() - age), data))

    def pause(self, paused: bool) -> None:
        with self._lock:
            self.sources = {**self.sources, "paused": paused}
            if self._runner:
                self._runner.pause(paused)

    def preview(self) -> tuple[bytes, float] | None:
        """The newest picture of a server-side source, made into a JPEG when somebody looks."""
        newest = self._newest
        if newest is None:
            return None
        if self._preview is None or self._preview[1] != newest.pts:
            self._preview = (jpeg(newest.data, PREVIEW_SIDE), newest.pts)
        return self._preview

    def stop(self) -> None:
        with self._lock:
            self._stop_runner()
        self.worker.stop()

    def start(self, spec: str) -> None:
        """Start the worker and the first source; a source that fails is announced, not fatal."""
        self.worker.start()
        try:
            self.open_source(spec)
        except StreamAssistError as error:
            self.worker.announce(str(error))
