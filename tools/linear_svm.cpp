#include "tools/linear_svm.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/safetensors.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"

namespace cutis {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kSteepest = 1000.0;

/// Several sums at once, so that the compiler may use vector instructions.
double dot(std::span<const float> x, std::span<const double> w) {
    constexpr std::size_t kLanes = 8;
    double sums[kLanes] = {};
    std::size_t i = 0;
    for (; i + kLanes <= x.size(); i += kLanes) {
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
            sums[lane] += static_cast<double>(x[i + lane]) * w[i + lane];
        }
    }
    for (; i < x.size(); ++i) {
        sums[0] += static_cast<double>(x[i]) * w[i];
    }
    return std::accumulate(sums, sums + kLanes, 0.0);
}

void add_scaled(double factor, std::span<const float> x, std::span<double> w) {
    for (std::size_t i = 0; i < x.size(); ++i) {
        w[i] += factor * static_cast<double>(x[i]);
    }
}

void fill_statistics(std::span<const float> x, std::size_t n, LinearSvm& svm) {
    const auto d = static_cast<std::size_t>(svm.dimension);
    std::vector<double> sum(d, 0.0), squares(d, 0.0);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < d; ++j) {
            sum[j] += static_cast<double>(x[i * d + j]);
        }
    }
    for (double& value : sum) {
        value /= static_cast<double>(n);
    }
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < d; ++j) {
            const double distance = static_cast<double>(x[i * d + j]) - sum[j];
            squares[j] += distance * distance;
        }
    }
    for (std::size_t j = 0; j < d; ++j) {
        const double deviation = std::sqrt(squares[j] / static_cast<double>(n));
        svm.mean.push_back(static_cast<float>(sum[j]));
        // What varies by less than some hundred roundings carries nothing.
        svm.deviation.push_back(deviation > 1e-5 * std::abs(sum[j]) ? static_cast<float>(deviation) : 1.0f);
    }
}

std::vector<float> standardised(const LinearSvm& svm, std::span<const float> x) {
    const auto d = static_cast<std::size_t>(svm.dimension);
    std::vector<float> result(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
        result[i] = (x[i] - svm.mean[i % d]) / svm.deviation[i % d];
    }
    return result;
}

/// One class against the rest. `w` holds the weights and, last, the bias: that of an input that is always 1.
class Machine {
  public:
    Machine(std::span<const float> x, std::size_t d, std::span<const int> labels, int cls, const SvmOptions& options)
        : x_(x), d_(d), labels_(labels), cls_(cls), options_(options), diagonal_(0.5 / options.c), w_(d + 1, 0.0) {
        for (std::size_t i = 0; i < labels.size(); ++i) {
            double square = 1.0;
            for (const float value : row(i)) {
                square += static_cast<double>(value) * static_cast<double>(value);
            }
            curvature_.push_back(square + diagonal_);
        }
        alpha_.assign(labels.size(), 0.0);
    }

    /// False when the passes were too few.
    bool train() {
        std::vector<std::size_t> order(labels_.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::size_t active = order.size();
        double highest_before = kInfinity;
        for (int pass = 0; pass < options_.passes; ++pass) {
            PhiloxStream random(options_.seed, RandomPurpose::shuffle, static_cast<std::uint32_t>(pass),
                                static_cast<std::uint64_t>(cls_));
            for (std::size_t left = active; left > 1; --left) {
                std::swap(order[left - 1], order[random.below(static_cast<std::uint32_t>(left))]);
            }
            double highest = -kInfinity, lowest = kInfinity;  // of the projected gradient
            for (std::size_t s = 0; s < active;) {
                const std::size_t i = order[s];
                const double gradient = sign(i) * decision(i) - 1.0 + diagonal_ * alpha_[i];
                if (alpha_[i] == 0.0 && gradient > highest_before) {
                    std::swap(order[s], order[--active]);  // it will stay at 0, and is looked at again in the end
                    continue;
                }
                const double projected = alpha_[i] == 0.0 ? std::min(gradient, 0.0) : gradient;
                highest = std::max(highest, projected);
                lowest = std::min(lowest, projected);
                move(i, gradient, projected);
                ++s;
            }
            if (highest - lowest <= options_.tolerance || active == 0) {
                if (active == order.size()) {
                    return true;
                }
                active = order.size();
                highest_before = kInfinity;
            } else {
                highest_before = highest > 0.0 ? highest : kInfinity;
            }
        }
        return false;
    }

    std::span<const double> weight() const { return std::span(w_).first(d_); }
    double bias() const { return w_[d_]; }

  private:
    std::span<const float> row(std::size_t i) const { return x_.subspan(i * d_, d_); }
    double sign(std::size_t i) const { return labels_[i] == cls_ ? 1.0 : -1.0; }
    double decision(std::size_t i) const { return dot(row(i), weight()) + w_[d_]; }

    void move(std::size_t i, double gradient, double projected) {
        if (projected == 0.0) {
            return;
        }
        const double before = alpha_[i];
        alpha_[i] = std::max(before - gradient / curvature_[i], 0.0);
        const double step = (alpha_[i] - before) * sign(i);
        add_scaled(step, row(i), std::span(w_).first(d_));
        w_[d_] += step;
    }

    std::span<const float> x_;
    std::size_t d_;
    std::span<const int> labels_;
    int cls_;
    SvmOptions options_;
    double diagonal_;
    std::vector<double> curvature_, alpha_, w_;
};

/// Mean -ln p of the labels at a slope.
double mean_nll(std::span<const double> decisions, std::span<const int> labels, std::size_t classes, double slope) {
    double sum = 0.0;
    for (std::size_t i = 0; i < labels.size(); ++i) {
        const auto row = decisions.subspan(i * classes, classes);
        const double highest = *std::max_element(row.begin(), row.end());
        double total = 0.0;
        for (const double value : row) {
            total += std::exp(slope * (value - highest));
        }
        sum += std::log(total) - slope * (row[static_cast<std::size_t>(labels[i])] - highest);
    }
    return sum / static_cast<double>(labels.size());
}

double number_in(const SafetensorsFile& file, const char* key) {
    const auto found = file.metadata().find(key);
    const std::string text = found == file.metadata().end() ? std::string() : found->second;
    double value = 0.0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    require(error == std::errc() && end == text.data() + text.size() && std::isfinite(value) && value >= 0,
            "{}: metadata '{}' is '{}', no number from 0 on; this is no file of `cutis svm`", file.path().string(), key,
            printable(text));
    return value;
}

std::vector<float> values_in(const SafetensorsFile& file, const char* name, const std::vector<std::int64_t>& shape) {
    const TensorView& tensor = file.at(name);
    require(tensor.shape == shape,
            "{}: tensor {} has another shape than the others ask for; this is no file of `cutis "
            "svm`",
            file.path().string(), name);
    std::vector<float> values = file.read_f32(tensor);
    require(std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }),
            "{}: tensor {} holds values that are no numbers", file.path().string(), name);
    return values;
}

}  // namespace

std::vector<double> LinearSvm::decisions(std::span<const float> x) const {
    const auto d = static_cast<std::size_t>(dimension);
    require(d > 0 && x.size() % d == 0, "svm: {} values, but points of {} are wanted; give features of the same model",
            x.size(), dimension);
    const std::vector<float> points = standardised(*this, x);
    const std::size_t n = x.size() / d;
    std::vector<double> result(n * classes());
    parallel_for(static_cast<std::int64_t>(n), 16, [&](std::int64_t begin, std::int64_t end, int) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
            for (std::size_t k = 0; k < classes(); ++k) {
                result[i * classes() + k] =
                    dot(std::span(points).subspan(i * d, d), std::span(weight).subspan(k * d, d)) + bias[k];
            }
        }
    });
    return result;
}

std::vector<float> LinearSvm::probabilities(std::span<const float> x) const {
    const std::vector<double> values = decisions(x);
    std::vector<float> result;
    for (std::size_t first = 0; first < values.size(); first += classes()) {
        const auto row = std::span(values).subspan(first, classes());
        const double highest = *std::max_element(row.begin(), row.end());
        double total = 0.0;
        for (const double value : row) {
            total += std::exp(slope * (value - highest));
        }
        for (const double value : row) {
            result.push_back(static_cast<float>(std::exp(slope * (value - highest)) / total));
        }
    }
    return result;
}

LinearSvm train_svm(std::span<const float> x, std::span<const int> labels, std::vector<std::string> class_names,
                    const SvmOptions& options) {
    const std::size_t n = labels.size();
    require(n > 0 && !x.empty() && x.size() % n == 0, "svm: {} values for {} images", x.size(), n);
    require(options.c > 0 && std::isfinite(options.c), "svm: C is {}; a positive number is wanted", options.c);
    require(std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); }),
            "svm: a feature is no finite number; the model's weights are damaged, or its training diverged");
    LinearSvm svm;
    svm.class_names = std::move(class_names);
    for (const int label : labels) {
        require(label >= 0 && static_cast<std::size_t>(label) < svm.classes(), "svm: label {} of {} classes", label,
                svm.classes());
    }
    const std::size_t d = x.size() / n, classes = svm.classes();
    svm.dimension = static_cast<std::int64_t>(d);
    svm.c = options.c;
    fill_statistics(x, n, svm);
    const std::vector<float> points = standardised(svm, x);
    svm.weight.resize(classes * d);
    svm.bias.resize(classes);
    std::vector<char> finished(classes);
    parallel_for(static_cast<std::int64_t>(classes), 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (auto k = static_cast<std::size_t>(begin); k < static_cast<std::size_t>(end); ++k) {
            Machine machine(points, d, labels, static_cast<int>(k), options);
            finished[k] = machine.train() ? 1 : 0;
            std::copy(machine.weight().begin(), machine.weight().end(),
                      svm.weight.begin() + static_cast<std::ptrdiff_t>(k * d));
            svm.bias[k] = machine.bias();
        }
    });
    for (std::size_t k = 0; k < classes; ++k) {
        if (finished[k] == 0) {
            svm.unfinished.push_back(static_cast<int>(k));
        }
    }
    return svm;
}

double fitted_slope(const LinearSvm& svm, std::span<const float> x, std::span<const int> labels) {
    const std::vector<double> decisions = svm.decisions(x);
    require(!labels.empty() && decisions.size() == labels.size() * svm.classes(), "svm: {} decisions for {} images",
            decisions.size(), labels.size());
    const auto nll = [&](double slope) { return mean_nll(decisions, labels, svm.classes(), slope); };
    double low = 0.0, high = kSteepest;
    while (high - low > 1e-9 * (1.0 + low)) {
        const double a = low + (high - low) / 3, b = high - (high - low) / 3;
        (nll(a) <= nll(b) ? high : low) = nll(a) <= nll(b) ? b : a;
    }
    return (low + high) / 2;
}

void save_svm(const std::filesystem::path& path, const LinearSvm& svm,
              const std::map<std::string, std::string>& further) {
    const std::vector<float> weight(svm.weight.begin(), svm.weight.end()), bias(svm.bias.begin(), svm.bias.end());
    const auto k = static_cast<std::int64_t>(svm.classes());
    const auto tensor = [](const char* name, std::vector<std::int64_t> shape, const std::vector<float>& values) {
        return TensorToWrite{name, FileDType::f32, std::move(shape), std::as_bytes(std::span(values))};
    };
    const std::vector<TensorToWrite> tensors{tensor("mean", {svm.dimension}, svm.mean),
                                             tensor("std", {svm.dimension}, svm.deviation),
                                             tensor("weight", {k, svm.dimension}, weight), tensor("bias", {k}, bias)};
    std::map<std::string, std::string> metadata = further;
    metadata["class_names"] = fmt::format("{}", fmt::join(svm.class_names, ","));
    metadata["c"] = fmt::format("{}", svm.c);
    metadata["slope"] = fmt::format("{}", svm.slope);
    write_safetensors(path, tensors, metadata);
}

LinearSvm read_svm(const std::filesystem::path& path) {
    const SafetensorsFile file(path);
    LinearSvm svm;
    const auto names = file.metadata().find("class_names");
    require(names != file.metadata().end(), "{}: metadata 'class_names' is missing; this is no file of `cutis svm`",
            path.string());
    for (std::size_t begin = 0; begin <= names->second.size();) {
        const std::size_t end = std::min(names->second.find(',', begin), names->second.size());
        svm.class_names.push_back(names->second.substr(begin, end - begin));
        begin = end + 1;
    }
    const TensorView& weight = file.at("weight");
    const auto k = static_cast<std::int64_t>(svm.classes());
    require(weight.shape.size() == 2 && weight.shape[0] == k && weight.shape[1] >= 1,
            "{}: tensor weight does not have a row for each of its {} classes; this is no file of `cutis svm`",
            path.string(), k);
    svm.dimension = weight.shape[1];
    svm.mean = values_in(file, "mean", {svm.dimension});
    svm.deviation = values_in(file, "std", {svm.dimension});
    const std::vector<float> w = values_in(file, "weight", {k, svm.dimension}), b = values_in(file, "bias", {k});
    require(*std::min_element(svm.deviation.begin(), svm.deviation.end()) > 0, "{}: tensor std must be positive",
            path.string());
    svm.weight.assign(w.begin(), w.end());
    svm.bias.assign(b.begin(), b.end());
    svm.c = number_in(file, "c");
    svm.slope = number_in(file, "slope");
    return svm;
}

}  // namespace cutis
