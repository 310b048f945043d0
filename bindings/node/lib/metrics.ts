import type { Phase, Report } from './report.js';

const PHASES: Phase[] = ['serving', 'draining', 'closing', 'done'];
const VERDICTS = ['completed', 'client_gone', 'refused', 'ended', 'forced'] as const;

/** What is known while serving, when the machine counts nothing. */
export interface Counts {
  phase: Phase;
  ready: boolean;
  connections: number;
  inFlight: number;
  jobs: number;
}

/** The Prometheus text exposition format, version 0.0.4. */
export function prometheus(counts: Counts, report: Report): string {
  const lines: string[] = [];
  const family = (name: string, type: string, help: string, samples: [string, number][]) => {
    lines.push(`# HELP lameduck_${name} ${help}`, `# TYPE lameduck_${name} ${type}`);
    for (const [labels, value] of samples) lines.push(`lameduck_${name}${labels} ${value}`);
  };
  family('phase', 'gauge', 'The phase that is on, as 1.',
    PHASES.map((phase) => [`{phase="${phase}"}`, Number(phase === counts.phase)]));
  family('ready', 'gauge', 'Whether this server wants new traffic.', [['', Number(counts.ready)]]);
  family('connections', 'gauge', 'Open connections.', [['', counts.connections]]);
  family('requests_in_flight', 'gauge', 'Requests in flight.', [['', counts.inFlight]]);
  family('jobs', 'gauge', 'Jobs that shutdown waits for.', [['', counts.jobs]]);
  family('shutdown_seconds', 'gauge', 'Time since shutdown was requested.',
    [['', report.took_ms / 1_000]]);
  family('shutdown_requests_total', 'counter', 'Requests in flight at shutdown or admitted since, by verdict.',
    VERDICTS.map((verdict) => [`{verdict="${verdict}"}`, report.requests[verdict]]));
  return `${lines.join('\n')}\n`;
}
