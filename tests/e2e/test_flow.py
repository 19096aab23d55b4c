"""That flow.py sees what is wrong after a seek, and where somebody joins: a check that can't fail proves
nothing."""

import base64
import copy
import unittest
from pathlib import Path

import recordings
from compare import show
from flow import Reference, Stretch, check_from, check_joined, passes
from mcap.reader import make_reader
from recordings import Channel, Message, Recording

DEMO = Path(__file__).resolve().parents[2] / "testdata" / "demo.mcap"

# One that is there once, at the start, one that is fast, one that is slow, and one that begins late.
STATIC, FAST, SLOW, LATE = (Channel(topic, "json", None) for topic in ("/static", "/fast", "/slow", "/late"))
CHANNELS = {1: STATIC, 2: FAST, 3: SLOW, 4: LATE}
IDS = {channel: number for number, channel in CHANNELS.items()}
START = 1000


def recording() -> Recording:
    messages = [Message(STATIC, START, b"static")]
    for number in range(40):
        time = START + number * 10
        # Two of the same time: the later one in the file is the last.
        messages += [Message(FAST, time, bytes([number, part])) for part in range(2)]
        if number % 8 == 0:
            messages.append(Message(SLOW, time, bytes([number])))
        if number >= 30:
            messages.append(Message(LATE, time, bytes([number])))
    return Recording(list(CHANNELS.values()), messages)


REFERENCE = Reference(recording())
# Between two times, and with the state of three channels.
PLACE_TIME = START + 205
PLACE = REFERENCE.place_of(PLACE_TIME)


def time_frame(time: int) -> dict:
    return {"event": "time", "time": str(time)}


def event(message: Message) -> dict:
    data = base64.b64encode(message.data).decode()
    log_time = str(message.log_time)
    return {"event": "message", "channel": IDS[message.channel], "logTime": log_time, "data": data}


def flow_events(messages: list[Message]) -> list[dict]:
    events = []
    time = None
    for message in messages:
        if message.log_time != time:
            time = message.log_time
            events.append(time_frame(time))
        events.append(event(message))
    return events


def after_a_seek(place: int = PLACE, time: int = PLACE_TIME) -> list[dict]:
    """What a client receives from a place on, where all is well."""
    state = [event(message) for message in REFERENCE.state(place).values()]
    return [time_frame(time), *state, *flow_events(REFERENCE.messages[place:])]


class AfterASeek(unittest.TestCase):
    def setUp(self) -> None:
        self.events = after_a_seek()

    def check(self) -> Stretch:
        return check_from(self.events, CHANNELS, REFERENCE, PLACE, PLACE_TIME)

    def assert_wrong(self, words: str) -> None:
        problems = self.check().problems
        self.assertTrue(any(words in problem for problem in problems), f"no '{words}' in {problems}")

    def messages(self, channel: Channel) -> list[dict]:
        return [e for e in self.events if e["event"] == "message" and e["channel"] == IDS[channel]]

    def place(self, wanted: dict) -> int:
        return next(place for place, other in enumerate(self.events) if other is wanted)

    def remove(self, unwanted: dict) -> None:
        del self.events[self.place(unwanted)]

    def test_nothing_is_wrong_where_all_is_well(self) -> None:
        left = len(REFERENCE.messages) - PLACE
        self.assertEqual(self.check(), Stretch([], 3, left, len(REFERENCE.messages), 3))

    def test_a_state_alone_is_fine(self) -> None:
        self.events = self.events[:4]
        self.assertEqual(self.check(), Stretch([], 3, 0, PLACE, 3))

    def test_the_state_has_only_what_is_before_the_place(self) -> None:
        exact = START + 160
        place = REFERENCE.place_of(exact)
        self.assertEqual(REFERENCE.state(place)[SLOW].log_time, START + 80)
        self.assertEqual(REFERENCE.state(place)[FAST].data, bytes([15, 1]))
        self.events = after_a_seek(place, exact)
        self.assertEqual(check_from(self.events, CHANNELS, REFERENCE, place, exact).problems, [])
        self.assertNotEqual(check_from(self.events, CHANNELS, REFERENCE, place + 1, exact).problems, [])

    def test_a_state_that_is_not_sent_is_seen(self) -> None:
        for channel, message in REFERENCE.state(PLACE).items():
            self.events = after_a_seek()
            self.remove(self.messages(channel)[0])
            # Where the topic is fast, its next message stands there instead.
            is_fast = channel == FAST
            self.assert_wrong(
                "the state of /fast is /fast at 1210" if is_fast else f"the state lacks {show(message)}"
            )

    def test_no_state_at_all_is_seen_also_where_nothing_follows(self) -> None:
        self.events = self.events[:1]
        self.assert_wrong("the state lacks /static")

    def test_a_state_that_is_too_old_is_seen(self) -> None:
        fast = self.messages(FAST)[0]
        fast |= event(Message(FAST, START + 190, bytes([19, 1])))
        self.assert_wrong("the state of /fast is /fast at 1190")

    def test_the_first_of_two_messages_of_one_time_is_the_wrong_state(self) -> None:
        fast = self.messages(FAST)[0]
        fast |= event(Message(FAST, START + 200, bytes([20, 0])))
        self.assert_wrong("other bytes")

    def test_a_state_that_is_sent_by_the_flow_again_is_seen(self) -> None:
        self.events[4:4] = flow_events([REFERENCE.state(PLACE)[FAST]])
        self.assert_wrong("does not belong here: /fast at 1200")

    def test_a_state_that_is_sent_twice_is_seen(self) -> None:
        self.events.insert(2, copy.copy(self.messages(STATIC)[0]))
        self.assert_wrong("the state has one more: /static")

    def test_a_state_of_a_topic_that_has_none_yet_is_seen(self) -> None:
        self.events.insert(2, event(Message(LATE, START + 300, bytes([30]))))
        self.assert_wrong("the state has one that is not of it: /late")

    def test_a_state_that_comes_after_the_flow_is_seen(self) -> None:
        slow = self.messages(SLOW)[0]
        self.remove(slow)
        self.events.append(slow)
        self.assert_wrong("the state lacks /slow")

    def test_a_state_at_another_time_is_seen(self) -> None:
        self.events.insert(3, time_frame(PLACE_TIME + 1))
        self.assert_wrong(f"came at the Time frame {PLACE_TIME + 1}, not {PLACE_TIME}")

    def test_a_gap_right_after_the_state_is_seen(self) -> None:
        self.remove(self.messages(FAST)[1])
        self.assert_wrong("lost: /fast")

    def test_a_gap_further_on_is_seen(self) -> None:
        self.remove(self.messages(SLOW)[2])
        self.assert_wrong("lost: /slow")

    def test_a_repeat_is_seen(self) -> None:
        fast = self.messages(FAST)[7]
        self.events.insert(self.place(fast), copy.copy(fast))
        self.assert_wrong("came 1 times too often: /fast")

    def test_the_wrong_order_of_two_messages_of_one_time_is_seen(self) -> None:
        one, other = (self.place(message) for message in self.messages(FAST)[5:7])
        self.events[one], self.events[other] = self.events[other], self.events[one]
        self.assert_wrong("the order is wrong")

    def test_a_wrong_byte_is_seen(self) -> None:
        self.messages(FAST)[7]["data"] = base64.b64encode(b"\x09\x09").decode()
        self.assert_wrong("other bytes")

    def test_a_message_of_a_time_that_was_told_already_is_missed_at_the_end(self) -> None:
        self.events = self.events[: self.place(self.messages(FAST)[9])]
        self.assertEqual(self.check().problems, [])
        self.events.append(time_frame(START + 270))
        self.assert_wrong("messages before the Time frame 1270 are missing")

    def test_a_time_that_goes_back_is_seen(self) -> None:
        self.events.append(time_frame(START))
        self.assert_wrong("Time goes back")

    def test_a_message_without_its_time_frame_is_seen(self) -> None:
        del self.events[self.place(self.messages(FAST)[1]) - 1]
        self.assert_wrong(f"came after the Time frame {PLACE_TIME}")

    def test_a_message_of_no_subscription_is_seen(self) -> None:
        self.messages(FAST)[3]["channel"] = 77
        self.assert_wrong("on a channel that is not known")


class WhoJoins(unittest.TestCase):
    """A client that subscribes to /static and /fast, and a little later to the others."""

    def setUp(self) -> None:
        first = PLACE
        second = REFERENCE.place_of(START + 225)
        messages = REFERENCE.messages
        early = [m for m in messages[first:second] if m.channel in (STATIC, FAST)]
        self.events = [
            time_frame(START + 200),
            event(REFERENCE.state(first)[STATIC]),
            event(REFERENCE.state(first)[FAST]),
            *flow_events(early),
            event(REFERENCE.state(second)[SLOW]),
            {"event": "parameterValues"},
            *flow_events(messages[second:]),
        ]

    def check(self) -> Stretch:
        answer = next(n for n, e in enumerate(self.events) if e["event"] == "parameterValues")
        return check_joined(self.events, CHANNELS, REFERENCE, answer)

    def assert_wrong(self, words: str) -> None:
        problems = self.check().problems
        self.assertTrue(any(words in problem for problem in problems), f"no '{words}' in {problems}")

    def place(self, message: Message) -> int:
        return self.events.index(event(message))

    def test_nothing_is_wrong_where_all_is_well(self) -> None:
        result = self.check()
        self.assertEqual(result.problems, [])
        # What is as new as the time that was told may have come with the flow.
        self.assertEqual((result.state, result.certain, result.end), (4, 2, len(REFERENCE.messages)))

    def test_a_missing_state_is_seen(self) -> None:
        for message in (Message(STATIC, START, b"static"), Message(SLOW, START + 160, bytes([16]))):
            self.setUp()
            del self.events[self.place(message)]
            self.assert_wrong(f"{message.channel.topic}: its last message")

    def test_a_state_that_comes_only_after_the_answer_is_seen(self) -> None:
        slow = self.events.pop(self.place(Message(SLOW, START + 160, bytes([16]))))
        self.events.insert(self.events.index({"event": "parameterValues"}) + 1, slow)
        self.assert_wrong("/slow: its last message")

    def test_a_state_that_is_too_old_is_seen(self) -> None:
        slow = self.place(Message(SLOW, START + 160, bytes([16])))
        self.events[slow] = event(Message(SLOW, START + 80, bytes([8])))
        self.assert_wrong("/slow at 1160, 1 bytes is later")

    def test_a_state_that_the_flow_repeats_is_seen(self) -> None:
        fast = event(Message(FAST, START + 200, bytes([20, 1])))
        self.events.insert(self.events.index(fast) + 1, copy.copy(fast))
        self.assert_wrong("does not belong here: /fast at 1200")

    def test_a_gap_after_the_state_is_seen(self) -> None:
        del self.events[self.place(Message(FAST, START + 210, bytes([21, 0])))]
        self.assert_wrong("lost: /fast at 1210")

    def test_a_gap_further_on_is_seen(self) -> None:
        del self.events[self.place(Message(SLOW, START + 240, bytes([24])))]
        self.assert_wrong("lost: /slow at 1240")

    def test_a_topic_that_does_not_begin_when_it_should_is_seen(self) -> None:
        self.events = [e for e in self.events if e.get("channel") != IDS[LATE]]
        self.assert_wrong("nothing came on /late")

    def test_a_topic_that_begins_in_its_middle_is_seen(self) -> None:
        del self.events[self.place(Message(LATE, START + 300, bytes([30])))]
        self.assert_wrong("/late begins with /late at 1310, 1 bytes in the middle")

    def test_a_stranger_is_seen(self) -> None:
        self.events[2] = event(Message(FAST, START + 200, b"xy"))
        self.assert_wrong("was never recorded: /fast")

    def test_a_flow_that_stops_while_time_goes_on_is_seen(self) -> None:
        self.events = self.events[: self.place(Message(FAST, START + 300, bytes([30, 0])))]
        self.events.append(time_frame(START + 400))
        self.assert_wrong("messages before the Time frame 1400 are missing")

    def test_a_state_on_which_nothing_follows_is_seen(self) -> None:
        self.events = [e for e in self.events[:3]] + [{"event": "parameterValues"}]
        self.assert_wrong("nothing followed")


class TheReference(unittest.TestCase):
    def test_the_state_is_what_another_reader_finds(self) -> None:
        read = recordings.read([DEMO])
        reference = Reference(read)
        with DEMO.open("rb") as file:
            reader = make_reader(file)
            for part in range(1, 10):
                time = reference.start + (reference.end - reference.start) * part // 10
                expected = {
                    channel.topic: (message.log_time, message.data)
                    for _, channel, message in reader.iter_messages(ending_before=time)
                }
                state = reference.state(reference.place_of(time))
                found = {channel.topic: (m.log_time, m.data) for channel, m in state.items()}
                self.assertEqual(found, expected)

    def test_passes_are_cut_where_time_goes_back(self) -> None:
        one = flow_events(REFERENCE.messages)
        parts = passes(one + one + [{"event": "close"}])
        self.assertEqual(parts, [one, [*one, {"event": "close"}]])


if __name__ == "__main__":
    unittest.main()
