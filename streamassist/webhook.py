"""Alerts by HTTP: signed, retried with back-off, and never in the way of the stream.

A message is JSON. Its signature is HMAC-SHA256 of "<timestamp>.<body>" with the shared secret, so
that the receiver knows who sent it and when. One that was tried again may arrive twice: both carry
the same X-Streamassist-Delivery.
"""
import hashlib
import hmac
import json
import logging
import random
import ssl
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from streamassist.clock import Clock
from streamassist.errors import StreamAssistError
from streamassist.post import Address, NotNow, Refused, post
from streamassist.types import Alert, Event

MAX_WAITING = 32         # messages
MAX_BODY = 65_536        # bytes
MAX_SENTENCES = 8
SECRET_VARIABLE = "STREAMASSIST_WEBHOOK_SECRET"   # of the environment: no flag, no file
MIN_SECRET = 8           # characters
LONGEST_PAUSE_S = 60.0   # whatever the receiver asks for

log = logging.getLogger(__name__)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of X-Streamassist-Signature; a receiver computes it and compares."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


class Webhook:
    """Sends to `url`, one message after the other. Plain http is for this machine only, unless
    `allow_plain`. `clock` gives the timestamps.

    A message has `tries`, each of `timeout_s` in all; pauses between them begin at `backoff_s` and
    double; it is given up after `total_s`. Raises StreamAssistError for an address or a secret that
    cannot be used.
    """

    def __init__(
        self, url: str, secret: str, clock: Clock, *, allow_plain: bool = False,
        timeout_s: float = 5.0, backoff_s: float = 1.0, tries: int = 5, total_s: float = 180.0,
    ):
        if len(secret) < MIN_SECRET:
            raise StreamAssistError(
                f"The secret of a webhook needs at least {MIN_SECRET} characters, so that nobody "
                "can guess it."
            )
        self.address = Address.of(url, allow_plain)
        self._secret, self._clock = secret, clock
        self._timeout_s, self._backoff_s = timeout_s, backoff_s
        self._tries, self._total_s = tries, total_s
        self._tls = ssl.create_default_context() if self.address.tls else None
        self._changed = threading.Condition()   # guards all that follows
        self._queue: deque[tuple[str, bytes]] = deque()   # (number of the delivery, body)
        self._sentences: deque[str] = deque(maxlen=MAX_SENTENCES)
        self._sent = self._failed = self._dropped = 0
        self._busy = self._stopping = False
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ for the session

    def send(self, payload: dict[str, Any]) -> None:
        """Take a message and return at once. When too many wait the oldest is dropped; faults are
        counted and told, never raised: the stream goes on without them."""
        try:
            body = json.dumps(payload, allow_nan=False).encode()
        except (TypeError, ValueError):
            body = b""
        with self._changed:
            if not 0 < len(body) <= MAX_BODY:
                self._failed += 1
                self._tell("An alert could not be written as a message and was not sent to the "
                           "webhook; it is still on the page.")
                return
            if self._stopping:
                self._dropped += 1
                return
            self._make_room()
            self._queue.append((uuid.uuid4().hex, body))
            self._start()
            self._changed.notify_all()

    def figures(self) -> dict[str, int]:
        """Messages so far, and those that wait or are under way."""
        with self._changed:
            return {
                "sent": self._sent, "failed": self._failed, "dropped": self._dropped,
                "waiting": len(self._queue) + self._busy,
            }

    def faults(self) -> list[str]:
        """What went wrong lately, each in a sentence that names the mend; no secrets in it."""
        with self._changed:
            return list(self._sentences)

    def stop(self, timeout: float = 2.0) -> None:
        """Give what waits one more try each for `timeout` seconds; what is left is dropped."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread:
            self._thread.join(timeout)
        with self._changed:
            if self._queue:
                self._dropped += len(self._queue)
                self._tell(f"{len(self._queue)} alerts were still waiting for the webhook at "
                           f"{self.address} when the program ended, and were not sent.")
                self._queue.clear()

    # ------------------------------------------------------------ inside the lock

    def _make_room(self) -> None:
        while len(self._queue) >= MAX_WAITING:
            self._queue.popleft()
            self._dropped += 1
            self._tell(f"The webhook at {self.address} is too slow, so the oldest alerts were not "
                       "sent to it; check that it is running.")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
            self._thread.start()

    def _tell(self, sentence: str) -> None:
        if sentence not in self._sentences:
            self._sentences.append(sentence)
            log.warning("%s", sentence)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while message := self._next():
            problem = self._deliver(*message)
            with self._changed:
                self._busy = False
                self._sent += not problem
                self._failed += bool(problem)
                if problem:
                    self._tell(problem)

    def _next(self) -> tuple[str, bytes] | None:
        """The oldest message; None when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            self._busy = bool(self._queue)
            return self._queue.popleft() if self._queue else None

    def _deliver(self, delivery: str, body: bytes) -> str:
        """Try until it is there; a sentence about why it is not, else ""."""
        begun, problem = time.monotonic(), ""
        for attempt in range(self._tries):
            try:
                post(self.address, self._headers(delivery, body), body, self._timeout_s, self._tls)
                return ""
            except Refused as refused:
                return f"The webhook at {self.address} {refused}"
            except NotNow as failure:
                problem = str(failure)
                pause_s = max(self._backoff(attempt), min(failure.after_s, LONGEST_PAUSE_S))
            except Exception as error:   # the thread has to go on with the next message
                problem, pause_s = f"failed ({type(error).__name__})", self._backoff(attempt)
            last = attempt + 1 == self._tries
            if last or time.monotonic() - begun + pause_s > self._total_s or self._pause(pause_s):
                break
        return (f"The webhook at {self.address} {problem}, so an alert did not get there; check "
                "that it is running and that the address is right.")

    def _backoff(self, attempt: int) -> float:
        """Seconds; spread by chance, so that senders that failed together do not return so."""
        return self._backoff_s * 2 ** attempt * random.uniform(0.5, 1.0)

    def _pause(self, pause_s: float) -> bool:
        """Wait; True as soon as it is time to end."""
        with self._changed:
            return self._changed.wait_for(lambda: self._stopping, pause_s)

    def _headers(self, delivery: str, body: bytes) -> dict[str, str]:
        """Anew for each try: receivers refuse old timestamps."""
        timestamp = str(int(self._clock.wall()))
        return {
            "Content-Type": "application/json",
            "User-Agent": "streamassist",
            "X-Streamassist-Delivery": delivery,
            "X-Streamassist-Timestamp": timestamp,
            "X-Streamassist-Signature": signature(self._secret, timestamp, body),
        }


def as_listener(webhook: Webhook) -> Callable[[Event], None]:
    """A listener of a session's events: sends the alerts whose rules ask for it."""

    def listen(event: Event) -> None:
        if isinstance(event, Alert) and "webhook" in event.actions:
            webhook.send({
                "rule": event.rule, "text": event.text, "t": event.t, "wall": event.wall,
                "score": event.score, "severity": event.severity, "evidence": event.evidence,
            })

    return listen
