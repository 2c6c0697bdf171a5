#include "kernels/lstm_resident.cuh"

// A whole sequence in one launch: recurrent weights are read once and stay in registers, hidden states stay in shared
// memory, cell states in registers.
//
//   step s            gates ring (forward)         hidden
//                   +----+----+----+----+        +----+----+
//                   |s-1 | s  |s+1 |s+2 |        | s  |s+1 |
//                   +----+----+----+----+        +----+----+
//                    out  proj. in flight         read written, in every block of the cluster
//                         -> gates
//
//   product    hidden (shared memory) x weights (registers) -> a thread's four gates of its units, in registers
//   meanwhile  the gates, cell states and y of step s-1 leave in 16-byte stores, the projection of s+2 is requested
//   cell       in registers; gates go back to where the projection lay
//   barrier    one per step: __syncthreads, or cluster_sync where blocks share a slice of the batch
//
// Backward is the mirror image: dgates in the place of hidden (four times as many values), the ring brings gates,
// previous cell states and dy. On tensor cores a second barrier joins halves of the sums.
//
// A cluster of four holds a quarter of the units each. What a block needs of the others, hidden or dgates, they store
// straight into its shared memory.
//
// Per step and sample, of one block at kUnits = 128 (bf16):
//   bytes: forward  read 8 h (projection), write 8 h + 4 h + 2 h (gates, cells, y)
//          backward read 8 h + 4 h + 2 h (gates, cells, dy), write 8 h (dgates)
//   FLOPs: 8 h^2 for the product, about 30 h for the cell, 5 h special functions (forward)
// Floors of a step of 8 samples at h = 128, in clocks of one multiprocessor: tensor cores 8 * 4 * 128^2 / 1024 = 512
// (sm_80), special functions 5 * 8 * 128 / 16 = 320, shared memory 16 warps * 2 KiB / 128 = 256. They follow each
// other, since a step's cell needs its product: about 0.6 us, beside which 8 * 14 * 128 bytes of writes, 14 KiB, are
// nothing. What counts is the length of this chain.

namespace cutis::cuda {
namespace {

/// What a thread moves between global and shared memory: its chunk of a step's gates, and one of y, of the cell states
/// or of neither.
template <class Shape>
struct Chunks {
    using T = typename Shape::T;

    // In the block: sample, gate (gates' chunk only), unit of the chunk's first value.
    int gate_sample, gate, gate_unit;
    int sample, unit;
    bool gate_inside, y_inside, cell_inside;

    __device__ __forceinline__ Chunks(int first_sample, int first_unit, const LstmShape& s) {
        const int thread = static_cast<int>(threadIdx.x);
        gate_sample = thread / (4 * Shape::kUnitChunks);
        gate = thread / Shape::kUnitChunks % 4;
        gate_unit = thread % Shape::kUnitChunks * Shape::kVector;
        gate_inside = first_sample + gate_sample < s.n && first_unit + gate_unit < s.h;
        const bool is_y = thread < Shape::kYChunks;
        const int index = is_y ? thread : thread - Shape::kYChunks;
        const int per_sample = is_y ? Shape::kUnitChunks : Shape::kUnits / 4;
        sample = index / per_sample;
        unit = index % per_sample * (is_y ? Shape::kVector : 4);
        const bool inside = sample < Shape::kSamples && first_sample + sample < s.n && first_unit + unit < s.h;
        y_inside = is_y && inside;
        cell_inside = !is_y && inside;
    }
};

__device__ __forceinline__ void copy_chunk(void* to, const void* from) {
    *static_cast<uint4*>(to) = *static_cast<const uint4*>(from);
}

/// Stores the same values at `place` in every block of the cluster.
template <class Shape, int N>
__device__ __forceinline__ void store_everywhere(typename Shape::T* place, const Floats<N>& values) {
    if constexpr (Shape::kBlocks > 1) {
#pragma unroll
        for (unsigned rank = 0; rank < Shape::kBlocks; ++rank) {
            store<N>(simt::map_shared(place, rank), values);
        }
    } else {
        store<N>(place, values);
    }
}

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    lstm_resident_forward_kernel(typename Shape::T* y, typename Shape::T* gates, float* cells,
                                 const typename Shape::T* w_hh, const float* b_ih, const float* b_hh,
                                 const typename Shape::T* h0, const float* c0, const LstmShape s) {
    using T = typename Shape::T;
    using Product = ForwardProduct<Shape>;
    constexpr int N = Shape::kPerThread;
    constexpr int kStages = 4;
    SIMT_SHARED(T, ring, [kStages][Shape::kSamples][4 * Shape::kUnits + Shape::kPad]);
    SIMT_SHARED(T, hidden, [2][Shape::kSamples][Shape::kHidden + Shape::kPad]);
    SIMT_SHARED(float, cells_out, [2][Shape::kSamples][Shape::kUnits + Shape::kPadFloats]);
    SIMT_SHARED(float, bias, [4][Shape::kUnits]);

    const int first_sample = static_cast<int>(blockIdx.x) / Shape::kBlocks * Shape::kSamples;
    const int first_unit = Shape::kBlocks > 1 ? static_cast<int>(simt::cluster_rank()) * Shape::kUnits : 0;
    const Chunks<Shape> chunks(first_sample, first_unit, s);
    T* const gates_chunk = gates + (std::int64_t{first_sample + chunks.gate_sample} * s.t * 4 + chunks.gate) * s.h +
                           first_unit + chunks.gate_unit;
    const std::int64_t state_chunk = std::int64_t{first_sample + chunks.sample} * s.t * s.h + first_unit + chunks.unit;

    const auto request = [&](int step) {
        if (step < s.t) {
            T* const to = &ring[step % kStages][chunks.gate_sample][chunks.gate * Shape::kUnits + chunks.gate_unit];
            ptx::cp_async16(to, chunks.gate_inside ? gates_chunk + std::int64_t{step} * 4 * s.h : gates,
                            chunks.gate_inside);
        }
        ptx::cp_async_commit();  // also an empty group: the wait counts groups
    };
    const auto write_out = [&](int step) {
        if (chunks.gate_inside) {
            copy_chunk(gates_chunk + std::int64_t{step} * 4 * s.h,
                       &ring[step % kStages][chunks.gate_sample][chunks.gate * Shape::kUnits + chunks.gate_unit]);
        }
        const std::int64_t at = state_chunk + std::int64_t{step} * s.h;
        if (chunks.y_inside) {
            copy_chunk(y + at, &hidden[(step + 1) % 2][chunks.sample][first_unit + chunks.unit]);
        }
        if (chunks.cell_inside) {
            copy_chunk(cells + at, &cells_out[step % 2][chunks.sample][chunks.unit]);
        }
    };

    request(0);
    request(1);
    Product product;
    product.load(w_hh, first_unit, s.h);
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < Shape::kSamples * Shape::kHidden; i += Shape::kThreads) {
        const int sample = i / Shape::kHidden, unit = i % Shape::kHidden;
        const bool inside = h0 != nullptr && first_sample + sample < s.n && unit < s.h;
        hidden[0][sample][unit] = inside ? h0[std::int64_t{first_sample + sample} * s.h + unit] : from_float<T>(0.0f);
    }
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < 4 * Shape::kUnits; i += Shape::kThreads) {
        const int gate = i / Shape::kUnits, unit = i % Shape::kUnits, at = gate * s.h + first_unit + unit;
        const bool inside = first_unit + unit < s.h;
        bias[gate][unit] =
            (inside && b_ih != nullptr ? b_ih[at] : 0.0f) + (inside && b_hh != nullptr ? b_hh[at] : 0.0f);
    }
    const ThreadPlace place = Product::place();
    const int unit = first_unit + place.unit;
    const bool unit_inside = unit < s.h;  // both of two: h is even
    Floats<N> c = splat<N>(0.0f);
    if (c0 != nullptr && unit_inside && first_sample + place.sample < s.n) {
        c = load<N>(c0 + std::int64_t{first_sample + place.sample} * s.h + unit);
    }
    ptx::cp_async_wait<1>();  // this thread's part of step 0's projection is here
    // hidden[0], bias and the projection of step 0 are there; every block of the cluster has begun
    simt::cluster_sync<Shape::kBlocks>();

#pragma unroll 1
    for (int step = 0; step < s.t; ++step) {
        request(step + 2);  // over the gates that left in the step before
        typename Product::Sum sum;
        product.multiply(sum, hidden[step % 2]);
        if (step > 0) {
            write_out(step - 1);
        }
        Gates<N> gate = product.gates(sum);
        T* const row = &ring[step % kStages][place.sample][place.unit];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const Floats<N> projection = load<N>(row + k * Shape::kUnits);
            const Floats<N> constant = load<N>(&bias[k][place.unit]);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                gate[k][j] += projection[j] + constant[j];
            }
        }
        Floats<N> h = cell_forward<T>(gate, c);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            store<N>(row + k * Shape::kUnits, gate[k]);
        }
        store<N>(&cells_out[step % 2][place.sample][place.unit], c);
        if (!unit_inside) {
            h = splat<N>(0.0f);  // its weights are zeros, but its projection was never written
        }
        store_everywhere<Shape>(&hidden[(step + 1) % 2][place.sample][unit], h);
        ptx::cp_async_wait<1>();  // this thread's part of the next step's projection is here
        // the next hidden state and projection are there; this step's arrays have been read
        simt::cluster_sync<Shape::kBlocks>();
    }
    write_out(s.t - 1);
}

template <class Shape>
struct BackwardStage {
    using T = typename Shape::T;
    T gates[Shape::kSamples][4 * Shape::kUnits + Shape::kPad];
    float cells[Shape::kSamples][Shape::kUnits + Shape::kPadFloats];  // before the step
    T dy[Shape::kSamples][Shape::kUnits + Shape::kPad];
};
constexpr int kBackwardStages = 3;

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    lstm_resident_backward_kernel(typename Shape::T* dgates, typename Shape::T* dh0, float* dc0,
                                  const typename Shape::T* dy, const float* dc_n, const typename Shape::T* gates,
                                  const float* cells, const typename Shape::T* w_hh, const float* c0,
                                  const LstmShape s) {
    using T = typename Shape::T;
    using Product = BackwardProduct<Shape>;
    constexpr int N = Shape::kPerThread;
    SIMT_SHARED(typename Product::Dgates, gradients, [2]);
    SIMT_SHARED(typename Product::Exchange, exchange, [1]);
    auto* const ring = simt::dynamic_shared<BackwardStage<Shape>>();

    const int first_sample = static_cast<int>(blockIdx.x) / Shape::kBlocks * Shape::kSamples;
    const int first_unit = Shape::kBlocks > 1 ? static_cast<int>(simt::cluster_rank()) * Shape::kUnits : 0;
    const Chunks<Shape> chunks(first_sample, first_unit, s);
    const std::int64_t gates_chunk =
        (std::int64_t{first_sample + chunks.gate_sample} * s.t * 4 + chunks.gate) * s.h + first_unit + chunks.gate_unit;
    const std::int64_t sample_chunk = std::int64_t{first_sample + chunks.sample} * s.h + first_unit + chunks.unit;
    const std::int64_t state_chunk = std::int64_t{first_sample + chunks.sample} * s.t * s.h + first_unit + chunks.unit;

    const auto request = [&](int step) {
        if (step >= 0) {
            BackwardStage<Shape>& stage = ring[step % kBackwardStages];
            ptx::cp_async16(&stage.gates[chunks.gate_sample][chunks.gate * Shape::kUnits + chunks.gate_unit],
                            chunks.gate_inside ? gates + gates_chunk + std::int64_t{step} * 4 * s.h : gates,
                            chunks.gate_inside);
            if (threadIdx.x < Shape::kYChunks) {
                ptx::cp_async16(&stage.dy[chunks.sample][chunks.unit],
                                chunks.y_inside ? dy + state_chunk + std::int64_t{step} * s.h : dy, chunks.y_inside);
            } else if (threadIdx.x < Shape::kYChunks + Shape::kCellChunks) {
                const bool wanted = chunks.cell_inside && (step > 0 || c0 != nullptr);
                const float* const from = !wanted    ? cells
                                          : step > 0 ? cells + state_chunk + std::int64_t{step - 1} * s.h
                                                     : c0 + sample_chunk;
                ptx::cp_async16(&stage.cells[chunks.sample][chunks.unit], from, wanted);
            }
        }
        ptx::cp_async_commit();  // also an empty group: the wait counts groups
    };
    const auto write_out = [&](int step) {
        if (chunks.gate_inside) {
            copy_chunk(
                dgates + gates_chunk + std::int64_t{step} * 4 * s.h,
                &gradients[step % 2][chunks.gate_sample][chunks.gate * Shape::kHidden + first_unit + chunks.gate_unit]);
        }
    };

    request(s.t - 1);
    request(s.t - 2);
    Product product;
    product.load(w_hh, first_unit, s.h);
    const ThreadPlace place = Product::place();
    const int unit = first_unit + place.unit;
    const bool unit_inside = unit < s.h, inside = unit_inside && first_sample + place.sample < s.n;
    const std::int64_t state = std::int64_t{first_sample + place.sample} * s.h + unit;
    Floats<N> c = splat<N>(0.0f), dc = splat<N>(0.0f);
    if (inside) {
        c = load<N>(cells + (std::int64_t{first_sample + place.sample} * s.t + s.t - 1) * s.h + unit);
        dc = dc_n != nullptr ? load<N>(dc_n + state) : dc;
    }
    ptx::cp_async_wait<1>();  // this thread's part of what the last step needs is here
    // what the last step needs is there, and every block of the cluster has begun
    simt::cluster_sync<Shape::kBlocks>();

#pragma unroll 1
    for (int step = s.t - 1; step >= 0; --step) {
        request(step - 2);  // over what the step before this one (step + 1) has read
        Floats<N> dh = splat<N>(0.0f);
        if (step < s.t - 1) {
            write_out(step + 1);
            dh = product.multiply(gradients[(step + 1) % 2], exchange[0]);
        }
        const BackwardStage<Shape>& stage = ring[step % kBackwardStages];
        const Floats<N> above = load<N>(&stage.dy[place.sample][place.unit]);
        const Floats<N> c_before = load<N>(&stage.cells[place.sample][place.unit]);
        Gates<N> gate;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            gate[k] = load<N>(&stage.gates[place.sample][k * Shape::kUnits + place.unit]);
        }
#pragma unroll
        for (int j = 0; j < N; ++j) {
            dh[j] += above[j];
        }
        cell_backward<T>(gate, dc, dh, c, c_before);
        c = c_before;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            if (!unit_inside) {
                gate[k] = splat<N>(0.0f);  // its weights are zeros, but its gates were never written
            }
            store_everywhere<Shape>(&gradients[step % 2][place.sample][k * Shape::kHidden + unit], gate[k]);
        }
        ptx::cp_async_wait<1>();  // this thread's part of what step - 1 needs is here
        // dgates and the arrays of step - 1 are there; this step's have been read
        simt::cluster_sync<Shape::kBlocks>();
    }
    write_out(0);
    if (dh0 != nullptr) {
        const Floats<N> dh = product.multiply(gradients[0], exchange[0]);
        if (inside) {
            store<N>(dh0 + state, dh);
        }
    }
    if (dc0 != nullptr && inside) {
        store<N>(dc0 + state, dc);
    }
}

/// Calls `call` with the ResidentShape for hidden size h; gives whether there is one on this device.
template <class T, class Call>
bool with_shape(int h, Call&& call) {
    constexpr bool kNarrow = sizeof(T) == 2;
    if (h < 1 || h % kVector<T> != 0) {
        return false;
    }
    if (h <= 32) {
        call(ResidentShape<T, 32, 1>{});
    } else if (h <= 64) {
        call(ResidentShape<T, 64, 1>{});
    } else if (kNarrow && h <= 128) {
        call(ResidentShape < T, kNarrow ? 128 : 64, 1 > {});
    } else if (h <= (kNarrow ? 256 : 128)) {
        int device = 0, major = 0;
        check(cudaGetDevice(&device), "lstm");
        check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "lstm");
        if (major < 9) {
            return false;  // no clusters
        }
        call(ResidentShape < T, kNarrow ? 256 : 128, 4 > {});
    } else {
        return false;
    }
    return true;
}

template <class Shape>
simt::LaunchShape launch_shape(int n, std::size_t shared_bytes) {
    return {.grid = blocks_for(n, Shape::kSamples) * Shape::kBlocks,
            .block = Shape::kThreads,
            .shared_bytes = shared_bytes,
            .cluster = Shape::kBlocks};
}

}  // namespace

template <class T>
bool lstm_can_be_resident(int h) {
    return with_shape<T>(h, [](auto) {});
}
template bool lstm_can_be_resident<float>(int);
template bool lstm_can_be_resident<BFloat16>(int);

template <class T>
void lstm_resident_forward(T* y, const LstmSavedT<T>& saved, const LstmWeightsT<T>& weights, const LstmStateT<T>& start,
                           const LstmShape& s, Stream stream) {
    with_shape<T>(s.h, [&]<class Shape>(Shape) {
        launch<lstm_resident_forward_kernel<Shape>>(launch_shape<Shape>(s.n, 0), stream, y, saved.gates, saved.cells,
                                                    weights.w_hh, weights.b_ih, weights.b_hh, start.h0, start.c0, s);
    });
}
template <class T>
Traffic lstm_resident_forward_traffic(const LstmForwardForm& form, const LstmShape& s) {
    const std::int64_t h = s.h, states = s.n * h, kSize = sizeof(T);
    Traffic traffic = Traffic::once(states * s.t * (2 * 4 * kSize + kSize + 4) + (form.c0 ? 4 * states : 0));
    with_shape<T>(s.h, [&]<class Shape>(Shape) {
        const std::int64_t slices = blocks_for(s.n, Shape::kSamples);
        traffic += Traffic::times(slices, 4 * h * h * kSize + (form.bias ? 32 * h : 0));
        traffic += Traffic::times(form.h0 ? Shape::kBlocks : 0, states * kSize);
    });
    return traffic;
}
template Traffic lstm_resident_forward_traffic<float>(const LstmForwardForm&, const LstmShape&);
template Traffic lstm_resident_forward_traffic<BFloat16>(const LstmForwardForm&, const LstmShape&);

template <class T>
Traffic lstm_resident_backward_traffic(const LstmBackwardForm& form, const LstmShape& s) {
    const std::int64_t h = s.h, states = s.n * h, kSize = sizeof(T);
    Traffic traffic = Traffic::once(states * s.t * (2 * 4 * kSize + kSize + 4));
    traffic +=
        Traffic::once(states * ((form.c0 ? 4 : 0) + (form.dc_n ? 4 : 0) + (form.dh0 ? kSize : 0) + (form.dc0 ? 4 : 0)));
    with_shape<T>(s.h, [&]<class Shape>(Shape) {
        traffic += Traffic::times(blocks_for(s.n, Shape::kSamples), 4 * h * h * kSize);
    });
    return traffic;
}
template Traffic lstm_resident_backward_traffic<float>(const LstmBackwardForm&, const LstmShape&);
template Traffic lstm_resident_backward_traffic<BFloat16>(const LstmBackwardForm&, const LstmShape&);

template void lstm_resident_forward(float*, const LstmSaved&, const LstmWeights&, const LstmState&, const LstmShape&,
                                    Stream);
template void lstm_resident_forward(BFloat16*, const LstmSavedT<BFloat16>&, const LstmWeightsT<BFloat16>&,
                                    const LstmStateT<BFloat16>&, const LstmShape&, Stream);

template <class T>
void lstm_resident_backward(T* dgates, T* dh0, float* dc0, const T* dy, const float* dc_n, const LstmSavedT<T>& saved,
                            const T* w_hh, const float* c0, const LstmShape& s, Stream stream) {
    with_shape<T>(s.h, [&]<class Shape>(Shape) {
        launch<lstm_resident_backward_kernel<Shape>>(
            launch_shape<Shape>(s.n, kBackwardStages * sizeof(BackwardStage<Shape>)), stream, dgates, dh0, dc0, dy,
            dc_n, saved.gates, saved.cells, w_hh, c0, s);
    });
}
template void lstm_resident_backward(float*, float*, float*, const float*, const float*, const LstmSaved&, const float*,
                                     const float*, const LstmShape&, Stream);
template void lstm_resident_backward(BFloat16*, BFloat16*, float*, const BFloat16*, const float*,
                                     const LstmSavedT<BFloat16>&, const BFloat16*, const float*, const LstmShape&,
                                     Stream);

}  // namespace cutis::cuda
