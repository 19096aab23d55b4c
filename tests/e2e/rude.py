"""A client without manners: it says what it likes, and reads only if it likes."""

import base64
import json
import os
import socket
import struct


class WebSocket:
    """As little of a client as is needed to behave badly."""

    def __init__(self, port: int, protocol: str = "foxglove.sdk.v1", patience: float = 20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
        )
        self.stream = self.socket.makefile("rb", buffering=1 << 18)
        if not self.stream.readline().startswith(b"HTTP/1.1 101"):
            raise ConnectionError("no WebSocket")
        while self.stream.readline().strip():
            pass

    def frame(self) -> tuple[int, bytes]:
        first, length = self.exactly(2)
        if length == 126:
            length = struct.unpack(">H", self.exactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self.exactly(8))[0]
        return first & 0xF, self.exactly(length)

    def exactly(self, count: int) -> bytes:
        data = self.stream.read(count)
        if len(data) < count:
            raise ConnectionError("the connection is over")
        return data

    def send(self, kind: int, payload: bytes) -> None:
        head = bytes([0x80 | kind])
        if len(payload) < 126:
            head += bytes([0x80 | len(payload)])
        else:
            head += bytes([0x80 | 126]) + struct.pack(">H", len(payload))
        self.socket.sendall(head + bytes(4) + payload)

    def send_json(self, message: dict) -> None:
        self.send(1, json.dumps(message).encode())

    def channels(self) -> dict[int, str]:
        while True:
            kind, payload = self.frame()
            if kind == 1 and b'"advertise"' in payload[:40]:
                return {channel["id"]: channel["topic"] for channel in json.loads(payload)["channels"]}

    def subscribe_to_all(self) -> dict[int, str]:
        channels = self.channels()
        wanted = [{"id": channel, "channelId": channel} for channel in channels]
        self.send_json({"op": "subscribe", "subscriptions": wanted})
        return channels

    def request(self, command: int, speed: float, seek: int | None) -> None:
        request = struct.pack("<BBfB", 3, command, speed, seek is not None)
        self.send(2, request + struct.pack("<QI", seek or 0, 0))

    def vanish(self) -> None:
        """Without a word: the system resets the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.stream.close()
        self.socket.close()
