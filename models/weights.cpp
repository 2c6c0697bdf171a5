#include "models/weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>
#include <utility>

#include "engine/half.h"
#include "kernels/error.h"

namespace cutis {
namespace {

// A model's tensor and how it lies in files.
struct Entry {
    std::string name;
    Tensor tensor;
    WeightLayout layout;

    std::vector<std::int64_t> shape() const { return file_shape(tensor.shape(), layout); }
};

std::vector<Entry> entries_of(const Parts& parts) {
    std::vector<Entry> entries;
    for (const ParameterRef& parameter : parts.parameters) {
        entries.push_back({parameter.name, parameter.variable.value(), parameter.layout});
    }
    for (const BufferRef& buffer : parts.buffers) {
        entries.push_back({buffer.name, buffer.tensor, WeightLayout::same});
    }
    return entries;
}

std::string shape_text(std::span<const std::int64_t> shape) {
    return shape.empty() ? "scalar" : fmt::format("{}", fmt::join(shape, " x "));
}

void copy_in(const SafetensorsFile& file, const TensorView& view, Entry& entry) {
    from_file_order(entry.tensor, file.read_f32(view), entry.layout);
}

[[noreturn]] void refuse(const SafetensorsFile& file, const std::string& name, const std::string& why) {
    fail("{}: tensor {}: {}; this is a checkpoint of another model", file.path().string(), name, why);
}

void load_exact(const SafetensorsFile& file, Entry& entry) {
    const TensorView* const view = file.find(entry.name);
    if (view == nullptr) {
        refuse(file, entry.name, "missing");
    }
    if (view->shape != entry.shape()) {
        refuse(file, entry.name,
               fmt::format("is {}, the model's is {}", shape_text(view->shape), shape_text(entry.shape())));
    }
    copy_in(file, *view, entry);
}

// Under another name linear weights k x (c r s) may be a convolution's, k x c x r x s: the same values in the same
// order.
bool is_convolution_of(const std::vector<std::int64_t>& filter, const std::vector<std::int64_t>& matrix) {
    return filter.size() == 4 && matrix.size() == 2 && filter[0] == matrix[0] &&
           Shape(std::span(filter).subspan(1)).elements() == matrix[1];
}

std::vector<std::uint16_t> as_halves(const std::vector<float>& values, const std::string& name) {
    std::vector<std::uint16_t> halves(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        halves[i] = f32_to_f16(values[i]);
        require(std::isfinite(f16_to_f32(halves[i])), "weights: {} holds {}, which f16 cannot; write it as f32", name,
                values[i]);
    }
    return halves;
}

// The first few by name, the others by number.
std::string some_of(const std::vector<std::string>& names) {
    constexpr std::size_t kShown = 4;
    const std::size_t shown = std::min(kShown, names.size());
    const std::span<const std::string> first(names.data(), shown);
    return fmt::format("{}{}", fmt::join(first, ", "),
                       names.size() > shown ? fmt::format(" and {} more", names.size() - shown) : "");
}

}  // namespace

std::string LoadReport::notice() const {
    std::string text;
    if (!reinitialized.empty()) {
        text = "re-initialised: " + some_of(reinitialized);
    }
    if (!unused.empty()) {
        text += (text.empty() ? "" : "; ") + ("not used: " + some_of(unused));
    }
    return text;
}

LoadReport load_weights(Model& model, const SafetensorsFile& file, bool new_classifier,
                        const std::function<std::string(std::string_view)>& name_in_file) {
    LoadReport report;
    std::set<std::string, std::less<>> known;
    for (Entry& entry : entries_of(model.parts())) {
        const std::string own_name = entry.name;
        if (name_in_file) {
            entry.name = name_in_file(own_name);
        }
        known.insert(entry.name);
        const TensorView* const view = file.find(entry.name);
        const bool fits = view != nullptr && view->shape == entry.shape();
        const bool auxiliary = model.in_auxiliary_head(own_name);
        const bool other_classes = !fits && model.in_classifier(own_name) && (new_classifier || auxiliary);
        if (other_classes || (view == nullptr && auxiliary)) {
            report.reinitialized.push_back(own_name);
            continue;
        }
        if (!fits && name_in_file && view != nullptr && is_convolution_of(view->shape, entry.shape())) {
            copy_in(file, *view, entry);
        } else {
            load_exact(file, entry);
        }
        ++report.matched;
    }
    for (const TensorView& view : file.tensors()) {
        const bool ours = known.contains(view.name) || view.name.ends_with("num_batches_tracked") ||
                          view.name.starts_with("optimizer.") || view.name.starts_with("ema.");
        if (!ours) {
            report.unused.push_back(view.name);
        }
    }
    return report;
}

int classes_in_file(const SafetensorsFile& file, std::string_view classifier_prefix) {
    std::int64_t classes = 0;
    for (const TensorView& view : file.tensors()) {
        if (view.name.starts_with(classifier_prefix) && view.name.ends_with(".weight") && view.shape.size() == 2) {
            classes = view.shape[0];
        }
    }
    require(classes >= 0 && classes <= 1000000, "{}: a classifier of {} classes", file.path().string(), classes);
    return static_cast<int>(classes);
}

void save_weights(const std::filesystem::path& path, const Parts& parts, const ExtraTensors& extra,
                  const std::map<std::string, std::string>& metadata, WeightPrecision precision) {
    const std::vector<Entry> entries = entries_of(parts);
    std::vector<std::vector<float>> values;
    std::vector<std::vector<std::uint16_t>> halves;
    std::vector<TensorToWrite> tensors;
    values.reserve(entries.size());
    halves.reserve(entries.size());
    for (const Entry& entry : entries) {
        std::vector<float> in_order = to_file_order(entry.tensor, entry.layout);
        if (precision == WeightPrecision::f16 && entry.shape().size() >= 2) {
            halves.push_back(as_halves(in_order, entry.name));
            tensors.push_back({entry.name, FileDType::f16, entry.shape(), std::as_bytes(std::span(halves.back()))});
        } else {
            values.push_back(std::move(in_order));
            tensors.push_back({entry.name, FileDType::f32, entry.shape(), std::as_bytes(std::span(values.back()))});
        }
    }
    std::vector<Tensor> on_cpu;
    on_cpu.reserve(extra.size());
    for (const BufferRef& buffer : extra) {
        on_cpu.push_back(buffer.tensor.to(Device{}));
        tensors.push_back({buffer.name, FileDType::f32, file_shape(buffer.tensor.shape(), WeightLayout::same),
                           std::as_bytes(std::as_const(on_cpu.back()).values())});
    }
    write_safetensors(path, tensors, metadata);
}

void load_checkpoint(const SafetensorsFile& file, const Parts& parts, const ExtraTensors& extra) {
    for (Entry& entry : entries_of(parts)) {
        load_exact(file, entry);
    }
    for (const BufferRef& buffer : extra) {
        Entry entry{buffer.name, buffer.tensor, WeightLayout::same};
        load_exact(file, entry);
    }
}

}  // namespace cutis
