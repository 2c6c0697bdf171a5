#pragma once

#include <string>

#include "kernels/simt/scheduler.h"

/// The places where kernels synchronise: a trace names them, and one can be left out on purpose, to see whether a test
/// notices that it is missing (docs/mutation.md).

namespace simt::detail {

/// Asked by every barrier, wait and commit before it does its work: whether options().leave_out names it. Notes the
/// place for the trace. Allocates nothing and orders nothing between CUDA threads, so that the thread sanitizer sees
/// the kernel as it would be without the line.
bool left_out(Site site);

/// Whether options().leave_out wants the wait or the cluster's barrier at `site` weaker than it is.
bool weakened(Site site);

/// What the trace says of the places passed since the last call: "; waits at a.cu:3, a.cu:7", or nothing.
std::string take_places();

/// Reads SIMT_LEAVE_OUT, and has the program say at its end how often it left that place out. Ends it if the text is
/// no place.
Options::LeaveOut parse_leave_out(const std::string& text);

}  // namespace simt::detail
