#!/usr/bin/env bash
# Installs what is missing, builds preset release with its tests and runs them all.
#
#   tools/test.sh [ctest options, as in: -R engine.Csv]
#
# With CI=true warnings are errors.
# shellcheck source=tools/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

install_missing "${build_packages[@]}" "${test_packages[@]}"
choose_compiler
options=(-DCUTIS_TESTS=ON)
[ "${CI:-}" = true ] && options+=(-DCUTIS_WERROR=ON)
configure release "${options[@]}"
build release
run_tests release "$@"
