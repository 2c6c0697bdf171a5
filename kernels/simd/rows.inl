// The row kernels, written once and compiled per instruction set by rows_<isa>.cpp. What each computes and may assume is
// stated in rows.h.
//
// Bytes and FLOPs: each kernel touches every operand once, so the floor is the memory (or cache) traffic of its arguments:
// `normalize` 8 bytes and 4 FLOPs a value, `gradient_apply` 12 bytes and 6 FLOPs, `gradient_reduce` 12 bytes and 7 FLOPs. The
// depthwise rows do 18 FLOPs per output on three rows that the caller keeps in the second-level cache.

#include "kernels/simd/rows.h"
#include "kernels/simd/rows_lstm.inl"
#include "kernels/simd/rows_pool.inl"
#include "kernels/simd/vec.h"

namespace {

using std::int64_t;

// Elementwise kernels walk row by row with the channel block inside: c is short (16..1280), its parameters stay in the
// first-level cache, and memory is read in order.

void normalize(float* z, const float* y, const float* residual, const float* scale, const float* shift, float lo, float hi,
               int64_t rows, int c) {
    const Vec low = broadcast(lo), high = broadcast(hi);
    for (int64_t row = 0; row < rows; ++row, y += c, z += c) {
        if (residual == nullptr) {
            for_channel_blocks(c, [&](int i, auto tag) {
                store(z + i, clamp(fma(load(y + i, tag), load(scale + i, tag), load(shift + i, tag)), low, high), tag);
            });
        } else {
            for_channel_blocks(c, [&](int i, auto tag) {
                const Vec v = clamp(fma(load(y + i, tag), load(scale + i, tag), load(shift + i, tag)), low, high);
                store(z + i, add(v, load(residual + i, tag)), tag);
            });
            residual += c;
        }
    }
}

// Reductions walk tile by tile of channels: a tile's sums stay in registers while the rows, which the caller keeps in the
// second-level cache, go by.

template <bool Copy>
void statistics_tiles(float* sum, float* square, const float* y, const float* center, int64_t rows, int c, float* copy) {
    for_channel_tiles<4>(c, [&](int first, auto vectors, auto tag) {
        constexpr int n = decltype(vectors)::count;
        Vec middle[n], total[n], squares[n];
        for (int j = 0; j < n; ++j) {
            middle[j] = load(center + first + j * kLanes, tag);
            total[j] = zero();
            squares[j] = zero();
        }
        for (int64_t row = 0; row < rows; ++row) {
            for (int j = 0; j < n; ++j) {
                const int64_t at = row * c + first + j * kLanes;
                const Vec value = load(y + at, tag);
                if constexpr (Copy) {
                    store_past_caches(copy + at, value);
                }
                const Vec d = sub(value, middle[j]);
                total[j] = add(total[j], d);
                squares[j] = fma(d, d, squares[j]);
            }
        }
        for (int j = 0; j < n; ++j) {
            float* const s = sum + first + j * kLanes;
            float* const q = square + first + j * kLanes;
            store(s, add(load(s, tag), total[j]), tag);
            store(q, add(load(q, tag), squares[j]), tag);
        }
    });
}

void statistics(float* sum, float* square, const float* y, const float* center, int64_t rows, int c, float* copy) {
    if (copy != nullptr && can_stream(copy, c)) {
        statistics_tiles<true>(sum, square, y, center, rows, c, copy);
        fence_stores();
    } else {
        if (copy != nullptr) {
            __builtin_memcpy(copy, y, static_cast<unsigned long>(rows * c) * sizeof(float));
        }
        statistics_tiles<false>(sum, square, y, center, rows, c, nullptr);
    }
}

void gradient_apply(float* dy, const float* g, const float* y, const float* a, const float* b, const float* d,
                    const float* scale, const float* shift, float lo, float hi, int64_t rows, int c) {
    const Vec low = broadcast(lo), high = broadcast(hi);
    for (int64_t row = 0; row < rows; ++row, dy += c, g += c, y += c) {
        if (scale == nullptr) {
            for_channel_blocks(c, [&](int i, auto tag) {
                const Vec tail = fma(load(b + i, tag), load(y + i, tag), load(d + i, tag));
                store(dy + i, fma(load(a + i, tag), load(g + i, tag), tail), tag);
            });
        } else {
            for_channel_blocks(c, [&](int i, auto tag) {
                const Vec value = load(y + i, tag);
                const Vec v = fma(value, load(scale + i, tag), load(shift + i, tag));
                const Vec masked = keep_inside(load(g + i, tag), v, low, high);
                store(dy + i, fma(load(a + i, tag), masked, fma(load(b + i, tag), value, load(d + i, tag))), tag);
            });
        }
    }
}

enum class Keep { nothing, cached, streamed };

template <Keep How>
void gradient_reduce_tiles(float* g_masked, float* sum, float* product, const float* g, const float* y, const float* mean,
                           const float* scale, const float* shift, float lo, float hi, int64_t rows, int c) {
    const Vec low = broadcast(lo), high = broadcast(hi);
    for_channel_tiles<(kLanes == 16 ? 4 : 2)>(c, [&](int first, auto vectors, auto tag) {
        constexpr int n = decltype(vectors)::count;
        Vec middle[n], slope[n], offset[n], total[n], products[n];
        for (int j = 0; j < n; ++j) {
            middle[j] = load(mean + first + j * kLanes, tag);
            slope[j] = load(scale + first + j * kLanes, tag);
            offset[j] = load(shift + first + j * kLanes, tag);
            total[j] = zero();
            products[j] = zero();
        }
        for (int64_t row = 0; row < rows; ++row) {
            for (int j = 0; j < n; ++j) {
                const int64_t at = row * c + first + j * kLanes;
                const Vec value = load(y + at, tag);
                const Vec masked = keep_inside(load(g + at, tag), fma(value, slope[j], offset[j]), low, high);
                if constexpr (How == Keep::cached) {
                    store(g_masked + at, masked, tag);
                } else if constexpr (How == Keep::streamed) {
                    store_past_caches(g_masked + at, masked);
                }
                total[j] = add(total[j], masked);
                products[j] = fma(masked, sub(value, middle[j]), products[j]);
            }
        }
        for (int j = 0; j < n; ++j) {
            float* const s = sum + first + j * kLanes;
            float* const p = product + first + j * kLanes;
            store(s, add(load(s, tag), total[j]), tag);
            store(p, add(load(p, tag), products[j]), tag);
        }
    });
}

void gradient_reduce(float* g_masked, float* sum, float* product, const float* g, const float* y, const float* mean,
                     const float* scale, const float* shift, float lo, float hi, int64_t rows, int c, bool stream) {
    if (g_masked == nullptr) {
        gradient_reduce_tiles<Keep::nothing>(g_masked, sum, product, g, y, mean, scale, shift, lo, hi, rows, c);
    } else if (stream && can_stream(g_masked, c)) {
        gradient_reduce_tiles<Keep::streamed>(g_masked, sum, product, g, y, mean, scale, shift, lo, hi, rows, c);
        fence_stores();
    } else {
        gradient_reduce_tiles<Keep::cached>(g_masked, sum, product, g, y, mean, scale, shift, lo, hi, rows, c);
    }
}

// A block of channels keeps its nine taps in registers and slides along the row. Two accumulators shorten the chain of
// dependent multiply-adds from nine to five. At stride 2 a window's last column is the next one's first, and stays.
template <int Stride, bool Stream, bool Reduce, class Tag>
void depthwise_row_block(float* y, float* sum, float* square, const float* r0, const float* r1, const float* r2,
                         const float* w, const float* center, int q, int c, Tag tag) {
    const Vec w0 = load(w, tag), w1 = load(w + c, tag), w2 = load(w + 2 * c, tag);
    const Vec w3 = load(w + 3 * c, tag), w4 = load(w + 4 * c, tag), w5 = load(w + 5 * c, tag);
    const Vec w6 = load(w + 6 * c, tag), w7 = load(w + 7 * c, tag), w8 = load(w + 8 * c, tag);
    const Vec middle = Reduce ? load(center, tag) : zero();
    Vec total = zero(), squares = zero();
    Vec a0 = load(r0, tag), a1 = load(r1, tag), a2 = load(r2, tag);  // the window's first column
    const int64_t step = int64_t{Stride} * c;
    for (int x = 0; x < q; ++x, r0 += step, r1 += step, r2 += step, y += c) {
        if constexpr (Stride != 2) {
            a0 = load(r0, tag);
            a1 = load(r1, tag);
            a2 = load(r2, tag);
        }
        Vec left = mul(w0, a0), right = mul(w3, a1);
        left = fma(w1, load(r0 + c, tag), left);
        right = fma(w4, load(r1 + c, tag), right);
        const Vec b0 = load(r0 + 2 * c, tag), b1 = load(r1 + 2 * c, tag), b2 = load(r2 + 2 * c, tag);
        left = fma(w2, b0, left);
        right = fma(w5, b1, right);
        left = fma(w6, a2, left);
        right = fma(w7, load(r2 + c, tag), right);
        left = fma(w8, b2, left);
        a0 = b0;
        a1 = b1;
        a2 = b2;
        const Vec value = add(left, right);
        put<Stream>(y, value, tag);
        if constexpr (Reduce) {
            const Vec d = sub(value, middle);
            total = add(total, d);
            squares = fma(d, d, squares);
        }
    }
    if constexpr (Reduce) {
        store(sum, add(load(sum, tag), total), tag);
        store(square, add(load(square, tag), squares), tag);
    }
}

template <int Stride, bool Stream>
void depthwise_row_blocks(float* y, float* sum, float* square, const float* r0, const float* r1, const float* r2,
                          const float* w, const float* center, int q, int c) {
    for_channel_blocks(c, [&](int i, auto tag) {
        if (center != nullptr) {
            depthwise_row_block<Stride, Stream, true>(y + i, sum + i, square + i, r0 + i, r1 + i, r2 + i, w + i, center + i,
                                                      q, c, tag);
        } else {
            depthwise_row_block<Stride, Stream, false>(y + i, nullptr, nullptr, r0 + i, r1 + i, r2 + i, w + i, nullptr, q, c,
                                                       tag);
        }
    });
}

void depthwise_row(float* y, float* sum, float* square, const float* r0, const float* r1, const float* r2, const float* w,
                   const float* center, int q, int c, int stride, bool stream) {
    const bool past_caches = stream && can_stream(y, c);
    const auto blocks = stride == 1 ? (past_caches ? depthwise_row_blocks<1, true> : depthwise_row_blocks<1, false>)
                                    : (past_caches ? depthwise_row_blocks<2, true> : depthwise_row_blocks<2, false>);
    blocks(y, sum, square, r0, r1, r2, w, center, q, c);
    if (past_caches) {
        fence_stores();
    }
}

void depthwise_weight_row(float* dw, const float* r0, const float* r1, const float* r2, const float* dy, int q, int c,
                          int stride) {
    const int64_t step = int64_t{stride} * c;
    for_channel_blocks(c, [&](int i, auto tag) {
        Vec t0 = zero(), t1 = zero(), t2 = zero(), t3 = zero(), t4 = zero(), t5 = zero(), t6 = zero(), t7 = zero(),
            t8 = zero();
        const float *a = r0 + i, *b = r1 + i, *e = r2 + i, *d = dy + i;
        for (int x = 0; x < q; ++x, a += step, b += step, e += step, d += c) {
            const Vec g = load(d, tag);
            t0 = fma(g, load(a, tag), t0);
            t1 = fma(g, load(a + c, tag), t1);
            t2 = fma(g, load(a + 2 * c, tag), t2);
            t3 = fma(g, load(b, tag), t3);
            t4 = fma(g, load(b + c, tag), t4);
            t5 = fma(g, load(b + 2 * c, tag), t5);
            t6 = fma(g, load(e, tag), t6);
            t7 = fma(g, load(e + c, tag), t7);
            t8 = fma(g, load(e + 2 * c, tag), t8);
        }
        const Vec taps[9] = {t0, t1, t2, t3, t4, t5, t6, t7, t8};
        for (int tap = 0; tap < 9; ++tap) {
            float* const out = dw + static_cast<int64_t>(tap) * c + i;
            store(out, add(load(out, tag), taps[tap]), tag);
        }
    });
}

// Output (p, q) reads input rows 2p-1, 2p, 2p+1. Read backwards: an even input row h met tap row 1 of p = h/2 only; an odd
// one met tap row 2 of p = (h-1)/2 and tap row 0 of p = (h+1)/2. Columns alike. The gradient rows are padded by one pixel.
void depthwise_input_row_stride2(float* dx, const float* d0, const float* d1, const float* w, int width, int c, bool odd) {
    for_channel_blocks(c, [&](int i, auto tag) {
        const Vec w0 = load(w + i, tag), w1 = load(w + c + i, tag), w2 = load(w + 2 * c + i, tag);
        const Vec w3 = load(w + 3 * c + i, tag), w4 = load(w + 4 * c + i, tag), w5 = load(w + 5 * c + i, tag);
        const Vec w6 = load(w + 6 * c + i, tag), w7 = load(w + 7 * c + i, tag), w8 = load(w + 8 * c + i, tag);
        const float *a = d0 + c + i, *b = odd ? d1 + c + i : nullptr;
        float* out = dx + i;
        for (int x = 0; x < width; x += 2, a += c) {
            const Vec here = load(a, tag), next = load(a + c, tag);
            if (!odd) {
                store(out, mul(w4, here), tag);
                if (x + 1 < width) {
                    store(out + c, fma(w5, here, mul(w3, next)), tag);
                }
            } else {
                const Vec below = load(b, tag), below_next = load(b + c, tag);
                store(out, fma(w7, here, mul(w1, below)), tag);
                if (x + 1 < width) {
                    const Vec lower = fma(w2, below, mul(w0, below_next));
                    store(out + c, fma(w8, here, fma(w6, next, lower)), tag);
                }
                b += c;
            }
            out += 2 * static_cast<int64_t>(c);
        }
    });
}

void add_values(float* z, const float* a, const float* b, int64_t n) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        store(z + i, add(load(a + i, Full{}), load(b + i, Full{})), Full{});
    }
    if (i < n) {
        const Partial tag(static_cast<int>(n - i));
        store(z + i, add(load(a + i, tag), load(b + i, tag)), tag);
    }
}

void column_sum(float* sum, const float* x, int64_t rows, int c) {
    for (int64_t row = 0; row < rows; ++row, x += c) {
        for_channel_blocks(c, [&](int i, auto tag) { store(sum + i, add(load(sum + i, tag), load(x + i, tag)), tag); });
    }
}

void clamp_values(float* y, const float* x, float lo, float hi, int64_t n) {
    const Vec low = broadcast(lo), high = broadcast(hi);
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        store(y + i, clamp(load(x + i, Full{}), low, high), Full{});
    }
    if (i < n) {
        const Partial tail(static_cast<int>(n - i));
        store(y + i, clamp(load(x + i, tail), low, high), tail);
    }
}

// Sum of a window of padded values around channel i.
template <class Tag>
Vec window_sum(const float* padded, int i, int size, int before, Tag tag) {
    Vec total = load(padded + i - before, tag);
    for (int offset = 1; offset < size; ++offset) {
        total = add(total, load(padded + i - before + offset, tag));
    }
    return total;
}
void square(float* padded, const float* x, int c) {
    for_channel_blocks(c, [&](int i, auto tag) {
        const Vec value = load(x + i, tag);
        store(padded + i, mul(value, value), tag);
    });
}
// s^(-3/4)
Vec negative_three_quarters(Vec s) {
    const Vec inverse_root = divide(broadcast(1.0f), square_root(s));
    return mul(inverse_root, square_root(inverse_root));
}

void response_norm(float* y, float* padded, const float* x, int size, int before, float factor, float k, int c) {
    square(padded, x, c);
    const Vec scale = broadcast(factor), least = broadcast(k);
    for_channel_blocks(c, [&](int i, auto tag) {
        const Vec s = fma(window_sum(padded, i, size, before, tag), scale, least);
        store(y + i, mul(load(x + i, tag), negative_three_quarters(s)), tag);
    });
}

void response_norm_gradient(float* dx, float* padded, float* products, float* powers, const float* dy, const float* x,
                            int size, int before, float factor, float factor_dx, float k, int c) {
    square(padded, x, c);
    const Vec scale = broadcast(factor), least = broadcast(k), scale_dx = broadcast(-factor_dx);
    for_channel_blocks(c, [&](int i, auto tag) {
        const Vec s = fma(window_sum(padded, i, size, before, tag), scale, least);
        const Vec power = negative_three_quarters(s);
        store(powers + i, power, tag);
        store(products + i, divide(mul(mul(load(dy + i, tag), load(x + i, tag)), power), s), tag);
    });
    const int behind = size - 1 - before;  // i is in the windows of i - behind .. i + before
    for_channel_blocks(c, [&](int i, auto tag) {
        const Vec across = window_sum(products, i, size, behind, tag);
        const Vec through = mul(load(dy + i, tag), load(powers + i, tag));
        store(dx + i, fma(mul(scale_dx, load(x + i, tag)), across, through), tag);
    });
}

// Six rows of two vectors: twelve accumulators are enough to hide the latency of a multiply-add and leave registers for b.
template <int Rows>
void gemm_rows(float* c, int64_t ldc, const float* a, int64_t a_row, int64_t a_col, const float* b, int n, int k,
               bool accumulate) {
    Vec left[Rows], right[Rows];
    for (int r = 0; r < Rows; ++r) {
        left[r] = zero();
        right[r] = zero();
    }
    for (int i = 0; i < k; ++i, a += a_col, b += 2 * kLanes) {
        const Vec b0 = load(b, Full{}), b1 = load(b + kLanes, Full{});
        for (int r = 0; r < Rows; ++r) {
            const Vec value = broadcast(a[r * a_row]);
            left[r] = fma(value, b0, left[r]);
            right[r] = fma(value, b1, right[r]);
        }
    }
    for (int r = 0; r < Rows; ++r, c += ldc) {
        for_channel_blocks(n, [&](int i, auto tag) {
            const Vec value = i == 0 ? left[r] : right[r];
            store(c + i, accumulate ? add(load(c + i, tag), value) : value, tag);
        });
    }
}

void gemm_panel(float* c, int64_t ldc, const float* a, int64_t a_row, int64_t a_col, const float* b, int m, int n, int k,
                bool accumulate) {
    switch (m) {
        case 1:
            return gemm_rows<1>(c, ldc, a, a_row, a_col, b, n, k, accumulate);
        case 2:
            return gemm_rows<2>(c, ldc, a, a_row, a_col, b, n, k, accumulate);
        case 3:
            return gemm_rows<3>(c, ldc, a, a_row, a_col, b, n, k, accumulate);
        case 4:
            return gemm_rows<4>(c, ldc, a, a_row, a_col, b, n, k, accumulate);
        case 5:
            return gemm_rows<5>(c, ldc, a, a_row, a_col, b, n, k, accumulate);
        default:
            return gemm_rows<6>(c, ldc, a, a_row, a_col, b, n, k, accumulate);
    }
}

}  // namespace

namespace cutis::simd {

extern const RowKernels CUTIS_ROW_KERNELS;
const RowKernels CUTIS_ROW_KERNELS = {kLanes,
                                      normalize,
                                      statistics,
                                      gradient_apply,
                                      gradient_reduce,
                                      depthwise_row,
                                      depthwise_weight_row,
                                      depthwise_input_row_stride2,
                                      add_values,
                                      column_sum,
                                      clamp_values,
                                      largest,
                                      gather_largest,
                                      mean,
                                      gather_shares,
                                      response_norm,
                                      response_norm_gradient,
                                      lstm_cell,
                                      lstm_cell_gradient,
                                      gemm_panel};

}  // namespace cutis::simd
