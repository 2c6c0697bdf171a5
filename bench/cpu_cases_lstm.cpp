#include <fmt/format.h>

#include <memory>

#include "bench/cpu_cases.h"
#include "kernels/lstm.h"
#ifdef CUTIS_WITH_ONEDNN
#include "kernels/vendor/onednn.h"
#endif

namespace cutis::bench {
namespace {

CpuPair lstm(const LstmShape& s, bool backward) {
    const std::int64_t steps = std::int64_t{s.n} * s.t, values = steps * s.h;
    const Array x = noise(steps * s.c), w_ih = noise(std::int64_t{4} * s.h * s.c),
                w_hh = noise(std::int64_t{4} * s.h * s.h), bias = noise(4 * s.h), y = noise(values),
                gates = noise(4 * values), cells = noise(values), c_n = noise(std::int64_t{s.n} * s.h),
                dy = noise(values), dx = noise(steps * s.c), dw_ih = noise(std::int64_t{4} * s.h * s.c),
                dw_hh = noise(std::int64_t{4} * s.h * s.h), db = noise(4 * s.h);
    for (const Array& weights : {w_ih, w_hh}) {
        for (std::int64_t i = 0; i < weights->elements(); ++i) {
            weights->data()[i] *= 0.05f;
        }
    }
    const LstmWeights weights{w_ih->data(), w_hh->data(), bias->data(), bias->data()};
    const LstmSaved saved{gates->data(), cells->data()};
    const double flops = static_cast<double>(steps) * (8.0 * s.h * (s.c + s.h) + 30.0 * s.h);
    const double bytes = 4.0 * static_cast<double>(steps * s.c + 6 * values + std::int64_t{4} * s.h * (s.c + s.h));
    CpuPair pair{backward ? 2 * bytes : bytes, backward ? 2 * flops : flops, {}, {}};
    const LstmGradients gradients{.dx = dx->data(), .dw_ih = dw_ih->data(), .dw_hh = dw_hh->data(), .db = db->data()};
    cpu::lstm_forward(y->data(), saved, x->data(), weights, {}, s);
    if (backward) {
        pair.ours = [=] {
            cpu::lstm_backward(gradients, dy->data(), nullptr, x->data(), y->data(), saved, weights, {}, s);
        };
    } else {
        pair.ours = [=] { cpu::lstm_forward(y->data(), saved, x->data(), weights, {}, s); };
    }
#ifdef CUTIS_WITH_ONEDNN
    const auto workspace = std::make_shared<std::vector<char>>(onednn::lstm_workspace_bytes(s));
    onednn::vendor_lstm_forward(y->data(), c_n->data(), workspace->data(), x->data(), weights, {}, s);
    if (backward) {
        pair.vendor = [=] {
            onednn::vendor_lstm_backward(gradients, dy->data(), nullptr, x->data(), y->data(), c_n->data(),
                                         workspace->data(), weights, {}, s);
        };
    } else {
        pair.vendor = [=] {
            onednn::vendor_lstm_forward(y->data(), c_n->data(), workspace->data(), x->data(), weights, {}, s);
        };
    }
#endif
    for (const Array& array : {x, w_ih, w_hh, bias, y, gates, cells, c_n, dy, dx, dw_ih, dw_hh, db}) {
        pair.keep(array);
    }
    return pair;
}

}  // namespace

std::vector<CpuCase> lstm_cases(const Workload& workload) {
    std::vector<CpuCase> cases;
    const bool whole = workload.width >= 1.0f;
    const int t = whole ? 49 : 4, c = whole ? 1280 : 24;
    for (const int h : whole ? std::vector<int>{64, 128, 256, 512, 1024} : std::vector<int>{8}) {
        const LstmShape s{workload.batch, t, c, h};
        const std::string shape = fmt::format("t{}c{}h{}", t, c, h);
        cases.push_back({"lstm_forward", shape, [=] { return lstm(s, false); }});
        cases.push_back({"lstm_backward", shape, [=] { return lstm(s, true); }});
    }
    return cases;
}

}  // namespace cutis::bench
