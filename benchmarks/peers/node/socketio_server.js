"use strict";
// Socket.IO as its documentation shows it: rooms, WebSocket only, with no state kept for HTTP polling; tuned as its page
// on performance advises: bufferutil is installed, and the first HTTP request of each connection is let go.

const { createServer } = require("node:http");
const { Server } = require("socket.io");
const { control, message } = require("./pump");

const server = createServer(control((topic, strikes) => {
  io.to(`topic-${topic}`).emit("new_signal", message(topic, strikes));
}));
const io = new Server(server, { transports: ["websocket"], serveClient: false, pingInterval: 60000 });
io.on("connection", (socket) => {
  for (const topic of socket.handshake.query.topics.split(",")) socket.join(`topic-${topic}`);
  socket.conn.request = null;
});
server.listen(Number(process.argv[2]), "127.0.0.1", 4096);
