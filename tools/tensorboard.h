#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace cutis {

/// Writes scalars as TensorBoard reads them: a file of TFRecords (length, masked CRC-32C of it, data, masked CRC-32C of
/// that), each record an `Event` of tensorflow/core/util/event.proto, encoded by hand.
///
/// Every run start makes a file of its own, `events.out.tfevents.<seconds>.<host>.<pid>.<number>`; TensorBoard joins
/// the files of a folder. A record torn by a crash is the last of its file, and TensorBoard leaves it out.
class TensorBoardWriter {
  public:
    /// Makes `folder` where it is missing, and a new file in it.
    /// @param first_step  first step that this run will write. A resumed run repeats steps that the run before it
    ///                    wrote after its last checkpoint: TensorBoard then drops those from `first_step` on.
    explicit TensorBoardWriter(const std::filesystem::path& folder, std::int64_t first_step = 0);
    /// Flushes; an error at this point is lost, so call `flush` where it matters.
    ~TensorBoardWriter();
    TensorBoardWriter(const TensorBoardWriter&) = delete;
    TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;

    /// Adds one point. `wall_time` is in seconds since 1970; TensorBoard keeps `value` in single precision. Buffered.
    void scalar(std::string_view tag, double value, std::int64_t step, double wall_time);
    /// Hands everything to the system, so that TensorBoard sees it. Throws Error naming the file when it cannot be
    /// written.
    void flush();

    const std::filesystem::path& path() const { return path_; }

  private:
    void record(std::string_view event);

    std::filesystem::path path_;
    std::string buffer_;
    int descriptor_ = -1;
};

}  // namespace cutis
