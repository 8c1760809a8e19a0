// SPDX-License-Identifier: MIT
// How the peers are set up: the configuration of each, written into a folder, and the command that starts it with that.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ecdsa } from '../../test/helpers/certificates.ts';
import type { Programs } from './programs.ts';

export interface Place {
  /** On 127.0.0.1, as is `port`. */
  readonly backendPort: number;
  readonly port: number;
  /** Sessions it must have room for. */
  readonly sessions: number;
  readonly workers: number;
  /** Temporary folder. */
  readonly folder: string;
  /** Certificate and key in one file. */
  readonly pem: string;
  readonly programs: Programs;
}

export const packagesOf = {
  nginx: ['nginx', 'libnginx-mod-stream'],
  haproxy: ['haproxy'],
  hitch: ['hitch'],
  stunnel: ['stunnel4'],
};

const sessionTimeout = '1h';

/** With what is to stand in the main context, and in that of the server. */
export function nginx(place: Place, main: string, server = ''): readonly string[] {
  const { folder, port, backendPort, sessions, workers, programs } = place;
  const file = join(folder, 'nginx.conf');
  writeFileSync(
    file,
    `pid ${folder}/nginx.pid; error_log ${folder}/error.log; worker_processes ${workers}; ${main}
load_module ${programs.path('/usr/lib/nginx/modules/ngx_stream_module.so')};
events { worker_connections ${4 * sessions}; }
stream {
  server {
    listen 127.0.0.1:${port} ssl backlog=4096;
    ssl_certificate ${ecdsa.cert}; ssl_certificate_key ${ecdsa.key};
    proxy_pass 127.0.0.1:${backendPort}; proxy_timeout ${sessionTimeout};
    ${server}
  }
}
`,
  );
  // With its path: it is executed again by this name.
  return [...programs.command('/usr/sbin/nginx'), '-c', file];
}

/** With what is to stand in `global`. */
export function haproxy(place: Place, global = ''): readonly string[] {
  const { folder, port, backendPort, sessions, pem, workers, programs } = place;
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(
    file,
    `global
  maxconn ${2 * sessions}
  ${workers === 1 ? 'nbthread 1' : ''}
  ${global}
defaults
  mode tcp
  timeout connect 5s
  timeout client ${sessionTimeout}
  timeout server ${sessionTimeout}
listen bench
  bind 127.0.0.1:${port} ssl crt ${pem}
  server backend 127.0.0.1:${backendPort}
`,
  );
  return [...programs.command('/usr/sbin/haproxy'), '-f', file];
}

export function hitch({ folder, port, backendPort, pem, workers, programs }: Place): readonly string[] {
  const file = join(folder, 'hitch.conf');
  writeFileSync(
    file,
    `frontend = "[127.0.0.1]:${port}"
backend = "[127.0.0.1]:${backendPort}"
pem-file = "${pem}"
workers = ${workers}
backlog = 4096
daemon = off
user = "nobody"
`,
  );
  return [...programs.command('/usr/sbin/hitch'), `--config=${file}`];
}

/** With what is to stand before the services. */
export function stunnel({ folder, port, backendPort, programs }: Place, more = ''): readonly string[] {
  const file = join(folder, 'stunnel.conf');
  writeFileSync(
    file,
    `foreground = yes
pid = ${folder}/stunnel.pid
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
${more}
[bench]
accept = 127.0.0.1:${port}
connect = 127.0.0.1:${backendPort}
cert = ${ecdsa.cert}
key = ${ecdsa.key}
`,
  );
  return [...programs.command('/usr/bin/stunnel'), file];
}
