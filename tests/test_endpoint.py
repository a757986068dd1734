"""Where pictures may go: addresses that are taken and refused, and whom TLS believes."""
import shutil
import socket
import ssl
import subprocess
from threading import Thread

import pytest

from places import absent
from streamassist.delegate import trouble
from streamassist.endpoint import Address
from streamassist.errors import StreamAssistError

KEY = "sk-secret-0123456789"


@pytest.mark.parametrize(
    "url, key, path",
    [
        ("https://api.example.org/v1", KEY, "/v1/chat/completions"),
        ("https://example.org", KEY, "/chat/completions"),
        ("http://localhost:8000/v1/", KEY, "/v1/chat/completions"),
        ("http://127.0.0.1:11434/v1", KEY, "/v1/chat/completions"),
        ("http://[::1]:8000/v1", KEY, "/v1/chat/completions"),
        ("http://192.168.1.5:8000/v1", "", "/v1/chat/completions"),
        ("http://[fd00::5]/v1", "", "/v1/chat/completions"),
    ],
)
def test_addresses_that_are_taken(url, key, path):
    address = Address.parse(url, bool(key))
    assert address.path == path and address.tls == url.startswith("https")


@pytest.mark.parametrize(
    "url, key, words",
    [
        ("", "", "must be an address"),
        ("api.example.org/v1", "", "must be an address"),
        ("ftp://example.org", "", "must be an address"),
        ("file:///etc/passwd", "", "must be an address"),
        ("https://me:word@example.org/v1", "", "without a password"),
        ("https://example.org/v1?key=1", "", "must be an address"),
        ("https://example.org/v 1", "", "must be an address"),
        ("https://example.org/\r\nX: y", "", "must be an address"),
        ("https://example.org:99999/v1", "", "must be an address"),
        ("http://[::1/v1", "", "must be an address"),
        ("http://example.org/v1", "", "unencrypted; use https"),
        ("http://8.8.8.8/v1", "", "unencrypted; use https"),
        ("http://169.254.169.254/v1", "", "unencrypted; use https"),
        ("http://[::ffff:8.8.8.8]/v1", "", "unencrypted; use https"),
        ("http://127.1/v1", "", "unencrypted; use https"),
        ("http://localhost.example.org/v1", "", "unencrypted; use https"),
        ("http://192.168.1.5/v1", KEY, "The key would go to 192.168.1.5 unencrypted"),
    ],
)
def test_addresses_that_are_refused_at_the_start(url, key, words):
    with pytest.raises(StreamAssistError, match=words) as refused:
        Address.parse(url, bool(key))
    assert KEY not in str(refused.value)


def test_a_certificate_nobody_vouches_for_is_refused(tmp_path):
    if not (openssl := shutil.which("openssl")):
        absent("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key,
         "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard: list[bytes] = []
        Thread(target=shake_hands, args=(listener, context, heard), daemon=True).start()
        address = Address.parse(f"https://localhost:{listener.getsockname()[1]}/v1", True)
        with pytest.raises(ssl.SSLCertVerificationError) as refused:
            address.connect()
    assert "certificate that cannot be verified" in trouble(refused.value)
    assert not heard


def shake_hands(listener: socket.socket, context: ssl.SSLContext, heard: list[bytes]) -> None:
    """A TLS server for one connection; notes whatever it is told."""
    plain, _ = listener.accept()
    plain.settimeout(10)
    try:
        with context.wrap_socket(plain, server_side=True) as secure:
            heard.append(secure.recv(100))
    except OSError:
        pass   # as it should be: the client left
