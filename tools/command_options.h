#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "tools/commands.h"
#include "tools/tta.h"

/// What several subcommands share.

namespace cutis {

/// --threads: 0 takes all cores.
void add_threads_option(CLI::App& command, int& threads);
/// Sets the number of kernel threads unless it is 0.
void use_threads(int threads);

/// --device: auto, cpu or cuda.
void add_device_option(CLI::App& command, std::string& device);

/// --lstm-hidden, of models with an LSTM.
void add_lstm_hidden_option(CLI::App& command, int& hidden);
/// --tta, whose text `read_tta` reads.
void add_tta_option(CLI::App& command, std::string& tta);
/// `parse_tta`; Misuse where that throws an Error.
Tta read_tta(std::string_view text);

/// The text of the help's examples, one per line.
std::string examples(std::initializer_list<std::string_view> lines);

/// Throws Misuse unless low <= value <= high.
void require_within(std::string_view flag, std::int64_t value, std::int64_t low, std::int64_t high);

/// `parse_three` for a flag: three numbers, Misuse otherwise. Deviations (`positive`) must be above 0.
std::array<float, 3> three_numbers(std::string_view flag, std::string_view text, bool positive);

/// "a,b,c" at its commas; an empty part is a Misuse.
std::vector<std::string> comma_list(std::string_view flag, std::string_view text);

/// The numbers of such a list. Misuse "<flag> '<text>': <wanted>" for what is none, or is not `allowed`.
std::vector<double> number_list(std::string_view flag, std::string_view text,
                                const std::function<bool(double)>& allowed, std::string_view wanted);

}  // namespace cutis
