"""An OpenAI-compatible address: what may be one, and the words of an answer that it streams.

Over http:// only to this machine, or to a private address written out in numbers and then without a
key; all else needs https:// with a certificate that can be verified. Redirects are not followed, so
a question goes where the user said and nowhere else. What comes back is bounded and may be junk.
"""
import http.client
import ipaddress
import json
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from streamassist.errors import StreamAssistError

KEY_VARIABLE = "STREAMASSIST_DELEGATE_KEY"
CONNECT_S = 10.0
MAX_LINE, MAX_BYTES = 64 << 10, 2 << 20
PRIVATE = [ipaddress.ip_network(net) for net in (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7",
)]
CUT = "broke off before the end"
WRONG_KEY = f"refuses the key; check {KEY_VARIABLE}"
STATUS = {
    401: WRONG_KEY, 403: WRONG_KEY,
    404: "knows no such address or model; check --delegate and --delegate-model",
    429: "has no room for more questions now",
}


class Refused(Exception):
    """What is wrong with the other side, as the rest of a sentence about it."""


# ---------------------------------------------------------------- where it is

@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int
    path: str
    tls: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str, has_key: bool) -> "Address":
        """Raises StreamAssistError for what is no address, or would not be safe."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        plain = re.fullmatch(r"[!-~]+", url) and not (parts.username or parts.password)
        if not (host and plain and parts.scheme in ("http", "https")) or parts.query:
            raise StreamAssistError(
                "--delegate must be an address such as https://host/v1, without a password "
                f"(a key goes into {KEY_VARIABLE})."
            )
        tls = parts.scheme == "https"
        if not tls:
            check_plain(host, has_key)
        path = parts.path.rstrip("/") + "/chat/completions"
        return cls(host, port or (443 if tls else 80), path, tls)

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is open; raises OSError."""
        if self.tls:
            trusted = ssl.create_default_context()
            to = http.client.HTTPSConnection(
                self.host, self.port, timeout=CONNECT_S, context=trusted
            )
        else:
            to = http.client.HTTPConnection(self.host, self.port, timeout=CONNECT_S)
        to.connect()
        return to


def check_plain(host: str, has_key: bool) -> None:
    """Whether pictures may go there unencrypted; raises StreamAssistError."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        ip = None
    if host == "localhost" or (ip and ip.is_loopback):
        return
    if not (ip and any(ip in net for net in PRIVATE)):
        raise StreamAssistError(
            f"--delegate would send pictures to {host} unencrypted; use https://, or write a "
            "private address in numbers, such as http://192.168.1.5/v1."
        )
    if has_key:
        raise StreamAssistError(
            f"The key would go to {host} unencrypted; use https://, or unset {KEY_VARIABLE}."
        )


# ---------------------------------------------------------------- what it says

def words(response: http.client.HTTPResponse, enough: Callable[[], bool]) -> Iterator[str]:
    """The answer, piece by piece, until it is over or `enough`; raises Refused."""
    check_status(response.status)
    if "json" in response.headers.get("Content-Type", ""):   # it does not stream
        whole = response.read(MAX_BYTES + 1)
        yield piece(whole, "message")[0]
        return
    size, ended = 0, False
    while not enough() and (line := next_line(response)):
        size += len(line)
        if len(line) > MAX_LINE or size > MAX_BYTES:
            raise Refused("sends far more than an answer")
        if line.startswith(b"data:"):
            data = line[len(b"data:") :].strip()
            if data == b"[DONE]":
                return
            text, last = piece(data, "delta")
            ended |= last
            yield text
    if not (ended or enough()):
        raise Refused(CUT)


def next_line(response: http.client.HTTPResponse) -> bytes:
    """The next line, or as much of it as is read at most; raises Refused."""
    try:
        return response.readline(MAX_LINE + 1)
    except (ConnectionError, http.client.HTTPException):
        raise Refused(CUT) from None


def check_status(status: int) -> None:
    """Raises Refused for anything but success."""
    if 300 <= status < 400:
        raise Refused("sends us on to another address; name that one with --delegate")
    if status != 200:
        raise Refused(STATUS.get(status, f"failed with status {status}"))


def piece(data: bytes, part: str) -> tuple[str, bool]:
    """(text, whether it is the last) of one JSON object; nothing of what is none. Raises Refused
    for an error that it reports: its words are not passed on, since they may repeat the key."""
    try:
        chunk = json.loads(data)
        if isinstance(chunk, dict) and chunk.get("error"):
            raise Refused("reports an error of its own")
        choice = chunk["choices"][0]
        text = choice[part].get("content")
        return text if isinstance(text, str) else "", bool(choice.get("finish_reason"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "", False
