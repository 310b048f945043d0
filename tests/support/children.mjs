// Programs that a test runs: each in a process group of its own, in a temporary folder, killed at the end whatever happens.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const children = new Set();
const folders = new Set();
process.on('exit', () => {
  for (const { pid } of children) killGroup(pid);
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

/** Kills what is left of a process group. */
export function killGroup(pid, signal = 'SIGKILL') {
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already.
  }
}

/** A folder that is removed at the end. */
export function temporaryFolder(name) {
  const folder = mkdtempSync(join(tmpdir(), `lameduck-${name}-`));
  folders.add(folder);
  return folder;
}

/** Starts a program. `said` is the end of what it says; `gone` resolves with how it went. */
export function run(command, args, options = {}) {
  return watch(spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, ...options }));
}

/** Notes a child so that its whole process group dies with this process, and keeps the end of what it says. */
export function watch(child) {
  children.add(child);
  child.said = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => (child.said = (child.said + text).slice(-4000)));
  child.on('error', (error) => (child.said += error.message));
  child.gone = once(child, 'close').then(([code, signal]) => {
    children.delete(child);
    return { code, signal };
  }, () => children.delete(child));
  return child;
}

/** Ports below the ephemeral range: while a server is down, no client's own port may take its place. */
export async function freePort() {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    const free = await new Promise((resolve) => {
      const probe = net.createServer().once('error', () => resolve(false)).listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

/** Waits until `probe()` resolves with true; fails when the child ends first, or `patience` is over (milliseconds). */
export async function until(child, probe, patience = 30_000) {
  for (const began = performance.now(); !(await probe()); await new Promise((resolve) => setTimeout(resolve, 30))) {
    if (child.exitCode !== null || child.signalCode !== null || performance.now() - began > patience) {
      throw new Error(`${child.spawnfile} did not come up; it said:\n${child.said}`);
    }
  }
}

/** Runs a program to its end and resolves with what it printed. */
export async function output(command, args, options = {}) {
  const child = run(command, args, options);
  let printed = '';
  child.stdout.on('data', (text) => (printed += text));
  const { code, signal } = await child.gone;
  if (code !== 0) throw new Error(`${command} ended with ${code ?? signal}; it said:\n${child.said}`);
  return printed;
}
