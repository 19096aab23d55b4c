// Records what a server sends to the `FoxgloveClient` of @foxglove/ws-protocol (foxglove.websocket.v1) that
// subscribes to every channel.
//
//     node ws_protocol_client.mjs URL OUTPUT [--wait] [--leave-after N] [--control]
//
// OUTPUT gets one JSON object per event, in the order of arrival; compare.py reads it. On stdout: "advertised"
// once there are channels, "playing" at the first message. --wait subscribes only when a line comes in on
// stdin. --leave-after drops the connection, without a close frame, after N messages.
//
// With --control the events go to stdout as well, and nothing else does; stdin takes commands, one JSON object
// per line, which remote.py writes. Nothing is subscribed to before the command for it.

import { closeSync, openSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { once } from "node:events";
import { createInterface } from "node:readline";

import protocol from "@foxglove/ws-protocol";
import WebSocket from "ws";

const { FoxgloveClient } = protocol;

// The package is older than playback control: requests and the answers to them are made and read here.
const PLAYBACK_OPCODES = { request: 3, state: 5 };
const PLAYBACK_STATUSES = ["Playing", "Paused", "Buffering", "Ended"];
const UNKNOWN_PLAYBACK_STATE = "Unrecognized server opcode in binary message: 5";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    wait: { type: "boolean" },
    "leave-after": { type: "string" },
    control: { type: "boolean" },
  },
});
const [url, outputPath] = positionals;
const leaveAfter = Number(values["leave-after"] ?? Infinity);

const output = openSync(outputPath, "w");
function record(event, fields) {
  const at = performance.now() / 1000;
  const line = JSON.stringify({ event, at, ...fields }) + "\n";
  writeSync(output, line);
  if (values.control) {
    process.stdout.write(line);
  }
}
function say(word) {
  if (!values.control) {
    console.log(word);
  }
}

const socket = new WebSocket(url, [FoxgloveClient.SUPPORTED_SUBPROTOCOL]);
const client = new FoxgloveClient({ ws: socket });
const channelOfSubscription = new Map();
const unsubscribed = [];
let mayAskForData = !values.wait && !values.control;
let messages = 0;

function subscribe() {
  for (const channelId of unsubscribed.splice(0)) {
    channelOfSubscription.set(client.subscribe(channelId), channelId);
  }
}

client.on("open", () => record("open", { protocol: socket.protocol }));
client.on("serverInfo", (info) => record("serverInfo", info));
client.on("status", ({ level, message }) => record("status", { level, message }));
client.on("error", (error) => {
  if (!values.control || error.message !== UNKNOWN_PLAYBACK_STATE) {
    record("error", { message: error.message });
  }
});
client.on("time", ({ timestamp }) => record("time", { time: String(timestamp) }));
client.on("unadvertise", (channelIds) => record("unadvertise", { channelIds }));

client.on("advertise", (channels) => {
  record("advertise", { channels });
  if (unsubscribed.length + channelOfSubscription.size === 0) {
    say("advertised");
  }
  unsubscribed.push(...channels.map((channel) => channel.id));
  if (mayAskForData) {
    subscribe();
  }
});

client.on("message", ({ subscriptionId, timestamp, data }) => {
  record("message", {
    channel: channelOfSubscription.get(subscriptionId) ?? null,
    logTime: String(timestamp),
    data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64"),
  });
  messages += 1;
  if (messages === 1) {
    say("playing");
  }
  if (messages === leaveAfter) {
    // What is still in the socket's buffer is not part of what this client took.
    client.on("close", () => process.exit(0));
    client.off("message");
    socket.terminate();
  }
});

client.on("close", ({ code, reason }) => {
  record("close", { code, reason });
  closeSync(output);
  process.stdin.destroy();
});

if (values.control) {
  control();
}
if (values.wait) {
  await once(process.stdin, "data");
  mayAskForData = true;
  subscribe();
}

function control() {
  const services = new Map();
  client.on("advertiseServices", (advertised) => {
    record("advertiseServices", { services: advertised });
    advertised.forEach((service) => services.set(service.name, service.id));
  });
  client.on("parameterValues", ({ parameters, id }) => record("parameterValues", { parameters, id }));
  client.on("serviceCallResponse", ({ callId, encoding, data }) => {
    const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("utf8");
    record("serviceCallResponse", { callId, encoding, response: text });
  });
  client.on("serviceCallFailure", ({ callId, message }) => record("serviceCallFailure", { callId, message }));
  socket.on("message", (data, isBinary) => {
    const bytes = Buffer.from(data);
    if (isBinary && bytes[0] === PLAYBACK_OPCODES.state) {
      record("playbackState", readPlaybackState(bytes));
    }
  });

  const commands = {
    subscribe() {
      mayAskForData = true;
      subscribe();
    },
    getParameters: ({ names, id }) => client.getParameters(names, id),
    setParameters: ({ parameters, id }) => client.setParameters(parameters, id),
    call({ service, request, id }) {
      const data = new TextEncoder().encode(JSON.stringify(request));
      client.sendServiceCallRequest({ serviceId: services.get(service), callId: id, encoding: "json", data });
    },
    playback: (request) => socket.send(playbackControlRequest(request)),
    close: () => client.close(),
  };
  createInterface({ input: process.stdin }).on("line", (line) => {
    const command = JSON.parse(line);
    commands[command.do](command);
  });
}

function playbackControlRequest({ command, speed, seek, id }) {
  const bytes = Buffer.alloc(19 + Buffer.byteLength(id));
  bytes.writeUInt8(PLAYBACK_OPCODES.request, 0);
  bytes.writeUInt8(command === "play" ? 0 : 1, 1);
  bytes.writeFloatLE(speed, 2);
  bytes.writeUInt8(seek == undefined ? 0 : 1, 6);
  bytes.writeBigUInt64LE(BigInt(seek ?? 0), 7);
  bytes.writeUInt32LE(Buffer.byteLength(id), 15);
  bytes.write(id, 19);
  return bytes;
}

function readPlaybackState(bytes) {
  return {
    status: PLAYBACK_STATUSES[bytes.readUInt8(1)],
    time: String(bytes.readBigUInt64LE(2)),
    speed: bytes.readFloatLE(10),
    didSeek: bytes.readUInt8(14) !== 0,
    requestId: bytes.toString("utf8", 19, 19 + bytes.readUInt32LE(15)) || null,
  };
}
