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
constexpr double kNothing = std::numeric_limits<double>::infinity();  // the threshold of no resample

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

/// Images by falling score, with the weights so far of known and unknown ones at the end of each tie.
struct Cut {
    double known = 0, unknown = 0;
};
std::vector<Cut> cuts(const OpenSetImages& images, std::span<const std::uint32_t> weights) {
    std::vector<std::size_t> order(images.scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return images.scores[a] > images.scores[b]; });
    std::vector<Cut> result;
    Cut sum;
    for (std::size_t r = 0; r < order.size(); ++r) {
        (images.labels[order[r]] < images.known_classes ? sum.known : sum.unknown) += weights[order[r]];
        if (r + 1 == order.size() || images.scores[order[r + 1]] != images.scores[order[r]]) {
            result.push_back(sum);
        }
    }
    return result;
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

OpenSetFigures open_set_figures(const OpenSetImages& images, double threshold, std::span<const std::uint32_t> weights) {
    const auto classes = static_cast<std::size_t>(images.known_classes);
    std::vector<double> all(classes + 1, 0), right(classes + 1, 0), right_unrejected(classes, 0);
    double known_kept = 0, unknown_kept = 0;
    for (std::size_t i = 0; i < images.labels.size(); ++i) {
        const auto label = static_cast<std::size_t>(images.labels[i]);
        const double weight = weights[i];
        const bool known = label < classes, kept = images.scores[i] >= threshold;
        const bool correct = images.predicted[i] == images.labels[i];
        all[label] += weight;
        right[label] += (known ? kept && correct : !kept) ? weight : 0.0;
        if (known) {
            right_unrejected[label] += correct ? weight : 0.0;
        }
        (known ? known_kept : unknown_kept) += kept ? weight : 0.0;
    }
    const double unknown = all[classes], known = std::accumulate(all.begin(), all.end(), 0.0) - unknown;
    OpenSetFigures figures;
    figures.known_kept = ratio(known_kept, known);
    figures.unknown_kept = ratio(unknown_kept, unknown);
    double recalls = 0, unrejected = 0, present = 0;
    for (std::size_t k = 0; k < classes; ++k) {
        if (all[k] > 0) {
            recalls += right[k] / all[k];
            unrejected += right_unrejected[k] / all[k];
            ++present;
        }
    }
    figures.known_balanced_accuracy = ratio(unrejected, present);
    if (known == 0 || unknown == 0) {
        return figures;
    }
    figures.balanced_accuracy = (recalls + right[classes] / unknown) / (present + 1);
    // Mann-Whitney, ties counted half.
    double pairs = 0;
    Cut before;
    for (const Cut& cut : cuts(images, weights)) {
        pairs += (cut.unknown - before.unknown) * (before.known + cut.known) / 2;
        if (std::isnan(figures.fpr_at_95_tpr) && cut.known >= kUsualShare * known - 1e-9) {
            figures.fpr_at_95_tpr = cut.unknown / unknown;
        }
        before = cut;
    }
    figures.auroc = pairs / (known * unknown);
    return figures;
}

OpenSetResult judge_open_set(const OpenSetImages& images, double share, double threshold,
                             const BootstrapOptions& options) {
    const auto unknown = std::count(images.labels.begin(), images.labels.end(), images.known_classes);
    require(unknown > 0 && static_cast<std::size_t>(unknown) < images.labels.size(),
            "open set: {} images of the held-out class among {}; both kinds are wanted", unknown, images.labels.size());
    OpenSetResult result;
    result.share = share;
    result.threshold = threshold;
    result.figures = open_set_figures(images, threshold, std::vector<std::uint32_t>(images.labels.size(), 1u));
    std::vector<OpenSetFigures> resampled(static_cast<std::size_t>(options.resamples));
    resample_lesions(lesion_numbers(images.lesion_ids), options, [&](int b, std::span<const std::uint32_t> weights) {
        resampled[static_cast<std::size_t>(b)] = open_set_figures(images, threshold, weights);
    });
    const auto interval = [&](double OpenSetFigures::*figure) {
        std::vector<double> values;
        for (const OpenSetFigures& figures : resampled) {
            values.push_back(figures.*figure);
        }
        return percentile_interval(std::move(values), options.level);
    };
    result.intervals = {interval(&OpenSetFigures::auroc),
                        interval(&OpenSetFigures::fpr_at_95_tpr),
                        interval(&OpenSetFigures::known_kept),
                        interval(&OpenSetFigures::unknown_kept),
                        interval(&OpenSetFigures::balanced_accuracy),
                        interval(&OpenSetFigures::known_balanced_accuracy)};
    return result;
}

}  // namespace cutis
