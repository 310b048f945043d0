import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';

import type { Log } from './log.js';
import type { Check, Checked } from './options.js';
import type { Phase } from './report.js';

/** What the health routes are told about the server. */
export interface Condition {
  phase: Phase;
  /** Listening, and wanting traffic. */
  ready: boolean;
}

/** Where an answer goes: a `ServerResponse`, or a stream. */
interface Reply {
  readonly headersSent: boolean;
  readonly destroyed: boolean;
  writeHead(status: number, headers: OutgoingHttpHeaders): unknown;
  end(text: string): unknown;
}

/** The liveness and readiness routes; none unless asked for. */
export class Health {
  readonly #options: Checked['health'];
  readonly #condition: () => Condition;
  readonly #log: Log;
  readonly #last = new Map<string, string>();

  constructor(options: Checked['health'], condition: () => Condition, log: Log) {
    this.#options = options;
    this.#condition = condition;
    this.#log = log;
  }

  get enabled(): boolean {
    return this.#options.livePath !== undefined || this.#options.readyPath !== undefined;
  }

  /** Answers a probe; whether it was one. */
  answer(request: IncomingMessage, response: Reply): boolean {
    const probe = this.#probed(request.method, request.url);
    if (probe === undefined) return false;
    request.resume();
    this.#answer(probe, response);
    return true;
  }

  /** The same over HTTP/2. */
  answerStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean {
    const probe = this.#probed(headers[':method'], headers[':path']);
    if (probe === undefined) return false;
    stream.resume();
    this.#answer(probe, {
      get headersSent() {
        return stream.headersSent;
      },
      get destroyed() {
        return stream.destroyed;
      },
      writeHead: (status, head) => stream.respond({ ':status': status, ...head }),
      end: (text) => stream.end(text),
    });
    return true;
  }

  #probed(method: string | undefined, url: string | undefined): 'live' | 'ready' | undefined {
    if (url === undefined || (method !== 'GET' && method !== 'HEAD')) return undefined;
    const path = url.split('?', 1)[0];
    if (path === this.#options.livePath) return 'live';
    return path === this.#options.readyPath ? 'ready' : undefined;
  }

  #answer(probe: 'live' | 'ready', reply: Reply): void {
    if (probe === 'live') send(reply, true, { phase: this.#condition().phase });
    else void this.#ready(reply);
  }

  async #ready(response: Reply): Promise<void> {
    const { ready, phase } = this.#condition();
    if (!ready) {
      send(response, false, { phase });
      return;
    }
    const { checks, timeout } = this.#options;
    const results = await Promise.all(
      checks.map(async ([name, check]) => [name, await this.#outcome(name, check, timeout)] as const),
    );
    // The server may have been asked to stop while the checks ran.
    const now = this.#condition();
    const passed = now.ready && results.every(([, result]) => result === 'ok');
    const named = results.length > 0 ? { checks: Object.fromEntries(results) } : {};
    send(response, passed, { phase: now.phase, ...named });
  }

  /** What the probe may know. An error's text can hold secrets; it goes to the log, once. */
  async #outcome(name: string, check: Check, timeout: number): Promise<string> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${timeout} ms`)), timeout);
    });
    let detail = 'ok';
    try {
      if ((await Promise.race([check(), late])) === false) detail = 'it returned false';
    } catch (error) {
      detail = error instanceof Error ? error.message : String(error);
    } finally {
      clearTimeout(timer);
    }
    if (detail !== (this.#last.get(name) ?? 'ok')) this.#log.warn(`readiness check '${name}': ${detail}`);
    this.#last.set(name, detail);
    return detail === 'ok' ? 'ok' : 'failed';
  }
}

function send(response: Reply, ok: boolean, body: object): void {
  if (response.headersSent || response.destroyed) return;
  const text = JSON.stringify({ status: ok ? 'ok' : 'unavailable', ...body });
  response.writeHead(ok ? 200 : 503, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  });
  response.end(text);
}
