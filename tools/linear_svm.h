#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace cutis {

struct SvmOptions {
    double c = 1.0;           ///< price of the hinge losses against the weights' length
    double tolerance = 0.01;  ///< greatest violation of optimality at which a class is done
    int passes = 2000;        ///< over the images, at most
    std::uint64_t seed = 0;   ///< of the order of the images in a pass
};

/// One linear support vector machine per class against the rest, on features that are standardised first.
///
/// Each minimises  1/2 (|w|^2 + b^2) + C sum_i max(0, 1 - y_i (w x_i + b))^2,  y_i = 1 for images of the class and -1
/// for others, by dual coordinate descent with shrinking (Hsieh, Chang, Lin, Keerthi, Sundararajan, "A dual coordinate
/// descent method for large-scale linear SVM", ICML 2008, algorithm 3). The problem is that of LIBLINEAR (-s 1 -B 1)
/// and of scikit-learn's LinearSVC, and strictly convex, so that all end in the same place.
struct LinearSvm {
    std::vector<std::string> class_names;  ///< k
    std::int64_t dimension = 0;            ///< d
    std::vector<float> mean, deviation;    ///< d, of the training features; a constant one has deviation 1
    std::vector<double> weight, bias;      ///< k x d on standardised features, k
    double c = 1.0;
    double slope = 1.0;           ///< of `probabilities`
    std::vector<int> unfinished;  ///< classes that `SvmOptions::passes` were too few for; not saved

    std::size_t classes() const { return class_names.size(); }

    /// w x + b of every class for n points of d values: n x k, row-major. Runs on the kernel threads.
    std::vector<double> decisions(std::span<const float> x) const;
    /// softmax(slope * decisions): the most probable class is the one of the highest decision.
    std::vector<float> probabilities(std::span<const float> x) const;
};

/// Throws Error unless there are labels.size() points of d >= 1 finite values, labels within the class names, and C is
/// positive. A class without images gets a machine that says no. Runs the classes on the kernel threads; the result
/// does not depend on their number.
LinearSvm train_svm(std::span<const float> x, std::span<const int> labels, std::vector<std::string> class_names,
                    const SvmOptions& options = {});

/// The slope with which the probabilities of `labels`, given the points x, have the least mean -ln p, from 0 to 1000
/// (that function is convex). Choose it on images that have not trained.
double fitted_slope(const LinearSvm& svm, std::span<const float> x, std::span<const int> labels);

/// Tensors mean, std (d), weight (k x d), bias (k), f32; metadata class_names (comma-separated), c, slope and
/// `further`. Crash-safe.
void save_svm(const std::filesystem::path& path, const LinearSvm& svm,
              const std::map<std::string, std::string>& further = {});
/// Throws Error naming the file and what is wrong with it where save_svm did not write it.
LinearSvm read_svm(const std::filesystem::path& path);

}  // namespace cutis
