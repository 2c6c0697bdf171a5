#include "tools/run_log.h"

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/files.h"
#include "kernels/error.h"

namespace cutis {
namespace {

double wall_time() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

nlohmann::json number(double value) {
    return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

// The lines that a run standing at `step` and `epoch` has written. A line that is cut short (a crash in mid-write)
// goes, too.
std::string lines_until(const std::filesystem::path& path, std::int64_t step, std::int64_t epoch) {
    std::string kept;
    if (step == 0 || !std::filesystem::exists(path)) {
        return kept;
    }
    const std::string text = read_text_file(path);
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = text.find('\n', begin);
        if (end == std::string::npos) {
            break;
        }
        const std::string line = text.substr(begin, end + 1 - begin);
        begin = end + 1;
        const nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
        if (!record.is_object()) {
            continue;
        }
        const std::string kind = record.value("kind", "");
        if ((kind == "step" && record.value("step", step + 1) <= step) ||
            (kind == "epoch" && record.value("epoch", epoch + 1) <= epoch)) {
            kept += line;
        }
    }
    return kept;
}

std::filesystem::path prepared(const std::filesystem::path& folder, std::int64_t step, std::int64_t epoch) {
    const std::filesystem::path path = folder / "metrics.jsonl";
    write_file_atomically(path, lines_until(path, step, epoch));
    return path;
}

}  // namespace

RunLog::RunLog(const std::filesystem::path& folder, std::int64_t step, std::int64_t epoch)
    : path_(prepared(folder, step, epoch)),
      lines_(path_, std::ios::app | std::ios::binary),
      tensorboard_(folder / "tensorboard", step > 0 ? step + 1 : 0) {  // readers drop what stands from that step on
    require(lines_.good(), "{}: cannot be opened for writing", path_.string());
}

void RunLog::line(const nlohmann::json& record) {
    lines_ << record.dump() << '\n';
    require(lines_.good(), "{}: cannot be written (disk full?); free some space and go on with --resume",
            path_.string());
}

void RunLog::step(std::int64_t step, double loss, double lr) {
    line({{"kind", "step"}, {"step", step}, {"loss", loss}, {"lr", lr}});
    const double now = wall_time();
    tensorboard_.scalar("train/loss", loss, step, now);
    tensorboard_.scalar("train/learning_rate", lr, step, now);
}

void RunLog::epoch(const EpochRecord& record) {
    line({{"kind", "epoch"},
          {"epoch", record.epoch},
          {"step", record.step},
          {"train_loss", number(record.train_loss)},
          {"val_loss", number(record.val_loss)},
          {"val_accuracy", number(record.val_accuracy)},
          {"val_balanced_accuracy", number(record.val_balanced_accuracy)},
          {"lr", record.lr},
          {"images_per_second", number(record.images_per_second)}});
    const double now = wall_time();
    tensorboard_.scalar("epoch/train_loss", record.train_loss, record.step, now);
    tensorboard_.scalar("epoch/images_per_second", record.images_per_second, record.step, now);
    if (std::isfinite(record.val_loss)) {
        tensorboard_.scalar("epoch/val_loss", record.val_loss, record.step, now);
        tensorboard_.scalar("epoch/val_accuracy", record.val_accuracy, record.step, now);
        tensorboard_.scalar("epoch/val_balanced_accuracy", record.val_balanced_accuracy, record.step, now);
    }
    flush();
}

void RunLog::final(const nlohmann::json& record) {
    line(record);
    flush();
}

void RunLog::flush() {
    lines_.flush();
    require(lines_.good(), "{}: cannot be written (disk full?); free some space and go on with --resume",
            path_.string());
    tensorboard_.flush();
}

}  // namespace cutis
