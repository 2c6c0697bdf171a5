#include "tools/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

constexpr int kCalibrationBins = 15;

double ratio(double part, double whole) {
    return whole > 0 ? part / whole : kUndefined;
}

/// The bin (lower, upper] of a confidence; 0 itself falls into the first.
int calibration_bin(double confidence, int bins) {
    return std::clamp(static_cast<int>(std::ceil(confidence * bins)) - 1, 0, bins - 1);
}

class Mean {
  public:
    void add(double value) {
        if (!std::isnan(value)) {
            sum_ += value;
            ++count_;
        }
    }
    double value() const { return ratio(sum_, count_); }

  private:
    double sum_ = 0;
    int count_ = 0;
};

/// Images by falling probability of a class; equal ones in file order, so that a ranking is a function of its input.
std::vector<std::uint32_t> by_falling_probability(const Predictions& predictions, std::size_t cls) {
    std::vector<std::uint32_t> order(predictions.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        return predictions.row(a)[cls] > predictions.row(b)[cls];
    });
    return order;
}

}  // namespace

Scorer::Scorer(const Predictions& predictions)
    : images_(predictions.size()), classes_(predictions.classes()), melanoma_(melanoma_class(predictions.class_names)) {
    validate(predictions, "metrics");
    require(images_ < (std::size_t{1} << 30), "metrics: {} images, at most 2^30 - 1 can be ranked", images_);
    for (std::size_t i = 0; i < images_; ++i) {
        const auto row = predictions.row(i);
        const auto label = static_cast<std::size_t>(predictions.labels[i]);
        const auto predicted = static_cast<std::size_t>(predictions.predicted(i));
        double brier = 0;
        for (std::size_t k = 0; k < classes_; ++k) {
            const double error = static_cast<double>(row[k]) - (k == label ? 1.0 : 0.0);
            brier += error * error;
        }
        cell_.push_back(static_cast<std::uint32_t>(label * classes_ + predicted));
        confidence_.push_back(row[predicted]);
        bin_.push_back(static_cast<std::uint8_t>(calibration_bin(row[predicted], kCalibrationBins)));
        nll_.push_back(-std::log(std::max<double>(row[label], 0x1.0p-52)));
        brier_.push_back(brier);
    }
    ranking_.reserve(classes_ * images_);
    for (std::size_t k = 0; k < classes_; ++k) {
        const std::vector<std::uint32_t> order = by_falling_probability(predictions, k);
        for (std::size_t r = 0; r < images_; ++r) {
            const bool last = r + 1 == images_ || predictions.row(order[r + 1])[k] < predictions.row(order[r])[k];
            const bool positive = static_cast<std::size_t>(predictions.labels[order[r]]) == k;
            ranking_.push_back({order[r] & 0x3FFFFFFFu, positive ? 1u : 0u, last ? 1u : 0u});
        }
    }
}

Scorer::RankFigures Scorer::rank(std::size_t cls, std::span<const std::uint32_t> weights, double truth,
                                 double others) const {
    if (truth == 0 || others == 0) {
        return {};
    }
    // The threshold above every probability: nothing is positive, so the specificity is 1.
    RankFigures figures{kUndefined, 0, 0};
    // Mann-Whitney: every pair of a positive and a negative image counts 1 where the positive ranks higher, 1/2 in a
    // tie. Doubled, the sum is an integer.
    std::int64_t positives = 0, negatives = 0, tie_positives = 0, tie_negatives = 0, doubled_pairs = 0;
    for (const Ranked ranked : std::span(ranking_).subspan(cls * images_, images_)) {
        const std::int64_t weight = weights[ranked.image];
        tie_positives += ranked.positive * weight;
        tie_negatives += (1 - ranked.positive) * weight;
        if (!ranked.ends_tie) {
            continue;
        }
        doubled_pairs += tie_negatives * (2 * positives + tie_positives);
        positives += tie_positives;
        negatives += tie_negatives;
        tie_positives = tie_negatives = 0;
        if (static_cast<int>(cls) == melanoma_) {
            const double specificity = (others - static_cast<double>(negatives)) / others;
            const double sensitivity = static_cast<double>(positives) / truth;
            figures.sensitivity_at_90 = specificity >= 0.90 ? sensitivity : figures.sensitivity_at_90;
            figures.sensitivity_at_95 = specificity >= 0.95 ? sensitivity : figures.sensitivity_at_95;
        }
    }
    figures.auc = static_cast<double>(doubled_pairs) / 2 / (truth * others);
    return figures;
}

Metrics Scorer::score() const {
    return score(std::vector<std::uint32_t>(images_, 1u));
}

Metrics Scorer::score(std::span<const std::uint32_t> weights) const {
    require(weights.size() == images_, "metrics: {} weights for {} images", weights.size(), images_);
    Metrics result;
    result.confusion.assign(classes_ * classes_, 0);
    std::int64_t total = 0;
    double nll = 0, brier = 0;
    struct Bin {
        double count = 0, confidence = 0, correct = 0;
    };
    std::vector<Bin> bins(kCalibrationBins);
    for (std::size_t i = 0; i < images_; ++i) {
        const std::uint32_t weight = weights[i];
        const bool correct = cell_[i] % (classes_ + 1) == 0;  // on the diagonal
        total += weight;
        result.confusion[cell_[i]] += weight;
        nll += weight * nll_[i];
        brier += weight * brier_[i];
        Bin& bin = bins[bin_[i]];
        bin.count += weight;
        bin.confidence += weight * confidence_[i];
        bin.correct += correct ? weight : 0u;
    }
    require(total > 0, "metrics: every one of {} images has weight 0, nothing to count", images_);
    const auto n = static_cast<double>(total);
    result.nll = nll / n;
    result.brier = brier / n;
    result.ece = 0;
    for (const Bin& bin : bins) {
        result.ece += std::abs(bin.correct - bin.confidence) / n;
    }

    Mean recall, f1, auc;
    std::int64_t correct = 0;
    for (std::size_t k = 0; k < classes_; ++k) {
        const std::int64_t hit = result.confusion[k * classes_ + k];
        std::int64_t truth = 0, predicted = 0;
        for (std::size_t j = 0; j < classes_; ++j) {
            truth += result.confusion[k * classes_ + j];
            predicted += result.confusion[j * classes_ + k];
        }
        const std::int64_t others = total - truth;
        ClassMetrics figures;
        figures.support = truth;
        figures.sensitivity = ratio(static_cast<double>(hit), static_cast<double>(truth));
        figures.specificity = ratio(static_cast<double>(others - (predicted - hit)), static_cast<double>(others));
        figures.precision = ratio(static_cast<double>(hit), static_cast<double>(predicted));
        figures.f1 = ratio(2.0 * static_cast<double>(hit), static_cast<double>(truth + predicted));

        const RankFigures ranks = rank(k, weights, static_cast<double>(truth), static_cast<double>(others));
        figures.auc = ranks.auc;
        if (static_cast<int>(k) == melanoma_) {
            result.melanoma_sensitivity = figures.sensitivity;
            result.melanoma_sensitivity_at_90 = ranks.sensitivity_at_90;
            result.melanoma_sensitivity_at_95 = ranks.sensitivity_at_95;
        }
        correct += hit;
        recall.add(figures.sensitivity);
        f1.add(figures.f1);
        auc.add(figures.auc);
        result.classes.push_back(figures);
    }
    result.accuracy = static_cast<double>(correct) / n;
    result.balanced_accuracy = recall.value();
    result.macro_f1 = f1.value();
    result.macro_auc = auc.value();
    return result;
}

Metrics compute_metrics(const Predictions& predictions) {
    return Scorer(predictions).score();
}

int melanoma_class(const std::vector<std::string>& class_names) {
    for (std::size_t k = 0; k < class_names.size(); ++k) {
        const std::string name = lower_case(class_names[k]);
        if (name == "mel" || name == "melanoma") {
            return static_cast<int>(k);
        }
    }
    return -1;
}

RocCurve roc_curve(const Predictions& predictions, int cls) {
    validate(predictions, "roc_curve");
    require(cls >= 0 && static_cast<std::size_t>(cls) < predictions.classes(), "roc_curve: class {} of {}", cls,
            predictions.classes());
    RocCurve curve;
    const auto truth = static_cast<double>(std::count(predictions.labels.begin(), predictions.labels.end(), cls));
    const double others = static_cast<double>(predictions.size()) - truth;
    if (truth == 0 || others == 0) {
        return curve;
    }
    const auto k = static_cast<std::size_t>(cls);
    const std::vector<std::uint32_t> order = by_falling_probability(predictions, k);
    curve.false_positive_rate.push_back(0);
    curve.true_positive_rate.push_back(0);
    curve.threshold.push_back(std::numeric_limits<double>::infinity());
    curve.auc = 0;
    double positives = 0, negatives = 0;
    for (std::size_t r = 0; r < order.size(); ++r) {
        (predictions.labels[order[r]] == cls ? positives : negatives) += 1;
        const float probability = predictions.row(order[r])[k];
        if (r + 1 == order.size() || predictions.row(order[r + 1])[k] < probability) {
            const double x = negatives / others, y = positives / truth;
            curve.auc += (x - curve.false_positive_rate.back()) * (y + curve.true_positive_rate.back()) / 2;
            curve.false_positive_rate.push_back(x);
            curve.true_positive_rate.push_back(y);
            curve.threshold.push_back(probability);
        }
    }
    return curve;
}

OperatingPoint operating_point(const RocCurve& curve, double specificity) {
    OperatingPoint best;
    for (std::size_t i = 0; i < curve.threshold.size(); ++i) {
        const double here = 1 - curve.false_positive_rate[i];
        if (here >= specificity && !(curve.true_positive_rate[i] <= best.sensitivity)) {
            best = {curve.threshold[i], curve.true_positive_rate[i], here};
        }
    }
    return best;
}

OperatingPoint operating_point_at(const Predictions& predictions, int cls, double threshold) {
    validate(predictions, "operating_point_at");
    require(cls >= 0 && static_cast<std::size_t>(cls) < predictions.classes(), "operating_point_at: class {} of {}",
            cls, predictions.classes());
    double truth = 0, hit = 0, refused = 0;
    for (std::size_t i = 0; i < predictions.size(); ++i) {
        const bool positive = predictions.row(i)[static_cast<std::size_t>(cls)] >= threshold;
        const bool actual = predictions.labels[i] == cls;
        truth += actual ? 1 : 0;
        hit += actual && positive ? 1 : 0;
        refused += !actual && !positive ? 1 : 0;
    }
    return {threshold, ratio(hit, truth), ratio(refused, static_cast<double>(predictions.size()) - truth)};
}

ReliabilityBins reliability(const Predictions& predictions, int bins) {
    validate(predictions, "reliability");
    require(bins >= 1 && bins <= 1000, "reliability: {} bins, 1 to 1000 are possible", bins);
    const auto size = static_cast<std::size_t>(bins);
    ReliabilityBins result{std::vector<std::int64_t>(size, 0), std::vector<double>(size, 0),
                           std::vector<double>(size, 0), 0};
    for (std::size_t i = 0; i < predictions.size(); ++i) {
        const int predicted = predictions.predicted(i);
        const double confidence = predictions.row(i)[static_cast<std::size_t>(predicted)];
        const auto bin = static_cast<std::size_t>(calibration_bin(confidence, bins));
        ++result.count[bin];
        result.confidence[bin] += confidence;
        result.accuracy[bin] += predicted == predictions.labels[i] ? 1 : 0;
    }
    for (std::size_t bin = 0; bin < size; ++bin) {
        const auto count = static_cast<double>(result.count[bin]);
        result.ece += std::abs(result.accuracy[bin] - result.confidence[bin]) / static_cast<double>(predictions.size());
        result.confidence[bin] = ratio(result.confidence[bin], count);
        result.accuracy[bin] = ratio(result.accuracy[bin], count);
    }
    return result;
}

}  // namespace cutis
