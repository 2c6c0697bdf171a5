# Installs the build, moves what was installed elsewhere, and there builds and runs a program of another project.
#
# From a build with CUDA=simt also one with a CUDA kernel, against cutis::simt.
#
#   cmake -DBUILD=<build tree> -DSOURCE=<project> -DSCRATCH=<folder> -DCUDA=<nvcc, simt or off>
#         -DGENERATOR=.. -DCXX=.. -DFLAGS=.. -DBUILD_TYPE=.. -P install.cmake
cmake_minimum_required(VERSION 3.22)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nleft with ${result}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${SCRATCH})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${SCRATCH}/first)
file(RENAME ${SCRATCH}/first ${SCRATCH}/moved)
set(prefix ${SCRATCH}/moved)

# Nothing of the package may name the build tree, the source tree or the prefix it was first installed to.
file(GLOB_RECURSE package_files ${prefix}/*.cmake)
foreach(file ${package_files})
  file(READ ${file} text)
  foreach(place ${BUILD} ${SOURCE} ${SCRATCH})
    string(FIND "${text}" ${place}/ found)
    if(found GREATER_EQUAL 0)
      message(FATAL_ERROR "${file} names ${place}")
    endif()
  endforeach()
endforeach()

set(programs outside)
if(CUDA STREQUAL "simt")
  list(APPEND programs outside_simt)
endif()
foreach(program ${programs})
  run(${CMAKE_COMMAND} -S ${SOURCE}/tests/house/${program} -B ${SCRATCH}/${program} -G ${GENERATOR}
    -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_CXX_COMPILER=${CXX} "-DCMAKE_CXX_FLAGS=${FLAGS}" -DCMAKE_BUILD_TYPE=${BUILD_TYPE})
  run(${CMAKE_COMMAND} --build ${SCRATCH}/${program})
  run(${SCRATCH}/${program}/${program})
  message(STATUS "program ${program}: ${output}")
endforeach()
run(${prefix}/bin/cutis info)
message(STATUS "installed program: ${output}")
file(REMOVE_RECURSE ${SCRATCH})
