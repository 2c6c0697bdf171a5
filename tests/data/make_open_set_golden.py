#!/usr/bin/env python3
"""Writes open_set_golden.json: points of known and unknown classes, and what numpy and scikit-learn make of them.

    python3 -m venv venv && venv/bin/pip install numpy scikit-learn
    venv/bin/python tests/data/make_open_set_golden.py

Covariance and its shrinkage are scikit-learn's, AUROC and the curve behind the false-positive rate too; thresholds and
recalls are written out here from their definitions.
"""
import json
import pathlib

import numpy as np
import sklearn
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve


def points(rng, means, labels, noise):
    return (means[labels] + rng.normal(size=(len(labels), means.shape[1])) @ noise).astype(np.float32)


def mahalanobis(train, labels, x):
    train, x = train.astype(np.float64), x.astype(np.float64)
    means = np.stack([train[labels == k].mean(0) for k in np.unique(labels)])
    centred = train - means[np.searchsorted(np.unique(labels), labels)]
    covariance, shrinkage = ledoit_wolf(centred, assume_centered=True)
    inverse = np.linalg.inv(covariance)
    difference = x[:, None, :] - means[None]
    return -np.einsum("nkd,de,nke->nk", difference, inverse, difference).min(1), shrinkage


def figures(scores, labels, predicted, threshold, known_classes):
    known = labels < known_classes
    fpr, tpr, _ = roc_curve(known, scores, drop_intermediate=False)
    kept = scores >= threshold
    answer = np.where(kept, predicted, known_classes)
    return {
        "auroc": roc_auc_score(known, scores),
        "fpr_at_95_tpr": fpr[np.argmax(tpr >= 0.95 - 1e-12)],
        "known_kept": kept[known].mean(),
        "unknown_kept": kept[~known].mean(),
        "balanced_accuracy": balanced_accuracy_score(labels, answer),
        "known_balanced_accuracy": balanced_accuracy_score(labels[known], predicted[known]),
    }


def case(name, rng, n, d, classes, apart, decimals=None, missing=None):
    means = apart * rng.normal(size=(classes + 1, d))
    noise = rng.normal(size=(d, d)) / np.sqrt(d) + 0.5 * np.eye(d)
    train_labels = np.arange(n) % classes
    if missing is not None:
        train_labels[train_labels == missing] = 0
    test_labels = rng.integers(0, classes + 1, size=n)
    train, test = points(rng, means, train_labels, noise), points(rng, means, test_labels, noise)
    val = points(rng, means, rng.integers(0, classes, size=n // 2), noise)
    scores, shrinkage = mahalanobis(train, train_labels, test)
    val_scores, _ = mahalanobis(train, train_labels, val)
    if decimals is not None:  # ties
        scores, val_scores = scores.round(decimals), val_scores.round(decimals)
    predicted = rng.integers(0, classes, size=n)
    right = rng.random(n) < 0.6
    predicted[right] = np.minimum(test_labels[right], classes - 1)
    results = []
    for share in [0.5, 0.8, 0.95, 1.0]:
        fitting = [t for t in np.unique(val_scores) if (val_scores >= t).mean() >= share - 1e-12]
        threshold = max(fitting)
        results.append({"share": share, "threshold": threshold}
                       | figures(scores, test_labels, predicted, threshold, classes))
    return {"name": name, "classes": classes, "dimension": d, "rounded_to": decimals, "shrinkage": shrinkage,
            "train": train.ravel().tolist(), "train_labels": train_labels.tolist(),
            "test": test.ravel().tolist(), "test_labels": test_labels.tolist(), "predicted": predicted.tolist(),
            "val": val.ravel().tolist(), "scores": scores.tolist(), "val_scores": val_scores.tolist(),
            "results": results}


def main():
    rng = np.random.default_rng(2017)
    cases = [
        case("classes that overlap", rng, 60, 5, 3, 0.7),
        case("fewer images than features", rng, 20, 33, 2, 0.5),
        case("far apart", rng, 40, 4, 3, 6.0),
        case("ties", rng, 60, 3, 2, 0.5, decimals=0),
        case("a class without training images", rng, 30, 4, 3, 1.0, missing=1),
    ]
    path = pathlib.Path(__file__).with_name("open_set_golden.json")
    path.write_text(json.dumps({"scikit-learn": sklearn.__version__, "numpy": np.__version__, "cases": cases}) + "\n")


main()
