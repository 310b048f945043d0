// Keep-alive clients in a closed loop, each with one connection at a time and no retries.
import { connect } from './client.mjs';

/**
 * Starts `count` clients that repeat one request; `seen` holds the bodies that came back, `answered` how many did,
 * `failures` what went wrong. `think`: the most milliseconds between an answer and the next request; whose connection was
 * closed meanwhile notices. `moveOn()`: a balancer has noticed, nobody opens a connection here any more.
 */
export function startClients(port, count, { path = '/', host, secure, expected, think = 0, ...options } = {}) {
  const failures = [];
  const seen = new Set();
  let running = true;
  let leaving = false;
  const clients = { failures, seen, answered: 0 };
  const all = Promise.all(Array.from({ length: count }, async () => {
    let conn;
    while (running && (conn || !leaving)) {
      try {
        conn ??= await connect(port, { host, secure });
        const { status, text, closes } = await conn.request(path, options);
        if (status !== 200) throw new Error(`status ${status}`);
        if (expected !== undefined && text !== expected) throw new Error(`body ${JSON.stringify(text)}`);
        seen.add(text);
        clients.answered += 1;
        if (think > 0) await new Promise((resolve) => setTimeout(resolve, Math.random() * think));
        if (closes || (think > 0 && conn.ended)) conn = conn.destroy();
      } catch (error) {
        failures.push(error.message);
        conn = conn?.destroy();
        // Where nobody listens for a while, a closed loop would spin.
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
    conn?.destroy();
  }));
  return Object.assign(clients, {
    /** Resolves when every client has gone. */
    gone: all,
    moveOn() {
      leaving = true;
    },
    async stop() {
      running = false;
      await all;
    },
  });
}
