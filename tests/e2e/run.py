"""Plays recordings with the built program to clients that others wrote, and compares what arrives.

Started by run.sh, which says where everything is (see harness.py). Arguments: words; only the checks whose
names contain one of them run.
"""

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import control
import generate
import recordings
from compare import ANY_DISTRO, load
from harness import (
    CLIENTS,
    END_WITHIN,
    FGPLAY,
    NAV2,
    OUTPUT,
    SOON,
    TESTDATA,
    Check,
    Failure,
    Skipped,
    Suite,
    pace,
    wait_for,
)
from mcap.writer import CompressionType
from rude import WebSocket

NAV2_MESSAGES = 8197
# How many besiege a player.
HALF_OPEN = 1000
DEAF = 200
# So that several clients see the start: on a busy machine the second one may subscribe some time after the first.
TOGETHER = ("--start", "subscriber", "--delay", "2")


def play_whole(check: Check, kind: str, paths: list[Path], rate: float, **expected) -> int:
    """One client takes a recording from start to end."""
    for path in paths:
        if not path.exists():
            raise Failure(f"{path} is missing")
    recording = recordings.read(paths)
    seconds = (recording.messages[-1].log_time - recording.messages[0].log_time) / 1e9 / rate
    player = check.stage.player(paths, "--rate", str(rate), "--at-end", "exit", "--start", "subscriber")
    client = check.stage.client(kind, player)
    client.end(seconds + SOON)
    player.end(END_WITHIN)
    name = paths[0].stem if len(paths) == 1 else ""
    return check.compare(client, recording, rate=rate, name=name, **expected)


def play_nav2(check: Check, kind: str) -> None:
    if not NAV2.exists():
        raise Skipped(f"{NAV2} is not here")
    messages = play_whole(check, kind, [NAV2], 4.0, on_time=True, ros_distro=ANY_DISTRO)
    if messages != NAV2_MESSAGES:
        raise Failure(f"{messages} messages, not {NAV2_MESSAGES}")


def pause_and_play(check: Check, path: Path) -> None:
    """The SDK client pauses in the middle and plays on: still everything comes, once and in order."""
    recording = recordings.read([path])
    rate = 4.0
    player = check.stage.player([path], "--rate", str(rate), "--at-end", "exit")
    client = check.stage.client("sdk", player, "--pause", str(rate))
    client.end(
        recording.messages[-1].log_time / 1e9 / rate - recording.messages[0].log_time / 1e9 / rate + SOON
    )
    player.end(END_WITHIN)
    check.compare(client, recording, rate=rate, name=path.stem)
    states = [(e["status"], e["requestId"]) for e in load(client.events) if e["event"] == "playbackState"]
    for answer in [("Paused", "pause"), ("Ended", None)]:
        if answer not in states:
            raise Failure(f"no state {answer} in {states}")
    if not any(status in ("Playing", "Buffering") and request == "play" for status, request in states):
        raise Failure(f"no answer to play in {states}")


def siege(check: Check, path: Path) -> None:
    """A thousand connections that never say what they want, and two hundred clients that never read: the one that does
    gets everything, on time."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < 2 * (HALF_OPEN + DEAF):
        raise Skipped(f"this system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    recording = recordings.read([path])
    rate = 4.0
    together = ("--wait-for-clients", str(DEAF + 1), "--delay", "1")
    limits = ("--handshake-timeout", "60", "--max-clients", str(DEAF + 1))
    player = check.stage.player(
        [path], "--rate", str(rate), "--at-end", "exit", "--linger", "1", *together, *limits
    )
    with contextlib.ExitStack() as besiegers:
        for _ in range(HALF_OPEN):
            half = besiegers.enter_context(socket.create_connection(("127.0.0.1", player.port), timeout=SOON))
            half.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n")
        for _ in range(DEAF):
            deaf = WebSocket(player.port)
            besiegers.callback(deaf.close)
            deaf.subscribe_to_all()
        client = check.stage.client("ws-protocol", player, "--wait")
        client.lines.expect("advertised")
        client.subscribe()
        client.end(SOON)
    # For those who never read, messages were dropped.
    player.end(SOON, codes=(0, 3))
    check.compare(client, recording, rate=rate, on_time=True, name=path.stem)
    check.facts.append(f"beside {HALF_OPEN} half handshakes and {DEAF} who never read")


def several_clients(check: Check, path: Path) -> None:
    """Two clients take everything, a third one drops out in the middle; nobody else notices."""
    recording = recordings.read([path])
    rate = pace(recording, 4.0)
    player = check.stage.player([path], "--rate", str(rate), "--at-end", "exit", *TOGETHER)
    leave_after = len(recording.messages) // 3
    stayers = [check.stage.client(kind, player, "--wait") for kind in CLIENTS]
    leaver = check.stage.client("ws-protocol", player, "--wait", "--leave-after", str(leave_after))
    for client in (*stayers, leaver):
        client.lines.expect("advertised")
    for client in (*stayers, leaver):
        client.subscribe()
    leaver.end(SOON)
    if player.process.poll() is not None:
        raise Failure("the third client left only after the end")
    for client in stayers:
        client.end(SOON)
    player.end(END_WITHIN)
    for client in stayers:
        check.compare(client, recording, rate=rate)
    if check.compare(leaver, recording, rate=rate, partial=True, client_left=True) != leave_after:
        raise Failure("the client that left took another number of messages")


def end_by_signal(check: Check, path: Path, number: signal.Signals) -> None:
    """In the middle of playing, a signal ends the program cleanly, for clients too."""
    recording = recordings.read([path])
    rate = pace(recording, 30.0)
    player = check.stage.player([path], "--rate", str(rate), *TOGETHER)
    clients = [check.stage.client(kind, player, "--wait") for kind in CLIENTS]
    for client in clients:
        client.lines.expect("advertised")
    for client in clients:
        client.subscribe()
    for client in clients:
        client.lines.expect("playing")
    time.sleep(1)
    player.process.send_signal(number)
    player.end(END_WITHIN)
    for client in clients:
        client.end(END_WITHIN)
        if check.compare(client, recording, rate=rate, partial=True) == len(recording.messages):
            raise Failure("the recording was over before the signal came")


def readme_pytest(check: Check) -> None:
    """The README's example for pytest runs as it is printed there, and fails where a message is missing."""
    readme = (TESTDATA.parent / "README.md").read_text()
    blocks = re.findall(r"^```python\n# (\w+\.py)(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    if [name for name, _ in blocks] != ["conftest.py", "test_poses.py"]:
        raise Failure(f"the README's example is in {[name for name, _ in blocks]}")
    for name, text in blocks:
        (check.stage.folder / name).write_text(f"# {text}")
    bin_folder = check.stage.folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "fgplay").symlink_to(Path(FGPLAY).resolve())
    (check.stage.folder / "testdata").symlink_to(TESTDATA)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]

    def pytest() -> subprocess.CompletedProcess:
        environment = os.environ | {"PATH": path}
        return subprocess.run(
            command, cwd=check.stage.folder, env=environment, capture_output=True, text=True, timeout=60
        )

    result = pytest()
    if result.returncode != 0:
        raise Failure(result.stdout[-1000:] + result.stderr[-1000:])
    check.facts.append(result.stdout.strip().splitlines()[-1])
    test = check.stage.folder / "test_poses.py"
    test.write_text(test.read_text().replace("poses == 600", "poses == 601"))
    if pytest().returncode != 1:
        raise Failure("the README's example passes whatever comes")


def control_page(check: Check) -> None:
    """A browser drives the control page, while a client watches."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise Skipped("chromium is not installed")
    player = check.stage.player([TESTDATA / "demo.mcap"], "--loop", "--start-paused")
    client = check.stage.client("ws-protocol", player)
    client.lines.expect("advertised")
    page = player.url.replace("ws://", "http://")
    picture = check.stage.folder / "control-page.png"
    command = ["node", os.environ["E2E_PAGE_CHECK"], page, chromium, picture]
    process = check.stage.start(command, "page.log", subprocess.DEVNULL)
    code = wait_for(process, "the browser", 120)
    if code != 0:
        raise Failure((check.stage.folder / "page.log").read_text().strip()[:1000])
    check.facts.append(process.stdout.read().strip())
    player.process.send_signal(signal.SIGTERM)
    player.end(END_WITHIN)


def main() -> int:
    suite = Suite(sys.argv[1:])
    made = OUTPUT / "recordings"
    made.mkdir(parents=True, exist_ok=True)
    demo = TESTDATA / "demo.mcap"

    generate.write_encodings(made / "chunked.mcap", CompressionType.ZSTD, True)
    generate.write_encodings(made / "unchunked.mcap", CompressionType.NONE, False)
    generate.write_same_topic(made / "same_topic.mcap")
    generate.write_many_topics(made / "many_topics.mcap", 3000)
    generate.write_odd_jsonl(made / "odd.jsonl")
    generate.write_parts(made / "first.mcap", made / "second.mcap")

    odd_encodings = {"warnings": True, "ros_distro": "jazzy"}
    for kind in CLIENTS:
        by = f", {kind} client"
        suite.run("demo.mcap at rate 20" + by, play_whole, kind, [demo], 20)
        suite.run("demo.mcap at rate 4" + by, play_whole, kind, [demo], 4, on_time=True)
        suite.run("demo.jsonl" + by, play_whole, kind, [TESTDATA / "demo.jsonl"], 20)
        suite.run("ros2.mcap" + by, play_whole, kind, [TESTDATA / "ros2.mcap"], 20, ros_distro=ANY_DISTRO)
        chunked, unchunked = [made / "chunked.mcap"], [made / "unchunked.mcap"]
        suite.run("all encodings, chunks that overlap" + by, play_whole, kind, chunked, 4, **odd_encodings)
        suite.run("all encodings, no chunks" + by, play_whole, kind, unchunked, 4, **odd_encodings)
        same_topic = [made / "same_topic.mcap"]
        suite.run("topics of several channels" + by, play_whole, kind, same_topic, 4, warnings=True)
        suite.run("three thousand topics" + by, play_whole, kind, [made / "many_topics.mcap"], 1)
        suite.run("oddly written lines" + by, play_whole, kind, [made / "odd.jsonl"], 1)
        parts = [made / "first.mcap", made / "second.mcap"]
        suite.run("two recordings on one timeline" + by, play_whole, kind, parts, 2)
        suite.run("nav2_turtlebot.mcap at rate 4" + by, play_nav2, kind)

    suite.run("pause and play", pause_and_play, demo)
    suite.run("three clients, one leaves", several_clients, demo)
    suite.run("a siege", siege, demo)
    for number in (signal.SIGINT, signal.SIGTERM):
        suite.run(f"{number.name} while playing", end_by_signal, demo, number)
    suite.run("the control page in a browser", control_page)
    suite.run("the README's example for pytest", readme_pytest)
    control.run(suite, made)

    print(f"\n{suite.passed} passed, {suite.failed} failed, {suite.skipped} skipped")
    return 1 if suite.failed or not suite.passed else 0


if __name__ == "__main__":
    sys.exit(main())
