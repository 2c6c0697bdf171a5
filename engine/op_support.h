#pragma once

#include "engine/autograd.h"
#include "engine/shape.h"
#include "kernels/error.h"

/// What the files of ops share; not for their callers.

namespace cutis::detail {

inline void require_image(const char* op, const Shape& x) {
    require(x.rank() == 4, "{}: the input is {}; n x h x w x c was expected", op, to_string(x));
}

/// An uninitialised gradient for `x`, of its own type, which is fp32 for parameters; none where it wants none.
inline Tensor gradient_for(const Variable& x) {
    return x && x.requires_grad() ? Tensor::empty(x.shape(), x.value().dtype(), x.value().device()) : Tensor();
}
template <class T>
T* pointer_or_null(Tensor& tensor) {
    return tensor ? tensor.data<T>() : nullptr;
}
template <class T>
const T* pointer_or_null(const Tensor& tensor) {
    return tensor ? tensor.data<T>() : nullptr;
}
inline void hand_over(const Variable& x, const Tensor& gradient) {
    if (gradient) {
        x.accumulate(gradient);
    }
}

}  // namespace cutis::detail
