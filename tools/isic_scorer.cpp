#include "tools/isic_scorer.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/error.h"

namespace cutis {
namespace {

constexpr double kPositive = 0.5;            // above it a class is predicted
constexpr double kSensitivityOfArea = 0.80;  // where auc_sens_80 begins

/// One class: who belongs to it, what was predicted, and the images' weights.
struct Category {
    std::vector<bool> truth;
    std::vector<double> prediction;
    std::span<const double> weight;
};

Category category_of(const IsicTruth& truth, std::span<const double> predictions, std::size_t cls,
                     std::span<const double> weight) {
    Category category{{}, {}, weight};
    for (std::size_t i = 0; i < truth.size(); ++i) {
        category.truth.push_back(truth.truth[i * truth.classes() + cls] != 0);
        category.prediction.push_back(predictions[i * truth.classes() + cls]);
    }
    return category;
}

/// "A freebie", as the package says, where there is nothing to divide by.
double ratio_or_one(double part, double whole) {
    return whole == 0 ? 1.0 : part / whole;
}

void fill_threshold_figures(const Category& c, IsicFigures& figures) {
    double tp = 0, tn = 0, fp = 0, fn = 0;
    for (std::size_t i = 0; i < c.truth.size(); ++i) {
        const bool positive = c.prediction[i] > kPositive;
        (c.truth[i] ? (positive ? tp : fn) : (positive ? fp : tn)) += c.weight[i];
    }
    figures.accuracy = (tp + tn) / (tp + tn + fp + fn);
    figures.sensitivity = ratio_or_one(tp, tp + fn);
    figures.specificity = ratio_or_one(tn, tn + fp);
    figures.dice = tp + fp + fn == 0 ? 1.0 : 2 * tp / (2 * tp + fp + fn);
    figures.ppv = ratio_or_one(tp, tp + fp);
    figures.npv = ratio_or_one(tn, tn + fn);
}

/// Weights of true and false positives at each distinct prediction, falling, of the images that have a weight.
struct Ranking {
    std::vector<double> true_positives, false_positives;
};

/// Sums go in scikit-learn's order (a stable sort, reversed), because auc_sens_80 jumps where a sensitivity is 0.8 or
/// is a rounding below it.
Ranking ranking_of(const Category& c) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < c.truth.size(); ++i) {
        if (c.weight[i] != 0) {
            order.push_back(i);
        }
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return c.prediction[a] < c.prediction[b]; });
    std::reverse(order.begin(), order.end());
    Ranking ranking;
    double tp = 0, fp = 0;
    for (std::size_t r = 0; r < order.size(); ++r) {
        (c.truth[order[r]] ? tp : fp) += c.weight[order[r]];
        if (r + 1 == order.size() || c.prediction[order[r + 1]] != c.prediction[order[r]]) {
            ranking.true_positives.push_back(tp);
            ranking.false_positives.push_back(fp);
        }
    }
    return ranking;
}

/// The ROC curve's points from (0, 0) on; empty without images of both kinds.
struct Roc {
    std::vector<double> false_positive_rate{0}, true_positive_rate{0};
};

Roc roc_of(const Ranking& ranking) {
    Roc roc;
    for (std::size_t i = 0; i < ranking.true_positives.size(); ++i) {
        roc.true_positive_rate.push_back(ranking.true_positives[i] / ranking.true_positives.back());
        roc.false_positive_rate.push_back(ranking.false_positives[i] / ranking.false_positives.back());
    }
    return roc;
}

double area(const Roc& roc, std::size_t first) {
    double sum = 0;
    for (std::size_t i = first + 1; i < roc.true_positive_rate.size(); ++i) {
        sum += (roc.false_positive_rate[i] - roc.false_positive_rate[i - 1]) *
               (roc.true_positive_rate[i] + roc.true_positive_rate[i - 1]) / 2;
    }
    return sum;
}

/// The area from the point where the curve reaches `from` (interpolated) to its end.
double area_above(const Roc& roc, double from) {
    const std::vector<double>& tpr = roc.true_positive_rate;
    const std::vector<double>& fpr = roc.false_positive_rate;
    const auto at = static_cast<std::size_t>(std::lower_bound(tpr.begin(), tpr.end(), from) - tpr.begin());
    // at >= 1, since the curve begins at 0; and tpr[at - 1] < from <= tpr[at]
    const double share = (from - tpr[at - 1]) / (tpr[at] - tpr[at - 1]);
    const double start = fpr[at - 1] + share * (fpr[at] - fpr[at - 1]);
    return (fpr[at] - start) * (tpr[at] + from) / 2 + area(roc, at);
}

/// Sum over thresholds of the recall gained times the precision there.
double average_precision(const Ranking& ranking) {
    if (ranking.true_positives.empty()) {
        return kUndefined;
    }
    const double all = ranking.true_positives.back();
    double sum = 0, before = 0;
    for (std::size_t i = 0; all > 0 && i < ranking.true_positives.size(); ++i) {
        const double tp = ranking.true_positives[i];
        sum += (tp - before) / all * (tp / (tp + ranking.false_positives[i]));
        before = tp;
    }
    return sum;
}

void fill_rank_figures(const Category& c, IsicFigures& figures) {
    const Ranking ranking = ranking_of(c);
    figures.ap = average_precision(ranking);
    if (!ranking.true_positives.empty() && ranking.true_positives.back() > 0 && ranking.false_positives.back() > 0) {
        const Roc roc = roc_of(ranking);
        figures.auc = area(roc, 0);
        figures.auc_sens_80 = area_above(roc, kSensitivityOfArea);
    }
}

/// The mean of the values that are numbers.
template <class Value>
double mean_of_defined(std::size_t count, Value value) {
    double sum = 0, defined = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (const double v = value(i); !std::isnan(v)) {
            sum += v;
            ++defined;
        }
    }
    return defined > 0 ? sum / defined : kUndefined;
}

constexpr std::size_t kUndecided = ~std::size_t{0};

/// The place of the highest value, or kUndecided where several are.
template <class T>
std::size_t decided(std::span<const T> row) {
    const auto highest = std::max_element(row.begin(), row.end());
    return std::count(row.begin(), row.end(), *highest) == 1 ? static_cast<std::size_t>(highest - row.begin())
                                                             : kUndecided;
}

double balanced_accuracy_of(const IsicTruth& truth, std::span<const double> predictions,
                            std::span<const double> weight) {
    const std::size_t classes = truth.classes();
    std::vector<double> right(classes, 0), all(classes, 0);
    for (std::size_t i = 0; i < truth.size(); ++i) {
        const std::size_t label = decided(std::span(truth.truth).subspan(i * classes, classes));
        if (label == kUndecided) {
            continue;
        }
        all[label] += weight[i];
        right[label] += decided(predictions.subspan(i * classes, classes)) == label ? weight[i] : 0.0;
    }
    return mean_of_defined(classes, [&](std::size_t k) { return all[k] > 0 ? right[k] / all[k] : kUndefined; });
}

/// The mean over the classes of a figure of the ranking, with other weights.
double mean_rank_figure(const IsicTruth& truth, std::span<const double> predictions, std::span<const double> weight,
                        double IsicFigures::*figure) {
    return mean_of_defined(truth.classes(), [&](std::size_t k) {
        IsicFigures figures;
        fill_rank_figures(category_of(truth, predictions, k, weight), figures);
        return figures.*figure;
    });
}

}  // namespace

IsicMetric isic_metric_named(std::string_view name) {
    if (name == "balanced_accuracy") {
        return IsicMetric::balanced_accuracy;
    }
    require(name == "auc" || name == "ap", "metric '{}' is unknown; use balanced_accuracy, auc or ap", name);
    return name == "auc" ? IsicMetric::auc : IsicMetric::ap;
}

IsicScore isic_score(const IsicTruth& truth, std::span<const double> predictions, IsicMetric metric) {
    require(predictions.size() == truth.size() * truth.classes(), "score: {} predictions for {} images of {} classes",
            predictions.size(), truth.size(), truth.classes());
    require(std::any_of(truth.score_weight.begin(), truth.score_weight.end(), [](double w) { return w > 0; }),
            "score: none of the {} images has a score weight above 0, so nothing counts; mend the truth's column "
            "score_weight",
            truth.size());
    IsicScore score;
    for (std::size_t k = 0; k < truth.classes(); ++k) {
        const Category category = category_of(truth, predictions, k, truth.score_weight);
        IsicFigures& figures = score.per_category.emplace_back();
        fill_threshold_figures(category, figures);
        fill_rank_figures(category, figures);
    }
    for (const IsicFigure& figure : kIsicFigures) {
        score.macro_average.*figure.value =
            mean_of_defined(truth.classes(), [&](std::size_t k) { return score.per_category[k].*figure.value; });
    }
    score.balanced_accuracy = balanced_accuracy_of(truth, predictions, truth.score_weight);
    if (metric == IsicMetric::balanced_accuracy) {
        score.overall = score.balanced_accuracy;
        score.validation = balanced_accuracy_of(truth, predictions, truth.validation_weight);
    } else {
        double IsicFigures::*const figure = metric == IsicMetric::auc ? &IsicFigures::auc : &IsicFigures::ap;
        score.overall = score.macro_average.*figure;
        score.validation = mean_rank_figure(truth, predictions, truth.validation_weight, figure);
    }
    return score;
}

std::string isic_score_to_json(const IsicTruth& truth, const IsicScore& score) {
    using Json = nlohmann::ordered_json;
    Json json{{"overall", score.overall}, {"validation", score.validation}, {"per_category", Json::object()}};
    json["macro_average"] = Json::object();
    for (const IsicFigure& figure : kIsicFigures) {
        const std::string name(figure.name);
        for (std::size_t k = 0; k < truth.classes(); ++k) {
            json["per_category"][name][truth.class_names[k]] = score.per_category[k].*figure.value;
        }
        json["macro_average"][name] = score.macro_average.*figure.value;
    }
    json["aggregate"] = {{"balanced_accuracy", score.balanced_accuracy}};
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";  // numbers that are none become null
}

}  // namespace cutis
