// Vite as middleware of a server of our own, rendering on the server; its WebSocket for hot updates is on the same server.
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { lameduck } from 'lameduck';
import { createServer as createVite } from 'vite';

const server = createServer((request, response) => {
  vite.middlewares(request, response, () => render(request, response));
});
const vite = await createVite({
  root: import.meta.dirname,
  appType: 'custom',
  optimizeDeps: { noDiscovery: true },
  server: { middlewareMode: true, hmr: { server } },
});

async function render({ url }, response) {
  try {
    const page = await vite.ssrLoadModule('/page.js');
    if (url === '/slow') await sleep(500);
    response.setHeader('content-type', 'text/html').end(page.render(url));
  } catch (error) {
    response.writeHead(500).end(`${error.stack}\n`);
  }
}

const duck = lameduck(server, { health: { livePath: '/livez', readyPath: '/readyz' } });
duck.onClose('vite', () => vite.close());
server.listen(Number(process.env.PORT ?? 3000));
