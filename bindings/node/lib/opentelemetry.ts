// `lameduck/opentelemetry`: the metrics of a duck, and its shutdown as a span, through the API of OpenTelemetry.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';

import {
  type BatchObservableResult,
  type MeterProvider,
  metrics,
  type Observable,
  ROOT_CONTEXT,
  type Span,
  SpanStatusCode,
  trace,
  type TracerProvider,
} from '@opentelemetry/api';

import type { ForcedMessage, HookMessage, PhaseMessage } from './channels.js';
import type { Duck } from './duck.js';

const SCOPE = 'lameduck';
/** Before any flush hook of the program: one of them shuts the SDK down, and what has not ended then is lost. */
const FIRST = -(2 ** 31 - 1);

export interface Providers {
  /** Default: the global one. */
  meterProvider?: MeterProvider;
  /** Default: the global one. */
  tracerProvider?: TracerProvider;
}

/**
 * Observes `duck`: its metrics whenever they are read, and its shutdown as one span, with an event for each phase and
 * each connection that is cut, and a child span for each hook. Shut the SDK down in an `onFlush` hook.
 *
 * @throws Error when the duck is closing already; nothing observes it then.
 */
export function instrument(duck: Duck, providers: Providers = {}): void {
  follow(duck, providers.tracerProvider ?? trace.getTracerProvider());
  observe(duck, providers.meterProvider ?? metrics.getMeterProvider());
}

/** How each family is called here (semantic conventions: units in braces are counted, sums go up and down). */
const INSTRUMENTS: Record<string, { name: string; unit: string; kind: 'Counter' | 'Gauge' | 'UpDownCounter' }> = {
  phase: { name: 'lameduck.phase', unit: '1', kind: 'UpDownCounter' },
  ready: { name: 'lameduck.ready', unit: '1', kind: 'Gauge' },
  connections: { name: 'lameduck.connections', unit: '{connection}', kind: 'UpDownCounter' },
  requests_in_flight: { name: 'lameduck.requests.in_flight', unit: '{request}', kind: 'UpDownCounter' },
  jobs: { name: 'lameduck.jobs', unit: '{job}', kind: 'UpDownCounter' },
  shutdown_seconds: { name: 'lameduck.shutdown.duration', unit: 's', kind: 'Gauge' },
  shutdown_requests_total: { name: 'lameduck.shutdown.requests', unit: '{request}', kind: 'Counter' },
};

function observe(duck: Duck, provider: MeterProvider): void {
  const meter = provider.getMeter(SCOPE);
  const observables = new Map<string, Observable>();
  for (const { name: family, help: description } of duck.families()) {
    const { name, unit, kind } = INSTRUMENTS[family]!;
    observables.set(family, meter[`createObservable${kind}`](name, { description, unit }));
  }
  const read = (result: BatchObservableResult) => {
    for (const { name, label, samples } of duck.families()) {
      const observable = observables.get(name)!;
      for (const [of, value] of samples) result.observe(observable, value, label === undefined ? {} : { [`lameduck.${label}`]: of });
    }
  };
  meter.addBatchObservableCallback(read, [...observables.values()]);
}

function follow(duck: Duck, provider: TracerProvider): void {
  const tracer = provider.getTracer(SCOPE);
  let shutdown: Span | undefined;
  const hooks = new Map<number, Span>();

  const phases = (message: unknown) => {
    const { duck: of, phase } = message as PhaseMessage;
    if (of !== duck) return;
    shutdown ??= tracer.startSpan('lameduck shutdown', { root: true });
    shutdown.addEvent(`lameduck.${phase}`);
    if (phase === 'done') end();
  };
  const ran = (message: unknown) => {
    const { duck: of, id, name, stage, result, error } = message as HookMessage;
    if (of !== duck || !shutdown) return;
    if (result === 'running') {
      const attributes = { 'lameduck.hook.name': name, 'lameduck.hook.stage': stage };
      hooks.set(id, tracer.startSpan(`lameduck ${stage} hook`, { attributes }, trace.setSpan(ROOT_CONTEXT, shutdown)));
      return;
    }
    const span = hooks.get(id);
    span?.setAttribute('lameduck.hook.result', result);
    if (error instanceof Error) span?.recordException(error);
    if (result !== 'ok') span?.setStatus({ code: SpanStatusCode.ERROR, message: error === undefined ? result : String(error) });
    span?.end();
    hooks.delete(id);
  };
  const cut = (message: unknown) => {
    const { duck: of, protocol, peer, requests } = message as ForcedMessage;
    if (of !== duck) return;
    const labels = requests.map(({ label }) => label);
    shutdown?.addEvent('lameduck.forced', { 'network.protocol.name': protocol, 'network.peer.address': peer, 'lameduck.requests': labels });
  };
  const end = () => {
    if (!shutdown) return;
    const { cause, cause_detail, exit_code, lost, requests } = duck.reportSoFar();
    for (const [name, value] of Object.entries({ cause, cause_detail, exit_code })) {
      if (value !== undefined) shutdown.setAttribute(`lameduck.${name}`, value);
    }
    for (const [verdict, count] of Object.entries(requests)) shutdown.setAttribute(`lameduck.requests.${verdict}`, count);
    if (lost.length > 0) shutdown.setStatus({ code: SpanStatusCode.ERROR, message: lost.join('; ') });
    shutdown.end();
    unsubscribe('lameduck:phase', phases);
    unsubscribe('lameduck:hook', ran);
    unsubscribe('lameduck:forced', cut);
  };
  // First: it is refused when it comes too late.
  duck.onFlush('opentelemetry', end, { order: FIRST });
  subscribe('lameduck:phase', phases);
  subscribe('lameduck:hook', ran);
  subscribe('lameduck:forced', cut);
}
