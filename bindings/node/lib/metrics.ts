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

/** One metric: its name without `lameduck_`, and its values by the value of its label, if it has one. */
export interface Family {
  name: string;
  type: 'counter' | 'gauge';
  help: string;
  label?: string;
  samples: [label: string, value: number][];
}

export function families(counts: Counts, report: Report): Family[] {
  return [
    {
      name: 'phase', type: 'gauge', help: 'The phase that is on, as 1.', label: 'phase',
      samples: PHASES.map((phase) => [phase, Number(phase === counts.phase)]),
    },
    { name: 'ready', type: 'gauge', help: 'Whether this server wants new traffic.', samples: [['', Number(counts.ready)]] },
    { name: 'connections', type: 'gauge', help: 'Open connections.', samples: [['', counts.connections]] },
    { name: 'requests_in_flight', type: 'gauge', help: 'Requests in flight.', samples: [['', counts.inFlight]] },
    { name: 'jobs', type: 'gauge', help: 'Jobs that shutdown waits for.', samples: [['', counts.jobs]] },
    {
      name: 'shutdown_seconds', type: 'gauge', help: 'Time since shutdown was requested.',
      samples: [['', report.took_ms / 1_000]],
    },
    {
      name: 'shutdown_requests_total', type: 'counter', label: 'verdict',
      help: 'Requests in flight at shutdown or admitted since, by verdict.',
      samples: VERDICTS.map((verdict) => [verdict, report.requests[verdict]]),
    },
  ];
}

/** The Prometheus text exposition format, version 0.0.4. */
export function prometheus(all: Family[]): string {
  const lines = all.flatMap(({ name, type, help, label, samples }) => [
    `# HELP lameduck_${name} ${help}`,
    `# TYPE lameduck_${name} ${type}`,
    ...samples.map(([of, value]) => `lameduck_${name}${label === undefined ? '' : `{${label}="${of}"}`} ${value}`),
  ]);
  return `${lines.join('\n')}\n`;
}
