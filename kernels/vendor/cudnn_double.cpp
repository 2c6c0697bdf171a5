#include "kernels/vendor/cudnn_double.h"

#include <chrono>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "kernels/simt/host_work.h"
#include "kernels/vendor/cudnn_double_parts.h"

// Descriptors, engines and plans. What a graph computes is in cudnn_double_graph.cpp.

namespace cutis::cudnn_double {
namespace {

struct State {
    std::recursive_mutex mutex;
    std::map<void*, std::shared_ptr<Object>> objects;
    std::int64_t older_descriptors = 0;
    std::array<std::int64_t, kEngines> runs{};
    Behaviour behaviour;
    std::string reason;
};
State& state() {
    static auto* const instance = new State;
    return *instance;
}
using Lock = std::lock_guard<std::recursive_mutex>;

cudnnStatus_t refused(cudnnStatus_t status, std::string reason) {
    state().reason = std::move(reason);
    return status;
}

// An attribute that a descriptor takes.
struct Rule {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    std::int64_t least, most;
    bool required = true;
};

constexpr std::int64_t kMany = 64;

std::vector<Rule> descriptors(std::initializer_list<cudnnBackendAttributeName_t> names, bool required = true) {
    std::vector<Rule> rules;
    for (const cudnnBackendAttributeName_t name : names) {
        rules.push_back({name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, required});
    }
    return rules;
}
std::vector<Rule> operator+(std::vector<Rule> all, const std::vector<Rule>& more) {
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

using Rules = std::map<cudnnBackendDescriptorType_t, std::vector<Rule>>;

const Rules& rules() {
    static const Rules all{
        {CUDNN_BACKEND_TENSOR_DESCRIPTOR,
         {{CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1},
          {CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 1, 8},
          {CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 1, 8},
          {CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, 1},
          {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, 1},
          {CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, 1, false},
          {CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, 1, false}}},
        {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR,
         {{CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1},
          {CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, 1},
          {CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, 1},
          {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, 2},
          {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, 2},
          {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, 2},
          {CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, 2}}},
        {CUDNN_BACKEND_POINTWISE_DESCRIPTOR,
         {{CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, 1},
          {CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, 1},
          {CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, CUDNN_TYPE_DOUBLE, 1, 1, false},
          {CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, 1, 1, false}}},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
         std::vector<Rule>{{CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, 1},
                           {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, 1}} +
             descriptors({CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y})},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
         std::vector<Rule>{{CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1, 1},
                           {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 1, 1}} +
             descriptors({CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY})},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
         std::vector<Rule>{{CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_TYPE_FLOAT, 1, 1},
                           {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, CUDNN_TYPE_FLOAT, 1, 1}} +
             descriptors({CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY})},
        {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
         descriptors({CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
                      CUDNN_ATTR_OPERATION_POINTWISE_YDESC}) +
             descriptors({CUDNN_ATTR_OPERATION_POINTWISE_BDESC}, false)},
        {CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR,
         std::vector<Rule>{{CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_TYPE_NORM_MODE, 1, 1},
                           {CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_TYPE_NORM_FWD_PHASE, 1, 1}} +
             descriptors({CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC,
                          CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC,
                          CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC,
                          CUDNN_ATTR_OPERATION_NORM_FWD_YDESC})},
        {CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR,
         std::vector<Rule>{{CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_TYPE_NORM_MODE, 1, 1}} +
             descriptors({CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC,
                          CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC, CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC,
                          CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC,
                          CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC, CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC})},
        {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR,
         {{CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, 1},
          {CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, kMany}}},
        {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR,
         {{CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1},
          {CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, 1}}},
        {CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, {}},
        {CUDNN_BACKEND_ENGINE_DESCRIPTOR, {}},
        {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR,
         {{CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, 1},
          {CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1}}},
        {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR,
         {{CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 1, kMany},
          {CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 1, kMany},
          {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, 1}}},
    };
    return all;
}

std::size_t size_of(cudnnBackendAttributeType_t type) {
    switch (type) {
        case CUDNN_TYPE_INT64:
        case CUDNN_TYPE_DOUBLE:
        case CUDNN_TYPE_VOID_PTR:
        case CUDNN_TYPE_HANDLE:
        case CUDNN_TYPE_BACKEND_DESCRIPTOR:
            return 8;
        case CUDNN_TYPE_BOOLEAN:
            return sizeof(bool);
        default:
            return 4;  // enumerations and floats
    }
}

std::shared_ptr<Object> find(void* descriptor) {
    const auto found = state().objects.find(descriptor);
    return found == state().objects.end() ? nullptr : found->second;
}

// ---- the library's functions

const char* error_string(cudnnStatus_t status) {
    switch (status) {
        case CUDNN_STATUS_SUCCESS:
            return "CUDNN_STATUS_SUCCESS";
        case CUDNN_STATUS_NOT_INITIALIZED:
            return "CUDNN_STATUS_NOT_INITIALIZED";
        default:
            return status / 1000 == CUDNN_STATUS_NOT_SUPPORTED / 1000 ? "CUDNN_STATUS_NOT_SUPPORTED"
                                                                      : "CUDNN_STATUS_BAD_PARAM";
    }
}
void last_error_string(char* message, std::size_t size) {
    const Lock lock(state().mutex);
    const std::size_t length = std::min(size - 1, state().reason.size());
    std::memcpy(message, state().reason.data(), length);
    message[length] = '\0';
    state().reason.clear();
}
std::size_t version() {
    return CUDNN_VERSION;
}
cudnnStatus_t create(cudnnHandle_t* handle) {
    if (!behaviour().starts) {
        return CUDNN_STATUS_NOT_INITIALIZED;
    }
    static cudnnContext context;
    *handle = &context;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t set_stream(cudnnHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t descriptor_create(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor) {
    const Lock lock(state().mutex);
    if (!rules().contains(type)) {
        return refused(CUDNN_STATUS_NOT_SUPPORTED, "no such descriptor");
    }
    auto object = std::make_shared<Object>();
    object->type = type;
    *descriptor = object.get();
    state().objects.emplace(object.get(), std::move(object));
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t descriptor_destroy(cudnnBackendDescriptor_t descriptor) {
    const Lock lock(state().mutex);
    return state().objects.erase(descriptor) == 1 ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
}

cudnnStatus_t attribute_set(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                            cudnnBackendAttributeType_t type, std::int64_t count, const void* values) {
    const Lock lock(state().mutex);
    const std::shared_ptr<Object> object = find(descriptor);
    if (!object || values == nullptr) {
        return refused(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor, or no values");
    }
    if (object->finalized) {
        return refused(CUDNN_STATUS_BAD_PARAM, "the descriptor is finalized");
    }
    for (const Rule& rule : rules().at(object->type)) {
        if (rule.name != name) {
            continue;
        }
        if (rule.type != type) {
            return refused(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "another type");
        }
        if (count < rule.least || count > rule.most) {
            return refused(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "another count");
        }
        Attribute attribute;
        attribute.count = count;
        if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
            for (std::int64_t i = 0; i < count; ++i) {
                const std::shared_ptr<Object> other = find(static_cast<void* const*>(values)[i]);
                if (!other || !other->finalized) {
                    return refused(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "an attribute is not finalized");
                }
                attribute.objects.push_back(other);
            }
        } else {
            const auto* const bytes = static_cast<const unsigned char*>(values);
            attribute.bytes.assign(bytes, bytes + static_cast<std::size_t>(count) * size_of(type));
        }
        object->attributes[name] = std::move(attribute);
        return CUDNN_STATUS_SUCCESS;
    }
    return refused(CUDNN_STATUS_BAD_PARAM, "the descriptor has no such attribute");
}

// The private attributes of what the double itself makes: an engine's number, and the graph that it is for.
constexpr cudnnBackendAttributeName_t kEngineNumber = CUDNN_ATTR_ENGINE_GLOBAL_INDEX,
                                      kEngineGraph = CUDNN_ATTR_ENGINE_OPERATION_GRAPH;

Engine engine_of(const Object& configuration) {
    return static_cast<Engine>(configuration.value<std::int64_t>(kEngineNumber));
}
const std::vector<std::shared_ptr<const Object>>& operations_of(const Object& configuration) {
    return configuration.object(kEngineGraph).attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).objects;
}

// A product that the tensor cores take has fp32 factors rounded to tf32; without products, fp32 or not, the library
// says tensor cores of all that it compiles when it runs.
bool notes_tensor_cores(const Object& configuration) {
    const auto& operations = operations_of(configuration);
    return engine_of(configuration) == tensor_core ||
           (operations.size() == 1 && operations[0]->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
}

std::int64_t workspace_of(Engine engine) {
    return engine == greedy ? std::int64_t{2} << 30 : engine == direct ? 1000 : 0;
}

std::vector<Engine> proposals(const Object& heuristics) {
    const auto mode = heuristics.value<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE);
    const Object& graph = heuristics.object(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    if (!behaviour().has_engines || !supported(graph.attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).objects)) {
        return {};
    }
    switch (mode) {
        case CUDNN_HEUR_MODE_A:
            return {refuses, greedy, tensor_core, nondeterministic, direct};
        case CUDNN_HEUR_MODE_B:
            return {plain, direct};
        default:
            return {plain};
    }
}

cudnnStatus_t check_tensor(const Object& tensor) {
    const auto dims = tensor.values<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS),
               strides = tensor.values<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
    const auto alignment = tensor.value<std::int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
    if (dims.size() != strides.size() || dims.size() != 4) {
        return refused(CUDNN_STATUS_BAD_PARAM, "dimensions and strides differ in number");
    }
    for (std::size_t i = 0; i < dims.size(); ++i) {
        if (dims[i] < 1 || strides[i] < 1) {
            return refused(CUDNN_STATUS_BAD_PARAM, "a dimension or stride is not positive");
        }
    }
    if (alignment < 1 || (alignment & (alignment - 1)) != 0) {
        return refused(CUDNN_STATUS_BAD_PARAM, "the alignment is no power of two");
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t descriptor_finalize(cudnnBackendDescriptor_t descriptor) {
    const Lock lock(state().mutex);
    const std::shared_ptr<Object> object = find(descriptor);
    if (!object) {
        return refused(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
    }
    for (const Rule& rule : rules().at(object->type)) {
        if (rule.required && !object->has(rule.name)) {
            return refused(CUDNN_STATUS_BAD_PARAM, "attribute " + std::to_string(rule.name) + " is missing");
        }
    }
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    switch (object->type) {
        case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
            status = check_tensor(*object);
            break;
        case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
        case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
        case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
        case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
        case CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR:
        case CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR:
            status = check_operation(*object);
            break;
        case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
            if (engine_of(object->object(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)) == refuses) {
                status = CUDNN_STATUS_NOT_SUPPORTED;
            }
            break;
        case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
            if (object->attributes.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).count !=
                object->attributes.at(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).count) {
                status = CUDNN_STATUS_BAD_PARAM;
            }
            break;
        default:
            break;
    }
    if (status != CUDNN_STATUS_SUCCESS) {
        return refused(status, "finalize is refused");
    }
    object->finalized = true;
    return CUDNN_STATUS_SUCCESS;
}

template <class V>
void set_private(Object& object, cudnnBackendAttributeName_t name, V value) {
    Attribute attribute;
    attribute.count = 1;
    attribute.bytes.resize(sizeof value);
    std::memcpy(attribute.bytes.data(), &value, sizeof value);
    object.attributes[name] = std::move(attribute);
}

cudnnStatus_t attribute_get(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                            cudnnBackendAttributeType_t type, std::int64_t wanted, std::int64_t* count, void* values) {
    const Lock lock(state().mutex);
    const std::shared_ptr<Object> object = find(descriptor);
    if (!object || !object->finalized) {
        return refused(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "the descriptor is not finalized");
    }
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS && type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
        const std::vector<Engine> engines = proposals(*object);
        *count = wanted == 0 ? static_cast<std::int64_t>(engines.size())
                             : std::min<std::int64_t>(wanted, static_cast<std::int64_t>(engines.size()));
        for (std::int64_t i = 0; i < wanted && i < *count; ++i) {
            const std::shared_ptr<Object> result = find(static_cast<void**>(values)[i]);
            if (!result || result->type != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR) {
                return refused(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "results go to engine configurations");
            }
            set_private<std::int64_t>(*result, kEngineNumber, engines[static_cast<std::size_t>(i)]);
            result->attributes[kEngineGraph] = object->attributes.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
            result->finalized = true;
        }
        return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_ENGINECFG_ENGINE && type == CUDNN_TYPE_BACKEND_DESCRIPTOR && wanted == 1) {
        const std::shared_ptr<Object> engine = find(*static_cast<void**>(values));
        if (!engine || engine->type != CUDNN_BACKEND_ENGINE_DESCRIPTOR) {
            return refused(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "the engine goes to an engine");
        }
        engine->attributes = object->attributes;
        engine->finalized = true;
        *count = 1;
        return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE && type == CUDNN_TYPE_NUMERICAL_NOTE) {
        auto* const notes = static_cast<cudnnBackendNumericalNote_t*>(values);
        *count = 0;
        if (notes_tensor_cores(*object)) {
            notes[(*count)++] = CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
        }
        if (engine_of(*object) == nondeterministic) {
            notes[(*count)++] = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
        }
        return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE && type == CUDNN_TYPE_INT64 && wanted == 1) {
        *static_cast<std::int64_t*>(values) =
            workspace_of(engine_of(object->object(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)));
        *count = 1;
        return CUDNN_STATUS_SUCCESS;
    }
    return refused(CUDNN_STATUS_BAD_PARAM, "the attribute cannot be read");
}

// ---- execution

// Every tensor in memory that the operations name.
void for_tensors(const std::vector<std::shared_ptr<const Object>>& operations, auto&& visit) {
    for (const auto& operation : operations) {
        for (const auto& [name, attribute] : operation->attributes) {
            for (const std::shared_ptr<const Object>& object : attribute.objects) {
                if (object->type == CUDNN_BACKEND_TENSOR_DESCRIPTOR && !object->flag(CUDNN_ATTR_TENSOR_IS_VIRTUAL)) {
                    visit(*object);
                }
            }
        }
    }
}

cudnnStatus_t execute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan_descriptor,
                      cudnnBackendDescriptor_t pack_descriptor) {
    const Lock lock(state().mutex);
    const std::shared_ptr<const Object> plan = find(plan_descriptor), pack = find(pack_descriptor);
    if (!plan || !pack || !plan->finalized || !pack->finalized) {
        return refused(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "plan or addresses are not finalized");
    }
    const Object& configuration = plan->object(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    const Engine engine = engine_of(configuration);
    const auto ids = pack->values<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    const auto pointers = pack->values<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    std::map<std::int64_t, void*> addresses;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        addresses[ids[i]] = pointers[i];
    }
    std::map<std::int64_t, float> numbers;
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    const auto& operations = operations_of(configuration);
    for_tensors(operations, [&](const Object& tensor) {
        const auto id = tensor.value<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID);
        const auto found = addresses.find(id);
        const auto alignment =
            static_cast<std::uintptr_t>(tensor.value<std::int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT));
        if (found == addresses.end() || found->second == nullptr) {
            status = refused(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "a tensor has no address");
        } else if (reinterpret_cast<std::uintptr_t>(found->second) % alignment != 0) {
            status = refused(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "an address is not aligned as its tensor says");
        } else if (tensor.flag(CUDNN_ATTR_TENSOR_IS_BY_VALUE)) {
            numbers[id] = *static_cast<const float*>(found->second);
        }
    });
    void* const workspace = pack->value<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    if (status == CUDNN_STATUS_SUCCESS && workspace_of(engine) > 0 && workspace == nullptr) {
        status = refused(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no work space");
    }
    if (status != CUDNN_STATUS_SUCCESS || behaviour().fails == engine) {
        return status != CUDNN_STATUS_SUCCESS ? status : CUDNN_STATUS_EXECUTION_FAILED;
    }
    ++state().runs[static_cast<std::size_t>(engine)];
    const bool sleeps = behaviour().sleeps == engine;
    const bool done = simt::run_on_stream(handle->stream, [plan, addresses, numbers, workspace, engine, sleeps] {
        if (sleeps) {
            std::this_thread::sleep_for(std::chrono::milliseconds(3));
        }
        if (engine == direct) {
            std::memset(workspace, 0x5A, static_cast<std::size_t>(workspace_of(engine)));
        }
        compute(operations_of(plan->object(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)), addresses, numbers,
                engine == tensor_core);
    });
    return done ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

}  // namespace

void count_descriptor(int change) {
    const Lock lock(state().mutex);
    state().older_descriptors += change;
}

Behaviour& behaviour() {
    return state().behaviour;
}

Counts counts() {
    const Lock lock(state().mutex);
    return {static_cast<std::int64_t>(state().objects.size()) + state().older_descriptors, state().runs};
}

cudnn::Functions functions() {
    cudnn::Functions table;
    table.version = version;
    table.error_string = error_string;
    table.last_error_string = last_error_string;
    table.create = create;
    table.set_stream = set_stream;
    table.descriptor_create = descriptor_create;
    table.descriptor_destroy = descriptor_destroy;
    table.descriptor_finalize = descriptor_finalize;
    table.attribute_set = attribute_set;
    table.attribute_get = attribute_get;
    table.execute = execute;
    add_recurrent(table);
    return table;
}

}  // namespace cutis::cudnn_double
