// The platforms that have a package: what npm calls them, what Rust calls them, and the oldest glibc, which is Rust's own.
const linux = (cpu, arch) => [
  { name: `linux-${cpu}-gnu`, os: 'linux', cpu, libc: 'glibc', target: `${arch}-unknown-linux-gnu`, glibc: '2.17' },
  { name: `linux-${cpu}-musl`, os: 'linux', cpu, libc: 'musl', target: `${arch}-unknown-linux-musl` },
];

export const PLATFORMS = [
  { name: 'darwin-arm64', os: 'darwin', cpu: 'arm64', target: 'aarch64-apple-darwin' },
  { name: 'darwin-x64', os: 'darwin', cpu: 'x64', target: 'x86_64-apple-darwin' },
  ...linux('arm64', 'aarch64'),
  ...linux('x64', 'x86_64'),
];

/** The package that holds a platform's addon. */
export const packageOf = ({ name }) => `@lameduck/${name}`;
