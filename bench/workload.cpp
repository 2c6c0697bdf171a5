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

namespace {

bool is_small(const Workload& workload) {
    return workload.width < 1.0f;
}
int channels_of(const Workload& workload, int c) {
    return is_small(workload) ? c / 8 : c;
}
int side_of(const Workload& workload, int side) {
    return is_small(workload) ? std::max(7, side / 8) : side;
}

}  // namespace

std::vector<ConvShape> dense_shapes(const Workload& workload) {
    struct Dense {
        int side, c, k, filter, stride, padding, groups;
    };
    std::vector<ConvShape> shapes;
    for (const Dense& d :
         {Dense{27, 64, 192, 5, 1, 2, 1}, Dense{27, 96, 256, 5, 1, 2, 2}, Dense{13, 192, 384, 3, 1, 1, 1},
          Dense{13, 384, 256, 3, 1, 1, 1}, Dense{13, 256, 256, 3, 1, 1, 1}}) {
        const int side = side_of(workload, d.side);
        shapes.push_back({workload.batch, side, side, channels_of(workload, d.c), channels_of(workload, d.k), d.filter,
                          d.filter, d.stride, d.padding, d.groups});
    }
    // Of the image.
    shapes.push_back({workload.batch, workload.size, workload.size, 3, channels_of(workload, 64), 11, 11, 4, 2});
    shapes.push_back({workload.batch, workload.size, workload.size, 3, channels_of(workload, 64), 7, 7, 2, 3});
    return shapes;
}

std::vector<PoolShape> max_pool_shapes(const Workload& workload) {
    std::vector<PoolShape> shapes{{0, 55, 55, 64, 3, 2, 0},
                                  {0, 27, 27, 192, 3, 2, 0},
                                  {0, 112, 112, 64, 3, 2, 1},
                                  {0, 28, 28, 480, 3, 2, 0, true},
                                  {0, 14, 14, 512, 3, 1, 1}};
    for (PoolShape& s : shapes) {
        s.n = workload.batch;
        s.h = s.w = side_of(workload, s.h);
        s.c = channels_of(workload, s.c);
    }
    return shapes;
}

std::vector<std::pair<int, int>> linear_shapes(const Workload& workload) {
    std::vector<std::pair<int, int>> shapes{{9216, 4096}, {4096, 4096}};
    for (auto& [c, k] : shapes) {
        c = is_small(workload) ? c / 64 : c;
        k = is_small(workload) ? k / 64 : k;
    }
    shapes.insert(shapes.begin(), {conv_layers(workload).back().k, 7});
    return shapes;
}

std::vector<std::pair<int, int>> response_norm_shapes(const Workload& workload) {
    return {{side_of(workload, 55), channels_of(workload, 96)}, {side_of(workload, 27), channels_of(workload, 256)}};
}

}  // namespace cutis::bench
