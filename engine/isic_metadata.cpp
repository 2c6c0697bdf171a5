#include "engine/isic_metadata.h"

#include <optional>
#include <unordered_map>

#include "engine/csv.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {

const std::vector<std::string>& isic2019_class_names() {
    static const std::vector<std::string> names{"MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"};
    return names;
}

void join_isic_metadata(Labels& labels, const CsvTable& metadata) {
    require(!labels.has_lesion_ids, "{}: the diagnoses have lesion ids already; leave this file out", metadata.name());
    const std::size_t image = image_column(metadata), lesion = metadata.column("lesion_id");
    const auto age = metadata.find_column("age_approx");
    const auto sex = metadata.find_column("sex");
    const auto site = metadata.find_column("anatom_site_general");
    std::unordered_map<std::string, std::size_t> row_of;
    for (std::size_t row = 0; row < metadata.rows(); ++row) {
        const std::string id = image_id_of(metadata.field(row, image));
        require(row_of.emplace(id, row).second,
                "{}: the image id '{}' stands in an earlier row already; remove one of "
                "the rows",
                metadata.place(row), printable(id));
    }
    std::size_t alone = 0;
    for (Sample& sample : labels.samples) {
        const auto found = row_of.find(sample.image_id);
        require(found != row_of.end(),
                "{}: has no row for the image '{}' of the diagnoses; give the metadata that "
                "belong to them",
                metadata.name(), printable(sample.image_id));
        const std::size_t row = found->second;
        const std::string_view id = metadata.field(row, lesion);
        require(printable(id, id.size()) == id,
                "{}: lesion_id '{}' holds bytes that are no UTF-8 text; save the file "
                "as UTF-8",
                metadata.place(row), printable(id));
        alone += id.empty() ? 1 : 0;
        sample.lesion_id = id.empty() ? sample.image_id : std::string(id);
        const auto optional_field = [&](std::optional<std::size_t> column) {
            return column ? printable(metadata.field(row, *column)) : std::string();
        };
        sample.age = optional_field(age);
        sample.sex = optional_field(sex);
        sample.localization = optional_field(site);
    }
    labels.has_lesion_ids = true;
    labels.notices.erase(labels.notices.begin());  // read_labels' first: that there are no lesion ids
    if (alone > 0) {
        labels.notices.push_back(
            fmt::format("{} has no lesion id for {} of {} images, and each of them counts as its "
                        "own lesion",
                        metadata.name(), alone, labels.samples.size()));
    }
}

}  // namespace cutis
