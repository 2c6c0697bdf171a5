#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cstdint>

#include "kernels/concat.h"
#include "kernels/gather.h"
#include "kernels/lrn.h"
#include "tests/kernels/op_cases.h"
#ifdef CUTIS_WITH_CUDA
#include "tests/support/device_values.h"
#endif

namespace cutis::testing {
namespace {

using namespace reference;

// ---- concatenation and its inverse

std::string shape_of(std::int64_t rows, const std::vector<int>& widths) {
    return fmt::format("rows{}_c{}", rows, fmt::join(widths, "_"));
}

int sum_of(const std::vector<int>& widths) {
    int sum = 0;
    for (const int width : widths) {
        sum += width;
    }
    return sum;
}

// Parts whose data is pointer(i) for part i.
template <class T, class Pointer>
std::vector<ChannelPart<T>> parts_of(const std::vector<int>& widths, Pointer&& pointer) {
    std::vector<ChannelPart<T>> parts;
    for (std::size_t i = 0; i < widths.size(); ++i) {
        parts.push_back({pointer(i), widths[i]});
    }
    return parts;
}

std::vector<Operand> part_operands(std::int64_t rows, const std::vector<int>& widths, bool differentiable) {
    std::vector<Operand> operands;
    for (const int width : widths) {
        operands.push_back({.name = fmt::format("part{}", operands.size()),
                            .size = rows * width,
                            .differentiable = differentiable,
                            .activation = true});
    }
    return operands;
}

OpCase concat_case(std::int64_t rows, const std::vector<int>& widths) {
    const int c = sum_of(widths);
    return {.op = "concat",
            .shape = shape_of(rows, widths),
            .inputs = part_operands(rows, widths, true),
            .outputs = {{.name = "y", .size = rows * c, .activation = true}},
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    cpu::concat_channels(out[0], parts_of<const float>(widths, [&](std::size_t i) { return in[i]; }),
                                         rows);
                },
            .define =
                [=](const Arrays& in) {
                    Values y;
                    for (std::int64_t row = 0; row < rows; ++row) {
                        for (std::size_t i = 0; i < widths.size(); ++i) {
                            const auto begin = in[i].begin() + row * widths[i];
                            y.insert(y.end(), begin, begin + widths[i]);
                        }
                    }
                    return Arrays{y};
                },
            .backward =
                [=](const Inputs&, const float* dy, const Outputs& grad) {
                    cpu::split_channels(parts_of<float>(widths, [&](std::size_t i) { return grad[i]; }), dy, rows);
                },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                const auto parts = parts_of<const T>(widths, [&](std::size_t i) { return in.get<T>(i); });
                cuda::concat_channels<T>(out.get<T>(0), parts, rows, {});
            }),
            .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays&, const T* dy, const DeviceArrays& grad) {
                const auto parts = parts_of<T>(widths, [&](std::size_t i) { return grad.get<T>(i); });
                cuda::split_channels<T>(parts, dy, rows, {});
            }),
            .linear = true,
            .flops = static_cast<double>(rows * c)};
}

// ---- rows in another order

// Rows of x from the last to the first, every third one left out, and a row of zeros behind each pair.
struct RowOrder {
    explicit RowOrder(std::int64_t source_rows) : back(static_cast<std::size_t>(source_rows), -1) {
        for (std::int64_t row = source_rows - 1; row >= 0; --row) {
            if (row % 3 != 1) {
                back[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(index.size());
                index.push_back(static_cast<std::int32_t>(row));
            }
            if (index.size() % 3 == 2) {
                index.push_back(-1);
            }
        }
    }
    std::int64_t rows() const { return static_cast<std::int64_t>(index.size()); }
    std::vector<std::int32_t> index, back;
};

OpCase gather_case(std::int64_t source_rows, int c) {
    const RowOrder order(source_rows);
    [[maybe_unused]] const auto on_gpu = []<class T>(T* y, const T* x, const std::vector<std::int32_t>& index,
                                                     int width) {
#ifdef CUTIS_WITH_CUDA
        const DeviceValues<std::int32_t> device_index(index);
        cuda::gather_rows(y, x, static_cast<const std::int32_t*>(device_index.data()),
                          static_cast<std::int64_t>(index.size()), width, {});
        cuda::check(cudaDeviceSynchronize(), "gather");
#endif
    };
    return {.op = "gather_rows",
            .shape = fmt::format("rows{}_c{}", source_rows, c),
            .inputs = {{.name = "x", .size = source_rows * c, .differentiable = true, .activation = true}},
            .outputs = {{.name = "y", .size = order.rows() * c, .exact = true, .activation = true}},
            .run = [=](const Inputs& in,
                       const Outputs& out) { cpu::gather_rows(out[0], in[0], order.index.data(), order.rows(), c); },
            .define =
                [=](const Arrays& in) {
                    Values y;
                    for (const std::int32_t row : order.index) {
                        for (int i = 0; i < c; ++i) {
                            y.push_back(row < 0 ? 0.0 : in[0][static_cast<std::size_t>(std::int64_t{row} * c + i)]);
                        }
                    }
                    return Arrays{y};
                },
            .backward = [=](const Inputs&, const float* dy,
                            const Outputs& grad) { cpu::gather_rows(grad[0], dy, order.back.data(), source_rows, c); },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                on_gpu(out.get<T>(0), in.get<const T>(0), order.index, c);
            }),
            .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays&, const T* dy, const DeviceArrays& grad) {
                on_gpu(grad.get<T>(0), dy, order.back, c);
            }),
            .linear = true,
            .flops = 0.0};
}

// Every other part is not wanted.
OpCase split_case(std::int64_t rows, const std::vector<int>& widths) {
    const auto wanted = [](std::size_t i) { return i % 2 == 0; };
    std::vector<Operand> outputs;
    const std::vector<Operand> all = part_operands(rows, widths, false);
    for (std::size_t i = 0; i < all.size(); i += 2) {
        outputs.push_back(all[i]);
    }
    return {.op = "split",
            .shape = shape_of(rows, widths),
            .inputs = {{.name = "y", .size = rows * sum_of(widths), .activation = true}},
            .outputs = outputs,
            .run =
                [=](const Inputs& in, const Outputs& out) {
                    const auto parts =
                        parts_of<float>(widths, [&](std::size_t i) { return wanted(i) ? out[i / 2] : nullptr; });
                    cpu::split_channels(parts, in[0], rows);
                },
            .define =
                [=](const Arrays& in) {
                    Arrays parts;
                    std::int64_t first = 0;
                    for (std::size_t i = 0; i < widths.size(); first += widths[i++]) {
                        Values part;
                        for (std::int64_t row = 0; row < rows; ++row) {
                            const auto begin = in[0].begin() + row * sum_of(widths) + first;
                            part.insert(part.end(), begin, begin + widths[i]);
                        }
                        if (wanted(i)) {
                            parts.push_back(part);
                        }
                    }
                    return parts;
                },
            .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
                const auto parts =
                    parts_of<T>(widths, [&](std::size_t i) { return wanted(i) ? out.get<T>(i / 2) : nullptr; });
                cuda::split_channels<T>(parts, in.get<const T>(0), rows, {});
            }),
            .flops = static_cast<double>(rows * sum_of(widths))};
}

// ---- local response normalisation

OpCase local_response_norm_case(std::int64_t rows, int c, const LocalResponseNorm& norm) {
    return {
        .op = "local_response_norm",
        .shape = fmt::format("rows{}_c{}_size{}_percent{}", rows, c, norm.size, static_cast<int>(100.0f * norm.beta)),
        .inputs = {{.name = "x", .size = rows * c, .differentiable = true, .terms = 4 * norm.size, .activation = true}},
        .outputs = {{.name = "y", .size = rows * c, .terms = 4 + norm.size, .exact = false, .activation = true}},
        .run = [=](const Inputs& in,
                   const Outputs& out) { cpu::local_response_norm_forward(out[0], in[0], norm, rows, c); },
        .define = [=](const Arrays& in) { return Arrays{local_response_norm(in[0], norm, c)}; },
        .backward = [=](const Inputs& in, const float* dy,
                        const Outputs& grad) { cpu::local_response_norm_backward(grad[0], dy, in[0], norm, rows, c); },
        .run_cuda = cuda_forward([=]<class T>(const DeviceArrays& in, const DeviceArrays& out) {
            cuda::local_response_norm_forward<T>(out.get<T>(0), in.get<T>(0), norm, rows, c, {});
        }),
        .backward_cuda = cuda_backward([=]<class T>(const DeviceArrays& in, const T* dy, const DeviceArrays& grad) {
            cuda::local_response_norm_backward<T>(grad.get<T>(0), dy, in.get<T>(0), norm, rows, c, {});
        }),
        .flops = static_cast<double>(rows * c * (2 * norm.size + 4))};
}

}  // namespace

std::vector<OpCase> channel_cases() {
    std::vector<OpCase> cases;
    for (const auto& [rows, widths] : std::vector<std::pair<std::int64_t, std::vector<int>>>{
             {1, {1}},
             {5, {3, 1, 4}},
             {7, {8, 16, 24}},                          // whole 16-byte pieces in fp32 and in bf16
             {3, {4, 8, 12}},                           // in fp32 alone
             {2, {16, 3, 8}},                           // in neither
             {300, {5, 2}},                             // several blocks
             {3, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},  // more parts than a launch has
             {2, {8, 16, 8, 8, 24, 8, 8, 8, 16, 8}},    // the same in whole pieces
             {2, {1100, 40}}}) {                        // a row wider than a block's share
        cases.push_back(concat_case(rows, widths));
        cases.push_back(split_case(rows, widths));
    }
    for (const auto& [rows, c] :
         std::vector<std::pair<std::int64_t, int>>{{1, 1}, {7, 8}, {31, 5}, {4, 12}, {12, 640}}) {
        cases.push_back(gather_case(rows, c));
    }
    constexpr LocalResponseNorm kDefault{}, kStrong{5, 2.0f, 0.75f, 2.0f}, kEven{4, 1.0f, 0.5f, 1.0f},
        kOne{1, 1.0f, 1.0f, 0.5f}, kWide{11, 3.0f, 0.75f, 1.0f};
    cases.push_back(local_response_norm_case(1, 1, kStrong));
    cases.push_back(local_response_norm_case(3, 5, kDefault));
    cases.push_back(local_response_norm_case(7, 17, kStrong));
    cases.push_back(local_response_norm_case(2, 16, kEven));
    cases.push_back(local_response_norm_case(4, 3, kEven));  // fewer channels than a window
    cases.push_back(local_response_norm_case(4, 9, kOne));
    cases.push_back(local_response_norm_case(130, 24, kStrong));  // several blocks
    cases.push_back(local_response_norm_case(3, 64, kWide));
    cases.push_back(local_response_norm_case(2, 1030, kStrong));  // rows wider than a block's tile
    cases.push_back(local_response_norm_case(2, 1040, kEven));    // the same in whole pieces
    return cases;
}

}  // namespace cutis::testing
