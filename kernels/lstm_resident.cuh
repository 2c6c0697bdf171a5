#pragma once

#include "kernels/launch.h"
#include "kernels/lstm.h"
#include "kernels/simt/ptx.h"
#include "kernels/vector.cuh"

/// What the LSTM kernels share: the cell, and the recurrent product with weights that stay in registers.
///
/// A resident kernel gives each block (or each cluster of kBlocks blocks) a slice of the batch and walks through all
/// steps. A block owns kUnits hidden units: all four gates of them, so that the cell needs nothing from elsewhere.
///
///                  hidden, kHidden long                    a thread's part of the sum is
///                +----------------------+                  all four gates of kPerThread
///   i  kUnits    |                      |                  units of one sample
///   f  kUnits    |  recurrent weights,  |   x  hidden of
///   g  kUnits    |  in registers        |      kSamples samples
///   o  kUnits    |                      |      (shared memory)
///                +----------------------+
///
/// Hidden sizes between the compiled ones are padded with zero weights and zero hidden units.

namespace cutis::cuda {

// ---- the cell

template <class T>
__device__ __forceinline__ float tanh_of(float x) {
#if defined(__CUDA_ARCH__)
    if constexpr (sizeof(T) == 2) {
        float y;  // one instruction; its error, 2^-11 of the value, is a quarter of bf16's
        asm("tanh.approx.f32 %0, %1;\n" : "=f"(y) : "f"(x));
        return y;
    }
#endif
    return tanhf(x);
}
template <class T>
__device__ __forceinline__ float sigmoid_of(float x) {
    if constexpr (sizeof(T) == 2) {
        return fmaf(0.5f, tanh_of<T>(0.5f * x), 0.5f);
    } else {
        return __fdividef(1.0f, 1.0f + __expf(-x));
    }
}

/// Four gates of N units: before their activations or behind them, or their gradients.
template <int N>
struct Gates {
    Floats<N> i, f, g, o;

    __device__ __forceinline__ Floats<N>& operator[](int gate) {
        return gate == 0 ? i : gate == 1 ? f : gate == 2 ? g : o;
    }
};

/// Activates the gates, moves the cell state on and gives the hidden state.
template <class T, int N>
__device__ __forceinline__ Floats<N> cell_forward(Gates<N>& gates, Floats<N>& c) {
    Floats<N> h;
#pragma unroll
    for (int j = 0; j < N; ++j) {
        gates.i[j] = sigmoid_of<T>(gates.i[j]);
        gates.f[j] = sigmoid_of<T>(gates.f[j]);
        gates.g[j] = tanh_of<T>(gates.g[j]);
        gates.o[j] = sigmoid_of<T>(gates.o[j]);
        c[j] = fmaf(gates.f[j], c[j], gates.i[j] * gates.g[j]);
        h[j] = gates.o[j] * tanh_of<T>(c[j]);
    }
    return h;
}

/// Turns activated gates into the gradients of what their activations took, and dc into that of the cell state before.
template <class T, int N>
__device__ __forceinline__ void cell_backward(Gates<N>& gates, Floats<N>& dc, const Floats<N>& dh, const Floats<N>& c,
                                              const Floats<N>& c_before) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
        const float i = gates.i[j], f = gates.f[j], g = gates.g[j], o = gates.o[j], tanh_c = tanh_of<T>(c[j]);
        const float d = fmaf(dh[j] * o, fmaf(-tanh_c, tanh_c, 1.0f), dc[j]);
        gates.i[j] = d * g * (i * (1.0f - i));
        gates.f[j] = d * c_before[j] * (f * (1.0f - f));
        gates.g[j] = d * i * fmaf(-g, g, 1.0f);
        gates.o[j] = dh[j] * tanh_c * (o * (1.0f - o));
        dc[j] = d * f;
    }
}

// ---- sizes

template <class T_, int kHidden_, int kBlocks_>
struct ResidentShape {
    using T = T_;
    static constexpr bool kTensorCores = sizeof(T) == 2;
    static constexpr int kHidden = kHidden_;  ///< rounded up
    static constexpr int kBlocks = kBlocks_;  ///< of a cluster
    static constexpr int kUnits = kHidden / kBlocks;
    static constexpr int kVector = cuda::kVector<T>;
    // Tensor cores: the 8 columns of an m16n8k16 product are 8 samples; a thread has two units of one sample.
    // CUDA cores: kHidden / 16 lanes share a unit's sums, and as many samples, one for each of them in the end.
    static constexpr int kSamples = kTensorCores ? 8 : kHidden / 16;
    static constexpr int kPerThread = kTensorCores ? 2 : 1;
    static constexpr int kThreads = kUnits * kSamples / kPerThread;
    // Rows in shared memory are longer by this many values, so that a warp's accesses (to 8 samples, or to kSamples of
    // 32 / kSamples units) fall on different banks.
    static constexpr int kPad = kTensorCores ? 8 : 32 / kSamples;
    static constexpr int kPadFloats = kTensorCores ? 4 : 32 / kSamples;
    // Each thread moves one 16-byte chunk of the gates of a step, some one of y, others one of the cell state.
    static constexpr int kUnitChunks = kUnits / kVector;
    static constexpr int kYChunks = kSamples * kUnitChunks, kCellChunks = kSamples * kUnits / 4;
    static_assert(kSamples * 4 * kUnitChunks == kThreads && kYChunks + kCellChunks <= kThreads);
};

/// Which units and sample a thread has, counted in its block.
struct ThreadPlace {
    int unit, sample;
};

/// Four 8-byte halves of two fragments: a lane holds unit g of samples 2t and 2t+1, and gets units g and g+1 (g even)
/// or g-1 and g (g odd) of sample 2t + g % 2 from its neighbour.
__device__ __forceinline__ Floats<2> pair_units(float even_sample, float odd_sample) {
    const bool odd = threadIdx.x / 4 % 2 != 0;
    const float mine = odd ? odd_sample : even_sample;
    const float other = __shfl_xor_sync(0xFFFFFFFFu, odd ? even_sample : odd_sample, 4);
    return odd ? Floats<2>{{other, mine}} : Floats<2>{{mine, other}};
}

// ---- forward: gates = w_hh * hidden

template <class Shape, bool kTensorCores = Shape::kTensorCores>
class ForwardProduct;

/// Tensor cores: a warp has 8 units. Rows 0-7 and 8-15 of its first tile of 16 are gates i and f of them, of its second
/// g and o, so that a lane's eight sums are four gates of one unit for two samples.
template <class Shape>
class ForwardProduct<Shape, true> {
  public:
    using Hidden = BFloat16[Shape::kSamples][Shape::kHidden + Shape::kPad];
    struct Sum {
        float d[2][4];
    };

    __device__ static __forceinline__ ThreadPlace place() {
        const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
        return {warp * 8 + lane / 8 * 2, lane % 4 * 2 + lane / 4 % 2};
    }

    /// The rows of units from `first_unit` on of w_hh (4h x h).
    __device__ __forceinline__ void load(const BFloat16* w_hh, int first_unit, int h) {
        const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
        const int unit = first_unit + warp * 8 + lane / 4, first_column = lane % 4 * 2;
        const int columns = unit < h ? h - first_column : 0;
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
            const BFloat16* const row = w_hh + (std::int64_t{gate} * h + unit) * h + first_column;
#pragma unroll
            for (int k = 0; k < Shape::kHidden / 8; ++k) {
                weights_[gate / 2][k / 2][k % 2 * 2 + gate % 2] =
                    k * 8 < columns ? *reinterpret_cast<const unsigned*>(row + k * 8) : 0u;
            }
        }
    }

    __device__ __forceinline__ void multiply(Sum& sum, const Hidden& hidden) const {
        const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            sum.d[i / 4][i % 4] = 0.0f;
        }
#pragma unroll
        for (int k = 0; k < Shape::kHidden / 16; k += 2) {
            unsigned b[4];
            ptx::ldmatrix_x4(b, &hidden[lane % 8][k * 16 + lane / 8 * 8]);
            const unsigned b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
#pragma unroll
            for (int tile = 0; tile < 2; ++tile) {
                ptx::mma_m16n8k16_bf16(sum.d[tile], weights_[tile][k], b0);
                ptx::mma_m16n8k16_bf16(sum.d[tile], weights_[tile][k + 1], b1);
            }
        }
    }
    __device__ __forceinline__ Gates<2> gates(const Sum& sum) const {
        return {pair_units(sum.d[0][0], sum.d[0][1]), pair_units(sum.d[0][2], sum.d[0][3]),
                pair_units(sum.d[1][0], sum.d[1][1]), pair_units(sum.d[1][2], sum.d[1][3])};
    }

  private:
    unsigned weights_[2][Shape::kHidden / 16][4];
};

/// Splits the sums of kCount samples over as many neighbouring lanes: lane l ends with the whole sum of sample l in
/// values[0]. Halves are exchanged from the widest distance down.
template <int kCount>
__device__ __forceinline__ void scatter_sums(float (&values)[kCount], int lane) {
#pragma unroll
    for (int half = kCount / 2; half > 0; half /= 2) {
        const bool upper = (lane & half) != 0;
#pragma unroll
        for (int i = 0; i < half; ++i) {
            const float mine = upper ? values[i + half] : values[i], other = upper ? values[i] : values[i + half];
            values[i] = mine + __shfl_xor_sync(0xFFFFFFFFu, other, half);
        }
    }
}

/// CUDA cores: kSamples neighbouring lanes share a unit, each with 16 columns of all four gates.
template <class Shape>
class ForwardProduct<Shape, false> {
    static constexpr int kLanes = Shape::kSamples;

  public:
    using Hidden = float[Shape::kSamples][Shape::kHidden + Shape::kPad];
    struct Sum {
        float gate[4][Shape::kSamples];
    };

    __device__ static __forceinline__ ThreadPlace place() {
        return {static_cast<int>(threadIdx.x) / kLanes, static_cast<int>(threadIdx.x) % kLanes};
    }

    __device__ __forceinline__ void load(const float* w_hh, int first_unit, int h) {
        const int unit = first_unit + place().unit;
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
#pragma unroll
            for (int part = 0; part < 4; ++part) {
                const int column = chunk(part) * 4;
                weights_[gate][part] = unit < h && column < h
                                           ? cuda::load<4>(w_hh + (std::int64_t{gate} * h + unit) * h + column)
                                           : splat<4>(0.0f);
            }
        }
    }

    __device__ __forceinline__ void multiply(Sum& sum, const Hidden& hidden) const {
#pragma unroll
        for (int sample = 0; sample < Shape::kSamples; ++sample) {
#pragma unroll
            for (int gate = 0; gate < 4; ++gate) {
                sum.gate[gate][sample] = 0.0f;
            }
#pragma unroll
            for (int part = 0; part < 4; ++part) {
                const Floats<4> values = cuda::load<4>(&hidden[sample][chunk(part) * 4]);
#pragma unroll
                for (int gate = 0; gate < 4; ++gate) {
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
                        sum.gate[gate][sample] = fmaf(weights_[gate][part][k], values[k], sum.gate[gate][sample]);
                    }
                }
            }
        }
    }
    __device__ __forceinline__ Gates<1> gates(Sum& sum) const {
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
            scatter_sums(sum.gate[gate], place().sample);
        }
        return {{{sum.gate[0][0]}}, {{sum.gate[1][0]}}, {{sum.gate[2][0]}}, {{sum.gate[3][0]}}};
    }

  private:
    // Chunks of neighbouring lanes are neighbours, so that their reads fall on different banks.
    __device__ static __forceinline__ int chunk(int part) {
        return part * kLanes + place().sample;
    }

    Floats<4> weights_[4][4];
};

// ---- backward: hidden's gradient = w_hh^T * dgates

template <class Shape, bool kTensorCores = Shape::kTensorCores>
class BackwardProduct;

/// Tensor cores: two warps share 16 units, one has gates i and f of the sum, the other g and o. Each gives the other
/// its half of eight units and keeps the other eight.
template <class Shape>
class BackwardProduct<Shape, true> {
    static constexpr int kTiles = Shape::kUnits / 16, kDepth = 2 * Shape::kHidden;

  public:
    /// All gates of all hidden units; a gate starts every kHidden values.
    using Dgates = BFloat16[Shape::kSamples][4 * Shape::kHidden + Shape::kPad];
    /// Halves of sums on their way to the other warp.
    using Exchange = float2[Shape::kThreads];

    __device__ static __forceinline__ ThreadPlace place() {
        const int lane = static_cast<int>(threadIdx.x) % 32;
        return {tile() * 16 + half() * 8 + lane / 8 * 2, lane % 4 * 2 + lane / 4 % 2};
    }

    __device__ __forceinline__ void load(const BFloat16* w_hh, int first_unit, int h) {
        const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
        for (int k = 0; k < kDepth / 16; ++k) {
#pragma unroll
            for (int part = 0; part < 4; ++part) {
                const int unit = first_unit + tile() * 16 + part % 2 * 8 + lane / 4;
                const int row = half() * kDepth + k * 16 + part / 2 * 8 + lane % 4 * 2;
                const int gate = row / Shape::kHidden, gate_row = row % Shape::kHidden;
                const BFloat16* const at = w_hh + (std::int64_t{gate} * h + gate_row) * h + unit;
                const bool inside = unit < h && gate_row < h;
                weights_[k][part] =
                    inside ? static_cast<unsigned>(at[0].bits) | static_cast<unsigned>(at[h].bits) << 16 : 0u;
            }
        }
    }

    /// This thread's units of this thread's sample. Every thread of the block calls it; `exchange` is free again behind
    /// the block's next barrier.
    __device__ __forceinline__ Floats<2> multiply(const Dgates& dgates, Exchange& exchange) const {
        const int lane = static_cast<int>(threadIdx.x) % 32;
        float d[2][4] = {};  // even and odd tiles along k: two shorter chains of dependent products
#pragma unroll
        for (int k = 0; k < kDepth / 16; k += 2) {
            unsigned b[4];
            ptx::ldmatrix_x4(b, &dgates[lane % 8][half() * kDepth + k * 16 + lane / 8 * 8]);
            const unsigned b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
            ptx::mma_m16n8k16_bf16(d[0], weights_[k], b0);
            ptx::mma_m16n8k16_bf16(d[1], weights_[k + 1], b1);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            d[0][i] += d[1][i];
        }
        const bool upper = half() != 0;
        exchange[(threadIdx.x + Shape::kThreads / 2) % Shape::kThreads] =
            upper ? make_float2(d[0][0], d[0][1]) : make_float2(d[0][2], d[0][3]);
        __syncthreads();  // both halves of every sum are there
        const float2 other = exchange[threadIdx.x];
        return pair_units((upper ? d[0][2] : d[0][0]) + other.x, (upper ? d[0][3] : d[0][1]) + other.y);
    }

  private:
    __device__ static __forceinline__ int tile() {
        return static_cast<int>(threadIdx.x) / 32 % kTiles;
    }
    __device__ static __forceinline__ int half() {
        return static_cast<int>(threadIdx.x) / 32 / kTiles;
    }

    unsigned weights_[kDepth / 16][4];
};

/// CUDA cores: kSamples neighbouring lanes share a unit, each with 64 rows of w_hh.
template <class Shape>
class BackwardProduct<Shape, false> {
    static constexpr int kLanes = Shape::kSamples, kParts = Shape::kHidden / kLanes;

  public:
    using Dgates = float[Shape::kSamples][4 * Shape::kHidden + Shape::kPad];
    using Exchange = float2[1];  // not used

    __device__ static __forceinline__ ThreadPlace place() {
        return {static_cast<int>(threadIdx.x) / kLanes, static_cast<int>(threadIdx.x) % kLanes};
    }

    __device__ __forceinline__ void load(const float* w_hh, int first_unit, int h) {
        const int unit = first_unit + place().unit;
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const int gate = chunk(part) * 4 / Shape::kHidden, row = chunk(part) * 4 % Shape::kHidden + k;
                weights_[part][k] = unit < h && row < h ? w_hh[(std::int64_t{gate} * h + row) * h + unit] : 0.0f;
            }
        }
    }

    __device__ __forceinline__ Floats<1> multiply(const Dgates& dgates, Exchange&) const {
        float sum[Shape::kSamples];
#pragma unroll
        for (int sample = 0; sample < Shape::kSamples; ++sample) {
            sum[sample] = 0.0f;
#pragma unroll
            for (int part = 0; part < kParts; ++part) {
                const Floats<4> values = cuda::load<4>(&dgates[sample][chunk(part) * 4]);
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    sum[sample] = fmaf(weights_[part][k], values[k], sum[sample]);
                }
            }
        }
        scatter_sums(sum, place().sample);
        return {{sum[0]}};
    }

  private:
    __device__ static __forceinline__ int chunk(int part) {
        return part * kLanes + place().sample;
    }

    Floats<4> weights_[kParts];
};

// ---- launchers (lstm_resident.cu), where lstm_can_be_resident<T>(shape.h)

/// All steps; saved.gates holds the input projection before.
template <class T>
void lstm_resident_forward(T* y, const LstmSavedT<T>& saved, const LstmWeightsT<T>& weights, const LstmStateT<T>& start,
                           const LstmShape& shape, Stream stream);

/// All steps from the last to the first: dgates (n x t x 4h), and dh0 and dc0 unless they are null.
template <class T>
void lstm_resident_backward(T* dgates, T* dh0, float* dc0, const T* dy, const float* dc_n, const LstmSavedT<T>& saved,
                            const T* w_hh, const float* c0, const LstmShape& shape, Stream stream);

template <class T>
Traffic lstm_resident_forward_traffic(const LstmForwardForm& form, const LstmShape& shape);
template <class T>
Traffic lstm_resident_backward_traffic(const LstmBackwardForm& form, const LstmShape& shape);

}  // namespace cutis::cuda
