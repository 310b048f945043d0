import { execFileSync } from 'node:child_process';

/** As whom a server runs that refuses root: `user`, if this is root. */
export function owner(user) {
  if (process.getuid() !== 0) return {};
  const id = (flag) => Number(execFileSync('id', [flag, user], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}
