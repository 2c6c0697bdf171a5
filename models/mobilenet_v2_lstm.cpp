#include "models/mobilenet_v2_lstm.h"

namespace cutis {

MobileNetV2LstmBase::MobileNetV2LstmBase(const ModelOptions& chosen, bool one_step)
    : MobileNetV2Trunk(chosen.width),
      options(chosen),
      pooled(one_step),
      lstm({.c_in = last_channels(), .hidden = chosen.lstm_hidden}),
      classifier({.c_in = chosen.lstm_hidden, .c_out = chosen.classes}) {}

Variable MobileNetV2LstmBase::forward(const Variable& images, const ForwardContext& context) {
    const Variable map = features(images, context, pooled);
    const Shape& shape = map.shape();
    const std::int64_t steps = pooled ? 1 : shape[1] * shape[2];
    Variable x = lstm.forward(reshape(map, {shape[0], steps, last_channels()}), context).last.h.front();
    if (context.training) {
        x = dropout(x, options.dropout, context.dropout_key());
    }
    return classifier.forward(x, context);
}

void MobileNetV2LstmBase::visit(Parts& parts) const {
    visit_features(parts);
    lstm.visit("classifier.lstm.", parts);
    classifier.visit("classifier.1", parts);
}

void MobileNetV2LstmBase::init(std::uint64_t seed) {
    init_features(seed);
    lstm.init(seed, "classifier.lstm.");
    classifier.init(seed, "classifier.1");
}

std::vector<LayerSummary> MobileNetV2LstmBase::summarize(int size) const {
    std::vector<LayerSummary> lines;
    const Shape map = summarize_features(size, lines);
    if (pooled) {
        lines.push_back({"pool", "global average", {map[3]}});
    }
    const std::int64_t steps = pooled ? 1 : map[1] * map[2], hidden = options.lstm_hidden;
    const std::int64_t weights = 4 * hidden * (map[3] + hidden);
    lines.push_back({"classifier.lstm", "lstm", {steps, hidden}, weights + 8 * hidden, weights * steps});
    classifier.summarize("classifier.1", {hidden}, lines);
    return lines;
}

}  // namespace cutis
