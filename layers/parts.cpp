#include "layers/parts.h"

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"

namespace cutis {
namespace {

// Calls body(memory index, file index) for every element. Memory k r s c against file k c r s; a depthwise filter is
// one with k and c exchanged: memory (r s) c, file c (r s).
template <class Body>
void for_each_index(const Shape& memory, WeightLayout layout, Body&& body) {
    std::int64_t outer = 1, taps = 1, channels = memory.elements();
    if (layout == WeightLayout::dense || layout == WeightLayout::flattened) {
        outer = memory[0];
        taps = memory[1] * memory[2];
        channels = memory[3];
    } else if (layout == WeightLayout::depthwise) {
        taps = memory[0] * memory[1];
        channels = memory[2];
    }
    for (std::int64_t k = 0; k < outer; ++k) {
        for (std::int64_t tap = 0; tap < taps; ++tap) {
            for (std::int64_t c = 0; c < channels; ++c) {
                body(static_cast<std::size_t>((k * taps + tap) * channels + c),
                     static_cast<std::size_t>((k * channels + c) * taps + tap));
            }
        }
    }
}

}  // namespace

std::int64_t Parts::parameter_count() const {
    std::int64_t count = 0;
    for (const ParameterRef& parameter : parameters) {
        count += parameter.variable.value().elements();
    }
    return count;
}

Device Parts::device() const {
    return parameters.empty() ? Device{} : parameters.front().variable.value().device();
}

void Parts::move_to(Device device) const {
    for (const ParameterRef& parameter : parameters) {
        Variable variable = parameter.variable;
        variable.value().move_to(device);
    }
    for (const BufferRef& buffer : buffers) {
        Tensor tensor = buffer.tensor;
        tensor.move_to(device);
    }
}

std::string joined(const std::string& name, const std::string& part) {
    return name.empty() ? part : name + "." + part;
}

std::vector<std::int64_t> file_shape(const Shape& memory, WeightLayout layout) {
    switch (layout) {
        case WeightLayout::dense:
            return {memory[0], memory[3], memory[1], memory[2]};
        case WeightLayout::pointwise:
            return {memory[0], memory[1], 1, 1};
        case WeightLayout::depthwise:
            return {memory[2], 1, memory[0], memory[1]};
        case WeightLayout::flattened:
            return {memory[0], memory[1] * memory[2] * memory[3]};
        case WeightLayout::same:
            break;
    }
    return {memory.sizes().begin(), memory.sizes().end()};
}

std::vector<float> to_file_order(const Tensor& tensor, WeightLayout layout) {
    std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
    const Tensor on_cpu = tensor.to(Device{});
    const float* const memory = on_cpu.data();
    for_each_index(tensor.shape(), layout, [&](std::size_t m, std::size_t f) { values[f] = memory[m]; });
    return values;
}

void from_file_order(Tensor& tensor, std::span<const float> values, WeightLayout layout) {
    require(static_cast<std::int64_t>(values.size()) == tensor.elements(), "weights: {} values for a tensor {}",
            values.size(), to_string(tensor.shape()));
    Tensor ordered = Tensor::empty(tensor.shape());
    float* const memory = ordered.data();
    for_each_index(tensor.shape(), layout, [&](std::size_t m, std::size_t f) { memory[m] = values[f]; });
    tensor.copy_from(ordered);
}

std::uint32_t name_hash(std::string_view name) {
    std::uint32_t hash = 2166136261u;
    for (const char c : name) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
    }
    return hash;
}

namespace {

// draw(random) for each value in the file's order; it takes `words` words of the stream.
template <class Draw>
void init_by_name(Tensor& tensor, WeightLayout layout, std::uint64_t seed, std::string_view name, std::uint64_t words,
                  Draw&& draw) {
    constexpr std::int64_t kGrain = 1 << 14;
    const PhiloxStream stream(seed, RandomPurpose::weights, name_hash(name));
    std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
    parallel_for(tensor.elements(), kGrain, [&](std::int64_t begin, std::int64_t end, int) {
        PhiloxStream random = stream;
        random.seek(words * static_cast<std::uint64_t>(begin));
        for (std::int64_t i = begin; i < end; ++i) {
            values[static_cast<std::size_t>(i)] = draw(random);
        }
    });
    from_file_order(tensor, values, layout);
}

}  // namespace

void init_normal(Tensor& tensor, WeightLayout layout, float stddev, std::uint64_t seed, std::string_view name) {
    init_by_name(tensor, layout, seed, name, 2, [&](PhiloxStream& random) { return stddev * random.normal(); });
}

void init_uniform(Tensor& tensor, WeightLayout layout, float bound, std::uint64_t seed, std::string_view name) {
    init_by_name(tensor, layout, seed, name, 1, [&](PhiloxStream& random) { return random.uniform(-bound, bound); });
}

}  // namespace cutis
