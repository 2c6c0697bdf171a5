#include "bench/program.h"

#include <malloc.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <exception>
#include <iostream>
#include <utility>

#include "engine/cuda_device.h"
#include "engine/on_device.h"
#include "kernels/error.h"
#include "kernels/isa.h"
#include "kernels/parallel.h"
#include "tools/build_info.h"
#include "tools/device_choice.h"

namespace cutis::bench {
namespace {

void take_out(int& argc, char** argv, int first, int count) {
    for (int i = first; i + count < argc; ++i) {
        argv[i] = argv[i + count];
    }
    argc -= count;
}

}  // namespace

bool take_flag(int& argc, char** argv, std::string_view name) {
    for (int i = 1; i < argc; ++i) {
        if (argv[i] == name) {
            take_out(argc, argv, i, 1);
            return true;
        }
    }
    return false;
}

std::optional<std::string> take_value(int& argc, char** argv, std::string_view name) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument == name) {
            require(i + 1 < argc, "{}: a value is wanted behind it", name);
            const std::string value = argv[i + 1];
            take_out(argc, argv, i, 2);
            return value;
        }
        if (argument.starts_with(name) && argument.substr(name.size()).starts_with('=')) {
            const std::string value(argument.substr(name.size() + 1));
            take_out(argc, argv, i, 1);
            return value;
        }
    }
    return std::nullopt;
}

int whole_number(std::string_view text, std::string_view what, int least) {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    require(error == std::errc() && end == text.data() + text.size() && value >= least,
            "{}: '{}' is no whole number of at least {}", what, text, least);
    return value;
}

std::vector<int> take_batches(int& argc, char** argv, int otherwise) {
    const auto given = take_value(argc, argv, "--batch");
    if (!given) {
        return {otherwise};
    }
    std::vector<int> batches;
    for (std::size_t begin = 0; begin <= given->size();) {
        const std::size_t end = std::min(given->find(',', begin), given->size());
        batches.push_back(whole_number(std::string_view(*given).substr(begin, end - begin), "--batch"));
        begin = end + 1;
    }
    return batches;
}

std::optional<std::vector<std::string>> take_serve(int& argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        if (std::string_view(argv[i]) == "--serve") {
            std::vector<std::string> arguments(argv + i + 1, argv + argc);
            argc = i;
            return arguments;
        }
    }
    return std::nullopt;
}

void take_benchmark_flags(int& argc, char** argv) {
    ::benchmark::Initialize(&argc, argv);
    require(!::benchmark::ReportUnrecognizedArguments(argc, argv), "unknown arguments");
}

void add_timed_case(const std::string& name, ::benchmark::TimeUnit unit,
                    std::function<void(::benchmark::State&)> measure) {
    ::benchmark::RegisterBenchmark(name.c_str(), std::move(measure))->UseManualTime()->Iterations(1)->Unit(unit);
}

int run_cases() {
    ::benchmark::RunSpecifiedBenchmarks();
    ::benchmark::Shutdown();
    return 0;
}

void add_context(Device device, bool smoke) {
    const bool on_gpu = device.kind == DeviceKind::cuda;
    const auto context = [](const char* key, std::string_view value) {
        ::benchmark::AddCustomContext(key, std::string(value));
    };
    context("device", processor_name(device));
    if (!on_gpu) {
        context("instruction_set", isa_name(active_isa()));
    }
    context("threads", std::to_string(thread_count()));
    if (on_gpu) {
        context("cuda", cuda_mode());
    }
    context("git_revision", build_info().git_revision);
    context("smoke", smoke ? "true" : "false");
}

void add_vendor_context(Device device) {
    if (device.kind == DeviceKind::cpu && on::has_vendor(device)) {
        ::benchmark::AddCustomContext("vendor", "oneDNN " + std::string(build_info().onednn));
    }
}

void keep_freed_memory() {
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

int guarded(const char* name, int (*run)(int argc, char** argv), int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: error: %s\n", name, error.what());
        return 1;
    }
}

namespace detail {

bool next_line() {
    std::string line;
    return static_cast<bool>(std::getline(std::cin, line));
}

void answer(double milliseconds) {
    std::printf("%.4f\n", milliseconds);
    std::fflush(stdout);
}

}  // namespace detail

}  // namespace cutis::bench
