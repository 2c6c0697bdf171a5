#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/device.h"
#include "engine/packed_dataset.h"
#include "engine/split.h"
#include "tools/ensemble_rules.h"
#include "tools/inference.h"
#include "tools/run_directory.h"
#include "tools/tta.h"

namespace cutis {

/// A member of an ensemble: a run, or the runs of a cross-validation (a folder with folds.json), whose answers to new
/// images are averaged.
struct EnsembleMember {
    std::filesystem::path folder;
    std::vector<Run> runs;  ///< one, or one per fold
    bool folds = false;

    std::string name() const { return folder.string(); }
};

/// Throws Error where `folder` is neither.
EnsembleMember open_member(const std::filesystem::path& folder);

/// What all members say of the same images: once, or once for every fold of a cross-validation.
struct Panel {
    std::vector<Predictions> val;     ///< of each member: images that pick and weigh
    std::vector<Predictions> judged;  ///< of each member
};

struct PanelOptions {
    SplitPart part = SplitPart::test;  ///< which part is judged
    Tta tta{};
    int batch_size = 32;
    Device device{};
};

/// Every member's answers; an image is read once for all members. Runs give one panel; cross-validations one per fold,
/// whose `judged` is the fold that was held out. Throws Error, naming the member, unless all have the classes, data set
/// and split of the first: no member may have trained on an image that is judged.
std::vector<Panel> judge_members(std::span<const EnsembleMember> members, const PackedDataset& data,
                                 const PanelOptions& options);

/// Whether a member's split shares lesions between its parts, so that no figure counts.
bool any_leaky(std::span<const EnsembleMember> members);

/// Member `m`'s predictions of all judged images, panel after panel.
Predictions judged_by(std::span<const Panel> panels, std::size_t m);

/// The member of the highest balanced accuracy on validation images (the mean over the panels); of equal ones the
/// first.
std::size_t best_member(std::span<const Panel> panels);
double val_balanced_accuracy(std::span<const Panel> panels, std::size_t m);

/// The judged images as the ensemble sees them. What a rule learns for a panel comes from images that no member of the
/// panel trained on and that are not judged in it: the panel's validation images, or, for `stacked` over several
/// panels, what the other panels judged (out-of-fold predictions).
Predictions combine_panels(EnsembleRule rule, std::span<const Panel> panels, double c);

/// What the rule learns from all of it, for new images.
EnsembleFit fit_panels(EnsembleRule rule, std::span<const Panel> panels, double c);

/// ensemble.json of an ensemble's folder: which members answer, and how their answers become one.
struct Ensemble {
    std::filesystem::path folder;
    EnsembleRule rule = EnsembleRule::mean;
    Tta tta{};
    std::vector<EnsembleMember> members{};
    EnsembleFit fit{};
    std::vector<std::string> class_names{};
    std::string data_checksum{};
};

/// Whether `folder` holds an ensemble.json.
bool is_ensemble(const std::filesystem::path& folder);
/// Throws Error naming the file and the key, or the member that is no run any more.
Ensemble open_ensemble(const std::filesystem::path& folder);
/// Writes ensemble.json, crash-safe. Members are named relative to the folder, so that both can be moved together.
void save_ensemble(const Ensemble& ensemble);

/// The networks of members, on a device.
class MemberNetworks {
  public:
    MemberNetworks(std::span<const EnsembleMember> members, Device device);

    /// Member after member, its runs in order.
    std::span<const PreparedNetwork> networks() const { return networks_; }
    /// From the networks' probabilities the members': the mean of each one's runs.
    std::vector<std::vector<float>> by_member(std::vector<std::vector<float>> probabilities) const;

  private:
    std::vector<std::unique_ptr<Model>> models_;
    std::vector<PreparedNetwork> networks_;
    std::vector<std::size_t> runs_;  // of each member
};

}  // namespace cutis
