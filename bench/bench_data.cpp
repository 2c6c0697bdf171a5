// What happens to images before the network sees them, on the CPU: microseconds an image.
//
//   bench_data [--images DIR] [--data FILE.cutis] [--size 224] [--smoke] [Google Benchmark's flags]
//   bench_data --serve [DIR] [SIZE]     decodes and resizes all images of the folder once per line on stdin, on one
//                                       thread; their milliseconds as a line on stdout (bench/peers/pillow_data.py)
//
// jpeg_decode, resize and prepare (both: what `cutis prepare` does to each image) read the folder's JPEG files from
// memory; augment makes a network's input of one image; packed_read reads images of a packed data set in random order
// and checks their checksums, the file being in the system's cache; loader is all of it, on 1 thread and on all.
// Without flags: the embedded photographs of 600 x 450, and a packed data set made of them.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "bench/program.h"
#include "bench/sample_images.h"
#include "engine/augment.h"
#include "engine/loader.h"
#include "engine/packed_dataset.h"
#include "engine/resize.h"
#include "engine/sampler.h"
#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"
#include "tests/support/temp_dir.h"
#include "tools/inference.h"

namespace {

using namespace cutis;
using namespace cutis::bench;

struct Settings {
    int size = 224;
    bool smoke = false;
};

/// Runs `work(i)` for images 0, 1, .. one an iteration.
template <class Work>
void each_image(::benchmark::State& state, std::size_t images, double bytes, Work&& work) {
    std::size_t i = 0;
    for (auto _ : state) {
        work(i);
        i = (i + 1) % images;
    }
    state.counters["images/s"] =
        ::benchmark::Counter(static_cast<double>(state.iterations()), ::benchmark::Counter::kIsRate);
    state.counters["bytes"] = bytes;
}

template <class Run>
void add_case(const Settings& settings, const std::string& name, Run&& run) {
    ::benchmark::RegisterBenchmark(name.c_str(), std::forward<Run>(run))
        ->UseRealTime()
        ->Unit(::benchmark::kMicrosecond)
        ->MinTime(settings.smoke ? 1e-4 : 0.2)
        ->Repetitions(settings.smoke ? 1 : 7);
}

/// "600x450" where all have that size, "mixed" otherwise.
std::string sizes_of(const std::vector<Image>& images) {
    std::set<std::string> sizes;
    for (const Image& image : images) {
        sizes.insert(fmt::format("{}x{}", image.width, image.height));
    }
    return sizes.size() == 1 ? *sizes.begin() : "mixed";
}

/// Bytes of one image in float, as the network reads it.
double input_bytes(int size) {
    return 12.0 * size * size;
}

void add_image_cases(const Settings& settings, const std::vector<JpegFile>& files, const std::vector<Image>& decoded,
                     const std::vector<Image>& squares) {
    const int size = settings.size;
    const std::string from = sizes_of(decoded), way = fmt::format("{}to{}", from, size);
    double pixels = 0;
    for (const Image& image : decoded) {
        pixels += static_cast<double>(image.rgb.size()) / static_cast<double>(decoded.size());
    }
    const double square = 3.0 * size * size;
    add_case(settings, "jpeg_decode/" + from, [=, &files](::benchmark::State& state) {
        each_image(state, files.size(), pixels,
                   [&](std::size_t i) { ::benchmark::DoNotOptimize(decode_image(files[i].bytes, files[i].name)); });
    });
    add_case(settings, "resize/" + way, [=, &decoded](::benchmark::State& state) {
        each_image(state, decoded.size(), pixels + square,
                   [&](std::size_t i) { ::benchmark::DoNotOptimize(fit_square(decoded[i], size, false)); });
    });
    add_case(settings, "prepare/" + way, [=, &files](::benchmark::State& state) {
        each_image(state, files.size(), pixels + square, [&](std::size_t i) {
            ::benchmark::DoNotOptimize(fit_square(decode_image(files[i].bytes, files[i].name), size, false));
        });
    });
    for (const char* preset : {"none", "light", "full"}) {
        add_case(settings, fmt::format("augment/{}/{}px", preset, size), [=, &squares](::benchmark::State& state) {
            const AugmentOptions options = augment_preset(preset);
            std::vector<float> out(static_cast<std::size_t>(3 * size * size));
            PhiloxStream random(1, RandomPurpose::test);
            each_image(state, squares.size(), square + input_bytes(size), [&](std::size_t i) {
                augment_to_float(squares[i].rgb.data(), size, size, options, random, kImageNetMean.data(),
                                 kImageNetStd.data(), size, out.data());
                ::benchmark::ClobberMemory();
            });
        });
    }
}

/// Indices of `data` shuffled, over and over, until there are `count`.
std::vector<int> shuffled(const PackedDataset& data, std::size_t count) {
    std::vector<int> all(data.size()), order;
    std::iota(all.begin(), all.end(), 0);
    for (std::uint32_t epoch = 0; order.size() < count; ++epoch) {
        const std::vector<int> next = epoch_order(Order::shuffled, all, std::vector<int>(all.size()), 1, 1, epoch);
        order.insert(order.end(), next.begin(), next.end());
    }
    return order;
}

void run_loader(::benchmark::State& state, const PackedDataset& data, const LoaderOptions& options) {
    // Longer than any repetition; whoever empties it starts the next epoch.
    const std::vector<int> order = shuffled(data, 64 * static_cast<std::size_t>(options.batch_size));
    Loader loader(data, options);
    std::uint32_t epoch = 0;
    const auto next = [&] {
        std::optional<Batch> batch = loader.next();
        if (!batch) {
            loader.start(order, ++epoch);
            batch = loader.next();
        }
        ::benchmark::DoNotOptimize(batch);
    };
    loader.start(order, epoch);
    for (int i = 0; i <= options.prefetch; ++i) {  // what was made ahead is not in the time
        next();
    }
    while (state.KeepRunningBatch(options.batch_size)) {
        next();
    }
    state.counters["images/s"] =
        ::benchmark::Counter(static_cast<double>(state.iterations()), ::benchmark::Counter::kIsRate);
}

void add_data_cases(const Settings& settings, const PackedDataset& data) {
    const int side = data.image_size();
    add_case(settings, fmt::format("packed_read/{}/{}px", name_of(data.codec()), side), [&](::benchmark::State& state) {
        const std::vector<int> order = shuffled(data, data.size());
        each_image(state, order.size(), 3.0 * side * side, [&](std::size_t i) {
            ::benchmark::DoNotOptimize(data.image(static_cast<std::size_t>(order[i])).data());
        });
    });
    std::set<int> threads{1, thread_count()};
    for (const char* preset : {"none", "light", "full"}) {
        for (const int count : threads) {
            LoaderOptions options;
            options.batch_size = settings.smoke ? 4 : 32;
            options.size = settings.size;
            options.mean = kImageNetMean;
            options.std = kImageNetStd;
            options.augment = augment_preset(preset);
            options.threads = count;
            options.prefetch = std::max(4, 2 * count);
            add_case(settings, fmt::format("loader/{}/{}px/n{}/t{}", preset, settings.size, options.batch_size, count),
                     [&data, options](::benchmark::State& state) { run_loader(state, data, options); });
        }
    }
}

int serve_preparing(const std::vector<std::string>& arguments) {
    const std::vector<JpegFile> files = read_jpegs(arguments.empty() ? sample_folder().string() : arguments[0]);
    const int size = arguments.size() > 1 ? whole_number(arguments[1], "--serve DIR SIZE") : Settings{}.size;
    return serve([&] {
        for (const JpegFile& file : files) {
            ::benchmark::DoNotOptimize(fit_square(decode_image(file.bytes, file.name), size, false));
        }
    });
}

int run(int argc, char** argv) {
    keep_freed_memory();
    if (const auto arguments = take_serve(argc, argv)) {
        return serve_preparing(*arguments);
    }
    Settings settings;
    settings.smoke = take_flag(argc, argv, "--smoke");
    settings.size = settings.smoke ? 32 : 224;
    if (const auto size = take_value(argc, argv, "--size")) {
        settings.size = whole_number(*size, "--size");
    }
    const std::string folder = take_value(argc, argv, "--images").value_or(sample_folder().string());
    const auto given_data = take_value(argc, argv, "--data");
    take_benchmark_flags(argc, argv);
    add_context({}, settings.smoke);

    const std::vector<JpegFile> files = read_jpegs(folder);
    std::vector<Image> decoded, squares;
    for (const JpegFile& file : files) {
        decoded.push_back(decode_image(file.bytes, file.name));
        squares.push_back(fit_square(decoded.back(), settings.size, false));
    }
    const testing::TempDir scratch;
    const std::string packed = given_data.value_or((scratch / "sample.cutis").string());
    if (!given_data) {
        write_pack(packed, files, settings.smoke ? 8 : 256, settings.size);
    }
    const PackedDataset data(packed);
    add_image_cases(settings, files, decoded, squares);
    add_data_cases(settings, data);
    return run_cases();
}

}  // namespace

int main(int argc, char** argv) {
    return cutis::bench::guarded("bench_data", run, argc, argv);
}
