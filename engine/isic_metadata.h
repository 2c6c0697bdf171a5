#pragma once

#include <string>
#include <vector>

#include "engine/metadata.h"

namespace cutis {

/// The eight diagnoses of the ISIC 2019 challenge in the order of its ground truth: MEL, NV, BCC, AK, BKL, DF, VASC,
/// SCC. Its ninth column, UNK, is for images of no such class, which occur in the test set alone.
const std::vector<std::string>& isic2019_class_names();

/// Adds to one-hot labels what ISIC's metadata CSV says of their images: columns image and lesion_id, and perhaps
/// age_approx, sex, anatom_site_general; in any order, and of further images, too. An image without a lesion id there
/// is its own lesion, which `notices` counts. Throws Error naming file, line and remedy for an image that is missing or
/// there twice, a missing column, labels that have lesion ids already.
void join_isic_metadata(Labels& labels, const CsvTable& metadata);

}  // namespace cutis
