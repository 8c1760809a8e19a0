// SPDX-License-Identifier: MIT
// What the service behind the demo has to offer.
import * as assert from 'uvu/assert';
import { bytes, parseSize, sha256 } from '../../src/demo/bytes.ts';
import { test } from '../helpers/suite.ts';

test('sizes', () => {
  assert.is(parseSize('17'), 17);
  assert.is(parseSize('3K'), 3072);
  assert.is(parseSize('2G'), 2 ** 31);
  assert.is(parseSize('1024G'), 2 ** 40);
  for (const none of ['', 'M', '1.5M', '-1', '1T', '1025G', '9999999999999999']) assert.is(parseSize(none), undefined);
});

test('the same bytes at every time, of any length', async () => {
  // AES-128 of a block of zeros with a key of zeros.
  assert.is(Buffer.concat([...bytes(20)]).toString('hex', 0, 16), '66e94bd4ef8a2c3b884cfa59ca342b2e');
  for (const length of [0, 1, 65_536, 65_537, 200_000]) assert.is(Buffer.concat([...bytes(length)]).length, length);
  assert.is(await sha256(0), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  assert.is(await sha256(65_540), await sha256(65_540));
});
