#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/ops.h"
#include "layers/parts.h"

namespace cutis {

/// Long short-term memory of several layers, one or both directions, sequences of equal or of different lengths; names,
/// gate order, initial weights and results of torch.nn.LSTM with batch_first.
class Lstm {
  public:
    struct Config {
        int c_in = 0, hidden = 0;
        int layers = 1;
        bool bidirectional = false;
        bool bias = true;
        float dropout = 0.0f;  ///< on every layer's output but the last's, in training
    };

    /// States of each layer and direction, forward before reverse: layer 0, layer 0 reverse, layer 1, ..; n x hidden
    /// each.
    struct State {
        std::vector<Variable> h;  ///< of the input's type
        std::vector<Variable> c;  ///< fp32
    };
    struct Output {
        Variable y;  ///< n x t x (hidden, or 2 hidden: forward, reverse); zeros behind a sequence's end
        State last;  ///< behind each sequence's last step; of reverse directions behind its first
    };

    Config config;
    std::vector<LstmParameters> parameters;  ///< in the order of State

    explicit Lstm(const Config& config);

    int directions() const { return config.bidirectional ? 2 : 1; }
    /// Uniform within 1 / sqrt(hidden), by name.
    void init(std::uint64_t seed, const std::string& prefix);
    /// Names: <prefix>weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, the same with _reverse, l1, ..
    void visit(const std::string& prefix, Parts& parts) const;

    /// @param x        n x t x c_in
    /// @param lengths  of each of the n sequences, 1 to t; empty: all t. What x holds behind a sequence's end has no
    ///                 influence. Where they differ, the step cannot be recorded as a graph.
    /// @param start    states before the first step; without any: zeros
    /// @param dropouts     of the whole model, and the number of the first of them that belongs to this (layers - 1)
    Output forward(const Variable& x, const ForwardContext& context, std::span<const int> lengths = {},
                   const State& start = {}, std::uint64_t first_dropout = 0, std::uint64_t dropouts = 0);

  private:
    struct Sequences;
    struct Direction {
        Variable y, h, c;
    };

    Direction run(const Variable& x, const LstmParameters& weights, const Sequences& sequences, const Variable& h0,
                  const Variable& c0);

    std::map<std::pair<int, int>, RowMap> turned_, last_;  ///< of n sequences of t steps: graphs read them
};

}  // namespace cutis
