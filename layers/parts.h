#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/autograd.h"
#include "engine/ops.h"

namespace cutis {

/// How a parameter lies in memory, against PyTorch's layout in files.
enum class WeightLayout {
    same,       ///< vectors and linear weights k x c
    dense,      ///< memory k r s c, file k c r s
    pointwise,  ///< memory k c, file k c 1 1
    depthwise,  ///< memory r s c, file c 1 r s
    flattened,  ///< linear weights on a map: memory k r s c, file k (c r s)
};

/// A trained tensor of a model under its checkpoint name (torchvision's).
struct ParameterRef {
    std::string name;
    Variable variable;
    WeightLayout layout = WeightLayout::same;
    bool decay = false;  ///< whether weight decay applies: true for weights, false for norms and biases
};

/// A tensor that is part of a model's state but not trained (running statistics).
struct BufferRef {
    std::string name;
    Tensor tensor;
};

/// Everything that a model holds, in the order of its layers. `visit` of a layer or model appends to it; optimiser,
/// checkpoint, EMA and summary read it.
struct Parts {
    std::vector<ParameterRef> parameters;
    std::vector<BufferRef> buffers;

    std::int64_t parameter_count() const;
    /// Where the parameters are; the CPU where there are none.
    Device device() const;
    /// Carries everything to a device, in place: whoever holds one of the tensors finds it there.
    void move_to(Device device) const;
};

/// The name of a part of what is called `name`: "features" and "0" make "features.0"; behind no name it is the part's
/// own.
std::string joined(const std::string& name, const std::string& part);

/// Sizes that a memory shape has in a file.
std::vector<std::int64_t> file_shape(const Shape& memory, WeightLayout layout);
/// The values of `tensor` in a file's order.
std::vector<float> to_file_order(const Tensor& tensor, WeightLayout layout);
/// Copies values in a file's order into `tensor`; their count must be the tensor's.
void from_file_order(Tensor& tensor, std::span<const float> values, WeightLayout layout);

/// What a forward pass needs to know beside its input.
struct ForwardContext {
    bool training = false;
    std::uint64_t seed = 0;  ///< of the run: dropout
    std::uint64_t step = 0;  ///< dropout masks differ by step
    bool fused = true;       ///< run chains of convolution and batchnorm in the fused schedule
    /// On a GPU, where a step is recorded once and replayed: dropout masks differ by step + step_stride *
    /// step_state->step.
    const StepState* step_state = nullptr;
    std::uint64_t step_stride = 1;
    /// Where given, every linear layer leaves its input here. Behind a forward pass it holds what the last one read:
    /// the features that the classifier separates, n c or a map n h w c.
    Variable* linear_input = nullptr;

    /// For the dropout number `layer` of `layers` in a model.
    DropoutKey dropout_key(std::uint64_t layer = 0, std::uint64_t layers = 1) const {
        return {seed, step * layers + layer, step_state, step_stride * layers};
    }
};

/// Initial weights: normal with mean 0, drawn from the Philox stream (seed, weights, hash of name), so that a
/// parameter's values depend on its name alone and not on the layers around it. Values are drawn in the file's order.
void init_normal(Tensor& tensor, WeightLayout layout, float stddev, std::uint64_t seed, std::string_view name);
/// Uniform in [-bound, bound), likewise.
void init_uniform(Tensor& tensor, WeightLayout layout, float bound, std::uint64_t seed, std::string_view name);
/// FNV-1a, 32 bits: how a name becomes a stream number.
std::uint32_t name_hash(std::string_view name);

}  // namespace cutis
