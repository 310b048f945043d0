// Packs what is published, into packages/:
//   node scripts/pack.mjs                    `lameduck` itself, with nothing compiled, and the package of this machine
//   node scripts/pack.mjs linux-x64-musl …   the packages of these platforms: addon and command
//   node scripts/pack.mjs lameduck           `lameduck` itself
//   … --as-built                             with what `make build` has made, which needs this machine's glibc
// The platforms' packages are optional dependencies of `lameduck`; npm installs the one that fits.
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { COMMAND, compile, compileFor } from './compile.mjs';
import { PLATFORMS, packageOf } from './platforms.mjs';

const here = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const manifest = JSON.parse(readFileSync(here('package.json'), 'utf8'));
const { version, license, repository, engines } = manifest;
const packages = here('packages');
const LICENSES = ['LICENSE-APACHE', 'LICENSE-MIT'];

/** Packs a folder that `fill` has filled beside its manifest. */
function pack(content, fill) {
  const folder = mkdtempSync(join(tmpdir(), 'lameduck-pack-'));
  try {
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify(content, null, 2)}\n`);
    for (const file of LICENSES) copyFileSync(here(`../../${file}`), join(folder, file));
    fill(folder);
    mkdirSync(packages, { recursive: true });
    const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', packages], { cwd: folder, encoding: 'utf8' });
    console.log(join(packages, packed.trim()));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What npm would pack here, but the addon. */
function published() {
  const listed = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts', '--loglevel=error'], { cwd: here('.'), encoding: 'utf8' });
  return JSON.parse(listed)[0].files.map(({ path }) => path).filter((path) => path !== 'package.json' && !path.endsWith('.node'));
}

function packMain() {
  const { scripts, devDependencies, ...content } = manifest;
  const optionalDependencies = Object.fromEntries(PLATFORMS.map((platform) => [packageOf(platform), version]));
  pack({ ...content, files: [...manifest.files, ...LICENSES], optionalDependencies }, (folder) => {
    const doors = manifest.files.filter((name) => name.endsWith('.*')).map((name) => name.slice(0, -1));
    const isDoor = (name) => doors.some((door) => name.startsWith(door));
    for (const file of published()) {
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      copyFileSync(here(file), join(folder, file));
    }
  });
}

function packPlatform(platform) {
  const { name, os, cpu, libc } = platform;
  const content = {
    name: packageOf(platform),
    version,
    description: `The addon and the command of lameduck for ${name}`,
    license,
    ...(repository && { repository }),
    engines,
    os: [os],
    cpu: [cpu],
    ...(libc && { libc: [libc] }),
    main: 'lameduck.node',
    files: ['lameduck.node', 'lameduck', ...LICENSES],
  };
  const library = asBuilt ? here(`native/lameduck.${os}-${cpu}.node`) : compileFor(platform);
  const command = asBuilt ? compile(COMMAND) : compileFor(platform, COMMAND);
  pack(content, (folder) => {
    copyFileSync(library, join(folder, 'lameduck.node'));
    copyFileSync(command, join(folder, 'lameduck'));
    chmodSync(join(folder, 'lameduck'), 0o755);
    writeFileSync(join(folder, 'README.md'), `The addon and the command of [lameduck](https://www.npmjs.com/package/lameduck) for ${name}. Install \`lameduck\`.\n`);
  });
}

/** Under glibc the report of this process says so. */
function ownPlatform() {
  const libc = process.platform !== 'linux' ? undefined : process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl';
  return PLATFORMS.find(({ os, cpu, libc: its }) => os === process.platform && cpu === process.arch && its === libc);
}

const asBuilt = process.argv.includes('--as-built');
const asked = process.argv.slice(2).filter((word) => word !== '--as-built');
const byName = (name) => PLATFORMS.find((platform) => platform.name === name);
const unknown = asked.find((name) => name !== 'lameduck' && !byName(name));
const own = ownPlatform();
if (unknown !== undefined || (asked.length === 0 && !own)) {
  console.error(`pack: there is no package for ${unknown ?? `${process.platform}-${process.arch}`}; there are lameduck, ${PLATFORMS.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
for (const name of asked.length > 0 ? asked : ['lameduck', own.name]) {
  if (name === 'lameduck') packMain();
  else packPlatform(byName(name));
}
