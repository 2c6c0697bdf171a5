#include "models/key_maps.h"

#include <algorithm>

#include "kernels/error.h"

namespace cutis {
namespace {

// timm's mobilenetv2_100 (and _050, _140, ..): blocks by stage and repeat, as in table 2 of the paper.
constexpr KeyRule kTimmMobileNetV2[] = {
    {"features.0.0.", "conv_stem."},
    {"features.0.1.", "bn1."},
    {"features.1.conv.0.0.", "blocks.0.0.conv_dw."},
    {"features.1.conv.0.1.", "blocks.0.0.bn1."},
    {"features.1.conv.1.", "blocks.0.0.conv_pw."},
    {"features.1.conv.2.", "blocks.0.0.bn2."},
    {"features.2.conv.", "blocks.1.0."},
    {"features.3.conv.", "blocks.1.1."},
    {"features.4.conv.", "blocks.2.0."},
    {"features.5.conv.", "blocks.2.1."},
    {"features.6.conv.", "blocks.2.2."},
    {"features.7.conv.", "blocks.3.0."},
    {"features.8.conv.", "blocks.3.1."},
    {"features.9.conv.", "blocks.3.2."},
    {"features.10.conv.", "blocks.3.3."},
    {"features.11.conv.", "blocks.4.0."},
    {"features.12.conv.", "blocks.4.1."},
    {"features.13.conv.", "blocks.4.2."},
    {"features.14.conv.", "blocks.5.0."},
    {"features.15.conv.", "blocks.5.1."},
    {"features.16.conv.", "blocks.5.2."},
    {"features.17.conv.", "blocks.6.0."},
    {"features.18.0.", "conv_head."},
    {"features.18.1.", "bn2."},
    {"classifier.1.", "classifier."},
};
constexpr KeyRule kTimmInvertedResidual[] = {
    {"0.0.", "conv_pw."}, {"0.1.", "bn1."}, {"1.0.", "conv_dw."}, {"1.1.", "bn2."}, {"2.", "conv_pwl."}, {"3.", "bn3."},
};

// timm's vgg16 and vgg16_bn: the linear layers on the map are convolutions there, and load as what they are.
constexpr KeyRule kTimmVgg[] = {
    {"classifier.0.", "pre_logits.fc1."},
    {"classifier.3.", "pre_logits.fc2."},
    {"classifier.6.", "head.fc."},
};

// Of timm's models resnet18 and resnet50 have torchvision's names, and there is no AlexNet or GoogLeNet.
constexpr KeyMap kMaps[] = {
    {"mobilenet_v2", "timm", kTimmMobileNetV2, kTimmInvertedResidual},
    {"vgg16", "timm", kTimmVgg, {}},
};

std::string_view renamed(std::string_view name, std::span<const KeyRule> rules, std::string& result) {
    const auto rule = std::find_if(rules.begin(), rules.end(),
                                   [&](const KeyRule& candidate) { return name.starts_with(candidate.ours); });
    if (rule != rules.end()) {
        result += rule->theirs;
        name.remove_prefix(rule->ours.size());
    }
    return name;
}

}  // namespace

std::string KeyMap::theirs(std::string_view ours) const {
    std::string result;
    const std::string_view behind = renamed(ours, layers, result);
    const std::string_view rest = behind.size() < ours.size() ? renamed(behind, inside, result) : behind;
    return result + std::string(rest);
}

std::span<const KeyMap> key_maps() {
    return kMaps;
}

KeyMap key_map_for(const Model& model, std::string_view name, const SafetensorsFile& file, std::string_view origin) {
    const KeyMap torchvision{name, "torchvision", {}, {}};
    const Parts parts = model.parts();
    const auto found = [&](const KeyMap& map) {
        return std::count_if(parts.parameters.begin(), parts.parameters.end(), [&](const ParameterRef& parameter) {
            return file.find(map.theirs(parameter.name)) != nullptr;
        });
    };
    if (origin == "torchvision") {
        return torchvision;
    }
    KeyMap best = torchvision;
    auto most = found(best);
    std::string known = "auto, torchvision";
    for (const KeyMap& map : kMaps) {
        if (!name.starts_with(map.model)) {
            continue;
        }
        known += ", " + std::string(map.origin);
        if (map.origin == origin) {
            return map;
        }
        if (const auto count = found(map); count > most) {
            best = map;
            most = count;
        }
    }
    require(origin == "auto", "{}: no names of origin '{}' are known; there are: {}", name, origin, known);
    return best;
}

}  // namespace cutis
