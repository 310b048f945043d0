import type * as Native from '../native/index.js';

export type { Driver, JsEffect as Effect, JsSettings as Settings } from '../native/index.js';

const HERE = `${process.platform}-${process.arch}`;

// Written out, so that bundlers and file tracers see what may be loaded. Where npm knows no libc both are installed, and only one loads.
const PACKAGES: Record<string, [name: string, load: () => unknown][]> = {
  'darwin-arm64': [['@lameduck/darwin-arm64', () => require('@lameduck/darwin-arm64')]],
  'darwin-x64': [['@lameduck/darwin-x64', () => require('@lameduck/darwin-x64')]],
  'linux-arm64': [
    ['@lameduck/linux-arm64-gnu', () => require('@lameduck/linux-arm64-gnu')],
    ['@lameduck/linux-arm64-musl', () => require('@lameduck/linux-arm64-musl')],
  ],
  'linux-x64': [
    ['@lameduck/linux-x64-gnu', () => require('@lameduck/linux-x64-gnu')],
    ['@lameduck/linux-x64-musl', () => require('@lameduck/linux-x64-musl')],
  ],
};

function load(): typeof Native {
  const packages = PACKAGES[HERE] ?? [];
  const own = `../native/lameduck.${HERE}.node`;
  const failures: [name: string, cause: NodeJS.ErrnoException][] = [];
  for (const [name, open] of [[own, () => require(own)] as const, ...packages]) {
    try {
      return open() as typeof Native;
    } catch (cause) {
      failures.push([name, cause as NodeJS.ErrnoException]);
    }
  }
  const broken = failures.find(([, { code }]) => code !== 'MODULE_NOT_FOUND');
  if (broken) {
    const [name, cause] = broken;
    throw new Error(`lameduck's addon ${name} does not load here: ${cause.message.split('\n', 1)[0]}`, { cause });
  }
  const names = packages.map(([name]) => name);
  if (names.length === 0) {
    throw new Error(
      `lameduck has no addon for ${HERE}; there is one for ${Object.keys(PACKAGES).join(', ')}. ` +
        "Build it from the repository with 'make build' (needs Rust)",
    );
  }
  throw new Error(
    `lameduck's addon is not installed: it is in the optional dependency ${names.join(' or ')}. Install without ` +
      '--omit=optional; if node_modules was made on another platform, delete it and install here. ' +
      "In the repository: 'make build'",
  );
}

/** The private addon. */
export const native = load();
