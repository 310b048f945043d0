// The real balancers, each started in the foreground with a configuration of its own in a temporary folder.
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Balancers by name. `command` and `config` make one in front of two ports; `settle` is how long it may take to trust a server that
 * came back; `server` is the program behind it, when it can be no other; `holds`, what can be held through it, when that is not all.
 */
export const balancers = {
  // The open-source nginx has no active checks: it learns from `Connection: close` and from refused connections, which it retries
  // for every method; a POST that was sent is never retried (proxy_next_upstream's default: error timeout).
  nginx: {
    settle: 2500,
    command: (folder) => ['nginx', '-e', join(folder, 'error.log'), '-p', folder, '-c', join(folder, 'config')],
    config: (folder, port, [a, b]) => `
daemon off;
${process.getuid() === 0 ? 'user root;' : ''}
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log warn;
events { worker_connections 2000; }
http {
  access_log off;
  client_body_temp_path ${folder}/temp/body;
  proxy_temp_path ${folder}/temp/proxy;
  fastcgi_temp_path ${folder}/temp/fastcgi;
  uwsgi_temp_path ${folder}/temp/uwsgi;
  scgi_temp_path ${folder}/temp/scgi;
  client_body_buffer_size 128k;
  keepalive_requests 1000000;
  map $http_upgrade $connection_upgrade {
    default upgrade;
    '' '';
  }
  upstream servers {
    server 127.0.0.1:${a} max_fails=1 fail_timeout=1s;
    server 127.0.0.1:${b} max_fails=1 fail_timeout=1s;
    keepalive 64;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }
  }
}
`,
  },
  'haproxy-http': { ...haproxy('http') },
  'haproxy-tcp': { ...haproxy('tcp') },
  // Clients speak HTTP/1.1 to it, it speaks HTTP/2 to the servers, many requests on few connections.
  'haproxy-http2': { ...haproxy('http', 'proto h2 check-proto h2'), server: 'server-http2.mjs', holds: ['stream'] },
};

function haproxy(mode, more = '') {
  return {
    settle: 1500,
    command: (folder) => ['haproxy', '-db', '-f', join(folder, 'config')],
    config: (_folder, port, [a, b]) => `
global
  maxconn 2000
defaults
  mode ${mode}
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
frontend clients
  bind 127.0.0.1:${port}
  default_backend servers
backend servers
  balance roundrobin
  option httpchk
  http-check send meth GET uri /readyz ver HTTP/${more ? 2 : 1.1} hdr Host rolling
  http-check expect status 200
  default-server inter 400ms ${more}
  server a 127.0.0.1:${a} check
  server b 127.0.0.1:${b} check
`,
  };
}

/** Starts a balancer in a process group of its own (nginx has workers). */
export function startBalancer(name, folder, port, ports) {
  const { command, config } = balancers[name];
  mkdirSync(join(folder, 'temp'));
  writeFileSync(join(folder, 'config'), config(folder, port, ports));
  const [program, ...args] = command(folder);
  return spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
}
