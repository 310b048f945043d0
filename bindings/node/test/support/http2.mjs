// A client that speaks HTTP/2.
import { once } from 'node:events';
import http2 from 'node:http2';

/** A session that keeps what it is told, and does not close by itself as Node's client does at the first GOAWAY. */
export async function connect(t, port, { secure = false } = {}) {
  const session = http2.connect(`${secure ? 'https' : 'http'}://127.0.0.1:${port}`, { rejectUnauthorized: false });
  const told = [];
  session.on('error', (error) => told.push(error.code));
  session.on('goaway', (code, last) => told.push([code, last]));
  t.after(() => session.destroy());
  await once(session, 'remoteSettings');
  return Object.assign(session, { told, over: once(session, 'close') });
}

/** A request; resolves with status and body, or rejects as the stream does. */
export function request(session, path, { method = 'GET', body } = {}) {
  const stream = session.request({ ':path': path, ':method': method });
  stream.end(body);
  return new Promise((resolve, reject) => {
    let status;
    let text = '';
    stream.on('response', (headers) => (status = headers[':status']));
    stream.setEncoding('utf8').on('data', (chunk) => (text += chunk));
    stream.on('end', () => resolve({ status, text }));
    stream.on('error', reject);
  });
}
