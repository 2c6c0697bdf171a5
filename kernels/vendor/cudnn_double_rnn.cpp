#include <cmath>
#include <cstring>

#include "kernels/simt/host_work.h"
#include "kernels/vendor/cudnn_double_parts.h"

// The LSTM of cuDNN's stand-in. Its weight space has a gap in the middle of each matrix, so that nobody takes gates for
// neighbours without asking.

struct cudnnTensorStruct {
    cudnnDataType_t type{};
    std::vector<int> dims, strides;
};
struct cudnnRNNStruct {
    bool set = false, biases = false;
    cudnnDataType_t type{};
    int c = 0, h = 0;
};
struct cudnnRNNDataStruct {
    cudnnDataType_t type{};
    int n = 0, t = 0, c = 0;
};

namespace cutis::cudnn_double {
namespace {

constexpr int kGates = 4;
constexpr std::size_t kGap = 64, kWorkspace = 128;

std::size_t size_of(cudnnDataType_t type) {
    return type == CUDNN_DATA_BFLOAT16 ? 2 : 4;
}

template <class T>
cudnnStatus_t create(T** descriptor) {
    *descriptor = new T;
    count_descriptor(1);
    return CUDNN_STATUS_SUCCESS;
}
template <class T>
cudnnStatus_t destroy(T* descriptor) {
    delete descriptor;
    count_descriptor(-1);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t tensor_set(cudnnTensorDescriptor_t tensor, cudnnDataType_t type, int count, const int* dims,
                         const int* strides) {
    if (count < 3) {
        return CUDNN_STATUS_BAD_PARAM;
    }
    *tensor = {type, {dims, dims + count}, {strides, strides + count}};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t rnn_set(cudnnRNNDescriptor_t rnn, cudnnRNNAlgo_t algorithm, cudnnRNNMode_t mode,
                      cudnnRNNBiasMode_t biases, cudnnDirectionMode_t direction, cudnnRNNInputMode_t input,
                      cudnnDataType_t type, cudnnDataType_t math, cudnnMathType_t, std::int32_t c, std::int32_t h,
                      std::int32_t projection, std::int32_t layers, cudnnDropoutDescriptor_t, std::uint32_t) {
    if (algorithm != CUDNN_RNN_ALGO_STANDARD || mode != CUDNN_LSTM || direction != CUDNN_UNIDIRECTIONAL ||
        input != CUDNN_LINEAR_INPUT || math != CUDNN_DATA_FLOAT || projection != h || layers != 1 ||
        (biases != CUDNN_RNN_NO_BIAS && biases != CUDNN_RNN_DOUBLE_BIAS)) {
        return CUDNN_STATUS_NOT_SUPPORTED;
    }
    *rnn = {true, biases == CUDNN_RNN_DOUBLE_BIAS, type, c, h};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t rnn_data_set(cudnnRNNDataDescriptor_t data, cudnnDataType_t type, cudnnRNNDataLayout_t layout, int t,
                           int n, int c, const int* lengths, void*) {
    if (layout != CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED) {
        return CUDNN_STATUS_NOT_SUPPORTED;
    }
    for (int i = 0; i < n; ++i) {
        if (lengths[i] != t) {
            return CUDNN_STATUS_NOT_SUPPORTED;
        }
    }
    *data = {type, n, t, c};
    return CUDNN_STATUS_SUCCESS;
}

// Where things lie in a weight space, in bytes.
struct WeightSpace {
    explicit WeightSpace(const cudnnRNNStruct& rnn)
        : value(size_of(rnn.type)), c(static_cast<std::size_t>(rnn.c)), h(static_cast<std::size_t>(rnn.h)) {}
    std::size_t matrix(int gate) const {  // 0 ... 3 of w_ih, 4 ... 7 of w_hh
        const std::size_t input = kGates * h * c * value + kGap;
        const std::size_t columns = gate < kGates ? c : h;
        const auto place = static_cast<std::size_t>(gate % kGates);
        return (gate < kGates ? 0 : input) + place * h * columns * value + (place >= 2 ? kGap : 0);
    }
    std::size_t bias(int gate) const {
        return kGates * h * (c + h) * value + 2 * kGap + static_cast<std::size_t>(gate) * h * value;
    }
    std::size_t bytes() const { return bias(2 * kGates); }
    std::size_t value, c, h;
};

cudnnStatus_t rnn_weight_space(cudnnHandle_t, cudnnRNNDescriptor_t rnn, std::size_t* bytes) {
    *bytes = rnn->set ? WeightSpace(*rnn).bytes() : 0;
    return rnn->set ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

// The reserve space: activated gates (their gradients, once these are known) n x t x 4 x h and cell states n x t x h.
std::size_t reserve_bytes(const cudnnRNNStruct& rnn, const cudnnRNNDataStruct& x) {
    return static_cast<std::size_t>(x.n) * static_cast<std::size_t>(x.t) * static_cast<std::size_t>(rnn.h) *
           (kGates + 1) * sizeof(float);
}

cudnnStatus_t rnn_spaces(cudnnHandle_t, cudnnRNNDescriptor_t rnn, cudnnForwardMode_t mode, cudnnRNNDataDescriptor_t x,
                         std::size_t* work, std::size_t* reserve) {
    if (!rnn->set || mode != CUDNN_FWD_MODE_TRAINING) {
        return CUDNN_STATUS_BAD_PARAM;
    }
    *work = kWorkspace;
    *reserve = reserve_bytes(*rnn, *x);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t rnn_weight_params(cudnnHandle_t, cudnnRNNDescriptor_t rnn, std::int32_t layer, std::size_t bytes,
                                const void* weight_space, std::int32_t gate, cudnnTensorDescriptor_t matrix,
                                void** matrix_at, cudnnTensorDescriptor_t bias, void** bias_at) {
    const WeightSpace space(*rnn);
    if (layer != 0 || gate < 0 || gate >= 2 * kGates || bytes != space.bytes()) {
        return CUDNN_STATUS_BAD_PARAM;
    }
    const int columns = gate < kGates ? rnn->c : rnn->h;
    *matrix = {rnn->type, {1, rnn->h, columns}, {rnn->h * columns, columns, 1}};
    *bias = {rnn->type, {1, rnn->h, 1}, {rnn->h, 1, 1}};
    char* const base = static_cast<char*>(const_cast<void*>(weight_space));
    *matrix_at = base + space.matrix(gate);
    *bias_at = rnn->biases ? base + space.bias(gate) : nullptr;
    return CUDNN_STATUS_SUCCESS;
}

float sigmoid(float x) {
    return 1.0f / (1.0f + std::exp(-x));
}

// One call's shapes and pointers.
struct Call {
    cudnnRNNStruct rnn;
    int n, t;
    const void* weights;
    float* gates;  // reserve space
    float* cells() const { return gates + std::int64_t{n} * t * kGates * rnn.h; }
    std::int64_t step(int sample, int time) const { return std::int64_t{sample} * t + time; }
    float get(const void* data, std::int64_t i) const { return load(data, i, rnn.type); }
    void set(void* data, std::int64_t i, float value) const { store(data, i, rnn.type, value); }
    const void* matrix(int gate) const { return static_cast<const char*>(weights) + WeightSpace(rnn).matrix(gate); }
    float bias(int gate, int unit) const {
        if (!rnn.biases) {
            return 0.0f;
        }
        return get(static_cast<const char*>(weights) + WeightSpace(rnn).bias(gate), unit) +
               get(static_cast<const char*>(weights) + WeightSpace(rnn).bias(gate + kGates), unit);
    }
    /// The state before a step: n x h at `start` (null: zeros), then n x t x h at `states`.
    float before(const void* start, const void* states, int sample, int time, int unit) const {
        if (time > 0) {
            return get(states, step(sample, time - 1) * rnn.h + unit);
        }
        return start != nullptr ? get(start, std::int64_t{sample} * rnn.h + unit) : 0.0f;
    }
    float cell_before(const void* start, int sample, int time, int unit) const {
        if (time > 0) {
            return cells()[step(sample, time - 1) * rnn.h + unit];
        }
        return start != nullptr ? get(start, std::int64_t{sample} * rnn.h + unit) : 0.0f;
    }
};

void forward(const Call& call, const void* x, void* y, const void* hx, const void* cx, void* cy) {
    const int c = call.rnn.c, h = call.rnn.h;
    for (int sample = 0; sample < call.n; ++sample) {
        for (int time = 0; time < call.t; ++time) {
            const std::int64_t step = call.step(sample, time);
            for (int unit = 0; unit < h; ++unit) {
                float* const gates = call.gates + (step * h + unit) * kGates;
                for (int gate = 0; gate < kGates; ++gate) {
                    float sum = call.bias(gate, unit);
                    for (int i = 0; i < c; ++i) {
                        sum += call.get(call.matrix(gate), std::int64_t{unit} * c + i) * call.get(x, step * c + i);
                    }
                    for (int i = 0; i < h; ++i) {
                        sum += call.get(call.matrix(gate + kGates), std::int64_t{unit} * h + i) *
                               call.before(hx, y, sample, time, i);
                    }
                    gates[gate] = gate == 2 ? std::tanh(sum) : sigmoid(sum);
                }
                const float cell = gates[1] * call.cell_before(cx, sample, time, unit) + gates[0] * gates[2];
                call.cells()[step * h + unit] = cell;
                call.set(y, step * h + unit, gates[3] * std::tanh(cell));
                if (cy != nullptr && time == call.t - 1) {
                    call.set(cy, std::int64_t{sample} * h + unit, cell);
                }
            }
        }
    }
}

void backward_data(const Call& call, const void* dy, void* dx, const void* dhy, void* dhx, const void* cx,
                   const void* dcy, void* dcx) {
    const int c = call.rnn.c, h = call.rnn.h;
    const auto state = [&](const void* data, int sample, int unit) {
        return data != nullptr ? call.get(data, std::int64_t{sample} * h + unit) : 0.0f;
    };
    for (int sample = 0; sample < call.n; ++sample) {
        std::vector<float> dh(static_cast<std::size_t>(h)), dc(static_cast<std::size_t>(h));
        for (int unit = 0; unit < h; ++unit) {
            dh[static_cast<std::size_t>(unit)] = state(dhy, sample, unit);
            dc[static_cast<std::size_t>(unit)] = state(dcy, sample, unit);
        }
        for (int time = call.t - 1; time >= 0; --time) {
            const std::int64_t step = call.step(sample, time);
            for (int unit = 0; unit < h; ++unit) {
                float* const gates = call.gates + (step * h + unit) * kGates;
                const float i = gates[0], f = gates[1], g = gates[2], o = gates[3];
                const float through = std::tanh(call.cells()[step * h + unit]);
                const float of_h = dh[static_cast<std::size_t>(unit)] + call.get(dy, step * h + unit);
                float& of_c = dc[static_cast<std::size_t>(unit)];
                of_c += of_h * o * (1.0f - through * through);
                gates[0] = of_c * g * i * (1.0f - i);
                gates[1] = of_c * call.cell_before(cx, sample, time, unit) * f * (1.0f - f);
                gates[2] = of_c * i * (1.0f - g * g);
                gates[3] = of_h * through * o * (1.0f - o);
                of_c *= f;
            }
            const auto product = [&](int first, int columns, int column) {
                float sum = 0.0f;
                for (int unit = 0; unit < h; ++unit) {
                    for (int gate = 0; gate < kGates; ++gate) {
                        sum += call.gates[(step * h + unit) * kGates + gate] *
                               call.get(call.matrix(first + gate), std::int64_t{unit} * columns + column);
                    }
                }
                return sum;
            };
            for (int i = 0; i < c; ++i) {
                call.set(dx, step * c + i, product(0, c, i));
            }
            for (int unit = 0; unit < h; ++unit) {
                dh[static_cast<std::size_t>(unit)] = product(kGates, h, unit);
            }
        }
        for (int unit = 0; unit < h; ++unit) {
            if (dhx != nullptr) {
                call.set(dhx, std::int64_t{sample} * h + unit, dh[static_cast<std::size_t>(unit)]);
            }
            if (dcx != nullptr) {
                call.set(dcx, std::int64_t{sample} * h + unit, dc[static_cast<std::size_t>(unit)]);
            }
        }
    }
}

void backward_weights(const Call& call, const void* x, const void* hx, const void* y, void* gradients) {
    const int c = call.rnn.c, h = call.rnn.h;
    const WeightSpace space(call.rnn);
    const auto sum = [&](int gate, int unit, auto&& factor) {
        float total = 0.0f;
        for (int sample = 0; sample < call.n; ++sample) {
            for (int time = 0; time < call.t; ++time) {
                total += call.gates[(call.step(sample, time) * h + unit) * kGates + gate] * factor(sample, time);
            }
        }
        return total;
    };
    const auto add = [&](std::size_t offset, std::int64_t i, float value) {
        void* const at = static_cast<char*>(gradients) + offset;
        call.set(at, i, call.get(at, i) + value);
    };
    for (int gate = 0; gate < kGates; ++gate) {
        for (int unit = 0; unit < h; ++unit) {
            for (int i = 0; i < c; ++i) {
                add(space.matrix(gate), std::int64_t{unit} * c + i, sum(gate, unit, [&](int sample, int time) {
                        return call.get(x, call.step(sample, time) * c + i);
                    }));
            }
            for (int i = 0; i < h; ++i) {
                add(space.matrix(gate + kGates), std::int64_t{unit} * h + i,
                    sum(gate, unit, [&](int sample, int time) { return call.before(hx, y, sample, time, i); }));
            }
            for (const int bias : {gate, gate + kGates}) {
                if (call.rnn.biases) {
                    add(space.bias(bias), unit, sum(gate, unit, [](int, int) { return 1.0f; }));
                }
            }
        }
    }
}

bool fits(const cudnnRNNStruct& rnn, const cudnnRNNDataStruct& x, const cudnnRNNDataStruct& y,
          const cudnnTensorStruct* state, std::size_t weight_bytes, std::size_t work, std::size_t reserve) {
    return rnn.set && x.type == rnn.type && y.type == rnn.type && x.c == rnn.c && y.c == rnn.h && x.n == y.n &&
           x.t == y.t && (state == nullptr || state->dims == std::vector<int>{1, x.n, rnn.h}) &&
           weight_bytes == WeightSpace(rnn).bytes() && work >= kWorkspace && reserve >= reserve_bytes(rnn, x);
}

cudnnStatus_t submit(cudnnHandle_t handle, void* work, std::function<void()> compute) {
    const bool done = simt::run_on_stream(handle->stream, [work, compute = std::move(compute)] {
        std::memset(work, 0x5A, kWorkspace);
        compute();
    });
    return done ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

cudnnStatus_t rnn_forward(cudnnHandle_t handle, cudnnRNNDescriptor_t rnn, cudnnForwardMode_t mode,
                          const std::int32_t* lengths, cudnnRNNDataDescriptor_t x_form, const void* x,
                          cudnnRNNDataDescriptor_t y_form, void* y, cudnnTensorDescriptor_t h_form, const void* hx,
                          void* hy, cudnnTensorDescriptor_t, const void* cx, void* cy, std::size_t weight_bytes,
                          const void* weights, std::size_t work_bytes, void* work, std::size_t reserve,
                          void* reserve_space) {
    if (mode != CUDNN_FWD_MODE_TRAINING || lengths != nullptr || hy != nullptr ||
        !fits(*rnn, *x_form, *y_form, h_form, weight_bytes, work_bytes, reserve)) {
        return CUDNN_STATUS_BAD_PARAM;
    }
    const Call call{*rnn, x_form->n, x_form->t, weights, static_cast<float*>(reserve_space)};
    return submit(handle, work, [=] { forward(call, x, y, hx, cx, cy); });
}

cudnnStatus_t rnn_backward_data(cudnnHandle_t handle, cudnnRNNDescriptor_t rnn, const std::int32_t* lengths,
                                cudnnRNNDataDescriptor_t y_form, const void*, const void* dy,
                                cudnnRNNDataDescriptor_t x_form, void* dx, cudnnTensorDescriptor_t h_form, const void*,
                                const void* dhy, void* dhx, cudnnTensorDescriptor_t, const void* cx, const void* dcy,
                                void* dcx, std::size_t weight_bytes, const void* weights, std::size_t work_bytes,
                                void* work, std::size_t reserve, void* reserve_space) {
    if (lengths != nullptr || dx == nullptr ||
        !fits(*rnn, *x_form, *y_form, h_form, weight_bytes, work_bytes, reserve)) {
        return CUDNN_STATUS_BAD_PARAM;
    }
    const Call call{*rnn, x_form->n, x_form->t, weights, static_cast<float*>(reserve_space)};
    return submit(handle, work, [=] { backward_data(call, dy, dx, dhy, dhx, cx, dcy, dcx); });
}

cudnnStatus_t rnn_backward_weights(cudnnHandle_t handle, cudnnRNNDescriptor_t rnn, cudnnWgradMode_t mode,
                                   const std::int32_t* lengths, cudnnRNNDataDescriptor_t x_form, const void* x,
                                   cudnnTensorDescriptor_t h_form, const void* hx, cudnnRNNDataDescriptor_t y_form,
                                   const void* y, std::size_t weight_bytes, void* gradients, std::size_t work_bytes,
                                   void* work, std::size_t reserve, void* reserve_space) {
    if (mode != CUDNN_WGRAD_MODE_ADD || lengths != nullptr ||
        !fits(*rnn, *x_form, *y_form, h_form, weight_bytes, work_bytes, reserve)) {
        return CUDNN_STATUS_BAD_PARAM;
    }
    const Call call{*rnn, x_form->n, x_form->t, nullptr, static_cast<float*>(reserve_space)};
    return submit(handle, work, [=] { backward_weights(call, x, hx, y, gradients); });
}

}  // namespace

void add_recurrent(cudnn::Functions& functions) {
    functions.tensor_create = create<cudnnTensorStruct>;
    functions.tensor_destroy = destroy<cudnnTensorStruct>;
    functions.tensor_set = tensor_set;
    functions.rnn_create = create<cudnnRNNStruct>;
    functions.rnn_destroy = destroy<cudnnRNNStruct>;
    functions.rnn_set = rnn_set;
    functions.rnn_data_create = create<cudnnRNNDataStruct>;
    functions.rnn_data_destroy = destroy<cudnnRNNDataStruct>;
    functions.rnn_data_set = rnn_data_set;
    functions.rnn_spaces = rnn_spaces;
    functions.rnn_weight_space = rnn_weight_space;
    functions.rnn_weight_params = rnn_weight_params;
    functions.rnn_forward = rnn_forward;
    functions.rnn_backward_data = rnn_backward_data;
    functions.rnn_backward_weights = rnn_backward_weights;
}

}  // namespace cutis::cudnn_double
