#include "models/googlenet.h"

#include <utility>

#include "kernels/error.h"
#include "layers/blocks.h"

namespace cutis {
namespace {

constexpr float kAuxiliaryWeight = 0.3f;
constexpr float kAuxiliaryDropout = 0.7f;

// Table 1 of the paper: a module's filters by branch, "reduce" being the 1x1 before the larger ones.
struct Inception {
    const char* name;
    int to_1x1, reduce_3x3, to_3x3, reduce_5x5, to_5x5, pool_proj;
};
constexpr Inception k3a{"inception3a", 64, 96, 128, 16, 32, 32};      // 28 x 28 x 192 -> 28 x 28 x 256
constexpr Inception k3b{"inception3b", 128, 128, 192, 32, 96, 64};    //               -> 28 x 28 x 480
constexpr Inception k4a{"inception4a", 192, 96, 208, 16, 48, 64};     // 14 x 14 x 480 -> 14 x 14 x 512
constexpr Inception k4b{"inception4b", 160, 112, 224, 24, 64, 64};    //               -> 14 x 14 x 512
constexpr Inception k4c{"inception4c", 128, 128, 256, 24, 64, 64};    //               -> 14 x 14 x 512
constexpr Inception k4d{"inception4d", 112, 144, 288, 32, 64, 64};    //               -> 14 x 14 x 528
constexpr Inception k4e{"inception4e", 256, 160, 320, 32, 128, 128};  //               -> 14 x 14 x 832
constexpr Inception k5a{"inception5a", 256, 160, 320, 32, 128, 128};  // 7 x 7 x 832   -> 7 x 7 x 832
constexpr Inception k5b{"inception5b", 384, 192, 384, 48, 128, 128};  //               -> 7 x 7 x 1024

// torchvision's BasicConv2d.
Sequential conv(int c_in, int c_out, int kernel, int stride = 1) {
    Sequential layers;
    layers
        .add("conv", Conv2d({.c_in = c_in,
                             .c_out = c_out,
                             .kernel = kernel,
                             .stride = stride,
                             .padding = kernel / 2,
                             .bias = false,
                             .init = WeightInit::small}))
        .add("bn", BatchNorm({.c = c_out, .act = Activation::relu, .eps = 0.001f}));
    return layers;
}

// Appends parts of one width, and knows the channels of the last one's output.
struct Builder {
    float width;
    int c = 3;

    int scaled(int channels) const { return scaled_channels(channels, width); }

    void add_conv(Sequential& layers, const char* name, int c_out, int kernel, int stride = 1) {
        layers.add(name, conv(c, scaled(c_out), kernel, stride));
        c = scaled(c_out);
    }

    void add_inception(Sequential& layers, const Inception& module) {
        const auto reduced = [&](int reduce, int c_out) {
            Sequential branch;
            branch.add(conv(c, scaled(reduce), 1)).add(conv(scaled(reduce), scaled(c_out), 3));
            return branch;
        };
        Sequential pooled;
        pooled.add(MaxPool({.window = 3, .stride = 1, .padding = 1, .ceil = true}))
            .add(conv(c, scaled(module.pool_proj), 1));
        Branches branches;
        branches.add("branch1", conv(c, scaled(module.to_1x1), 1))
            .add("branch2", reduced(module.reduce_3x3, module.to_3x3))
            .add("branch3", reduced(module.reduce_5x5, module.to_5x5))
            .add("branch4", std::move(pooled));
        layers.add(module.name, std::move(branches));
        c = scaled(module.to_1x1) + scaled(module.to_3x3) + scaled(module.to_5x5) + scaled(module.pool_proj);
    }

    // The paper's 5x5 means with stride 3 are, at 224 px, 4 x 4 values of a map 14 x 14; here always.
    Sequential auxiliary_head(const ModelOptions& options, int number) const {
        constexpr int kSide = 4;
        const int reduced = scaled(128), hidden = scaled(1024);
        // No dropout at all where the classifier has none.
        const float dropout = options.dropout > 0.0f ? kAuxiliaryDropout : 0.0f;
        Sequential head;
        head.add("pool", AdaptiveAveragePool(kSide, kSide))
            .add("conv", conv(c, reduced, 1))
            .add("fc1",
                 Linear({.c_in = reduced, .c_out = hidden, .height = kSide, .width = kSide, .init = WeightInit::small}))
            .add("relu", Relu())
            .add("dropout", Dropout(dropout, number, 3))
            .add("fc2", Linear({.c_in = hidden, .c_out = options.classes, .init = WeightInit::small}));
        return head;
    }
};

MaxPool halve(int window) {
    return MaxPool({.window = window, .stride = 2, .ceil = true});
}

}  // namespace

GoogLeNet::GoogLeNet(const ModelOptions& chosen) : options(chosen) {
    Builder build{options.width};
    build.add_conv(to_4a, "conv1", 64, 7, 2);  // 224 -> 112
    to_4a.add("maxpool1", halve(3));           // 56
    build.add_conv(to_4a, "conv2", 64, 1);
    build.add_conv(to_4a, "conv3", 192, 3);
    to_4a.add("maxpool2", halve(3));  // 28
    build.add_inception(to_4a, k3a);
    build.add_inception(to_4a, k3b);
    to_4a.add("maxpool3", halve(3));  // 14
    build.add_inception(to_4a, k4a);
    aux1 = build.auxiliary_head(options, 1);
    for (const Inception& module : {k4b, k4c, k4d}) {
        build.add_inception(to_4d, module);
    }
    aux2 = build.auxiliary_head(options, 2);
    build.add_inception(to_logits, k4e);
    to_logits.add("maxpool4", halve(2));  // 7
    build.add_inception(to_logits, k5a);
    build.add_inception(to_logits, k5b);
    to_logits.add("avgpool", GlobalAveragePool())
        .add("dropout", Dropout(options.dropout, 0, 3))
        .add("fc", Linear({.c_in = build.c, .c_out = options.classes, .init = WeightInit::small}));
}

Variable GoogLeNet::forward(const Variable& images, const ForwardContext& context) {
    require_images("googlenet", images.shape(), least_size());
    return to_logits.forward(to_4d.forward(to_4a.forward(images, context), context), context);
}

TrainingOutput GoogLeNet::forward_training(const Variable& images, const ForwardContext& context) {
    require_images("googlenet", images.shape(), least_size());
    const Variable from_4a = to_4a.forward(images, context), from_4d = to_4d.forward(from_4a, context);
    return {to_logits.forward(from_4d, context),
            {{aux1.forward(from_4a, context), kAuxiliaryWeight}, {aux2.forward(from_4d, context), kAuxiliaryWeight}}};
}

void GoogLeNet::visit(Parts& parts) const {
    for (const Sequential* layers : {&to_4a, &to_4d, &to_logits}) {
        layers->visit("", parts);
    }
    aux1.visit("aux1", parts);
    aux2.visit("aux2", parts);
}

void GoogLeNet::init(std::uint64_t seed) {
    for (Sequential* layers : {&to_4a, &to_4d, &to_logits}) {
        layers->init(seed, "");
    }
    aux1.init(seed, "aux1");
    aux2.init(seed, "aux2");
}

std::vector<LayerSummary> GoogLeNet::summarize(int size) const {
    require(size >= least_size(), "googlenet: an input of {} px; at least {} px are needed", size, least_size());
    std::vector<LayerSummary> lines;
    Shape shape{size, size, 3};
    for (const Sequential* layers : {&to_4a, &to_4d, &to_logits}) {
        shape = layers->summarize("", shape, lines);
    }
    return lines;
}

}  // namespace cutis
