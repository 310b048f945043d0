// Files are stored whole or not at all: written beside their place, and renamed when they are complete.
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import busboy from 'busboy';
import { lameduck } from 'lameduck';

const folder = process.env.UPLOADS ?? 'uploads';
await mkdir(folder, { recursive: true });

const server = createServer(async (request, response) => {
  if (request.method !== 'POST') return response.writeHead(405).end();
  // Fires while there is still time to clean up and to answer.
  const signal = duck.requestSignal(request);
  try {
    const names = await receive(request, signal);
    response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify(names));
  } catch (error) {
    if (signal.aborted) response.writeHead(503, { 'retry-after': '1' }).end('please send it again\n');
    else response.writeHead(400).end(`${error.message}\n`);
  }
});

const duck = lameduck(server, { health: { livePath: '/livez', readyPath: '/readyz' } });
server.listen(Number(process.env.PORT ?? 3000));

/** Stores the files of a form; resolves with their names. */
async function receive(request, signal) {
  const files = [];
  const form = busboy({ headers: request.headers });
  form.on('file', (_field, content, { filename }) => {
    const stored = store(content, basename(filename), signal);
    stored.catch(() => {}); // looked at below
    files.push(stored);
  });
  const [parsed] = await Promise.allSettled([pipeline(request, form, { signal })]);
  const stored = await Promise.allSettled(files);
  const failed = [parsed, ...stored].find(({ status }) => status === 'rejected');
  if (failed) throw failed.reason;
  return stored.map(({ value }) => value);
}

async function store(content, name, signal) {
  const part = join(folder, `.${randomUUID()}.part`);
  try {
    await pipeline(content, createWriteStream(part), { signal });
    await rename(part, join(folder, name));
    return name;
  } finally {
    await rm(part, { force: true });
  }
}
