#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "kernels/conv.h"
#include "kernels/cublaslt.h"
#include "kernels/linear.h"
#include "kernels/philox.h"
#include "kernels/pointwise.h"
#include "tests/support/device_array.h"

// Layers that are matrix products, on either path: what test_cuda_ops.cpp's comparison of values does not show. Which
// path is taken, tf32 where it was asked for and nowhere else, batches of nothing, more row tiles than one join takes,
// and capture in a graph.

namespace cutis::testing {
namespace {

using cuda::MatrixPath;

constexpr MatrixPath kPaths[] = {MatrixPath::cublaslt, MatrixPath::own};
const char* name_of(MatrixPath path) {
    return path == MatrixPath::cublaslt ? "cublaslt" : "own";
}

class CudaMatrixPaths : public ::testing::Test {
  protected:
    ~CudaMatrixPaths() override { cuda::set_matrix_path(before_); }

    // body() once by the library, where it is installed, and once by our own products.
    static void on_both_paths(const std::function<void()>& body) {
        for (const MatrixPath path : kPaths) {
            if (path == MatrixPath::cublaslt && !cuda::cublaslt_found()) {
                continue;
            }
            SCOPED_TRACE(name_of(path));
            cuda::set_matrix_path(path);
            body();
        }
    }

  private:
    MatrixPath before_ = cuda::matrix_path();
};

TEST_F(CudaMatrixPaths, AProductAloneGoesToTheLibraryWhereItIsFound) {
    cuda::set_matrix_path(MatrixPath::automatic);
    EXPECT_EQ(cuda::by_cublaslt(false), cuda::cublaslt_found());
    EXPECT_FALSE(cuda::by_cublaslt(true));
    cuda::set_matrix_path(MatrixPath::cublaslt);
    EXPECT_TRUE(cuda::by_cublaslt(false));
    EXPECT_TRUE(cuda::by_cublaslt(true));
    cuda::set_matrix_path(MatrixPath::own);
    EXPECT_FALSE(cuda::by_cublaslt(false));
    EXPECT_FALSE(cuda::by_cublaslt(true));
}

// ---- precision. One factor is 1 + 2^-20, which tf32 rounds to 1; the other chooses it once for each result.

constexpr float kFine = 1.0f + 0x1p-20f;

std::vector<float> identity(int size) {
    std::vector<float> values(static_cast<std::size_t>(size) * static_cast<std::size_t>(size), 0.0f);
    for (std::size_t i = 0; i < values.size(); i += static_cast<std::size_t>(size) + 1) {
        values[i] = 1.0f;
    }
    return values;
}

// All of `actual`, or its values that are not zero, are what `precision` leaves of kFine.
void expect_precision(const std::vector<float>& actual, MatrixPrecision precision, const char* what) {
    const float expected = precision == MatrixPrecision::fp32 ? kFine : 1.0f;
    int found = 0;
    for (const float value : actual) {
        if (value != 0.0f) {
            ASSERT_EQ(value, expected) << what;
            ++found;
        }
    }
    EXPECT_GT(found, 0) << what;
}

// call(precision) gives the arrays that it wrote.
using Written = std::vector<std::pair<const char*, std::vector<float>>>;
void expect_precisions(const std::function<Written(MatrixPrecision)>& call) {
    for (const MatrixPrecision precision : {MatrixPrecision::fp32, MatrixPrecision::tf32}) {
        SCOPED_TRACE(precision == MatrixPrecision::fp32 ? "fp32" : "tf32");
        for (const auto& [what, values] : call(precision)) {
            expect_precision(values, precision, what);
        }
    }
}

constexpr int kSize = 24;
const std::vector<float> kFineMatrix(kSize* kSize, kFine);

TEST_F(CudaMatrixPaths, Fp32IsNotTf32InALinearLayer) {
    on_both_paths([] {
        expect_precisions([](MatrixPrecision precision) -> Written {
            const DeviceArray<float> one(identity(kSize)), fine(kFineMatrix);
            const DeviceArray<float> y(kSize * kSize), dx(kSize * kSize), dw(kSize * kSize);
            cuda::linear_forward<float>(y.data(), fine.data(), one.data(), nullptr, kSize, kSize, kSize, precision, {});
            cuda::linear_backward<float>(dx.data(), dw.data(), nullptr, fine.data(), one.data(), one.data(), kSize,
                                         kSize, kSize, precision, {});
            return {{"y", y.values()}, {"dx", dx.values()}, {"dw", dw.values()}};
        });
    });
}

// Plain, and with batchnorm on every side: scale 1 and shift 0 leave x as it is, a = 1 and b = d = 0 the gradient.
TEST_F(CudaMatrixPaths, Fp32IsNotTf32InAPointwiseConvolution) {
    for (const bool joined : {false, true}) {
        SCOPED_TRACE(joined ? "joined" : "plain");
        on_both_paths([joined] {
            expect_precisions([joined](MatrixPrecision precision) -> Written {
                const DeviceArray<float> one(identity(kSize)), fine(kFineMatrix);
                const DeviceArray<float> y(kSize * kSize), dx(kSize * kSize), dw(kSize * kSize);
                const DeviceArray<float> ones(std::vector<float>(kSize, 1.0f)), zeros(std::vector<float>(kSize, 0.0f)),
                    mean(kSize), var(kSize), dgamma(kSize), dbeta(kSize);
                const Normalize as_it_is{ones.data(), zeros.data(), Activation::identity};
                const GradientOnLoad same{fine.data(), ones.data(), zeros.data(), zeros.data()};
                const BatchStatistics statistics{mean.data(), var.data()};
                const NormalizeBackward before{zeros.data(), ones.data(), dgamma.data(), dbeta.data()};
                cuda::pointwise_forward<float>(y.data(), fine.data(), one.data(), joined ? &as_it_is : nullptr,
                                               joined ? &statistics : nullptr, kSize, kSize, kSize, precision, {});
                cuda::pointwise_backward<float>(dx.data(), dw.data(), fine.data(), joined ? &same : nullptr, one.data(),
                                                joined ? &as_it_is : nullptr, joined ? &before : nullptr, nullptr,
                                                one.data(), kSize, kSize, kSize, precision, {});
                return {{"y", y.values()}, {"dx", dx.values()}, {"dw", dw.values()}};
            });
        });
    }
}

// The middle tap of each filter hands one channel on.
TEST_F(CudaMatrixPaths, Fp32IsNotTf32InAConvolution) {
    for (const int channels : {3, 8}) {  // chunks put together value by value, and whole ones
        SCOPED_TRACE(channels);
        const ConvShape s{1, 4, 4, channels, channels, 3, 3, 1, 1};
        std::vector<float> taps(static_cast<std::size_t>(channels * 9 * channels), 0.0f);
        for (int k = 0; k < channels; ++k) {
            taps[static_cast<std::size_t>((k * 9 + 4) * channels + k)] = 1.0f;
        }
        std::vector<float> one_pixel(static_cast<std::size_t>(16 * channels), 0.0f);
        std::fill_n(one_pixel.begin() + 5 * channels, channels, 1.0f);
        expect_precisions([&](MatrixPrecision precision) -> Written {
            const DeviceArray<float> w(taps), x(one_pixel),
                fine(std::vector<float>(static_cast<std::size_t>(16 * channels), kFine));
            const DeviceArray<float> y(16 * channels), dx(16 * channels), dw(channels * 9 * channels);
            cuda::conv_forward<float>(y.data(), fine.data(), w.data(), nullptr, s, nullptr, precision, {});
            cuda::conv_backward<float>(dx.data(), dw.data(), nullptr, fine.data(), nullptr, x.data(), w.data(), s,
                                       precision, {});
            return {{"y", y.values()}, {"dx", dx.values()}, {"dw", dw.values()}};
        });
    }
}

// ---- sizes

TEST_F(CudaMatrixPaths, NoRowsGiveNothingAndZeroGradients) {
    constexpr int kC = 5, kK = 8;
    on_both_paths([] {
        const DeviceArray<float> none(0), w(std::vector<float>(kC * kK, 1.0f)), ones(std::vector<float>(kK, 1.0f));
        const DeviceArray<float> dw(kC * kK), dw_joined(kC * kK), db(kK), dgamma(kC), dbeta(kC);
        const Normalize on_load{ones.data(), ones.data(), Activation::relu6};
        const GradientOnLoad gradient{none.data(), ones.data(), ones.data(), ones.data()};
        const NormalizeBackward before{ones.data(), ones.data(), dgamma.data(), dbeta.data()};
        cuda::pointwise_forward<float>(none.data(), none.data(), w.data(), &on_load, nullptr, 0, kC, kK, {}, {});
        cuda::pointwise_backward<float>(none.data(), dw_joined.data(), none.data(), &gradient, none.data(), &on_load,
                                        &before, nullptr, w.data(), 0, kC, kK, {}, {});
        cuda::linear_forward<float>(none.data(), none.data(), w.data(), ones.data(), 0, kC, kK, {}, {});
        cuda::linear_backward<float>(none.data(), dw.data(), db.data(), none.data(), none.data(), w.data(), 0, kC, kK,
                                     {}, {});
        for (const DeviceArray<float>* const gradients : {&dw, &dw_joined, &db, &dgamma, &dbeta}) {
            EXPECT_EQ(gradients->values(), std::vector<float>(gradients->size(), 0.0f));
        }
        EXPECT_TRUE(none.intact());
        const BatchStatistics statistics{dgamma.data(), dbeta.data()};
        EXPECT_ANY_THROW(cuda::pointwise_forward<float>(none.data(), none.data(), w.data(), nullptr, &statistics, 0, kC,
                                                        kK, {}, {}));
    });
}

// More tiles of rows than the last stage reads: neighbours are joined before.
TEST_F(CudaMatrixPaths, SumsOverMoreRowTilesThanOneJoinTakes) {
    constexpr std::int64_t kRows = 513 * 128 + 77;
    std::vector<float> values(kRows);
    PhiloxStream words(3, RandomPurpose::test);
    double sum = 0.0, squares = 0.0, products = 0.0;
    for (float& value : values) {
        value = 40.0f + words.uniform(-1.0f, 1.0f);
        sum += static_cast<double>(value);
    }
    const double mean = sum / kRows;
    for (const float value : values) {
        squares += (static_cast<double>(value) - mean) * (static_cast<double>(value) - mean);
        products += 2.0 * (static_cast<double>(value) - 40.0);
    }
    on_both_paths([&] {
        const DeviceArray<float> x(values), w(std::vector<float>{1.0f}), two(std::vector<float>{2.0f}),
            zero(std::vector<float>{0.0f}), around(std::vector<float>{40.0f}), one(std::vector<float>{1.0f});
        const DeviceArray<float> y(kRows), mean_of(1), var_of(1), dx(kRows), dgamma(1), dbeta(1);
        const BatchStatistics statistics{mean_of.data(), var_of.data()};
        cuda::pointwise_forward<float>(y.data(), x.data(), w.data(), nullptr, &statistics, kRows, 1, 1, {}, {});
        EXPECT_NEAR(static_cast<double>(mean_of.values()[0]), mean, 1e-5);
        EXPECT_NEAR(static_cast<double>(var_of.values()[0]), squares / kRows, 1e-5);

        const Normalize on_load{one.data(), zero.data(), Activation::identity};
        const NormalizeBackward before{around.data(), one.data(), dgamma.data(), dbeta.data()};
        const DeviceArray<float> g(std::vector<float>(kRows, 1.0f));
        cuda::pointwise_backward<float>(dx.data(), nullptr, g.data(), nullptr, x.data(), &on_load, &before, nullptr,
                                        two.data(), kRows, 1, 1, {}, {});
        EXPECT_EQ(dbeta.values()[0], 2.0f * kRows);
        EXPECT_NEAR(static_cast<double>(dgamma.values()[0]), products, 2e-3 * std::sqrt(static_cast<double>(kRows)));
    });
}

// ---- capture: nothing waits, allocates outside the pool or reads on the host.

TEST_F(CudaMatrixPaths, CanBeCapturedInAGraph) {
    constexpr int kRows = 40, kC = 16, kK = 24;
    on_both_paths([] {
        const auto values = [](int n, std::uint32_t seed) {
            PhiloxStream words(seed, RandomPurpose::test);
            std::vector<float> drawn(static_cast<std::size_t>(n));
            for (float& value : drawn) {
                value = words.uniform(-1.0f, 1.0f);
            }
            return drawn;
        };
        const DeviceArray<BFloat16> x(values(kRows * kC, 1)), w(values(kK * kC, 2)), g(values(kRows * kK, 3)),
            add(values(kRows * kC, 4));
        const DeviceArray<float> channels(values(kK, 5));
        DeviceArray<BFloat16> y[] = {DeviceArray<BFloat16>(kRows * kK), DeviceArray<BFloat16>(kRows * kK)};
        DeviceArray<BFloat16> dx[] = {DeviceArray<BFloat16>(kRows * kC), DeviceArray<BFloat16>(kRows * kC)};
        DeviceArray<float> dw[] = {DeviceArray<float>(kK * kC), DeviceArray<float>(kK * kC)};
        DeviceArray<float> mean[] = {DeviceArray<float>(kK), DeviceArray<float>(kK)},
                           var[] = {DeviceArray<float>(kK), DeviceArray<float>(kK)};
        const auto step = [&](std::size_t i, Stream stream) {
            const Normalize on_load{channels.data(), channels.data(), Activation::relu6};
            const GradientOnLoadT<BFloat16> gradient{y[i].data(), channels.data(), channels.data(), channels.data()};
            const BatchStatistics statistics{mean[i].data(), var[i].data()};
            cuda::pointwise_forward<BFloat16>(y[i].data(), x.data(), w.data(), &on_load, &statistics, kRows, kC, kK, {},
                                              stream);
            cuda::pointwise_backward<BFloat16>(dx[i].data(), dw[i].data(), g.data(), &gradient, x.data(), nullptr,
                                               nullptr, add.data(), w.data(), kRows, kC, kK, {}, stream);
            cuda::linear_forward<BFloat16>(y[i].data(), x.data(), w.data(), channels.data(), kRows, kC, kK, {}, stream);
        };
        step(0, {});
        cudaStream_t stream = nullptr;
        cuda::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
        cuda::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
        step(1, {stream});
        cudaGraph_t graph = nullptr;
        cudaGraphExec_t executable = nullptr;
        cuda::check(cudaStreamEndCapture(stream, &graph), "capture");
        cuda::check(cudaGraphInstantiate(&executable, graph, 0), "graph");
        cuda::check(cudaGraphLaunch(executable, stream), "graph");
        cuda::check(cudaStreamSynchronize(stream), "graph");
        EXPECT_EQ(y[0].values(), y[1].values());
        EXPECT_EQ(dx[0].values(), dx[1].values());
        EXPECT_EQ(dw[0].values(), dw[1].values());
        EXPECT_EQ(mean[0].values(), mean[1].values());
        EXPECT_EQ(var[0].values(), var[1].values());
        cuda::check(cudaGraphExecDestroy(executable), "graph");
        cuda::check(cudaGraphDestroy(graph), "graph");
        cuda::check(cudaStreamDestroy(stream), "stream");
    });
}

}  // namespace
}  // namespace cutis::testing
