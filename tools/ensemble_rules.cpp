#include "tools/ensemble_rules.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

constexpr std::array kRules{EnsembleRule::mean, EnsembleRule::product,  EnsembleRule::vote,
                            EnsembleRule::max,  EnsembleRule::weighted, EnsembleRule::stacked};
constexpr std::array<std::string_view, kRules.size()> kNames{"mean", "product", "vote", "max", "weighted", "stacked"};

/// What the members say of one image: `row(m)` are classes numbers.
class Answers {
  public:
    Answers(std::span<const std::vector<float>> members, std::size_t classes, std::size_t image)
        : members_(members), classes_(classes), begin_(image * classes) {}

    std::size_t members() const { return members_.size(); }
    std::size_t classes() const { return classes_; }
    double at(std::size_t m, std::size_t k) const { return static_cast<double>(members_[m][begin_ + k]); }
    std::size_t favourite(std::size_t m) const {
        const auto row = members_[m].begin() + static_cast<std::ptrdiff_t>(begin_);
        return static_cast<std::size_t>(std::max_element(row, row + static_cast<std::ptrdiff_t>(classes_)) - row);
    }

  private:
    std::span<const std::vector<float>> members_;
    std::size_t classes_, begin_;
};

double log_probability(double p) {
    return std::log(std::max(p, kLeastProbability));
}

void add_mean(const Answers& answers, std::vector<double>& out) {
    for (std::size_t m = 0; m < answers.members(); ++m) {
        for (std::size_t k = 0; k < out.size(); ++k) {
            out[k] += answers.at(m, k) / static_cast<double>(answers.members());
        }
    }
}

void multiply(const Answers& answers, std::vector<double>& out) {
    for (std::size_t k = 0; k < out.size(); ++k) {
        for (std::size_t m = 0; m < answers.members(); ++m) {
            out[k] += log_probability(answers.at(m, k)) / static_cast<double>(answers.members());
        }
    }
    const double largest = *std::max_element(out.begin(), out.end());
    for (double& value : out) {
        value = std::exp(value - largest);
    }
}

void take_largest(const Answers& answers, std::vector<double>& out) {
    for (std::size_t k = 0; k < out.size(); ++k) {
        for (std::size_t m = 0; m < answers.members(); ++m) {
            out[k] = std::max(out[k], answers.at(m, k));
        }
    }
}

void vote(const Answers& answers, std::vector<double>& out) {
    add_mean(answers, out);
    for (std::size_t m = 0; m < answers.members(); ++m) {
        out[answers.favourite(m)] += 1.0;
    }
}

void weigh(const Answers& answers, const std::vector<double>& accuracy, std::vector<double>& out) {
    for (std::size_t m = 0; m < answers.members(); ++m) {
        const double weight = accuracy[m] * answers.at(m, answers.favourite(m));
        for (std::size_t k = 0; k < out.size(); ++k) {
            out[k] += weight * answers.at(m, k);
        }
    }
}

std::vector<double> stacking_features(const Answers& answers) {
    std::vector<double> features;
    features.reserve(answers.members() * answers.classes());
    for (std::size_t m = 0; m < answers.members(); ++m) {
        for (std::size_t k = 0; k < answers.classes(); ++k) {
            features.push_back(log_probability(answers.at(m, k)));
        }
    }
    return features;
}

void check(EnsembleRule rule, std::span<const std::vector<float>> members, std::size_t classes,
           const EnsembleFit& fit) {
    require(!members.empty() && classes > 0, "ensemble: {} members and {} classes; at least one of each is needed",
            members.size(), classes);
    for (const std::vector<float>& member : members) {
        require(member.size() == members.front().size() && member.size() % classes == 0,
                "ensemble: members gave {} and {} probabilities of {} classes; all must judge the same images",
                members.front().size(), member.size(), classes);
    }
    if (rule == EnsembleRule::weighted) {
        require(fit.accuracy.size() == members.size(), "ensemble: {} accuracies for {} members", fit.accuracy.size(),
                members.size());
    }
    if (rule == EnsembleRule::stacked) {
        require(fit.stacking && fit.stacking->classes == classes && fit.stacking->features == members.size() * classes,
                "ensemble: its stacking does not fit {} members of {} classes", members.size(), classes);
    }
}

std::vector<std::vector<float>> probabilities_of(std::span<const Predictions> members) {
    std::vector<std::vector<float>> all;
    for (const Predictions& member : members) {
        require(member.image_ids == members.front().image_ids && member.class_names == members.front().class_names,
                "ensemble: the members' predictions are not of the same images and classes");
        all.push_back(member.probabilities);
    }
    return all;
}

}  // namespace

std::span<const EnsembleRule> ensemble_rules() {
    return kRules;
}

std::string_view name_of(EnsembleRule rule) {
    return kNames[static_cast<std::size_t>(rule)];
}

EnsembleRule ensemble_rule(std::string_view name) {
    for (const EnsembleRule rule : kRules) {
        if (name_of(rule) == name) {
            return rule;
        }
    }
    fail("ensemble rule '{}' is unknown; there are mean, product, vote, max, weighted and stacked", printable(name));
}

LogisticRegression fit_stacking(std::span<const Predictions> members, double c) {
    const std::vector<std::vector<float>> all = probabilities_of(members);
    const std::size_t classes = members.front().classes();
    std::vector<double> features;
    for (std::size_t i = 0; i < members.front().size(); ++i) {
        const std::vector<double> row = stacking_features(Answers(all, classes, i));
        features.insert(features.end(), row.begin(), row.end());
    }
    return fit_logistic_regression(features, all.size() * classes, members.front().labels, classes, c);
}

std::vector<float> combine(EnsembleRule rule, std::span<const std::vector<float>> members, std::size_t classes,
                           const EnsembleFit& fit) {
    check(rule, members, classes, fit);
    std::vector<float> combined;
    combined.reserve(members.front().size());
    for (std::size_t image = 0; image < members.front().size() / classes; ++image) {
        const Answers answers(members, classes, image);
        std::vector<double> out(classes, 0.0);
        switch (rule) {
            case EnsembleRule::mean:
                add_mean(answers, out);
                break;
            case EnsembleRule::product:
                multiply(answers, out);
                break;
            case EnsembleRule::vote:
                vote(answers, out);
                break;
            case EnsembleRule::max:
                take_largest(answers, out);
                break;
            case EnsembleRule::weighted:
                weigh(answers, fit.accuracy, out);
                break;
            case EnsembleRule::stacked:
                out = fit.stacking->probabilities(stacking_features(answers));
                break;
        }
        double sum = std::accumulate(out.begin(), out.end(), 0.0);
        if (sum <= 0) {
            // Weights of members that were right nowhere: none is worth more than another.
            std::fill(out.begin(), out.end(), 0.0);
            add_mean(answers, out);
            sum = std::accumulate(out.begin(), out.end(), 0.0);
        }
        for (const double value : out) {
            combined.push_back(static_cast<float>(value / sum));
        }
    }
    return combined;
}

Predictions combine(EnsembleRule rule, std::span<const Predictions> members, const EnsembleFit& fit) {
    require(!members.empty(), "ensemble: it has no members");
    Predictions combined = members.front();
    combined.probabilities = combine(rule, probabilities_of(members), combined.classes(), fit);
    return combined;
}

}  // namespace cutis
