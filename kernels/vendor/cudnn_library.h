#pragma once

#include <cudnn.h>

#include <mutex>
#include <string>

#include "kernels/error.h"
#include "kernels/stream.h"

/// cuDNN's functions as a table, for files of this folder: the library is loaded when the first of them is asked for,
/// and in a simt build kernels/vendor/cudnn_double.cpp answers instead. cudnn.h brings NVIDIA's CUDA headers along,
/// whose types have a stand-in of the same names in simt builds (kernels/simt/cuda_types.h): a file that includes this
/// header must not include kernels/launch.h.

namespace cutis::cudnn {

struct Functions {
    decltype(&cudnnGetVersion) version = nullptr;
    decltype(&cudnnGetErrorString) error_string = nullptr;
    decltype(&cudnnGetLastErrorString) last_error_string = nullptr;
    decltype(&cudnnCreate) create = nullptr;
    decltype(&cudnnSetStream) set_stream = nullptr;

    decltype(&cudnnBackendCreateDescriptor) descriptor_create = nullptr;
    decltype(&cudnnBackendDestroyDescriptor) descriptor_destroy = nullptr;
    decltype(&cudnnBackendFinalize) descriptor_finalize = nullptr;
    decltype(&cudnnBackendSetAttribute) attribute_set = nullptr;
    decltype(&cudnnBackendGetAttribute) attribute_get = nullptr;
    decltype(&cudnnBackendExecute) execute = nullptr;

    decltype(&cudnnCreateTensorDescriptor) tensor_create = nullptr;
    decltype(&cudnnDestroyTensorDescriptor) tensor_destroy = nullptr;
    decltype(&cudnnSetTensorNdDescriptor) tensor_set = nullptr;
    decltype(&cudnnCreateRNNDescriptor) rnn_create = nullptr;
    decltype(&cudnnDestroyRNNDescriptor) rnn_destroy = nullptr;
    decltype(&cudnnSetRNNDescriptor_v8) rnn_set = nullptr;
    decltype(&cudnnCreateRNNDataDescriptor) rnn_data_create = nullptr;
    decltype(&cudnnDestroyRNNDataDescriptor) rnn_data_destroy = nullptr;
    decltype(&cudnnSetRNNDataDescriptor) rnn_data_set = nullptr;
    decltype(&cudnnGetRNNTempSpaceSizes) rnn_spaces = nullptr;
    decltype(&cudnnGetRNNWeightSpaceSize) rnn_weight_space = nullptr;
    decltype(&cudnnGetRNNWeightParams) rnn_weight_params = nullptr;
    decltype(&cudnnRNNForward) rnn_forward = nullptr;
    decltype(&cudnnRNNBackwardData_v8) rnn_backward_data = nullptr;
    decltype(&cudnnRNNBackwardWeights_v8) rnn_backward_weights = nullptr;

    /// visit(function, symbol) for every member.
    template <class Table, class Visit>
    static void for_each(Table& table, Visit&& visit) {
        visit(table.version, "cudnnGetVersion");
        visit(table.error_string, "cudnnGetErrorString");
        visit(table.last_error_string, "cudnnGetLastErrorString");
        visit(table.create, "cudnnCreate");
        visit(table.set_stream, "cudnnSetStream");
        visit(table.descriptor_create, "cudnnBackendCreateDescriptor");
        visit(table.descriptor_destroy, "cudnnBackendDestroyDescriptor");
        visit(table.descriptor_finalize, "cudnnBackendFinalize");
        visit(table.attribute_set, "cudnnBackendSetAttribute");
        visit(table.attribute_get, "cudnnBackendGetAttribute");
        visit(table.execute, "cudnnBackendExecute");
        visit(table.tensor_create, "cudnnCreateTensorDescriptor");
        visit(table.tensor_destroy, "cudnnDestroyTensorDescriptor");
        visit(table.tensor_set, "cudnnSetTensorNdDescriptor");
        visit(table.rnn_create, "cudnnCreateRNNDescriptor");
        visit(table.rnn_destroy, "cudnnDestroyRNNDescriptor");
        visit(table.rnn_set, "cudnnSetRNNDescriptor_v8");
        visit(table.rnn_data_create, "cudnnCreateRNNDataDescriptor");
        visit(table.rnn_data_destroy, "cudnnDestroyRNNDataDescriptor");
        visit(table.rnn_data_set, "cudnnSetRNNDataDescriptor");
        visit(table.rnn_spaces, "cudnnGetRNNTempSpaceSizes");
        visit(table.rnn_weight_space, "cudnnGetRNNWeightSpaceSize");
        visit(table.rnn_weight_params, "cudnnGetRNNWeightParams");
        visit(table.rnn_forward, "cudnnRNNForward");
        visit(table.rnn_backward_data, "cudnnRNNBackwardData_v8");
        visit(table.rnn_backward_weights, "cudnnRNNBackwardWeights_v8");
    }
};

/// The functions that are used: those of libcudnn, or the double's. Error where the library is not found or lacks one.
const Functions& functions();
/// Tests: other functions from now on (null: those that are found), with which everything starts anew.
void use_functions(const Functions* table);
/// The functions of a library that the dynamic linker knows by this name; Error as above.
Functions load_functions(const char* library);

/// Throws Error("<what>: cuDNN: <its message>") unless `status` is a success.
void check(cudnnStatus_t status, const std::string& what);

/// The library's handle for the current device, its work going to `stream` while this lives. One thread at a time has
/// one; calls nest.
class LibraryCall {
  public:
    explicit LibraryCall(Stream stream);
    cudnnHandle_t handle() const { return handle_; }

  private:
    std::unique_lock<std::recursive_mutex> lock_;
    cudnnHandle_t handle_ = nullptr;
};

template <class T>
constexpr cudnnDataType_t kDataType = sizeof(T) == 2 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;

}  // namespace cutis::cudnn
