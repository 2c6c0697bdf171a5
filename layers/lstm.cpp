#include "layers/lstm.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "engine/cuda_device.h"
#include "kernels/error.h"

// Sequences of different lengths run in segments between the lengths at which some of them end: in each segment all
// that still run have the same number of steps, and each begins with the states that the one before left.
//
//   lengths 5 2 5 3      segment 0: steps 0 1    segment 1: step 2    segment 2: steps 3 4
//     sample 0           x x                     x                    x x
//     sample 1           x x |
//     sample 2           x x                     x                    x x
//     sample 3           x x                     x |
//
// The rows of x are gathered for a segment, and the segments' rows of y put in their places at the end; both are
// gradients of each other. Reverse directions see the turned sequences.

namespace cutis {

struct Lstm::Sequences {
    int n, t;
    std::vector<int> lengths;

    bool equal() const {
        return std::all_of(lengths.begin(), lengths.end(), [&](int length) { return length == t; });
    }
};

namespace {

std::string suffix_of(std::size_t number, int directions) {
    const std::size_t layer = number / static_cast<std::size_t>(directions);
    return "l" + std::to_string(layer) + (number % static_cast<std::size_t>(directions) == 1 ? "_reverse" : "");
}

std::int32_t row_of(int sample, int step, int steps) {
    return static_cast<std::int32_t>(std::int64_t{sample} * steps + step);
}

}  // namespace

Lstm::Lstm(const Config& chosen) : config(chosen) {
    require(config.c_in >= 1 && config.hidden >= 1 && config.layers >= 1, "lstm: {} inputs, {} hidden, {} layers",
            config.c_in, config.hidden, config.layers);
    require(config.dropout >= 0.0f && config.dropout < 1.0f, "lstm: dropout {} is not in [0, 1)", config.dropout);
    const std::int64_t gates = 4 * std::int64_t{config.hidden};
    for (int layer = 0; layer < config.layers; ++layer) {
        const std::int64_t c_in = layer == 0 ? config.c_in : std::int64_t{directions()} * config.hidden;
        for (int direction = 0; direction < directions(); ++direction) {
            const auto zeros = [](const Shape& shape) { return Variable(Tensor::zeros(shape), true); };
            parameters.push_back({zeros({gates, c_in}), zeros({gates, config.hidden}),
                                  config.bias ? zeros({gates}) : Variable(),
                                  config.bias ? zeros({gates}) : Variable()});
        }
    }
}

void Lstm::init(std::uint64_t seed, const std::string& prefix) {
    const float bound = 1.0f / std::sqrt(static_cast<float>(config.hidden));
    Parts parts;
    visit(prefix, parts);
    for (ParameterRef& parameter : parts.parameters) {
        init_uniform(parameter.variable.value(), parameter.layout, bound, seed, parameter.name);
    }
}

void Lstm::visit(const std::string& prefix, Parts& parts) const {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const std::string suffix = suffix_of(i, directions());
        parts.parameters.push_back({prefix + "weight_ih_" + suffix, parameters[i].w_ih, WeightLayout::same, true});
        parts.parameters.push_back({prefix + "weight_hh_" + suffix, parameters[i].w_hh, WeightLayout::same, true});
        if (config.bias) {
            parts.parameters.push_back({prefix + "bias_ih_" + suffix, parameters[i].b_ih, WeightLayout::same, false});
            parts.parameters.push_back({prefix + "bias_hh_" + suffix, parameters[i].b_hh, WeightLayout::same, false});
        }
    }
}

namespace {

// The steps of each sequence in reverse, what is behind its end left out: its own inverse.
RowMap turned_map(const std::vector<int>& lengths, int t, Device device) {
    std::vector<std::int32_t> rows;
    for (std::size_t sample = 0; sample < lengths.size(); ++sample) {
        for (int step = 0; step < t; ++step) {
            const int length = lengths[sample];
            rows.push_back(step < length ? row_of(static_cast<int>(sample), length - 1 - step, t) : -1);
        }
    }
    return {rows, static_cast<std::int64_t>(rows.size()), device};
}

// The map of n sequences of t steps, made where it is not there yet: a recorded step may copy nothing from the CPU.
template <class Make>
const RowMap& kept(std::map<std::pair<int, int>, RowMap>& maps, int n, int t, Make&& make) {
    const auto found = maps.find({n, t});
    return found != maps.end() ? found->second : maps.emplace(std::pair(n, t), make()).first->second;
}

// Of n sequences of t steps each one's last row.
RowMap last_map(int n, int t, Device device) {
    std::vector<std::int32_t> rows;
    for (int sample = 0; sample < n; ++sample) {
        rows.push_back(row_of(sample, t - 1, t));
    }
    return {rows, std::int64_t{n} * t, device};
}

}  // namespace

Lstm::Direction Lstm::run(const Variable& x, const LstmParameters& weights, const Sequences& sequences,
                          const Variable& h0, const Variable& c0) {
    const Device device = x.value().device();
    const std::int64_t hidden = config.hidden, n = sequences.n;
    if (sequences.equal()) {
        const LstmOutput all = lstm(x, weights, h0, c0);
        const RowMap& map =
            kept(last_, sequences.n, sequences.t, [&] { return last_map(sequences.n, sequences.t, device); });
        return {all.y, gather_rows(all.y, map, {n, hidden}), all.cell};
    }

    std::vector<int> ends(sequences.lengths);
    std::sort(ends.begin(), ends.end());
    ends.erase(std::unique(ends.begin(), ends.end()), ends.end());

    const auto take = [&](const Variable& from, const std::vector<std::int32_t>& rows, std::int64_t of,
                          const Shape& shape) { return gather_rows(from, RowMap(rows, of, device), shape); };
    std::vector<Variable> outputs, hidden_states, cell_states;                        // of the segments
    std::vector<std::int32_t> y_rows(static_cast<std::size_t>(n * sequences.t), -1);  // of y in the segments' rows
    std::vector<std::int32_t> end_rows(static_cast<std::size_t>(n));  // of final states in the segments' states
    std::vector<int> running;
    std::int32_t rows_so_far = 0, states_so_far = 0;
    Variable h = h0, c = c0;
    int begin = 0;
    for (const int end : ends) {
        const int steps = end - begin;
        std::vector<int> now;
        std::vector<std::int32_t> x_rows, state_rows;
        for (int sample = 0; sample < sequences.n; ++sample) {
            if (sequences.lengths[static_cast<std::size_t>(sample)] < end) {
                continue;
            }
            const auto place = static_cast<std::int32_t>(now.size());
            for (int step = 0; step < steps; ++step) {
                const std::int32_t row = row_of(sample, begin + step, sequences.t);
                x_rows.push_back(row);
                y_rows[static_cast<std::size_t>(row)] = rows_so_far + row_of(place, step, steps);
            }
            const auto before = std::find(running.begin(), running.end(), sample);
            state_rows.push_back(running.empty() ? sample : static_cast<std::int32_t>(before - running.begin()));
            end_rows[static_cast<std::size_t>(sample)] = states_so_far + place;
            now.push_back(sample);
        }
        const auto count = static_cast<std::int64_t>(now.size());
        const std::int64_t states_before = running.empty() ? n : static_cast<std::int64_t>(running.size());
        const Variable part = take(x, x_rows, n * sequences.t, {count, steps, x.shape()[2]});
        const auto carried = [&](const Variable& state) {
            return state ? take(state, state_rows, states_before, {count, hidden}) : Variable();
        };
        const LstmOutput all = lstm(part, weights, carried(h), carried(c));
        const RowMap last = last_map(static_cast<int>(count), steps, device);
        h = gather_rows(all.y, last, {count, hidden});
        c = all.cell;
        outputs.push_back(all.y);
        hidden_states.push_back(h);
        cell_states.push_back(c);
        rows_so_far += static_cast<std::int32_t>(count * steps);
        states_so_far += static_cast<std::int32_t>(count);
        running = std::move(now);
        begin = end;
    }
    return {take(concat_rows(outputs), y_rows, rows_so_far, {n, sequences.t, hidden}),
            take(concat_rows(hidden_states), end_rows, states_so_far, {n, hidden}),
            take(concat_rows(cell_states), end_rows, states_so_far, {n, hidden})};
}

Lstm::Output Lstm::forward(const Variable& x, const ForwardContext& context, std::span<const int> lengths,
                           const State& start, std::uint64_t first_dropout, std::uint64_t dropouts) {
    const Shape& xs = x.shape();
    require(xs.rank() == 3 && xs.elements() > 0 && xs[2] == config.c_in, "lstm: an input {}; n x t x {} was expected",
            to_string(xs), config.c_in);
    Sequences sequences{static_cast<int>(xs[0]), static_cast<int>(xs[1]), {lengths.begin(), lengths.end()}};
    if (lengths.empty()) {
        sequences.lengths.assign(static_cast<std::size_t>(sequences.n), sequences.t);
    }
    require(sequences.lengths.size() == static_cast<std::size_t>(sequences.n), "lstm: {} lengths for {} sequences",
            sequences.lengths.size(), sequences.n);
    for (const int length : sequences.lengths) {
        require(length >= 1 && length <= sequences.t, "lstm: a sequence of {} steps; 1 to {} are possible", length,
                sequences.t);
    }
    for (const std::vector<Variable>* states : {&start.h, &start.c}) {
        require(states->empty() || states->size() == parameters.size(), "lstm: {} initial states; {} are wanted",
                states->size(), parameters.size());
    }
    const Device device = x.value().device();
    require(sequences.equal() || !is_recording(device),
            "lstm: sequences of different lengths cannot be recorded as a graph; use --no-graph");
    std::optional<RowMap> own_turn;
    const RowMap* turn = nullptr;
    if (config.bidirectional && sequences.equal()) {
        turn = &kept(turned_, sequences.n, sequences.t,
                     [&] { return turned_map(sequences.lengths, sequences.t, device); });
    } else if (config.bidirectional) {
        turn = &own_turn.emplace(turned_map(sequences.lengths, sequences.t, device));
    }

    Output output{x, {}};
    for (int layer = 0; layer < config.layers; ++layer) {
        std::vector<Variable> of_directions;
        for (int direction = 0; direction < directions(); ++direction) {
            const auto number = static_cast<std::size_t>(layer * directions() + direction);
            const Variable in = direction == 0 ? output.y : gather_rows(output.y, *turn, output.y.shape());
            Direction done = run(in, parameters[number], sequences, start.h.empty() ? Variable() : start.h[number],
                                 start.c.empty() ? Variable() : start.c[number]);
            if (direction == 1) {
                done.y = gather_rows(done.y, *turn, done.y.shape());
            }
            of_directions.push_back(done.y);
            output.last.h.push_back(done.h);
            output.last.c.push_back(done.c);
        }
        output.y = of_directions.size() == 1 ? of_directions.front() : concat_channels(of_directions);
        if (context.training && layer + 1 < config.layers && config.dropout > 0.0f) {
            const std::uint64_t all = std::max<std::uint64_t>(dropouts, static_cast<std::uint64_t>(config.layers - 1));
            output.y = dropout(output.y, config.dropout,
                               context.dropout_key(first_dropout + static_cast<std::uint64_t>(layer), all));
        }
    }
    return output;
}

}  // namespace cutis
