#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/device.h"
#include "engine/dtype.h"
#include "engine/shape.h"
#include "engine/storage.h"

namespace cutis {

/// A contiguous array: a cheap handle (copying shares the bytes) over one Storage. Images and activations are n x h x w x c.
/// Views exist only where they stay contiguous: another shape of the same elements, or a run of outermost rows.
class Tensor {
  public:
    /// No tensor: false in a condition, no shape.
    Tensor() = default;

    static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = {});
    static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = {});
    /// Uninitialised, of `other`'s shape, type and device.
    static Tensor empty_like(const Tensor& other) { return empty(other.shape(), other.dtype(), other.device()); }
    /// fp32 values.
    static Tensor full(const Shape& shape, float value, Device device = {});
    /// A copy of `values`; their count must be the shape's.
    template <class T>
    static Tensor from(std::span<const T> values, const Shape& shape);
    template <class T>
    static Tensor from(const std::vector<T>& values, const Shape& shape) {
        return from(std::span<const T>(values), shape);
    }

    explicit operator bool() const { return storage_ != nullptr; }
    const Shape& shape() const { return shape_; }
    std::int64_t size(int dimension) const { return shape_[dimension]; }
    std::int64_t elements() const { return storage_ ? shape_.elements() : 0; }
    std::size_t bytes() const { return static_cast<std::size_t>(elements()) * dtype_size(dtype_); }
    DType dtype() const { return dtype_; }
    Device device() const;

    /// Typed access; throws Error when T is not the tensor's dtype. On a GPU the pointer is for kernels alone. Writing through `data` into a tensor that others hold must be
    /// told to them with `mark_changed`.
    template <class T = float>
    T* data() {
        return static_cast<T*>(checked_data(dtype_of<T>()));
    }
    template <class T = float>
    const T* data() const {
        return static_cast<const T*>(checked_data(dtype_of<T>()));
    }
    /// The elements, of a tensor on the CPU (else Error).
    template <class T = float>
    std::span<const T> values() const {
        require_cpu();
        return {data<T>(), static_cast<std::size_t>(elements())};
    }
    void* raw() const;

    /// The same elements under another shape of as many elements.
    Tensor reshape(const Shape& shape) const;
    /// Rows [begin, end) of the outermost dimension.
    Tensor rows(std::int64_t begin, std::int64_t end) const;
    /// A deep copy.
    Tensor clone() const;
    /// The same elements on `device`: this very tensor where it is there, else a copy.
    Tensor to(Device device) const;
    /// Carries the bytes to `device`, for every tensor that shares them.
    void move_to(Device device) { storage_->move_to(device); }
    /// The one element of an fp32 tensor; waits for the GPU where it is there.
    float item() const;
    /// Copies the elements of `source` (same shape and dtype, any device) into this tensor's bytes and marks them changed.
    void copy_from(const Tensor& source);
    void fill(float value);

    std::uint64_t version() const { return storage_ ? storage_->version() : 0; }
    void mark_changed() { storage_->mark_changed(); }
    bool shares_storage(const Tensor& other) const { return storage_ != nullptr && storage_ == other.storage_; }
    /// Whether no other handle shares the bytes.
    bool unique() const { return storage_.use_count() == 1; }

  private:
    void require_cpu() const;
    void* checked_data(DType wanted) const;

    std::shared_ptr<Storage> storage_;
    Shape shape_;
    DType dtype_ = DType::f32;
    std::size_t offset_ = 0;  // bytes
};

}  // namespace cutis
