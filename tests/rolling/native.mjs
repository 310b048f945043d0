// The servers of examples/c and examples/cpp, as they are, and `…-without` lameduck: the same programs with a library that does nothing.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { output } from '../support/children.mjs';

const names = ['beast', 'epoll', 'evhttp', 'microhttpd', 'uv'];

/** What can be held through each: nothing. */
export const nativeServers = Object.fromEntries(
  names.flatMap((name) => [[name, { holds: [] }], [`${name}-without`, { holds: [], leaves: 'SIGTERM' }]]),
);

let folder;

/** The command as a program, its arguments and the options to spawn it. */
export async function nativeCommand(name, port) {
  folder ??= (await output(fileURLToPath(new URL('../../ffi/tests/servers/build.sh', import.meta.url)), [])).trim();
  const [program, without] = name.split('-');
  const env = { ...process.env, PORT: String(port), LAMEDUCK_GRACE: '15', LAMEDUCK_WINDOW: '2' };
  if (without) env.LD_LIBRARY_PATH = join(folder, 'without');
  return [join(folder, 'bin', program), [], { env }];
}
