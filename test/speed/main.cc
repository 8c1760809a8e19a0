// SPDX-License-Identifier: MIT
// How fast parts of the core have to be on one core of any machine; not for builds with sanitizers.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
