// What is published on `node:diagnostics_channel` for whoever watches from outside. Nothing is made up while nobody listens.
import { channel } from 'node:diagnostics_channel';

import type { Duck } from './duck.js';
import type { Phase, Report, Stage } from './report.js';

/** On `lameduck:phase`: a phase began. */
export interface PhaseMessage {
  duck: Duck;
  phase: Phase;
}

/** On `lameduck:hook`: a hook was called, or is not waited for any more. */
export interface HookMessage {
  duck: Duck;
  /** Tells hooks of one duck apart. */
  id: number;
  name: string;
  stage: Stage;
  result: 'running' | 'ok' | 'failed' | 'timed_out';
  /** What it threw. */
  error?: unknown;
}

/** On `lameduck:forced`: a connection is cut at the drain deadline, with these requests in flight. */
export interface ForcedMessage {
  duck: Duck;
  protocol: string;
  peer: string;
  /** Requests, or streams of HTTP/2, as the program got them; those without a head of an answer get 503. */
  requests: { request: object; label: string; kind: string; answered: boolean }[];
}

/** On `lameduck:report`: all is done. */
export interface ReportMessage {
  duck: Duck;
  report: Report;
}

interface Messages {
  phase: PhaseMessage;
  hook: HookMessage;
  forced: ForcedMessage;
  report: ReportMessage;
}

const channels = {
  phase: channel('lameduck:phase'),
  hook: channel('lameduck:hook'),
  forced: channel('lameduck:forced'),
  report: channel('lameduck:report'),
};

/** Publishes what `message` makes, if anybody listens. What a listener throws, Node makes an uncaught exception. */
export function publish<Name extends keyof Messages>(name: Name, message: () => Messages[Name]): void {
  const to = channels[name];
  if (to.hasSubscribers) to.publish(message());
}
