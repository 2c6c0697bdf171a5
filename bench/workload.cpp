#include "bench/workload.h"

#include <algorithm>

#include "models/model.h"

namespace cutis::bench {

std::vector<ConvLayer> conv_layers(const Workload& workload) {
    std::vector<ConvLayer> layers;
    int side = workload.size, c = 3;
    for (const LayerSummary& layer : make_model("mobilenet_v2", {.width = workload.width})->summarize(workload.size)) {
        if (layer.kind == "conv" || layer.kind == "depthwise" || layer.kind == "pointwise") {
            const ConvLayer found{layer.kind, side, c, static_cast<int>(layer.output[0]),
                                  static_cast<int>(layer.output[2])};
            if (std::find(layers.begin(), layers.end(), found) == layers.end()) {
                layers.push_back(found);
            }
            side = found.side_out;
            c = found.k;
        }
    }
    return layers;
}

}  // namespace cutis::bench
