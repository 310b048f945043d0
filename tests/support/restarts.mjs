// Servers that are stopped as an orchestrator stops them.
import http from 'node:http';

/** A server that takes longer than this to stop has failed (milliseconds). */
const PATIENCE = 16_000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves with the status, or 0. */
export const get = (port, path) => new Promise((resolve) => {
  http.get({ host: '127.0.0.1', port, path, agent: false, timeout: 2000 }, (res) => resolve(res.resume().statusCode)).on('error', () => resolve(0)).on('timeout', (req) => req?.destroy());
});

/** Sends SIGTERM; resolves with how the server went and how long it took. */
export async function stop(child) {
  const began = performance.now();
  child.kill('SIGTERM');
  const end = await Promise.race([child.gone, sleep(PATIENCE)]);
  if (!end) {
    // As an orchestrator does.
    child.kill('SIGKILL');
    return { ...(await child.gone), took: PATIENCE, said: child.said };
  }
  return { ...end, took: performance.now() - began, said: child.said };
}
