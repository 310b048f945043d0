// A small server in the test's own process, for what must be looked at from inside: it takes no signals and ends no process.
import { once } from 'node:events';
import http from 'node:http';
import { lameduck } from './subject.mjs';

/** Serves `/` at once and `/slow?ms=` later, says `asked` of each request; `options` go to `lameduck()`. */
export function serveInline(t, options = {}) {
  const server = http.createServer((req, res) => {
    const ms = Number(new URL(req.url, 'http://test').searchParams.get('ms') ?? 0);
    server.emit('asked', req);
    if (ms !== Infinity) setTimeout(() => res.end('answered'), ms);
  });
  return attachInline(t, server, options);
}

/** The same with a server of the test's own. */
export async function attachInline(t, server, options = {}) {
  const duck = lameduck(server, { grace: '4s', window: 100, quiet: 50, signals: [], exit: false, logger: false, ...options });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(async () => {
    await duck.shutdown({ grace: 0 });
    process.exitCode = undefined;
  });
  return { server, duck, port: server.address().port };
}
