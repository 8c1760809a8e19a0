// SPDX-License-Identifier: MIT
import * as assert from 'uvu/assert';
import { closest, printable, quoted } from '../../src/config/fault.ts';
import { covers, overlaps } from '../../src/config/overlap.ts';
import * as values from '../../src/config/values.ts';
import { test } from '../helpers/suite.ts';

/** The value, or what is said against it. */
function outcome<T>(parsed: values.Parsed<T>): T | string {
  return 'value' in parsed ? parsed.value : `${parsed.message}${parsed.hint === undefined ? '' : ` (${parsed.hint})`}`;
}

test('durations', () => {
  const ms = (text: string) => outcome(values.parseDuration(text));
  assert.is(ms('0'), 0);
  assert.is(ms('0s'), 0);
  assert.is(ms('500ms'), 500);
  assert.is(ms('10s'), 10_000);
  assert.is(ms('5m'), 300_000);
  assert.is(ms('1h30m'), 5_400_000);
  assert.is(ms('2d'), 172_800_000);
  assert.is(ms('500h'), 1_800_000_000);
  assert.match(ms('500h1ms') as string, 'is too long');
  assert.is(ms('10'), '"10" has no unit (write 10s for seconds, 10ms for milliseconds)');
  for (const text of ['', ' ', '-1s', '1.5s', '1 s', '10S', 's', '1w', '1s ', '٣s', '1e3s'])
    assert.match(ms(text) as string, 'is not a duration');
  assert.match(ms('9'.repeat(400)) as string, 'has no unit');
  assert.match(ms(`${'9'.repeat(400)}s`) as string, 'is too long');
});

test('sizes', () => {
  const bytes = (text: string) => outcome(values.parseSize(text));
  assert.is(bytes('0'), 0);
  assert.is(bytes('512B'), 512);
  assert.is(bytes('64KiB'), 65_536);
  assert.is(bytes('3MiB'), 3_145_728);
  assert.is(bytes('1024GiB'), 1024 ** 4);
  assert.is(bytes('1025GiB'), '"1025GiB" is too large (at most 1024GiB)');
  assert.is(bytes('64'), '"64" has no unit (write 64KiB, or 64B for bytes)');
  assert.is(bytes('65536'), '"65536" has no unit (write 64KiB (or 65536B))');
  assert.is(bytes('65537'), '"65537" has no unit (write 65537B)');
  for (const other of ['64k', '64K', '64KB', '64 KiB', '64kib'])
    assert.is(bytes(other), `"${other}" is not a size (write 64KiB)`);
  assert.is(bytes('2g'), '"2g" is not a size (write 2GiB)');
  for (const text of ['', ' ', '-1KiB', '1.5MiB', 'KiB', '1TiB', '1KiB ', '1KiB2B', '٣KiB', '1e3B'])
    assert.match(bytes(text) as string, 'is not a size (write a number and B, KiB, MiB or GiB');
  assert.match(bytes(`${'9'.repeat(400)}B`) as string, 'is too large');
});

test('sizes are told in the unit that fits', () => {
  for (const text of ['0', '1B', '1536B', '64KiB', '1025KiB', '3MiB', '1024GiB'])
    assert.is(values.sizeText(outcome(values.parseSize(text)) as number), text);
});

test('addresses to listen on', () => {
  const text = (input: string): string => {
    const parsed = values.parseListen(input);
    return 'value' in parsed ? values.addressText(parsed.value) : String(outcome(parsed));
  };
  for (const good of [
    '0.0.0.0:443',
    '*:1',
    '127.0.0.1:65535',
    '[::]:443',
    '[2001:db8::1]:8443',
    '[fe80::1%eth0]:443',
    'unix:/run/x.sock',
    'unix:@x',
    'systemd:web',
  ])
    assert.is(text(good), good);
  const forms = 'write HOST:PORT, *:PORT, [IPV6]:PORT, unix:/path or systemd:NAME';
  assert.is(text('443'), '"443" has no host (write "*:443" for all addresses, or 127.0.0.1:443)');
  assert.is(text(':443'), '":443" has no host (write "*:443" for all addresses, or 127.0.0.1:443)');
  assert.is(
    text('localhost:443'),
    '"localhost" is not an address of this machine (write 127.0.0.1:443 or "[::1]:443")',
  );
  assert.is(
    text('example.com:443'),
    '"example.com" is not an address of this machine (write a number such as 127.0.0.1, or * for all addresses)',
  );
  assert.is(text('1.2.3.4'), `"1.2.3.4" has no port (${forms})`);
  assert.is(text('1.2.3.4:'), `"1.2.3.4:" has no port (${forms})`);
  assert.is(text('1.2.3.4:0'), 'port 0 is out of range (a port is a number from 1 to 65535)');
  assert.is(text('1.2.3.4:65536'), 'port 65536 is out of range (a port is a number from 1 to 65535)');
  assert.is(text('1.2.3.4:http'), '"http" is not a port (a port is a number from 1 to 65535)');
  assert.is(text('1.2.3:80'), `"1.2.3" is not an IPv4 address (${forms})`);
  assert.is(text('1.2.3.256:80'), `"1.2.3.256" is not an IPv4 address (${forms})`);
  assert.is(text('[::g]:80'), `"::g" is not an IPv6 address (${forms})`);
  assert.is(text('[1.2.3.4]:80'), `"1.2.3.4" is not an IPv6 address (${forms})`);
  assert.is(text('::1'), '"::1" has an IPv6 address without brackets (write "[::1]:PORT")');
  assert.is(text('::1:80'), '"::1:80" has an IPv6 address without brackets (write "[::1]:80")');
  assert.is(text('fe80::1:8443'), '"fe80::1:8443" has an IPv6 address without brackets (write "[fe80::1]:8443")');
  assert.is(
    text('2001:db8::1:65535'),
    '"2001:db8::1:65535" has an IPv6 address without brackets (write "[2001:db8::1]:65535")',
  );
  assert.is(text('/run/x.sock'), '"/run/x.sock" has no "unix:" in front (write unix:/run/x.sock)');
  assert.is(text('unix:'), 'there is no path after "unix:" (write unix:/run/NAME.sock)');
  assert.is(
    text('systemd:'),
    '"" is not a socket name (write systemd:NAME with the FileDescriptorName= of the .socket unit)',
  );
  assert.is(text('https://x:1'), '"https://x:1" is a URL, not an address (leave out https:// and write HOST:PORT)');
  assert.is(text('a b:80'), `"a b" is not a host name (${forms})`);
  assert.is(text(''), `there is no host (${forms})`);
});

test('addresses of backends', () => {
  const text = (input: string): string => {
    const parsed = values.parseBackend(input);
    return 'value' in parsed ? values.addressText(parsed.value) : String(outcome(parsed));
  };
  const forms = 'write HOST:PORT, [IPV6]:PORT or unix:/path';
  for (const good of [
    '127.0.0.1:80',
    'localhost:80',
    'a-b.example.com:1',
    'my_service:80',
    '[::1]:80',
    'unix:x.sock',
    'unix:@x',
  ])
    assert.is(text(good), good);
  assert.is(text('8080'), '"8080" has no host (write 127.0.0.1:8080)');
  assert.is(text('systemd:x'), `a backend can not come from systemd (${forms})`);
  assert.is(text('*:80'), '"*" is not a place to connect to (for this machine write 127.0.0.1:80)');
  assert.is(text('0.0.0.0:80'), '"0.0.0.0" is not a place to connect to (for this machine write 127.0.0.1:80)');
  assert.is(text('[0::0]:80'), '"0::0" is not a place to connect to (for this machine write 127.0.0.1:80)');
  for (const bad of [
    '-x:1',
    'x-:1',
    'a..b:1',
    `${'x'.repeat(64)}:1`,
    `${'x.'.repeat(130)}x:1`,
    'a/b:1',
    'ü:1',
    'a\nb:1',
  ])
    assert.match(text(bad), 'is not a host name');
});

test('names, accounts and paths', () => {
  for (const good of ['web', 'a.b-c_d', 'Webserver1', 'größe']) assert.is(outcome(values.parseName(good)), good);
  for (const bad of ['', 'a b', '-a', 'a:b', 'a/b', 'a\n', 'x'.repeat(65)])
    assert.match(outcome(values.parseName(bad)), 'is not a name');
  for (const good of ['nobody', 'www-data', '0', '65534', 'DOMAIN\\user', 'a.b@c'])
    assert.is(outcome(values.parseAccount(good)), good);
  for (const bad of ['', '-x', 'a:b', 'a b', 'a/b', '4294967295', 'a\n'])
    assert.match(outcome(values.parseAccount(bad)), /is not a (name|number)/);
  assert.is(outcome(values.parseFilePath('')), 'the path is empty');
  assert.is(outcome(values.parseFilePath('a\0')), 'the path contains a NUL character');
});

test('a unix path counts in bytes', () => {
  assert.is(values.unixPathComplaint(`/${'x'.repeat(106)}`), undefined);
  assert.match(
    values.unixPathComplaint(`/${'x'.repeat(107)}`)?.message ?? '',
    'has 108 bytes, a unix socket takes 107',
  );
  assert.match(values.unixPathComplaint(`/${'é'.repeat(54)}`)?.message ?? '', 'has 109 bytes');
});

test('which addresses collide', () => {
  const collide = (a: string, b: string, aV6Only = false, bV6Only = false) => {
    const [x, y] = [a, b].map((text) => {
      const parsed = values.parseListen(text);
      if ('message' in parsed) throw new Error(parsed.message);
      return parsed.value;
    });
    if (x === undefined || y === undefined) throw new Error('unreachable');
    const one = overlaps(x, aV6Only, y, bV6Only);
    assert.is(overlaps(y, bV6Only, x, aV6Only), one, `${a} and ${b} in both orders`);
    return one;
  };
  assert.ok(collide('1.2.3.4:1', '1.2.3.4:1'));
  assert.not(collide('1.2.3.4:1', '1.2.3.4:2'));
  assert.not(collide('1.2.3.4:1', '1.2.3.5:1'));
  assert.ok(collide('0.0.0.0:1', '1.2.3.4:1'));
  assert.ok(collide('*:1', '1.2.3.4:1'));
  assert.ok(collide('[::]:1', '0.0.0.0:1'));
  assert.not(collide('[::]:1', '0.0.0.0:1', true));
  assert.not(collide('*:1', '1.2.3.4:1', true));
  assert.ok(collide('*:1', '[::1]:1', true));
  assert.ok(collide('[::]:1', '*:1', true));
  assert.not(collide('0.0.0.0:1', '[::1]:1'));
  assert.ok(collide('[2001:db8::1]:1', '[2001:DB8:0::1]:1'));
  assert.ok(collide('systemd:a', 'systemd:a'));
  assert.not(collide('systemd:a', 'unix:a'));
  assert.ok(covers('*', false, '127.0.0.1'));
});

test('did you mean', () => {
  assert.is(closest('backnd', ['listen', 'backend']), 'backend');
  assert.is(closest('Max-Connections', ['max_connections']), 'max_connections');
  assert.is(closest('teh', ['the']), 'the');
  assert.is(closest('zzz', ['listen', 'backend']), undefined);
  assert.is(closest('', ['a']), undefined);
  assert.is(closest('x'.repeat(100_000), ['user']), undefined);
});

test('what comes from a file can not rewrite a terminal', () => {
  assert.is(printable('a\x1b[31m\n\u202e\u2028\ud800'), 'a\\u{1b}[31m\\u{a}\\u{202e}\\u{2028}\ufffd');
  assert.is(quoted('x'.repeat(100)).length, 82);
});
