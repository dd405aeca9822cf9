"use strict";
// The stream console: one WebSocket at a time, everything it says on the page.

const streams = new Map(JSON.parse(document.getElementById("stream-list").textContent).map((s) => [s.name, s]));
const closeCodes = JSON.parse(document.getElementById("close-codes").textContent);
const at = (id) => document.getElementById(id);
const SHOWN_MESSAGES = 500;
const TIME = { hour12: false, hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 };
const SESSION_TYPES = new Set(["welcome", "pong", "heartbeat", "authenticated", "token_expiring", "reconnect",
  "subscription_confirmed", "subscription_cancelled"]);

let stream = null;
let socket = null;
let count = 0;
let arrived = 0;              // messages since the last second
const rates = new Array(60).fill(0);
let lags = [];
const positions = new Map();  // topic -> {kind, epoch, offset}

// Choosing

async function choose(name) {
  disconnect();
  stream = streams.get(name);
  document.querySelectorAll("[data-stream]").forEach((b) => b.toggleAttribute("aria-current", b.dataset.stream === name));
  at("title").textContent = stream.title;
  reset();
  at("examples").replaceChildren(...stream.commands.map((command) => {
    const button = document.createElement("button");
    button.textContent = command.type;
    button.onclick = () => { at("command-text").value = JSON.stringify(command, null, 1); };
    return button;
  }));
  await loadTargets();
  showAddress();
  if (ready()) connect(false);
}

async function loadTargets() {
  at("target-choice").hidden = !stream.needs_target;
  at("target").replaceChildren();
  if (!stream.needs_target) return;
  const response = await fetch(`/console/targets/${stream.name}/`);
  const { targets = [] } = await response.json();
  at("target").replaceChildren(...targets.map((t) => new Option(t.label, t.id)));
  if (!targets.length) note("nothing to open this stream on yet");
}

const ready = () => stream && (!stream.needs_target || at("target").value);

function path() {
  return stream.path.replace(/<[^>]+>/, encodeURIComponent(at("target").value));
}

function showAddress() {
  at("address").textContent = stream ? path() : "";
  at("connect").disabled = !ready();
}

// The connection

function connect(resume) {
  disconnect();
  if (!resume) reset();
  const since = resume ? [...positions].filter(([, p]) => p.kind === "log").map(([t, p]) => `${t}:${p.epoch}:${p.offset}`) : [];
  const query = since.length ? `?since=${since.join(",")}` : "";
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path()}${query}`;
  setState("connecting");
  const opened = new WebSocket(url);
  socket = opened;
  opened.onopen = () => setState("live");
  opened.onmessage = (event) => { if (socket === opened) receive(event.data); };
  opened.onclose = (event) => {
    if (socket !== opened) return;
    socket = null;
    setState("closed");
    note(`closed ${event.code}${event.reason ? `: ${event.reason}` : ""}${closeCodes[event.code] ? ` (${closeCodes[event.code]})` : ""}`);
  };
}

function disconnect() {
  const old = socket;
  socket = null;
  if (old) old.close(1000);
  if (old) setState("dropped");
}

function setState(state) {
  at("state").textContent = state;
  at("state").dataset.state = state;
  const live = state === "live";
  at("drop").disabled = !live;
  at("send").disabled = !live;
  at("resume").disabled = live || !positions.size;
  at("connect").textContent = live ? "Reconnect" : "Connect";
  document.querySelectorAll(".dot").forEach((dot) => dot.classList.toggle("on", live));
}

// What comes

function receive(text) {
  const message = JSON.parse(text);
  const lag = Date.now() - Date.parse(message.timestamp);
  count += 1;
  arrived += 1;
  track(message);
  if (lags.push(lag) > 200) lags.shift();
  const kind = message.type === "error" ? "error" : SESSION_TYPES.has(message.type) ? "session" : "";
  row(message.type, message, kind, `${Math.max(0, lag)} ms`);
}

function track(message) {
  for (const s of message.subscriptions || []) {
    const known = positions.get(s.topic);
    const recovered = known && s.recovered;
    positions.set(s.topic, recovered ? known : { kind: s.kind, epoch: s.epoch, offset: s.offset });
  }
  if (message.subscriptions && message.type !== "welcome") {
    const current = new Set(message.subscriptions.map((s) => s.topic));
    for (const topic of positions.keys()) if (!current.has(topic)) positions.delete(topic);
  }
  const position = positions.get(message.topic);
  if (position && message.offset !== undefined) position.offset = message.offset;
}

function row(type, message, kind, right = "") {
  const wanted = at("filter").value.trim();
  if (wanted && !type.includes(wanted)) return;
  const item = document.createElement("li");
  item.className = kind;
  const timestamp = message.timestamp;
  const cells = [
    ["time", new Date(timestamp || Date.now()).toLocaleTimeString("en-GB", TIME)],
    ["type", type], ["body", brief(message)], ["lag", right],
  ];
  for (const [name, value] of cells) {
    const cell = document.createElement("span");
    cell.className = name;
    cell.textContent = value;
    item.append(cell);
  }
  item.onclick = () => {
    document.querySelectorAll("#messages [aria-selected]").forEach((e) => e.removeAttribute("aria-selected"));
    item.setAttribute("aria-selected", "");
    at("detail").textContent = JSON.stringify(message, null, 2);
  };
  const list = at("messages");
  list.append(item);
  while (list.childElementCount > SHOWN_MESSAGES) list.firstElementChild.remove();
  if (at("follow").checked) list.scrollTop = list.scrollHeight;
}

// What a line shows: the payload alone, without what every message has and without long ids.
function brief({ type, timestamp, topic, offset, request_id, ...rest }) {
  const values = Object.values(rest);
  const payload = values.length === 1 && typeof values[0] === "object" && values[0] !== null ? values[0] : rest;
  const { id, model_id, ...shown } = payload;
  return JSON.stringify(Array.isArray(payload) ? payload : shown).replace(/"(\w+)":/g, "$1: ").replace(/,(?=\w+: )/g, ", ").slice(1, -1);
}

function note(text) {
  const item = document.createElement("li");
  item.className = "note";
  item.append(document.createElement("span"), document.createElement("span"), text);
  at("messages").append(item);
  at("messages").scrollTop = at("messages").scrollHeight;
}

function reset() {
  count = 0;
  lags = [];
  positions.clear();
  at("messages").replaceChildren();
  at("detail").textContent = "Choose a message to see all of it.";
}

// Once a second

setInterval(() => {
  rates.push(arrived);
  rates.shift();
  arrived = 0;
  const lastSeconds = rates.slice(-5);
  const rate = lastSeconds.reduce((a, b) => a + b, 0) / lastSeconds.length;
  at("rate").textContent = `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} /s`;
  at("count").textContent = count.toLocaleString("en-IN");
  const sorted = [...lags].sort((a, b) => a - b);
  at("latency").textContent = sorted.length ? `${Math.max(0, sorted[sorted.length >> 1])} ms` : "–";
  const top = Math.max(1, ...rates);
  const points = rates.map((r, i) => `${(i / 59 * 120).toFixed(1)},${(27 - r / top * 25).toFixed(1)}`);
  at("spark").firstElementChild.setAttribute("d", `M0,28 L${points.join(" L")} L120,28`);
  at("position").replaceChildren(...[...positions].map(([topic, p]) => {
    const line = document.createElement("tr");
    for (const value of [topic, p.kind, p.offset ?? "–"]) {
      const cell = document.createElement("td");
      cell.textContent = value;
      cell.title = value;
      line.append(cell);
    }
    return line;
  }));
}, 1000);

// What the person does

document.querySelectorAll("[data-stream]").forEach((b) => { b.onclick = () => { location.hash = b.dataset.stream; }; });
window.onhashchange = () => { const name = location.hash.slice(1); if (streams.has(name)) choose(name); };
at("target").onchange = () => { showAddress(); connect(false); };
at("connect").onclick = () => connect(false);
at("drop").onclick = () => { disconnect(); note("dropped; Resume replays what was missed"); };
at("resume").onclick = () => connect(true);
at("clear").onclick = () => at("messages").replaceChildren();
at("command").onsubmit = (event) => {
  event.preventDefault();
  const text = at("command-text").value;
  let shown = { text };
  try { shown = JSON.parse(text); } catch { /* sent as it is: the server says what is wrong with it */ }
  socket.send(text);
  row(`→ ${shown.type || "text"}`, shown, "sent");
};
if (streams.has(location.hash.slice(1))) window.onhashchange(); else location.hash = streams.keys().next().value;
