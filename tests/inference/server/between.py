"""A server between a browser and ours, that makes the trouble of a network."""

import contextlib
import http.client
import http.server
import json
import re
import threading


class Between(http.server.ThreadingHTTPServer):
    """Hands requests on to a server, and makes the trouble that a test asks for.

    Args:
        address: of the server.
    """

    daemon_threads = True

    def __init__(self, address):
        super().__init__(("127.0.0.1", 0), _Between)
        self.upstream = address.removeprefix("http://")
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.busy = 0  # how many uploads are turned away next
        self.hangs_up = lambda _: False  # on this request, instead of an answer
        self.newer = 0  # by how much the version of the model is raised
        self.gate = threading.Event()  # uploads wait for it
        self.gate.set()
        self.arrived = threading.Semaphore(0)  # one for each upload
        self.lock = threading.Lock()
        self.at_once = self.most_at_once = 0  # uploads

    def handle_error(self, request, client_address):
        """A browser that has hung up is part of the tests."""

    @contextlib.contextmanager
    def upload(self):
        """Counts an upload; whether it is to be turned away."""
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            turned_away, self.busy = self.busy > 0, max(0, self.busy - 1)
        self.arrived.release()
        self.gate.wait()
        try:
            yield turned_away
        finally:
            with self.lock:
                self.at_once -= 1


class _Between(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.hand_on(b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.upload() as turned_away:
            if turned_away:
                busy = json.dumps({"error": "Busy.", "reason": "busy", "request_id": "1"}).encode()
                self.answer(503, {"Content-Type": "application/json", "Retry-After": "1"}, busy)
            else:
                self.hand_on(body)

    def hand_on(self, body):
        if self.server.hangs_up(body):
            self.close_connection = True
            return
        with contextlib.closing(http.client.HTTPConnection(self.server.upstream)) as upstream:
            content_type = {"Content-Type": "application/octet-stream"} if body else {}
            upstream.request(self.command, self.path, body or None, content_type)
            response = upstream.getresponse()
            content = re.sub(rb'"version": ?(\d+)', self.newer_version, response.read())
            headers = {"Content-Type": response.headers["Content-Type"]}
            self.answer(response.status, headers, content)

    def newer_version(self, match):
        return b'"version": %d' % (int(match[1]) + self.server.newer)

    def answer(self, status, headers, content):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass
