#pragma once

#include <array>
#include <optional>

#include "engine/trace.h"
#include "models/model.h"
#include "tools/inference.h"
#include "tools/onnx_file.h"

namespace cutis {

struct OnnxOptions {
    bool fold_batchnorm = false;  ///< into the convolution before it, where nothing else reads that
    /// The graph normalises: its input is x / 255; none: its input is normalised already.
    std::optional<InputSettings> normalise;
};

/// What came of an export, for the user.
struct OnnxExport {
    OnnxModel model;
    int batchnorms = 0, folded = 0;  ///< of the network; of those, how many are in convolutions now
};

/// A network in evaluation mode as an ONNX graph: images n x 3 x size x size (NCHW, n open) to logits n x classes,
/// fp32. The network runs once on the CPU, and what it does is translated op by op, so that a model needs no code of
/// its own. Constants that are weights have their names and their layout in files (OIHW). Throws Error naming the op
/// where the network does something that has no form in ONNX here, or that depends on the number of images.
OnnxExport to_onnx(Model& model, const std::string& name, int size, const OnnxOptions& options);

/// The same of any ops, for tests: `images` is n x h x w x 3 with n of at least 2 (one image would hide what depends on
/// their number), `output` what `ops` make of it, and the leaves that they read have names.
OnnxExport to_onnx(std::span<const TracedOp> ops, const Variable& images, const Variable& output,
                   const std::string& name, const OnnxOptions& options);

}  // namespace cutis
