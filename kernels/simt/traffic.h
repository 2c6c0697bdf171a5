#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace simt {

/// What a kernel did to global memory, in bytes, summed over its launches.
struct Traffic {
    std::uint64_t launches = 0;
    std::uint64_t issued_read = 0, issued_written = 0;      ///< by loads, stores, atomics and cp.async, each time
    std::uint64_t distinct_read = 0, distinct_written = 0;  ///< bytes touched at least once in a launch

    std::uint64_t issued() const { return issued_read + issued_written; }
    std::uint64_t distinct() const { return distinct_read + distinct_written; }
};

/// Counts, kernel by kernel (the names without namespaces), from construction to `stop`. Only kernels compiled with
/// -fsanitize=thread and linked with traffic.cpp are seen: the compiler then calls a function at each memory access,
/// and those functions are ours. What counts are bytes of device memory that kernels access; shared memory, stacks and
/// arguments do not, nor do the runtime's copies and fills. One at a time; kernels run on one OS thread meanwhile.
class TrafficCount {
  public:
    TrafficCount();
    ~TrafficCount();
    TrafficCount(const TrafficCount&) = delete;
    TrafficCount& operator=(const TrafficCount&) = delete;

    std::map<std::string, Traffic> stop();

  private:
    int os_threads_before_;
};

}  // namespace simt
