// Compiles the addon or the command, for this machine or for a platform of platforms.mjs, and says where the result is.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const cwd = fileURLToPath(new URL('..', import.meta.url));

/** What cargo said on standard output; its errors are its own to print. */
function cargo(args, env = process.env) {
  const { status, stdout, error } = spawnSync('cargo', args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (status === 0) return stdout;
  console.error(`cargo ${args[0]} failed${error ? `: ${error.message}` : ''}; nothing was built`);
  process.exit(1);
}

export const { target_directory: targets } = JSON.parse(cargo(['metadata', '--format-version', '1', '--no-deps', '--locked']));

const library = (os) => (os === 'darwin' ? 'liblameduck_node.dylib' : 'liblameduck_node.so');
const ADDON = { crate: 'lameduck-node', file: library };
/** The `lameduck` command. */
export const COMMAND = { crate: 'lameduck-cli', file: () => 'lameduck' };

const build = ({ crate }) => ['--release', '--locked', '--package', crate];

/** For this machine. */
export function compile(product = ADDON) {
  cargo(['build', ...build(product)]);
  return `${targets}/release/${product.file(process.platform)}`;
}

/** For others' machines: stripped, and on Linux linked by zig, the addon against the oldest glibc or musl, the command against nothing. */
export function compileFor({ os, cpu, libc, target, glibc }, product = ADDON) {
  const env = { ...process.env };
  const zig = spawnSync('cargo-zigbuild', ['--version']).status === 0;
  if (!zig && os === 'linux') {
    if (libc === 'musl' || cpu !== process.arch) {
      console.error(`install cargo-zigbuild and zig: without them nothing here links for ${target}`);
      process.exit(2);
    }
    console.error(`built against this machine's glibc; with cargo-zigbuild and zig it would run from glibc ${glibc} on`);
  }
  const alone = product === COMMAND && zig && os === 'linux';
  const triple = alone ? target.replace(/gnu$/, 'musl') : target;
  // As Node's own build for musl does.
  if (libc === 'musl' && !alone) env.RUSTFLAGS = '-C target-feature=-crt-static';
  const name = zig && glibc && !alone ? `${triple}.${glibc}` : triple;
  cargo([zig ? 'zigbuild' : 'build', ...build(product), '--config', 'profile.release.strip="symbols"', '--target', name], env);
  return `${targets}/${triple}/release/${product.file(os)}`;
}
