"""What all end-to-end checks need: the player, clients, a place for their files, a list of what came of it.

Where the programs are, run.sh says (environment: FGPLAY_BIN, E2E_NODE_CLIENT, E2E_SDK_CLIENT, E2E_OUTPUT).
"""

import json
import os
import queue
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import recordings
from compare import Expectation, compare, load

ROOT = Path(__file__).resolve().parents[2]
TESTDATA = ROOT / "testdata"
NAV2 = ROOT.parent / "shared" / "recordings" / "nav2_turtlebot.mcap"
OUTPUT = Path(os.environ["E2E_OUTPUT"])
FGPLAY = os.environ["FGPLAY_BIN"]
CLIENTS = {
    "ws-protocol": (["node", os.environ["E2E_NODE_CLIENT"]], "foxglove.websocket.v1"),
    "sdk": ([os.environ["E2E_SDK_CLIENT"]], "foxglove.sdk.v1"),
}

# How long anything may take that should come at once, in seconds.
SOON = 20.0
# How long the player may take to end once it was asked to.
END_WITHIN = 5.0


class Failure(Exception):
    """What a check found."""


class Skipped(Exception):
    """Why a check can't run here."""


class Lines:
    """The lines that a process prints, as they come."""

    def __init__(self, process: subprocess.Popen, name: str):
        self.name = name
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self.read, args=(process.stdout,), daemon=True).start()

    def read(self, stream) -> None:
        for line in stream:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def next(self) -> str:
        try:
            line = self.lines.get(timeout=SOON)
        except queue.Empty:
            raise Failure(f"{self.name} printed nothing for {SOON:.0f} s") from None
        if line is None:
            raise Failure(f"{self.name} ended too early")
        return line

    def expect(self, wanted: str) -> None:
        line = self.next()
        if line != wanted:
            raise Failure(f"{self.name} printed '{line}', not '{wanted}'")


def wait_for(process: subprocess.Popen, name: str, seconds: float) -> int:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise Failure(f"{name} had not ended after {seconds:.0f} s") from None


class Player:
    """The program, playing."""

    def __init__(self, process: subprocess.Popen):
        self.process = process
        line = Lines(process, "fgplay").next()
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or event.get("event") != "ready":
            raise Failure(f"the first line on stdout is no 'ready' event: {line}")
        self.port: int = event["port"]
        self.url: str = event["url"]
        if self.url != f"ws://127.0.0.1:{self.port}/":
            raise Failure(f"the URL is {self.url}, the port {self.port}")

    def end(self, seconds: float, codes: tuple[int, ...] = (0,)) -> None:
        """Waits for the end: one of the exit codes, and nobody listens any more."""
        code = wait_for(self.process, "fgplay", seconds)
        if code not in codes:
            raise Failure(f"the exit code is {code}")
        with socket.socket() as probe:
            # Connections that wait for their last packets do not count, listeners do.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
                probe.listen()
            except OSError as error:
                raise Failure(f"port {self.port} is still in use: {error}") from None


class Client:
    """One client of either kind."""

    def __init__(self, process: subprocess.Popen, kind: str, events: Path):
        self.process = process
        self.kind = kind
        self.events = events
        self.lines = Lines(process, f"the {kind} client")

    def subscribe(self) -> None:
        self.process.stdin.write("now\n")
        self.process.stdin.flush()

    def end(self, seconds: float) -> None:
        name = f"the {self.kind} client"
        code = wait_for(self.process, name, seconds)
        if code != 0:
            raise Failure(
                f"{name} failed with exit code {code}: {self.events.with_suffix('.log').read_text()}"
            )


class Stage:
    """Where one check plays: a folder for its files, and an end for all its processes."""

    def __init__(self, name: str):
        self.folder = OUTPUT / re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.processes: list[subprocess.Popen] = []

    def start(self, command: list, log: str, stdin: int) -> subprocess.Popen:
        with (self.folder / log).open("w") as stderr:
            process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, text=True)
        self.processes.append(process)
        return process

    def player(self, paths: list[Path], *options: str) -> Player:
        process = self.start([FGPLAY, *paths, "--port", "0", *options], "fgplay.log", subprocess.DEVNULL)
        try:
            return Player(process)
        except Failure as failure:
            log = (self.folder / "fgplay.log").read_text().strip() or "empty"
            raise Failure(f"{failure}; its stderr: {log[:500]}") from None

    def client(self, kind: str, player: Player, *options: str) -> Client:
        command, _ = CLIENTS[kind]
        events = self.folder / f"{kind}{len(self.processes)}.ndjson"
        process = self.start([*command, player.url, events, *options], f"{events.stem}.log", subprocess.PIPE)
        return Client(process, kind, events)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


class Suite:
    """The checks, and what came of them."""

    def __init__(self, words: list[str]):
        self.words = words
        self.passed = self.failed = self.skipped = 0
        self.session_ids: dict[str, str] = {}

    def run(self, name: str, body: Callable[..., object], *arguments, **options) -> None:
        """Runs one check, unless it was not asked for, and prints what came of it."""
        if self.words and not any(word in name for word in self.words):
            return
        check = Check(self, name)
        started = time.monotonic()
        try:
            body(check, *arguments, **options)
            word, text = "ok", "; ".join(check.facts)
            self.passed += 1
        except Skipped as reason:
            word, text = "skipped", str(reason)
            self.skipped += 1
        except Failure as failure:
            word, text = "FAILED", f"{failure} (files in {check.stage.folder})"
            self.failed += 1
        finally:
            check.stage.close()
        print(f"{word}: {name} ({time.monotonic() - started:.1f} s): {text}", flush=True)


class Check:
    """One check that runs."""

    def __init__(self, suite: Suite, name: str):
        self.suite = suite
        self.name = name
        self.stage = Stage(name)
        self.facts: list[str] = []

    def compare(self, client: Client, recording: recordings.Recording, **expected) -> int:
        """Fails where the client did not receive what is in the recording. Gives the number of messages."""
        events = load(client.events)
        _, protocol = CLIENTS[client.kind]
        report = compare(events, recording, Expectation(protocol, **expected))
        self.facts.append(report.summary)
        if report.problems:
            raise Failure(f"{client.kind}: " + "; ".join(report.problems))
        for event in events:
            if event["event"] == "serverInfo":
                self.note_session_id(event["sessionId"])
        return sum(event["event"] == "message" for event in events)

    def note_session_id(self, session_id: str) -> None:
        """A session id is the same for all clients of a run, and of no other run."""
        owner = self.suite.session_ids.setdefault(session_id, self.name)
        if owner != self.name:
            raise Failure(f"the sessionId {session_id} was already that of '{owner}'")
        if list(self.suite.session_ids.values()).count(self.name) > 1:
            raise Failure("the clients of this run were given different sessionIds")


def pace(recording: recordings.Recording, seconds: float) -> float:
    """The rate at which a recording takes so long."""
    return (recording.messages[-1].log_time - recording.messages[0].log_time) / 1e9 / seconds
