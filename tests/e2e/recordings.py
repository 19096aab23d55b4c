"""What is in a recording, read without a line of fgplay: MCAP by the `mcap` package, JSONL by plain Python.

Meant for whole recordings: what a player would skip with a warning is an error here.
"""

import datetime
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from mcap.records import Channel as McapChannel
from mcap.records import Message as McapMessage
from mcap.records import Schema as McapSchema
from mcap.stream_reader import StreamReader

MCAP_MAGIC = b"\x89MCAP0\r\n"


class Schema(NamedTuple):
    name: str
    encoding: str
    data: bytes


class Channel(NamedTuple):
    """What messages of one kind have in common. Equal ones are one channel."""

    topic: str
    encoding: str
    schema: Schema | None
    # A JSONL recording without a channel line: the player makes the schema.
    schema_is_inferred: bool = False


class Message(NamedTuple):
    channel: Channel
    log_time: int
    data: bytes


class Recording(NamedTuple):
    channels: list[Channel]
    messages: list[Message]  # in (log time, file order)


def read(paths: list[Path]) -> Recording:
    """Reads recordings that are played together; where log times are equal, the earlier file comes first."""
    channels: dict[Channel, None] = {}
    messages: list[Message] = []
    for path in paths:
        with open(path, "rb") as file:
            is_mcap = file.read(len(MCAP_MAGIC)) == MCAP_MAGIC
        file_channels, file_messages = read_mcap(path) if is_mcap else read_jsonl(path)
        channels.update(dict.fromkeys(file_channels))
        messages.extend(file_messages)
    messages.sort(key=lambda message: message.log_time)  # stable
    return Recording(list(channels), messages)


def read_mcap(path: Path) -> tuple[list[Channel], list[Message]]:
    """Reads the records as they stand in the file, without its index."""
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    messages: list[Message] = []
    with open(path, "rb") as file:
        for record in StreamReader(file, validate_crcs=True).records:
            if isinstance(record, McapSchema):
                schemas[record.id] = Schema(record.name, record.encoding, record.data)
            elif isinstance(record, McapChannel):
                schema = schemas[record.schema_id] if record.schema_id else None
                channels[record.id] = Channel(record.topic, record.message_encoding, schema)
            elif isinstance(record, McapMessage):
                messages.append(Message(channels[record.channel_id], record.log_time, record.data))
    return list(channels.values()), messages


def read_jsonl(path: Path) -> tuple[list[Channel], list[Message]]:
    schemas: dict[str, Schema] = {}
    rows: list[tuple[str, int, bytes]] = []
    for line in path.read_bytes().decode("utf-8-sig").split("\n"):
        if not line.strip():
            continue
        values: dict[str, object] = {}
        texts: dict[str, str] = {}
        for key, value, text in members(line):
            values[key], texts[key] = value, text
        topic = values["topic"]
        time = next((values[key] for key in ("log_time", "timestamp", "time") if key in values), None)
        if time is None:
            schemas[topic] = Schema(values["schema_name"], "jsonschema", texts["schema"].encode())
        else:
            rows.append((topic, nanoseconds(time), texts["data"].encode()))

    def channel(topic: str) -> Channel:
        return Channel(topic, "json", schemas.get(topic), topic not in schemas)

    messages = [Message(channel(topic), log_time, data) for topic, log_time, data in rows]
    return [channel(topic) for topic in schemas] + [message.channel for message in messages], messages


def members(line: str) -> Iterator[tuple[str, object, str]]:
    """The members of a JSON object: key, value, and the text of the value as it stands in the line."""
    decoder = json.JSONDecoder(parse_float=Decimal)

    def skip(at: int, mark: str) -> int:
        return re.compile(rf"[ \t\r]*{mark}[ \t\r]*").match(line, at).end()

    at = skip(0, r"\{")
    while line[at] != "}":
        key, at = decoder.raw_decode(line, at)
        start = skip(at, ":")
        value, end = decoder.raw_decode(line, start)
        yield key, value, line[start:end]
        at = skip(end, ",?")


def nanoseconds(time: object) -> int:
    """A time as JSONL recordings write it, in nanoseconds since the epoch, exactly."""
    if isinstance(time, dict):
        nanos = time["nsec"] if "nsec" in time else time["nanosec"]
        return time["sec"] * 10**9 + nanos
    if isinstance(time, str):
        if not re.fullmatch(r"\d+(\.\d+)?", time):
            return rfc3339_nanoseconds(time)
        time = Decimal(time) if "." in time else int(time)
    return time if isinstance(time, int) else int(time * 10**9)


def rfc3339_nanoseconds(text: str) -> int:
    seconds, fraction, offset = re.fullmatch(
        r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", text
    ).groups()
    moment = datetime.datetime.fromisoformat(seconds + offset.replace("Z", "+00:00"))
    return int(moment.timestamp()) * 10**9 + int((fraction or "").ljust(9, "0"))
