#pragma once

/// Whose kernels the engine runs: its own, or those of the hardware's vendor behind the same calls, so that a training
/// by one and by the other differs in kernels alone.
///
/// The vendor's are oneDNN's primitives on a CPU (kernels/vendor/onednn.h), and cuDNN and cuBLAS on a GPU
/// (kernels/vendor/cudnn.h). What a vendor's library does not have, or only for other arguments than the call's, runs
/// natively with both; the headers list what they have. Native code asks the vendor as well where it has no faster
/// answer of its own: for dense convolutions and for matrix products.

namespace cutis {

enum class Backend { native, vendor };

/// `native` unless set.
Backend backend();
/// Of all ops that are called from now on. Call it between steps: a backward pass uses what its forward pass left.
void set_backend(Backend backend);

/// Another backend as long as this lives.
class BackendScope {
  public:
    explicit BackendScope(Backend wanted) : before_(backend()) { set_backend(wanted); }
    ~BackendScope() { set_backend(before_); }
    BackendScope(const BackendScope&) = delete;
    BackendScope& operator=(const BackendScope&) = delete;

  private:
    Backend before_;
};

}  // namespace cutis
