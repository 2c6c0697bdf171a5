# Runs the whole of tools/gpu_suite.sh --smoke on a build whose CUDA kernels run on the CPU: every part leaves its results,
# what has passed is not run again, and a part that fails is reported, without stopping the others.
#
#   cmake -DBUILD=<simt build> -DSOURCE=<project> -DSCRATCH=<folder> -P gpu_suite.cmake
cmake_minimum_required(VERSION 3.22)

file(REMOVE_RECURSE ${SCRATCH})
file(MAKE_DIRECTORY ${SCRATCH})
unset(ENV{HAM10000_PACK})
unset(ENV{OUT})
if(EXISTS ${SOURCE}/build/python/bin/python)  # with what the gate may have installed
  set(ENV{GPU_SUITE_PYTHON} ${SOURCE}/build/python/bin/python)
endif()

# Runs the suite, leaves its output in `output` and fails unless it ends with `wanted`.
function(run_suite wanted)
  execute_process(COMMAND ${SOURCE}/tools/gpu_suite.sh --smoke ${ARGN}
    RESULT_VARIABLE result OUTPUT_VARIABLE out ERROR_VARIABLE out)
  message(STATUS "gpu_suite.sh --smoke ${ARGN}\n${out}")
  if(NOT result EQUAL wanted)
    message(FATAL_ERROR "ended with ${result}, not ${wanted}")
  endif()
  set(output "${out}" PARENT_SCOPE)
endfunction()

function(require_match text pattern)
  if(NOT text MATCHES "${pattern}")
    message(FATAL_ERROR "'${pattern}' is not in\n${text}")
  endif()
endfunction()

function(require_status folder part wanted)
  file(READ ${folder}/results.json json)
  string(JSON status GET "${json}" parts ${part} status)
  if(NOT status MATCHES "^(${wanted})$")
    message(FATAL_ERROR "${folder}/results.json: ${part} ${status}, not ${wanted}")
  endif()
endfunction()

run_suite(0 --binaries ${BUILD} --results ${SCRATCH}/all)
require_match("${output}" "results: [^\n]*results.md and [^\n]*results.json\n$")
foreach(part kernels parity bench step data train)
  require_status(${SCRATCH}/all ${part} passed)
endforeach()
require_status(${SCRATCH}/all peers "passed|not here")  # Python may lack the packages
foreach(part sanitize-memcheck sanitize-racecheck sanitize-synccheck sanitize-initcheck ncu)
  require_status(${SCRATCH}/all ${part} "not here")
endforeach()
file(READ ${SCRATCH}/all/results.json json)
string(JSON tests GET "${json}" parts kernels tests)
string(JSON cases LENGTH "${json}" parts bench cases)
string(JSON steps GET "${json}" parts parity figures steps)
string(JSON timed LENGTH "${json}" parts data cases)
string(JSON epoch GET "${json}" parts train timeline reached epoch)
if(tests LESS 20 OR cases LESS 200 OR steps LESS 3 OR timed LESS 12 OR NOT epoch EQUAL 1)
  message(FATAL_ERROR "${tests} tests, ${cases} bench cases, ${steps} steps, ${timed} cases of data, target in epoch ${epoch}: too few")
endif()
file(READ ${SCRATCH}/all/results.md markdown)
require_match("${markdown}" "nothing here was measured on a GPU")
require_match("${markdown}" "\\| kernels \\| \\*\\*passed\\*\\* ")

run_suite(0 --binaries ${BUILD} --results ${SCRATCH}/all bench)
require_match("${output}" "-- bench: has passed already")

# A build whose kernel tests fail, one crashing behind its name, and whose other programs are as they were.
file(MAKE_DIRECTORY ${SCRATCH}/broken/bin)
foreach(program tools/cutis tests/engine_tests tests/layers_tests tests/models_tests tests/tools_tests bench/bench_cuda_kernels)
  get_filename_component(name ${program} NAME)
  file(CREATE_LINK ${BUILD}/${program} ${SCRATCH}/broken/bin/${name} SYMBOLIC)
endforeach()
file(WRITE ${SCRATCH}/broken/bin/kernels_tests "#!/bin/sh\necho '[ RUN      ] Planted.Crash'\nexit 139\n")
file(CHMOD ${SCRATCH}/broken/bin/kernels_tests PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
run_suite(1 --binaries ${SCRATCH}/broken --results ${SCRATCH}/bad kernels bench)
require_status(${SCRATCH}/bad kernels failed)
require_status(${SCRATCH}/bad bench passed)
require_match("${output}" "failed: kernels: Planted.Crash")
file(READ ${SCRATCH}/bad/results.md markdown)
require_match("${markdown}" "## Failures\n\n- kernels, Planted.Crash")
# Where it is mended, the part is run again.
file(REMOVE ${SCRATCH}/broken/bin/kernels_tests)
file(CREATE_LINK ${BUILD}/tests/kernels_tests ${SCRATCH}/broken/bin/kernels_tests SYMBOLIC)
run_suite(0 --binaries ${SCRATCH}/broken --results ${SCRATCH}/bad kernels)
require_status(${SCRATCH}/bad kernels passed)

# Programs that were not built are left out and named; a peer that fails is a failure.
run_suite(0 --binaries ${SCRATCH}/broken --results ${SCRATCH}/bad step data)
require_status(${SCRATCH}/bad step "not here")
require_status(${SCRATCH}/bad data "not here")
require_match("${output}" "startup: left out: bench_startup was not built")
file(WRITE ${SCRATCH}/broken/bin/bench_train "#!/bin/sh\necho 'no such model' >&2\nexit 1\n")
file(CHMOD ${SCRATCH}/broken/bin/bench_train PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
run_suite(1 --binaries ${SCRATCH}/broken --results ${SCRATCH}/bad step)
require_status(${SCRATCH}/bad step failed)
require_match("${output}" "failed: step: mobilenet_v2: left with 1")
file(REMOVE_RECURSE ${SCRATCH})
