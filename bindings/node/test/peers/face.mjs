// The face of a duck over a library that has none of it, so that can-fail.mjs can run the suite against the peers.
import { EventEmitter } from 'node:events';

const ms = (value, fallback) => {
  if (typeof value === 'number') return value;
  const [, number, unit] = /^([\d.]+)(ms|s)$/.exec(value ?? '') ?? [];
  return number ? Number(number) * (unit === 's' ? 1000 : 1) : fallback;
};

/** `stop(deadline)` closes the server and resolves when the library says that it is done. */
export function face(stop) {
  return (server, options = {}) => {
    const deadline = ms(options.grace, 30_000) - ms(options.margin, 200) - ms(options.reserve, 400);
    const duck = new EventEmitter();
    const hooks = { onDrain: [], onClose: [], onFlush: [] };
    for (const stage of Object.keys(hooks)) duck[stage] = (name, fn) => hooks[stage].push(fn);
    const abort = new AbortController();
    Object.assign(duck, {
      phase: 'serving',
      ready: true,
      drainSignal: abort.signal,
      add() {},
      blockers: () => [],
      metrics: () => '',
      job: async (_name, fn) => fn(new AbortController().signal),
      requestSignal: () => new AbortController().signal,
    });
    const attached = stop(server, deadline);
    let stopping;
    duck.shutdown = () => (stopping ??= (async () => {
      duck.phase = 'draining';
      duck.emit('phase', duck.phase);
      abort.abort();
      for (const fn of hooks.onDrain) fn();
      await attached();
      for (const fn of [...hooks.onClose, ...hooks.onFlush]) await fn();
      if (options.exit !== false) process.exit(0);
    })());
    for (const signal of options.signals ?? ['SIGTERM', 'SIGINT']) process.on(signal, duck.shutdown);
    return duck;
  };
}
