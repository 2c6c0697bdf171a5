#pragma once

#include <span>
#include <string>
#include <string_view>

#include "engine/safetensors.h"
#include "models/model.h"

namespace cutis {

/// A tensor whose name begins with `ours` begins with `theirs` in files of that origin; the rest is alike.
struct KeyRule {
    std::string_view ours, theirs;
};

/// How the tensors of a model are called in files of one origin. The first rule of `layers` that fits is applied, then,
/// to what is behind it, the first rule of `inside`; names that no rule fits are torchvision's.
struct KeyMap {
    std::string_view model;   ///< name in the table of models; a model that begins with it has the same features
    std::string_view origin;  ///< "timm"
    std::span<const KeyRule> layers, inside;

    /// The name in such a file of the tensor that torchvision and cutis call `ours`.
    std::string theirs(std::string_view ours) const;
};

/// All maps there are; models and origins without one have torchvision's names.
std::span<const KeyMap> key_maps();

/// The map by which a file's names are those of the model: torchvision's own ("torchvision", no rules) unless more of
/// the model's tensors are found by another one.
/// @param origin  "auto", or the name of the one to take. Throws Error naming what there is for any other.
KeyMap key_map_for(const Model& model, std::string_view name, const SafetensorsFile& file, std::string_view origin);

}  // namespace cutis
