#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/vendor/cudnn_double_parts.h"

// What operation graphs mean, in plain loops over their tensors' dimensions and strides, sums in fp32.

namespace cutis::cudnn_double {
namespace {

using Dims = std::array<std::int64_t, 4>;
using Operations = std::vector<std::shared_ptr<const Object>>;

Dims sizes(const Object& tensor, cudnnBackendAttributeName_t name) {
    const auto values = tensor.values<std::int64_t>(name);
    return {values[0], values[1], values[2], values[3]};
}
Dims dims_of(const Object& tensor) {
    return sizes(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS);
}
cudnnDataType_t type_of(const Object& tensor) {
    return tensor.value<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE);
}
std::int64_t id_of(const Object& tensor) {
    return tensor.value<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID);
}

// ---- what fits, and what has an engine

struct Convolution {
    const Object &x, &w, &y;  // or their gradients
    const Object& form;
};

Convolution convolution_of(const Object& operation) {
    switch (operation.type) {
        case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
            return {operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X),
                    operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W),
                    operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y),
                    operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC)};
        case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
            return {operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX),
                    operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W),
                    operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY),
                    operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC)};
        default:
            return {operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X),
                    operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW),
                    operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY),
                    operation.object(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC)};
    }
}

bool fits(const Convolution& conv) {
    const Dims x = dims_of(conv.x), w = dims_of(conv.w), y = dims_of(conv.y);
    const auto strides = conv.form.values<std::int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES),
               before = conv.form.values<std::int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS),
               behind = conv.form.values<std::int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS),
               dilations = conv.form.values<std::int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS);
    for (std::size_t i = 0; i < 2; ++i) {
        if (dilations[i] != 1 || y[i + 2] != (x[i + 2] + before[i] + behind[i] - w[i + 2]) / strides[i] + 1) {
            return false;
        }
    }
    return y[0] == x[0] && y[1] == w[0] && x[1] % w[1] == 0 && w[0] % (x[1] / w[1]) == 0;
}

bool broadcasts(const Object& from, const Object& to) {
    const Dims a = dims_of(from), b = dims_of(to);
    for (std::size_t i = 0; i < 4; ++i) {
        if (a[i] != b[i] && a[i] != 1) {
            return false;
        }
    }
    return true;
}

// Channels last, without gaps: the only order in which filters and images come here.
bool channels_last(const Object& tensor) {
    const Dims d = dims_of(tensor), s = sizes(tensor, CUDNN_ATTR_TENSOR_STRIDES);
    return s == Dims{d[1] * d[2] * d[3], 1, d[3] * d[1], d[1]};
}

bool is_convolution(const Object& operation) {
    return operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR ||
           operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ||
           operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
}

cudnnPointwiseMode_t mode_of(const Object& operation) {
    return operation.object(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR)
        .value<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE);
}
bool is_pointwise(const Object& operation, std::initializer_list<cudnnPointwiseMode_t> modes) {
    return operation.type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR &&
           std::find(modes.begin(), modes.end(), mode_of(operation)) != modes.end();
}

bool supports_batchnorm(const Object& x) {
    return dims_of(x)[1] % (type_of(x) == CUDNN_DATA_BFLOAT16 ? 8 : 4) == 0;
}

// ---- values

struct Tensor {
    Dims dims, strides;
    cudnnDataType_t type;
    void* data;
    std::int64_t at(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) const {
        return n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3];
    }
    /// The same, of a tensor whose dimensions of size 1 repeat.
    std::int64_t repeated(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) const {
        return at(dims[0] == 1 ? 0 : n, dims[1] == 1 ? 0 : c, dims[2] == 1 ? 0 : h, dims[3] == 1 ? 0 : w);
    }
    float get(std::int64_t i) const { return load(data, i, type); }
    void set(std::int64_t i, float value) const { store(data, i, type, value); }
};

class Values {
  public:
    Values(const std::map<std::int64_t, void*>& addresses, const std::map<std::int64_t, float>& numbers)
        : addresses_(addresses), numbers_(numbers) {}

    Tensor operator()(const Object& tensor) {
        const std::int64_t id = id_of(tensor);
        Tensor result{dims_of(tensor), sizes(tensor, CUDNN_ATTR_TENSOR_STRIDES), type_of(tensor), nullptr};
        if (result.type == CUDNN_DATA_BOOLEAN) {
            result.type = CUDNN_DATA_FLOAT;  // only between operations: 0 or 1
        }
        if (const auto number = numbers_.find(id); number != numbers_.end()) {
            result.data = &number->second;
        } else if (const auto address = addresses_.find(id); address != addresses_.end()) {
            result.data = address->second;
        } else {
            std::int64_t last = 0;
            for (std::size_t i = 0; i < 4; ++i) {
                last += (result.dims[i] - 1) * result.strides[i];
            }
            std::vector<float>& own = passed_on_[id];
            own.resize(static_cast<std::size_t>(last + 1));
            result.data = own.data();
        }
        return result;
    }

  private:
    const std::map<std::int64_t, void*>& addresses_;
    std::map<std::int64_t, float> numbers_;
    std::map<std::int64_t, std::vector<float>> passed_on_;
};

void for_all(const Dims& dims, auto&& visit) {
    for (std::int64_t n = 0; n < dims[0]; ++n) {
        for (std::int64_t h = 0; h < dims[2]; ++h) {
            for (std::int64_t w = 0; w < dims[3]; ++w) {
                for (std::int64_t c = 0; c < dims[1]; ++c) {
                    visit(n, c, h, w);
                }
            }
        }
    }
}

// ---- operations

float factor(float value, bool tf32) {
    constexpr std::uint32_t kDropped = 13;  // of fp32's 23 bits of fraction
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return tf32 ? std::bit_cast<float>((bits + (1u << (kDropped - 1))) & ~((1u << kDropped) - 1)) : value;
}

// All three directions are sums over the same products x(n, channel, row, column) w(k, c, r, s) dy(n, k, p, q).
void convolve(const Object& operation, Values& values, bool tf32) {
    const Convolution conv = convolution_of(operation);
    const Tensor x = values(conv.x), w = values(conv.w), y = values(conv.y);
    const auto stride = conv.form.values<std::int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES),
               padding = conv.form.values<std::int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS);
    const bool forward = operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
    const bool data = operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
    const Tensor& out = forward ? y : data ? x : w;
    std::vector<float> sums(static_cast<std::size_t>(out.dims[0] * out.dims[1] * out.dims[2] * out.dims[3]));
    const auto sum_at = [&](std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) -> float& {
        return sums[static_cast<std::size_t>(((a * out.dims[2] + c) * out.dims[3] + d) * out.dims[1] + b)];
    };
    const std::int64_t group_k = w.dims[0] / (x.dims[1] / w.dims[1]);
    for_all(y.dims, [&](std::int64_t n, std::int64_t k, std::int64_t p, std::int64_t q) {
        const std::int64_t first = k / group_k * w.dims[1];
        for (std::int64_t r = 0; r < w.dims[2]; ++r) {
            for (std::int64_t s = 0; s < w.dims[3]; ++s) {
                const std::int64_t row = p * stride[0] - padding[0] + r, column = q * stride[1] - padding[1] + s;
                if (row < 0 || row >= x.dims[2] || column < 0 || column >= x.dims[3]) {
                    continue;
                }
                for (std::int64_t c = 0; c < w.dims[1]; ++c) {
                    const auto in = [&] { return factor(x.get(x.at(n, first + c, row, column)), tf32); };
                    const auto filter = [&] { return factor(w.get(w.at(k, c, r, s)), tf32); };
                    const auto gradient = [&] { return factor(y.get(y.at(n, k, p, q)), tf32); };
                    if (forward) {
                        sum_at(n, k, p, q) += in() * filter();
                    } else if (data) {
                        sum_at(n, first + c, row, column) += gradient() * filter();
                    } else {
                        sum_at(k, c, r, s) += gradient() * in();
                    }
                }
            }
        }
    });
    for_all(out.dims, [&](std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
        out.set(out.at(a, b, c, d), sum_at(a, b, c, d));
    });
}

void map_values(const Object& operation, Values& values) {
    const Object& form = operation.object(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    const cudnnPointwiseMode_t mode = mode_of(operation);
    const Tensor x = values(operation.object(CUDNN_ATTR_OPERATION_POINTWISE_XDESC)),
                 y = values(operation.object(CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
    const bool two = operation.has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
    const Tensor b = two ? values(operation.object(CUDNN_ATTR_OPERATION_POINTWISE_BDESC)) : x;
    const auto clip = [&](cudnnBackendAttributeName_t name, double otherwise) {
        return static_cast<float>(form.has(name) ? form.value<double>(name) : otherwise);
    };
    const float lower = clip(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0.0),
                upper = clip(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, std::numeric_limits<double>::infinity());
    for_all(y.dims, [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
        const float first = x.get(x.repeated(n, c, h, w)), second = b.get(b.repeated(n, c, h, w));
        float result = 0.0f;
        switch (mode) {
            case CUDNN_POINTWISE_ADD:
                result = first + second;
                break;
            case CUDNN_POINTWISE_MUL:
                result = first * second;
                break;
            case CUDNN_POINTWISE_CMP_GT:
                result = first > second ? 1.0f : 0.0f;
                break;
            case CUDNN_POINTWISE_CMP_LT:
                result = first < second ? 1.0f : 0.0f;
                break;
            default:  // relu
                result = first < lower ? lower : first > upper ? upper : first;
        }
        y.set(y.at(n, c, h, w), result);
    });
}

struct Sums {
    double first = 0.0, second = 0.0;
};

// The sums of visit's two figures over all pixels of a channel.
Sums over_channel(const Dims& dims, std::int64_t c, auto&& figures) {
    Sums sums;
    for (std::int64_t n = 0; n < dims[0]; ++n) {
        for (std::int64_t h = 0; h < dims[2]; ++h) {
            for (std::int64_t w = 0; w < dims[3]; ++w) {
                const auto [first, second] = figures(n, c, h, w);
                sums.first += first;
                sums.second += second;
            }
        }
    }
    return sums;
}

void normalise(const Object& operation, Values& values) {
    const auto at = [&](cudnnBackendAttributeName_t name) { return values(operation.object(name)); };
    const Tensor x = at(CUDNN_ATTR_OPERATION_NORM_FWD_XDESC), y = at(CUDNN_ATTR_OPERATION_NORM_FWD_YDESC),
                 scale = at(CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC),
                 bias = at(CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC), mean = at(CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC),
                 inv_std = at(CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC),
                 epsilon = at(CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC);
    const auto count = static_cast<double>(x.dims[0] * x.dims[2] * x.dims[3]);
    for (std::int64_t c = 0; c < x.dims[1]; ++c) {
        const std::int64_t figure = scale.at(0, c, 0, 0);
        const auto value = [&](std::int64_t n, std::int64_t ch, std::int64_t h, std::int64_t w) {
            return static_cast<double>(x.get(x.at(n, ch, h, w)));
        };
        const double m = over_channel(x.dims, c, [&](auto... i) { return Sums{value(i...), 0.0}; }).first / count;
        const double spread = over_channel(x.dims, c, [&](auto... i) {
                                  return Sums{(value(i...) - m) * (value(i...) - m), 0.0};
                              }).first;
        const double inverse = 1.0 / std::sqrt(spread / count + static_cast<double>(epsilon.get(0)));
        mean.set(figure, static_cast<float>(m));
        inv_std.set(figure, static_cast<float>(inverse));
        const double a = static_cast<double>(scale.get(figure)) * inverse;
        over_channel(x.dims, c, [&](auto... i) {
            y.set(y.at(i...), static_cast<float>(a * (value(i...) - m) + static_cast<double>(bias.get(figure))));
            return Sums{};
        });
    }
}

void normalise_back(const Object& operation, Values& values) {
    const auto at = [&](cudnnBackendAttributeName_t name) { return values(operation.object(name)); };
    const Tensor x = at(CUDNN_ATTR_OPERATION_NORM_BWD_XDESC), dy = at(CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC),
                 dx = at(CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC), scale = at(CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC),
                 mean = at(CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC),
                 inv_std = at(CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC),
                 dscale = at(CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC),
                 dbias = at(CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC);
    const auto count = static_cast<double>(x.dims[0] * x.dims[2] * x.dims[3]);
    for (std::int64_t c = 0; c < x.dims[1]; ++c) {
        const std::int64_t figure = scale.at(0, c, 0, 0);
        const auto m = static_cast<double>(mean.get(figure)), inverse = static_cast<double>(inv_std.get(figure));
        const auto gradient = [&](auto... i) { return static_cast<double>(dy.get(dy.at(i...))); };
        const auto normal = [&](auto... i) { return (static_cast<double>(x.get(x.at(i...))) - m) * inverse; };
        const Sums sums = over_channel(x.dims, c, [&](auto... i) {
            return Sums{gradient(i...), gradient(i...) * normal(i...)};
        });
        const double a = static_cast<double>(scale.get(figure)) * inverse;
        over_channel(x.dims, c, [&](auto... i) {
            dx.set(dx.at(i...),
                   static_cast<float>(a * (gradient(i...) - sums.first / count - normal(i...) * sums.second / count)));
            return Sums{};
        });
        dbias.set(figure, static_cast<float>(sums.first));
        dscale.set(figure, static_cast<float>(sums.second));
    }
}

}  // namespace

cudnnStatus_t check_operation(const Object& operation) {
    bool good = true;
    if (is_convolution(operation)) {
        good = fits(convolution_of(operation));
    } else if (operation.type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) {
        const Object& y = operation.object(CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
        good =
            broadcasts(operation.object(CUDNN_ATTR_OPERATION_POINTWISE_XDESC), y) &&
            (!operation.has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC) ||
             broadcasts(operation.object(CUDNN_ATTR_OPERATION_POINTWISE_BDESC), y)) &&
            operation.has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC) != is_pointwise(operation, {CUDNN_POINTWISE_RELU_FWD});
    } else if (operation.type == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR) {
        const Dims x = dims_of(operation.object(CUDNN_ATTR_OPERATION_NORM_FWD_XDESC));
        good = dims_of(operation.object(CUDNN_ATTR_OPERATION_NORM_FWD_YDESC)) == x;
        for (const auto name :
             {CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC,
              CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC}) {
            good = good && dims_of(operation.object(name)) == Dims{1, x[1], 1, 1};
        }
    } else {
        const Dims x = dims_of(operation.object(CUDNN_ATTR_OPERATION_NORM_BWD_XDESC));
        for (const auto name : {CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC}) {
            good = good && dims_of(operation.object(name)) == x;
        }
        for (const auto name : {CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC, CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC,
                                CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC,
                                CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC}) {
            good = good && dims_of(operation.object(name)) == Dims{1, x[1], 1, 1};
        }
    }
    return good ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
}

bool supported(const Operations& operations) {
    const Object& first = *operations.front();
    const Object& last = *operations.back();
    if (is_convolution(first)) {
        const Convolution conv = convolution_of(first);
        const bool ordered = channels_last(conv.x) && channels_last(conv.w) && channels_last(conv.y);
        const bool one_type = type_of(conv.x) == type_of(conv.w) &&
                              (type_of(conv.y) == type_of(conv.x) || conv.y.flag(CUDNN_ATTR_TENSOR_IS_VIRTUAL));
        const bool with_bias = operations.size() == 2 &&
                               first.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR &&
                               is_pointwise(last, {CUDNN_POINTWISE_ADD});
        return ordered && one_type && (operations.size() == 1 || with_bias);
    }
    if (first.type == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR) {
        return supports_batchnorm(first.object(CUDNN_ATTR_OPERATION_NORM_FWD_XDESC)) &&
               (operations.size() == 1 || (operations.size() == 2 && is_pointwise(last, {CUDNN_POINTWISE_RELU_FWD})));
    }
    if (last.type == CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR) {
        const Object& x = last.object(CUDNN_ATTR_OPERATION_NORM_BWD_XDESC);
        // What the masks hand on has the tensors' own type.
        return supports_batchnorm(x) && type_of(last.object(CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC)) == type_of(x) &&
               std::all_of(operations.begin(), operations.end() - 1, [](const auto& operation) {
                   return is_pointwise(*operation,
                                       {CUDNN_POINTWISE_CMP_GT, CUDNN_POINTWISE_CMP_LT, CUDNN_POINTWISE_MUL});
               });
    }
    return operations.size() == 1 && is_pointwise(first, {CUDNN_POINTWISE_ADD});
}

void compute(const Operations& operations, const std::map<std::int64_t, void*>& addresses,
             const std::map<std::int64_t, float>& numbers, bool tf32) {
    Values values(addresses, numbers);
    for (const auto& operation : operations) {
        if (is_convolution(*operation)) {
            convolve(*operation, values, tf32);
        } else if (operation->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) {
            map_values(*operation, values);
        } else if (operation->type == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR) {
            normalise(*operation, values);
        } else {
            normalise_back(*operation, values);
        }
    }
}

}  // namespace cutis::cudnn_double
