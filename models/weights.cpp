#include "models/weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include "kernels/error.h"

namespace cutis {
namespace {

// A model's tensor and how it lies in files.
struct Entry {
    std::string name;
    Tensor tensor;
    WeightLayout layout;
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
    const std::vector<std::int64_t> shape = file_shape(entry.tensor.shape(), entry.layout);
    const TensorView* const view = file.find(entry.name);
    if (view == nullptr) {
        refuse(file, entry.name, "missing");
    }
    if (view->shape != shape) {
        refuse(file, entry.name, fmt::format("is {}, the model's is {}", shape_text(view->shape), shape_text(shape)));
    }
    copy_in(file, *view, entry);
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

LoadReport load_weights(Model& model, const SafetensorsFile& file, bool new_classifier) {
    LoadReport report;
    std::set<std::string, std::less<>> known;
    for (Entry& entry : entries_of(model.parts())) {
        known.insert(entry.name);
        const TensorView* const view = file.find(entry.name);
        const bool fits = view != nullptr && view->shape == file_shape(entry.tensor.shape(), entry.layout);
        const bool auxiliary = model.in_auxiliary_head(entry.name);
        const bool other_classes = !fits && model.in_classifier(entry.name) && (new_classifier || auxiliary);
        if (other_classes || (view == nullptr && auxiliary)) {
            report.reinitialized.push_back(entry.name);
            continue;
        }
        load_exact(file, entry);
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
        if (view.name.starts_with(classifier_prefix) && view.shape.size() == 2) {
            classes = view.shape[0];
        }
    }
    require(classes >= 0 && classes <= 1000000, "{}: a classifier of {} classes", file.path().string(), classes);
    return static_cast<int>(classes);
}

void save_weights(const std::filesystem::path& path, const Parts& parts, const ExtraTensors& extra,
                  const std::map<std::string, std::string>& metadata) {
    const std::vector<Entry> entries = entries_of(parts);
    std::vector<std::vector<float>> values;
    std::vector<TensorToWrite> tensors;
    values.reserve(entries.size());
    for (const Entry& entry : entries) {
        values.push_back(to_file_order(entry.tensor, entry.layout));
        tensors.push_back({entry.name, FileDType::f32, file_shape(entry.tensor.shape(), entry.layout),
                           std::as_bytes(std::span(values.back()))});
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
