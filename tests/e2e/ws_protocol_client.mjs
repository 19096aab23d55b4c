// Records what a server sends to the `FoxgloveClient` of @foxglove/ws-protocol (foxglove.websocket.v1) that
// subscribes to every channel.
//
//     node ws_protocol_client.mjs URL OUTPUT [--wait] [--leave-after N]
//
// OUTPUT gets one JSON object per event, in the order of arrival; compare.py reads it. On stdout: "advertised"
// once there are channels, "playing" at the first message. --wait subscribes only when a line comes in on
// stdin. --leave-after drops the connection, without a close frame, after N messages.

import { closeSync, openSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { once } from "node:events";

import protocol from "@foxglove/ws-protocol";
import WebSocket from "ws";

const { FoxgloveClient } = protocol;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { wait: { type: "boolean" }, "leave-after": { type: "string" } },
});
const [url, outputPath] = positionals;
const leaveAfter = Number(values["leave-after"] ?? Infinity);

const output = openSync(outputPath, "w");
function record(event, fields) {
  const at = performance.now() / 1000;
  writeSync(output, JSON.stringify({ event, at, ...fields }) + "\n");
}

const socket = new WebSocket(url, [FoxgloveClient.SUPPORTED_SUBPROTOCOL]);
const client = new FoxgloveClient({ ws: socket });
const channelOfSubscription = new Map();
const unsubscribed = [];
let mayAskForData = !values.wait;
let messages = 0;

function subscribe() {
  for (const channelId of unsubscribed.splice(0)) {
    channelOfSubscription.set(client.subscribe(channelId), channelId);
  }
}

client.on("open", () => record("open", { protocol: socket.protocol }));
client.on("serverInfo", (info) => record("serverInfo", info));
client.on("status", ({ level, message }) => record("status", { level, message }));
client.on("error", (error) => record("error", { message: error.message }));
client.on("time", ({ timestamp }) => record("time", { time: String(timestamp) }));
client.on("unadvertise", (channelIds) => record("unadvertise", { channelIds }));

client.on("advertise", (channels) => {
  record("advertise", { channels });
  if (unsubscribed.length + channelOfSubscription.size === 0) {
    console.log("advertised");
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
    console.log("playing");
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

if (values.wait) {
  await once(process.stdin, "data");
  mayAskForData = true;
  subscribe();
}
