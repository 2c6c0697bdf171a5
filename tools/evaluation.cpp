#include "tools/evaluation.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "tools/figure_text.h"

namespace cutis {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

Evaluation judge(std::string split, Predictions predictions, bool leaky, const BootstrapOptions& options) {
    Evaluation evaluation{.split = std::move(split),
                          .leaky = leaky,
                          .predictions = std::move(predictions),
                          .metrics = {},
                          .intervals = {}};
    validate(evaluation.predictions, evaluation.split);
    evaluation.metrics = compute_metrics(evaluation.predictions);
    evaluation.intervals = bootstrap_intervals(evaluation.predictions, options);
    return evaluation;
}

std::string metrics_to_json(const Evaluation& evaluation) {
    const Metrics& m = evaluation.metrics;
    const MetricIntervals& i = evaluation.intervals;
    Json json;
    json["split"] = evaluation.split;
    json["tta"] = evaluation.tta;
    json["leaky"] = evaluation.leaky;
    json["images"] = evaluation.predictions.size();
    json["lesions"] = evaluation.predictions.lesions();
    json["accuracy"] = m.accuracy;
    json["balanced_accuracy"] = m.balanced_accuracy;
    json["macro_f1"] = m.macro_f1;
    json["macro_auc"] = m.macro_auc;
    json["ece"] = m.ece;
    json["nll"] = m.nll;
    json["brier"] = m.brier;
    json["melanoma_sensitivity"] = m.melanoma_sensitivity;
    json["melanoma_sensitivity_at_specificity_90"] = m.melanoma_sensitivity_at_90;
    json["melanoma_sensitivity_at_specificity_95"] = m.melanoma_sensitivity_at_95;

    json["class_names"] = evaluation.predictions.class_names;
    Json intervals = {
        {"accuracy", figure_json(m.accuracy, i.accuracy)},
        {"balanced_accuracy", figure_json(m.balanced_accuracy, i.balanced_accuracy)},
        {"macro_f1", figure_json(m.macro_f1, i.macro_f1)},
        {"macro_auc", figure_json(m.macro_auc, i.macro_auc)},
        {"ece", figure_json(m.ece, i.ece)},
        {"melanoma_sensitivity", figure_json(m.melanoma_sensitivity, i.melanoma_sensitivity)},
        {"melanoma_sensitivity_at_specificity_90",
         figure_json(m.melanoma_sensitivity_at_90, i.melanoma_sensitivity_at_90)},
        {"melanoma_sensitivity_at_specificity_95",
         figure_json(m.melanoma_sensitivity_at_95, i.melanoma_sensitivity_at_95)},
    };
    json["per_class"] = Json::array();
    json["confusion_matrix"] = Json::array();
    intervals["per_class"] = Json::array();
    const std::size_t classes = m.classes.size();
    for (std::size_t k = 0; k < classes; ++k) {
        const ClassMetrics& c = m.classes[k];
        json["per_class"].push_back({{"name", evaluation.predictions.class_names[k]},
                                     {"support", c.support},
                                     {"sensitivity", c.sensitivity},
                                     {"specificity", c.specificity},
                                     {"precision", c.precision},
                                     {"f1", c.f1},
                                     {"auc", c.auc}});
        const auto row = m.confusion.begin() + static_cast<std::ptrdiff_t>(k * classes);
        json["confusion_matrix"].push_back(std::vector<std::int64_t>(row, row + static_cast<std::ptrdiff_t>(classes)));
        if (k < i.classes.size()) {
            intervals["per_class"].push_back({{"name", evaluation.predictions.class_names[k]},
                                              {"sensitivity", figure_json(c.sensitivity, i.classes[k].sensitivity)},
                                              {"specificity", figure_json(c.specificity, i.classes[k].specificity)},
                                              {"f1", figure_json(c.f1, i.classes[k].f1)},
                                              {"auc", figure_json(c.auc, i.classes[k].auc)}});
        }
    }
    json["intervals"] = std::move(intervals);
    json["bootstrap"] = {{"unit", "lesion"},
                         {"level", i.options.level},
                         {"resamples", i.options.resamples},
                         {"seed", i.options.seed},
                         {"lesions", i.lesions}};
    // Names come from users' files and may be no UTF-8: such bytes become U+FFFD, which is better than no file at all.
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace cutis
