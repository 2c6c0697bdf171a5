#pragma once

#include <gtest/gtest.h>

#include <string>

#include "kernels/simt/ptx.h"
#include "tests/support/device_array.h"

/// What the tests of the CPU's stand-in for a GPU share.

namespace cutis::testing {

inline constexpr int kThreads = 256;

/// Threads run in this order for the scope's life.
class InOrder {
  public:
    explicit InOrder(simt::Order order, unsigned seed = 1) : before_(simt::options()) {
        simt::options().order = order;
        simt::options().seed = seed;
    }
    ~InOrder() { simt::options() = before_; }

  private:
    simt::Options before_;
};

template <class Body>
void in_every_order(Body&& body) {
    for (const simt::Order order :
         {simt::Order::forward, simt::Order::reverse, simt::Order::random, simt::Order::warps}) {
        SCOPED_TRACE("order " + std::to_string(static_cast<int>(order)));
        const InOrder scope(order);
        body();
    }
}

/// The message of a launch that must fail, and that the next launch is not disturbed.
template <auto Kernel>
std::string broken(unsigned shared_bytes = 0, unsigned threads = kThreads, unsigned cluster = 1) {
    DeviceArray<float> out(1024);
    const cudaError_t error = simt::launch<Kernel>(
        {.grid = cluster, .block = threads, .shared_bytes = shared_bytes, .cluster = cluster}, nullptr, out.data());
    const std::string message = cudaGetErrorString(error);
    EXPECT_EQ(error, cudaErrorLaunchFailure) << message;
    EXPECT_EQ(cudaGetLastError(), error);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    EXPECT_NE(message.find("kernel "), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
}

#define EXPECT_SAYS(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

}  // namespace cutis::testing
