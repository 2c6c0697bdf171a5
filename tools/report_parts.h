#pragma once

#include <string>
#include <string_view>

#include "tools/evaluation.h"
#include "tools/report.h"

/// The pieces that `make_report` puts together; each is a stretch of HTML.
namespace cutis::report {

/// "0.711 to 0.769", or a dash.
std::string range_text(const Interval& interval);
/// 12345 as "12,345".
std::string grouped(std::int64_t number);
/// A section's heading; `leaky` puts the badge beside it.
std::string heading(std::string_view id, std::string_view text, bool leaky);

/// The headline figures as cards with their intervals; `leaky` marks each.
std::string cards(const Evaluation& evaluation, bool leaky);
/// Every figure of every split side by side.
std::string splits_table(const std::vector<Evaluation>& evaluations, bool leaky);
std::string confusion_matrix(const Evaluation& evaluation);
std::string class_table(const Evaluation& evaluation);
/// ROC curves, one class against the rest.
std::string roc_plot(const Evaluation& evaluation);
/// What catching more melanomas costs, at thresholds chosen on `val` (may be null); "" without a class melanoma.
std::string melanoma_table(const Evaluation& evaluation, const Evaluation* val);

/// Panels with loss, validation figures, learning rate and speed: those for which there is data.
std::string training_panels(const TrainingHistory& history);
std::string class_counts_table(const std::vector<std::string>& class_names, const std::vector<ClassCounts>& counts);
std::string gallery(const std::vector<Mistake>& mistakes);

}  // namespace cutis::report
