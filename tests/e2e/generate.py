"""Recordings for the end-to-end checks: small, and each with something that a player can get wrong."""

import json
import random
from pathlib import Path

from mcap.writer import CompressionType, Writer

START = 1_700_000_000_000_000_000
MILLISECOND = 10**6

# Message encoding, schema encoding, schema. Everything that a viewer decodes, and what it does not.
ENCODINGS = [
    ("json", "jsonschema", b'{"type": "object", "properties": {"x": {"type": "number"}}}'),
    ("json", None, b""),
    ("protobuf", "protobuf", b'\n\x10\n\x05a.b\xc3\x28\x12\x01p"\x04\n\x02T\xff'),
    ("flatbuffer", "flatbuffer", b"\x1c\x00\x00\x00BFBS\x00\xfe\xff\x80"),
    ("ros1", "ros1msg", b"float64 x\n"),
    ("cdr", "ros2msg", "float64 x  # Größe\n".encode()),
    ("cdr", "ros2idl", b"module m { struct T { double x; }; };"),
    ("cdr", "omgidl", b"struct T { double x; };"),
    ("cbor", None, b""),
    ("application/x-own", "own-text", b'anything "quoted"\\ \x01'),
    ("application/x-own", "own-binary", b"\xff\x00\xfe"),
]


def write_encodings(path: Path, compression: CompressionType, indexed: bool) -> None:
    """Topics of all encodings; small chunks that overlap, messages out of order in them, equal times, empty
    and large messages, a topic without a message."""
    dice = random.Random(1)
    with path.open("wb") as file:
        writer = Writer(
            file,
            chunk_size=4096,
            compression=compression,
            use_chunking=indexed,
            use_summary_offsets=indexed,
            use_statistics=indexed,
            repeat_channels=indexed,
            repeat_schemas=indexed,
        )
        writer.start(profile="ros2", library="fgplay end-to-end checks")
        writer.add_metadata(
            "rosbag2", {"serialized_metadata": "rosbag2_bagfile_information:\n  ros_distro: jazzy\n"}
        )
        channels = []
        for index, (encoding, schema_encoding, schema) in enumerate(ENCODINGS):
            schema_id = writer.register_schema(f"T{index}", schema_encoding, schema) if schema_encoding else 0
            topic = f"/{encoding}/{schema_encoding or 'no schema'}"
            channels.append(writer.register_channel(topic, encoding, schema_id))
        writer.register_channel("/silent", "json", 0)
        sizes = [0, 1, 125, 126, 127, 3000, 65_535, 65_536, 300_000]
        for number in range(1200):
            late = dice.randrange(60)
            time = START + (number + late) * 3 * MILLISECOND
            size = dice.choice(sizes[:6]) if number % 100 else sizes[6 + number // 100 % 3]
            data = b'{"x": 1}' if number % 7 == 0 else dice.randbytes(size)
            writer.add_message(dice.choice(channels), time, data, time, number)
        writer.finish()


def write_same_topic(path: Path) -> None:
    """Two publishers of one topic, which are one channel for a viewer; and a topic that was recorded with two
    types, which have to be told apart."""
    with path.open("wb") as file:
        writer = Writer(file, compression=CompressionType.LZ4)
        writer.start()
        schema = writer.register_schema("Pose", "jsonschema", b'{"type": "object"}')
        other = writer.register_schema("Twist", "jsonschema", b'{"type": "object", "title": "other"}')
        left = writer.register_channel("/pose", "json", schema, {"publisher": "left"})
        right = writer.register_channel("/pose", "json", schema, {"publisher": "right"})
        most = writer.register_channel("/mixed", "json", schema)
        few = writer.register_channel("/mixed", "json", other)
        for number in range(600):
            time = START + number // 2 * 10 * MILLISECOND
            channel = right if number % 2 else left
            writer.add_message(channel, time, json.dumps({"number": number}).encode(), time, number)
            if number % 3 == 0:
                mixed = few if number % 9 == 0 else most
                writer.add_message(mixed, time, json.dumps({"mixed": number}).encode(), time, number)
        writer.finish()


def write_many_topics(path: Path, count: int) -> None:
    """So many topics that they do not fit into one advertise message."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("Number", "jsonschema", b'{"type": "object"}')
        channels = [writer.register_channel(f"/robot_{i}/battery", "json", schema) for i in range(count)]
        for number, channel in enumerate(channels):
            time = START + number * MILLISECOND
            writer.add_message(channel, time, json.dumps({"x": number}).encode(), time)
        writer.finish()


def write_odd_jsonl(path: Path) -> None:
    """Lines out of order, every way to write a time, and data that changes where it is parsed and printed
    again."""
    schema = {"topic": "/typed", "schema_name": "my.Type", "schema": {"type": "object", "properties": {}}}
    lines = [
        '{"topic": "/spelling", "log_time": 1700000000000000000, "data": {"b":1.0e3,"a":1.50, "a" : 2}}',
        '{"topic":"/spelling","log_time":1700000001.000000001,"data":{"u":"\\u00e4ä\\/","e":{}}}\r',
        "",
        '  {"data" : { "x" : [ 1 , 2.00 ] } , "publish_time": 5, "time" : "1700000000.5", "topic" : "/spelling"}',
        '{"topic": "/times", "timestamp": {"sec": 1700000000, "nsec": 250000000}, "data": {"n": 1}, "more": 0}',
        '{"topic": "/times", "timestamp": {"sec": 1700000000, "nanosec": 7}, "data": {"n": 2}}',
        '{"topic": "/times", "log_time": "2023-11-14T22:13:21.123456789Z", "data": {"n": 3}}',
        '{"topic": "/times", "log_time": "2023-11-15T00:13:20.75+02:00", "data": {"n": 4.5}}',
        '{"topic": "/times", "log_time": "1700000000123456789", "data": {"n": 1700000000123456789}}',
        json.dumps(schema),
    ]
    lines += [
        f'{{"topic": "/typed", "log_time": {START + (number * 37 % 400) * 5 * MILLISECOND}, "data": {{"n": {number}}}}}'
        for number in range(400)
    ]
    path.write_bytes("\n".join(lines).encode())


def write_parts(first: Path, second: Path) -> None:
    """Two recordings of one drive, with a topic in common and times that meet."""
    for path, offset in ((first, 0), (second, 5)):
        with path.open("wb") as file:
            writer = Writer(file, compression=CompressionType.ZSTD)
            writer.start()
            schema = writer.register_schema("Pose", "jsonschema", b'{"type": "object"}')
            shared = writer.register_channel("/pose", "json", schema)
            own = writer.register_channel(f"/{path.stem}", "json", 0)
            for number in range(200):
                time = START + (number * 10 + offset * (number % 2)) * MILLISECOND
                data = json.dumps({"file": path.stem, "number": number}).encode()
                writer.add_message(own if number % 4 == 0 else shared, time, data, time)
            writer.finish()


# How long nothing happens in the recording of `write_silence`.
SILENCE_SECONDS = 30


def write_silence(path: Path) -> None:
    """Four seconds, a long silence, and four seconds more."""
    with path.open("wb") as file:
        writer = Writer(file, compression=CompressionType.ZSTD)
        writer.start()
        schema = writer.register_schema("Pose", "jsonschema", b'{"type": "object"}')
        channels = [writer.register_channel(topic, "json", schema) for topic in ("/pose", "/other")]
        for number in range(402):
            silence = SILENCE_SECONDS * 1000 * MILLISECOND if number >= 201 else 0
            time = START + (number - (number >= 201)) * 20 * MILLISECOND + silence
            writer.add_message(channels[number % 2], time, json.dumps({"number": number}).encode(), time)
        writer.finish()
