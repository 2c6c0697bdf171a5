#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/evaluation.h"

namespace cutis {

/// The loss of one step's batch.
struct TrainingStep {
    double step = 0, loss = kUndefined;
};

/// What is known after an epoch; NaN where it is not.
struct TrainingEpoch {
    double epoch = 0;               ///< 1 after the first
    double last_step = kUndefined;  ///< steps done since the start of training: places `TrainingStep`s beside epochs
    double train_loss = kUndefined, val_loss = kUndefined;
    double val_accuracy = kUndefined, val_balanced_accuracy = kUndefined;
    double learning_rate = kUndefined, images_per_second = kUndefined;
};

/// In any order; of records with the same number the last counts (a resumed run repeats some).
struct TrainingHistory {
    std::vector<TrainingStep> steps;
    std::vector<TrainingEpoch> epochs;
    double best_epoch = kUndefined;  ///< whose weights were kept
    bool finished = false;           ///< the run has ended
};

/// Images per class in one part of the data ("train", "val", "test").
struct ClassCounts {
    std::string part;
    std::vector<std::int64_t> images;  ///< one per class of `ReportInput::class_names`
};

/// An image that the model got wrong, see `worst_mistakes`.
struct Mistake {
    std::string image_id, truth, predicted;
    double confidence = kUndefined;         ///< probability of `predicted`
    double truth_probability = kUndefined;  ///< probability of `truth`
    std::vector<std::uint8_t> image;        ///< bytes of a PNG or JPEG file; empty: a grey field stands in its place
};

using KeyValues = std::vector<std::pair<std::string, std::string>>;

/// All that the report shows. Each part may be missing; texts may hold anything and are escaped.
struct ReportInput {
    std::string title;                    ///< e.g. the run's name
    KeyValues facts;                      ///< a few short ones below the title: model, data, seed, date
    std::vector<Evaluation> evaluations;  ///< the first gives the headline: "test" before "val"
    TrainingHistory history;
    std::vector<std::string> class_names;  ///< for `class_counts`
    std::vector<ClassCounts> class_counts;
    std::vector<Mistake> mistakes;       ///< of the first evaluation
    std::string image_attribution;       ///< stands beside the images
    KeyValues configuration;             ///< every setting
    std::string configuration_json;      ///< config.json as it is
    std::vector<std::string> commands;   ///< that repeat the run, one per line
    bool leaky = false;                  ///< some lesions stand on both sides of the split: a warning on every figure
    std::vector<std::string> notices;    ///< shown below the title
    std::vector<std::string> citations;  ///< shown at the foot
};

/// For `ReportInput::image_attribution` and `citations` of runs on HAM10000, whose licence asks for it.
inline constexpr std::string_view kHam10000Attribution =
    "Images: HAM10000, ViDIR Group, Department of Dermatology, Medical University of Vienna, CC BY-NC 4.0 "
    "(https://creativecommons.org/licenses/by-nc/4.0/); cropped and scaled.";
inline constexpr std::string_view kHam10000Citation =
    "P. Tschandl, C. Rosendahl, H. Kittler. The HAM10000 dataset, a large collection of multi-source dermatoscopic "
    "images "
    "of common pigmented skin lesions. Scientific Data 5:180161, 2018. doi:10.1038/sdata.2018.161";

/// The report as one HTML page: plots, images and style inside, no script, nothing loaded from anywhere (its content
/// security policy forbids both). Throws Error when counts or predictions do not fit their class names.
std::string make_report(const ReportInput& input);

}  // namespace cutis
