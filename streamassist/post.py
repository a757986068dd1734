"""One HTTP POST that cannot hang, wander off or be overheard.

All of a try lies within one time limit, also with a receiver that sends a byte now and then; only
looking up a name takes as long as the system lets it. Certificates are always verified, redirects
never followed, proxies never used. An address may be a secret as a whole (password, path, query),
so what is said about it names its host alone.
"""
import base64
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from urllib.parse import unquote, urlsplit

from streamassist.errors import StreamAssistError

MAX_REPLY = 4096         # bytes read of an answer; its status comes first
MAX_HOSTS = 4            # addresses of a name that are tried
TRY_AGAIN = {408, 425, 429}


class Refused(Exception):
    """It will not work however often it is tried; the message ends a sentence about the address and
    names the mend."""


class NotNow(Exception):
    """It may work later, after `after_s` seconds if the receiver said so."""

    def __init__(self, message: str, after_s: float = 0.0):
        super().__init__(message)
        self.after_s = after_s


@dataclass(frozen=True)
class Address:
    """Where to post; as text, what of it may be shown."""

    host: str
    port: int
    tls: bool
    authority: str = field(repr=False)   # host and port as they were written
    path: str = field(repr=False)        # with the query
    login: str = field(repr=False)       # of Basic authorization, "" for none
    allow_plain: bool

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    @classmethod
    def of(cls, url: str, allow_plain: bool = False) -> "Address":
        """Raises StreamAssistError for anything but a complete http or https address."""
        if any(not "!" <= c <= "~" for c in url):
            raise StreamAssistError(
                "The address of the webhook has blanks or letters beyond ASCII; write them as %20 "
                "and the like, and such a host as xn--..."
            )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise StreamAssistError(
                "The address of the webhook must look like https://example.org/alerts."
            )
        tls = parts.scheme == "https"
        if not tls and not allow_plain and not is_loopback(parts.hostname):
            raise StreamAssistError(
                "A webhook by plain http could be read on its way; use https, or allow plain http "
                "if you trust the whole network."
            )
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        return cls(
            parts.hostname, port or (443 if tls else 80), tls, parts.netloc.rpartition("@")[2],
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            "" if login == ":" else login, allow_plain,
        )


def is_loopback(host: str) -> bool:
    """Whether a host, by name or number, is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def post(
    address: Address, headers: dict[str, str], body: bytes, timeout_s: float,
    tls: ssl.SSLContext | None,
) -> None:
    """Deliver `body` within `timeout_s` seconds; raises Refused or NotNow when it did not work."""
    deadline = time.monotonic() + timeout_s

    def left() -> float:
        if (seconds := deadline - time.monotonic()) <= 0:
            raise TimeoutError
        return seconds

    try:
        with closing(_connect(address, left, tls)) as sock:
            sock.settimeout(left())
            sock.sendall(_request(address, headers, body))
            _judge(_reply(sock, left))
    except ssl.SSLCertVerificationError as error:
        raise Refused(
            f"has a certificate that is not to be trusted ({error.verify_message}), so nothing was "
            "sent. Use one that is valid for this host; if it is your own, name its file in the "
            "environment variable SSL_CERT_FILE and start again."
        ) from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError) as error:
        raise NotNow("broke the connection off or takes none") from error
    except ssl.SSLError as error:
        raise Refused("does not speak TLS as it should; check that the address and its port are "
                      "those for https.") from error
    except TimeoutError as error:
        raise NotNow(f"did not answer within {timeout_s:g} s") from error
    except socket.gaierror as error:
        raise NotNow("cannot be found by its name") from error
    except OSError as error:
        raise NotNow(f"cannot be reached ({error.strerror or type(error).__name__})") from error
    except HTTPException as error:
        raise NotNow("does not answer in HTTP") from error


def _connect(
    address: Address, left: Callable[[], float], tls: ssl.SSLContext | None
) -> socket.socket:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[:MAX_HOSTS]
    if not (address.tls or address.allow_plain or all(is_loopback(at[4][0]) for at in found)):
        raise Refused("is not this machine, so plain http could be read on its way; use https.")
    for i, (family, kind, protocol, _, where) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(left() / (len(found) - i))
            sock.connect(where)
            sock.settimeout(left())
            return tls.wrap_socket(sock, server_hostname=address.host) if tls else sock
        except ssl.SSLError:
            sock.close()
            raise
        except OSError:
            sock.close()
            if i + 1 == len(found):
                raise
    raise socket.gaierror


def _request(address: Address, headers: dict[str, str], body: bytes) -> bytes:
    lines = {"Host": address.authority, **headers, "Content-Length": str(len(body)),
             "Connection": "close"}
    if address.login:
        lines["Authorization"] = "Basic " + base64.b64encode(address.login.encode()).decode()
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {address.path} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


class _Reader(io.RawIOBase):
    """What a socket brings, until the time or MAX_REPLY is used up. Each wait gets what is left of
    the time: a limit on every single one would let a slow sender hold us for ever."""

    def __init__(self, sock: socket.socket, left: Callable[[], float]):
        self._sock, self._left, self._bytes = sock, left, MAX_REPLY

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self._sock.settimeout(self._left())
        count = self._sock.recv_into(memoryview(buffer)[:self._bytes]) if self._bytes else 0
        self._bytes -= count
        return count

    def makefile(self, *_) -> io.BufferedReader:
        return io.BufferedReader(self)


def _reply(sock: socket.socket, left: Callable[[], float]) -> HTTPResponse:
    """Status and headers; nobody reads the rest."""
    with closing(HTTPResponse(_Reader(sock, left), method="POST")) as response:
        response.begin()
    return response


def _judge(response: HTTPResponse) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    if status in TRY_AGAIN or status >= 500:
        raise NotNow(f"answers with status {status}", _asked_pause(response))
    if 300 <= status < 400:
        raise Refused(f"answers with a redirect ({status}), which is not followed; write the "
                      "address that it leads to.")
    raise Refused(f"refuses alerts with status {status}; check the address, its password and the "
                  "secret.")


def _asked_pause(response: HTTPResponse) -> float:
    """Retry-After in seconds: a number or a date; 0 when there is none that can be read."""
    said = response.getheader("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        return (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0.0
