"""An HTTP relay as labgrid's `simplerest` model wants it, which can be told not to obey."""

from __future__ import annotations

import http.server
import threading


class Relay:
    """What labgrid's `simplerest` speaks: GET /1 and /0 switch, GET / tells `1` or `0`."""

    def __init__(self) -> None:
        self.is_on, self.obeys, self.asked = True, True, []
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                relay.asked.append(self.path)
                if (value := self.path.strip("/")) and relay.obeys:
                    relay.is_on = value == "1"
                body = b"1" if relay.is_on else b"0"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def host(self) -> str:
        """As an exporter's file has it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{{value}}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
