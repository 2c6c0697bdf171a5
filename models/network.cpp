#include "models/network.h"

#include "kernels/error.h"

namespace cutis {

Variable Network::forward(const Variable& images, const ForwardContext& context) {
    require_images(facts_.name, images.shape(), least_size());
    return layers_.forward(images, context);
}

std::vector<LayerSummary> Network::summarize(int size) const {
    require(size >= least_size(), "{}: an input of {} px; at least {} px are needed", facts_.name, size, least_size());
    std::vector<LayerSummary> lines;
    layers_.summarize("", {size, size, 3}, lines);
    return lines;
}

}  // namespace cutis
