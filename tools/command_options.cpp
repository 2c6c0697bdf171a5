#include "tools/command_options.h"

#include <CLI/CLI.hpp>
#include <charconv>

#include "engine/text.h"
#include "kernels/parallel.h"
#include "tools/inference.h"

namespace cutis {

void add_threads_option(CLI::App& command, int& threads) {
    command.add_option("--threads", threads, "Threads that compute; 0: all cores")->capture_default_str();
}

void add_device_option(CLI::App& command, std::string& device) {
    command.add_option("--device", device, "auto (a GPU where there is one), cpu or cuda")
        ->capture_default_str()
        ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
}

void add_lstm_hidden_option(CLI::App& command, int& hidden) {
    command.add_option("--lstm-hidden", hidden, "Hidden size of models with an LSTM")->capture_default_str();
}

void use_threads(int threads) {
    require_within("--threads", threads, 0, 1024);
    if (threads > 0) {
        set_thread_count(threads);
    }
}

void add_tta_option(CLI::App& command, std::string& tta) {
    command
        .add_option(
            "--tta", tta,
            "Test-time augmentation, the mean over views of each image: flips (4), rotations (4), dihedral (8), "
            "or crops:N (N = 4, 9, 16 .. windows of the network's size), crops:N@SIDE (of the image scaled to "
            "SIDE)")
        ->capture_default_str();
}

Tta read_tta(std::string_view text) {
    try {
        return parse_tta(text);
    } catch (const Error& error) {
        throw Misuse(error.what());
    }
}

std::string examples(std::initializer_list<std::string_view> lines) {
    std::string text = "Examples:";
    for (const std::string_view line : lines) {
        text += "\n  ";
        text += line;
    }
    return text;
}

void require_within(std::string_view flag, std::int64_t value, std::int64_t low, std::int64_t high) {
    if (value < low || value > high) {
        throw Misuse(fmt::format("{} is {}; {} to {} is possible", flag, value, low, high));
    }
}

std::array<float, 3> three_numbers(std::string_view flag, std::string_view text, bool positive) {
    std::array<float, 3> values{};
    try {
        values = parse_three(text, flag);
    } catch (const Error& error) {
        throw Misuse(error.what());
    }
    for (const float value : values) {
        if (positive && !(value > 0)) {
            throw Misuse(fmt::format("{} holds {}; positive numbers are wanted", flag, value));
        }
    }
    return values;
}

std::vector<std::string> comma_list(std::string_view flag, std::string_view text) {
    std::vector<std::string> parts;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        if (end == begin) {
            throw Misuse(fmt::format("{} '{}' has an empty part; separate names by one comma", flag, printable(text)));
        }
        parts.emplace_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

std::vector<double> number_list(std::string_view flag, std::string_view text,
                                const std::function<bool(double)>& allowed, std::string_view wanted) {
    std::vector<double> values;
    for (const std::string& part : comma_list(flag, text)) {
        double value = 0;
        const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
        if (error != std::errc() || end != part.data() + part.size() || !allowed(value)) {
            throw Misuse(fmt::format("{} '{}': {}", flag, text, wanted));
        }
        values.push_back(value);
    }
    return values;
}

}  // namespace cutis
