# shellcheck shell=bash
# Sourced by quickstart.sh, test.sh and .ci/run: installs what is missing, configures, builds and tests a preset.

set -euo pipefail
unset CDPATH
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"
trap 'printf "\ninterrupted\n" >&2; exit 130' INT
trap 'exit 143' TERM

say() { printf '%s\n' "-- $*"; }
die() {
  printf '%s\n' "$(basename -- "$0"): $*" >&2
  exit 1
}

# shellcheck disable=SC2034  # for the scripts that source this
build_packages=(g++ cmake ninja-build libfmt-dev nlohmann-json3-dev libcli11-dev libstb-dev zlib1g-dev libdnnl-dev
  ocl-icd-opencl-dev)  # oneDNN 2.x's CMake package asks for OpenCL, without naming it among its dependencies
# shellcheck disable=SC2034
test_packages=(libgtest-dev libbenchmark-dev)
# What runs CUDA kernels in a simt build: every case of tests/kernels, elsewhere those named after a GPU; and their programs.
# shellcheck disable=SC2034
gpu_tests='^kernels\.|Cuda|Gpu|^house\.install$'
# shellcheck disable=SC2034
gpu_targets=(cutis kernels_tests engine_tests layers_tests tools_tests)
no_onednn_mark=$root/build/.no-onednn  # there once a distribution was found to have no package of oneDNN

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
is_offered() { apt-cache show --no-all-versions "$1" >/dev/null 2>&1; }
# Major version of a compiler command, 0 where there is none.
major_version() { { "$1" -dumpversion 2>/dev/null || echo 0; } | cut -d. -f1; }

# Installs the named packages that are not there, and calls apt only if there are any.
install_missing() {
  local package missing=() wanted=("$@")
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "no apt here; this needs the equivalents of: ${wanted[*]}"
    return
  fi
  for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ] || { [ "${missing[*]}" = libdnnl-dev ] && [ -e "$no_onednn_mark" ]; }; then
    return
  fi

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
      as_root=(sudo)
    else
      die "packages are missing, and only root may install them. As root: apt-get install ${missing[*]}"
    fi
  fi
  say "installing ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120)
  "${apt[@]}" update || say "apt-get update failed (no network?); trying with the package lists that are here"
  local offered=()
  for package in "${missing[@]}"; do
    if [ "$package" = libdnnl-dev ] && ! is_offered "$package"; then
      say "this distribution has no oneDNN (libdnnl-dev): building with cutis' own GEMM, which is slower"
      mkdir -p "$(dirname -- "$no_onednn_mark")" && touch "$no_onednn_mark"
    else
      offered+=("$package")
    fi
  done
  if [ ${#offered[@]} -eq 0 ]; then
    return
  fi
  "${apt[@]}" install -y --no-install-recommends "${offered[@]}" ||
    die "could not install: no network, or a package source is out of order. By hand: apt-get install ${offered[*]}"
}
# The code needs g++ 12 or newer; distributions whose default is older offer it beside that.
choose_compiler() {
  if [ -z "${CXX:-}" ] && [ "$(major_version g++)" -lt 12 ]; then
    command -v g++-12 >/dev/null || install_missing g++-12
    export CXX=g++-12
  fi
}

# configure PRESET [CMAKE OPTIONS]: configures, quietly unless it fails.
configure() {
  local preset=$1 folder=$root/build/$1 log
  shift
  # CMake refuses a build folder that came along when its clone was moved or copied.
  local home
  home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$folder/CMakeCache.txt" 2>/dev/null || true)
  if [ -n "$home" ] && ! [ "$home" -ef "$root" ]; then
    say "build/$preset belongs to another place: starting it afresh"
    rm -rf -- "$folder"
  fi
  local options=("$@")
  command -v ccache >/dev/null && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  [ -e "$no_onednn_mark" ] && options+=(-DCUTIS_ONEDNN=OFF)
  say "configuring build/$preset"
  log=$(cmake --preset "$preset" "${options[@]}" 2>&1) || {
    printf '%s\n' "$log" >&2
    die "cmake could not configure preset $preset; its messages are above"
  }
}

# build PRESET [TARGET..]
build() {
  local preset=$1
  shift
  say "building build/$preset"
  cmake --build --preset "$preset" ${1+--target "$@"} || die "the build of preset $preset failed; its messages are above"
}

# closing_line PRESET: ctest's own count of its last run.
closing_line() {
  grep -E '^[0-9]+% tests passed, [0-9]+ tests? failed out of [0-9]+' "$root/build/$1/ctest.log" | tail -n 1 || true
}

# run_tests PRESET [CTEST OPTIONS]: runs ctest and ends with its closing line.
run_tests() {
  local preset=$1 log status=0
  shift
  log=$root/build/$preset/ctest.log
  # Tests run side by side: an idle kernel thread that spins would take the core of another one's test.
  OMP_WAIT_POLICY=passive ctest --preset "$preset" -j "$(nproc)" --no-label-summary "$@" 2>&1 | tee "$log" || status=$?
  [ "$status" -eq 0 ] || say "preset $preset: ctest left with $status; the whole log is build/$preset/ctest.log"
  closing_line "$preset"
  return "$status"
}
