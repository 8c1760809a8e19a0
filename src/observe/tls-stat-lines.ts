// SPDX-License-Identifier: MIT
// The lines of /proc/net/tls_stat as Linux 7.2 has them, in its order (the kernel's net/tls/tls_proc.c and
// Documentation/networking/tls.rst). The five of rekeys came with 6.14.

export interface TlsStatLine {
  /** A gauge is how many there are now; a counter only grows, from the load of the module on. */
  readonly kind: 'gauge' | 'counter';
  readonly meaning: string;
  /** What may be wrong when the counter grows; undefined: growing is well. */
  readonly trouble?: string;
}

const gauge = (meaning: string): TlsStatLine => ({ kind: 'gauge', meaning });
const counter = (meaning: string, trouble?: string): TlsStatLine => ({
  kind: 'counter',
  meaning,
  ...(trouble === undefined ? {} : { trouble }),
});

/** Known lines by name, in the kernel's order. */
export const tlsStatLines: ReadonlyMap<string, TlsStatLine> = new Map([
  ['TlsCurrTxSw', gauge('connections whose sending side the CPU encrypts now')],
  ['TlsCurrRxSw', gauge('connections whose receiving side the CPU decrypts now')],
  ['TlsCurrTxDevice', gauge('connections whose sending side a network card encrypts now')],
  ['TlsCurrRxDevice', gauge('connections whose receiving side a network card decrypts now')],
  ['TlsTxSw', counter('sending sides given to the kernel for the CPU')],
  ['TlsRxSw', counter('receiving sides given to the kernel for the CPU')],
  ['TlsTxDevice', counter('sending sides given to the kernel for a network card')],
  ['TlsRxDevice', counter('receiving sides given to the kernel for a network card')],
  [
    'TlsDecryptError',
    counter(
      'records that could not be decrypted',
      'a peer sent forged or damaged records, or went on with new keys (KeyUpdate) on a kernel before 6.14; a few come from broken clients, one record that is read again and again counts each time',
    ),
  ],
  ['TlsRxDeviceResync', counter('times a network card was told anew where a record begins')],
  ['TlsDecryptRetry', counter('records decrypted twice, after a wrong guess about their padding')],
  [
    'TlsRxNoPadViolation',
    counter(
      'records of data that had padding where a program had promised none',
      'a program here sets TLS_RX_EXPECT_NO_PAD, and its peers make the kernel decrypt twice; ironsocket never sets it',
    ),
  ],
  ['TlsRxRekeyOk', counter('new keys installed for receiving on a live connection')],
  [
    'TlsRxRekeyError',
    counter(
      'new keys for receiving that the kernel refused',
      'such a connection reads nothing more; a second TLS_RX on a TLS 1.2 connection counts too, and does no harm',
    ),
  ],
  ['TlsTxRekeyOk', counter('new keys installed for sending on a live connection')],
  [
    'TlsTxRekeyError',
    counter(
      'new keys for sending that the kernel refused',
      'such a connection has to end; a second TLS_TX on a TLS 1.2 connection counts too, and does no harm',
    ),
  ],
  ['TlsRxRekeyReceived', counter('KeyUpdate messages that came from peers')],
]);
