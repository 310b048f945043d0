// One process can have several ducks, and several copies of this package (two versions, say). What they must agree on is
// here, once for each thread; its shape is a contract between versions.

interface Shared {
  /** Servers that some duck watches. */
  attached: WeakSet<object>;
  /** Ducks that are stopping. */
  stopping: Set<object>;
  worst: number;
  /** Listeners of 'uncaughtException' that are no program's own. */
  errorListeners: WeakSet<object>;
}

const KEY = Symbol.for('lameduck.process/1');
const place = globalThis as { [KEY]?: Shared };

const shared = (place[KEY] ??= {
  attached: new WeakSet(),
  stopping: new Set(),
  worst: 0,
  errorListeners: new WeakSet(),
});

/** The servers that some duck watches. */
export const { attached } = shared;

/** A listener of 'uncaughtException' that decides nothing for the program. */
export function isOurs(listener: object): void {
  shared.errorListeners.add(listener);
}

/** Whether the program itself decides what becomes of an error that nobody caught. */
export function programDecides(): boolean {
  return process.listeners('uncaughtException').some((listener) => !shared.errorListeners.has(listener));
}

/** A duck was asked to stop. */
export function enter(duck: object): void {
  shared.stopping.add(duck);
}

/** A duck is done: ends the process (of a worker, the thread) with the worst exit code, unless another is still stopping. */
export function leave(duck: object, code: number, exit: boolean): void {
  const { stopping } = shared;
  stopping.delete(duck);
  shared.worst = Math.max(shared.worst, code);
  process.exitCode = shared.worst;
  // Whoever waits for the report gets it first.
  if (exit && stopping.size === 0) setImmediate(() => process.exit(shared.worst));
}
