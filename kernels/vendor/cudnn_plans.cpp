#include <algorithm>
#include <limits>
#include <map>

#include "kernels/vendor/cudnn_graph.h"
#include "kernels/vendor/gpu_calls.h"

namespace cutis::cudnn {
namespace {

constexpr int kTimedRuns = 3;  // their median, after one that also shows whether the engine runs

// A plan that can run, with the graph that it belongs to.
struct Plan {
    std::shared_ptr<Graph> graph;
    Descriptor configuration, plan;
    std::int64_t workspace = 0;
};

// Plans are never dropped while the process may run them: a graph that was captured from one has its kernels.
struct Entry {
    std::unique_ptr<Plan> proposed, fastest;
    bool impossible = false;
    std::string reason;
};

// Used by who has a LibraryCall.
struct Plans {
    std::map<Problem, Entry> entries;
    PlanCounts counts;
};
Plans& plans() {
    static auto* const instance = new Plans;
    return *instance;
}

std::int64_t get_int64(const Descriptor& from, cudnnBackendAttributeName_t name) {
    std::int64_t value = 0, count = 0;
    check(functions().attribute_get(from.raw(), name, CUDNN_TYPE_INT64, 1, &count, &value), "plan");
    return value;
}

// The plan of one configuration, or nothing where its engine cannot run the graph or wants too much memory.
std::unique_ptr<Plan> make_plan(const std::shared_ptr<Graph>& graph, Descriptor configuration, cudnnHandle_t handle) {
    Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle);
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
    ++plans().counts.tried;
    if (!plan.try_finalize()) {
        return nullptr;
    }
    const std::int64_t workspace = get_int64(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
    if (workspace > kMostWorkspace) {
        return nullptr;
    }
    return std::unique_ptr<Plan>(new Plan{graph, std::move(configuration), std::move(plan), workspace});
}

// Queues the plan's work. False where the library refuses it.
bool execute(const Plan& plan, std::span<void* const> addresses, cudnnHandle_t handle, Stream stream) {
    const std::vector<std::int64_t>& numbers = plan.graph->bound();
    require(numbers.size() == addresses.size(), "cuDNN: {} addresses for {} tensors", addresses.size(), numbers.size());
    const ScratchBytes workspace(static_cast<std::size_t>(plan.workspace), stream);
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, static_cast<std::int64_t>(numbers.size()),
             numbers.data());
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, static_cast<std::int64_t>(addresses.size()),
             addresses.data());
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace.data());
    pack.finalize();
    return functions().execute(handle, plan.plan.raw(), pack.raw()) == CUDNN_STATUS_SUCCESS;
}

std::vector<Descriptor> usable_engines(const Problem& problem, const Descriptor& graph) {
    std::vector<Descriptor> engines = proposed_engines(graph);
    std::erase_if(engines, [&](const Descriptor& engine) { return !allowed_engine(engine, problem.exact_products); });
    return engines;
}

// The library's first proposal that can run.
std::unique_ptr<Plan> first_plan(const Problem& problem, const std::shared_ptr<Graph>& graph, cudnnHandle_t handle) {
    for (Descriptor& engine : usable_engines(problem, graph->finished(handle))) {
        if (std::unique_ptr<Plan> plan = make_plan(graph, std::move(engine), handle)) {
            return plan;
        }
    }
    return nullptr;
}

std::unique_ptr<Plan> fastest_plan(const Problem& problem, const std::shared_ptr<Graph>& graph, cudnnHandle_t handle,
                                   std::span<void* const> addresses, Stream stream) {
    std::unique_ptr<Plan> best;
    float least = std::numeric_limits<float>::infinity();
    for (Descriptor& engine : usable_engines(problem, graph->finished(handle))) {
        std::unique_ptr<Plan> plan = make_plan(graph, std::move(engine), handle);
        if (!plan || !execute(*plan, addresses, handle, stream)) {
            continue;
        }
        const float time = milliseconds_of([&] { execute(*plan, addresses, handle, stream); }, kTimedRuns, stream);
        if (time < least) {
            least = time;
            best = std::move(plan);
        }
    }
    return best;
}

// The plan to run; null, with entry.reason, where there is none.
const Plan* plan_for(const Problem& problem, const std::function<void(Graph&)>& build, Entry& entry, bool may_try,
                     std::span<void* const> addresses, cudnnHandle_t handle, Stream stream) {
    if (entry.fastest) {
        return entry.fastest.get();
    }
    if (entry.impossible || (entry.proposed && !may_try)) {
        return entry.proposed.get();
    }
    try {
        const auto graph = std::make_shared<Graph>(problem.alignment);
        build(*graph);
        allowing_allocations([&] {
            (may_try ? entry.fastest : entry.proposed) =
                may_try ? fastest_plan(problem, graph, handle, addresses, stream) : first_plan(problem, graph, handle);
        });
    } catch (const Error& error) {
        entry.reason = error.what();
    }
    const Plan* const found = may_try ? entry.fastest.get() : entry.proposed.get();
    if (found == nullptr) {
        entry.impossible = true;
        if (entry.reason.empty()) {
            entry.reason = fmt::format("cuDNN {} has no engine for it", functions().version());
        }
    }
    return found;
}

// try_run, and why not.
bool run_or_say(const Problem& problem, const std::function<void(Graph&)>& build, std::span<void* const> addresses,
                bool in_place, Stream stream, std::string& reason) {
    const LibraryCall call(stream);
    const cudnnHandle_t handle = call.handle();
    Plans& all = plans();
    Entry& entry = all.entries[problem];
    const bool may_try = !in_place && !is_capturing(stream);
    const Plan* const plan = plan_for(problem, build, entry, may_try, addresses, handle, stream);
    if (plan == nullptr) {
        reason = entry.reason;
        return false;
    }
    ++all.counts.runs;
    require(execute(*plan, addresses, handle, stream), "{} {}: cuDNN's engine fails", problem.op, problem.shape);
    return true;
}

}  // namespace

bool try_run(const Problem& problem, const std::function<void(Graph&)>& build, std::span<void* const> addresses,
             bool in_place, Stream stream) {
    std::string reason;
    return run_or_say(problem, build, addresses, in_place, stream, reason);
}

void run(const Problem& problem, const std::function<void(Graph&)>& build, std::span<void* const> addresses,
         bool in_place, Stream stream) {
    std::string reason;
    require(run_or_say(problem, build, addresses, in_place, stream, reason), "{} {}: {}; use --backend native",
            problem.op, problem.shape, reason);
}

void forget_plans() {
    plans().entries.clear();
    plans().counts = {};
}

PlanCounts plan_counts() {
    PlanCounts counts = plans().counts;
    counts.problems = static_cast<std::int64_t>(
        std::ranges::count_if(plans().entries, [](const auto& entry) { return !entry.second.impossible; }));
    return counts;
}

std::vector<Descriptor> proposed_engines(const Descriptor& graph) {
    std::vector<Descriptor> all;
    for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
        Descriptor proposals(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
        proposals.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
        proposals.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
        if (!proposals.try_finalize()) {
            continue;  // this mode has nothing to say about such a graph
        }
        std::int64_t count = 0;
        check(functions().attribute_get(proposals.raw(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                        0, &count, nullptr),
              "engines");
        std::vector<Descriptor> some;
        std::vector<cudnnBackendDescriptor_t> raw;
        for (std::int64_t i = 0; i < count; ++i) {
            raw.push_back(some.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).raw());
        }
        check(functions().attribute_get(proposals.raw(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                        count, &count, raw.data()),
              "engines");
        some.erase(some.begin() + static_cast<std::ptrdiff_t>(count), some.end());
        std::ranges::move(some, std::back_inserter(all));
    }
    return all;
}

bool allowed_engine(const Descriptor& configuration, bool exact_products) {
    const Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendDescriptor_t raw = engine.raw();
    std::int64_t count = 0;
    check(functions().attribute_get(configuration.raw(), CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                    &count, &raw),
          "engine");
    std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
    check(functions().attribute_get(engine.raw(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                    notes.size(), &count, notes.data()),
          "engine");
    return std::none_of(notes.begin(), notes.begin() + count, [&](cudnnBackendNumericalNote_t note) {
        return note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC ||
               note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION ||
               (exact_products &&
                (note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE || note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
    });
}

std::int64_t alignment_of(std::span<void* const> addresses) {
    std::uintptr_t all = 16;
    for (const void* const address : addresses) {
        all |= reinterpret_cast<std::uintptr_t>(address);
    }
    return static_cast<std::int64_t>(all & (~all + 1));
}

}  // namespace cutis::cudnn
