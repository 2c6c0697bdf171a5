#!/usr/bin/env bash
# Everything that wants a GPU: tests, sanitizers, parity with the CPU, kernel times, a training run. Runs on a GPU
# machine from binaries that were built elsewhere; nothing is installed there, and nothing but python3 is needed.
#
#   tools/gpu_suite.sh build [DIR]            builds the bundle (nvcc, no GPU needed) and puts it into DIR [build/gpu-suite]
#   DIR/tools/gpu_suite.sh [options] [part..] runs parts, all of them unless named
#
# parts, each below ten minutes:
#   kernels            every test, those of kernels, engine, layers, models and tools
#   sanitize-memcheck  the CUDA kernels' tests under compute-sanitizer, where that is found; also -racecheck,
#                      -synccheck and -initcheck
#   parity             the same training on CPU and GPU, twice on the GPU, and in bf16
#   bench              microseconds, GB/s and percent of the copy bandwidth of each kernel
#   ncu                the five slowest of these kernels under Nsight Compute, where that is found
#   step               training steps by cutis' kernels and by the vendor's library, taking turns
#   data               decoding, augmenting and loading images; networks' answers; a process's start to its first step
#   peers              all of that beside PyTorch, onnxruntime and Pillow, where Python has them
#   train              a training run on the packed data set $HAM10000_PACK, where that is given, and the seconds until
#                      its validation reaches a balanced accuracy of $GPU_SUITE_TARGET [0.65]
#   report             results as Markdown, and the summary
#
# What has passed is not run again: results are kept after each part. They are results.json, results.md and suite.log in
# $OUT, or DIR/results where that is not set; what DIR/results holds already counts as run.
#
# options:
#   --fresh            run parts again that have passed
#   --smoke            tiny shapes and few tests, for a build that runs CUDA kernels on the CPU
#   --binaries FOLDER  programs of this build folder, e.g. build/simt, not those of a bundle
#   --results FOLDER   instead of $OUT
#
# Leaves with 0 when no part failed; a part whose tool is not here has not failed.
set -euo pipefail
unset CDPATH
home=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
readonly home
readonly all_parts=(kernels sanitize-memcheck sanitize-racecheck sanitize-synccheck sanitize-initcheck parity bench ncu step data peers train report)
readonly part_seconds=${GPU_SUITE_PART_SECONDS:-540}
readonly program_names=(cutis kernels_tests engine_tests layers_tests models_tests tools_tests bench_cuda_kernels)
readonly timing_names=(bench_train bench_data bench_inference bench_startup)  # a part does without those that were not built
readonly python=${GPU_SUITE_PYTHON:-python3}  # of the peers
readonly most_bytes=$((64 << 20))  # of a bundle, so that it can be carried anywhere

say() { printf '%s\n' "-- $*"; }
die() {
  printf '%s\n' "gpu_suite.sh: $*" >&2
  exit 2
}

# ---- building the bundle

build_bundle() {
  local bundle=${1:-$home/build/gpu-suite} objects=$home/build/nvcc-carried options=()
  [ -e "$home/CMakePresets.json" ] || die "build: only from the sources"
  command -v ccache >/dev/null && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache)
  say "configuring $objects"
  # Programs look for libraries beside themselves, the C++ library among them: the GPU machine's may be older.
  (cd -- "$home" && cmake --preset nvcc -B "$objects" -DCUTIS_CUDA=nvcc "-DCUTIS_CUDA_ARCHITECTURES=80-real;90" -DCUTIS_ONEDNN=OFF -DCUTIS_CARRIED=ON -DCUTIS_TESTS=ON \
    -DCUTIS_BENCH=ON "-DCMAKE_INSTALL_RPATH=\$ORIGIN/../lib" -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON "${options[@]}") >"$home/build/nvcc-carried.log" 2>&1 || {
    cat "$home/build/nvcc-carried.log" >&2
    die "cmake could not configure; its messages are above"
  }
  say "building $objects"
  local timing
  mapfile -t timing < <(cmake --build "$objects" --target help | grep -oxE "($(IFS='|'; echo "${timing_names[*]}")): phony" | cut -d: -f1)
  cmake --build "$objects" --target "${program_names[@]}" "${timing[@]}"

  gather "$objects" "$bundle"
}

# gather OBJECTS BUNDLE: programs, libraries, scripts and data into one folder.
gather() {
  local objects=$1 bundle=$2 name file
  say "gathering $bundle"
  rm -rf -- "${bundle:?}"/{bin,lib,tools,tests,bench,work}
  mkdir -p "$bundle/bin" "$bundle/lib" "$bundle/tools" "$bundle/tests" "$bundle/bench/peers"
  local cuda_libraries
  cuda_libraries=$(dirname -- "$(sed -n 's/^CUDA_cudart_LIBRARY:FILEPATH=//p' "$objects/CMakeCache.txt")")
  for name in "${program_names[@]}" "${timing_names[@]}"; do
    file=$(find "$objects/tools" "$objects/tests" "$objects/bench" -maxdepth 1 -type f -name "$name")
    [ -n "$file" ] || continue
    cp -- "$file" "$bundle/bin/"
    strip -- "$bundle/bin/$name"
    # Of the shared libraries all but the C library's, which every machine has, and NVIDIA's, which are found there.
    LD_LIBRARY_PATH=$objects/kernels:$cuda_libraries ldd "$bundle/bin/$name" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }'
  done | sort -u | while read -r name file; do
    case $name in
      libc.so.* | libm.so.* | libdl.so.* | librt.so.* | libpthread.so.* | libcublas* | libcuda.so*) ;;
      *) cp -L -- "$file" "$bundle/lib/$name" && strip --strip-unneeded -- "$bundle/lib/$name" ;;
    esac
  done
  cp -- "$home/tools/gpu_suite.sh" "$home/tools/gpu_report.py" "$home/tools/time_to_target.py" "$bundle/tools/"
  cp -- "$home"/bench/peers/*.py "$bundle/bench/peers/"
  cp -R -- "$home/tools/sample" "$bundle/tools/"
  cp -R -- "$home/tests/data" "$bundle/tests/"
  date --utc +%FT%TZ >"$bundle/built"
  local bytes
  bytes=$(du -sb -- "$bundle" | cut -f1)
  say "$bundle: $((bytes >> 20)) MiB"
  du -sh -- "$bundle"/*/* | sort -rh | head -12
  [ "$bytes" -lt "$most_bytes" ] || die "the bundle has $bytes bytes; no more than $most_bytes are wanted"
  tar -C "$(dirname -- "$bundle")" -czf "$bundle.tar.gz" --exclude=results --exclude=work "$(basename -- "$bundle")"
  say "$bundle.tar.gz: $(($(stat -c %s -- "$bundle.tar.gz") >> 20)) MiB"
}

# ---- where things are

# program NAME: its path.
program() {
  local folder
  for folder in bin tools tests bench; do
    if [ -x "$binaries/$folder/$1" ]; then
      printf '%s\n' "$binaries/$folder/$1"
      return
    fi
  done
  return 1
}

report() { python3 "$home/tools/gpu_report.py" "$@"; }

# Where cuBLASLt lies when the system's linker does not know: on many GPU machines among Python's packages.
find_cublaslt() {
  local missing folder
  missing=$(ldd "$(program cutis)" | awk '/libcublasLt.*not found/ { print $1 }')
  [ -n "$missing" ] || return 0
  while read -r folder; do
    if [ -e "$folder/$missing" ]; then
      say "$missing: $folder"
      export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
      return 0
    fi
  done < <(python3 -c '
import glob, site, sys
for place in dict.fromkeys([*sys.path, *site.getsitepackages(), site.getusersitepackages()]):
    print(*sorted(glob.glob(f"{place}/nvidia/*/lib")), sep="\n")'; printf '%s\n' /usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib)
  die "$missing was found neither by the linker nor in Python's packages nor in /usr/local/cuda*; add its folder to LD_LIBRARY_PATH"
}

# find_tool NAME: one of NVIDIA's tools.
find_tool() {
  command -v "$1" && return
  local file
  for file in /usr/local/cuda*/bin/"$1" /opt/nvidia/*/*/"$1" /opt/nvidia/*/"$1"; do
    if [ -x "$file" ]; then
      printf '%s\n' "$file"
      return
    fi
  done
  return 1
}

# ---- jobs of a part, several at a time

# begin_part NAME: its folder, whose finished jobs are kept, and its deadline.
begin_part() {
  part=$1
  work=$work_root/$part
  mkdir -p "$work"
  deadline=$((SECONDS + part_seconds))
}

# job NAME COMMAND..: into NAME.log, its exit status into NAME.rc; not again when that is 0. 124: out of time.
job() {
  local name=$1 left
  shift
  [ "$(cat "$work/$name.rc" 2>/dev/null)" != 0 ] || return 0
  rm -f -- "$work/$name.rc" "$work/$name.json"
  while [ "$(jobs -rp | wc -l)" -ge "$most_jobs" ]; do
    wait -n || true
  done
  left=$((deadline - SECONDS))
  if [ "$left" -le 0 ]; then
    echo "not started: the part was out of time" >"$work/$name.log"
    echo 124 >"$work/$name.rc"
    return 0
  fi
  (
    status=0
    timeout --kill-after=10 "$left" "$@" >"$work/$name.log" 2>&1 || status=$?
    echo "$status" >"$work/$name.rc"
  ) &
}

# A job is a shell whose child is timeout, in a process group of its own, which no Ctrl-C reaches; it passes a signal on.
stop_jobs() {
  local shell
  for shell in $(jobs -rp); do
    # shellcheck disable=SC2046  # process numbers
    kill $(cat "/proc/$shell/task/$shell/children") 2>/dev/null || true
  done
}
trap 'stop_jobs; exit 130' INT
trap 'stop_jobs; exit 143' TERM

# tests NAME SHARDS FILTER [WRAPPER..]: a test program in shards.
tests() {
  local name=$1 shards=$2 filter=$3 file i
  shift 3
  file=$(program "$name")
  for ((i = 0; i < shards; ++i)); do
    job "${name}_${i}_of_$shards" env "GTEST_TOTAL_SHARDS=$shards" "GTEST_SHARD_INDEX=$i" "$@" "$file" --gtest_brief=0 \
      "--gtest_filter=$filter" "--gtest_output=json:$work/${name}_${i}_of_$shards.json"
  done
}

# ---- the parts

part_kernels() {
  most_jobs=$cores
  if [ "$smoke" = true ]; then
    tests kernels_tests 2 'CudaBatchnorm.*:Table/CudaOps.*/add:Table/CudaGradients.*/depthwise'
    tests engine_tests 1 'Tensor.*'
    tests layers_tests 1 'Schedule.*'
    tests models_tests 1 'Weights.*'
    tests tools_tests 1 'Metrics.*'
  else
    tests kernels_tests 16 '*'
    tests engine_tests 2 '*'
    tests layers_tests 1 '*'
    tests models_tests 2 '*'
    tests tools_tests 4 '-GpuTraining.*'
  fi
  wait
  report tests "$results" "$part" "$work" $((SECONDS - began))
}

part_sanitize() {
  local tool=${part#sanitize-} sanitizer
  if [ "$mode" != nvcc ]; then
    report note "$results" "$part" "not here" "CUDA kernels run on the CPU"
    return
  fi
  if ! sanitizer=$(find_tool compute-sanitizer); then
    report note "$results" "$part" "not here" "compute-sanitizer was not found"
    return
  fi
  local options=(--tool "$tool" --error-exitcode 9 --print-limit 20)
  # Our kernels alone: what the library's matrix products do inside is not ours to mend. Not every version has these options.
  local help option
  help=$("$sanitizer" --help 2>&1) || true
  for option in '--kernel-regex kns=cutis' '--launch-timeout 0'; do
    if grep -q -- "${option% *}" <<<"$help"; then
      options+=("${option% *}" "${option#* }")
    fi
  done
  most_jobs=$cores
  tests kernels_tests 32 'Cuda*:*/Cuda*:-*RepeatBitForBit*:*RepeatsBitForBit*' "$sanitizer" "${options[@]}"
  wait
  report tests "$results" "$part" "$work" $((SECONDS - began))
}

part_parity() {
  most_jobs=2
  local cutis data=$work/sample.cutis run device steps=20 batch=32
  cutis=$(program cutis)
  if [ "$smoke" = true ]; then
    steps=3 batch=16
    tests tools_tests 1 'GpuTraining.FirstGradients*'
  else
    tests tools_tests 1 'GpuTraining.*'
  fi
  # At 32 pixels the last maps are single pixels, and bf16 may be further away for reasons that are no error (docs/precision.md).
  job prepare "$cutis" prepare --images "$home/tools/sample/ham10000/images" \
    --metadata "$home/tools/sample/ham10000/HAM10000_metadata.csv" --size 64 --out "$data"
  wait
  for run in cpu cuda cuda-again cuda-bf16; do
    device=${run%%-*}
    job "train_$run" "$cutis" train --data "$data" --model mobilenet_v2 --width 0.35 --steps "$steps" --batch-size "$batch" --optimizer adamw \
      --lr 1e-6 --warmup 0 --augment light --seed 3 --log-every 1 --split all --device "$device" --overwrite \
      --precision "$([ "$run" = cuda-bf16 ] && echo bf16 || echo fp32)" --out "$work/$run"
  done
  wait
  report parity "$results" "$part" "$work" $((SECONDS - began))
}

part_bench() {
  most_jobs=1  # one process has the GPU to itself
  local bench family options=()
  bench=$(program bench_cuda_kernels)
  [ "$smoke" = false ] || options=(--smoke)
  [ -z "${GPU_SUITE_BATCH:-}" ] || options+=("--batch=$GPU_SUITE_BATCH")
  for family in depthwise pointwise 'conv|linear' batchnorm lstm rest; do
    local filter="^($family)"
    [ "$family" != rest ] || filter='-^(depthwise|pointwise|conv|linear|batchnorm|lstm)'
    family=${family%|*}
    job "$family" "$bench" "${options[@]}" "--benchmark_filter=$filter" "--benchmark_out=$work/$family.json" --benchmark_out_format=json
  done
  wait
  report bench "$results" "$part" "$work" $((SECONDS - began))
}

part_ncu() {
  local ncu bench name i=0 options=()
  if [ "$mode" != nvcc ]; then
    report note "$results" "$part" "not here" "CUDA kernels run on the CPU"
    return
  fi
  if ! ncu=$(find_tool ncu); then
    report note "$results" "$part" "not here" "ncu was not found"
    return
  fi
  most_jobs=1
  bench=$(program bench_cuda_kernels)
  [ -z "${GPU_SUITE_BATCH:-}" ] || options=("--batch=$GPU_SUITE_BATCH")
  while read -r name; do
    echo "$name" >"$work/$i.name"
    job "$i" "$ncu" --csv --launch-count 20 --metrics \
      gpu__time_duration.sum,dram__bytes.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed,sm__throughput.avg.pct_of_peak_sustained_elapsed,launch__registers_per_thread,sm__warps_active.avg.pct_of_peak_sustained_active \
      "$bench" --once "${options[@]}" "--benchmark_filter=^$name/"
    i=$((i + 1))
  done < <(report slowest "$results" 5)
  wait
  report ncu "$results" "$part" "$work" $((SECONDS - began))
}

# have NAME PROGRAM: its path in `file`; where it was not built, that is noted in the place of job NAME.
have() {
  rm -f -- "$work/$1.absent"
  file=$(program "$2") && return
  echo "left out: $2 was not built" >"$work/$1.absent"
  return 1
}

# own NAME PROGRAM [OPTIONS..]: one of our programs, its results in NAME.json.
own() {
  local name=$1 wanted=$2 file options=()
  shift 2
  have "$name" "$wanted" || return 0
  [ "$smoke" = false ] || options=(--smoke)
  job "$name" "$file" "${options[@]}" "$@" "--benchmark_out=$work/$name.json" --benchmark_out_format=json
}

# peer NAME PROGRAM SCRIPT [OPTIONS..]: one of bench/peers beside a program of ours. Dry runs of these are on the CPU: networks of
# full width would take minutes where CUDA kernels run there.
peer() {
  local name=$1 wanted=$2 script=$3 device=cuda file options=()
  shift 3
  have "$name" "$wanted" || return 0
  if [ "$smoke" = true ]; then
    device=cpu options=(--smoke)
  fi
  [ "$script" = pillow_data ] || options+=(--device "$device")
  job "$name" "$python" "$home/bench/peers/$script.py" "${options[@]}" "$@" --json "$work/$name.json" "$file"
}

part_step() {
  most_jobs=1
  local model models=(mobilenet_v2 mobilenet_v2_lstm49 alexnet resnet18) options=(--device cuda --precision bf16)
  if [ "$smoke" = true ]; then
    models=(mobilenet_v2) options+=(--shapes 2x32)
  fi
  for model in "${models[@]}"; do
    own "$model" bench_train --models "$model" "${options[@]}"
  done
  wait
  report timed "$results" "$part" "$work" $((SECONDS - began))
}

part_data() {
  most_jobs=1
  own images bench_data
  own inference bench_inference --device cuda
  own startup bench_startup --device cuda
  wait
  report timed "$results" "$part" "$work" $((SECONDS - began))
}

part_peers() {
  most_jobs=1
  local mode model models=(mobilenet_v2 mobilenet_v2_lstm49 alexnet resnet18) modes=(eager cuda-graphs compile)
  local device_name=(--device-name "$(report device "$results")")
  if [ "$smoke" = true ]; then
    models=(mobilenet_v2) modes=(eager)
  fi
  peer pillow bench_data pillow_data
  peer startup bench_startup pytorch_startup "${device_name[@]}"
  peer inference bench_inference onnxruntime_infer "${device_name[@]}"
  for mode in "${modes[@]}"; do  # compiling takes longest: last
    for model in "${models[@]}"; do
      peer "${mode}_$model" bench_train pytorch_step --models "$model" --modes "$mode"
    done
  done
  wait
  report timed "$results" "$part" "$work" $((SECONDS - began))
}

part_train() {
  local cutis data=${HAM10000_PACK:-} target=${GPU_SUITE_TARGET:-0.65} status=0 command=()
  cutis=$(program cutis)
  if [ "$smoke" = true ]; then
    data=$work_root/parity/sample.cutis target=0
    [ -e "$data" ] || { report note "$results" "$part" failed "no packed sample: part parity has not made it"; return; }
  elif [ -z "$data" ]; then
    report note "$results" "$part" "not here" "HAM10000_PACK, a data set from cutis prepare, is not given"
    return
  fi
  # A run that was cut off goes on from its checkpoint.
  if [ -e "$work/run/checkpoint.safetensors" ]; then
    command=(train --resume --out "$work/run")
  elif [ "$smoke" = true ]; then
    command=(train --data "$data" --model mobilenet_v2 --width 0.1 --size 32 --steps 2 --batch-size 8 --device cuda --overwrite --out "$work/run")
  else
    command=(train --data "$data" --model mobilenet_v2 --init "$home/tools/sample/weights/mobilenet_v2_imagenet_features.safetensors"
      --class-weights effective --epochs "${GPU_SUITE_EPOCHS:-12}" --batch-size 256 --optimizer adamw --lr 0.001 --warmup 100 --augment full --precision bf16
      --device cuda --overwrite --out "$work/run")
  fi
  most_jobs=1
  job train python3 "$home/tools/time_to_target.py" "$work/run" "$target" "$work/timeline.json" "$cutis" "${command[@]}"
  wait
  if [ "$(cat "$work/train.rc")" = 0 ]; then
    job evaluate "$cutis" evaluate --run "$work/run" --data "$data" --split test --device cuda
    wait
  fi
  report train "$results" "$part" "$work" $((SECONDS - began)) || status=$?
  return "$status"
}

# ---- all of it

run_part() {
  local name=$1 began=$SECONDS before
  if [ "$fresh" = false ] && report passed "$results" "$name"; then
    say "$name: has passed already"
    return
  fi
  if [ "$fresh" = true ]; then
    rm -rf -- "${work_root:?}/$name"
  fi
  say "$name"
  begin_part "$name"
  # A part that breaks off is a part that failed.
  before=$(report stamp "$results" "$name")
  case $name in
    sanitize-*) part_sanitize ;;
    *) "part_$name" ;;
  esac || true
  [ "$(report stamp "$results" "$name")" != "$before" ] || report note "$results" "$name" failed "the part broke off; see suite.log"
  local log
  for log in "$work"/*.log; do
    [ -e "$log" ] || continue
    printf '\n==== %s, %s\n' "$name" "$(basename -- "$log" .log)"
    tail -c 20000 -- "$log"
  done >>"$(dirname -- "$results")/suite.log"
  say "$name: $(report status "$results" "$name"), $((SECONDS - began)) s"
}

fresh=false smoke=false binaries='' results_folder='' parts=()
if [ "${1:-}" = build ]; then
  shift
  build_bundle "$@"
  exit
fi
while [ $# -gt 0 ]; do
  case $1 in
    --fresh) fresh=true ;;
    --smoke) smoke=true ;;
    --binaries | --results)
      [ $# -gt 1 ] || die "$1 needs a folder"
      [ "$1" = --results ] && results_folder=$2 || binaries=$2
      shift
      ;;
    -h | --help)
      sed -n '2,/^set -euo/ { /^set -euo/d; s/^# \{0,1\}//; p; }' "${BASH_SOURCE[0]}"
      exit
      ;;
    -*) die "$1 is no option; see --help" ;;
    *)
      [[ " ${all_parts[*]} " == *" $1 "* ]] || die "$1 is no part; there are: ${all_parts[*]}"
      parts+=("$1")
      ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] || parts=("${all_parts[@]}")
command -v python3 >/dev/null || die "python3 is needed for the results"

# From the sources, the bundle that was built there stands in for them.
if [ -z "$binaries" ] && [ ! -x "$home/bin/cutis" ] && [ -x "$home/build/gpu-suite/bin/cutis" ]; then
  arguments=()
  [ "$fresh" = false ] || arguments+=(--fresh)
  [ "$smoke" = false ] || arguments+=(--smoke)
  [ -z "$results_folder" ] || arguments+=(--results "$results_folder")
  exec "$home/build/gpu-suite/tools/gpu_suite.sh" "${arguments[@]}" "${parts[@]}"
fi
[ -n "$binaries" ] || binaries=$home
[ -d "$binaries" ] || die "$binaries is no folder"
binaries=$(cd -- "$binaries" && pwd -P)
for name in "${program_names[@]}"; do
  program "$name" >/dev/null || die "$name is not below $binaries: build the bundle first (tools/gpu_suite.sh build)"
done
kept=$binaries/results
results_folder=${results_folder:-${OUT:-$kept}}
mkdir -p "$results_folder"
results_folder=$(cd -- "$results_folder" && pwd -P)
results=$results_folder/results.json
if [ ! -e "$results" ] && [ -e "$kept/results.json" ]; then
  cp -- "$kept/results.json" "$results"
fi
cores=$(nproc)
[ "$cores" -le 12 ] || cores=12
export OMP_WAIT_POLICY=passive  # programs run side by side: an idle thread must not spin
cd -- "$home"
find_cublaslt
report machine "$results" "$(program cutis)" "$smoke" "$(cat "$binaries/built" 2>/dev/null || true)"
mode=$(report mode "$results")
# What jobs leave is of one build on one device, as results are.
work_root=$binaries/jobs/$(report place "$results")
[ "$smoke" = false ] || work_root=$results_folder/jobs
for name in "${parts[@]}"; do
  [ "$name" = report ] || run_part "$name"
done
report markdown "$results" "$results_folder/results.md"
