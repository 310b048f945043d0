import cluster from 'node:cluster';
import { constants } from 'node:os';

import type { Log } from './log.js';
import { isOurs, programDecides } from './process.js';

/** What a signal asks for. */
export interface Wishes {
  stop(cause: string, detail: string): void;
  escalate(): void;
  readonly stopping: boolean;
}

type Heard = NodeJS.Signals | 'disconnect' | 'message' | 'uncaughtException';
type Handler = (error: unknown, origin: unknown) => void;

/** PM2 puts an app's settings into its environment. */
const underPm2 = process.env.pm_id !== undefined && process.send !== undefined;

/** Listens to the signals, to the parent process and to errors that nobody caught. */
export class Signals {
  readonly #handlers: [Heard, Handler][] = [];
  readonly #log: Log;
  readonly #wishes: Wishes;
  #told = false;

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
    const caught = (error: unknown, origin: unknown) => {
      // Somebody else's listener means that the program decides what such an error is.
      if (programDecides()) return;
      const cause = origin === 'unhandledRejection' ? 'unhandled_rejection' : 'uncaught_exception';
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#log.warn(`${cause}: ${text}`);
      this.#wishes.stop(cause, text.split('\n', 1)[0]!);
    };
    isOurs(caught);
    this.#on('uncaughtException', caught);
  }

  /**
   * PM2 asks with a message where there are no signals (`shutdown_with_message`), and a cluster's
   * worker whose primary is gone would serve nobody.
   */
  listenToParent(): void {
    if (underPm2) {
      this.#on('message', (message: unknown) => {
        if (message === 'shutdown') this.#wishes.stop('peer_message', "PM2's message 'shutdown'");
      });
    }
    if (cluster.isWorker) {
      const gone = () => {
        if (!cluster.worker || cluster.worker.exitedAfterDisconnect) return;
        // Else Node's own listener, the next one, ends the process with all that is in flight.
        cluster.worker.exitedAfterDisconnect = true;
        this.#wishes.stop('parent_gone', 'the primary is gone');
      };
      this.#handlers.push(['disconnect', gone]);
      process.prependListener('disconnect', gone);
    }
  }

  /** PM2 waits for this with `wait_ready`; without, it does not mind. */
  tellParent(): void {
    if (underPm2 && !this.#told) process.send?.('ready');
    this.#told = true;
  }

  remove(): void {
    for (const [event, handler] of this.#handlers) process.removeListener(event, handler);
    this.#handlers.length = 0;
  }

  #on(event: Heard, handler: Handler): void {
    this.#handlers.push([event, handler]);
    // Before the program's own: what closes the server at a signal finds it draining already.
    process.prependListener(event as 'SIGTERM', handler as () => void);
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
