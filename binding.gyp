# SPDX-License-Identifier: MIT
# The addon and the keeper. TLS symbols come from the Node binary that loads the addon: nothing here links a libssl.
{
  'target_defaults': {
    'include_dirs': ['native'],
    'cflags!': ['-O3'],
    'cflags': ['-O2', '-g', '-fvisibility=hidden', '-fstack-protector-strong'],
    'cflags_cc!': ['-std=gnu++17'],
    'cflags_cc': ['-std=gnu++20', '-Wall', '-Wextra', '-Werror'],
    'ldflags': ['-Wl,-z,relro,-z,now'],
  },
  'targets': [
    {
      'target_name': 'ironsocket',
      'sources': ["<!@(find native -name '*.cc' ! -path 'native/keeper*' | LC_ALL=C sort)"],
      'defines': ['NAPI_VERSION=10', 'NAPI_DISABLE_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED'],
      'cflags_cc': ["-isystem", "<!(node -p \"path.dirname(require.resolve('node-addon-api'))\")"],
    },
    {
      'target_name': 'keeper',
      'type': 'executable',
      'sources': [
        'native/keeper.cc',
        "<!@(find native/keeper -name '*.cc' | LC_ALL=C sort)",
        'native/control/channel.cc',
        'native/control/memfd.cc',
        'native/log/logfmt.cc',
        'native/net/systemd_sockets.cc',
      ],
      'cflags': ['-fPIE'],
      'cflags!': ['-fPIC'],
      'ldflags': ['-pie'],
      'ldflags!': ['-rdynamic'],
    },
  ],
}
