"use strict";
// The ws library as its README shows it: a set of clients per topic, each message made once and sent to all.

const { createServer } = require("node:http");
const { WebSocketServer, WebSocket } = require("ws");
const { control, message } = require("./pump");

const followers = new Map();

function publish(topic, strikes) {
  const data = Buffer.from(JSON.stringify(message(topic, strikes)));
  for (const client of followers.get(topic) ?? []) {
    if (client.readyState === WebSocket.OPEN) client.send(data, { binary: false });
  }
}

const server = createServer(control(publish));
new WebSocketServer({ server, perMessageDeflate: false }).on("connection", (client, request) => {
  const topics = new URL(request.url, "http://localhost").searchParams.get("topics").split(",").map(Number);
  for (const topic of topics) {
    if (!followers.has(topic)) followers.set(topic, new Set());
    followers.get(topic).add(client);
  }
  client.on("close", () => topics.forEach((topic) => followers.get(topic).delete(client)));
  client.on("error", () => client.terminate());
  client.send('{"type":"welcome"}');
});
server.listen(Number(process.argv[2]), "127.0.0.1", 4096);
