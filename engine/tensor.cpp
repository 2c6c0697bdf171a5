#include "engine/tensor.h"

#include <algorithm>
#include <limits>

#include "engine/cuda_device.h"
#include "engine/on_device.h"
#include "kernels/error.h"

namespace cutis {

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
    constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
    const auto elements = static_cast<std::size_t>(shape.elements());
    const std::size_t size = dtype_size(dtype);
    Tensor tensor;
    tensor.shape_ = shape;
    tensor.dtype_ = dtype;
    tensor.storage_ = std::make_shared<Storage>(elements > kMost / size ? kMost : elements * size, device);
    return tensor;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
    Tensor tensor = empty(shape, dtype, device);
    set_bytes(tensor.raw(), device, 0, tensor.bytes());
    return tensor;
}

Tensor Tensor::full(const Shape& shape, float value, Device device) {
    Tensor tensor = empty(shape, DType::f32, device);
    on::fill(device, tensor.data(), value, tensor.elements());
    return tensor;
}

template <class T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape) {
    require(static_cast<std::int64_t>(values.size()) == shape.elements(), "tensor {}: {} values were given",
            to_string(shape), values.size());
    Tensor tensor = empty(shape, dtype_of<T>());
    std::copy(values.begin(), values.end(), tensor.data<T>());
    return tensor;
}
template Tensor Tensor::from(std::span<const float>, const Shape&);
template Tensor Tensor::from(std::span<const BFloat16>, const Shape&);
template Tensor Tensor::from(std::span<const std::int64_t>, const Shape&);
template Tensor Tensor::from(std::span<const std::int32_t>, const Shape&);
template Tensor Tensor::from(std::span<const std::uint8_t>, const Shape&);

Device Tensor::device() const {
    require(storage_ != nullptr, "tensor: an empty handle has no device");
    return storage_->device();
}

void* Tensor::raw() const {
    require(storage_ != nullptr, "tensor: an empty handle has no data");
    return static_cast<std::byte*>(storage_->data()) + offset_;
}

void* Tensor::checked_data(DType wanted) const {
    require(wanted == dtype_, "tensor {}: holds {}, was read as {}", to_string(shape_), dtype_name(dtype_),
            dtype_name(wanted));
    return raw();
}

Tensor Tensor::reshape(const Shape& shape) const {
    require(storage_ != nullptr && shape.elements() == shape_.elements(), "reshape: {} has {} elements, {} has {}",
            to_string(shape_), elements(), to_string(shape), shape.elements());
    Tensor view = *this;
    view.shape_ = shape;
    return view;
}

Tensor Tensor::rows(std::int64_t begin, std::int64_t end) const {
    require(shape_.rank() >= 1 && 0 <= begin && begin <= end && end <= shape_[0], "rows [{}, {}) of a tensor {}", begin,
            end, to_string(shape_));
    std::vector<std::int64_t> sizes(shape_.sizes().begin(), shape_.sizes().end());
    const std::int64_t row = shape_[0] == 0 ? 0 : shape_.elements() / shape_[0];
    sizes[0] = end - begin;
    Tensor view = *this;
    view.shape_ = Shape(std::span<const std::int64_t>(sizes));
    view.offset_ += static_cast<std::size_t>(begin * row) * dtype_size(dtype_);
    return view;
}

Tensor Tensor::clone() const {
    Tensor copy = empty(shape_, dtype_, device());
    copy_bytes(copy.raw(), device(), raw(), device(), bytes());
    return copy;
}

Tensor Tensor::to(Device target) const {
    if (target == device()) {
        return *this;
    }
    Tensor copy = empty(shape_, dtype_, target);
    copy_bytes(copy.raw(), target, raw(), device(), bytes());
    return copy;
}

float Tensor::item() const {
    require(elements() == 1, "tensor {}: holds {} elements, not one", to_string(shape_), elements());
    return to(Device{}).values()[0];
}

void Tensor::require_cpu() const {
    require(device().kind == DeviceKind::cpu, "tensor {}: lies on {}; copy it to the CPU to read its values",
            to_string(shape_), to_string(device()));
}

void Tensor::copy_from(const Tensor& source) {
    require(source.shape_ == shape_ && source.dtype_ == dtype_, "copy: {} {} into {} {}", to_string(source.shape_),
            dtype_name(source.dtype_), to_string(shape_), dtype_name(dtype_));
    copy_bytes(raw(), device(), source.raw(), source.device(), bytes());
    mark_changed();
}

void Tensor::fill(float value) {
    on::fill(device(), data(), value, elements());
    mark_changed();
}

}  // namespace cutis
