#include "kernels/vendor/cudnn_graph.h"

#include <utility>

namespace cutis::cudnn {

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
    check(functions().descriptor_create(type, &raw_), "descriptor");
}
Descriptor::~Descriptor() {
    if (raw_ != nullptr) {
        functions().descriptor_destroy(raw_);
    }
}
void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                     const void* values) {
    const cudnnStatus_t status = functions().attribute_set(raw_, name, type, count, values);
    if (status != CUDNN_STATUS_SUCCESS) {
        check(status, fmt::format("attribute {}", static_cast<int>(name)));
    }
}
void Descriptor::finalize() {
    check(functions().descriptor_finalize(raw_), "graph");
}
bool Descriptor::try_finalize() {
    return functions().descriptor_finalize(raw_) == CUDNN_STATUS_SUCCESS;
}

Graph::Tensor Graph::add(const Layout& layout, cudnnDataType_t type, std::int64_t alignment, Kind kind) {
    Descriptor& tensor = tensors_.emplace_back(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const auto number = static_cast<std::int64_t>(tensors_.size());
    tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type);
    tensor.set_sizes(CUDNN_ATTR_TENSOR_DIMENSIONS, layout.dims);
    tensor.set_sizes(CUDNN_ATTR_TENSOR_STRIDES, layout.strides);
    tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, number);
    tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, alignment);
    tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, kind == Kind::passed_on);
    tensor.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, kind == Kind::number);
    tensor.finalize();
    if (kind != Kind::passed_on) {
        bound_.push_back(number);
    }
    return static_cast<Tensor>(number);
}

void Graph::add_operation(Descriptor& operation) {
    operation.finalize();
    operations_.push_back(operation.raw());
}

const Descriptor& Graph::convolution(const ConvolutionForm& form) {
    Descriptor& it = keep(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const std::array<std::int64_t, 2> stride{form.stride, form.stride}, padding{form.padding, form.padding},
        dilation{1, 1};
    it.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    it.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION);
    it.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, std::int64_t{2});
    it.set_sizes(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, stride);
    it.set_sizes(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, padding);
    it.set_sizes(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, padding);
    it.set_sizes(CUDNN_ATTR_CONVOLUTION_DILATIONS, dilation);
    it.finalize();
    return it;
}

void Graph::convolution_forward(Tensor y, Tensor x, Tensor w, const ConvolutionForm& form) {
    const Descriptor& convolved = convolution(form);
    Descriptor& it = keep(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolved);
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, at(x));
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, at(w));
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, at(y));
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1.0f);
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 0.0f);
    add_operation(it);
}

void Graph::convolution_backward_data(Tensor dx, Tensor dy, Tensor w, const ConvolutionForm& form) {
    const Descriptor& convolved = convolution(form);
    Descriptor& it = keep(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, convolved);
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, at(dx));
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, at(w));
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, at(dy));
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1.0f);
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 0.0f);
    add_operation(it);
}

void Graph::convolution_backward_filter(Tensor dw, Tensor dy, Tensor x, const ConvolutionForm& form) {
    const Descriptor& convolved = convolution(form);
    Descriptor& it = keep(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, convolved);
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, at(x));
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, at(dw));
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, at(dy));
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_TYPE_FLOAT, 1.0f);
    it.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, CUDNN_TYPE_FLOAT, 0.0f);
    add_operation(it);
}

const Descriptor& Graph::pointwise_descriptor(const PointwiseForm& form) {
    Descriptor& it = keep(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    it.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, form.mode);
    it.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    if (form.lower) {
        it.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, CUDNN_TYPE_DOUBLE, *form.lower);
    }
    if (form.upper) {
        it.set(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, *form.upper);
    }
    it.finalize();
    return it;
}

void Graph::pointwise(const PointwiseForm& form, Tensor y, Tensor x, Tensor b) {
    const Descriptor& mode = pointwise_descriptor(form);
    Descriptor& it = keep(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    it.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, mode);
    it.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(x));
    if (b != 0) {
        it.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, at(b));
    }
    it.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, at(y));
    add_operation(it);
}

void Graph::batchnorm_forward(Tensor y, Tensor mean, Tensor inv_std, Tensor x, Tensor scale, Tensor bias,
                              Tensor epsilon) {
    Descriptor& it = keep(CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR);
    it.set(CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_TYPE_NORM_MODE, CUDNN_BATCH_NORM);
    it.set(CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_TYPE_NORM_FWD_PHASE, CUDNN_NORM_FWD_TRAINING);
    it.set(CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, at(x));
    it.set(CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC, at(mean));
    it.set(CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC, at(inv_std));
    it.set(CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, at(scale));
    it.set(CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, at(bias));
    it.set(CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC, at(epsilon));
    it.set(CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, at(y));
    add_operation(it);
}

void Graph::batchnorm_backward(Tensor dx, Tensor dscale, Tensor dbias, Tensor dy, Tensor x, Tensor mean, Tensor inv_std,
                               Tensor scale) {
    Descriptor& it = keep(CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR);
    it.set(CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_TYPE_NORM_MODE, CUDNN_BATCH_NORM);
    it.set(CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, at(x));
    it.set(CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC, at(mean));
    it.set(CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC, at(inv_std));
    it.set(CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, at(dy));
    it.set(CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, at(scale));
    it.set(CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, at(dscale));
    it.set(CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC, at(dbias));
    it.set(CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC, at(dx));
    add_operation(it);
}

const Descriptor& Graph::finished(cudnnHandle_t handle) {
    graph_.emplace(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    graph_->set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, handle);
    graph_->set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                static_cast<std::int64_t>(operations_.size()), operations_.data());
    graph_->finalize();
    return *graph_;
}

}  // namespace cutis::cudnn
