// Compiles the addon, for this machine or for a platform of platforms.mjs, and says where the library is.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const cwd = fileURLToPath(new URL('..', import.meta.url));

/** What cargo said on standard output; its errors are its own to print. */
function cargo(args, env = process.env) {
  const { status, stdout, error } = spawnSync('cargo', args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (status === 0) return stdout;
  console.error(`cargo ${args[0]} failed${error ? `: ${error.message}` : ''}; the addon was not built`);
  process.exit(1);
}

export const { target_directory: targets } = JSON.parse(cargo(['metadata', '--format-version', '1', '--no-deps', '--locked']));

const BUILD = ['--release', '--locked', '--package', 'lameduck-node'];
const library = (os) => (os === 'darwin' ? 'liblameduck_node.dylib' : 'liblameduck_node.so');

/** For this machine. */
export function compile() {
  cargo(['build', ...BUILD]);
  return `${targets}/release/${library(process.platform)}`;
}

/** For others' machines: stripped, and on Linux linked by zig against the oldest glibc, or musl. */
export function compileFor({ os, cpu, libc, target, glibc }) {
  const env = { ...process.env };
  const zig = spawnSync('cargo-zigbuild', ['--version']).status === 0;
  if (!zig && os === 'linux') {
    if (libc === 'musl' || cpu !== process.arch) {
      console.error(`install cargo-zigbuild and zig: without them nothing here links for ${target}`);
      process.exit(2);
    }
    console.error(`built against this machine's glibc; with cargo-zigbuild and zig it would run from glibc ${glibc} on`);
  }
  // As Node's own build for musl does.
  if (libc === 'musl') env.RUSTFLAGS = '-C target-feature=-crt-static';
  const command = zig ? 'zigbuild' : 'build';
  const name = zig && glibc ? `${target}.${glibc}` : target;
  cargo([command, ...BUILD, '--config', 'profile.release.strip="symbols"', '--target', name], env);
  return `${targets}/${target}/release/${library(os)}`;
}
