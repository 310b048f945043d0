import { constants } from 'node:os';

import type { Log } from './log.js';

/** What a signal asks for. */
export interface Wishes {
  stop(cause: string, detail: string): void;
  escalate(): void;
  readonly stopping: boolean;
}

type Heard = NodeJS.Signals | 'uncaughtException';
type Handler = (error: unknown, origin: unknown) => void;

/** Listens to the signals and to errors that nobody caught. */
export class Signals {
  readonly #handlers: [Heard, Handler][] = [];
  readonly #log: Log;
  readonly #wishes: Wishes;

  constructor(log: Log, wishes: Wishes) {
    this.#log = log;
    this.#wishes = wishes;
  }

  /** Returns the numbers of the signals. */
  listen(signals: NodeJS.Signals[], interactive: boolean): number[] {
    for (const signal of signals) {
      this.#on(signal, () => this.#signalled(signal, interactive));
    }
    return signals.map((signal) => constants.signals[signal]);
  }

  /**
   * An error that nobody caught ends the process, but not before its requests. Node makes
   * an unhandled rejection one of these, unless it was told otherwise.
   */
  listenForErrors(): void {
    this.#on('uncaughtException', (error: unknown, origin: unknown) => {
      // Somebody else's listener means that the program decides what such an error is.
      if (process.listenerCount('uncaughtException') > 1) return;
      const cause = origin === 'unhandledRejection' ? 'unhandled_rejection' : 'uncaught_exception';
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#log.warn(`${cause}: ${text}`);
      this.#wishes.stop(cause, text.split('\n', 1)[0]!);
    });
  }

  remove(): void {
    for (const [event, handler] of this.#handlers) process.removeListener(event, handler);
    this.#handlers.length = 0;
  }

  #on(event: Heard, handler: Handler): void {
    this.#handlers.push([event, handler]);
    process.on(event, handler as () => void);
  }

  #signalled(signal: NodeJS.Signals, interactive: boolean): void {
    if (!this.#wishes.stopping) {
      const cause = signal === 'SIGINT' && interactive ? 'interrupt' : 'terminate';
      this.#wishes.stop(cause, signal);
    } else if (signal === 'SIGINT') {
      this.#wishes.escalate();
    } else {
      // npm and init processes send the signal twice; that must not cost a request.
      this.#log.info(`${signal} again; already stopping (SIGINT forces)`);
    }
  }
}
