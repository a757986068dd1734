"""`python -m e2e.visit`: start the app with nano, be its page, ask; one JSON line of what came.

Its own program, so that it can run where only the loopback device exists.
"""
import json
import socket
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

from e2e.whole import QUESTION, SLOW_S, served_by
from tools.running import running

ELSEWHERE = ("192.0.2.1", 80)     # kept free for documentation: RFC 5737


def visit() -> dict:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), "--model", "nano") as app:
        served = served_by(app)
        with urlopen(f"{app.url}/page/live.js", timeout=SLOW_S) as script, served.page() as page:
            _, preview = page.picture()
            page.send("ask", text=QUESTION)
            answer = page.until("answer", seconds=SLOW_S)[-1]
            return {
                "model": page.hello["model"], "answer": answer["text"],
                "preview": len(preview), "script": len(script.read()),
            }


def why_no_way_out() -> str:
    """Why this process cannot reach another machine; empty when it can try."""
    try:
        socket.create_connection(ELSEWHERE, 5).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


if __name__ == "__main__":
    json.dump({"no way out": why_no_way_out(), **visit()}, sys.stdout)
