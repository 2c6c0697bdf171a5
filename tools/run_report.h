#pragma once

#include <filesystem>
#include <string_view>

#include "tools/report.h"
#include "tools/run_directory.h"

namespace cutis {

/// Reads metrics.jsonl. A last line that a crash cut short is left out; any other line that is no JSON object, or a
/// figure that is no number, is an Error with file and line.
TrainingHistory read_history(const std::filesystem::path& metrics_jsonl);

/// Writes report.html of a run from what its folder holds: config.json, metrics.jsonl, predictions_test.csv and
/// predictions_val.csv (figures and intervals are computed from these), and, where the packed data set is at hand, the
/// class counts and the worst mistakes with their images.
/// @param data  the packed data set; empty: where the run's config.json says. Missing or other data leave out the
///              images, with a notice in the report.
void write_run_report(const Run& run, const std::filesystem::path& data = {});

}  // namespace cutis
