// One process can have several ducks; it ends with the last that is stopping.

const stopping = new Set<object>();
let worst = 0;

/** A duck was asked to stop. */
export function enter(duck: object): void {
  stopping.add(duck);
}

/** A duck is done: ends the process with the worst exit code, unless another is still stopping. */
export function leave(duck: object, code: number, exit: boolean): void {
  stopping.delete(duck);
  worst = Math.max(worst, code);
  process.exitCode = worst;
  // Whoever waits for the report gets it first.
  if (exit && stopping.size === 0) setImmediate(() => process.exit(worst));
}
