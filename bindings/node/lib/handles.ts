// What keeps the event loop going beside the servers: the database's connection that a stuck request waits for, the timer that
// nobody cleared.
import { ChildProcess } from 'node:child_process';
import { Socket as UdpSocket } from 'node:dgram';
import { Server, Socket } from 'node:net';

import { connectionOf, type Tracked } from './tracked.js';

/** No more than so many are named. */
const MOST = 20;
/** The resources that stand behind named handles, in Node's words. */
const NAMED = ['PipeWrap', 'ProcessWrap', 'TCPServerWrap', 'TCPSocketWrap', 'TTYWrap', 'UDPWrap'];
/** Others whose name tells a stranger little. Immediates are the loop's own business. */
const WORDS: Record<string, string> = {
  CloseReq: '',
  FSEventWrap: 'file watcher',
  FSReqCallback: 'file operation',
  FSReqPromise: 'file operation',
  GetAddrInfoReqWrap: 'DNS lookup',
  Immediate: '',
  MessagePort: 'message port or worker thread',
  StatWatcher: 'file watcher',
  TCPConnectWrap: 'connection attempt',
  TickObject: '',
  Timeout: 'timer',
};

/** What is open and keeps the process alive, for people; without standard streams and what lameduck's own servers have. */
export function openHandles(): string[] {
  const counts = new Map<string, number>();
  const count = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);
  // Not documented, but in every Node from 20 to 26; what it names cannot be had otherwise.
  const { _getActiveHandles: handles } = process as { _getActiveHandles?: () => object[] };
  const named = typeof handles === 'function';
  if (named) for (const handle of handles.call(process)) count(nameOf(handle));
  for (const kind of process.getActiveResourcesInfo()) {
    if (!named || !NAMED.includes(kind)) count(WORDS[kind] ?? kind);
  }
  counts.delete('');
  const lines = [...counts].map(([what, number]) => (number === 1 ? what : `${number} × ${what}`));
  const more = lines.splice(MOST).length;
  return more > 0 ? [...lines, `and ${more} more`] : lines;
}

function nameOf(handle: object): string {
  if (handle instanceof Server) return handle.listening ? `server on ${addressOf(handle.address())}` : '';
  if (handle instanceof ChildProcess) return `child process ${handle.pid} (${handle.spawnfile})`;
  if (handle instanceof UdpSocket) return `UDP socket on ${addressOf(quietly(() => handle.address()))}`;
  if (!(handle instanceof Socket)) return '';
  if (isStandard(handle) || (handle as Tracked)[connectionOf]) return '';
  const { remoteAddress, remotePort, connecting } = handle;
  if (connecting) return 'connection attempt';
  if (remoteAddress === undefined) return 'pipe or Unix socket';
  const accepted = (handle as { server?: unknown }).server != null;
  return `connection ${accepted ? 'from' : 'to'} ${hostAndPort(remoteAddress, remotePort)}`;
}

function isStandard(socket: Socket): boolean {
  // Asking for one of them would make it.
  const fd = (socket as { fd?: unknown }).fd;
  return typeof fd === 'number' && fd <= 2;
}

function quietly<T>(ask: () => T): T | undefined {
  try {
    return ask();
  } catch {
    return undefined; // it was closed in this very turn
  }
}

interface Address {
  address: string;
  port: number;
}

/** As an operator writes it. */
export function addressOf(address: Address | string | null | undefined): string {
  if (address === null || address === undefined) return 'no address';
  return typeof address === 'string' ? address : hostAndPort(address.address, address.port);
}

function hostAndPort(host: string, port: number | undefined): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
