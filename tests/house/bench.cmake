# The benchmark programs with --smoke, whose JSON `cutis bench-report` must read; the peers' way of taking turns, held to a
# program that answers known figures; and each peer once where this machine's Python has its packages.
#
#   cmake -DBUILD=<build> -DSOURCE=<project> -DSCRATCH=<folder> -DPYTHON=<python3, or empty> -P bench.cmake
cmake_minimum_required(VERSION 3.22)

file(REMOVE_RECURSE ${SCRATCH})
file(MAKE_DIRECTORY ${SCRATCH})
set(ENV{OMP_WAIT_POLICY} passive)  # peers take turns: an idle thread must not spin
set(ENV{PYTHONDONTWRITEBYTECODE} 1)

# Runs a command, leaves its output in `output`, and fails unless it ends with one of `wanted`, which is then in `result`.
function(run wanted)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out WORKING_DIRECTORY ${SCRATCH})
  string(REPLACE ";" " " command "${ARGN}")
  message(STATUS "${command}\n${out}")
  if(NOT code IN_LIST wanted)
    message(FATAL_ERROR "${command}: ended with ${code}, not ${wanted}")
  endif()
  set(output "${out}" PARENT_SCOPE)
  set(result ${code} PARENT_SCOPE)
endfunction()

function(require_match text)
  foreach(pattern ${ARGN})
    if(NOT text MATCHES "${pattern}")
      message(FATAL_ERROR "'${pattern}' is not in\n${text}")
    endif()
  endforeach()
endfunction()

foreach(program bench_data bench_inference bench_startup)
  run(0 ${BUILD}/bench/${program} --smoke --benchmark_out=${program}.json --benchmark_out_format=json)
endforeach()
run(0 ${BUILD}/bench/bench_train --smoke --models mobilenet_v2 --device cpu --benchmark_out=bench_train.json --benchmark_out_format=json)
run(0 ${BUILD}/tools/cutis bench-report --worst 40 bench_data.json bench_inference.json bench_startup.json bench_train.json)
require_match("${output}" jpeg_decode resize/ prepare/ augment/none augment/full packed_read/raw loader/full
  "inference/mobilenet_v2/fp32" "startup/mobilenet_v2/fp32" "training_step/mobilenet_v2/fp32")
run(1 ${BUILD}/bench/bench_startup --smoke --model no_such_model)
require_match("${output}" "took no step" "'no_such_model' is unknown")
run(1 ${BUILD}/bench/bench_data --smoke --images ${SCRATCH}/nowhere)
require_match("${output}" "nowhere: no folder; give one")

if(NOT PYTHON)
  message(STATUS "no python3: the peers are left out")
  return()
endif()

# A program whose measurements take 1, 2, 3, .. ms, and 3 times as long with an argument, after three that warm up: the ratio of each
# round is 3, while a ratio of other pairs would not be.
file(WRITE ${SCRATCH}/known.py "import sys
factor = float(sys.argv[1])
for i, line in enumerate(sys.stdin):
    print(factor * (i - 2 if i > 2 else 1000), flush=True)
")
file(WRITE ${SCRATCH}/check_turns.py "import sys
sys.path.insert(0, '${SOURCE}/bench/peers')
import turns
with turns.Served(sys.executable, 'known.py', 1) as ours, turns.Served(sys.executable, 'known.py', 3) as theirs:
    times = turns.take_turns({'ours': ours.measure, 'theirs': theirs.measure}, rounds=5)
turns.report('known', 'a device', 1, [turns.case('step/fp32', times['ours'], times['theirs'], images=4)], 'turns.json')
with turns.Served('true') as gone:
    gone.measure()
")
run(1 ${PYTHON} check_turns.py)
require_match("${output}" "true: no milliseconds came")
file(READ ${SCRATCH}/turns.json json)
foreach(figure us=3000 us_min=1000 us_max=5000 vendor_us=9000 vendor_us_max=15000 ratio=3 ratio_min=3 ratio_max=3)
  string(REGEX MATCH "(.*)=(.*)" matched ${figure})
  string(JSON value GET "${json}" benchmarks 0 ${CMAKE_MATCH_1})
  if(NOT value EQUAL CMAKE_MATCH_2)
    message(FATAL_ERROR "${CMAKE_MATCH_1} is ${value}, not ${CMAKE_MATCH_2}\n${json}")
  endif()
endforeach()
run(0 ${BUILD}/tools/cutis bench-report turns.json)
require_match("${output}" "a device, 1 threads against known" "3.00 times as fast as the peer")

# 77: a package is missing.
set(reports "")
function(run_peer name)
  run("0;77" ${PYTHON} ${SOURCE}/bench/peers/${name}.py --smoke --json ${name}.json ${ARGN})
  if(result EQUAL 0)
    set(reports ${reports} ${name}.json PARENT_SCOPE)
  endif()
endfunction()
run_peer(onnxruntime_infer ${BUILD}/bench/bench_inference)
run_peer(pillow_data ${BUILD}/bench/bench_data)
run_peer(pytorch_startup ${BUILD}/bench/bench_startup)
run_peer(pytorch_step --models mobilenet_v2,mobilenet_v2_lstm49 ${BUILD}/bench/bench_train)
if(reports)
  run(0 ${BUILD}/tools/cutis bench-report ${reports})
endif()
file(REMOVE_RECURSE ${SCRATCH})
