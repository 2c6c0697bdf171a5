#!/usr/bin/env python3
"""Writes metrics_golden.json: predictions and the figures that scikit-learn gives for them.

    python3 -m venv venv && venv/bin/pip install numpy scikit-learn
    venv/bin/python tests/data/make_metrics.py

scikit-learn has no multi-class expected calibration error, sensitivity at fixed specificity or multi-class Brier score;
those are written out here in numpy, from their definitions and not from the C++ code.
"""
import json
import pathlib
import warnings

import numpy as np
import sklearn
from sklearn import metrics

CLASSES = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]


def softmax_scores(rng, n, classes, prior, skill):
    labels = rng.choice(classes, size=n, p=prior)
    logits = rng.normal(size=(n, classes)) + np.log(prior) * 0.5
    logits[np.arange(n), labels] += skill
    p = np.exp(1.4 * logits)
    return labels, (p / p.sum(1, keepdims=True)).astype(np.float32)


def calibration_error(labels, p, bins=15):
    confidence = p.max(1).astype(np.float64)
    correct = p.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


def sensitivity_at(labels, p, cls, specificity):
    best = 0.0
    truth = labels == cls
    for threshold in np.append(np.unique(p[:, cls]), np.inf):
        positive = p[:, cls] >= threshold
        if (~positive & ~truth).sum() / (~truth).sum() >= specificity:
            best = max(best, (positive & truth).sum() / truth.sum())
    return best


def case(name, names, labels, p):
    classes = len(names)
    exact = p.astype(np.float64)
    predicted = p.argmax(1)
    onehot = np.eye(classes)[labels]
    confusion = metrics.confusion_matrix(labels, predicted, labels=range(classes))
    present = confusion.sum(1) > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that do not occur
        precision, recall, f1, support = metrics.precision_recall_fscore_support(
            labels, predicted, labels=range(classes), zero_division=np.nan)
        figures = {
            "accuracy": metrics.accuracy_score(labels, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
            "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
            "nll": metrics.log_loss(labels, exact, labels=range(classes)) if classes > 1 else 0.0,
        }
    auc = [metrics.roc_auc_score(labels == k, exact[:, k]) if 0 < present[k] and support[k] < len(labels) else None
           for k in range(classes)]
    defined = [a for a in auc if a is not None]
    figures["macro_auc"] = float(np.mean(defined)) if defined else None
    if present.all() and name == "seven_classes":
        whole = exact / exact.sum(1, keepdims=True)
        whole_auc = metrics.roc_auc_score(labels, whole, multi_class="ovr", average="macro")
        assert abs(whole_auc - figures["macro_auc"]) < 1e-6
    figures["brier"] = float(((exact - onehot) ** 2).sum(1).mean())
    figures["ece"] = float(calibration_error(labels, p))
    if "MEL" in names and 0 < support[names.index("MEL")] < len(labels):
        mel = names.index("MEL")
        figures["melanoma_sensitivity"] = recall[mel]
        figures["melanoma_sensitivity_at_90"] = sensitivity_at(labels, p, mel, 0.90)
        figures["melanoma_sensitivity_at_95"] = sensitivity_at(labels, p, mel, 0.95)
    specificity = []
    for k in range(classes):
        negatives = labels != k
        specificity.append(float((predicted[negatives] != k).mean()) if negatives.any() else None)

    def number(x):
        return None if x is None or np.isnan(x) else float(x)

    result = {
        "name": name,
        "class_names": names,
        "labels": labels.tolist(),
        # The shortest text of each float32, so that the reader gets its very bits back.
        "probabilities": [float(np.format_float_positional(v, unique=True)) for v in p.ravel()],
        "figures": {key: number(value) for key, value in figures.items()},
        "confusion": confusion.ravel().tolist(),
        "per_class": [{"support": int(support[k]), "sensitivity": number(recall[k]), "specificity": specificity[k],
                       "precision": number(precision[k]),
                       "f1": number(f1[k]), "auc": auc[k]} for k in range(classes)],
    }
    if classes > 1 and 0 < support[0] < len(labels):
        fpr, tpr, threshold = metrics.roc_curve(labels == 0, p[:, 0], drop_intermediate=False)
        result["roc_of_class_0"] = {"fpr": fpr.tolist(), "tpr": tpr.tolist(), "threshold": [float(t) for t in threshold[1:]]}
    return result


def main():
    rng = np.random.default_rng(2018)
    prior = np.array([0.15, 0.45, 0.1, 0.08, 0.12, 0.04, 0.06])
    cases = [case("seven_classes", CLASSES, *softmax_scores(rng, 160, 7, prior, 1.6))]
    labels, p = softmax_scores(rng, 120, 3, np.array([0.3, 0.6, 0.1]), 1.0)
    cases.append(case("many_ties", ["MEL", "NV", "BCC"], labels, np.round(p, 1).astype(np.float32)))
    # Class DF neither true nor predicted, VASC predicted but never true, BCC true but never predicted.
    labels, p = softmax_scores(rng, 60, 5, np.array([0.3, 0.4, 0.28, 0.01, 0.01]), 1.2)
    labels = np.where(labels > 2, 0, labels)
    p[:, 3] = 0
    p[:5] = [0.1, 0.2, 0.1, 0, 0.6]
    p[:, 2] = np.minimum(p[:, 2], 0.15)
    cases.append(case("missing_classes", ["MEL", "NV", "BCC", "DF", "VASC"], labels, p))
    cases.append(case("two_classes", ["benign", "malignant"], *softmax_scores(rng, 50, 2, np.array([0.7, 0.3]), 0.8)))
    path = pathlib.Path(__file__).with_name("metrics_golden.json")
    path.write_text(json.dumps({"scikit-learn": sklearn.__version__, "cases": cases}, separators=(",", ":"), allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
