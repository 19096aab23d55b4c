"""A soak: hostile clients for many minutes, beside one whose stream has to stay complete.

    tests/e2e/run.sh --soak MINUTES

The program loops a recording at rate 20, every client with a timeline of its own. Clients connect, seek, stall, send
garbage and vanish, several a second. What is checked: every pass of the healthy client has every message, in
order, byte for byte; the memory of the program is flat after a warm-up; its descriptors are back to the start.
"""

import json
import multiprocessing
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import recordings
from rude import WebSocket

ROOT = Path(__file__).resolve().parents[2]
RECORDING = ROOT / "testdata" / "demo.mcap"
RATE = 20
# How many hostile clients there are at the same time.
CROWD = 6
# How long they wait for what may never come, as from a timeline that they paused, in seconds.
PATIENCE = 1.0
# How much the median of the memory may grow after the warm-up, in bytes.
GROWTH = 4 << 20


def healthy(port: int, stop, results) -> None:
    """Compares every pass with what another reader says the file holds."""
    messages = recordings.read([RECORDING]).messages
    expected = [(message.channel.topic, message.log_time, message.data) for message in messages]
    client = WebSocket(port)
    topics = client.subscribe_to_all()
    passes, place, complaint = 0, 0, ""
    try:
        while not stop.is_set() and not complaint:
            kind, payload = client.frame()
            if kind == 9:
                client.send(10, payload)
            if kind == 1 and b"dropped" in payload:
                complaint = payload.decode()
            if kind != 2 or payload[0] != 1:
                continue
            channel, log_time = struct.unpack_from("<IQ", payload, 1)
            got = (topics[channel], log_time, payload[13:])
            if got != expected[place]:
                complaint = f"pass {passes}: message {place} is {got[:2]}, not {expected[place][:2]}"
            place += 1
            if place == len(expected):
                passes, place = passes + 1, 0
    except OSError as error:
        complaint = f"pass {passes}, message {place}: {error}"
    results.put((passes, complaint))
    client.close()


def look_and_leave(port: int, chance: random.Random) -> None:
    client = WebSocket(port, chance.choice(["foxglove.sdk.v1", "foxglove.websocket.v1"]), PATIENCE)
    client.subscribe_to_all()
    for _ in range(chance.randrange(200)):
        client.frame()
    client.close()


def seek(port: int, chance: random.Random) -> None:
    client = WebSocket(port, patience=PATIENCE)
    client.subscribe_to_all()
    messages = recordings_range()
    for _ in range(chance.randrange(1, 30)):
        to = chance.randint(messages[0] - 10**9, messages[1] + 10**9)
        client.request(chance.randrange(2), chance.choice([0.1, 1.0, 20.0, 100.0, float("nan"), -1.0]), to)
        for _ in range(chance.randrange(100)):
            client.frame()
    client.close()


def stall(port: int, chance: random.Random) -> None:
    client = WebSocket(port)
    client.subscribe_to_all()
    time.sleep(chance.uniform(0.5, 8))
    client.vanish()


def send_garbage(port: int, chance: random.Random) -> None:
    client = WebSocket(port)
    for _ in range(chance.randrange(1, 20)):
        if chance.random() < 0.2:
            client.socket.sendall(chance.randbytes(chance.randrange(1, 500)))
        else:
            kind = chance.choice([0, 1, 2, 8, 9, 10, 15])
            client.send(kind, chance.randbytes(chance.randrange(0, 500)))
    time.sleep(0.05)
    client.close()


def vanish(port: int, chance: random.Random) -> None:
    client = WebSocket(port, patience=PATIENCE)
    client.subscribe_to_all()
    for _ in range(chance.randrange(50)):
        client.frame()
    client.vanish()


def half_a_handshake(port: int, chance: random.Random) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        request = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        connection.sendall(request[: chance.randrange(len(request))])
        time.sleep(chance.uniform(0, 2))


def ask(port: int, chance: random.Random) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        path = chance.choice(["/", "/metrics", "/api/state", "/api/events", "/api/recording", "/../x", "/%00"])
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        connection.recv(1 << 16)
        time.sleep(chance.uniform(0, 1))


DEEDS = [look_and_leave, seek, stall, send_garbage, vanish, half_a_handshake, ask]


def recordings_range(known: list[tuple[int, int]] = []) -> tuple[int, int]:
    if not known:
        messages = recordings.read([RECORDING]).messages
        known.append((messages[0].log_time, messages[-1].log_time))
    return known[0]


def crowd(port: int, stop, results) -> None:
    """Does one bad deed after another, a few at the same time."""
    deeds: Counter = Counter()
    recordings_range()

    def misbehave(number: int) -> None:
        chance = random.Random(number)
        while not stop.is_set():
            deed = chance.choice(DEEDS)
            try:
                deed(port, chance)
            except (OSError, ConnectionError):
                pass  # Being cut off is what some of them deserve.
            deeds[deed.__name__] += 1

    threads = [threading.Thread(target=misbehave, args=(number,)) for number in range(CROWD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(dict(deeds))


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def main() -> int:
    minutes = float(sys.argv[1])
    log = Path(os.environ["E2E_OUTPUT"]) / "soak.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [RECORDING, "--rate", str(RATE), "--loop", "--session", "client", "--port", "0", "--max-message-rate", "100000"]
    with log.open("w") as stderr:
        command = [os.environ["FGPLAY_BIN"], *arguments]
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)
    port = json.loads(program.stdout.readline())["port"]
    stop, results, deeds = multiprocessing.Event(), multiprocessing.Queue(), multiprocessing.Queue()
    good = multiprocessing.Process(target=healthy, args=(port, stop, results))
    good.start()
    time.sleep(3)
    before = descriptors(program.pid)
    bad = multiprocessing.Process(target=crowd, args=(port, stop, deeds))
    bad.start()
    start, samples = time.monotonic(), []
    while time.monotonic() - start < minutes * 60 and good.is_alive() and program.poll() is None:
        time.sleep(min(10.0, minutes * 6))
        samples.append(resident_bytes(program.pid))
        if len(samples) % 12 == 0:
            passed = (time.monotonic() - start) / 60
            print(f"{passed:5.1f} min  {samples[-1] / 1e6:5.1f} MB  {descriptors(program.pid)} descriptors", flush=True)
    stop.set()
    passes, complaint = results.get(timeout=60)
    done = deeds.get(timeout=60)
    good.join()
    bad.join()
    # Those who vanished are noticed at once, those who never said what they want when their time is over.
    patience = time.monotonic() + 30
    while descriptors(program.pid) > before - 1 and time.monotonic() < patience:
        time.sleep(0.5)
    after = descriptors(program.pid)
    program.terminate()
    code = program.wait(timeout=30)
    later = samples[len(samples) // 6 :]
    third = max(len(later) // 3, 1)
    early, late = statistics.median(later[:third]), statistics.median(later[-third:])
    print(f"healthy client: {passes} passes, {complaint or 'each complete, in order, byte for byte'}")
    print(f"bad deeds: {sum(done.values())} ({', '.join(f'{name} {count}' for name, count in sorted(done.items()))})")
    print(f"memory after warm-up: {early / 1e6:.1f} MB, at the end {late / 1e6:.1f} MB, at most {max(samples) / 1e6:.1f} MB")
    print(f"descriptors: {before} with the healthy client, {after} without it; exit code {code}")
    good_end = code in (0, 3)  # 3: messages were dropped for those who stalled.
    healthy_and_flat = passes > 0 and not complaint and late - early <= GROWTH
    return 0 if good_end and healthy_and_flat and after <= before - 1 else 1


if __name__ == "__main__":
    sys.exit(main())
