import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';

import { type Duration, milliseconds, shown } from './duration.js';
import type { Logger } from './log.js';
import type { Settings } from './native.js';

/** A readiness check: resolves when ready; throws, rejects or returns `false` when not. */
export type Check = () => unknown;

export interface HealthOptions {
  /** Answered 200 as long as the process lives, for example `/livez`. */
  livePath?: string;
  /** Answered 200 while this server wants traffic, for example `/readyz`. */
  readyPath?: string;
  /** Asked at each readiness probe, by name. */
  checks?: Record<string, Check>;
  /** How long a check may take. Default 1 s. */
  checkTimeout?: Duration;
}

export interface Options {
  /** What the orchestrator allows, from the request to stop to its SIGKILL. Default 30 s. */
  grace?: Duration;
  /** How long to go on serving after the request to stop. Default min(5 s, grace/4). */
  window?: Duration;
  /** Kept free before the orchestrator's SIGKILL. Default min(1 s, grace/10). */
  margin?: Duration;
  /** Kept for `close` and `flush` hooks. Default min(5 s, grace/5). */
  reserve?: Duration;
  /** How long a fenced listener still accepts. Default 100 ms. */
  settle?: Duration;
  /** How long a connection must have been silent before it is closed. Default 500 ms. */
  quiet?: Duration;
  /** How long before the drain deadline the abort signals fire. Default 1 s. */
  abortLead?: Duration;
  /** Ends the window early once nothing has arrived for this long. Default: never. */
  windowIdle?: Duration;
  /** Seeds the spread of announcements and closes. Default: random. */
  seed?: number | bigint;
  /** Signals that ask this process to stop. Default SIGTERM and SIGINT; `[]` for none, as always in a worker thread. */
  signals?: NodeJS.Signals[];
  /** What happens to requests that arrive while draining. Default `'serve'`. */
  newRequests?: 'serve' | 'refuse';
  /** What readiness probes answer while draining. Default `'fail'`. */
  readiness?: 'fail' | 'keep';
  /** What WebSockets are closed with. Default 1012, service restart; 1001 is going away. */
  webSocketCode?: number;
  /** Health routes; none unless asked for. */
  health?: HealthOptions;
  /** Whether to end the process when all is done. Default `true`. */
  exit?: boolean;
  /** A file that gets the report, too, whole or not at all. `{pid}` is the process's number. Default: none. */
  reportFile?: string;
  /** Takes the log lines; pino and console fit. `false` for silence. */
  logger?: Logger | false;
}

/** Options that were checked. */
export interface Checked {
  settings: Settings;
  signals: NodeJS.Signals[];
  health: { livePath?: string; readyPath?: string; checks: [string, Check][]; timeout: number };
  webSocketCode: number;
  exit: boolean;
  logger: Logger | false | undefined;
}

/** Below these a number is taken for seconds. */
const TIMES = {
  grace: 1_000,
  window: 10,
  margin: 10,
  reserve: 10,
  settle: 0,
  quiet: 0,
  abortLead: 0,
  windowIdle: 10,
} as const;
const OTHERS = [
  'seed', 'signals', 'newRequests', 'readiness', 'webSocketCode', 'health', 'exit', 'reportFile', 'logger',
];
const KNOWN = [...Object.keys(TIMES), ...OTHERS];
const HEALTH = ['livePath', 'readyPath', 'checks', 'checkTimeout'];
const UNCATCHABLE = ['SIGKILL', 'SIGSTOP'];

/** Checks everything at once, so that a mistake shows at start and not at SIGTERM. */
export function check(options: unknown): Checked {
  const given = record('the options', options ?? {});
  known('option', given, KNOWN);
  const settings: Settings = {};
  for (const [name, least] of Object.entries(TIMES)) {
    const value = given[name];
    if (value !== undefined) settings[name as keyof typeof TIMES] = milliseconds(name, value, least);
  }
  const newRequests = choice('newRequests', given.newRequests, ['serve', 'refuse'] as const);
  if (newRequests !== undefined) settings.newRequests = newRequests;
  const readiness = choice('readiness', given.readiness, ['fail', 'keep'] as const);
  if (readiness !== undefined) settings.readiness = readiness;
  const path = reportFile(given.reportFile);
  if (path !== undefined) settings.reportFile = path;
  settings.seed = seed(given.seed);
  return {
    settings,
    signals: signals(given.signals),
    health: health(given.health),
    webSocketCode: webSocketCode(given.webSocketCode),
    exit: boolean('exit', given.exit, true),
    logger: logger(given.logger),
  };
}

function record(what: string, value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError(`lameduck: ${what} must be an object, not ${shown(value)}`);
  }
  return value as Record<string, unknown>;
}

function known(what: string, given: Record<string, unknown>, names: string[]): void {
  for (const name of Object.keys(given)) {
    if (!names.includes(name)) {
      throw new TypeError(`lameduck: unknown ${what} '${name}'; there are ${names.join(', ')}`);
    }
  }
}

function choice<T extends string>(name: string, value: unknown, choices: readonly T[]): T | undefined {
  if (value === undefined || choices.includes(value as T)) return value as T | undefined;
  const list = choices.map((one) => `'${one}'`).join(' or ');
  throw new TypeError(`lameduck: ${name} is ${list}, not ${shown(value)}`);
}

function boolean(name: string, value: unknown, unset: boolean): boolean {
  if (value === undefined) return unset;
  if (typeof value === 'boolean') return value;
  throw new TypeError(`lameduck: ${name} is true or false, not ${shown(value)}`);
}

function seed(value: unknown): bigint {
  if (value === undefined) return BigInt(Math.floor(Math.random() * Number.MAX_SAFE_INTEGER));
  const whole = typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value));
  if (!whole) throw new TypeError(`lameduck: seed is a whole number, not ${shown(value)}`);
  if (value < 0 || value >= 2n ** 64n) {
    throw new RangeError(`lameduck: seed is ${value}; it must be between 0 and 2 ** 64 - 1`);
  }
  return BigInt(value);
}

function reportFile(value: unknown): string | undefined {
  if (value === undefined || (typeof value === 'string' && value !== '')) return value;
  throw new TypeError(`lameduck: reportFile is a path such as '/var/log/app/shutdown.json', not ${shown(value)}`);
}

function signals(value: unknown): NodeJS.Signals[] {
  if (value === undefined) return isMainThread ? ['SIGTERM', 'SIGINT'] : [];
  if (!Array.isArray(value)) {
    throw new TypeError(`lameduck: signals is an array such as ['SIGTERM'], not ${shown(value)}`);
  }
  for (const signal of value) {
    if (typeof signal !== 'string' || !(signal in constants.signals)) {
      throw new TypeError(`lameduck: signals: ${shown(signal)} is no signal of this system`);
    }
    if (UNCATCHABLE.includes(signal)) {
      throw new RangeError(`lameduck: signals: no process can catch ${signal}; leave it out`);
    }
  }
  if (value.length > 0 && !isMainThread) {
    throw new RangeError(
      'lameduck: signals: a worker thread gets none. The main thread gets them and tells this one, which calls shutdown(); ' +
        'leave the option out',
    );
  }
  return [...new Set(value as NodeJS.Signals[])];
}

/** Those of RFC 6455 §7.4 and its registry that a server which leaves can mean, or the application's own. */
function webSocketCode(value: unknown): number {
  if (value === undefined) return 1012;
  const code = value as number;
  if (!Number.isInteger(code)) {
    throw new TypeError(`lameduck: webSocketCode is a number such as 1012 or 1001, not ${shown(value)}`);
  }
  if (![1000, 1001, 1012, 1013].includes(code) && (code < 3000 || code > 4999)) {
    throw new RangeError(`lameduck: webSocketCode is ${code}; a server that leaves says 1012, 1001, 1013, 1000, or 3000 to 4999`);
  }
  return code;
}

function health(value: unknown): Checked['health'] {
  if (value === undefined) return { checks: [], timeout: 1_000 };
  const given = record('health', value);
  known('health option', given, HEALTH);
  const checks = Object.entries(given.checks === undefined ? {} : record('health.checks', given.checks));
  for (const [name, fn] of checks) {
    if (typeof fn !== 'function') {
      throw new TypeError(`lameduck: health.checks.${name} is a function, not ${shown(fn)}`);
    }
  }
  const timeout = given.checkTimeout ?? 1_000;
  return {
    ...path('livePath', given.livePath),
    ...path('readyPath', given.readyPath),
    checks: checks as [string, Check][],
    timeout: milliseconds('health.checkTimeout', timeout, 10),
  };
}

function path<N extends string>(name: N, value: unknown): { [K in N]?: string } {
  if (value === undefined) return {};
  if (typeof value !== 'string' || !value.startsWith('/')) {
    throw new TypeError(`lameduck: health.${name} is a path such as '/readyz', not ${shown(value)}`);
  }
  return { [name]: value } as { [K in N]?: string };
}

function logger(value: unknown): Logger | false | undefined {
  if (value === undefined || value === false) return value;
  const given = value as Partial<Logger> | null;
  if (typeof given !== 'object' || typeof given?.info !== 'function' || typeof given.warn !== 'function') {
    throw new TypeError(`lameduck: logger has the methods info and warn, as pino and console do; or is false`);
  }
  return given as Logger;
}
