#!/usr/bin/env bash
# Installs what is missing, builds preset release with its tests and runs them all; then preset simt and the tests of every CUDA
# kernel, on the CPU (docs/simt.md).
#
#   tools/test.sh [ctest options, as in: -R engine.Csv]
#
# With CI=true warnings are errors, and preset release is built without CUDA wherever it is.
# shellcheck source=tools/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

install_missing "${build_packages[@]}" "${test_packages[@]}"
choose_compiler
options=(-DCUTIS_TESTS=ON)
without_cuda=()
if [ "${CI:-}" = true ]; then
  options+=(-DCUTIS_WERROR=ON)
  without_cuda=(-DCUTIS_CUDA=off)
fi
configure release "${options[@]}" "${without_cuda[@]}"
build release
run_tests release "$@"

configure simt "${options[@]}"
build simt "${gpu_targets[@]}"
run_tests simt -R "$gpu_tests" --no-tests=ignore "$@"
