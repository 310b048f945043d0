// A throw-away self-signed certificate for the HTTPS tests, made once and kept among temporary files.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = join(tmpdir(), 'lameduck-test-certificate');

/** `{ key, cert }` in PEM. Needs the `openssl` command the first time. */
export function certificate() {
  if (!existsSync(folder)) {
    const fresh = mkdtempSync(`${folder}-`);
    execFileSync('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '3650',
      '-subj', '/CN=localhost', '-keyout', join(fresh, 'key.pem'), '-out', join(fresh, 'cert.pem'),
    ], { stdio: 'ignore' });
    try {
      renameSync(fresh, folder);
    } catch {
      // Another test file made it first.
    }
  }
  return { key: readFileSync(join(folder, 'key.pem'), 'utf8'), cert: readFileSync(join(folder, 'cert.pem'), 'utf8') };
}
