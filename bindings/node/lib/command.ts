// The `lameduck` command, which is a program of its own: this starts it in this process's place.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { absent, packages } from './packages.js';

const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;

/** The program of each installed package, and in the repository the one that cargo has built. */
function programs(): string[] {
  const found = packages.map(([name]) => `${name}/lameduck`).concat('../../../target/release/lameduck');
  return found.flatMap((name) => {
    try {
      return [require.resolve(name)];
    } catch {
      return [];
    }
  });
}

function start([program, ...others]: string[]): void {
  if (program === undefined) {
    console.error(`error: ${absent('command')}`);
    process.exitCode = 2;
    return;
  }
  const child = spawn(program, process.argv.slice(2), { stdio: 'inherit' });
  const forward = (signal: NodeJS.Signals) => {
    // A terminal sends its interrupt to both.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
  };
  for (const signal of SIGNALS) process.on(signal, forward);
  const done = () => {
    for (const signal of SIGNALS) process.off(signal, forward);
  };
  child.on('error', (error: NodeJS.ErrnoException) => {
    done();
    // Linked against another libc: its loader is not there.
    if (error.code === 'ENOENT' && others.length > 0) return start(others);
    console.error(`error: lameduck's command ${program} does not start here: ${error.message}`);
    process.exitCode = 2;
  });
  child.on('exit', (code, signal) => {
    done();
    process.exitCode = code ?? 128 + constants.signals[signal as NodeJS.Signals];
  });
}

start(programs());
