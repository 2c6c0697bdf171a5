#include "tools/prepare.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "engine/csv.h"
#include "engine/image.h"
#include "engine/isic_metadata.h"
#include "engine/jpeg_encode.h"
#include "engine/metadata.h"
#include "engine/resize.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/progress.h"
#include "tools/read_ahead.h"
#include "tools/signals.h"

namespace cutis {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kAheadPerThread = 8;  // images that wait to be written: some take longer than others

/// Files by image id. Several of one id matter only where a row asks for it.
using ImageFiles = std::unordered_map<std::string, std::vector<fs::path>>;

void find_images(const fs::path& folder, ImageFiles& files) {
    std::error_code error;
    require(fs::is_directory(folder, error), "--images {}: is no folder; give the folder that holds the images",
            folder.string());
    bool any = false;
    fs::recursive_directory_iterator entry(folder, error);
    for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
        if (std::error_code ignored; is_image_path(entry->path()) && !entry->is_directory(ignored)) {
            files[image_id_of(entry->path().filename().string())].push_back(entry->path());
            any = true;
        }
    }
    require(!error, "--images {}: cannot be read: {}; check its permissions", folder.string(), error.message());
    require(any, "--images {}: holds no .jpg, .jpeg or .png file; check the path", folder.string());
}

std::string joined(std::vector<fs::path> paths) {
    std::sort(paths.begin(), paths.end());  // a folder lists its files in any order
    std::string text;
    for (const fs::path& path : paths) {
        text += (text.empty() ? "" : ", ") + path.string();
    }
    return text;
}

/// A row of the metadata, and where its image lies.
struct Row {
    const Sample* sample = nullptr;
    std::string place;  // "metadata.csv:12"
    fs::path image;     // empty: there is none
};

std::vector<Row> match(const CsvTable& table, const Labels& labels, const ImageFiles& files) {
    std::vector<Row> rows;
    rows.reserve(labels.samples.size());
    for (std::size_t i = 0; i < labels.samples.size(); ++i) {
        const Sample& sample = labels.samples[i];
        Row row{&sample, table.place(i), {}};
        if (const auto found = files.find(sample.image_id); found != files.end()) {
            require(found->second.size() == 1, "{}: image '{}' has several files: {}; remove or rename all but one",
                    row.place, printable(sample.image_id), joined(found->second));
            row.image = found->second.front();
        }
        rows.push_back(std::move(row));
    }
    return rows;
}

/// Without skip_bad the first row without an image is an error, before anything is decoded.
void require_images(const std::vector<Row>& rows, const PrepareOptions& options) {
    const Row* first = nullptr;
    std::int64_t missing = 0;
    for (const Row& row : rows) {
        if (row.image.empty()) {
            first = first == nullptr ? &row : first;
            ++missing;
        }
    }
    if (first != nullptr && !options.skip_bad) {
        fail(
            "{}: image '{}' has no .jpg, .jpeg or .png file in {} ({} of {} rows have none); name the folder that "
            "holds it with "
            "another --images, or leave such rows out with --skip-bad",
            first->place, printable(first->sample->image_id), joined(options.folders), grouped_digits(missing),
            grouped_digits(static_cast<std::int64_t>(rows.size())));
    }
}

/// An image as the codec stores it, or why there is none.
struct Outcome {
    std::vector<std::uint8_t> image;
    std::string reason;
};

Outcome make_image(const Row& row, const PrepareOptions& options, const LesionMasks* masks) {
    if (row.image.empty()) {
        return {{}, fmt::format("{}: its image file is missing", row.place)};
    }
    try {
        Image image = load_image(row.image);
        if (masks != nullptr) {
            image = masks->region_of_interest(image, row.sample->image_id);
        }
        image = fit_square(image, options.size, options.keep_aspect);
        if (options.codec == PackedCodec::jpeg) {
            return {encode_jpeg(image.rgb, options.size, options.size, options.jpeg_quality), {}};
        }
        return {std::move(image.rgb), {}};
    } catch (const Error& error) {
        return {{}, error.what()};
    }
}

/// Counts images and lesions as they are packed.
class Counter {
  public:
    explicit Counter(const std::vector<std::string>& class_names) : lesions_(class_names.size()) {
        for (const std::string& name : class_names) {
            classes_.push_back({name, 0, 0});
        }
    }
    void add(const Sample& sample) {
        const auto label = static_cast<std::size_t>(sample.label);
        ++classes_[label].images;
        lesions_[label].insert(sample.lesion_id);
        all_lesions_.insert(sample.lesion_id);
    }
    void report(Prepared& prepared) {
        for (std::size_t c = 0; c < classes_.size(); ++c) {
            classes_[c].lesions = static_cast<std::int64_t>(lesions_[c].size());
            prepared.images += classes_[c].images;
        }
        prepared.classes = std::move(classes_);
        prepared.lesions = static_cast<std::int64_t>(all_lesions_.size());
    }

  private:
    std::vector<PreparedClass> classes_;
    std::vector<std::set<std::string>> lesions_;
    std::set<std::string> all_lesions_;
};

void pack(const std::vector<Row>& rows, const Labels& labels, const PrepareOptions& options, Prepared& prepared) {
    std::map<std::string, std::string> properties{{"framing", options.keep_aspect ? "whole" : "crop"}};
    if (options.codec == PackedCodec::jpeg) {
        properties["jpeg_quality"] = std::to_string(options.jpeg_quality);
    }
    std::optional<LesionMasks> masks;
    if (!options.masks.folder.empty()) {
        masks.emplace(options.masks);
        properties["roi"] = fmt::format("mask, margin {}{}", options.masks.margin,
                                        options.masks.black_outside ? ", black outside" : "");
    }
    PackedDatasetWriter writer(options.out, options.size, labels.class_names, labels.has_lesion_ids,
                               std::move(properties), options.codec);
    Counter counter(labels.class_names);
    const auto count = static_cast<std::int64_t>(rows.size());
    Progress progress("prepare", count, "images");
    ReadAhead<Outcome> images(count, options.threads, kAheadPerThread * options.threads, [&](std::int64_t i) {
        return make_image(rows[static_cast<std::size_t>(i)], options, masks ? &*masks : nullptr);
    });
    for (std::int64_t i = 0; i < count; ++i) {
        throw_if_stopped();
        const Row& row = rows[static_cast<std::size_t>(i)];
        const Outcome outcome = images.next();
        if (outcome.reason.empty()) {
            writer.add(*row.sample, outcome.image);
            counter.add(*row.sample);
        } else {
            require(options.skip_bad, "{}; --skip-bad leaves such images out", outcome.reason);
            prepared.left_out.push_back({row.sample->image_id, outcome.reason});
        }
        progress.update(i + 1);
    }
    require(writer.size() > 0,
            "{}: none of its {} rows has a usable image, so there is nothing to pack (the first: {})",
            options.metadata.string(), count, prepared.left_out.empty() ? "-" : prepared.left_out.front().reason);
    writer.commit();
    prepared.seconds = progress.elapsed();
    counter.report(prepared);
}

}  // namespace

Prepared prepare(const PrepareOptions& options) {
    const CsvTable table = read_csv(options.metadata);
    Labels labels = read_labels(table, options.class_names);
    if (!options.lesions.empty()) {
        join_isic_metadata(labels, read_csv(options.lesions));
    }
    ImageFiles files;
    for (const fs::path& folder : options.folders) {
        find_images(folder, files);
    }
    const std::vector<Row> rows = match(table, labels, files);
    require_images(rows, options);

    Prepared prepared;
    prepared.notices = labels.notices;
    for (const Sample& sample : labels.samples) {
        files.erase(sample.image_id);
    }
    for (const auto& [id, paths] : files) {
        prepared.without_row += static_cast<std::int64_t>(paths.size());
    }
    pack(rows, labels, options, prepared);
    prepared.bytes = fs::file_size(options.out);
    prepared.checksum = PackedDataset(options.out).checksum();
    return prepared;
}

}  // namespace cutis
