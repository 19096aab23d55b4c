"""That compare.py and recordings.py see what is wrong: a check that can't fail proves nothing."""

import base64
import copy
import tempfile
import unittest
from pathlib import Path

import generate
import recordings
from compare import ANY_DISTRO, Expectation, compare
from mcap.writer import CompressionType
from recordings import Channel, Message, Recording, Schema

POSE = Channel("/pose", "json", Schema("Pose", "jsonschema", b'{"type": "object"}'))
RAW = Channel("/raw", "protobuf", Schema("Raw", "protobuf", b"\x00\xff"))
START = 1_000_000_000
RECORDING = Recording(
    [POSE, RAW], [Message((POSE, RAW)[n % 2], START + n // 2 * 10**7, bytes([n, 1, 2])) for n in range(20)]
)
EXPECTED = Expectation("foxglove.websocket.v1", on_time=True, name="drive")


def good_session() -> list[dict]:
    """What a client writes down where all is well."""
    events = [
        {"event": "open", "protocol": "foxglove.websocket.v1"},
        {
            "event": "serverInfo",
            "name": "drive.mcap",
            "capabilities": ["time"],
            "sessionId": "1",
            "metadata": {},
        },
        {"event": "time", "time": str(START)},
        {
            "event": "advertise",
            "channels": [
                {
                    "id": 1,
                    "topic": "/pose",
                    "encoding": "json",
                    "schemaName": "Pose",
                    "schemaEncoding": "jsonschema",
                },
                {
                    "id": 2,
                    "topic": "/raw",
                    "encoding": "protobuf",
                    "schemaName": "Raw",
                    "schemaEncoding": "protobuf",
                },
            ],
        },
    ]
    events[3]["channels"][0]["schema"] = '{"type": "object"}'
    events[3]["channels"][1]["schema"] = "AP8="
    for message in RECORDING.messages:
        time = str(message.log_time)
        if events[-1].get("logTime") != time:
            events.append({"event": "time", "time": time})
        data = base64.b64encode(message.data).decode()
        channel = 1 if message.channel is POSE else 2
        events.append({"event": "message", "channel": channel, "logTime": time, "data": data})
        events[-1]["at"] = (message.log_time - START) / 1e9
    return events + [{"event": "close", "code": 1000, "reason": ""}]


class WhatIsWrongIsSeen(unittest.TestCase):
    def setUp(self) -> None:
        self.events = good_session()

    def message(self, number: int) -> dict:
        return [event for event in self.events if event["event"] == "message"][number]

    def index(self, event: dict) -> int:
        return next(i for i, other in enumerate(self.events) if other is event)

    def assert_wrong(self, words: str, expected: Expectation = EXPECTED) -> None:
        problems = compare(self.events, RECORDING, expected).problems
        self.assertTrue(any(words in problem for problem in problems), f"no '{words}' in {problems}")

    def test_nothing_is_wrong_with_a_good_session(self) -> None:
        report = compare(self.events, RECORDING, EXPECTED)
        self.assertEqual(report.problems, [])
        self.assertTrue(report.summary.startswith("20 messages (0.00 MB) on 2 topics, 11 Time frames"))

    def test_a_lost_message_is_seen(self) -> None:
        self.events.remove(self.message(7))
        self.assert_wrong("1 messages are lost of 20")

    def test_a_lost_last_message_is_seen(self) -> None:
        self.events.remove(self.message(19))
        self.assert_wrong("1 messages are lost of 20")

    def test_the_start_of_a_recording_is_enough_only_where_that_is_asked_for(self) -> None:
        start = self.index(self.message(9))
        self.events = self.events[:start] + self.events[-1:]
        self.assertEqual(compare(self.events, RECORDING, EXPECTED._replace(partial=True)).problems, [])
        self.assert_wrong("11 messages are lost")
        self.events.remove(self.message(3))
        self.assert_wrong("are lost", EXPECTED._replace(partial=True))

    def test_a_message_that_comes_twice_is_seen(self) -> None:
        self.events.insert(self.index(self.message(7)), copy.copy(self.message(7)))
        self.assert_wrong("came 1 times too often: /raw")

    def test_two_messages_of_one_time_in_the_wrong_order_are_seen(self) -> None:
        first, second = self.index(self.message(6)), self.index(self.message(7))
        self.assertEqual(self.message(6)["logTime"], self.message(7)["logTime"])
        self.events[first], self.events[second] = self.events[second], self.events[first]
        self.assert_wrong("the order is wrong: message 6")

    def test_a_wrong_byte_is_seen(self) -> None:
        self.message(4)["data"] = base64.b64encode(bytes([4, 1, 3])).decode()
        self.assert_wrong("came with other bytes (of 3, from byte 2 on): /pose")

    def test_missing_bytes_are_seen(self) -> None:
        self.message(4)["data"] = base64.b64encode(bytes([4, 1])).decode()
        self.assert_wrong("came with other bytes (of 2, from byte 2 on): /pose")

    def test_a_message_on_another_topic_is_seen(self) -> None:
        self.message(4)["channel"] = 2
        self.assert_wrong("came with the topic /raw")

    def test_a_message_of_no_subscription_is_seen(self) -> None:
        self.message(4)["channel"] = None
        self.assert_wrong("on a channel that is not known")

    def test_a_wrong_log_time_is_seen(self) -> None:
        self.message(4)["logTime"] = str(START + 1)
        self.assert_wrong(f"came with the log time {START + 1}")

    def test_a_message_that_was_never_recorded_is_seen(self) -> None:
        stranger = self.message(4) | {"logTime": "5", "data": ""}
        self.events.insert(self.index(self.message(4)), stranger)
        self.assert_wrong("was never recorded: /pose at 5")

    def test_a_missing_time_frame_is_seen(self) -> None:
        del self.events[self.index(self.message(8)) - 1]
        self.assert_wrong(f"the message of {START + 4 * 10**7} came after the Time frame {START + 3 * 10**7}")

    def test_a_wrong_time_frame_is_seen(self) -> None:
        self.events[self.index(self.message(8)) - 1]["time"] = str(START + 4 * 10**7 + 1)
        self.assert_wrong(f"came after the Time frame {START + 4 * 10**7 + 1}")

    def test_a_time_that_goes_back_is_seen(self) -> None:
        back = [{"event": "time", "time": str(START)}, {"event": "time", "time": self.message(9)["logTime"]}]
        at = self.index(self.message(9))
        self.events[at:at] = back
        self.assert_wrong("Time goes back")

    def test_a_session_without_a_time_before_its_channels_is_seen(self) -> None:
        self.events[2], self.events[3] = self.events[3], self.events[2]
        self.assert_wrong("the session starts with")

    def test_a_first_time_outside_the_recording_is_seen(self) -> None:
        self.events[2]["time"] = "0"
        self.assert_wrong("the first Time frame is 0, outside the recording")

    def test_wrong_server_infos_are_seen(self) -> None:
        info = self.events[1]
        for change, words in [
            ({"capabilities": []}, "lacks the capability"),
            ({"sessionId": ""}, "no sessionId"),
            ({"name": "other"}, "name is 'other'"),
            ({"metadata": {"ROS_DISTRO": "noetic"}}, "ROS_DISTRO is noetic, not None"),
        ]:
            self.events[1] = info | change
            self.assert_wrong(words)
        self.events[1] = info
        self.assert_wrong("ROS_DISTRO is None, not jazzy", EXPECTED._replace(ros_distro="jazzy"))
        self.assert_wrong("ROS_DISTRO is None", EXPECTED._replace(ros_distro=ANY_DISTRO))

    def test_another_sub_protocol_is_seen(self) -> None:
        self.assert_wrong("not foxglove.sdk.v1", EXPECTED._replace(protocol="foxglove.sdk.v1"))

    def test_wrong_channels_are_seen(self) -> None:
        pose = self.events[3]["channels"][0]
        for change, words in [
            ({"encoding": "cbor"}, "its encoding is cbor"),
            ({"schemaName": "Twist"}, "its schema is 'Twist'"),
            ({"schemaEncoding": None}, "its schema is 'Pose' ()"),
            ({"schema": '{"type":"object"}'}, "not the one that was recorded"),
            ({"topic": "/pose2"}, "/pose (json) is not advertised"),
            ({"topic": "/raw"}, "the topic /raw is advertised more than once"),
            ({"id": 2}, "the id 2 is advertised more than once"),
        ]:
            self.events[3]["channels"][0] = pose | change
            self.assert_wrong(words)

    def test_a_channel_that_is_not_recorded_is_seen(self) -> None:
        self.events[3]["channels"].append(self.events[3]["channels"][0] | {"id": 3, "topic": "/new"})
        self.assert_wrong("/new is advertised, but not in the recording")

    def test_a_binary_schema_that_is_not_base64_is_seen(self) -> None:
        self.events[3]["channels"][1]["schema"] = "\0\xff"
        self.assert_wrong("/raw is advertised, but its schema is not the one")

    def test_warnings_and_errors_are_seen(self) -> None:
        self.events.insert(9, {"event": "status", "level": 0, "message": "hello"})
        self.assertEqual(compare(self.events, RECORDING, EXPECTED).problems, [])
        self.events.insert(9, {"event": "status", "level": 1, "message": "careful"})
        self.assert_wrong("a status of level 1: careful")
        self.assertEqual(compare(self.events, RECORDING, EXPECTED._replace(warnings=True)).problems, [])
        self.events.insert(9, {"event": "status", "level": 2, "message": "no"})
        self.assert_wrong("a status of level 2: no", EXPECTED._replace(warnings=True))
        self.events.insert(9, {"event": "error", "message": "opcode 9"})
        self.assert_wrong("opcode 9")

    def test_a_connection_that_just_ends_is_seen(self) -> None:
        self.events[-1]["code"] = 1006
        self.assert_wrong("closed with 1006")
        self.events.pop()
        self.assert_wrong("the session ends with message")
        self.assertEqual(compare(self.events, RECORDING, EXPECTED._replace(client_left=True)).problems, [])

    def test_a_wrong_pace_is_seen_where_that_is_asked_for(self) -> None:
        self.assert_wrong("5 % of the messages are", EXPECTED._replace(rate=0.05))
        self.message(19)["at"] += 1
        self.assert_wrong("from the first message to the last, not 0.09 s")
        report = compare(self.events, RECORDING, EXPECTED._replace(on_time=False))
        self.assertEqual(report.problems, [])
        self.assertIn("0.09 s in 1.09 s", report.summary)


class RecordingsAreRead(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "recording"

    def test_jsonl_keeps_its_bytes_and_its_times(self) -> None:
        generate.write_odd_jsonl(self.path)
        recording = recordings.read([self.path])
        self.assertEqual([channel.topic for channel in recording.channels], ["/typed", "/spelling", "/times"])
        found = [
            (m.log_time - generate.START, m.data) for m in recording.messages if m.channel.topic != "/typed"
        ]
        self.assertEqual(
            found,
            [
                (0, b'{"b":1.0e3,"a":1.50, "a" : 2}'),
                (7, b'{"n": 2}'),
                (123456789, b'{"n": 1700000000123456789}'),
                (250000000, b'{"n": 1}'),
                (500000000, b'{ "x" : [ 1 , 2.00 ] }'),
                (750000000, b'{"n": 4.5}'),
                (1000000001, '{"u":"\\u00e4ä\\/","e":{}}'.encode()),
                (1123456789, b'{"n": 3}'),
            ],
        )

    def test_mcap_is_read_the_same_with_and_without_chunks(self) -> None:
        read = []
        for compression, indexed in [(CompressionType.ZSTD, True), (CompressionType.NONE, False)]:
            generate.write_encodings(self.path, compression, indexed)
            read.append(recordings.read([self.path]))
        self.assertEqual(read[0], read[1])
        times = [message.log_time for message in read[0].messages]
        self.assertEqual((len(times), times), (1200, sorted(times)))
        self.assertGreater(len(times), len(set(times)))

    def test_equal_channels_are_one(self) -> None:
        generate.write_same_topic(self.path)
        recording = recordings.read([self.path])
        names = [(channel.topic, channel.schema.name) for channel in recording.channels]
        self.assertEqual(names, [("/pose", "Pose"), ("/mixed", "Pose"), ("/mixed", "Twist")])


class ChannelsOfOneTopic(unittest.TestCase):
    def test_the_channel_with_fewer_messages_has_its_schema_in_its_name(self) -> None:
        twist = POSE._replace(schema=Schema("Twist", "jsonschema", b"{}"))
        recording = Recording([twist, POSE, RAW], RECORDING.messages)
        other = {
            "id": 3,
            "encoding": "json",
            "schemaName": "Twist",
            "schemaEncoding": "jsonschema",
            "schema": "{}",
        }
        for topic, is_right in [("/pose (Twist)", True), ("/pose", False), ("/pose 2", False)]:
            events = good_session()
            events[3]["channels"].append(other | {"topic": topic})
            problems = compare(events, recording, EXPECTED).problems
            self.assertEqual(not problems, is_right, f"{topic}: {problems}")


if __name__ == "__main__":
    unittest.main()
