#include <memory>
#include <utility>

#include "engine/on_device.h"
#include "engine/op_support.h"
#include "engine/ops.h"
#include "engine/profiler.h"
#include "engine/trace.h"

namespace cutis {
namespace {

using detail::gradient_for;
using detail::hand_over;
using detail::pointer_or_null;

const Tensor& value_or_none(const Variable& x) {
    static const Tensor none;
    return x ? x.value() : none;
}
Tensor gathered(const Tensor& x, const Tensor& index, const Shape& shape) {
    Tensor y = Tensor::empty(shape, x.dtype(), x.device());
    const int c = static_cast<int>(shape[-1]);
    by_type(y.dtype(), [&]<class T>() {
        on::gather_rows(y.device(), y.data<T>(), x.data<T>(), index.data<std::int32_t>(), c > 0 ? y.elements() / c : 0,
                        c);
    });
    profile_work(0, {&y, &y});
    return y;
}

Tensor on_device(const std::vector<std::int32_t>& values, Device device) {
    return Tensor::from(values, {static_cast<std::int64_t>(values.size())}).to(device);
}

}  // namespace

RowMap::RowMap(const std::vector<std::int32_t>& index_of_rows, std::int64_t rows_of_source, Device device) {
    std::vector<std::int32_t> back(static_cast<std::size_t>(rows_of_source), -1);
    for (std::size_t i = 0; i < index_of_rows.size(); ++i) {
        if (index_of_rows[i] >= 0) {
            require(index_of_rows[i] < rows_of_source, "row map: row {} of {}", index_of_rows[i], rows_of_source);
            std::int32_t& source = back[static_cast<std::size_t>(index_of_rows[i])];
            require(source < 0, "row map: row {} is taken twice", index_of_rows[i]);
            source = static_cast<std::int32_t>(i);
        }
    }
    index = on_device(index_of_rows, device);
    inverse = on_device(back, device);
}

Variable gather_rows(const Variable& x, const RowMap& map, const Shape& shape) {
    const Shape& xs = x.shape();
    require(xs.rank() >= 1 && shape.rank() >= 1 && xs[-1] == shape[-1] &&
                xs.elements() == map.inverse.elements() * xs[-1] &&
                shape.elements() == map.index.elements() * shape[-1],
            "gather rows: a map of {} of {} rows does not make {} of {}", map.index.elements(), map.inverse.elements(),
            to_string(shape), to_string(xs));
    const ProfileRange range("gather rows");
    trace_attributes<RowMap>(map);
    return record("gather rows", gathered(x.value(), map.index, shape), {x},
                  [x, map](const Tensor& dy) { x.accumulate(gathered(dy, map.inverse, x.shape())); });
}

Variable concat_rows(std::span<const Variable> parts) {
    require(!parts.empty(), "concat rows: no parts");
    const Tensor& first = parts.front().value();
    const std::int64_t c = first.size(-1);
    std::int64_t rows = 0;
    for (const Variable& part : parts) {
        const Tensor& value = part.value();
        require(value.size(-1) == c && value.dtype() == first.dtype(), "concat rows: {} and {} have other rows",
                to_string(first.shape()), to_string(value.shape()));
        rows += c > 0 ? value.elements() / c : 0;
    }
    const ProfileRange range("concat rows");
    Tensor y = Tensor::empty({rows, c}, first.dtype(), first.device());
    std::int64_t row = 0;
    for (const Variable& part : parts) {
        const std::int64_t end = row + (c > 0 ? part.value().elements() / c : 0);
        y.rows(row, end).copy_from(part.value().reshape({end - row, c}));
        row = end;
    }
    profile_work(0, {&y, &y});
    const std::vector<Variable> inputs(parts.begin(), parts.end());
    return record("concat rows", y, parts, [inputs, c](const Tensor& dy) {
        std::int64_t begin = 0;
        for (const Variable& input : inputs) {
            const std::int64_t end = begin + (c > 0 ? input.value().elements() / c : 0);
            if (input.requires_grad()) {
                input.accumulate(dy.rows(begin, end).clone().reshape(input.shape()));
            }
            begin = end;
        }
    });
}

LstmOutput lstm(const Variable& x, const LstmParameters& parameters, const Variable& h0, const Variable& c0) {
    const auto& [w_ih, w_hh, b_ih, b_hh] = parameters;
    const Shape& xs = x.shape();
    require(xs.rank() == 3 && xs.elements() > 0, "lstm: the input is {}; n x t x c was expected", to_string(xs));
    require(w_ih.shape().rank() == 2 && w_ih.shape()[1] == xs[2] && w_ih.shape()[0] % 4 == 0,
            "lstm: w_ih {} does not fit an input {}; 4 h x c was expected", to_string(w_ih.shape()), to_string(xs));
    const std::int64_t h = w_ih.shape()[0] / 4;
    require(w_hh.shape() == Shape({4 * h, h}), "lstm: w_hh {} does not fit w_ih {}; 4 h x h was expected",
            to_string(w_hh.shape()), to_string(w_ih.shape()));
    for (const Variable& bias : {b_ih, b_hh}) {
        require(!bias || bias.shape() == Shape{4 * h}, "lstm: a bias {} for 4 x {} gates",
                bias ? to_string(bias.shape()) : "", h);
    }
    for (const Variable& state : {h0, c0}) {
        require(!state || state.shape() == Shape({xs[0], h}), "lstm: an initial state {}; {} x {} was expected",
                state ? to_string(state.shape()) : "", xs[0], h);
    }
    const LstmShape shape{static_cast<int>(xs[0]), static_cast<int>(xs[1]), static_cast<int>(xs[2]),
                          static_cast<int>(h)};
    const ProfileRange range("lstm", w_ih.name());
    const Device device = x.value().device();
    const DType type = x.value().dtype();
    Tensor y = Tensor::empty({xs[0], xs[1], h}, type, device);
    // What backward needs: natively the activated gates and every step's cell state, else what the vendor's library
    // says.
    const bool by_vendor = on::by_vendor(device);
    Tensor gates, cells, workspace, last;
    if (by_vendor) {
        workspace = Tensor::empty({on::lstm_workspace_bytes(device, type, shape)}, DType::u8, device);
        last = Tensor::empty({xs[0], h}, DType::f32, device);
    } else {
        gates = Tensor::empty({xs[0], xs[1], 4 * h}, type, device);
        cells = Tensor::empty({xs[0], xs[1], h}, DType::f32, device);
    }
    const Tensor cast_ih = cast(w_ih.value(), type), cast_hh = cast(w_hh.value(), type);
    const auto weights = [cast_ih, cast_hh, bias_ih = value_or_none(b_ih), bias_hh = value_or_none(b_hh)]<class T>(T*) {
        return LstmWeightsT<T>{cast_ih.data<T>(), cast_hh.data<T>(), pointer_or_null<float>(bias_ih),
                               pointer_or_null<float>(bias_hh)};
    };
    const auto start = [h_start = value_or_none(h0), c_start = value_or_none(c0)]<class T>(T*) {
        return LstmStateT<T>{pointer_or_null<T>(h_start), pointer_or_null<float>(c_start)};
    };
    by_type(type, [&]<class T>() {
        T* const of_type = nullptr;
        if (by_vendor) {
            on::vendor_lstm_forward(device, y.data<T>(), last.data(), workspace.raw(), x.value().data<T>(),
                                    weights(of_type), start(of_type), shape);
            return;
        }
        on::lstm_forward(device, y.data<T>(), LstmSavedT<T>{gates.data<T>(), cells.data()}, x.value().data<T>(),
                         weights(of_type), start(of_type), shape);
    });
    const double flops = 2.0 * static_cast<double>(xs[0] * xs[1]) * static_cast<double>(4 * h * (xs[2] + h));
    profile_work(flops, {&x.value(), &cast_ih, &cast_hh, &gates, &cells, &y});

    // The final cell state is a second output of the same node: its gradient waits here until that of y has come.
    const auto late = std::make_shared<Tensor>();
    const Variable out = record(
        "lstm", y, {x, w_ih, w_hh, b_ih, b_hh, h0, c0},
        [=, b_ih = b_ih, b_hh = b_hh, w_ih = w_ih, w_hh = w_hh, saved_x = Saved(x.value(), "lstm"),
         saved_y = Saved(y, "lstm"), saved_ih = Saved(w_ih.value(), "lstm"),
         saved_hh = Saved(w_hh.value(), "lstm")](const Tensor& dy) mutable {
            saved_ih.get();
            saved_hh.get();
            Tensor dx = gradient_for(x), dw_ih = gradient_for(w_ih), dw_hh = gradient_for(w_hh);
            Tensor dh0 = gradient_for(h0), dc0 = gradient_for(c0), db_ih = gradient_for(b_ih),
                   db_hh = gradient_for(b_hh);
            Tensor db = db_ih ? db_ih : db_hh;
            const Tensor dc_n = std::exchange(*late, {});
            by_type(dy.dtype(), [&]<class T>() {
                T* const of_type = nullptr;
                const LstmGradientsT<T> gradients{pointer_or_null<T>(dx),        pointer_or_null<float>(dw_ih),
                                                  pointer_or_null<float>(dw_hh), pointer_or_null<float>(db),
                                                  pointer_or_null<T>(dh0),       pointer_or_null<float>(dc0)};
                if (by_vendor) {
                    on::vendor_lstm_backward(dy.device(), gradients, dy.data<T>(), pointer_or_null<float>(dc_n),
                                             saved_x.get().data<T>(), std::as_const(saved_y.get()).data<T>(),
                                             std::as_const(last).data(), std::as_const(workspace).raw(),
                                             weights(of_type), start(of_type), shape);
                    return;
                }
                on::lstm_backward(dy.device(), gradients, dy.data<T>(), pointer_or_null<float>(dc_n),
                                  saved_x.get().data<T>(), std::as_const(saved_y.get()).data<T>(),
                                  LstmSavedT<T>{gates.data<T>(), cells.data()}, weights(of_type), start(of_type),
                                  shape);
            });
            profile_work(2 * flops, {&dy, &saved_x.get(), &cast_ih, &cast_hh, &gates, &cells, &dx, &dw_ih, &dw_hh});
            if (db_ih && db_hh) {
                db_hh.copy_from(db_ih);
            }
            hand_over(x, dx);
            hand_over(w_ih, dw_ih);
            hand_over(w_hh, dw_hh);
            hand_over(b_ih, db_ih);
            hand_over(b_hh, db_hh);
            hand_over(h0, dh0);
            hand_over(c0, dc0);
        });
    if (!by_vendor) {
        last = Tensor::empty({xs[0], h}, DType::f32, device);
        const ChannelPart<float> steps[] = {{nullptr, static_cast<int>((xs[1] - 1) * h)},
                                            {last.data(), static_cast<int>(h)}};
        on::split_channels(device, std::span<const ChannelPart<float>>(steps), std::as_const(cells).data(), xs[0]);
    }
    const Variable cell = record("lstm cell state", last, {out}, [out, late](const Tensor& dc) {
        require(!*late, "lstm: the final cell state has two gradients");
        *late = dc;
        out.accumulate(Tensor::zeros(out.shape(), out.value().dtype(), out.value().device()));
    });
    return {out, cell};
}

}  // namespace cutis
