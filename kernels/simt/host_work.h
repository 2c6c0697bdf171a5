#pragma once

#include <functional>

namespace simt {

/// Gives a stream work of the CPU's, in its order with kernels and copies and recorded while it captures: how the test
/// double of a library computes. Without CUDA's types, which its file has from elsewhere.
bool run_on_stream(void* stream, std::function<void()> work);

}  // namespace simt
