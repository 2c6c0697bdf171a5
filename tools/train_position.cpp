#include "tools/train_position.h"

#include <fmt/format.h>

#include <charconv>

#include "kernels/error.h"

namespace cutis {
namespace {

template <class Position, class Visit>
void for_each_member(Position& position, Visit&& visit) {
    visit("step", position.step);
    visit("epoch", position.epoch);
    visit("batch", position.batch);
    visit("loss_sum", position.loss_sum);
    visit("loss_images", position.loss_images);
    visit("best_score", position.best_score);
    visit("best_loss", position.best_loss);
    visit("best_epoch", position.best_epoch);
    visit("ema_updates", position.ema_updates);
}

}  // namespace

std::map<std::string, std::string> TrainPosition::metadata() const {
    std::map<std::string, std::string> result;
    for_each_member(*this, [&](const char* key, const auto& value) { result[key] = fmt::format("{}", value); });
    return result;
}

TrainPosition TrainPosition::from(const SafetensorsFile& checkpoint) {
    TrainPosition position;
    for_each_member(position, [&](const char* key, auto& value) {
        const auto found = checkpoint.metadata().find(key);
        const std::string text = found == checkpoint.metadata().end() ? std::string() : found->second;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        require(error == std::errc() && end == text.data() + text.size(),
                "{}: metadata '{}' is missing or no number; this is no training checkpoint", checkpoint.path().string(),
                key);
    });
    return position;
}

}  // namespace cutis
