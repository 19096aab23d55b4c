"""Compares what a client received with what is in the recording.

    compare.py [--protocol NAME] [--rate X] [--partial] [--ros-distro NAME] EVENTS RECORDING...

EVENTS is what one of the clients beside this script wrote. Prints what was compared, or what is wrong (exit
code 1).
"""

import argparse
import base64
import binascii
import json
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import recordings
from recordings import Channel, Message, Recording

# Schema encodings that are sent as they are, and those that are sent as base64; any other goes as text
# where it is UTF-8.
TEXT_SCHEMAS = {"jsonschema", "ros1msg", "ros2msg", "ros2idl", "omgidl"}
BINARY_SCHEMAS = {"protobuf", "flatbuffer"}

# A clean end: normal closure, or going away.
CLOSE_CODES = {1000, 1001}

WARNING = 1

ANY_DISTRO = "*"

# How many findings of one kind are spelled out.
LIMIT = 5


class Expectation(NamedTuple):
    """What a comparison asks for, beyond every message once, in order, byte for byte."""

    protocol: str
    # How fast it was played.
    rate: float = 1.0
    # Whether it is wrong where messages come late or early; if not, only the summary says it.
    on_time: bool = False
    # The client or the server ended early: what came is the start of the recording.
    partial: bool = False
    # The client left by itself, so no close frame is asked for.
    client_left: bool = False
    # Whether the server may have something to warn of.
    warnings: bool = False
    # What serverInfo's name has to contain.
    name: str = ""
    # What serverInfo's metadata has to say; ANY_DISTRO: whatever it is, it has to be there.
    ros_distro: str | None = None


class Report(NamedTuple):
    problems: list[str]
    summary: str


def load(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def compare(events: list[dict], recording: Recording, expected: Expectation) -> Report:
    """Everything that is wrong with a session, and in one line what was seen."""
    channels, problems = match_channels(events, recording)
    problems += check_opening(events, recording, expected)
    received = [event for event in events if event["event"] == "message"]
    problems += check_messages(received, channels, recording, expected)
    problems += check_times(events)
    problems += check_notices(events, expected)
    problems += check_close(events, expected)
    pace, pace_problems = check_pace(received, expected)
    problems += pace_problems

    times = sum(event["event"] == "time" for event in events)
    size = sum(len(base64.b64decode(event["data"])) for event in received)
    topics = len({event["channel"] for event in received})
    summary = f"{len(received)} messages ({size / 1e6:.2f} MB) on {topics} topics, {times} Time frames{pace}"
    return Report(problems, summary)


def check_opening(events: list[dict], recording: Recording, expected: Expectation) -> list[str]:
    """The sub-protocol; then serverInfo, a Time inside the recording, and only then the channels."""
    problems = []
    kinds = [event["event"] for event in events]
    if kinds[:4] != ["open", "serverInfo", "time", "advertise"]:
        problems.append(f"the session starts with {kinds[:4]}, not with open, serverInfo, time, advertise")
    for event in events:
        if event["event"] == "open" and event["protocol"] != expected.protocol:
            problems.append(f"the sub-protocol is {event['protocol']}, not {expected.protocol}")

    infos = [event for event in events if event["event"] == "serverInfo"]
    if len(infos) != 1:
        return problems + [f"serverInfo came {len(infos)} times"]
    info = infos[0]
    if "time" not in info["capabilities"]:
        problems.append(f"serverInfo lacks the capability 'time': {info['capabilities']}")
    if not info.get("sessionId"):
        problems.append("serverInfo has no sessionId")
    if not info["name"] or expected.name not in info["name"]:
        problems.append(f"serverInfo's name is '{info['name']}', without '{expected.name}'")
    distro = (info.get("metadata") or {}).get("ROS_DISTRO")
    if not distro if expected.ros_distro == ANY_DISTRO else distro != expected.ros_distro:
        problems.append(f"serverInfo's ROS_DISTRO is {distro}, not {expected.ros_distro}")

    first_time = next((int(event["time"]) for event in events if event["event"] == "time"), None)
    start, end = recording.messages[0].log_time, recording.messages[-1].log_time
    if first_time is not None and not start <= first_time <= end:
        problems.append(f"the first Time frame is {first_time}, outside the recording ({start} to {end})")
    return problems


def match_channels(events: list[dict], recording: Recording) -> tuple[dict[int, Channel], list[str]]:
    """Which recorded channel each advertised channel is, by its id."""
    advertised = [
        channel for event in events if event["event"] == "advertise" for channel in event["channels"]
    ]
    problems = []
    for key in ("id", "topic"):
        counts = Counter(channel[key] for channel in advertised)
        repeated = [value for value, count in counts.items() if count > 1]
        problems += [f"the {key} {value} is advertised more than once" for value in repeated[:LIMIT]]

    main_channels = channels_that_keep_their_topic(recording)
    by_topic = defaultdict(list)
    for channel in advertised:
        by_topic[channel["topic"]].append(channel)
    matches: dict[int, Channel] = {}
    for channel in recording.channels:
        if channel in main_channels:
            candidates = by_topic[channel.topic]
        else:
            candidates = [other for other in advertised if is_name_added(channel, other["topic"])]
        mine = [
            other for other in candidates if not differences(channel, other) and other["id"] not in matches
        ]
        if mine:
            matches[mine[0]["id"]] = channel
        elif candidates:
            problems.append(f"{channel.topic} is advertised, but {differences(channel, candidates[0])}")
        else:
            problems.append(f"{channel.topic} ({channel.encoding}) is not advertised")
    strangers = [channel["topic"] for channel in advertised if channel["id"] not in matches]
    problems += [f"{topic} is advertised, but not in the recording like that" for topic in strangers[:LIMIT]]
    return matches, problems


def channels_that_keep_their_topic(recording: Recording) -> set[Channel]:
    """Of the channels with the same topic, the one with most messages keeps the name."""
    counts = Counter(message.channel for message in recording.messages)
    main: dict[str, Channel] = {}
    for channel in recording.channels:
        if channel.topic not in main or counts[channel] > counts[main[channel.topic]]:
            main[channel.topic] = channel
    return set(main.values())


def is_name_added(channel: Channel, topic: str) -> bool:
    """Whether a topic is this channel's topic with the schema's name added to it."""
    name = channel.schema.name if channel.schema else ""
    return topic != channel.topic and topic.startswith(channel.topic) and name in topic


def differences(channel: Channel, advertised: dict) -> str:
    """How an advertised channel differs from a recorded one; empty where it does not."""
    if advertised["encoding"] != channel.encoding:
        return f"its encoding is {advertised['encoding']}, not {channel.encoding}"
    name = advertised["schemaName"]
    encoding = advertised.get("schemaEncoding") or ""
    text = advertised["schema"]
    if channel.schema_is_inferred:
        if not name or encoding != "jsonschema" or json.loads(text or "null").get("type") != "object":
            return f"its inferred schema '{name}' is no JSON Schema of an object: {text[:80]}"
        return ""
    if channel.schema is None:
        return f"it has a schema: '{name}', {encoding}" if name or encoding or text else ""
    if (name, encoding) != channel.schema[:2]:
        return f"its schema is '{name}' ({encoding}), not '{channel.schema.name}' ({channel.schema.encoding})"
    if text != schema_text(channel.schema):
        return "its schema is not the one that was recorded"
    return ""


def schema_text(schema: recordings.Schema) -> str:
    """How a schema is written in an advertise message."""
    if schema.encoding not in BINARY_SCHEMAS:
        try:
            return schema.data.decode()
        except UnicodeDecodeError:
            assert schema.encoding not in TEXT_SCHEMAS
    return base64.b64encode(schema.data).decode()


def check_messages(
    events: list[dict], channels: dict[int, Channel], recording: Recording, expected: Expectation
) -> list[str]:
    """Every message once, in order, with its topic, its log time and its bytes."""
    wanted = recording.messages
    if expected.partial:
        wanted = wanted[: len(events)]
    received, problems = [], []
    for event in events:
        channel = channels.get(event["channel"])
        if channel is None:
            problems.append(f"a message came on a channel that is not known: {event['channel']}")
        try:
            data = base64.b64decode(event["data"], validate=True)
        except binascii.Error as error:
            raise ValueError(f"the client wrote no base64: {error}") from error
        received.append(Message(channel, int(event["logTime"]), data))
    if received == wanted:
        return problems
    return problems[:LIMIT] + explain(received, wanted)


def explain(received: list[Message], wanted: list[Message]) -> list[str]:
    """In words, how what was received differs from what was recorded."""
    missing, extra = Counter(wanted), Counter(received)
    missing, extra = missing - extra, extra - missing
    if not missing and not extra:
        index = next(
            i for i, (ours, theirs) in enumerate(zip(received, wanted, strict=True)) if ours != theirs
        )
        return [f"the order is wrong: message {index} is {show(received[index])}, not {show(wanted[index])}"]

    problems = []
    known = set(wanted)
    for message in list(extra)[:LIMIT]:
        similar = [other for other in missing if alike(message, other)]
        if message in known:
            problems.append(f"came {extra[message]} times too often: {show(message)}")
        elif similar:
            other = similar[0]
            del missing[other]
            problems.append(f"came with {how_it_differs(message, other)}: {show(other)}")
        else:
            problems.append(f"was never recorded: {show(message)}")
    lost = sum(missing.values())
    losses = [f"{lost} messages are lost of {len(wanted)}"] if lost else []
    losses += [f"lost: {show(message)}" for message in list(missing)[:LIMIT]]
    return losses + problems


def alike(one: Message, other: Message) -> bool:
    """Whether two messages agree in two of channel, log time and bytes."""
    return sum(a == b for a, b in zip(one, other, strict=True)) >= 2


def how_it_differs(received: Message, wanted: Message) -> str:
    if received.data != wanted.data:
        pairs = enumerate(zip(received.data, wanted.data, strict=False))
        index = next((i for i, (a, b) in pairs if a != b), min(len(received.data), len(wanted.data)))
        return f"other bytes (of {len(received.data)}, from byte {index} on)"
    if received.log_time != wanted.log_time:
        return f"the log time {received.log_time}"
    return f"the topic {received.channel.topic if received.channel else 'unknown'}"


def show(message: Message) -> str:
    topic = message.channel.topic if message.channel else "(unknown topic)"
    return f"{topic} at {message.log_time}, {len(message.data)} bytes"


def check_times(events: list[dict]) -> list[str]:
    """Time never goes back, and the last Time before a message is its log time."""
    problems = []
    time = None
    for event in events:
        if event["event"] == "time":
            if time is not None and int(event["time"]) < time:
                problems.append(f"Time goes back from {time} to {event['time']}")
            time = int(event["time"])
        elif event["event"] == "message" and int(event["logTime"]) != time:
            problems.append(f"the message of {event['logTime']} came after the Time frame {time}")
    more = [f"and {len(problems) - LIMIT} more Time frames are wrong"] if len(problems) > LIMIT else []
    return problems[:LIMIT] + more


def check_notices(events: list[dict], expected: Expectation) -> list[str]:
    """What the client could not read, and what the server complains of."""
    problems = [f"the client could not go on: {e['message']}" for e in events if e["event"] == "error"]
    problems += [
        f"channels were taken back: {e['channelIds']}" for e in events if e["event"] == "unadvertise"
    ]
    statuses = [event for event in events if event["event"] == "status"]
    limit = WARNING if expected.warnings else WARNING - 1
    problems += [f"a status of level {e['level']}: {e['message']}" for e in statuses if e["level"] > limit]
    return problems[:LIMIT]


def check_close(events: list[dict], expected: Expectation) -> list[str]:
    """The session ends with a close frame, and nothing after it."""
    if expected.client_left:
        return []
    last = events[-1] if events else {"event": "nothing"}
    if last["event"] != "close":
        return [f"the session ends with {last['event']}, not with a close"]
    if last["code"] not in CLOSE_CODES:
        return [f"the connection was closed with {last['code']} ({last['reason']}), not 1000 or 1001"]
    return []


def check_pace(events: list[dict], expected: Expectation) -> tuple[str, list[str]]:
    """That messages come when they are due: generous, for machines that do other things too."""
    if len(events) < 2:
        return "", []
    due = [int(event["logTime"]) / 1e9 / expected.rate for event in events]
    due = [moment - due[0] for moment in due]
    seen = [event["at"] - events[0]["at"] for event in events]
    lateness = [ours - theirs for ours, theirs in zip(seen, due, strict=True)]
    usual = statistics.median(lateness)
    off = sorted(abs(late - usual) for late in lateness)
    most = off[int(len(off) * 0.95)]
    pace = f", {due[-1]:.2f} s in {seen[-1]:.2f} s, p95 {most * 1000:.1f} ms off"

    problems = []
    if abs(seen[-1] - due[-1]) > 0.5 + 0.01 * due[-1]:
        problems.append(f"it took {seen[-1]:.2f} s from the first message to the last, not {due[-1]:.2f} s")
    if most > 0.25:
        problems.append(f"5 % of the messages are more than {most * 1000:.0f} ms too early or too late")
    return pace, problems if expected.on_time else []


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("events", type=Path)
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--protocol", default="foxglove.websocket.v1")
    parser.add_argument("--rate", type=float, help="the pace that is checked")
    parser.add_argument("--partial", action="store_true")
    parser.add_argument("--ros-distro")
    arguments = parser.parse_args()
    expected = Expectation(
        protocol=arguments.protocol,
        rate=arguments.rate or 1.0,
        on_time=arguments.rate is not None,
        partial=arguments.partial,
        ros_distro=arguments.ros_distro,
    )
    report = compare(load(arguments.events), recordings.read(arguments.recordings), expected)
    print(report.summary)
    for problem in report.problems:
        print(f"WRONG: {problem}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
