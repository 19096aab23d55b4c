"""What a client has to receive from a place in a recording on: the state before it, then everything after it.

A place is a number of messages in (log time, file order): those that are before it. The state there is the
last one of each channel among them. Everything here is about one stretch of what a client received: from where it
subscribed, or from a seek, to the next seek or the end.
"""

import base64
import binascii
from bisect import bisect_left
from collections import defaultdict
from typing import NamedTuple

from compare import LIMIT, explain, how_it_differs, show
from recordings import Channel, Message, Recording


class Arrival(NamedTuple):
    message: Message
    # The last Time frame before it.
    time: int | None


class Stretch(NamedTuple):
    """What became of a stretch."""

    problems: list[str]
    # How many messages were sent as the state, and how many followed.
    state: int = 0
    followed: int = 0
    # How many messages of the recording are before the place where the stretch ends.
    end: int = 0
    # For how many channels it is certain that their state was sent, and they did not just go on.
    certain: int = 0


class Reference:
    """A recording as its file has it, and what is where in it."""

    def __init__(self, recording: Recording):
        self.recording = recording
        self.messages = recording.messages
        self.times = [message.log_time for message in recording.messages]
        self.start, self.end = self.times[0], self.times[-1]
        self.places: dict[Channel, list[int]] = defaultdict(list)
        for place, message in enumerate(recording.messages):
            self.places[message.channel].append(place)

    def place_of(self, time: int) -> int:
        """How many messages have an earlier log time."""
        return bisect_left(self.times, time)

    def find(self, message: Message) -> int:
        """The place of a message; -1 where it was never recorded."""
        first, after = self.place_of(message.log_time), self.place_of(message.log_time + 1)
        return next((p for p in range(after - 1, first - 1, -1) if self.messages[p] == message), -1)

    def state(self, place: int) -> dict[Channel, Message]:
        """The last message of each channel before a place."""
        counts = {channel: bisect_left(places, place) for channel, places in self.places.items()}
        return {c: self.messages[self.places[c][count - 1]] for c, count in counts.items() if count}


def arrivals(events: list[dict], channels: dict[int, Channel]) -> tuple[list[Arrival], list[str]]:
    """The messages among a client's events, and what is wrong with their envelopes."""
    time = None
    found, problems = [], []
    for event in events:
        if event["event"] == "time":
            time = int(event["time"])
        elif event["event"] == "message":
            channel = channels.get(event["channel"])
            if channel is None:
                problems.append(f"a message of {event['logTime']} came on a channel that is not known")
            try:
                data = base64.b64decode(event["data"], validate=True)
            except binascii.Error as error:
                raise ValueError(f"the client wrote no base64: {error}") from error
            found.append(Arrival(Message(channel, int(event["logTime"]), data), time))
    return found, problems[:LIMIT]


def check_from(
    events: list[dict], channels: dict[int, Channel], reference: Reference, place: int, time: int
) -> Stretch:
    """Checks a stretch that starts at a known place: all of the state comes first, at the Time frame `time`,
    and then what follows in the file, in its order."""
    arrived, problems = arrivals(events, channels)
    state = reference.state(place)
    past, flow = arrived[: len(state)], arrived[len(state) :]
    problems += check_state([arrival.message for arrival in past], state)
    wrong = [arrival for arrival in past if arrival.time != time]
    problems += [
        f"the state of {show(a.message)} came at the Time frame {a.time}, not {time}" for a in wrong[:LIMIT]
    ]

    received = [arrival.message for arrival in flow]
    wanted = reference.messages[place : place + len(flow)]
    if received != wanted:
        problems += explain_flow(received, wanted)
    problems += check_times(events, flow)
    end = place + len(flow)
    problems += check_completeness(events, reference, end)
    return Stretch(problems, len(past), len(flow), end, len(past))


def check_joined(
    events: list[dict], channels: dict[int, Channel], reference: Reference, state_by: int
) -> Stretch:
    """Checks a stretch that starts somewhere while the recording plays: each channel begins with its last
    message, before the event `state_by`, and goes on with the one that follows in the file."""
    arrived, problems = arrivals(events, channels)
    by_then, _ = arrivals(events[:state_by], channels)
    joined_at = next((int(event["time"]) for event in events if event["event"] == "time"), reference.start)

    # What was recorded before it joined is certainly part of the state.
    earliest = reference.state(reference.place_of(joined_at))
    has_state = {arrival.message.channel for arrival in by_then}
    problems += [
        f"{channel.topic}: its last message ({show(message)}) did not come when it was subscribed to"
        for channel, message in earliest.items()
        if channel not in has_state
    ]
    firsts: dict[Channel, int] = {}
    flow: list[Arrival] = []
    certain = 0
    for arrival in arrived:
        channel = arrival.message.channel
        if channel in firsts:
            flow.append(arrival)
            continue
        firsts[channel], wrong = check_first(arrival, reference, earliest.get(channel))
        certain += is_past(arrival)
        problems += wrong
    if not flow:
        return Stretch([*problems, "nothing followed on the state"], len(firsts), 0, 0, certain)

    end = 1 + max(reference.find(arrival.message) for arrival in flow)
    wanted = [
        message
        for place, message in enumerate(reference.messages[:end])
        if place > firsts.get(message.channel, place)
    ]
    received = [arrival.message for arrival in flow]
    if received != wanted:
        problems += explain_flow(received, wanted)
    silent = [c for c, places in reference.places.items() if c not in firsts and places[0] < end]
    problems += [f"nothing came on {channel.topic}" for channel in silent[:LIMIT]]
    problems += check_times(events, flow)
    problems += check_completeness(events, reference, end)
    return Stretch(problems, len(firsts), len(flow), end, certain)


def is_past(arrival: Arrival) -> bool:
    """Whether a message was certainly sent as state: the flow has each message at its own time."""
    return arrival.time is not None and arrival.message.log_time < arrival.time


def check_first(arrival: Arrival, reference: Reference, earliest: Message | None) -> tuple[int, list[str]]:
    """Where the first message of a channel stands in the file, and what is wrong with it. It may not be older
    than `earliest`, nor than any other one at the time at which it came."""
    message = arrival.message
    topic = message.channel.topic if message.channel else "unknown"
    place = reference.find(message)
    if place < 0:
        return place, [f"was never recorded: {show(message)}"]
    problems = []
    places = reference.places[message.channel]
    following = places[places.index(place) + 1 :]
    if is_past(arrival) and following and reference.times[following[0]] < arrival.time:
        later = show(reference.messages[following[0]])
        problems.append(f"{topic}: its state at {arrival.time} is not {show(message)}: {later} is later")
    if earliest and message.log_time < earliest.log_time:
        problems.append(f"{topic} begins with {show(message)}, which is too old")
    if not is_past(arrival) and not earliest and place != places[0]:
        problems.append(f"{topic} begins with {show(message)} in the middle")
    return place, problems


def explain_flow(received: list[Message], wanted: list[Message]) -> list[str]:
    """How what followed differs from what should. A message that is in the file may be wrong here."""
    problems = explain(received, wanted)
    return [problem.replace("was never recorded", "does not belong here") for problem in problems]


def check_state(received: list[Message], state: dict[Channel, Message]) -> list[str]:
    """That the messages are the last one of each channel, in any order."""
    problems = []
    by_channel = defaultdict(list)
    for message in received:
        by_channel[message.channel].append(message)
    for channel, wanted in state.items():
        own = by_channel.pop(channel, [])
        if not own:
            problems.append(f"the state lacks {show(wanted)}")
        elif own[0] != wanted:
            problems.append(
                f"the state of {channel.topic} is {show(own[0])}, not {show(wanted)}: "
                f"{how_it_differs(own[0], wanted)}"
            )
        problems += [f"the state has one more: {show(message)}" for message in own[1:]]
    strangers = [message for own in by_channel.values() for message in own]
    problems += [f"the state has one that is not of it: {show(message)}" for message in strangers]
    return problems[: 2 * LIMIT]


def check_times(events: list[dict], flow: list[Arrival]) -> list[str]:
    """Time never goes back, and the Time frame before each message of the flow is its log time."""
    times = [int(event["time"]) for event in events if event["event"] == "time"]
    back = [(a, b) for a, b in zip(times, times[1:], strict=False) if b < a]
    problems = [f"Time goes back from {a} to {b}" for a, b in back[:LIMIT]]
    wrong = [arrival for arrival in flow if arrival.time != arrival.message.log_time]
    return problems + [f"{show(a.message)} came after the Time frame {a.time}" for a in wrong[:LIMIT]]


def check_completeness(events: list[dict], reference: Reference, end: int) -> list[str]:
    """Once a client was told a time, it has everything before it."""
    last = max((int(event["time"]) for event in events if event["event"] == "time"), default=0)
    due = reference.place_of(last)
    if end < due:
        return [f"{due - end} messages before the Time frame {last} are missing"]
    return []


def passes(events: list[dict]) -> list[list[dict]]:
    """Cuts what a client received where Time goes back."""
    parts: list[list[dict]] = [[]]
    time = None
    for event in events:
        if event["event"] == "time":
            if time is not None and int(event["time"]) < time:
                parts.append([])
            time = int(event["time"])
        parts[-1].append(event)
    return parts
