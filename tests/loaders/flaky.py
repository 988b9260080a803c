"""A store on loopback that can be made to fail: an HTTP server over a folder, or in front of another server."""

import itertools
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

Fault = str | None  # "500", "503", "short", "wrong", "slow", or none


class FlakyStore:
    """Serves `source`, a folder or another server's URL.

    fault: called with method, path and how many requests for it there were before; says what goes wrong.
    requests: how often each (method, path) was asked for.
    """

    def __init__(self, source: Path | str, fault: Callable[[str, str, int], Fault] | None = None) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.fault = fault or (lambda method, path, before: None)
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self) -> None:
                place = self.path.partition("?")[0]
                before = store.requests[self.command, place]
                store.requests[self.command, place] += 1
                # Read in any case: what is left of a request would be taken for the next one.
                size = int(self.headers.get("Content-Length") or 0)
                self.data = self.rfile.read(size) or None
                if size > len(self.data or b""):  # its client was killed
                    self.close_connection = True
                    return
                fault = store.fault(self.command, place, before)
                if fault in ("500", "503"):
                    self.send(int(fault), b"", {})
                    return
                status, body, headers = (
                    self.forwarded(source) if isinstance(source, str) else self.from_folder(source, place)
                )
                if fault == "wrong" and body:
                    body = bytes([body[0] ^ 1]) + body[1:]
                self.send(status, body, headers, fault)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def from_folder(self, folder: Path, place: str) -> tuple[int, bytes, dict[str, str]]:
                path = folder / place.lstrip("/")
                return (200, path.read_bytes(), {}) if path.is_file() else (404, b"", {})

            def forwarded(self, backend: str) -> tuple[int, bytes, dict[str, str]]:
                headers = {name: value for name, value in self.headers.items() if name != "Content-Length"}
                # Without it, urllib would say that it is a form.
                headers.setdefault("Content-Type", "application/octet-stream")
                request = urllib.request.Request(
                    backend + self.path, data=self.data, headers=headers, method=self.command
                )
                try:
                    with urllib.request.urlopen(request) as reply:
                        return reply.status, reply.read(), dict(reply.headers)
                except urllib.error.HTTPError as refusal:
                    with refusal:
                        return refusal.code, refusal.read(), dict(refusal.headers)

            def send(self, status: int, body: bytes, headers: dict[str, str], fault: Fault = None) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in (
                        "content-length",
                        "transfer-encoding",
                        "connection",
                        "server",
                        "date",
                    ):
                        self.send_header(name, value)
                claimed = {name.lower(): value for name, value in headers.items()}.get(
                    "content-length", len(body)
                )
                length = claimed if self.command == "HEAD" else len(body)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command == "HEAD":
                    return
                if fault == "short":
                    self.wfile.write(body[: len(body) // 2])
                    self.close_connection = True
                    return
                if fault == "slow":
                    self.wfile.write(body[:1])
                    self.wfile.flush()
                    time.sleep(60)
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # readers that are killed
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()  # a quick end
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def times(self, ending: str) -> int:
        """How often a file whose name ends so was fetched."""
        return sum(
            count
            for (method, path), count in self.requests.items()
            if method == "GET" and path.endswith(ending)
        )


def now_and_then() -> Callable[[str, str, int], Fault]:
    """Return what a store does that answers a tenth of the requests with 503, and cuts a tenth of what it sends."""
    numbers = itertools.count()
    lock = threading.Lock()

    def fault(method: str, path: str, before: int) -> Fault:
        with lock:
            number = next(numbers)
        if number % 10 == 4:
            return "503"
        return "short" if number % 10 == 8 else None

    return fault
