"""One POST of a webhook: who is believed, what is refused, and that no secret is told."""
import socket

import pytest

from receivers import ALERT, CERTIFICATE, SECRET, deliver, receiving, status
from streamassist.errors import StreamAssistError
from streamassist.post import MAX_REPLY, Address


def test_a_password_in_the_address_is_sent_and_never_told():
    with receiving(status(403)) as receiver:
        url = receiver.url.replace("//", "//me:p%40ss@") + "?token=hush"
        webhook = deliver(url)
    assert receiver.requests[0].headers["authorization"] == "Basic bWU6cEBzcw=="
    (sentence,) = webhook.faults()
    assert "status 403" in sentence and f"127.0.0.1:{receiver.port}" in sentence
    for secret in ("p%40ss", "p@ss", "me:", "hush", "alerts?", SECRET):
        assert secret not in sentence + repr(webhook.address)


def test_a_long_answer_is_not_read_to_its_end():
    sent = []

    def pour(connection) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        try:
            while sum(sent) < 64 << 20:
                sent.append(connection.send(b"X-Long: " + b"x" * 8000 + b"\r\n"))
        except OSError:
            return

    with receiving(pour) as receiver:
        webhook = deliver(receiver.url, timeout_s=5, tries=1)
    assert webhook.figures()["sent"] == 1
    assert MAX_REPLY < sum(sent) < 32 << 20   # what the system had room for, and no more


def test_proxies_are_not_used(monkeypatch):
    with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        deliver(receiver.url)
    assert proxy.connections == 0 and len(receiver.requests) == 1


def test_redirects_are_not_followed():
    with receiving() as other, receiving(status(307, f"Location: {other.url}")) as receiver:
        webhook = deliver(receiver.url)
    assert other.connections == 0 and receiver.connections == 1
    assert "redirect (307), which is not followed" in webhook.faults()[0]


def test_plain_http_goes_to_this_machine_alone_whatever_its_name_leads_to(monkeypatch):
    with receiving() as receiver:
        url = receiver.url.replace("127.0.0.1", "localhost")
        assert deliver(url).figures()["sent"] == 1
        elsewhere = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", receiver.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: elsewhere)
        (sentence,) = deliver(url).faults()
    assert "is not this machine" in sentence and len(receiver.requests) == 1


def test_a_host_without_an_address_is_told(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    (sentence,) = deliver("https://nowhere.invalid/", tries=2).faults()
    assert "cannot be found by its name" in sentence


# ---------------------------------------------------------------- TLS

def test_a_certificate_that_is_not_trusted_is_refused_at_once(monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with receiving(tls=True) as receiver:
        webhook = deliver(receiver.url)
    assert receiver.connections == 1 and not receiver.requests   # nothing was sent
    (sentence,) = webhook.faults()
    assert "not to be trusted" in sentence and "self-signed" in sentence
    assert "SSL_CERT_FILE" in sentence


def test_the_mend_that_the_sentence_names_mends_it(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with receiving(tls=True) as receiver:
        webhook = deliver(receiver.url)
    assert webhook.figures()["sent"] == 1 and receiver.requests[0].json == ALERT


def test_a_certificate_for_another_name_is_refused(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with receiving(tls=True, host="127.0.0.2") as receiver:
        webhook = deliver(receiver.url)
    assert receiver.connections == 1 and not receiver.requests
    assert "mismatch" in webhook.faults()[0]


def test_a_receiver_that_speaks_no_tls_is_refused_at_once():
    with receiving(greeting=status(400)) as receiver:
        webhook = deliver(receiver.url.replace("http:", "https:"))
    assert receiver.connections == 1
    assert "does not speak TLS" in webhook.faults()[0]


# ---------------------------------------------------------------- what is refused at the door

@pytest.mark.parametrize("url, words", [
    ("", "must look like"), ("example.org/x", "must look like"), ("ftp://example.org", "look like"),
    ("file:///etc/passwd", "look like"), ("https://", "look like"), ("https://a:99999/", "like"),
    ("https://[::1/", "look like"), ("http://example.org/x", "use https"),
    ("http://127.0.0.1.example.org/", "use https"), ("http://0.0.0.0/", "use https"),
    ("https://example.org/a b", "blanks"), ("https://example.org/\r\nX: y", "blanks"),
    ("https://exämple.org/", "xn--"),
])
def test_addresses_that_are_refused(url, words):
    with pytest.raises(StreamAssistError, match=words):
        Address.of(url)


@pytest.mark.parametrize("url, options", [
    ("http://localhost:8080/x", {}), ("http://127.0.0.1/", {}), ("http://[::1]:81", {}),
    ("http://192.168.1.7/x", {"allow_plain": True}), ("https://example.org", {}),
])
def test_addresses_that_are_taken(url, options):
    Address.of(url, **options)
