#!/usr/bin/env python3
"""Writes svm_golden.json: points, and the decision values of scikit-learn's LinearSVC on them.

    python3 -m venv venv && venv/bin/pip install numpy scikit-learn
    venv/bin/python tests/data/make_svm_golden.py

The problem is strictly convex (squared hinge; the bias is regularised as the weight of an input of 1), so that the
decision values do not depend on the solver, which is driven to a tolerance of 1e-10 here.
"""
import json
import pathlib

import numpy as np
import sklearn
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC


def case(name, rng, n, d, classes, c, apart, scale=1.0, constant=False):
    labels = np.arange(n) % classes
    rng.shuffle(labels)
    x = rng.normal(size=(n, d)) * scale + 3
    x += apart * rng.normal(size=(classes, d))[labels]
    if constant:
        x[:, 1] = 0.7
    x = x.astype(np.float32)
    test = (x[: n // 3] + rng.normal(size=(n // 3, d)).astype(np.float32)).astype(np.float32)
    if constant:
        test[:, 1] = x[0, 1]
    scaler = StandardScaler().fit(x.astype(np.float64))
    decisions = []
    for k in range(classes):  # one class against the rest, also where there are two
        svm = LinearSVC(C=c, loss="squared_hinge", dual=True, tol=1e-10, max_iter=10_000_000, random_state=0)
        svm.fit(scaler.transform(x.astype(np.float64)), labels == k)
        decisions.append(svm.decision_function(scaler.transform(test.astype(np.float64))))
    return {"name": name, "c": c, "dimension": d, "classes": classes, "labels": labels.tolist(),
            "x": [float(v) for v in x.ravel()], "test": [float(v) for v in test.ravel()],
            "decisions": np.stack(decisions, 1).ravel().tolist()}


def main():
    rng = np.random.default_rng(2008)
    cases = [
        case("overlapping classes", rng, 60, 5, 3, 1.0, 1.0),
        case("well apart, small C", rng, 45, 4, 3, 0.01, 4.0),
        case("more features than points, large C", rng, 20, 31, 2, 10.0, 0.5),
        case("one feature", rng, 30, 1, 2, 0.3, 1.0),
        case("a constant feature, large numbers", rng, 40, 6, 4, 0.1, 1.0, scale=100.0, constant=True),
    ]
    path = pathlib.Path(__file__).with_name("svm_golden.json")
    path.write_text(json.dumps({"scikit-learn": sklearn.__version__, "cases": cases}) + "\n")


main()
