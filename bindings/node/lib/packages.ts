/** What npm calls this machine. */
export const HERE = `${process.platform}-${process.arch}`;

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

/** The packages that hold what was compiled for this machine, each with how to load its addon. */
export const packages = PACKAGES[HERE] ?? [];

/** Why there is no `part` (the addon, the command) here, and what to do. */
export function absent(part: string): string {
  const names = packages.map(([name]) => name);
  if (names.length === 0) {
    return (
      `lameduck has no ${part} for ${HERE}; there is one for ${Object.keys(PACKAGES).join(', ')}. ` +
      "Build it from the repository with 'make build' (needs Rust)"
    );
  }
  return (
    `lameduck's ${part} is not installed: it is in the optional dependency ${names.join(' or ')}. Install without ` +
    '--omit=optional; if node_modules was made on another platform, delete it and install here. ' +
    "In the repository: 'make build'"
  );
}
