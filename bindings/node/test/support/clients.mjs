// Keep-alive clients in a closed loop, each with one connection at a time and no retries.
import { connect } from './client.mjs';

/** Starts `count` clients; `seen` holds the bodies that came back, `failures` what went wrong. */
export function startClients(port, count) {
  const failures = [];
  const seen = new Set();
  let running = true;
  const all = Promise.all(Array.from({ length: count }, async () => {
    let conn;
    while (running) {
      try {
        conn ??= await connect(port);
        const { status, text, closes } = await conn.request('/');
        if (status !== 200) throw new Error(`status ${status}`);
        seen.add(text);
        if (closes) conn = conn.destroy();
      } catch (error) {
        failures.push(error.message);
        conn = undefined;
        // Where nobody listens for a while, a closed loop would spin.
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
    conn?.destroy();
  }));
  return {
    failures,
    seen,
    async stop() {
      running = false;
      await all;
    },
  };
}
