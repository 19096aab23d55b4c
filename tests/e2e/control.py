"""Checks of control: whoever comes late or seeks has the right state, and goes on from there.

Every message that arrives is compared with what the Python `mcap` package reads from the file (flow.py).
"""

from pathlib import Path

import generate
import recordings
from compare import ANY_DISTRO, Expectation, check_close, check_notices, check_opening, load, match_channels
from flow import Reference, Stretch, arrivals, check_from, check_joined, check_state, passes
from harness import CLIENTS, END_WITHIN, NAV2, SOON, TESTDATA, Check, Failure, Player, Skipped, Suite, pace
from recordings import Recording
from remote import PARAMETERS, PAUSED, POSITION, REQUEST, SECOND, SERVICES, Remote, Way, connect

WAYS = (REQUEST, PARAMETERS, SERVICES)

# Where somebody restless goes, of the length of the recording.
PLACES = (0.1, 0.7, 0.3, 0.5)

# A recording that has this topic has it once, at the start.
STATIC = "/tf_static"


class Watcher:
    """A client, and the stretches of what it received: from which event on, and what has to come there."""

    def __init__(self, client: Remote, expected: Expectation):
        self.client = client
        self.expected = expected
        self.stretches: list[tuple[int, int, int]] = []
        self.joined_by: int | None = None

    def goes_on_from(self, event: int, place: int, told: int) -> None:
        """From this event on the state before a place has to come, at the time `told`, and what follows."""
        self.stretches.append((event, place, told))

    def joins(self, state_by: int) -> None:
        """It came while the recording played, and the state has to be there by this event."""
        self.joined_by = state_by
        self.stretches.append((0, 0, 0))

    def results(self, reference: Reference) -> list[Stretch]:
        """What became of the stretches; fails where something is wrong with one."""
        self.client.hear()
        events = self.client.seen
        channels, problems = match_channels(events, reference.recording)
        problems += check_opening(events, reference.recording, self.expected)
        problems += check_notices(events, self.expected)
        results = []
        ends = [start for start, _, _ in self.stretches[1:]] + [len(events)]
        for number, ((start, place, told), end) in enumerate(zip(self.stretches, ends, strict=True)):
            part = events[start:end]
            if number == 0 and self.joined_by is not None:
                result = check_joined(part, channels, reference, self.joined_by)
            else:
                result = check_from(part, channels, reference, place, told)
            problems += [f"stretch {number + 1}: {problem}" for problem in result.problems]
            results.append(result)
        if problems:
            raise Failure(f"{self.client.kind}: " + "; ".join(problems))
        return results

    def expect_state(self, reference: Reference) -> None:
        """Waits for the state of the stretch that has just begun, where time stands: that, and no more."""
        start, place, _ = self.stretches[-1]
        state = reference.state(place)
        try:
            self.client.wait_for_messages(len(state), start)
            self.client.parameters()
        except Failure as failure:
            channels, _ = match_channels(self.client.seen, reference.recording)
            came, _ = arrivals(self.messages(), channels)
            lacks = check_state([arrival.message for arrival in came], state)
            raise Failure("; ".join([str(failure), *lacks])) from None
        if len(self.messages()) != len(state):
            raise Failure(f"{len(self.messages())} messages came as the state, not {len(state)}")

    def stands_at(self, reference: Reference) -> int:
        """The place where it is."""
        _, place, _ = self.stretches[-1]
        return place + len(self.messages()) - len(reference.state(place))

    def messages(self) -> list[dict]:
        """Those of the last stretch."""
        self.client.hear()
        return [e for e in self.client.seen[self.stretches[-1][0] :] if e["event"] == "message"]


class Steering:
    """A recording that is played, and clients that control it."""

    def __init__(self, check: Check, path: Path, rate: float, *options: str):
        if not path.exists():
            raise Skipped(f"{path} is not here")
        self.check = check
        self.rate = rate
        self.ros_distro = ros_distro(path)
        self.reference = Reference(recordings.read([path]))
        self.player: Player = check.stage.player([path], "--rate", str(rate), "--at-end", "exit", *options)
        self.watchers: list[Watcher] = []
        self.seeks = 0

    def connect(self, kind: str) -> Watcher:
        """A new client, which is subscribed to nothing yet."""
        _, protocol = CLIENTS[kind]
        expected = Expectation(protocol, ros_distro=self.ros_distro)
        watcher = Watcher(connect(self.check.stage, kind, self.player), expected)
        self.watchers.append(watcher)
        return watcher

    def connect_at_start(self, kind: str) -> Watcher:
        """A client that gets everything from the start of the recording."""
        watcher = self.connect(kind)
        told = first_time(watcher.client)
        if told != self.reference.start:
            raise Failure(f"the first Time frame is {told}, not the start ({self.reference.start})")
        watcher.goes_on_from(0, 0, told)
        watcher.client.subscribe()
        return watcher

    def moment(self, seconds: float, way: Way) -> int:
        """A time that far into the recording: for a parameter exactly there, for a request at the log time of
        a message, which is still to come then, and for a service just after one, which is then past."""
        wanted = self.reference.start + round(seconds * SECOND)
        if way is PARAMETERS:
            return wanted
        message = self.reference.times[self.reference.place_of(wanted)]
        return message if way is REQUEST else message + 1

    def visit(
        self, way: Way, seconds: float, seeker: Watcher, audience: list[Watcher], paused: bool, stay: float
    ) -> None:
        """One seeks there, and all who have to follow see `stay` seconds of the recording from there on; time
        stands before and after that if it is paused."""
        to = self.moment(seconds, way)
        place = self.reference.place_of(to)
        marks = [watcher.client.hear() for watcher in audience]
        way.seek(seeker.client, to, self.reference.start, self.rate, not paused)
        for watcher, mark in zip(audience, marks, strict=True):
            jump = watcher.client.wait(
                f"the Time frame of the place {to}",
                lambda event: event["event"] == "time" and int(event["time"]) == to,
                mark,
            )
            watcher.goes_on_from(jump, place, to)
        if paused:
            for watcher in audience:
                watcher.expect_state(self.reference)
            way.play(seeker.client, self.rate)
        self.watch(audience, to, stay)
        if paused:
            self.stand_still(way, seeker, audience)
        self.seeks += 1

    def watch(self, audience: list[Watcher], place: int, stay: float) -> None:
        """Waits until all have seen that many seconds after a place."""
        until = min(place + round(stay * SECOND), self.reference.end)
        for watcher in audience:
            watcher.client.wait_for_time(until, watcher.stretches[-1][0])

    def stand_still(self, way: Way, seeker: Watcher, audience: list[Watcher]) -> None:
        """Pauses, and looks whether all who watch the same stand at the same place."""
        way.pause(seeker.client, self.rate)
        for watcher in audience:
            if watcher.client.parameters()[PAUSED] is not True:
                raise Failure(f"{PAUSED} is not true after a pause")
        places = {watcher.stands_at(self.reference) for watcher in audience}
        if len(places) > 1:
            raise Failure(f"those who watch the same stand at different places: {places}")

    def visit_all(
        self,
        places: tuple[float, float, float],
        seekers: list[Watcher],
        audience: list[Watcher],
        paused: bool,
    ) -> None:
        """Goes forward and back again in each of the ways."""
        _, forward, back = places
        for number, way in enumerate(WAYS):
            for seconds in (forward, back):
                self.visit(way, seconds, seekers[number % len(seekers)], audience, paused, 4.0)

    def finish(self) -> list[list[Stretch]]:
        """Waits for the end. Everything that is wrong with what the clients received is a failure."""
        results = []
        for watcher in self.watchers:
            watcher.client.wait_for_event("close")
            watcher.client.end(END_WITHIN)
            results.append(watcher.results(self.reference))
            end, problems = results[-1][-1].end, check_close(watcher.client.seen, Expectation(""))
            if problems or end != len(self.reference.messages):
                problems.append(f"it got to message {end} of {len(self.reference.messages)}")
                raise Failure(f"{watcher.client.kind}: " + "; ".join(problems))
        self.player.end(END_WITHIN)
        return results

    def summarize(self, results: list[list[Stretch]]) -> None:
        """Tells what was seen, and makes sure that it is worth something."""
        after = [stretch for stretches in results for stretch in stretches if stretch.state]
        topics = max((stretch.state for stretch in after), default=0)
        states = sum(stretch.state for stretch in after)
        followed = sum(stretch.followed for stretches in results for stretch in stretches)
        if not after or any(stretch.followed == 0 for stretch in after):
            raise Failure("there was a stretch without messages")
        self.check.facts.append(
            f"{self.seeks} seeks, {states} messages as the state of up to {topics} topics, "
            f"{followed} messages after it"
        )


def first_time(client: Remote) -> int:
    return int(client.wait_for_event("time")["time"])


def ros_distro(path: Path) -> str | None:
    return ANY_DISTRO if path == NAV2 else None


def expect_static(reference: Reference, place: int) -> None:
    """That what is recorded once is in the state, where the recording has it."""
    topics = {channel.topic for channel in reference.state(place)}
    if STATIC in {channel.topic for channel in reference.places} and STATIC not in topics:
        raise Failure(f"{STATIC} is not in the state, so that this check proves little")


def join_shared(
    check: Check, path: Path, places: tuple[float, float, float], rate: float, kinds: list[str], paused: bool
) -> None:
    """One plays to a place, where another one joins; then both seek about, and both see the same. Where time
    stands at the end of that, a third one joins."""
    steering = Steering(check, path, rate, "--session", "shared")
    reference = steering.reference
    first = steering.connect_at_start(kinds[0])
    arrived = first.client.wait_for_time(reference.start + round(places[0] * SECOND))
    expect_static(reference, reference.place_of(int(first.client.seen[arrived]["time"])))
    if paused:
        second = join_paused(steering, first, kinds[1])
    else:
        # Slowly, so that hardly a message comes between a subscription and its answer.
        first.client.call("/fgplay/set_rate", {"rate": 1.0})
        second = steering.connect(kinds[1])
        second.client.subscribe()
        second.client.parameters()
        second.joins(second.client.hear())
        second.client.set("/fgplay/rate", rate)
        steering.watch([second], first_time(second.client), 2.0)
    both = [first, second]
    if paused:
        SERVICES.play(second.client, rate)
        steering.watch(both, second.stretches[0][2], 2.0)
        steering.stand_still(REQUEST, second, both)
    steering.visit_all(places, [second, first], both, paused)
    if paused:
        join_paused(steering, first, kinds[0])
        PARAMETERS.play(second.client, rate)
    results = steering.finish()
    for watcher in both:
        expect_told(watcher, steering.seeks)
    steering.summarize(results)
    if not paused:
        joined = results[1][0]
        check.facts.append(
            f"state of {joined.certain} of {joined.state} topics on joining told from the flow"
        )
        if joined.certain == 0:
            raise Failure("all that came first on any topic may have been part of the flow")


def join_paused(steering: Steering, first: Watcher, kind: str) -> Watcher:
    """Pauses with one client, and lets another one join there."""
    reference = steering.reference
    stands_at = int(first.client.playback("pause", steering.rate)["time"])
    # All that was played before the pause has come before this answer.
    first.client.parameters()
    place = first.stands_at(reference)
    earliest, latest = reference.place_of(stands_at), reference.place_of(stands_at + 1)
    if not earliest <= place <= latest:
        raise Failure(f"time stands at {stands_at}, after {place} messages, not {earliest} to {latest}")
    second = steering.connect(kind)
    told = first_time(second.client)
    if not reference.times[place - 1] <= told <= stands_at:
        raise Failure(f"time stands at {stands_at}, and who connects is told {told}")
    second.goes_on_from(0, place, told)
    second.client.subscribe()
    second.expect_state(reference)
    return second


def expect_told(watcher: Watcher, seeks: int) -> None:
    """A client of the SDK's protocol hears of each seek, whoever asked for it; others don't know of that."""
    told = [e for e in watcher.client.seen if e["event"] == "playbackState" and e["requestId"] is None]
    jumps = sum(event["didSeek"] for event in told)
    expected = seeks if watcher.client.kind == "sdk" else 0
    if jumps != expected or (not expected and told):
        raise Failure(f"{watcher.client.kind}: was told of {jumps} seeks, not {expected}, in {told[:3]}")


def join_own(
    check: Check, path: Path, places: tuple[float, float, float], rate: float, kinds: list[str], paused: bool
) -> None:
    """Each client has its own timeline: one seeks about, and another one that joins is at its own start."""
    options = ["--start-paused"] if paused else []
    steering = Steering(check, path, rate, "--session", "client", *options)
    first = steering.connect_at_start(kinds[0])
    if paused:
        first.expect_state(steering.reference)
    else:
        first.client.wait_for_event("message")
    steering.visit(REQUEST, places[0], first, [first], paused, 2.0)
    expect_static(steering.reference, first.stretches[-1][1])
    second = steering.connect_at_start(kinds[1])
    if paused:
        second.expect_state(steering.reference)
        parameters = second.client.parameters()
        if parameters[POSITION] != 0.0 or parameters[PAUSED] is not True:
            raise Failure(f"who joins is not at its start: {parameters}")
        SERVICES.play(second.client, rate)
    steering.visit_all(places, [first], [first], paused)
    if paused:
        PARAMETERS.play(first.client, rate)
    results = steering.finish()
    check.compare(second.client, steering.reference.recording, rate=rate, ros_distro=ros_distro(path))
    steering.summarize(results)


def undisturbed(check: Check, path: Path, kinds: list[str]) -> None:
    """Each client has its own timeline: one pauses, seeks and changes its speed all the time, and the other
    one receives the whole recording, in time."""
    if not path.exists():
        raise Skipped(f"{path} is not here")
    recording = recordings.read([path])
    rate = pace(recording, 6.0)
    steering = Steering(check, path, rate, "--session", "client")
    restless, calm = (steering.connect_at_start(kind) for kind in kinds)
    restless.client.wait_for_event("message")
    length = (steering.reference.end - steering.reference.start) / SECOND
    while calm.client.count_messages(0) < len(recording.messages):
        number = steering.seeks
        way, paused = WAYS[number % 3], number % 2 == 0
        if paused:
            way.pause(restless.client, rate)
        steering.visit(way, length * PLACES[number % 4], restless, [restless], paused, length / 100)
        if paused:
            restless.client.call("/fgplay/set_rate", {"rate": rate / 3})
            way.play(restless.client, rate / 3)
    restless.client.tell("close")
    calm.client.wait_for_event("close")
    steering.player.end(END_WITHIN)
    results = [restless.results(steering.reference)]
    steering.summarize(results)
    check.compare(calm.client, recording, rate=rate, on_time=True, ros_distro=ros_distro(path))


def loop(check: Check, kind: str, path: Path, loop_time: str, offset: float) -> None:
    """Three passes, each of them whole: with the recorded times, or with times that go on."""
    if not path.exists():
        raise Skipped(f"{path} is not here")
    recording = recordings.read([path])
    reference = Reference(recording)
    start = reference.start + round(offset * SECOND)
    rate = pace(recording, 1.5)
    options = ["--rate", str(rate), "--start-offset", str(offset), "--at-end", "exit"]
    player = check.stage.player([path], *options, "--loop", "3", "--loop-time", loop_time)
    client = check.stage.client(kind, player)
    client.end(SOON)
    player.end(END_WITHIN)
    if loop_time == "monotonic":
        length = reference.end - start
        check.compare(client, repeated(recording, 3, length), rate=rate, ros_distro=ros_distro(path))
        check.facts.append(f"each pass {length / SECOND:.3f} s later")
        return

    events = load(client.events)
    channels, problems = match_channels(events, recording)
    parts = passes(events)
    if len(parts) != 3:
        problems.append(f"time went back {len(parts) - 1} times, not twice")
    place = reference.place_of(start)
    for number, part in enumerate(parts, 1):
        result = check_from(part, channels, reference, place, start)
        if result.end != len(reference.messages):
            result.problems.append(f"it got to message {result.end} of {len(reference.messages)}")
        problems += [f"pass {number}: {problem}" for problem in result.problems]
        check.facts.append(f"{result.state} + {result.followed} messages")
    problems += check_notices(events, Expectation("")) + check_close(events, Expectation(""))
    if problems:
        raise Failure("; ".join(problems))


def repeated(recording: Recording, times: int, length: int) -> Recording:
    """A recording as it is played in a loop, each pass so many nanoseconds after the one before."""
    messages = [
        message._replace(log_time=message.log_time + number * length)
        for number in range(times)
        for message in recording.messages
    ]
    return Recording(recording.channels, messages)


def skip_gaps(check: Check, kind: str, path: Path) -> None:
    """A long silence takes a second of recorded time; nothing else changes."""
    recording = recordings.read([path])
    rate = 4.0
    player = check.stage.player([path], "--rate", str(rate), "--skip-gaps", "1", "--at-end", "exit")
    client = check.stage.client(kind, player)
    client.end(SOON)
    player.end(END_WITHIN)
    check.compare(client, recording, rate=rate)
    at = [event["at"] for event in load(client.events) if event["event"] == "message"]
    length = (recording.messages[-1].log_time - recording.messages[0].log_time) / SECOND
    cut = length - generate.SILENCE_SECONDS + 1
    took = at[-1] - at[0]
    # What a summary says of the pace is of no use here.
    check.facts = [f"{len(at)} messages"]
    check.facts.append(f"{length:.0f} s were played as {cut:.0f} s, in {took:.2f} s at rate {rate:.0f}")
    # Halfway between the two, for busy machines; sooner than is due is wrong on any.
    if not cut / rate * 0.95 < took < (cut + length) / 2 / rate:
        raise Failure(f"it took {took:.2f} s, not {cut / rate:.2f} s (of {length / rate:.2f} s)")


def run(suite: Suite, made: Path) -> None:
    """Runs the checks. Recordings that are made for them go to `made`."""
    demo, demo_jsonl = TESTDATA / "demo.mcap", TESTDATA / "demo.jsonl"
    kinds = list(CLIENTS)
    # Where the second client joins, then forward, then back, in seconds; and how fast to play.
    cases = [(NAV2, (30.0, 60.0, 10.0), 30.0, kinds), (demo, (8.0, 16.0, 3.0), 8.0, kinds[::-1])]
    for path, places, rate, who in cases:
        for paused in (True, False):
            state = "paused" if paused else "playing"
            arguments = (path, places, rate, who, paused)
            suite.run(f"control: {path.name}, shared session, {state}", join_shared, *arguments)
            suite.run(f"control: {path.name}, a session for each client, {state}", join_own, *arguments)
        suite.run(f"control: {path.name}, one seeks about, the other is undisturbed", undisturbed, path, who)
    suite.run("control: demo.jsonl, shared session, paused", join_shared, demo_jsonl, *cases[1][1:], True)

    generate.write_silence(made / "silence.mcap")
    for kind in kinds:
        by = f", {kind} client"
        for path, offset in ((NAV2, 10.0), (demo, 4.0)):
            suite.run(f"control: loop {path.name}, times go on" + by, loop, kind, path, "monotonic", 0.0)
            suite.run(f"control: loop {path.name}, times restart" + by, loop, kind, path, "restart", 0.0)
            name = f"control: loop {path.name} from {offset:.0f} s, times restart"
            suite.run(name + by, loop, kind, path, "restart", offset)
        suite.run("control: a silence is skipped" + by, skip_gaps, kind, made / "silence.mcap")
