#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/vendor/cudnn_library.h"

/// cuDNN's operation graphs (its backend API) in three layers: descriptors, a graph of a few operations on tensors of
/// four dimensions, and the plan that runs it: the fastest of all engines that the library proposes, found once for
/// each problem and kept.

namespace cutis::cudnn {

/// A descriptor of the library, freed with its object.
class Descriptor {
  public:
    explicit Descriptor(cudnnBackendDescriptorType_t type);
    ~Descriptor();
    Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }

    cudnnBackendDescriptor_t raw() const { return raw_; }
    void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
             const void* values);
    template <class V>
    void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const V& value) {
        set(name, type, 1, &value);
    }
    void set(cudnnBackendAttributeName_t name, const Descriptor& other) {
        set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, other.raw_);
    }
    void set_sizes(cudnnBackendAttributeName_t name, std::span<const std::int64_t> sizes) {
        set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(sizes.size()), sizes.data());
    }
    /// Error with the library's reason.
    void finalize();
    /// Whether the library takes it: an engine may not run a graph.
    bool try_finalize();

  private:
    cudnnBackendDescriptor_t raw_ = nullptr;
};

using Dims = std::array<std::int64_t, 4>;

/// Dimensions in the library's order n c h w (filters: k c r s), strides in values.
struct Layout {
    Dims dims, strides;
};
/// Channels last: images n x h x w x c, filters k x r x s x c.
constexpr Layout channels_last(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
    return {{n, c, h, w}, {h * w * c, 1, w * c, c}};
}
/// One figure for each of c channels.
constexpr Layout per_channel(std::int64_t c) {
    return channels_last(1, c, 1, 1);
}

/// What a convolution's operations share.
struct ConvolutionForm {
    std::int64_t stride, padding;
};
/// A pointwise operation's mode and what a clamp has beside it.
struct PointwiseForm {
    cudnnPointwiseMode_t mode;
    std::optional<double> lower = {}, upper = {};
};

/// Operations over tensors. Tensors are numbered from 1; those in memory are bound to addresses in the order in which
/// they were added.
class Graph {
  public:
    using Tensor = int;  ///< 0: none

    /// @param alignment  of all addresses that will be bound, in bytes
    explicit Graph(std::int64_t alignment) : alignment_(alignment) {}

    /// A tensor in memory.
    Tensor tensor(const Layout& layout, cudnnDataType_t type) { return add(layout, type, alignment_, Kind::memory); }
    /// A tensor that one operation hands to the next, in fp32 or as truth values.
    Tensor passed_on(const Layout& layout, cudnnDataType_t type = CUDNN_DATA_FLOAT) {
        return add(layout, type, alignment_, Kind::passed_on);
    }
    /// An fp32 number, bound to an address of the CPU's.
    Tensor number() { return add(per_channel(1), CUDNN_DATA_FLOAT, sizeof(float), Kind::number); }

    void convolution_forward(Tensor y, Tensor x, Tensor w, const ConvolutionForm& form);
    void convolution_backward_data(Tensor dx, Tensor dy, Tensor w, const ConvolutionForm& form);
    void convolution_backward_filter(Tensor dw, Tensor dy, Tensor x, const ConvolutionForm& form);
    /// y = mode(x, b); b only where the mode takes two.
    void pointwise(const PointwiseForm& form, Tensor y, Tensor x, Tensor b = 0);
    /// Batchnorm over n, h, w with the batch's own statistics: 1 / sqrt(var + epsilon) is left in inv_std.
    void batchnorm_forward(Tensor y, Tensor mean, Tensor inv_std, Tensor x, Tensor scale, Tensor bias, Tensor epsilon);
    void batchnorm_backward(Tensor dx, Tensor dscale, Tensor dbias, Tensor dy, Tensor x, Tensor mean, Tensor inv_std,
                            Tensor scale);

    /// The addresses' numbers, in order.
    const std::vector<std::int64_t>& bound() const { return bound_; }
    /// The library's own graph of what was added.
    const Descriptor& finished(cudnnHandle_t handle);

  private:
    enum class Kind { memory, passed_on, number };
    Tensor add(const Layout& layout, cudnnDataType_t type, std::int64_t alignment, Kind kind);
    const Descriptor& at(Tensor tensor) const { return tensors_.at(static_cast<std::size_t>(tensor) - 1); }
    Descriptor& keep(cudnnBackendDescriptorType_t type) { return *parts_.emplace_back(new Descriptor(type)); }
    const Descriptor& convolution(const ConvolutionForm& form);
    const Descriptor& pointwise_descriptor(const PointwiseForm& form);
    void add_operation(Descriptor& operation);

    std::int64_t alignment_;
    std::vector<Descriptor> tensors_;
    std::vector<std::unique_ptr<Descriptor>> parts_;
    std::vector<cudnnBackendDescriptor_t> operations_;
    std::vector<std::int64_t> bound_;
    std::optional<Descriptor> graph_;
};

/// What the choice of an engine depends on. `op` and `shape` are for people.
struct Problem {
    std::string op, shape;
    cudnnDataType_t type;
    bool exact_products;  ///< fp32 values are multiplied as they are, not rounded to tf32
    std::int64_t alignment;
    int device;
    auto operator<=>(const Problem&) const = default;
};

/// Computes the graph that `build` makes, on `addresses` (see Graph::bound; Graph(problem.alignment) is handed to it).
/// The problem's first call tries all engines that the library proposes and that may be used:
///   - sums are fp32, and so are products where they must be exact;
///   - the same call gives the same bits;
///   - no more work space than kMostWorkspace;
/// and keeps the fastest, by the stream's time on these addresses. While a graph is captured, and where `in_place` says
/// that an output is also an input, which repeating would spoil, it is the library's first proposal instead; a later
/// call that may try does so. Whether there is an engine: false, and nothing is done, where there is none.
bool try_run(const Problem& problem, const std::function<void(Graph&)>& build, std::span<void* const> addresses,
             bool in_place, Stream stream);
/// The same; Error, with the library's reason, where there is no engine.
void run(const Problem& problem, const std::function<void(Graph&)>& build, std::span<void* const> addresses,
         bool in_place, Stream stream);

constexpr std::int64_t kMostWorkspace = std::int64_t{1} << 30;

/// Forgets all plans: they belong to the functions that made them.
void forget_plans();

/// For tests and reports: how many problems have a plan, how many plans were tried for them, and by how many calls.
struct PlanCounts {
    std::int64_t problems = 0, tried = 0, runs = 0;
};
PlanCounts plan_counts();

/// The engine configurations that the library proposes for a graph, best guess first: by its model of the hardware
/// (mode A), by its other one (mode B), and those that run where these do not.
std::vector<Descriptor> proposed_engines(const Descriptor& graph);
/// Whether an engine keeps the rules above.
bool allowed_engine(const Descriptor& configuration, bool exact_products);

/// The largest power of two that divides all addresses, at most 16.
std::int64_t alignment_of(std::span<void* const> addresses);

}  // namespace cutis::cudnn
