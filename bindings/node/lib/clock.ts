/** How far `coarse.now` may lag behind. */
const LAG_MS = 250;

/**
 * `performance.now()`, a little late: reading the real clock for every request would cost
 * more than everything else that is done for it, and the age of a request is told in seconds.
 */
export const coarse = { now: performance.now() };

let started = false;

/** Keeps the coarse clock going, without keeping the process alive. */
export function startClock(): void {
  if (started) return;
  started = true;
  setInterval(() => {
    coarse.now = performance.now();
  }, LAG_MS).unref();
}
