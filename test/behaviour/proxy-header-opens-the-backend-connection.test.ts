// SPDX-License-Identifier: MIT
// HAProxy's proxy-protocol.txt: the header comes before the first byte of the session, and says who connected, to where, and how TLS was
// agreed on.
// In the kernel lab on the newest alone: the header is written before the session's first byte.
// In the kernel lab never one direction alone: the header is written before the session's first byte.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { readProxyHeader } from '../helpers/proxy-header.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { contentType } from '../helpers/tls-records.ts';
import { variants } from '../helpers/variants.ts';

const backend = await startBackend();
const listeners = [
  { name: 'v1', backend: backend.address, proxy_protocol: 'v1' },
  { name: 'v2', backend: backend.address, proxy_protocol: 'v2', tls: { alpn: ['h2'] } },
  { name: 'none', backend: backend.address },
];

for (const { proxy, version, label, engine } of await variants({ listeners })) {
  const [v1 = 0, v2 = 0, none = 0] = proxy.ports;

  test(`${label}: version 1 is one line`, async () => {
    const client = await RawTlsClient.connect({ port: v1, version });
    const server = await backend.next();
    client.sendData('payload');
    const line = `PROXY TCP4 127.0.0.1 127.0.0.1 ${client.port} ${v1}\r\n`;
    assert.is((await server.read(line.length + 7)).toString(), `${line}payload`);
    client.peer.reset();
    await server.end;
  });

  test(`${label}: version 2 carries addresses, SNI, ALPN, TLS version, suite and engine`, async () => {
    const client = await RawTlsClient.connect({ port: v2, version, servername: 'example.test', alpn: ['h2'] });
    const server = await backend.next();
    const header = await readProxyHeader(server);
    assert.is(header.kind, 'PROXY TCP4');
    assert.is(header.source, `127.0.0.1:${client.port}`);
    assert.is(header.destination, `127.0.0.1:${v2}`);
    const text = (type: number): string | undefined => header.tlvs.get(type)?.toString();
    assert.is(text(0x01), 'h2', 'PP2_TYPE_ALPN');
    assert.is(text(0x02), 'example.test', 'PP2_TYPE_AUTHORITY');
    assert.is(text(0x21), `TLSv${version}`, 'PP2_SUBTYPE_SSL_VERSION');
    assert.match(text(0x23) ?? '', version === '1.3' ? /^TLS_/ : /ECDHE/, 'PP2_SUBTYPE_SSL_CIPHER');
    assert.is(text(0xe0), engine.name, 'the engine');
    assert.is(header.tlvs.get(0x20)?.[0], 1, 'PP2_CLIENT_SSL');
    client.sendData('payload');
    assert.is((await server.read(7)).toString(), 'payload');
    client.peer.reset();
    await server.end;
  });

  test(`${label}: the header comes at once, before the client says anything`, async () => {
    const client = await RawTlsClient.connect({ port: v2, version });
    const server = await backend.next();
    await readProxyHeader(server);
    server.write('220 ready');
    assert.is((await client.readData(9)).toString(), '220 ready');
    client.peer.reset();
    await server.end;
  });

  test(`${label}: data glued to Finished stands behind the header`, async () => {
    const client = await RawTlsClient.connect({ port: v2, version, holdFinished: true });
    client.peer.write(Buffer.concat([client.heldFlight, client.seal(contentType.data, 'glued')]));
    const server = await backend.next();
    assert.is((await readProxyHeader(server)).version, 2);
    assert.is((await server.read(5)).toString(), 'glued');
    client.peer.reset();
    await server.end;
  });

  test(`${label}: no header where none is configured`, async () => {
    const client = await RawTlsClient.connect({ port: none, version });
    client.sendData('payload');
    const server = await backend.next();
    assert.is((await server.read(7)).toString(), 'payload');
    client.peer.reset();
    await server.end;
  });
}
