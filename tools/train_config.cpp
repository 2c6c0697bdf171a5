#include "tools/train_config.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

using Json = nlohmann::json;

/// Calls visit(key, member) for every setting; Config is const or not.
template <class Config, class Visit>
void for_each_setting(Config& c, Visit&& visit) {
    visit("data", c.data);
    visit("split", c.split);
    visit("split_file", c.split_file);
    visit("fold", c.fold);
    visit("split_seed", c.split_seed);
    visit("hold_out_class", c.hold_out_class);
    visit("order", c.order);
    visit("augment", c.augment);
    visit("augmentation", c.augmentation);
    visit("size", c.size);
    visit("mean", c.mean);
    visit("std", c.std);

    visit("model", c.model);
    visit("init", c.init);
    visit("classes", c.classes);
    visit("width", c.width);
    visit("dropout", c.dropout);
    visit("lstm_hidden", c.lstm_hidden);
    visit("freeze", c.freeze);
    visit("freeze_steps", c.freeze_steps);

    visit("epochs", c.epochs);
    visit("steps", c.steps);
    visit("batch_size", c.batch_size);
    visit("accumulate", c.accumulate);
    visit("optimizer", c.optimizer);
    visit("lr", c.lr);
    visit("lr_head", c.lr_head);
    visit("lr_scale", c.lr_scale);
    visit("momentum", c.momentum);
    visit("nesterov", c.nesterov);
    visit("weight_decay", c.weight_decay);
    visit("schedule", c.schedule);
    visit("warmup", c.warmup);
    visit("clip_grad", c.clip_grad);
    visit("ema", c.ema);
    visit("loss", c.loss);
    visit("focal_gamma", c.focal_gamma);
    visit("label_smoothing", c.label_smoothing);
    visit("class_weights", c.class_weights);
    visit("early_stop", c.early_stop);

    visit("seed", c.seed);
    visit("threads", c.threads);
    visit("loader_threads", c.loader_threads);
    visit("device", c.device);
    visit("backend", c.backend);
    visit("precision", c.precision);
    visit("resident", c.resident);
    visit("graph", c.graph);
    visit("fused", c.fused);
    visit("log_every", c.log_every);
    visit("out", c.out);
}

template <class Options, class Visit>
void for_each_augmentation(Options& a, Visit&& visit) {
    visit("horizontal_flip", a.horizontal_flip);
    visit("vertical_flip", a.vertical_flip);
    visit("rotation_degrees", a.rotation_degrees);
    visit("crop_scale_min", a.crop_scale_min);
    visit("crop_scale_max", a.crop_scale_max);
    visit("crop_aspect", a.crop_aspect);
    visit("brightness", a.brightness);
    visit("contrast", a.contrast);
    visit("saturation", a.saturation);
    visit("hue", a.hue);
    visit("cutout", a.cutout);
    visit("fill", a.fill);
}

/// The double of the fewest digits that still names this float: 0.02f is written as 0.02, not as 0.0199999996.
double decimal(float value) {
    char text[32];
    const auto end = std::to_chars(text, text + sizeof text, value).ptr;
    double result = value;
    std::from_chars(text, end, result);
    return result;
}

// ---- to JSON

template <class T>
Json to_value(const T& value) {
    return value;
}
Json to_value(const float& value) {
    return decimal(value);
}
Json to_value(const std::vector<float>& values) {
    Json list = Json::array();
    for (const float value : values) {
        list.push_back(decimal(value));
    }
    return list;
}
Json to_value(const AugmentOptions& options) {
    Json object = Json::object();
    for_each_augmentation(options, [&](const char* key, const auto& member) { object[key] = to_value(member); });
    return object;
}

// ---- from JSON

/// Where a value stands, for messages.
struct Place {
    const std::string& source;
    std::string key;

    [[noreturn]] void refuse(const Json& value, std::string_view wanted) const {
        fail("{}: key '{}' is {}, but {} is wanted; correct it", source, key,
             printable(value.dump(-1, ' ', false, Json::error_handler_t::replace), 60), wanted);
    }
};

void read(const Json& value, std::string& member, const Place& place) {
    if (!value.is_string()) {
        place.refuse(value, "a text");
    }
    member = value.get<std::string>();
}

void read(const Json& value, bool& member, const Place& place) {
    if (!value.is_boolean()) {
        place.refuse(value, "true or false");
    }
    member = value.get<bool>();
}

void read(const Json& value, float& member, const Place& place) {
    if (!value.is_number() || !(std::abs(value.get<double>()) <= std::numeric_limits<float>::max())) {
        place.refuse(value, "a number");
    }
    member = static_cast<float>(value.get<double>());
}

template <class Integer>
requires std::is_integral_v<Integer>
void read(const Json& value, Integer& member, const Place& place) {
    if (value.is_number_unsigned() && std::in_range<Integer>(value.get<std::uint64_t>())) {
        member = static_cast<Integer>(value.get<std::uint64_t>());
    } else if (value.is_number_integer() && std::in_range<Integer>(value.get<std::int64_t>())) {
        member = static_cast<Integer>(value.get<std::int64_t>());
    } else {
        place.refuse(value, fmt::format("a whole number from {} to {}", std::numeric_limits<Integer>::min(),
                                        std::numeric_limits<Integer>::max()));
    }
}

void read(const Json& value, std::vector<float>& member, const Place& place) {
    if (!value.is_array() || (value.size() != 3 && !value.empty())) {
        place.refuse(value, "a list of three numbers");
    }
    member.resize(value.size());
    for (std::size_t i = 0; i < value.size(); ++i) {
        read(value[i], member[i], place);
    }
}

void read(const Json& value, std::array<std::uint8_t, 3>& member, const Place& place) {
    if (!value.is_array() || value.size() != 3) {
        place.refuse(value, "a list of three numbers from 0 to 255");
    }
    for (std::size_t i = 0; i < 3; ++i) {
        read(value[i], member[i], place);
    }
}

void read(const Json& value, AugmentOptions& member, const Place& place);

/// Fills what `json` names of a struct whose members `each` visits; an unknown key is an error.
template <class Each>
void read_members(const Json& json, const std::string& source, const std::string& prefix, Each&& each) {
    std::size_t found = 0;
    each([&](const char* key, auto& member) {
        if (const auto at = json.find(key); at != json.end()) {
            read(*at, member, Place{source, prefix + key});
            ++found;
        }
    });
    if (found == json.size()) {
        return;
    }
    for (const auto& item : json.items()) {
        std::string known;
        bool is_known = false;
        each([&](const char* key, const auto&) {
            known += (known.empty() ? "" : ", ") + std::string(key);
            is_known |= item.key() == key;
        });
        require(is_known, "{}: unknown key '{}'; there are: {}", source, printable(prefix + item.key()), known);
    }
}

void read(const Json& value, AugmentOptions& member, const Place& place) {
    if (!value.is_object()) {
        place.refuse(value, "an object");
    }
    read_members(value, place.source, place.key + ".", [&](auto&& visit) { for_each_augmentation(member, visit); });
}

}  // namespace

Json to_json(const TrainConfig& config) {
    Json json = Json::object();
    for_each_setting(config, [&](const char* key, const auto& member) { json[key] = to_value(member); });
    return json;
}

void from_json(const Json& json, TrainConfig& config, const std::string& source) {
    require(json.is_object(), "{}: no JSON object; write settings like {{\"batch_size\": 32}}", source);
    TrainConfig changed = config;
    // The preset is where single settings start from, so it goes first, whatever the order in the file.
    if (const auto preset = json.find("augment"); preset != json.end()) {
        read(*preset, changed.augment, Place{source, "augment"});
        try {
            changed.augmentation = augment_preset(changed.augment);
        } catch (const Error& error) {
            fail("{}: key 'augment': {}", source, error.what());
        }
    }
    read_members(json, source, "", [&](auto&& visit) { for_each_setting(changed, visit); });
    config = std::move(changed);
}

}  // namespace cutis
