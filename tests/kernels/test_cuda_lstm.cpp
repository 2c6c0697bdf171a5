#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "kernels/lstm.h"
#include "kernels/philox.h"
#include "tests/support/device_array.h"
#include "tests/support/error_of.h"

// The forms of the LSTM on a GPU against each other: resident in one block, in a cluster of blocks, and step by step.
// test_cuda_ops.cpp holds the form that is chosen by itself to the definition.

namespace cutis::testing {
namespace {

using cuda::LstmForm;

std::vector<float> random_values(std::int64_t n, float range, std::uint32_t seed) {
    PhiloxStream words(seed, RandomPurpose::test);
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) {
        value = words.uniform(-range, range);
    }
    return values;
}

struct Wanted {
    bool dx = true, dw_ih = true, dw_hh = true, db = true, dh0 = true, dc0 = true;
};

// One LSTM with random inputs in device memory, and all that comes out of it.
template <class T>
class LstmRun {
  public:
    explicit LstmRun(const LstmShape& s)
        : s_(s),
          x_(random_values(rows() * s.c, 2.0f, 1)),
          w_ih_(random_values(std::int64_t{4} * s.h * s.c, 0.5f, 2)),
          w_hh_(random_values(std::int64_t{4} * s.h * s.h, s.h > 32 ? 0.15f : 0.5f, 3)),
          h0_(random_values(states(), 1.0f, 4)),
          dy_(random_values(rows() * s.h, 2.0f, 5)),
          b_ih_(random_values(std::int64_t{4} * s.h, 1.0f, 6)),
          b_hh_(random_values(std::int64_t{4} * s.h, 1.0f, 7)),
          c0_(random_values(states(), 1.0f, 8)),
          dc_n_(random_values(states(), 1.0f, 9)),
          zeros_(std::vector<float>(static_cast<std::size_t>(std::max(states(), std::int64_t{4} * s.h)), 0.0f)),
          zero_state_(std::vector<float>(static_cast<std::size_t>(states()), 0.0f)),
          y_(rows() * s.h),
          gates_(rows() * 4 * s.h),
          dx_(rows() * s.c),
          dh0_(states()),
          cells_(rows() * s.h),
          dw_ih_(std::int64_t{4} * s.h * s.c),
          dw_hh_(std::int64_t{4} * s.h * s.h),
          db_(std::int64_t{4} * s.h),
          dc0_(states()) {}

    void forward(LstmForm form, Stream stream = {}) {
        cuda::lstm_forward<T>(y_.data(), saved(), x_.data(), weights(), state(), s_, {.form = form}, stream);
    }
    void backward(LstmForm form, Stream stream = {}, const Wanted& wanted = {}) {
        const LstmGradientsT<T> gradients{
            wanted.dx ? dx_.data() : nullptr,       wanted.dw_ih ? dw_ih_.data() : nullptr,
            wanted.dw_hh ? dw_hh_.data() : nullptr, wanted.db ? db_.data() : nullptr,
            wanted.dh0 ? dh0_.data() : nullptr,     wanted.dc0 ? dc0_.data() : nullptr};
        cuda::lstm_backward<T>(gradients, dy_.data(), with_dc_n ? dc_n_.data() : nullptr, x_.data(), y_.data(), saved(),
                               weights(), state(), s_, {.form = form}, stream);
    }

    struct Result {
        const char* name;
        std::vector<float> values;
    };
    std::vector<Result> results() const {
        EXPECT_TRUE(y_.intact() && gates_.intact() && cells_.intact() && dx_.intact() && dw_ih_.intact() &&
                    dw_hh_.intact() && db_.intact() && dh0_.intact() && dc0_.intact());
        return {{"y", y_.values()},   {"gates", gates_.values()}, {"cells", cells_.values()},
                {"dx", dx_.values()}, {"dw_ih", dw_ih_.values()}, {"dw_hh", dw_hh_.values()},
                {"db", db_.values()}, {"dh0", dh0_.values()},     {"dc0", dc0_.values()}};
    }

    enum class Start { given, zeros, absent } start = Start::given;
    enum class Bias { given, zeros, absent } bias = Bias::given;
    bool with_dc_n = true;

  private:
    std::int64_t rows() const { return std::int64_t{s_.n} * s_.t; }
    std::int64_t states() const { return std::int64_t{s_.n} * s_.h; }
    LstmSavedT<T> saved() const { return {gates_.data(), cells_.data()}; }
    LstmWeightsT<T> weights() const {
        const float* const no_bias = bias == Bias::zeros ? zeros_.data() : nullptr;
        return {w_ih_.data(), w_hh_.data(), bias == Bias::given ? b_ih_.data() : no_bias,
                bias == Bias::given ? b_hh_.data() : no_bias};
    }
    LstmStateT<T> state() const {
        return start == Start::given   ? LstmStateT<T>{h0_.data(), c0_.data()}
               : start == Start::zeros ? LstmStateT<T>{zero_state_.data(), zeros_.data()}
                                       : LstmStateT<T>{};
    }

    LstmShape s_;
    DeviceArray<T> x_, w_ih_, w_hh_, h0_, dy_;
    DeviceArray<float> b_ih_, b_hh_, c0_, dc_n_, zeros_;
    DeviceArray<T> zero_state_, y_, gates_, dx_, dh0_;
    DeviceArray<float> cells_, dw_ih_, dw_hh_, db_, dc0_;
};

template <class T>
auto run(const LstmShape& s, LstmForm form) {
    LstmRun<T> lstm(s);
    lstm.forward(form);
    lstm.backward(form);
    return lstm.results();
}

// Sums of other orders in fp32; in bf16 beside it roundings that a last bit of a sum tips over.
template <class T>
void expect_forms_agree(const LstmShape& s) {
    SCOPED_TRACE(::testing::Message() << (sizeof(T) == 2 ? "bf16" : "fp32") << " n" << s.n << " t" << s.t << " c" << s.c
                                      << " h" << s.h);
    ASSERT_TRUE(cuda::lstm_can_be_resident<T>(s.h));
    const auto resident = run<T>(s, LstmForm::resident), steps = run<T>(s, LstmForm::steps);
    for (std::size_t i = 0; i < steps.size(); ++i) {
        float largest = 1.0f;
        for (const float value : steps[i].values) {
            largest = std::max(largest, std::abs(value));
        }
        const float allowed = largest * (sizeof(T) == 2 ? 0x1p-7f : 0x1p-17f);
        for (std::size_t j = 0; j < steps[i].values.size(); ++j) {
            ASSERT_NEAR(resident[i].values[j], steps[i].values[j], allowed) << steps[i].name << "[" << j << "]";
        }
    }
}

template <class T>
void expect_same_bits(const LstmRun<T>& a, const LstmRun<T>& b) {
    const auto left = a.results(), right = b.results();
    for (std::size_t i = 0; i < left.size(); ++i) {
        EXPECT_EQ(std::memcmp(left[i].values.data(), right[i].values.data(), left[i].values.size() * sizeof(float)), 0)
            << left[i].name;
    }
}

// More steps than the rings of shared memory have stages; batches of less, as much and more than a block's samples.
TEST(CudaLstm, ResidentInOneBlockIsStepByStep) {
    for (const LstmShape& s : {LstmShape{1, 1, 3, 8}, LstmShape{3, 9, 5, 32}, LstmShape{8, 5, 4, 16},
                               LstmShape{17, 6, 8, 56}, LstmShape{5, 2, 8, 64}}) {
        expect_forms_agree<float>(s);
        expect_forms_agree<BFloat16>(s);
    }
    expect_forms_agree<float>({4, 3, 2, 12});
    expect_forms_agree<BFloat16>({9, 4, 5, 104});
    expect_forms_agree<BFloat16>({1, 6, 8, 128});
}

TEST(CudaLstm, ResidentInAClusterIsStepByStep) {
    if (!cuda::lstm_can_be_resident<float>(128)) {
        GTEST_SKIP() << "this device has no clusters of blocks";
    }
    expect_forms_agree<float>({9, 5, 4, 128});
    expect_forms_agree<float>({1, 4, 4, 68});
    expect_forms_agree<float>({2, 1, 4, 96});
    expect_forms_agree<BFloat16>({9, 5, 8, 256});
    expect_forms_agree<BFloat16>({1, 4, 8, 136});
    expect_forms_agree<BFloat16>({2, 1, 8, 200});
}

TEST(CudaLstm, IsResidentWhereWeightsFit) {
    for (const int h : {8, 16, 120, 128}) {
        EXPECT_TRUE(cuda::lstm_can_be_resident<BFloat16>(h)) << h;
    }
    for (const int h : {4, 36, 64}) {
        EXPECT_TRUE(cuda::lstm_can_be_resident<float>(h)) << h;
    }
    for (const int h : {-8, 0, 1, 12, 100, 264}) {
        EXPECT_FALSE(cuda::lstm_can_be_resident<BFloat16>(h)) << h;
    }
    for (const int h : {0, 2, 62, 132, 256}) {
        EXPECT_FALSE(cuda::lstm_can_be_resident<float>(h)) << h;
    }
    LstmRun<float> lstm({2, 2, 3, 7});
    EXPECT_EQ(error_of([&] { lstm.forward(LstmForm::resident); }),
              "lstm: recurrent weights of this hidden size do not fit on chip; ask for LstmForm::automatic");
    EXPECT_EQ(error_of([] { run<float>({2, 0, 3, 7}, LstmForm::steps); }), "lstm: n, t, c and h must be at least 1");
}

#ifdef CUTIS_WITH_SIMT
// Without clusters a hidden size that one block cannot hold goes step by step; simt refuses a cluster then.
TEST(CudaLstm, TakesNoClusterWhereTheDeviceHasNone) {
    setenv("SIMT_CAPABILITY", "80", 1);
    EXPECT_TRUE(cuda::lstm_can_be_resident<BFloat16>(128));
    EXPECT_TRUE(cuda::lstm_can_be_resident<float>(64));
    EXPECT_FALSE(cuda::lstm_can_be_resident<BFloat16>(256));
    EXPECT_FALSE(cuda::lstm_can_be_resident<BFloat16>(136));
    EXPECT_FALSE(cuda::lstm_can_be_resident<float>(128));
    const LstmShape s{3, 2, 8, 136};
    const auto automatic = run<BFloat16>(s, LstmForm::automatic), steps = run<BFloat16>(s, LstmForm::steps);
    EXPECT_NE(error_of([&] { run<BFloat16>(s, LstmForm::resident); }), "");
    unsetenv("SIMT_CAPABILITY");
    for (std::size_t i = 0; i < steps.size(); ++i) {
        EXPECT_EQ(automatic[i].values, steps[i].values) << steps[i].name;
    }
}
#endif

// Each gradient alone has the bits that it has among all.
TEST(CudaLstm, GradientsAreMadeOnRequest) {
    for (const LstmForm form : {LstmForm::resident, LstmForm::steps}) {
        LstmRun<BFloat16> all({3, 3, 4, 16});
        all.forward(form);
        all.backward(form);
        LstmRun<BFloat16> single({3, 3, 4, 16});
        single.forward(form);
        constexpr bool Wanted::*kGradients[] = {&Wanted::dx, &Wanted::dw_ih, &Wanted::dw_hh,
                                                &Wanted::db, &Wanted::dh0,   &Wanted::dc0};
        for (const auto gradient : kGradients) {
            Wanted wanted{false, false, false, false, false, false};
            wanted.*gradient = true;
            single.backward(form, {}, wanted);
        }
        expect_same_bits(all, single);
    }
}

// A state, biases or a final gradient that are not there are zeros.
TEST(CudaLstm, WhatIsAbsentIsZero) {
    using Run = LstmRun<BFloat16>;
    for (const LstmForm form : {LstmForm::resident, LstmForm::steps}) {
        const auto make = [&](Run::Start start, Run::Bias bias) {
            auto lstm = std::make_unique<Run>(LstmShape{9, 3, 4, 16});
            lstm->start = start;
            lstm->bias = bias;
            lstm->forward(form);
            lstm->backward(form);
            return lstm;
        };
        expect_same_bits(*make(Run::Start::zeros, Run::Bias::given), *make(Run::Start::absent, Run::Bias::given));
        expect_same_bits(*make(Run::Start::given, Run::Bias::zeros), *make(Run::Start::given, Run::Bias::absent));
    }
}

// No form reads memory on the host, synchronises or allocates outside the stream's pool.
TEST(CudaLstm, CanBeCapturedInAGraph) {
    for (const LstmForm form : {LstmForm::resident, LstmForm::steps}) {
        LstmRun<BFloat16> direct({9, 3, 4, 32}), replayed({9, 3, 4, 32});
        direct.forward(form);
        direct.backward(form);
        cudaStream_t stream = nullptr;
        cuda::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
        cuda::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
        replayed.forward(form, {stream});
        replayed.backward(form, {stream});
        cudaGraph_t graph = nullptr;
        cudaGraphExec_t executable = nullptr;
        cuda::check(cudaStreamEndCapture(stream, &graph), "capture");
        cuda::check(cudaGraphInstantiate(&executable, graph, 0), "graph");
        for (int launch = 0; launch < 2; ++launch) {
            cuda::check(cudaGraphLaunch(executable, stream), "graph");
            cuda::check(cudaStreamSynchronize(stream), "graph");
            expect_same_bits(direct, replayed);
        }
        cuda::check(cudaGraphExecDestroy(executable), "graph");
        cuda::check(cudaGraphDestroy(graph), "graph");
        cuda::check(cudaStreamDestroy(stream), "stream");
    }
}

}  // namespace
}  // namespace cutis::testing
