import type { Server as HttpServer } from 'node:http';
import type { Http2SecureServer, Http2Server } from 'node:http2';
import type { Server as HttpsServer } from 'node:https';

import { Duck } from './duck.js';
import { check, type Options } from './options.js';

export type { ForcedMessage, HookMessage, PhaseMessage, ReportMessage } from './channels.js';
export type { EventStreamOptions, ShutdownOptions } from './duck.js';
export type { Hook, HookOptions, UseOptions } from './hooks.js';
export type { Duration } from './duration.js';
export type { JobOptions } from './jobs.js';
export type { Logger } from './log.js';
export type { Check, HealthOptions, Options } from './options.js';
export type { Blocker, Blockers, Phase, Report, Stage } from './report.js';
export { Duck };

/**
 * Makes `server` stop without dropping a request: on SIGTERM or SIGINT, or when
 * `shutdown()` is called.
 *
 * @throws TypeError for an option that is misspelt or of the wrong type, a server that is
 *   none or is attached already; RangeError for values that are negative or contradict.
 */
export function lameduck(server: HttpServer | HttpsServer | Http2Server | Http2SecureServer, options: Options = {}): Duck {
  return Duck.of(server, check(options));
}
