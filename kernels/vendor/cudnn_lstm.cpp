#include <array>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/elementwise.h"
#include "kernels/vendor/cudnn.h"
#include "kernels/vendor/cudnn_library.h"
#include "kernels/vendor/gpu_calls.h"

// The library's LSTM of one layer. It wants weights and biases at places of its own in one piece of memory, the weight
// space, and leaves what its gradients need in another, the reserve space:
//
//   workspace   | weight space: w_ih, w_hh, b_ih, b_hh in the gates' order i, f, g, o | reserve space |
//
// Weights change on every step and are copied on every call, neighbours in one copy. Its gradients add to a weight
// space, which starts as zeros.

namespace cutis::cudnn {
namespace {

constexpr int kGates = 4;
constexpr std::size_t kAlignment = 256;

std::size_t aligned(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// A descriptor of the library's older interface.
template <class Handle, auto Create, auto Destroy>
class Owned {
  public:
    Owned() { check((functions().*Create)(&raw_), "lstm"); }
    ~Owned() { (functions().*Destroy)(raw_); }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    operator Handle() const { return raw_; }

  private:
    Handle raw_ = nullptr;
};
using TensorDescriptor = Owned<cudnnTensorDescriptor_t, &Functions::tensor_create, &Functions::tensor_destroy>;
using RnnDescriptor = Owned<cudnnRNNDescriptor_t, &Functions::rnn_create, &Functions::rnn_destroy>;
using SequenceDescriptor = Owned<cudnnRNNDataDescriptor_t, &Functions::rnn_data_create, &Functions::rnn_data_destroy>;

// Where a gate's matrix or bias lies in a weight space, in bytes from its start.
struct Place {
    std::size_t offset = 0, bytes = 0;
};

// The library's view of one LSTM, and the sizes that it asks for.
template <class T>
class Lstm {
  public:
    Lstm(const LstmShape& shape, bool biases, MatrixPrecision precision, cudnnHandle_t handle)
        : shape_(shape), biases_(biases), handle_(handle) {
        require(shape.n >= 1 && shape.t >= 1 && shape.c >= 1 && shape.h >= 1,
                "lstm: n {}, t {}, c {} and h {} must be at least 1", shape.n, shape.t, shape.c, shape.h);
        const cudnnMathType_t math = sizeof(T) == 2                       ? CUDNN_TENSOR_OP_MATH
                                     : precision == MatrixPrecision::tf32 ? CUDNN_DEFAULT_MATH
                                                                          : CUDNN_FMA_MATH;
        const std::string what = fmt::format("lstm {} x {} x {}, hidden {}", shape.n, shape.t, shape.c, shape.h);
        check(functions().rnn_set(rnn, CUDNN_RNN_ALGO_STANDARD, CUDNN_LSTM,
                                  biases ? CUDNN_RNN_DOUBLE_BIAS : CUDNN_RNN_NO_BIAS, CUDNN_UNIDIRECTIONAL,
                                  CUDNN_LINEAR_INPUT, kDataType<T>, CUDNN_DATA_FLOAT, math, shape.c, shape.h, shape.h,
                                  1, nullptr, CUDNN_RNN_PADDED_IO_ENABLED),
              what);
        const std::vector<int> lengths(static_cast<std::size_t>(shape.n), shape.t);
        const auto sequences = [&](cudnnRNNDataDescriptor_t descriptor, int channels) {
            check(functions().rnn_data_set(descriptor, kDataType<T>, CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED,
                                           shape.t, shape.n, channels, lengths.data(), nullptr),
                  what);
        };
        sequences(x, shape.c);
        sequences(y, shape.h);
        const std::array<int, 3> sizes{1, shape.n, shape.h}, strides{shape.n * shape.h, shape.h, 1};
        check(functions().tensor_set(state, kDataType<T>, 3, sizes.data(), strides.data()), what);
        check(functions().rnn_weight_space(handle, rnn, &weight_bytes), what);
        check(functions().rnn_spaces(handle, rnn, CUDNN_FWD_MODE_TRAINING, x, &work_bytes, &reserve_bytes), what);
    }

    // Of gate 0 ... 3 of w_ih (recurrent: of w_hh), or of its bias.
    Place place(const void* weight_space, int gate, bool recurrent, bool bias) const {
        const TensorDescriptor matrix, vector;
        void *matrix_at = nullptr, *vector_at = nullptr;
        check(functions().rnn_weight_params(handle_, rnn, 0, weight_bytes, weight_space,
                                            gate + (recurrent ? kGates : 0), matrix, &matrix_at, vector, &vector_at),
              "lstm weights");
        const void* const at = bias ? vector_at : matrix_at;
        require(at != nullptr, "lstm: cuDNN has no place for gate {}'s {}", gate, bias ? "bias" : "weights");
        const std::size_t columns = bias ? 1 : static_cast<std::size_t>(recurrent ? shape_.h : shape_.c);
        return {static_cast<std::size_t>(static_cast<const char*>(at) - static_cast<const char*>(weight_space)),
                columns * static_cast<std::size_t>(shape_.h) * sizeof(T)};
    }

    // visit(offset in the weight space, offset in our array in values, values) for all gates, neighbours at once.
    template <class Visit>
    void for_places(const void* weight_space, bool recurrent, bool bias, Visit&& visit) const {
        Place run = place(weight_space, 0, recurrent, bias);
        std::size_t done = 0;
        for (int gate = 1; gate <= kGates; ++gate) {
            if (gate < kGates) {
                const Place next = place(weight_space, gate, recurrent, bias);
                if (next.offset == run.offset + run.bytes) {
                    run.bytes += next.bytes;
                    continue;
                }
                visit(run.offset, done, run.bytes / sizeof(T));
                done += run.bytes / sizeof(T);
                run = next;
            } else {
                visit(run.offset, done, run.bytes / sizeof(T));
            }
        }
    }

    RnnDescriptor rnn;
    SequenceDescriptor x, y;
    TensorDescriptor state;
    std::size_t weight_bytes = 0, work_bytes = 0, reserve_bytes = 0;
    bool has_biases() const { return biases_; }

  private:
    LstmShape shape_;
    bool biases_;
    cudnnHandle_t handle_;
};

// `count` values from one type to another, which may be the same.
template <class To, class From>
void convert(To* to, const From* from, std::size_t count, Stream stream) {
    if constexpr (std::is_same_v<To, From>) {
        copy_on_device(to, from, count * sizeof(To), stream);
    } else {
        cuda::cast(to, from, static_cast<std::int64_t>(count), stream);
    }
}

template <class T>
void put_weights(void* weight_space, const Lstm<T>& lstm, const LstmWeightsT<T>& weights, Stream stream) {
    const auto at = [&](std::size_t offset) { return reinterpret_cast<T*>(static_cast<char*>(weight_space) + offset); };
    for (const bool recurrent : {false, true}) {
        const T* const w = recurrent ? weights.w_hh : weights.w_ih;
        lstm.for_places(weight_space, recurrent, false, [&](std::size_t offset, std::size_t done, std::size_t count) {
            convert(at(offset), w + done, count, stream);
        });
        if (!lstm.has_biases()) {
            continue;
        }
        const float* const b = recurrent ? weights.b_hh : weights.b_ih;
        lstm.for_places(weight_space, recurrent, true, [&](std::size_t offset, std::size_t done, std::size_t count) {
            if (b != nullptr) {
                convert(at(offset), b + done, count, stream);
            } else {
                zero_on_device(at(offset), count * sizeof(T), stream);
            }
        });
    }
}

// fp32 values as T: themselves, or rounded into scratch memory; null stays null.
template <class T>
class AsStored {
  public:
    AsStored(const float* values, std::int64_t count, Stream stream)
        : scratch_(sizeof(T) == 2 && values != nullptr ? static_cast<std::size_t>(count) * sizeof(T) : 0, stream) {
        if constexpr (sizeof(T) == 4) {
            data_ = values;
        } else if (values != nullptr) {
            cuda::cast(static_cast<T*>(scratch_.data()), values, count, stream);
            data_ = static_cast<const T*>(scratch_.data());
        }
    }
    const T* data() const { return data_; }

  private:
    ScratchBytes scratch_;
    const T* data_ = nullptr;
};

// Where the library puts values of T that are wanted in fp32, or not at all.
template <class T>
class ToFloat {
  public:
    ToFloat(float* wanted, std::int64_t count, Stream stream)
        : wanted_(wanted),
          count_(count),
          stream_(stream),
          scratch_(sizeof(T) == 2 || wanted == nullptr ? static_cast<std::size_t>(count) * sizeof(T) : 0, stream) {}
    T* data() const {
        if constexpr (sizeof(T) == 4) {
            if (wanted_ != nullptr) {
                return wanted_;
            }
        }
        return static_cast<T*>(scratch_.data());
    }
    void finish() const {
        if constexpr (sizeof(T) == 2) {
            if (wanted_ != nullptr) {
                cuda::cast(wanted_, static_cast<const T*>(scratch_.data()), count_, stream_);
            }
        }
    }

  private:
    float* wanted_;
    std::int64_t count_;
    Stream stream_;
    ScratchBytes scratch_;
};

template <class T>
bool has_biases(const LstmWeightsT<T>& weights) {
    return weights.b_ih != nullptr || weights.b_hh != nullptr;
}

}  // namespace

template <class T>
std::int64_t lstm_workspace_bytes(const LstmShape& shape, MatrixPrecision precision) {
    const LibraryCall call({});
    const Lstm<T> lstm(shape, true, precision, call.handle());
    return static_cast<std::int64_t>(aligned(lstm.weight_bytes) + lstm.reserve_bytes);
}

template <class T>
void vendor_lstm_forward(T* y, float* c_n, void* workspace, const T* x, const LstmWeightsT<T>& weights,
                         const LstmStateT<T>& start, const LstmShape& shape, MatrixPrecision precision, Stream stream) {
    const LibraryCall call(stream);
    const Lstm<T> lstm(shape, has_biases(weights), precision, call.handle());
    char* const weight_space = static_cast<char*>(workspace);
    put_weights(weight_space, lstm, weights, stream);
    const std::int64_t states = std::int64_t{shape.n} * shape.h;
    const AsStored<T> c0(start.c0, states, stream);
    const ToFloat<T> last(c_n, states, stream);
    const ScratchBytes work(lstm.work_bytes, stream);
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    allowing_allocations([&] {
        status = functions().rnn_forward(call.handle(), lstm.rnn, CUDNN_FWD_MODE_TRAINING, nullptr, lstm.x, x, lstm.y,
                                         y, lstm.state, start.h0, nullptr, lstm.state, c0.data(), last.data(),
                                         lstm.weight_bytes, weight_space, lstm.work_bytes, work.data(),
                                         lstm.reserve_bytes, weight_space + aligned(lstm.weight_bytes));
    });
    check(status, "lstm");
    last.finish();
}

template <class T>
void vendor_lstm_backward(const LstmGradientsT<T>& gradients, const T* dy, const float* dc_n, const T* x, const T* y,
                          const float*, const void* workspace, const LstmWeightsT<T>& weights,
                          const LstmStateT<T>& start, const LstmShape& shape, MatrixPrecision precision,
                          Stream stream) {
    const LibraryCall call(stream);
    const Lstm<T> lstm(shape, has_biases(weights), precision, call.handle());
    const char* const weight_space = static_cast<const char*>(workspace);
    // Its gradients write to the reserve space as well, which nobody reads after them.
    void* const reserve = const_cast<char*>(weight_space) + aligned(lstm.weight_bytes);
    const std::int64_t states = std::int64_t{shape.n} * shape.h;
    const std::size_t inputs = static_cast<std::size_t>(shape.n) * static_cast<std::size_t>(shape.t) *
                               static_cast<std::size_t>(shape.c) * sizeof(T);
    const AsStored<T> c0(start.c0, states, stream), dc_last(dc_n, states, stream);
    const ToFloat<T> dc0(gradients.dc0, states, stream);
    const ScratchBytes work(lstm.work_bytes, stream);
    const ScratchBytes unwanted(gradients.dx == nullptr ? inputs : 0, stream);  // the library always gives it
    void* const dx = gradients.dx != nullptr ? gradients.dx : unwanted.data();
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    allowing_allocations([&] {
        status = functions().rnn_backward_data(call.handle(), lstm.rnn, nullptr, lstm.y, y, dy, lstm.x, dx, lstm.state,
                                               start.h0, nullptr, gradients.dh0, lstm.state, c0.data(), dc_last.data(),
                                               gradients.dc0 != nullptr ? dc0.data() : nullptr, lstm.weight_bytes,
                                               weight_space, lstm.work_bytes, work.data(), lstm.reserve_bytes, reserve);
    });
    check(status, "lstm gradient");
    dc0.finish();
    if (gradients.dw_ih == nullptr && gradients.dw_hh == nullptr && gradients.db == nullptr) {
        return;
    }
    const ScratchBytes space(lstm.weight_bytes, stream);
    zero_on_device(space.data(), lstm.weight_bytes, stream);
    allowing_allocations([&] {
        status = functions().rnn_backward_weights(call.handle(), lstm.rnn, CUDNN_WGRAD_MODE_ADD, nullptr, lstm.x, x,
                                                  lstm.state, start.h0, lstm.y, y, lstm.weight_bytes, space.data(),
                                                  lstm.work_bytes, work.data(), lstm.reserve_bytes, reserve);
    });
    check(status, "lstm weights' gradient");
    const auto take = [&](float* wanted, bool recurrent, bool bias) {
        if (wanted == nullptr) {
            return;
        }
        lstm.for_places(space.data(), recurrent, bias, [&](std::size_t offset, std::size_t done, std::size_t count) {
            convert(wanted + done, reinterpret_cast<const T*>(static_cast<const char*>(space.data()) + offset), count,
                    stream);
        });
    };
    take(gradients.dw_ih, false, false);
    take(gradients.dw_hh, true, false);
    take(gradients.db, false, true);
}

#define CUTIS_LSTM_OF(T)                                                                                         \
    template std::int64_t lstm_workspace_bytes<T>(const LstmShape&, MatrixPrecision);                            \
    template void vendor_lstm_forward(T*, float*, void*, const T*, const LstmWeightsT<T>&, const LstmStateT<T>&, \
                                      const LstmShape&, MatrixPrecision, Stream);                                \
    template void vendor_lstm_backward(const LstmGradientsT<T>&, const T*, const float*, const T*, const T*,     \
                                       const float*, const void*, const LstmWeightsT<T>&, const LstmStateT<T>&,  \
                                       const LstmShape&, MatrixPrecision, Stream);
CUTIS_LSTM_OF(float)
CUTIS_LSTM_OF(BFloat16)
#undef CUTIS_LSTM_OF

}  // namespace cutis::cudnn
