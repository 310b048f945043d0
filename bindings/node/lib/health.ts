import type { IncomingMessage, ServerResponse } from 'node:http';

import type { Log } from './log.js';
import type { Check, Checked } from './options.js';
import type { Phase } from './report.js';

/** What the health routes are told about the server. */
export interface Condition {
  phase: Phase;
  /** Listening, and wanting traffic. */
  ready: boolean;
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
  answer(request: IncomingMessage, response: ServerResponse): boolean {
    const path = request.url?.split('?', 1)[0];
    const live = path === this.#options.livePath;
    if (path === undefined || (!live && path !== this.#options.readyPath)) return false;
    if (request.method !== 'GET' && request.method !== 'HEAD') return false;
    request.resume();
    if (live) send(response, true, { phase: this.#condition().phase });
    else void this.#ready(response);
    return true;
  }

  async #ready(response: ServerResponse): Promise<void> {
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

function send(response: ServerResponse, ok: boolean, body: object): void {
  if (response.headersSent || response.destroyed) return;
  const text = JSON.stringify({ status: ok ? 'ok' : 'unavailable', ...body });
  response.writeHead(ok ? 200 : 503, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  });
  response.end(text);
}
