// What a database's process can do, whichever it is.
import { readdirSync, readFileSync } from 'node:fs';

/** `ask()` resolves with the number of connections that others have. */
export function server(child, port, ask) {
  return {
    port,
    /** How many connections are open, once that is `expected` or 2 s have passed: servers notice an end in their own time. */
    async connections(expected = 0) {
      let count;
      for (const began = performance.now(); performance.now() - began < 2000; await new Promise((resolve) => setTimeout(resolve, 50))) {
        count = await ask();
        if (count === expected) break;
      }
      return count;
    },
    kill() {
      signal(child.pid, 'SIGKILL');
      return child.gone;
    },
    freeze: () => signal(child.pid, 'SIGSTOP'),
    thaw: () => signal(child.pid, 'SIGCONT'),
  };
}

/** To a process and all that descend from it: PostgreSQL gives each connection a process group of its own. */
function signal(root, name) {
  const parents = new Map();
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      parents.set(Number(pid), Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]));
    } catch {
      // Gone meanwhile.
    }
  }
  const descends = (pid) => pid === root || (parents.has(pid) && descends(parents.get(pid)));
  for (const pid of [...parents.keys()].filter(descends)) {
    try {
      process.kill(pid, name);
    } catch {
      // Gone meanwhile.
    }
  }
}
