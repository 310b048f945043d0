// Clients that stay: one event stream and one WebSocket through the balancer. When theirs ends they come back, as their
// protocol says; an end in any other manner is a failure.
import http from 'node:http';
import WebSocket from 'ws';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** RFC 6455 registry: service restart. */
const RESTART = 1012;

/** Holds what `kinds` names; `stop()` resolves with how often each ended, and what went wrong. */
export function startHolding(port, kinds) {
  const result = { ended: Object.fromEntries(kinds.map((kind) => [kind, 0])), failures: [] };
  let running = true;
  let leave = () => {};
  const holders = kinds.map(async (kind) => {
    while (running) {
      try {
        const { again } = await holds[kind](port, (how) => (leave = chain(leave, how)));
        if (!running) break;
        result.ended[kind] += 1;
        await sleep(again);
      } catch (error) {
        if (running) result.failures.push({ at: performance.now(), method: kind, kind: error.message });
        await sleep(50);
      }
    }
  });
  return {
    async stop() {
      running = false;
      leave();
      await Promise.all(holders);
      return result;
    },
  };
}

const chain = (one, other) => () => {
  one();
  other();
};

/** Each resolves when its server ended it as the protocol does, with when to come back. */
const holds = {
  stream: (port, leaving) => new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port, path: '/events', agent: false }, (response) => {
      if (response.statusCode !== 200) return reject(new Error(`status ${response.statusCode}`));
      let text = '';
      response.setEncoding('utf8').on('data', (data) => (text = (text + data).slice(-200)));
      response.on('end', () => {
        const [, retry] = /\nretry: (\d+)\n$/.exec(text) ?? [];
        if (retry === undefined) reject(new Error(`ended without a word: ${JSON.stringify(text.slice(-40))}`));
        else resolve({ again: Number(retry) });
      });
      response.on('error', reject);
    });
    request.on('error', reject);
    leaving(() => request.destroy());
  }),

  websocket: (port, leaving) => new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/socket`);
    let said = 0;
    let heard = 0;
    const timer = setInterval(() => socket.readyState === WebSocket.OPEN && socket.send(String(said++)), 100);
    socket.on('message', (data) => {
      if (String(data) === String(heard++)) return;
      reject(new Error(`heard ${data} instead of ${heard - 1}`));
      socket.terminate();
    });
    socket.on('error', reject);
    socket.on('close', (code) => {
      clearInterval(timer);
      if (code === RESTART) resolve({ again: 0 });
      else reject(new Error(`closed with ${code}`));
    });
    leaving(() => socket.terminate());
  }),
};
