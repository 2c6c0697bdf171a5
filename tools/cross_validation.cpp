#include "tools/cross_validation.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "engine/files.h"
#include "engine/json.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/console.h"
#include "tools/evaluation.h"
#include "tools/figure_text.h"
#include "tools/json_file.h"
#include "tools/run_directory.h"

namespace cutis {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kFoldsFile = "folds.json";

struct Figure {
    const char* key;
    const char* title;
    double Metrics::*member;
};
constexpr Figure kFigures[] = {{"accuracy", "accuracy", &Metrics::accuracy},
                               {"balanced_accuracy", "balanced accuracy", &Metrics::balanced_accuracy},
                               {"macro_f1", "macro F1", &Metrics::macro_f1},
                               {"macro_auc", "macro AUC", &Metrics::macro_auc},
                               {"ece", "calibration error (ECE)", &Metrics::ece}};

/// P(|T| <= t) for Student's t distribution of a whole number of degrees of freedom: Abramowitz & Stegun, "Handbook of
/// mathematical functions", 26.7.3 and 26.7.4.
double student_share(double t, int freedom) {
    const double angle = std::atan(t / std::sqrt(static_cast<double>(freedom)));
    const double cosine = std::cos(angle), sine = std::sin(angle);
    const bool odd = freedom % 2 == 1;
    double sum = 0.0, term = odd ? cosine : 1.0;
    for (int i = odd ? 1 : 0; i <= freedom - 2; i += 2) {
        sum += term;
        term *= cosine * cosine * static_cast<double>(i + 1) / static_cast<double>(i + 2);
    }
    return odd ? 2 / std::numbers::pi * (angle + sine * sum) : sine * sum;
}

Json to_json(const FoldMean& mean) {
    return {
        {"mean", mean.mean}, {"deviation", mean.deviation}, {"low", mean.interval.low}, {"high", mean.interval.high}};
}

}  // namespace

bool is_cross_validation(const fs::path& folder) {
    std::error_code ignored;
    return fs::exists(folder / kFoldsFile, ignored);
}

std::vector<std::string> fold_runs(const fs::path& folder) {
    const fs::path file = folder / kFoldsFile;
    const nlohmann::json json = parse_json(read_text_file(file), file.string());
    const auto runs = json.is_object() ? json.find("runs") : json.end();
    bool good = json.is_object() && runs != json.end() && runs->is_array() && !runs->empty();
    std::vector<std::string> names;
    for (std::size_t i = 0; good && i < runs->size(); ++i) {
        good = (*runs)[i].is_string() && fs::path((*runs)[i].get<std::string>()).has_filename();
        names.push_back(good ? (*runs)[i].get<std::string>() : "");
    }
    require(good, "{}: key 'runs' is no list of folders; this is no cross-validation of cutis, or its file was changed",
            file.string());
    return names;
}

double student_t(double level, int freedom) {
    require(level > 0 && level < 1 && freedom >= 1, "t distribution: level {} and {} degrees of freedom", level,
            freedom);
    double low = 0.0, high = 1.0;
    while (student_share(high, freedom) < level) {
        high *= 2;
    }
    for (int i = 0; i < 200 && low < high; ++i) {
        const double middle = (low + high) / 2;
        (student_share(middle, freedom) < level ? low : high) = middle;
    }
    return high;
}

FoldMean mean_over_folds(std::vector<double> figures, double level) {
    std::erase_if(figures, [](double value) { return std::isnan(value); });
    FoldMean result;
    const auto n = static_cast<double>(figures.size());
    if (figures.empty()) {
        return result;
    }
    result.mean = std::accumulate(figures.begin(), figures.end(), 0.0) / n;
    if (figures.size() < 2) {
        return result;
    }
    double squares = 0.0;
    for (const double value : figures) {
        squares += (value - result.mean) * (value - result.mean);
    }
    result.deviation = std::sqrt(squares / (n - 1));
    const double half = student_t(level, static_cast<int>(figures.size()) - 1) * result.deviation / std::sqrt(n);
    result.interval = {result.mean - half, result.mean + half};
    return result;
}

void finish_cross_validation(const fs::path& folder, const std::vector<std::string>& runs) {
    Predictions all;
    std::vector<Metrics> metrics;
    bool leaky = false;
    Json folds = Json::array();
    std::unordered_map<std::string, std::string> judged_by;
    for (const std::string& name : runs) {
        const Run run = open_run(folder / name);
        leaky |= run.facts.leaky;
        const fs::path file = run.file("predictions_test.csv");
        const Predictions fold = read_predictions_csv(file);
        for (const std::string& id : fold.image_ids) {
            const auto [earlier, fresh] = judged_by.emplace(id, name);
            require(fresh, "{}: image '{}' was judged by {} already; each image is in one fold", file.string(),
                    printable(id), earlier->second);
        }
        append(all, fold, file.string());
        metrics.push_back(compute_metrics(fold));
        Json entry{{"run", name}, {"images", fold.size()}, {"lesions", fold.lesions()}};
        for (const Figure& figure : kFigures) {
            entry[figure.key] = metrics.back().*figure.member;
        }
        folds.push_back(std::move(entry));
    }
    const Evaluation evaluation = judge("oof", std::move(all), leaky);
    Json json{{"runs", runs}, {"leaky", leaky}, {"per_fold", std::move(folds)}, {"mean", Json::object()}};
    say("{} folds, {} images, each judged by the run that did not train on its lesion{}:", runs.size(),
        grouped_digits(static_cast<std::int64_t>(evaluation.predictions.size())), leaky ? " (leaky)" : "");
    for (const Figure& figure : kFigures) {
        std::vector<double> values;
        for (const Metrics& fold : metrics) {
            values.push_back(fold.*figure.member);
        }
        const FoldMean mean = mean_over_folds(std::move(values));
        json["mean"][figure.key] = to_json(mean);
        say("{:<24}  mean over folds {} (t)   all together {}", figure.title, figure_text(mean.mean, mean.interval),
            figure_text(evaluation.metrics.*figure.member));
    }
    say("balanced accuracy of all together: {} from resamples of lesions",
        interval_text(evaluation.intervals.balanced_accuracy));
    write_predictions_csv(folder / "predictions_oof.csv", evaluation.predictions);
    write_file_atomically(folder / "evaluation_oof.json", metrics_to_json(evaluation));
    write_json_file(folder / kFoldsFile, json);  // last: it says that all is there
    say("{}", (folder / kFoldsFile).string());
}

}  // namespace cutis
