"""A client that others wrote, driven from here: it gets commands, and what it receives can be waited for."""

import json
import queue
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from harness import CLIENTS, Client, Failure, Player, Stage

# How long anything that is waited for may take as long as there is something to hear, in seconds.
PATIENCE = 60.0

SECOND = 10**9

POSITION = "/fgplay/position"
PAUSED = "/fgplay/paused"


class Remote(Client):
    """One client of either kind that takes commands. Its events are kept in the order of arrival."""

    def __init__(self, process: subprocess.Popen, kind: str, events: Path):
        super().__init__(process, kind, events)
        self.seen: list[dict] = []
        self.requests = 0

    def hear(self) -> int:
        """Takes what has come by now, without waiting. Gives the number of all events so far."""
        while True:
            try:
                line = self.lines.lines.get_nowait()
            except queue.Empty:
                return len(self.seen)
            if line is None:
                # For who waits for more.
                self.lines.lines.put(None)
                return len(self.seen)
            self.seen.append(json.loads(line))

    def wait(self, what: str, wanted: Callable[[dict], bool], since: int = 0) -> int:
        """Waits for an event. Gives its place among all, from `since` on."""
        deadline = time.monotonic() + PATIENCE
        place = since
        while True:
            while place < self.hear():
                if wanted(self.seen[place]):
                    return place
                place += 1
            if time.monotonic() > deadline:
                raise Failure(f"{self.kind}: {what} did not come within {PATIENCE:.0f} s")
            try:
                self.seen.append(json.loads(self.lines.next()))
            except Failure as failure:
                raise Failure(f"{failure}, while this was waited for: {what}") from None

    def wait_for_event(self, name: str, since: int = 0, **fields) -> dict:
        def is_wanted(event: dict) -> bool:
            return event["event"] == name and all(event.get(key) == fields[key] for key in fields)

        place = self.wait(f"{name} {fields or ''}".strip(), is_wanted, since)
        return self.seen[place]

    def wait_for_time(self, at_least: int, since: int = 0) -> int:
        """Waits until the client is told that time. Gives the place of the event."""

        def is_wanted(event: dict) -> bool:
            return event["event"] == "time" and int(event["time"]) >= at_least

        return self.wait(f"the time {at_least}", is_wanted, since)

    def wait_for_messages(self, count: int, since: int) -> None:
        """Waits until so many messages have come after an event."""
        left = count

        def is_last(event: dict) -> bool:
            nonlocal left
            left -= event["event"] == "message"
            return left == 0

        if count:
            self.wait(f"message {count} after event {since}", is_last, since)

    def count_messages(self, since: int) -> int:
        self.hear()
        return sum(event["event"] == "message" for event in self.seen[since:])

    def tell(self, do: str, **fields) -> None:
        self.process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
        self.process.stdin.flush()

    def next_id(self) -> int:
        self.requests += 1
        return self.requests

    def subscribe(self) -> None:
        self.wait_for_event("advertise")
        self.tell("subscribe")

    def parameters(self) -> dict:
        """All parameters. Whatever the server sent before the answer has come by then."""
        number = f"get {self.next_id()}"
        self.tell("getParameters", names=[], id=number)
        return values(self.wait_for_event("parameterValues", id=number))

    def set(self, name: str, value: object) -> object:
        """Sets a parameter, and gives the value that it has since then."""
        number = f"set {self.next_id()}"
        self.tell("setParameters", parameters=[{"name": name, "value": value}], id=number)
        return values(self.wait_for_event("parameterValues", id=number)).get(name)

    def call(self, service: str, request: dict) -> dict:
        """Calls a service."""
        self.wait_for_event("advertiseServices")
        number = self.next_id()
        self.tell("call", service=service, request=request, id=number)

        def is_answer(event: dict) -> bool:
            return event["event"].startswith("serviceCall") and event["callId"] == number

        answer = self.seen[self.wait(f"the answer of {service}", is_answer)]
        if answer["event"] != "serviceCallResponse" or answer["encoding"] != "json":
            raise Failure(f"{self.kind}: {service} {request} was answered with {answer}")
        return json.loads(answer["response"])

    def playback(self, command: str, speed: float, seek: int | None = None) -> dict:
        """Sends a Playback Control Request, and gives the Playback State that answers it."""
        number = f"request {self.next_id()}"
        place = None if seek is None else str(seek)
        self.tell("playback", command=command, speed=speed, seek=place, id=number)
        answer = self.wait_for_event("playbackState", requestId=number)
        if abs(answer["speed"] - speed) > 1e-5 * speed or answer["didSeek"] != (seek is not None):
            raise Failure(f"{self.kind}: the request {command}, {speed}, {seek} was answered with {answer}")
        return answer


def values(event: dict) -> dict:
    return {parameter["name"]: parameter.get("value") for parameter in event["parameters"]}


def connect(stage: Stage, kind: str, player: Player) -> Remote:
    command, _ = CLIENTS[kind]
    events = stage.folder / f"{kind}{len(stage.processes)}.ndjson"
    process = stage.start([*command, player.url, events, "--control"], f"{events.stem}.log", subprocess.PIPE)
    remote = Remote(process, kind, events)
    remote.wait_for_event("advertise")
    return remote


class Way:
    """One way in which a client can command playback. Each says what is wrong with the answer."""

    name: str

    def seek(self, client: Remote, to: int, start: int, rate: float, playing: bool) -> None:
        raise NotImplementedError

    def play(self, client: Remote, rate: float) -> None:
        raise NotImplementedError

    def pause(self, client: Remote, rate: float) -> None:
        raise NotImplementedError


class Request(Way):
    """Playback Control Requests."""

    name = "request"

    def seek(self, client, to, start, rate, playing):
        answer = client.playback("play" if playing else "pause", rate, to)
        time = int(answer["time"])
        if playing:
            expect(answer["status"] in ("Playing", "Buffering", "Ended") and time >= to, answer)
        else:
            expect(answer["status"] == "Paused" and time == to, answer)

    def play(self, client, rate):
        answer = client.playback("play", rate)
        expect(answer["status"] in ("Playing", "Buffering"), answer)

    def pause(self, client, rate):
        answer = client.playback("pause", rate)
        expect(answer["status"] == "Paused", answer)


class Parameters(Way):
    """The parameters of the player."""

    name = "parameter"

    def seek(self, client, to, start, rate, playing):
        offset = (to - start) / SECOND
        position = client.set(POSITION, offset)
        off = position - offset
        expect(off >= -1e-6 if playing else abs(off) < 1e-6, f"{POSITION} is {position}, not {offset}")

    def play(self, client, rate):
        expect(client.set(PAUSED, False) is False, PAUSED)

    def pause(self, client, rate):
        expect(client.set(PAUSED, True) is True, PAUSED)


class Services(Way):
    """The services of the player."""

    name = "service"

    def seek(self, client, to, start, rate, playing):
        time = {"sec": to // SECOND, "nanosec": to % SECOND}
        answer = client.call("/fgplay/seek", {"time": time})
        expect(answer == {"success": True}, answer)

    def play(self, client, rate):
        expect(client.call("/fgplay/resume", {}) == {}, "/fgplay/resume")
        self.expect_paused(client, False)

    def pause(self, client, rate):
        expect(client.call("/fgplay/pause", {}) == {}, "/fgplay/pause")
        self.expect_paused(client, True)

    def expect_paused(self, client, paused):
        expect(client.call("/fgplay/is_paused", {}) == {"paused": paused}, f"is_paused is not {paused}")


def expect(is_right: bool, answer: object) -> None:
    if not is_right:
        raise Failure(f"this answer is not what was asked for: {answer}")


REQUEST, PARAMETERS, SERVICES = Request(), Parameters(), Services()
