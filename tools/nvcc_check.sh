#!/usr/bin/env bash
# Compiles every CUDA kernel with nvcc for each GPU architecture, prints registers, shared memory and constant memory per
# kernel, and fails at a warning or at a single byte of spilled registers or of stack. Needs the CUDA toolkit, no GPU.
#
#   tools/nvcc_check.sh [file.cu ..]      all of kernels/ unless named
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || { echo "tools/nvcc_check.sh: no nvcc; install the CUDA toolkit (12.4 or newer) or set NVCC" >&2; exit 1; }
architectures=${ARCHITECTURES:-80 90}
out=build/nvcc_check
mkdir -p "$out"
[ $# -gt 0 ] || set -- kernels/*.cu

options=(-std=c++20 -I. --expt-relaxed-constexpr -Xptxas -v -Xptxas -warn-spills -Werror all-warnings -Xcompiler -Wall,-Wextra)
for architecture in $architectures; do
  options+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
done

compile() {
  local file=$1 log=$out/$(basename "$1").log
  "$nvcc" "${options[@]}" -c "$file" -o "$out/$(basename "$file").o" >"$log" 2>&1 || { cat "$log" >&2; echo "nvcc failed: $file" >&2; return 1; }
}
export -f compile
export nvcc out
failed=0
running=0
for file in "$@"; do
  compile "$file" &
  running=$((running + 1))
  if [ "$running" -ge "${JOBS:-$(nproc)}" ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
done
while [ "$running" -gt 0 ]; do
  wait -n || failed=1
  running=$((running - 1))
done
[ "$failed" -eq 0 ] || exit 1

for file in "$@"; do
  c++filt <"$out/$(basename "$file").log" | awk -v file="$(basename "$file")" '
    # "_ZN..": ptxas writes mangled names in quotes; c++filt has made them readable.
    /Compiling entry function/ {
      name = $0; sub(/.*entry function ./, "", name); arch = name
      sub(/. for .sm_[0-9a-z]+.$/, "", name); match(arch, /sm_[0-9a-z]+/); arch = substr(arch, RSTART, RLENGTH)
      sub(/^void /, "", name); gsub(/cutis::cuda::/, "", name); gsub(/\(anonymous namespace\)::/, "", name)
      gsub(/_GLOBAL__N__[0-9a-z_]*::/, "", name); gsub(/cutis::/, "", name); sub(/\(.*/, "", name)
    }
    /bytes stack frame/ { stack = $1; spill = $5 + $9 }
    /Used [0-9]+ registers/ {
      shared = 0
      if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART, RLENGTH) + 0
      match($0, /Used [0-9]+ registers/); registers = substr($0, RSTART + 5, RLENGTH) + 0
      printf "%-34s %-6s %4d registers %6d B shared %3d B spilled %3d B stack  %s\n", file, arch, registers, shared, spill, stack, name
    }'
done | sort -u >"$out/kernels.txt"
cat "$out/kernels.txt"
bad=$(awk '{ for (i = 2; i <= NF; ++i) if ($i == "spilled" && $(i - 2) > 0) print }' "$out/kernels.txt")
if [ -n "$bad" ]; then
  printf 'spilled registers:\n%s\n' "$bad" >&2
  exit 1
fi
echo "$(wc -l <"$out/kernels.txt") kernels for sm_${architectures// / and sm_}, no warning, nothing spilled"
