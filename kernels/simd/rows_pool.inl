#pragma once

// The row kernels of pooling: maxima and means of windows, and their gradients. A part of rows.inl.

#include "kernels/simd/rows.h"
#include "kernels/simd/vec.h"

namespace {

using std::int64_t;

// Windows of pooling: a tile of channels stays in registers while the window's pixels go by.

using cutis::simd::Window;

// body(pixel) for each pixel of a window, in their order.
template <class Body>
void for_pixels(const Window& window, Body&& body) {
    for (int row = window.row_begin; row < window.row_end; ++row) {
        for (int column = window.column_begin; column < window.column_end; ++column) {
            body(row * window.width + column);
        }
    }
}

using cutis::simd::Reach;
using cutis::simd::WindowGrid;

// The largest values of n vectors of channels so far, and where they are: row * window + place in the row.
template <int n>
struct Largest {
    Vec most[n];
    Marks where[n];
};

// `before`: what `where` is of the window's first place.
template <bool Stream, int n, class Tag>
void put_largest(float* y, std::uint8_t* marks, const Largest<n>& best, int before, Tag tag) {
    for (int j = 0; j < n; ++j) {
        put<Stream>(y + j * kLanes, best.most[j], tag);
        store_marks(marks + j * kLanes, sub(best.where[j], broadcast_marks(before)), tag);
    }
}

// Where a row of the image begins in the numbers of `where` and in memory, for windows that reach `columns`.
struct RowStart {
    int where;
    const float* x;
};
RowStart start_of(int row, const float* x, const WindowGrid& windows, Reach columns) {
    return {row * windows.window + columns.begin - columns.origin,
            x + (int64_t{row} * windows.width + columns.begin) * windows.c};
}

// One window, pixel by pixel, with comparisons that let NaN win.
template <int n, class Tag>
Largest<n> largest_or_nan(const float* x, const WindowGrid& windows, Reach rows, Reach columns, Tag tag) {
    Largest<n> best{};
    for (int row = rows.begin; row < rows.end; ++row) {
        const RowStart start = start_of(row, x, windows, columns);
        for (int i = 0; i < columns.end - columns.begin; ++i) {
            const Marks here = broadcast_marks(start.where + i);
            for (int j = 0; j < n; ++j) {
                const Vec value = load(start.x + int64_t{i} * windows.c + j * kLanes, tag);
                if (row == rows.begin && i == 0) {
                    best.most[j] = value;
                    best.where[j] = here;
                } else {
                    const auto more = exceeds(value, best.most[j]);
                    best.most[j] = choose(more, value, best.most[j]);
                    best.where[j] = choose_marks(more, here, best.where[j]);
                }
            }
        }
    }
    return best;
}

// `count` pixels of one row; the values of the first `summed` are added to `sum`. A call would move twelve registers
// through memory.
template <int n, class Tag>
[[gnu::always_inline]] inline Largest<n> largest_of_row(RowStart start, int count, int summed, int64_t pitch, Vec* sum,
                                                        Tag tag) {
    const Marks one = broadcast_marks(1);
    Marks here = broadcast_marks(start.where);
    Largest<n> best;
    for (int j = 0; j < n; ++j) {
        best.most[j] = load(start.x + j * kLanes, tag);
        best.where[j] = here;
    }
    const auto take = [&](int i, bool with_sum) {
        here = add(here, one);
        for (int j = 0; j < n; ++j) {
            const Vec value = load(start.x + i * pitch + j * kLanes, tag);
            const auto more = above(value, best.most[j]);
            best.most[j] = larger(value, best.most[j]);
            best.where[j] = choose_marks(more, here, best.where[j]);
            if (with_sum) {
                sum[j] = add(sum[j], value);
            }
        }
    };
    if (summed > 0) {
        for (int j = 0; j < n; ++j) {
            sum[j] = add(sum[j], best.most[j]);
        }
    }
    int i = 1;
    for (; i < summed; ++i) {
        take(i, true);
    }
    for (; i < count; ++i) {
        take(i, false);
    }
    return best;
}

template <int n>
void take_larger(Largest<n>& best, const Largest<n>& later) {
    for (int j = 0; j < n; ++j) {
        const auto more = above(later.most[j], best.most[j]);
        best.most[j] = larger(later.most[j], best.most[j]);
        best.where[j] = choose_marks(more, later.where[j], best.where[j]);
    }
}

// The windows of one column from top to bottom. Each is put together from its rows' largest values, of which the last one
// or two (`Kept`) stay in registers: windows of 3 share one at stride 2, two at stride 1. y and marks: the first window's.
template <int Kept, bool Stream, int n, class Tag>
Vec largest_of_column(float* y, std::uint8_t* marks, const float* x, const WindowGrid& windows, Reach columns, int summed,
                      Tag tag) {
    static_assert(Kept == 1 || Kept == 2);
    const int64_t below = int64_t{windows.column_count} * windows.c;
    Vec sum[n];
    for (int j = 0; j < n; ++j) {
        sum[j] = zero();
    }
    Largest<n> older{}, newer{};
    int older_row = -1, newer_row = -1;
    for (int i = 0; i < windows.row_count; ++i) {
        const Reach rows = windows.rows[i];
        Largest<n> best{};
        for (int row = rows.begin; row < rows.end; ++row) {
            if (Kept == 2 && row == older_row) {
                best = older;  // the window's first row, since newer_row comes after it
                continue;
            }
            if (row != newer_row) {
                if constexpr (Kept == 2) {
                    older = newer;
                    older_row = newer_row;
                }
                newer = largest_of_row<n>(start_of(row, x, windows, columns), columns.end - columns.begin, summed,
                                          windows.c, sum, tag);
                newer_row = row;
            }
            if (row == rows.begin) {
                best = newer;
            } else {
                take_larger(best, newer);
            }
        }
        put_largest<Stream>(y + i * below, marks + i * below, best, rows.origin * windows.window, tag);
    }
    for (int j = 1; j < n; ++j) {
        sum[0] = add(sum[0], sum[j]);
    }
    return sum[0];
}

constexpr int kLargestTile = kLanes == 16 ? 4 : 2;  // vectors of channels whose state fits into the registers

template <bool Stream>
void largest_or_nan_of_grid(float* y, std::uint8_t* marks, const float* x, const WindowGrid& windows) {
    for (int i = 0; i < windows.row_count; ++i) {
        for (int column = 0; column < windows.column_count; ++column) {
            for_channel_tiles<kLargestTile>(windows.c, [&](int first, auto vectors, auto tag) {
                constexpr int n = decltype(vectors)::count;
                const Reach rows = windows.rows[i];
                const int64_t at = (int64_t{i} * windows.column_count + column) * windows.c + first;
                put_largest<Stream>(y + at, marks + at,
                                    largest_or_nan<n>(x + first, windows, rows, windows.columns[column], tag),
                                    rows.origin * windows.window, tag);
            });
        }
    }
}

template <int Kept, bool Stream>
void largest_of_grid(float* y, std::uint8_t* marks, const float* x, const WindowGrid& windows) {
    Vec sum = zero();
    for (int column = 0; column < windows.column_count; ++column) {
        const Reach columns = windows.columns[column];
        // What the next window reads again is summed there.
        const int next = column + 1 < windows.column_count ? windows.columns[column + 1].begin : columns.end;
        const int summed = (next < columns.end ? next : columns.end) - columns.begin;
        const int64_t at = int64_t{column} * windows.c;
        for_channel_tiles<kLargestTile>(windows.c, [&](int first, auto vectors, auto tag) {
            constexpr int n = decltype(vectors)::count;
            sum = add(sum, largest_of_column<Kept, Stream, n>(y + at + first, marks + at + first, x + first, windows,
                                                              columns, summed, tag));
        });
    }
    // NaN is lost in these comparisons; the sum of all values, which is NaN then, says so.
    if (has_nan(sum)) {  // or infinities of both signs
        largest_or_nan_of_grid<Stream>(y, marks, x, windows);
    }
}

void largest(float* y, std::uint8_t* marks, const float* x, const WindowGrid& windows, bool stream) {
    const bool shares_two = windows.window - windows.stride >= 2;
    if (stream && can_stream(y, windows.c)) {
        (shares_two ? largest_of_grid<2, true> : largest_of_grid<1, true>)(y, marks, x, windows);
        fence_stores();
    } else {
        (shares_two ? largest_of_grid<2, false> : largest_of_grid<1, false>)(y, marks, x, windows);
    }
}

// One tile of channels of one pixel of dx.
template <bool Stream, int n, class Tag>
[[gnu::always_inline]] inline void gather_pixel(float* dx, const std::uint8_t* marks, const float* dy, Reach rows,
                                                Reach columns, int window, int stride, int64_t pitch, int64_t below,
                                                Tag tag) {
    Vec total[n];
    for (int j = 0; j < n; ++j) {
        total[j] = zero();
    }
    for (int row = rows.begin; row < rows.end; ++row) {
        int place = (rows.origin - row * stride) * window + columns.origin - columns.begin * stride;
        int64_t at = row * below + columns.begin * pitch;
        for (int column = columns.begin; column < columns.end; ++column, place -= stride, at += pitch) {
            const Marks here = broadcast_marks(place);
            for (int j = 0; j < n; ++j) {
                const auto chosen = marked(marks + at + j * kLanes, here, tag);
                const Vec sum = add(total[j], load(dy + at + j * kLanes, tag));
                total[j] = choose(chosen, sum, total[j]);
            }
        }
    }
    for (int j = 0; j < n; ++j) {
        put<Stream>(dx + j * kLanes, total[j], tag);
    }
}

template <bool Stream>
void gather_largest_grid(float* dx, const std::uint8_t* marks, const float* dy, const WindowGrid& inputs) {
    const int c = inputs.c, window = inputs.window, stride = inputs.stride;
    const int64_t below = int64_t{inputs.width} * c;
    for (int i = 0; i < inputs.row_count; ++i) {
        const Reach rows = inputs.rows[i];
        for (int k = 0; k < inputs.column_count; ++k, dx += c) {
            const Reach columns = inputs.columns[k];
            for_channel_tiles<4>(c, [=](int first, auto vectors, auto tag) {
                gather_pixel<Stream, decltype(vectors)::count>(dx + first, marks + first, dy + first, rows, columns, window,
                                                               stride, c, below, tag);
            });
        }
    }
}

void gather_largest(float* dx, const std::uint8_t* marks, const float* dy, const WindowGrid& inputs, bool stream) {
    if (stream && can_stream(dx, inputs.c)) {
        gather_largest_grid<true>(dx, marks, dy, inputs);
        fence_stores();
    } else {
        gather_largest_grid<false>(dx, marks, dy, inputs);
    }
}

void mean(float* y, const float* x, const Window& window, float divisor) {
    const Vec size = broadcast(divisor);
    for_channel_tiles<8>(window.c, [&](int first, auto vectors, auto tag) {
        constexpr int n = decltype(vectors)::count;
        Vec total[n];
        for (int j = 0; j < n; ++j) {
            total[j] = zero();
        }
        for_pixels(window, [&](int at) {
            for (int j = 0; j < n; ++j) {
                total[j] = add(total[j], load(x + at * window.pitch + first + j * kLanes, tag));
            }
        });
        for (int j = 0; j < n; ++j) {
            store(y + first + j * kLanes, divide(total[j], size), tag);
        }
    });
}

void gather_shares(float* dx, const float* dy, const float* shares, const Window& outputs) {
    for_channel_tiles<4>(outputs.c, [&](int first, auto vectors, auto tag) {
        constexpr int n = decltype(vectors)::count;
        Vec total[n];
        for (int j = 0; j < n; ++j) {
            total[j] = zero();
        }
        for_pixels(outputs, [&](int at) {
            const Vec share = broadcast(shares[at]);
            for (int j = 0; j < n; ++j) {
                total[j] = fma(load(dy + at * outputs.pitch + first + j * kLanes, tag), share, total[j]);
            }
        });
        for (int j = 0; j < n; ++j) {
            store(dx + first + j * kLanes, total[j], tag);
        }
    });
}

}  // namespace
