# Holds code that a document shows to the file of which it is a copy, and which is compiled and tested.
#
#   cmake -DROOT=<project> -DSCRATCH=<folder for planted trees> -P quoted_code.cmake
cmake_minimum_required(VERSION 3.22)

set(DOCUMENT docs/models.md)
set(SOURCE tests/models/small_cnn.h)

# Whether the document at `root` shows the source, all of it, as one block. In hexadecimal, since lists and escapes of
# CMake would change C++.
function(shows root out)
  file(READ ${root}/${DOCUMENT} document HEX)
  file(READ ${root}/${SOURCE} source HEX)
  string(HEX "```cpp\n" begin)
  string(HEX "```\n" end)
  string(FIND "${document}" "${begin}${source}${end}" at)
  if(source STREQUAL "" OR at EQUAL -1)
    set(${out} FALSE PARENT_SCOPE)
  else()
    set(${out} TRUE PARENT_SCOPE)
  endif()
endfunction()

# A rule that finds nothing in a planted tree is broken itself.
file(REMOVE_RECURSE ${SCRATCH})
foreach(root right changed)
  file(WRITE ${SCRATCH}/${root}/${SOURCE} "int a[2]; // \"b\";\n")
endforeach()
file(WRITE ${SCRATCH}/right/${DOCUMENT} "As so:\n```cpp\nint a[2]; // \"b\";\n```\n")
file(WRITE ${SCRATCH}/changed/${DOCUMENT} "As so:\n```cpp\nint a[2]; // \"c\";\n```\n")
shows(${SCRATCH}/right right)
shows(${SCRATCH}/changed changed)
if(NOT right OR changed)
  message(FATAL_ERROR "self-check: equal code was found to be ${right}, other code ${changed}")
endif()

shows(${ROOT} found)
if(NOT found)
  message(FATAL_ERROR "${DOCUMENT} shows other code than ${SOURCE} holds; copy the file into its block")
endif()
message(STATUS "${DOCUMENT} shows ${SOURCE} as it is")
