// Starts a fixture in a child process, watches it, and kills it when the test is over.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { certificate } from './certificate.mjs';

const FIXTURE = fileURLToPath(new URL('../fixtures/server.mjs', import.meta.url));

/** The budget of most tests, with room for a busy machine: T is 5500 ms after the signal, t2 4500 ms. */
export const BUDGET = { grace: 6000, margin: 500, reserve: 1000, window: 300, settle: 50, quiet: 150 };
/** The budget of tests that wait for a deadline: T is 1800 ms after the signal, t2 1400 ms. */
export const TIGHT = { ...BUDGET, grace: 2000, margin: 200, reserve: 400 };

/** T in milliseconds after the signal. */
export const hardDeadline = (budget) => budget.grace - budget.margin;
/** t2 in milliseconds after the signal. */
export const drainDeadline = (budget) => budget.grace - budget.margin - budget.reserve;

const LIFETIME = 12_000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Starts `fixtures/server.mjs`. Functions travel as source text, so they see only their argument `ctx` (see the fixture).
 *
 * - `options`: what goes to `lameduck(server, options)`, an object or `(ctx) => object`
 * - `setup(ctx)`: runs after attaching, before listening
 * - `secure`, `express`: https, an Express app
 * - `http2`: HTTP/2, without TLS; with `secure` also HTTP/1.1
 * - `ipc`: a channel to the server, as PM2 and cluster have one
 * - `listen: false`: the test listens itself through `run`
 */
export async function start(t, { options = BUDGET, setup, secure = false, http2 = false, express = false, listen = true, env = {}, ipc = false } = {}) {
  const config = {
    options: typeof options === 'object' ? JSON.stringify(options) : `${options}`,
    setup: setup && `${setup}`,
    secure: secure && certificate(),
    http2,
    express,
    listen,
  };
  const child = spawn(process.execPath, [FIXTURE], {
    env: { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '', FIXTURE: JSON.stringify(config), ...env },
    stdio: ['pipe', 'pipe', 'pipe', ...(ipc ? ['ipc'] : [])],
  });
  const server = watch(t, child);
  await server.event('started');
  if (listen) server.port = (await server.event('listening')).port;
  return server;
}

/** Any server that prints its events, a JSON object a line, and its report as one of them. */
export function watch(t, child) {
  const server = new Server(child);
  // Nothing a test waits for comes later than this; a test that would hang fails instead.
  const timer = setTimeout(() => server.kill(), LIFETIME);
  t.after(() => {
    clearTimeout(timer);
    return server.kill();
  });
  return server;
}

class Server {
  #waiters = new Set();
  #calls = 0;

  constructor(child) {
    this.child = child;
    this.pid = child.pid;
    this.events = [];
    /** The first message over the channel, if there is one. */
    this.message = new Promise((resolve) => child.once('message', resolve));
    this.stdout = '';
    this.stderr = '';
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      this.stdout += text;
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) if (line.startsWith('{"event":')) this.events.push({ ...JSON.parse(line), at: performance.now() });
      this.#check();
    });
    child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text));
    child.stdin.on('error', () => {});
    /** Resolves with `{ code, signal, at }`; `at` is taken at the exit, the output is complete when it resolves. */
    this.exited = new Promise((resolve) => {
      let end;
      child.once('exit', (code, signal) => {
        end = { code, signal, at: performance.now() };
        // A pipe that the test stopped reading never closes.
        if (child.stdout.isPaused() || child.stderr.isPaused()) resolve(end);
      });
      child.once('close', () => {
        this.over = true;
        this.#check();
        resolve(end);
      });
    });
  }

  #check() {
    for (const waiter of this.#waiters) waiter();
  }

  kill() {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
    return this.exited;
  }

  /** Sends the signal and notes when: `after` of `end` counts from here. */
  signal(name = 'SIGTERM') {
    if (this.signalled === undefined) {
      this.signalled = performance.now();
      this.#witness();
    }
    process.kill(this.pid, name);
  }

  /** Notes in `lag` how late this idle process's own timers come: what the machine, not the server, adds to a deadline. */
  #witness() {
    this.lag = 0;
    let due = performance.now() + 10;
    const timer = setInterval(() => {
      this.lag = Math.max(this.lag, performance.now() - due);
      due = performance.now() + 10;
    }, 10);
    this.exited.then(() => clearInterval(timer));
  }

  /** Milliseconds since the first signal. */
  get elapsed() {
    return performance.now() - this.signalled;
  }

  /** Resolves with the first event called `name` that satisfies `which`, past or to come. */
  event(name, which = () => true) {
    return new Promise((resolve, reject) => {
      const check = () => {
        const found = this.events.find((event) => event.event === name && which(event));
        if (found === undefined && !this.over) return;
        this.#waiters.delete(check);
        if (found) resolve(found);
        else reject(new Error(`the server ended without the event ${name}; events: ${this.names()}; stderr:\n${this.stderr}`));
      };
      this.#waiters.add(check);
      check();
    });
  }

  /** The names of all events so far, in order. */
  names() {
    return this.events.map((event) => event.name ?? event.event);
  }

  /** Whether an event called `name` has happened. */
  saw(name) {
    return this.events.some((event) => event.event === name);
  }

  /** Runs `fn(ctx, ...args)` inside the server and resolves with its result (as JSON), or fails with its error. */
  async run(fn, ...args) {
    const call = ++this.#calls;
    this.child.stdin.write(`${JSON.stringify({ call, fn: `${fn}`, args })}\n`);
    const answer = await this.event('answer', (event) => event.call === call);
    if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
    return answer.value;
  }

  /** Waits for the exit. Adds `after` (milliseconds since the first signal) and `report` (the `report` event's, or null). */
  async end() {
    const { code, signal, at } = await this.exited;
    assert.notEqual(signal, 'SIGKILL', `the server did not end by itself within ${LIFETIME} ms; events: ${this.names()}; stderr:\n${this.stderr}`);
    const report = this.events.find((event) => event.event === 'report')?.report ?? null;
    return { code, signal, after: at - this.signalled, lag: this.lag, report, stderr: this.stderr };
  }
}

/** Asserts that the process was gone within 250 ms of T, beside the lag of the machine (a few milliseconds on a quiet one). */
export function assertGoneByT(end, budget) {
  const limit = hardDeadline(budget) + 250;
  const said = `gone ${Math.round(end.after)} ms after the signal; T + 250 ms is ${limit}, the machine lagged by ${Math.round(end.lag)} ms`;
  assert.ok(end.after <= limit + end.lag, said);
}

/** Asserts that the process was gone well before the drain deadline: it did not wait for anything to be forced. */
export function assertGoneEarly(end, budget, limit = drainDeadline(budget) - 300) {
  assert.ok(end.after <= limit, `gone ${Math.round(end.after)} ms after the signal; expected at most ${limit}`);
}
