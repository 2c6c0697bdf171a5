#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

/// An ONNX model as plain data, and its file. Only what exports need of
/// https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.

namespace cutis {

/// What a node is told beside its inputs.
using OnnxAttribute = std::variant<std::int64_t, float, std::vector<std::int64_t>, std::string>;

struct OnnxNode {
    std::string op, name;
    std::vector<std::string> inputs, outputs;  ///< "": an optional one that is left out
    std::vector<std::pair<std::string, OnnxAttribute>> attributes;
};

/// A constant of the graph: fp32 or int64, row-major.
struct OnnxConstant {
    std::string name;
    std::vector<std::int64_t> shape;
    std::variant<std::vector<float>, std::vector<std::int64_t>> values;
};

/// An input or output of the graph, fp32. A size of -1 is the batch's, which is open.
struct OnnxValue {
    std::string name;
    std::vector<std::int64_t> shape;
};

struct OnnxModel {
    std::string name;
    std::vector<OnnxNode> nodes;  ///< each behind those whose outputs it takes
    std::vector<OnnxConstant> constants;
    std::vector<OnnxValue> inputs, outputs;
    std::map<std::string, std::string> metadata;
};

inline constexpr std::int64_t kOnnxOpset = 17, kOnnxIrVersion = 8;

/// Writes the model, whole or not at all. Throws Error for one of 2 GiB or more, which protobuf cannot hold, and for a
/// full disk.
/// @param version  of the program, for the file's `producer_version`
void write_onnx(const std::filesystem::path& path, const OnnxModel& model, std::string_view version);

}  // namespace cutis
