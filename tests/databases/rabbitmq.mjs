// RabbitMQ, a node of its own with a port mapper of its own.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, output, run, temporaryFolder, until } from '../support/children.mjs';
import { server } from './server.mjs';

const BIN = '/usr/lib/rabbitmq/bin';

export async function start() {
  const folder = temporaryFolder('rabbitmq');
  const [port, distribution, mapper] = [await freePort(), await freePort(), await freePort()];
  writeFileSync(join(folder, 'plugins'), '[].');
  writeFileSync(join(folder, 'rabbitmq.conf'), '');
  mkdirSync(join(folder, 'data'));
  const env = {
    ...process.env,
    HOME: folder,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: `${mapper}`,
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq'),
    RABBITMQ_CONF_ENV_FILE: join(folder, 'none'),
    RABBITMQ_DIST_PORT: `${distribution}`,
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
    RABBITMQ_LOG_BASE: folder,
    RABBITMQ_LOGS: '-',
    RABBITMQ_MNESIA_BASE: join(folder, 'data'),
    RABBITMQ_NODENAME: `lameduck-${port}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: `${port}`,
    RABBITMQ_PID_FILE: join(folder, 'pid'),
    // One scheduler that sleeps when it has nothing to do: the machine has other tests to run.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+S 1:1 +sbwt none',
  };
  // Started here, it is one of these children; started by the server, it would outlive it.
  const epmd = run('epmd', ['-port', `${mapper}`, '-address', '127.0.0.1'], { env });
  const child = run(join(BIN, 'rabbitmq-server'), [], { env });
  const ask = (...words) => output(join(BIN, 'rabbitmqctl'), ['--quiet', ...words], { env });
  await until(child, () => /Server startup complete/.test(child.said), 60_000);
  const lines = (text) => text.trim().split('\n').filter(Boolean);
  const others = async () => lines(await ask('list_connections', 'pid', '--no-table-headers')).length;
  const { kill, ...node } = server(child, port, others);
  return {
    ...node,
    kill: () => Promise.all([kill(), server(epmd).kill()]),
    /** Closes all connections, as a broker that is restarted. */
    cut: () => ask('close_all_connections', 'test'),
    /** Messages of each queue: `{ name: { ready, unacknowledged, consumers } }`. */
    async queues() {
      const rows = lines(await ask('list_queues', 'name', 'messages_ready', 'messages_unacknowledged', 'consumers', '--no-table-headers'));
      return Object.fromEntries(rows.map((row) => row.split(/\s+/)).map(([name, ...n]) => [name, { ready: +n[0], unacknowledged: +n[1], consumers: +n[2] }]));
    },
  };
}
