#pragma once

#include <cstdint>
#include <exception>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cuda_device.h"
#include "engine/tensor.h"

/// Where a step's time goes. Ops, layers and tools open named ranges; where a Profiler listens in the same thread it
/// measures them, and where a tool like Nsight Systems watches the process they are NVTX ranges too. With neither, a
/// range is two tests of a flag.
///
///     Profiler profiler(device);
///     {
///         const ProfileRange range("linear", "classifier.1.weight");
///         on::linear_forward(...);
///         profile_work(2.0 * n * c * k, {&x, &w, &y});
///     }
///     for (const ProfiledRange& range : profiler.take()) ...

namespace cutis {

/// One measured range.
struct ProfiledRange {
    std::string name;           ///< of the op, as `record` knows it, or of a part of the program
    std::string layer;          ///< of the model ("features.0.0"), empty where it belongs to none
    int parent = -1;            ///< index of the range it lies in, -1 for none; parents come before what they hold
    std::int64_t begin_ns = 0;  ///< since the profiler's beginning
    std::int64_t end_ns = 0;
    double flops = 0, bytes = 0;  ///< what was computed in it and had to be moved at least, by what it says of itself

    std::int64_t duration_ns() const { return end_ns - begin_ns; }
};

/// Measures the ranges of the thread that made it, as long as it lives: on the CPU by a clock, on a GPU by a pair of
/// events on the stream, read only in `take`, so that a step is never waited for while it runs. A graph that is
/// recorded meanwhile cannot be measured from within: run steps kernel by kernel.
class Profiler {
  public:
    /// @param device  where the work of the ranges runs
    /// Throws Error where this thread has a profiler already.
    explicit Profiler(Device device);
    ~Profiler();
    Profiler(const Profiler&) = delete;
    Profiler& operator=(const Profiler&) = delete;

    /// The ranges since the last call in the order of their beginnings, after waiting for the device. Throws Error
    /// while one is open, or what went wrong when one ended.
    std::vector<ProfiledRange> take();

  private:
    friend class ProfileRange;
    friend void profile_work(double, std::initializer_list<const Tensor*>);

    void begin(std::string_view name, std::string_view layer);
    void end() noexcept;
    void add_work(double flops, double bytes);
    std::int64_t now_ns() const;
    CudaEvent& next_event();

    Device device_;
    std::int64_t origin_ns_ = 0;         ///< the clock's reading at the beginning
    std::vector<ProfiledRange> ranges_;  ///< on a GPU begin_ns and end_ns are numbers of events until they are read
    std::vector<int> open_;
    std::unique_ptr<CudaEvent> first_event_;
    std::vector<std::unique_ptr<CudaEvent>> events_;  ///< used again after each `take`
    std::size_t used_events_ = 0;
    std::exception_ptr failure_;
};

namespace detail {
/// Of this thread; null almost always.
inline constinit thread_local Profiler* t_profiler = nullptr;
}  // namespace detail

/// A named stretch of the program, from construction to destruction. Ranges of a thread nest.
class ProfileRange {
  public:
    /// @param parameter  checkpoint name of a parameter of the layer that this is the work of, or empty: what stands
    ///                   before the last dot names the layer
    explicit ProfileRange(std::string_view name, std::string_view parameter = {}) {
        if (detail::t_profiler != nullptr || nvtx_attached()) {
            begin(name, parameter);
        }
    }
    ~ProfileRange() {
        if (open_) {
            end();
        }
    }
    ProfileRange(const ProfileRange&) = delete;
    ProfileRange& operator=(const ProfileRange&) = delete;

  private:
    void begin(std::string_view name, std::string_view parameter);
    void end() noexcept;

    bool open_ = false;
    Profiler* profiler_ = nullptr;
};

/// Adds to the innermost range that is open in this thread: floating-point operations, and tensors that are read or
/// written (empty handles and null pointers count nothing). Of work that runs in several passes each tensor is named
/// once for each time that it must be moved.
void profile_work(double flops, std::initializer_list<const Tensor*> moved);

}  // namespace cutis
