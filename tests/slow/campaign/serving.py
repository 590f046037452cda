"""A server as a process, and what becomes of its clients when a signal stops it."""

import http.client
import json
import re
import select
import signal
import threading
import time

from tests.slow.campaign import classification, conversion
from tests.slow.campaign.processes import SERVE, Script
from tests.slow.campaign.trials import Failed, Row, Trial

CLIENTS = 8  # at a time, while the server is stopped
PATIENCE = 5.0  # seconds for one answer
MAX_PIXELS = 25_000_000  # of a picture

_ADDRESS = re.compile(r"^http://\S+:(\d+)$", re.MULTILINE)  # what it prints when it listens


def listens(script: Script) -> bool:
    """Whether a server says that it can be reached."""
    return bool(_ADDRESS.search(script.output()))


class Server:
    """A server of the run that `classification.model` gives.

    Args:
        trial: whose it is.

    Raises:
        Failed: it does not listen.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        source = classification.model(trial)
        self._script = Script(
            *(trial, SERVE, f"--checkpoint_path={source}", "--port=0", "--reload_secs=0"),
            f"--max_image_pixels={MAX_PIXELS}",
        )
        if not self._script.wait_until(lambda: listens(self._script)):
            self._script.finish({128 + signal.SIGTERM})  # fails, and says what it ended with
        self.port = int(_ADDRESS.search(self._script.output())[1])

    def connection(self) -> http.client.HTTPConnection:
        """A connection, which stays as long as the server keeps it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def check_health(self) -> None:
        """It is as well as it was, and has met nothing that it did not foresee."""
        connection = self.connection()
        connection.request("GET", "/healthz")
        status = json.load(connection.getresponse())["status"]
        self._trial.expect(status == "ok", "lost", f"the server is {status}")
        told = [line for line in self._script.output().splitlines() if "request " in line]
        self._trial.expect(not told, "traceback", f"the server's log: {told[:1]}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it by a signal, of which its exit code tells."""
        self._script.signal(number)
        self._script.finish({128 + number}, 60)


def stopped_under_load(trial: Trial) -> None:
    """A signal at a random moment: what clients have sent is answered, and they are told to go."""
    number = (signal.SIGTERM, signal.SIGINT)[trial.number % 2]
    server = Server(trial)
    content = next(conversion.pictures(trial).glob("red/*")).read_bytes()
    clients = [_Client(server, content) for _ in range(CLIENTS)]
    for client in clients:
        client.thread.start()
    for client in clients:
        if not client.begun.wait(60):
            raise Failed("hang", "a client has no first answer")
    time.sleep(trial.random.uniform(0, 0.5))
    server.stop(number)
    for client in clients:
        client.thread.join(60)
        trial.expect(not client.lost, "lost", client.lost)
        trial.checked["answered"] += client.answered
    trial.checked[f"ended with {128 + number}"] += 1


class _Client:
    """One that asks again and again on one connection, until the server closes that."""

    def __init__(self, server: Server, content: bytes) -> None:
        self._connection, self._content = server.connection(), content
        self.begun = threading.Event()
        self.answered = 0
        self.lost = ""  # what it has not got
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._is_closed():
                self._connection.request("POST", "/classify", self._content)
                answer = self._connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.lost = f"an answer is {answer.status}"
                self.answered += 1
                self.begun.set()
        except (OSError, http.client.HTTPException) as error:
            self.lost = f"no answer, but {type(error).__name__}: {error}"

    def _is_closed(self) -> bool:
        """Whether the server has closed the connection, or said that it will, after an answer."""
        if not self.begun.is_set():
            return False
        connected = self._connection.sock
        return connected is None or bool(select.select([connected], [], [], 0)[0])


ROWS = (Row("http_signals", stopped_under_load, 20),)
