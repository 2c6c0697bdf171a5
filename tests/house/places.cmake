# Holds two things that are easily lost: the top level has only its fixed names, and every source file is named in a
# CMakeLists.txt (a test that no list names would never run, and nobody would notice).
#
#   cmake -DROOT=<project> -DSCRATCH=<folder for planted trees> -P places.cmake
cmake_minimum_required(VERSION 3.22)

set(FOLDERS kernels engine layers models tools tests bench)
set(TOP_LEVEL ${FOLDERS} docs CMakeLists.txt CMakePresets.json README.md LICENSE)

# What stands at the top level beside dot-files: what git tracks, or in an exported tree everything but build outputs.
function(top_level_names root out)
  set(result 1)
  if(EXISTS ${root}/.git)
    execute_process(COMMAND git -C ${root} -c core.quotePath=false ls-files
      OUTPUT_VARIABLE names RESULT_VARIABLE result ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    string(REPLACE "\n" ";" names "${names}")
    list(TRANSFORM names REPLACE "/.*" "")
    list(REMOVE_DUPLICATES names)
  endif()
  if(NOT result EQUAL 0)
    file(GLOB names RELATIVE ${root} ${root}/*)
    list(FILTER names EXCLUDE REGEX "^(build|runs|compile_commands\\.json|.*\\.cutis)$")
  endif()
  list(FILTER names EXCLUDE REGEX "^\\.")
  set(${out} ${names} PARENT_SCOPE)
endfunction()

# Every fault of the tree at `root`, one line each.
function(find_faults root out)
  set(faults "")
  top_level_names(${root} names)
  foreach(name ${names})
    if(NOT name IN_LIST TOP_LEVEL)
      list(APPEND faults "${name}: not one of the fixed names of the top level")
    endif()
  endforeach()
  foreach(folder ${FOLDERS})
    file(GLOB_RECURSE sources RELATIVE ${root}/${folder} ${root}/${folder}/*.cpp ${root}/${folder}/*.cu)
    list(FILTER sources EXCLUDE REGEX "^house/outside[^/]*/")
    set(lists "")
    file(GLOB_RECURSE list_files ${root}/${folder}/CMakeLists.txt)
    foreach(list_file ${list_files})
      file(READ ${list_file} text)
      string(APPEND lists " ${text}")
    endforeach()
    # A nested folder may have a list of its own, which then names the file without the path to it.
    foreach(source ${sources})
      get_filename_component(name ${source} NAME)
      get_filename_component(place ${source} DIRECTORY)
      if(place AND EXISTS ${root}/${folder}/${place}/CMakeLists.txt)
        set(wanted ${name})
      else()
        set(wanted ${source})
      endif()
      # "name" may stand for "name.cpp" where a loop makes a program of each.
      string(REGEX REPLACE "\\.([a-z]+)$" "(\\\\.\\1)?" pattern ${wanted})
      if(NOT lists MATCHES "(^|[ \t\n(/])${pattern}([ \t\n)]|$)")
        list(APPEND faults "${folder}/${source}: no CMakeLists.txt of ${folder}/ names it")
      endif()
    endforeach()
  endforeach()
  set(${out} "${faults}" PARENT_SCOPE)
endfunction()

# Plants `path=text` files and requires the one fault `expected` ("" for none).
function(self_check title expected)
  file(REMOVE_RECURSE ${SCRATCH})
  foreach(item ${ARGN})
    string(REGEX MATCH "^([^=]+)=(.*)$" matched ${item})
    file(WRITE ${SCRATCH}/${CMAKE_MATCH_1} "${CMAKE_MATCH_2}")
  endforeach()
  find_faults(${SCRATCH} faults)
  file(REMOVE_RECURSE ${SCRATCH})
  list(LENGTH faults count)
  if(expected STREQUAL "" AND count EQUAL 0 OR (NOT expected STREQUAL "" AND count EQUAL 1 AND faults MATCHES "${expected}"))
    message(STATUS "self-check: ${title}: ${faults}")
  else()
    message(FATAL_ERROR "self-check '${title}' expected one fault like '${expected}', found ${count}: ${faults}")
  endif()
endfunction()

self_check("a good tree" ""
  "LICENSE=" ".ci/run=" "build/x=" "tests/CMakeLists.txt=set(S engine/a.cpp)" "tests/engine/a.cpp="
  "tests/fuzz/CMakeLists.txt=fuzzer(b.cpp)" "tests/fuzz/b.cpp=")
self_check("a stranger at the top level" "^scripts: not one of the fixed names" "LICENSE=" "scripts/x.sh=")
self_check("a test that no list names" "^tests/engine/b.cpp: no CMakeLists.txt"
  "tests/CMakeLists.txt=set(S engine/a.cpp engine/bb.cpp)" "tests/engine/a.cpp=" "tests/engine/bb.cpp=" "tests/engine/b.cpp=")

find_faults(${ROOT} faults)
if(faults)
  list(JOIN faults "\n  " faults)
  message(FATAL_ERROR "out of place:\n  ${faults}")
endif()
message(STATUS "the top level holds its fixed names, and every source is in a list")
