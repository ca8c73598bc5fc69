"""A rival as small as can be, for tests of how rivals are started, waited for and ended.

`python -m tests.rivals.fake PORT WORKERS... [--late SECONDS] [--broken]`: proxies each request to the next worker. It
says on `/readiness` that it uses no worker for the first seconds, or ends at once where it is broken.
"""

from __future__ import annotations

import argparse
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from urllib.request import Request, urlopen


def main() -> int:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("workers", nargs="+")
    parser.add_argument("--late", type=float, default=0.0)
    parser.add_argument("--broken", action="store_true")
    given = parser.parse_args()
    if given.broken:
        sys.stdout.write("cannot start: out of luck\n")
        return 3
    begins, turn = time.monotonic() + given.late, cycle(given.workers)

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            used = len(given.workers) if time.monotonic() > begins else 0
            self._tell(200, b'{"healthy_workers": %d}' % used)

        def do_POST(self) -> None:
            assert time.monotonic() > begins, "asked before it was ready"
            body = self.rfile.read(int(self.headers["content-length"]))
            with urlopen(Request(f"http://{next(turn)}{self.path}", body, dict(self.headers))) as answer:
                self._tell(answer.status, answer.read())

        def _tell(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", given.port), Proxy) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
