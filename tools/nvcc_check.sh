#!/usr/bin/env bash
# Compiles every CUDA kernel with nvcc for each GPU architecture and prints registers, shared memory, spilled registers and stack
# per kernel. Fails at a warning, at a byte that is spilled or on the stack, and where the host code beside the kernels does not
# compile against CUDA's and cuDNN's headers; what calls cuDNN and cuBLASLt is linked as well. Needs the CUDA toolkit (12.4 or
# newer) and cuDNN's headers (9 or newer), no GPU.
#
#   tools/nvcc_check.sh [file.cu ..]      all of kernels/, and the host code, unless named
#
# NVCC names the compiler, ARCHITECTURES the architectures ("80 90"), JOBS how many files at a time, CUDNN_INCLUDE the folder of
# cudnn.h where it is not beside CUDA's headers.
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

die() {
  printf '%s\n' "nvcc_check.sh: $*" >&2
  exit 1
}

nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || die "no nvcc; install the CUDA toolkit (12.4 or newer) or set NVCC"
architectures=${ARCHITECTURES:-80 90}
out=build/nvcc_check
mkdir -p "$out"

files=("$@")
cudnn=(kernels/vendor/cudnn_{conv,graph,library,lstm,norm,plans}.cpp kernels/vendor/gpu_calls.cpp)
linked=("${cudnn[@]}" kernels/{backend,channel_checks,cublaslt,launch,matrix_checks}.cpp)
if [ $# -eq 0 ]; then
  # Host code that a build without CUDA does not see, or sees less of.
  mapfile -t host < <(grep -lE 'CUTIS_WITH_CUDA|"kernels/launch\.h"' kernels/*.cpp engine/*.cpp layers/*.cpp models/*.cpp tools/*.cpp)
  mapfile -t host < <(printf '%s\n' "${host[@]}" "${linked[@]}" | sort -u)
  files=(kernels/*.cu "${host[@]}")
fi

options=(-std=c++20 -I. -DCUTIS_WITH_CUDA -DCUTIS_WITH_CUDNN)
cuda_options=(--expt-relaxed-constexpr -Xptxas -v -Xptxas -warn-spills -Werror all-warnings -Xcompiler "-Wall,-Wextra")
for architecture in $architectures; do
  cuda_options+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
done
headers=$(dirname -- "$(realpath -- "$nvcc")")/../include
[ -e "$headers/cuda_runtime.h" ] || die "no cuda_runtime.h in $headers"
cudnn_headers=${CUDNN_INCLUDE:-$headers}
[ $# -gt 0 ] || [ -e "$cudnn_headers/cudnn_backend.h" ] ||
  die "no cudnn_backend.h in $cudnn_headers; install cuDNN's headers (9 or newer) or set CUDNN_INCLUDE"
host_options=(-isystem "$cudnn_headers" -isystem "$headers" -Wall -Wextra -Wshadow -Wno-restrict -Werror)

log_of() { printf '%s\n' "$out/${1//\//_}.log"; }

compile() {
  local file=$1 log command=("${CXX:-g++}" "${host_options[@]}")
  log=$(log_of "$file")
  if [[ $file == *.cu ]]; then
    command=("$nvcc" "${cuda_options[@]}" -o "${log%.log}.o")
  elif [[ " ${linked[*]} " == *" $file "* ]]; then
    command+=(-O1 -o "${log%.log}.o")
  else
    command+=(-fsyntax-only)
  fi
  "${command[@]}" "${options[@]}" -c "$file" >"$log" 2>&1 && return
  cat "$log" >&2
  echo "failed: $file" >&2
  return 1
}

failed=0
running=0
for file in "${files[@]}"; do
  if [ "$running" -ge "${JOBS:-$(nproc)}" ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
  compile "$file" &
  running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
  wait -n || failed=1
  running=$((running - 1))
done
[ "$failed" -eq 0 ] || die "does not compile without a warning; the messages are above"

# A program that needs all of the vendor's calls. The libraries themselves are loaded when they are needed.
link_vendor_calls() {
  local cudart file objects=()
  cudart=$(find "$headers/../lib64" "$headers/../lib" -name 'libcudart.so*' 2>/dev/null | head -n 1)
  [ -n "$cudart" ] || die "no libcudart.so beside $headers"
  for file in kernels/*.cu "${linked[@]}"; do
    file=$(log_of "$file")
    objects+=("${file%.log}.o")
  done
  rm -f "$out/libcalls.a"
  ar rcs "$out/libcalls.a" "${objects[@]}"
  cat >"$out/calls.cpp" <<'EOF'
#include "kernels/bfloat16.h"
#include "kernels/cublaslt.h"
#include "kernels/vendor/cudnn.h"
template <class T>
void call() {
    using namespace cutis;
    T* x = nullptr;
    float* f = nullptr;
    const T* in = nullptr;
    cudnn::conv_forward<T>(x, in, in, f, {}, nullptr, {}, {});
    cudnn::conv_backward<T>(x, f, f, in, nullptr, in, in, {}, {}, {});
    cudnn::pointwise_forward<T>(x, in, in, nullptr, nullptr, 0, 0, 0, {}, {});
    cudnn::pointwise_backward<T>(x, f, in, nullptr, in, nullptr, nullptr, in, in, 0, 0, 0, {}, {});
    cudnn::depthwise_forward<T>(x, in, f, nullptr, nullptr, {}, {});
    cudnn::depthwise_backward<T>(x, f, in, nullptr, in, nullptr, nullptr, f, {}, {});
    cudnn::batchnorm_forward<T>(x, {}, in, f, f, 0, {}, in, 0, 0, {});
    cudnn::batchnorm_backward<T>(x, f, f, in, in, in, {}, f, {}, 0, 0, {});
    cudnn::vendor_lstm_forward<T>(x, f, f, in, {}, {}, {}, {}, {});
    cudnn::vendor_lstm_backward<T>({}, in, f, in, in, f, f, {}, {}, {}, {}, {});
    cudnn::lstm_workspace_bytes<T>({}, {});
    cuda::matmul(Transpose::no, Transpose::no, 0, 0, 0, in, 0, in, 0, false, x, 0, {}, {});
}
int main() {
    call<float>();
    call<cutis::BFloat16>();
}
EOF
  "${CXX:-g++}" "${options[@]}" "$out/calls.cpp" "$out/libcalls.a" "$cudart" -lfmt -ldl -lpthread -lrt -o "$out/calls" ||
    die "what calls cuDNN and cuBLASLt does not link; the messages are above"
}
[ $# -gt 0 ] || link_vendor_calls

for file in "${files[@]}"; do
  [[ $file == *.cu ]] || continue
  c++filt <"$(log_of "$file")" | awk -v file="$(basename -- "$file")" '
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
      ++kernels
    }
    END { exit !kernels }' || die "$file: no kernel in what nvcc reported"
done | sort -u >"$out/kernels.txt"
cat "$out/kernels.txt"
bad=$(awk '{ for (i = 3; i <= NF; ++i) if (($i == "spilled" || $i == "stack") && $(i - 2) > 0) { print; next } }' "$out/kernels.txt")
[ -z "$bad" ] || die "registers spilled, or arrays that are not in registers:"$'\n'"$bad"
echo "$(wc -l <"$out/kernels.txt") kernels for sm_${architectures// / and sm_}, no warning, nothing spilled"
