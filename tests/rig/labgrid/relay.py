"""An HTTP relay as labgrid's `simplerest` model wants it, which switches the board of a `rig serve`.

By itself: `python -m tests.rig.labgrid.relay POWER_PORT_URL ADDRESS` prints the `host` for an exporter's file.
"""

from __future__ import annotations

import http.server
import sys
import threading
import time
import urllib.request

PATIENCE_S = 40.0


class Relay:
    """What labgrid's `simplerest` speaks: GET /1 and /0 switch, GET / tells `1` or `0`. Switches a power port."""

    def __init__(self, power_port: str | None = None, address: str = "127.0.0.1") -> None:
        self.is_on, self.obeys, self.asked = True, True, []
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                relay.asked.append(self.path)
                if (value := self.path.strip("/")) and relay.obeys:
                    relay.is_on = value == "1"
                    if power_port:
                        request = urllib.request.Request(
                            f"{power_port}/{'on' if value == '1' else 'off'}", method="POST"
                        )
                        urllib.request.urlopen(request, timeout=PATIENCE_S).close()
                body = b"1" if relay.is_on else b"0"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = http.server.HTTPServer((address, 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def host(self) -> str:
        """As an exporter's file has it."""
        address, port = self._server.server_address[:2]
        return f"http://{address}:{port}/{{value}}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


if __name__ == "__main__":
    relay = Relay(*sys.argv[1:])
    print(relay.host, flush=True)
    told = 0
    while True:
        time.sleep(0.1)
        for path in relay.asked[told:]:
            print(f"GET {path}", flush=True)
            told += 1
