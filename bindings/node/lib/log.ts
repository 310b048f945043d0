import { isMainThread, threadId } from 'node:worker_threads';

/** What takes the log lines; pino and console fit. */
export interface Logger {
  info(line: string): void;
  warn(line: string): void;
}

const plain: Logger = {
  info: (line) => process.stderr.write(`${line}\n`),
  warn: (line) => process.stderr.write(`${line}\n`),
};

const PREFIX = isMainThread ? 'lameduck' : `lameduck (worker ${threadId})`;

/** Log lines begin with `lameduck`. A logger that throws is not our reason to stop. */
export class Log {
  readonly #logger: Logger | undefined;

  constructor(logger: Logger | false | undefined) {
    this.#logger = logger === false ? undefined : (logger ?? plain);
  }

  info(line: string): void {
    this.#write('info', line);
  }

  warn(line: string): void {
    this.#write('warn', line);
  }

  #write(level: 'info' | 'warn', line: string): void {
    try {
      this.#logger?.[level](`${PREFIX}: ${line}`);
    } catch {
      // Nothing better to tell it to.
    }
  }
}
