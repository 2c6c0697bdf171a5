#pragma once

#include <cstdint>

namespace cutis::simd {

/// Pixels of an image that is `width` pixels wide, `pitch` values apart, of which `c` channels are meant: rows and
/// columns begin <= i < end.
struct Window {
    int row_begin, row_end, column_begin, column_end;
    int width;
    std::int64_t pitch;
    int c;
};

/// What a pixel reaches on one axis of another image: positions begin <= i < end. `origin`: position 0 of its window,
/// outside the image where the window is (of an input, which reaches the windows that hold it: its own position behind
/// the padding).
struct Reach {
    int begin, end, origin;
};

/// A grid of pixels, each with what it reaches in an image that is `width` pixels wide: pixel (i, j) rows[i] x
/// columns[j]. Both images have c channels, and no gaps. `window`, `stride`: of the pooling.
struct WindowGrid {
    const Reach* rows;
    const Reach* columns;
    int row_count, column_count;
    int width, c;
    int window, stride;
};

/// Inner loops over `rows` x `c` values, channels last, that every CPU kernel is put together from. They run on the
/// calling thread and are compiled once per instruction set; `row_kernels()` gives the set in use. All pointers are to
/// fp32, need no alignment, and tails of `c` are masked: nothing outside the stated extent is read or written.
///
/// A clamp [lo, hi] stands for an activation: (-inf, inf) identity, (0, inf) ReLU, (0, 6) ReLU6. Its gradient passes
/// where lo < v < hi. NaN passes through a clamp.
struct RowKernels {
    /// fp32 values in one vector register.
    int lanes;

    /// z = clamp(y * scale + shift) [+ residual]; scale, shift: c. residual may be null. z may be y.
    void (*normalize)(float* z, const float* y, const float* residual, const float* scale, const float* shift, float lo,
                      float hi, std::int64_t rows, int c);

    /// sum[c] += sum over rows of (y - center), square[c] += sum over rows of (y - center)^2. A center near the mean
    /// keeps the squares free of cancellation. With `copy`, y is stored there, too, past the caches: for a block that
    /// was made in scratch and whose tensor is too large to stay in a cache anyway.
    void (*statistics)(float* sum, float* square, const float* y, const float* center, std::int64_t rows, int c,
                       float* copy);

    /// dy = a * g + b * y + d, the input gradient of batchnorm from the gradient g behind its affine part; with
    /// `scale`, g is first masked by the clamp of y * scale + shift. scale and shift may be null together (no mask). dy
    /// may be g.
    void (*gradient_apply)(float* dy, const float* g, const float* y, const float* a, const float* b, const float* d,
                           const float* scale, const float* shift, float lo, float hi, std::int64_t rows, int c);

    /// g' = g where lo < y * scale + shift < hi, else 0; sum[c] += sum of g', product[c] += sum of g' * (y - mean).
    /// g' is stored to g_masked unless that is null; it may be g. `stream` stores it past the caches.
    void (*gradient_reduce)(float* g_masked, float* sum, float* product, const float* g, const float* y,
                            const float* mean, const float* scale, const float* shift, float lo, float hi,
                            std::int64_t rows, int c, bool stream);

    /// One output row of a 3x3 depthwise convolution. r0, r1, r2: the three input rows, each padded by one pixel on
    /// both sides, (width + 2) x c. w: 9 x c. y: q x c. With `center`, adds the row's statistics to sum and square as
    /// above. `stream` stores y past the caches.
    void (*depthwise_row)(float* y, float* sum, float* square, const float* r0, const float* r1, const float* r2,
                          const float* w, const float* center, int q, int c, int stride, bool stream);

    /// dw[9 x c] += the weight gradient that one row of dy (q x c) and its three padded input rows give.
    void (*depthwise_weight_row)(float* dw, const float* r0, const float* r1, const float* r2, const float* dy, int q,
                                 int c, int stride);

    /// One input row of the input gradient at stride 2. `odd`: whether the row's index is odd. d0, d1: the padded
    /// gradient rows (q + 2) x c of output rows floor(h / 2) and floor(h / 2) + 1 (the second is read for odd rows
    /// only). dx: width x c. w: 9 x c.
    void (*depthwise_input_row_stride2)(float* dx, const float* d0, const float* d1, const float* w, int width, int c,
                                        bool odd);

    /// z = a + b, n values; z may be a or b.
    void (*add)(float* z, const float* a, const float* b, std::int64_t n);

    /// sum[c] += sum over rows of x.
    void (*column_sum)(float* sum, const float* x, std::int64_t rows, int c);

    /// y = clamp(x), n values; y may be x.
    void (*clamp_values)(float* y, const float* x, float lo, float hi, std::int64_t n);

    /// The largest value of each channel over each window of x, and its mark, the place row * window + column in that
    /// window: the first of equal ones; of NaNs the first wins against everything. Where all values are -inf, the
    /// first that is no padding. No pixel reaches nothing, and rows do not go back. `stream` stores y past the caches.
    void (*largest)(float* y, std::uint8_t* marks, const float* x, const WindowGrid& windows, bool stream);
    /// dx = the sum of dy over those of the windows that a pixel reaches whose mark is the pixel's place; 0 where it
    /// reaches none. `stream` stores dx past the caches.
    void (*gather_largest)(float* dx, const std::uint8_t* marks, const float* dy, const WindowGrid& inputs,
                           bool stream);
    /// y = the sum of each channel over a window / divisor.
    void (*mean)(float* y, const float* x, const Window& window, float divisor);
    /// dx = the sum of dy * share over the windows `outputs`; shares: one for each pixel of dy. None: 0.
    void (*gather_shares)(float* dx, const float* dy, const float* shares, const Window& outputs);

    /// One pixel of local response normalisation with beta = 3/4: s = k + factor * sum of x^2 over the `size` channels
    /// from i - before on; y = x s^-beta. `padded`: c values of scratch between zeros, size on either side.
    void (*response_norm)(float* y, float* padded, const float* x, int size, int before, float factor, float k, int c);
    /// dx = dy s^-beta - factor_dx * x * sum of dy x s^(-beta - 1) over the windows that hold i. `products` is like
    /// `padded`, `powers` has c values of scratch.
    void (*response_norm_gradient)(float* dx, float* padded, float* products, float* powers, const float* dy,
                                   const float* x, int size, int before, float factor, float factor_dx, float k, int c);

    /// One row of an LSTM cell: gates (4 x h: i, f, g, o) += recurrent + b_ih + b_hh (each 4 x h, or null), activated
    /// in place; cell = i g + f before, y = o tanh(cell). before: h, or null for zeros.
    void (*lstm_cell)(float* y, float* gates, float* cell, const float* recurrent, const float* b_ih, const float* b_hh,
                      const float* before, int h);
    /// Its gradient, from what it left: dgates (4 x h) of the gates before their activation; dc, of the cell state
    /// after the step, becomes that of the one before. The hidden state's is dy + later (null for none).
    void (*lstm_cell_gradient)(float* dgates, float* dc, const float* dy, const float* later, const float* gates,
                               const float* cell, const float* before, int h);

    /// c[m x n] (leading dimension ldc) = beta * c + a * b for a panel: a is m x k with strides (a_row, a_col) in
    /// floats, m <= 6; b is packed k x 2*lanes; n <= 2*lanes. beta is 0 or 1.
    void (*gemm_panel)(float* c, std::int64_t ldc, const float* a, std::int64_t a_row, std::int64_t a_col,
                       const float* b, int m, int n, int k, bool accumulate);
};

/// The row kernels of the active instruction set.
const RowKernels& row_kernels();

}  // namespace cutis::simd
