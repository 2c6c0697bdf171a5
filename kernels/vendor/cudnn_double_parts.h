#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/vendor/cudnn_double.h"

/// What the files of cuDNN's stand-in share.

struct cudnnContext {
    cudaStream_t stream = nullptr;
};

namespace cutis::cudnn_double {

struct Object;

/// An attribute's values: bytes, or other descriptors, which it keeps alive.
struct Attribute {
    std::vector<unsigned char> bytes;
    std::vector<std::shared_ptr<const Object>> objects;
    std::int64_t count = 0;
};

/// A descriptor of the backend API.
struct Object {
    cudnnBackendDescriptorType_t type{};
    bool finalized = false;
    std::map<cudnnBackendAttributeName_t, Attribute> attributes;

    bool has(cudnnBackendAttributeName_t name) const { return attributes.contains(name); }
    template <class V>
    std::span<const V> values(cudnnBackendAttributeName_t name) const {
        const Attribute& attribute = attributes.at(name);
        return {reinterpret_cast<const V*>(attribute.bytes.data()), static_cast<std::size_t>(attribute.count)};
    }
    template <class V>
    V value(cudnnBackendAttributeName_t name) const {
        return values<V>(name)[0];
    }
    bool flag(cudnnBackendAttributeName_t name) const { return has(name) && value<bool>(name); }
    const Object& object(cudnnBackendAttributeName_t name) const { return *attributes.at(name).objects.at(0); }
};

/// Whether an operation's tensors fit, when it is finalized.
cudnnStatus_t check_operation(const Object& operation);
/// Whether the library has an engine for these operations.
bool supported(const std::vector<std::shared_ptr<const Object>>& operations);
/// Computes the operations of a graph. `addresses` by the tensors' numbers; tf32: products of fp32 are rounded.
void compute(const std::vector<std::shared_ptr<const Object>>& operations,
             const std::map<std::int64_t, void*>& addresses, const std::map<std::int64_t, float>& numbers, bool tf32);

/// Fills in the functions of recurrent layers.
void add_recurrent(cudnn::Functions& functions);
/// One more or less of the descriptors that counts() reports.
void count_descriptor(int change);

/// Values of fp32 or bf16 at any address.
inline float load(const void* data, std::int64_t i, cudnnDataType_t type) {
    return type == CUDNN_DATA_BFLOAT16 ? bf16_to_f32(static_cast<const std::uint16_t*>(data)[i])
                                       : static_cast<const float*>(data)[i];
}
inline void store(void* data, std::int64_t i, cudnnDataType_t type, float value) {
    if (type == CUDNN_DATA_BFLOAT16) {
        static_cast<std::uint16_t*>(data)[i] = f32_to_bf16(value);
    } else {
        static_cast<float*>(data)[i] = value;
    }
}

}  // namespace cutis::cudnn_double
