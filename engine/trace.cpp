#include "engine/trace.h"

#include "kernels/error.h"

namespace cutis {

Trace::Trace() {
    require(detail::t_trace == nullptr, "trace: this thread is traced already");
    detail::t_trace = this;
}

Trace::~Trace() {
    detail::t_trace = nullptr;
}

void trace_op(std::string_view name, std::span<const Variable> inputs, const Variable& output) {
    if (Trace* const trace = detail::t_trace; trace != nullptr) {
        trace->ops_.push_back(
            {std::string(name), {inputs.begin(), inputs.end()}, output, std::exchange(trace->next_, std::monostate{})});
    }
}

}  // namespace cutis
