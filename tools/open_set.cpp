#include "tools/open_set.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/error.h"
#include "kernels/parallel.h"

namespace cutis {
namespace {

constexpr double kUsualShare = 0.95;

double ratio(double part, double whole) {
    return whole > 0 ? part / whole : kUndefined;
}

/// Means of the classes that occur; others stay empty.
std::vector<std::vector<double>> class_means(const LabelledFeatures& train, std::size_t d) {
    std::vector<std::vector<double>> means(static_cast<std::size_t>(train.classes));
    std::vector<double> counts(means.size(), 0.0);
    for (std::size_t i = 0; i < train.size(); ++i) {
        const auto label = static_cast<std::size_t>(train.labels[i]);
        require(label < means.size(), "open set: label {} among the training images of {} classes", train.labels[i],
                train.classes);
        means[label].resize(d, 0.0);
        counts[label] += 1;
        for (std::size_t j = 0; j < d; ++j) {
            means[label][j] += static_cast<double>(train.features.row(i)[j]);
        }
    }
    for (std::size_t k = 0; k < means.size(); ++k) {
        for (double& value : means[k]) {
            value /= counts[k];
        }
    }
    return means;
}

/// X'X / n, lower triangle, of n x d values. A block of rows at a time stays in the cache while all images pass by.
std::vector<double> second_moments(std::span<const double> x, std::size_t n, std::size_t d) {
    constexpr std::size_t kBlock = 16;
    std::vector<double> moments(d * d, 0.0);
    const auto blocks = static_cast<std::int64_t>((d + kBlock - 1) / kBlock);
    parallel_region([&](int thread, int threads) {
        // Every threads-th block: the lower ones are longer.
        for (std::int64_t block = thread; block < blocks; block += threads) {
            const std::size_t first = static_cast<std::size_t>(block) * kBlock, last = std::min(first + kBlock, d);
            for (std::size_t i = 0; i < n; ++i) {
                const double* const row = x.data() + i * d;
                for (std::size_t a = first; a < last; ++a) {
                    double* const sums = moments.data() + a * d;
                    for (std::size_t b = 0; b <= a; ++b) {
                        sums[b] += row[a] * row[b];
                    }
                }
            }
        }
    });
    for (double& value : moments) {
        value /= static_cast<double>(n);
    }
    return moments;
}

/// Ledoit and Wolf's share of the identity, from centred values and their second moments.
double ledoit_wolf(std::span<const double> x, std::span<const double> moments, std::size_t n, std::size_t d) {
    const auto features = static_cast<double>(d), images = static_cast<double>(n);
    double trace = 0, squares = 0;  // of the moments: sum of the diagonal, sum of all squares
    for (std::size_t a = 0; a < d; ++a) {
        trace += moments[a * d + a];
        for (std::size_t b = 0; b <= a; ++b) {
            squares += (a == b ? 1.0 : 2.0) * moments[a * d + b] * moments[a * d + b];
        }
    }
    double fourth = 0;  // sum over images of |x|^4
    for (std::size_t i = 0; i < n; ++i) {
        double square = 0;
        for (std::size_t j = 0; j < d; ++j) {
            square += x[i * d + j] * x[i * d + j];
        }
        fourth += square * square;
    }
    const double spread =
        squares - trace * trace / features;  // d times the distance of the moments from the identity's
    const double noise = (fourth / images - squares) / images;  // d times how far they are from the truth, estimated
    return spread <= 0 ? 1.0 : std::clamp(noise / spread, 0.0, 1.0);
}

/// L of the matrix L L', in place of its lower triangle.
void cholesky(std::vector<double>& matrix, std::size_t d) {
    for (std::size_t a = 0; a < d; ++a) {
        double* const row = matrix.data() + a * d;
        for (std::size_t b = 0; b <= a; ++b) {
            const double* const other = matrix.data() + b * d;
            const double rest = row[b] - std::inner_product(row, row + b, other, 0.0);
            if (a == b) {
                require(rest > 0,
                        "open set: the covariance of the features cannot be inverted; the model may not have "
                        "trained, or its training diverged");
                row[b] = std::sqrt(rest);
            } else {
                row[b] = rest / other[b];
            }
        }
    }
}

}  // namespace

std::vector<double> max_softmax_scores(const LabelledFeatures& images) {
    const auto classes = static_cast<std::size_t>(images.classes);
    std::vector<double> scores;
    for (std::size_t i = 0; i < images.size(); ++i) {
        const auto row = std::span(images.probabilities).subspan(i * classes, classes);
        scores.push_back(static_cast<double>(*std::max_element(row.begin(), row.end())));
    }
    return scores;
}

Mahalanobis::Mahalanobis(const LabelledFeatures& train) : d_(static_cast<std::size_t>(train.features.dimension)) {
    const std::size_t n = train.size();
    require(n > 0 && d_ > 0, "open set: {} training images with {} features", n, d_);
    require(std::all_of(train.features.values.begin(), train.features.values.end(),
                        [](float v) { return std::isfinite(v); }),
            "open set: a feature is no finite number; the model's weights are damaged, or its training diverged");
    std::vector<std::vector<double>> means = class_means(train, d_);
    std::vector<double> centred(n * d_);
    for (std::size_t i = 0; i < n; ++i) {
        const std::vector<double>& mean = means[static_cast<std::size_t>(train.labels[i])];
        for (std::size_t j = 0; j < d_; ++j) {
            centred[i * d_ + j] = static_cast<double>(train.features.row(i)[j]) - mean[j];
        }
    }
    factor_ = second_moments(centred, n, d_);
    shrinkage_ = ledoit_wolf(centred, factor_, n, d_);
    double trace = 0;
    for (std::size_t a = 0; a < d_; ++a) {
        trace += factor_[a * d_ + a];
    }
    for (std::size_t a = 0; a < d_; ++a) {
        for (std::size_t b = 0; b <= a; ++b) {
            factor_[a * d_ + b] *= 1.0 - shrinkage_;
        }
        factor_[a * d_ + a] += shrinkage_ * trace / static_cast<double>(d_);
    }
    cholesky(factor_, d_);
    for (std::vector<double>& mean : means) {
        if (!mean.empty()) {
            whiten(mean);
            whitened_.push_back(std::move(mean));
        }
    }
}

void Mahalanobis::whiten(std::span<double> x) const {
    for (std::size_t a = 0; a < d_; ++a) {
        const double* const row = factor_.data() + a * d_;
        x[a] = (x[a] - std::inner_product(row, row + a, x.data(), 0.0)) / row[a];
    }
}

std::vector<double> Mahalanobis::scores(std::span<const float> x) const {
    require(x.size() % d_ == 0, "open set: {} values, but points of {} are wanted", x.size(), d_);
    std::vector<double> result(x.size() / d_);
    parallel_for(static_cast<std::int64_t>(result.size()), 4, [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<double> point(d_);
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
            std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(i * d_), d_, point.begin());
            whiten(point);
            double nearest = std::numeric_limits<double>::infinity();
            for (const std::vector<double>& mean : whitened_) {
                double distance = 0;
                for (std::size_t j = 0; j < d_; ++j) {
                    distance += (point[j] - mean[j]) * (point[j] - mean[j]);
                }
                nearest = std::min(nearest, distance);
            }
            result[i] = -nearest;
        }
    });
    return result;
}

double threshold_keeping(std::span<const double> scores, double share) {
    require(!scores.empty(), "open set: no scores to choose a threshold from");
    require(share > 0 && share <= 1, "open set: a share of {}; above 0 and at most 1 is possible", share);
    std::vector<double> falling(scores.begin(), scores.end());
    std::sort(falling.begin(), falling.end(), std::greater<>());
    // The product may lie a rounding above a whole number: 0.95 of 20 are 19.
    const double wanted = std::ceil(share * static_cast<double>(falling.size()) - 1e-9);
    return falling[static_cast<std::size_t>(std::max(wanted, 1.0)) - 1];
}

OpenSetScorer::OpenSetScorer(const OpenSetImages& images, std::span<const double> thresholds)
    : classes_(static_cast<std::size_t>(images.known_classes)) {
    const std::size_t n = images.labels.size();
    require(images.scores.size() == n && images.predicted.size() == n,
            "open set: {} labels, {} predicted classes and {} scores; one of each per image is wanted", n,
            images.predicted.size(), images.scores.size());
    std::vector<std::uint32_t> order(n);
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(),
              [&](std::uint32_t a, std::uint32_t b) { return images.scores[a] > images.scores[b]; });
    for (std::size_t r = 0; r < n; ++r) {
        const std::uint32_t image = order[r];
        const int label = images.labels[image];
        require(label >= 0 && label <= images.known_classes, "open set: label {} beside {} known classes", label,
                images.known_classes);
        ranking_.push_back({.image = image,
                            .label = static_cast<std::uint32_t>(label),
                            .correct = images.predicted[image] == label,
                            .last_of_tie = r + 1 == n || images.scores[order[r + 1]] != images.scores[image]});
    }
    for (const double threshold : thresholds) {
        const auto end = std::partition_point(order.begin(), order.end(),
                                              [&](std::uint32_t image) { return images.scores[image] >= threshold; });
        kept_.push_back(static_cast<std::size_t>(end - order.begin()));
    }
}

// Sums of weights are whole numbers, hence exact in any order.
std::vector<OpenSetFigures> OpenSetScorer::score(std::span<const std::uint32_t> weights) const {
    std::vector<double> all(classes_ + 1, 0), right(classes_, 0);
    for (const Ranked& ranked : ranking_) {
        all[ranked.label] += weights[ranked.image];
        if (ranked.correct && ranked.label < classes_) {
            right[ranked.label] += weights[ranked.image];
        }
    }
    const double unknown = all[classes_], known = std::accumulate(all.begin(), all.end(), 0.0) - unknown;
    const auto present = static_cast<double>(
        std::count_if(all.begin(), all.end() - 1, [](double images_of_class) { return images_of_class > 0; }));
    const auto sum_of_recalls = [&](const std::vector<double>& hits) {
        double sum = 0;
        for (std::size_t k = 0; k < classes_; ++k) {
            sum += all[k] > 0 ? hits[k] / all[k] : 0.0;
        }
        return sum;
    };
    OpenSetFigures common;
    common.known_balanced_accuracy = ratio(sum_of_recalls(right), present);
    if (known > 0 && unknown > 0) {
        // Mann-Whitney, ties counted half.
        double pairs = 0, known_before = 0, unknown_before = 0, known_here = 0, unknown_here = 0;
        for (const Ranked& ranked : ranking_) {
            (ranked.label < classes_ ? known_here : unknown_here) += weights[ranked.image];
            if (!ranked.last_of_tie) {
                continue;
            }
            pairs += (unknown_here - unknown_before) * (known_before + known_here) / 2;
            if (std::isnan(common.fpr_at_95_tpr) && known_here >= kUsualShare * known - 1e-9) {
                common.fpr_at_95_tpr = unknown_here / unknown;
            }
            known_before = known_here;
            unknown_before = unknown_here;
        }
        common.auroc = pairs / (known * unknown);
    }

    std::vector<OpenSetFigures> figures;
    for (const std::size_t kept : kept_) {
        std::fill(right.begin(), right.end(), 0.0);
        double known_kept = 0, unknown_kept = 0;
        for (const Ranked& ranked : std::span(ranking_).first(kept)) {
            const double weight = weights[ranked.image];
            (ranked.label < classes_ ? known_kept : unknown_kept) += weight;
            if (ranked.correct && ranked.label < classes_) {
                right[ranked.label] += weight;
            }
        }
        figures.push_back(common);
        figures.back().known_kept = ratio(known_kept, known);
        figures.back().unknown_kept = ratio(unknown_kept, unknown);
        if (known > 0 && unknown > 0) {
            figures.back().balanced_accuracy =
                (sum_of_recalls(right) + (unknown - unknown_kept) / unknown) / (present + 1);
        }
    }
    return figures;
}

std::vector<OpenSetResult> judge_open_set(const OpenSetImages& images, std::span<const OpenSetThreshold> thresholds,
                                          const BootstrapOptions& options) {
    const auto unknown = std::count(images.labels.begin(), images.labels.end(), images.known_classes);
    require(unknown > 0 && static_cast<std::size_t>(unknown) < images.labels.size(),
            "open set: {} images of the held-out class among {}; both kinds are wanted", unknown, images.labels.size());
    std::vector<double> values;
    for (const OpenSetThreshold& threshold : thresholds) {
        values.push_back(threshold.value);
    }
    const OpenSetScorer scorer(images, values);
    const std::vector<OpenSetFigures> whole = scorer.score(std::vector<std::uint32_t>(images.labels.size(), 1u));
    std::vector<std::vector<OpenSetFigures>> resampled(static_cast<std::size_t>(options.resamples));
    resample_lesions(lesion_numbers(images.lesion_ids), options, [&](int b, std::span<const std::uint32_t> weights) {
        resampled[static_cast<std::size_t>(b)] = scorer.score(weights);
    });
    std::vector<OpenSetResult> results;
    for (std::size_t t = 0; t < thresholds.size(); ++t) {
        const auto interval = [&](double OpenSetFigures::*figure) {
            std::vector<double> drawn;
            for (const std::vector<OpenSetFigures>& figures : resampled) {
                drawn.push_back(figures[t].*figure);
            }
            return percentile_interval(std::move(drawn), options.level);
        };
        results.push_back({.threshold = thresholds[t],
                           .figures = whole[t],
                           .intervals = {interval(&OpenSetFigures::auroc), interval(&OpenSetFigures::fpr_at_95_tpr),
                                         interval(&OpenSetFigures::known_kept), interval(&OpenSetFigures::unknown_kept),
                                         interval(&OpenSetFigures::balanced_accuracy),
                                         interval(&OpenSetFigures::known_balanced_accuracy)}});
    }
    return results;
}

}  // namespace cutis
