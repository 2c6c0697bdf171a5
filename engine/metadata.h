#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace cutis {

class CsvTable;

/// One image of a data set.
struct Sample {
    std::string image_id;   ///< the file name without its extension
    std::string lesion_id;  ///< images of one lesion share it
    int label = 0;          ///< index into the class names
    std::string age;        ///< as the file has them; empty where unknown
    std::string sex;
    std::string localization;
};

struct Labels {
    std::vector<std::string> class_names;
    std::vector<Sample> samples;  ///< in the order of the file
    bool has_lesion_ids = true;   ///< false: each image stands for its own lesion
    std::vector<std::string> notices;
};

/// The seven diagnoses of HAM10000 in the order of the ISIC 2018 challenge: MEL, NV, BCC, AKIEC, BKL, DF, VASC = 0..6.
/// (Tschandl, Rosendahl, Kittler: "The HAM10000 dataset", Scientific Data 5, 180161, 2018.)
const std::vector<std::string>& ham10000_class_names();

/// An image id of a CSV file: the field without a file extension .jpg, .jpeg or .png (any case).
std::string image_id_of(std::string_view field);

/// The column of image ids, image_id or else image; throws Error naming the file when it has neither.
std::size_t image_column(const CsvTable& table);

/// Reads diagnoses from one of two kinds of CSV file:
/// - HAM10000 metadata: columns image_id (or image), lesion_id, dx, and perhaps age, sex, localization. `dx` is a class
/// name in any
///   case. The column dx_type (how the diagnosis was made) is never read. With class names of one's own lesion_id may
///   be absent.
/// - ISIC one-hot: a column image, and one column per class with 1.0 in exactly one of them. There are no lesion ids
/// (unless a
///   column lesion_id is added), so each image is its own lesion, which `notices` says. Columns that are the seven of
///   HAM10000 or the eight of ISIC 2019 (engine/isic_metadata.h, with what joins lesion ids) get their order, and an
///   empty column UNK is left out; score_weight and validation_weight are no classes; others keep the file's, and with
///   `class_names` only those are read.
/// Throws Error naming file, line, value and remedy for: a missing column, an unknown diagnosis, an id twice or empty,
/// a row with no or several classes, no rows, class names that are empty or given twice.
/// @param class_names  the classes in their order; empty: HAM10000's, or the columns of a one-hot file
Labels read_labels(const std::filesystem::path& path, const std::vector<std::string>& class_names = {});
/// The same for a table at hand.
Labels read_labels(const CsvTable& table, const std::vector<std::string>& class_names = {});

}  // namespace cutis
