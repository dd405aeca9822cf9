"use strict";
// Publishes at a given rate, inside the server that is measured: what benchmarks/pump.py is for the peers in Python.

const IDLE_MS = 2;
const MAX_AT_ONCE = 512;
const numbers = new Map();

function optionChain(strikes) {
  const rows = Array.from({ length: strikes }, (_, n) => ({
    strike: 24000 + 50 * n, iv: (n * 7919 % 10000) / 10000, delta: (n * 104729 % 10000) / 10000,
    bid: (n * 1299709 % 10000) / 100, ask: (n * 15485863 % 10000) / 100,
  }));
  return { metadata: { chain: rows } };
}

function signal(topic, strikes) {
  const number = (numbers.get(topic) ?? 0) + 1;
  numbers.set(topic, number);
  return {
    ...(strikes ? optionChain(strikes) : {}),
    id: `~${topic}:${number}:${process.hrtime.bigint()}~`,
    symbol: `BENCH${topic}`,
    signal_type: "BUY",
    confidence_score: 0.71,
    entry_price: 24312.55,
    target_price: 24500.0,
    stop_loss: 24200.0,
    rationale: "close above the 20-bar average",
  };
}

function message(topic, strikes) {
  const its = signal(topic, strikes);
  return {
    type: "new_signal",
    timestamp: new Date().toISOString(),
    signal: its,
    topic: `trading.signals.symbol.${its.symbol}`,
    offset: numbers.get(topic),
  };
}

function pump(publish, { rate, seconds, topics, strikes }) {
  const began = process.hrtime.bigint();
  let sent = 0;
  const step = () => {
    const elapsed = Math.min(Number(process.hrtime.bigint() - began) / 1e9, seconds);
    const due = Math.min(Math.floor(elapsed * rate) - sent, MAX_AT_ONCE);
    for (let n = 0; n < due; n++, sent++) publish(sent % topics, strikes);
    if (elapsed >= seconds) return;
    if (due === MAX_AT_ONCE) setImmediate(step);
    else setTimeout(step, IDLE_MS);
  };
  step();
}

// The handler of an HTTP server: /bench/ answers, /bench/publish?rate=…&seconds=…&topics=…&strikes=… begins to publish.
function control(publish) {
  return (request, response) => {
    const query = Object.fromEntries(new URL(request.url, "http://localhost").searchParams);
    if (query.rate) {
      const asked = Object.entries(query).map(([name, value]) => [name, Number(value)]);
      pump(publish, Object.fromEntries(asked));
    }
    response.end("ok");
  };
}

module.exports = { control, message };
