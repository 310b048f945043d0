/** The phase of a shutdown; it never goes back. */
export type Phase = 'serving' | 'draining' | 'closing' | 'done';

/** One thing that shutdown waits for. */
export type Blocker =
  | { what: 'hook'; name: string; stage: Stage; age_ms: number }
  | { what: 'job'; id: number; name: string; age_ms: number }
  | {
      what: 'request';
      protocol: string;
      kind: string;
      peer?: string;
      label?: string;
      state: string;
      age_ms: number;
    };

/** What holds shutdown up: counts, and the oldest by name. */
export interface Blockers {
  requests: number;
  idle_connections: number;
  jobs: number;
  hooks: number;
  listeners: number;
  oldest: Blocker[];
}

/** When a hook runs. */
export type Stage = 'drain' | 'close' | 'flush';

/** What happened; schema `lameduck-report/1`, times in milliseconds. */
export interface Report {
  schema: 'lameduck-report/1';
  phase: Phase;
  cause?: string;
  /** The signal, what `shutdown({ cause })` was given, or the error's first line. */
  cause_detail?: string;
  raised_by?: string[];
  took_ms: number;
  exit_code: number;
  lost: string[];
  policy: { name: string; ms?: number; origin: 'code' | 'default' | 'environment' }[];
  timeline: { at_ms: number; what: string }[];
  listeners: { open: number; failed: number; errors?: string[] };
  connections: { adopted: number; opened: number; forced: number; open: number };
  requests: {
    adopted: number;
    admitted: number;
    not_processed: number;
    completed: number;
    client_gone: number;
    refused: number;
    ended: number;
    forced: number;
    in_flight: number;
  };
  hooks: {
    name: string;
    stage: Stage;
    order: number;
    result: 'ok' | 'failed' | 'timed_out' | 'not_run' | 'running' | 'waiting';
    took_ms?: number;
    error?: string;
  }[];
  jobs: {
    completed: number;
    failed: number;
    /** Stopped when draining began, as they were meant to (`onDrain: 'cancel'`). */
    cancelled: number;
    aborted: number;
    forced: number;
    running: number;
  };
  forced: Blocker[];
  blocked_at: { deadline: string; at_ms: number; blockers: Blockers }[];
  blockers?: Blockers;
  /** What else was open at the drain deadline, if anything held the shutdown up then. */
  open_handles?: string[];
  /** When the process was ended at the hard deadline: for how long nothing was heard from the event loop. */
  event_loop_blocked_ms?: number;
}
