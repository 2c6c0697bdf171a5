#!/usr/bin/env python3
"""Writes stacking_golden.json: what scikit-learn's LogisticRegression makes of the log-probabilities of three members.

    python3 -m venv venv && venv/bin/pip install numpy scikit-learn
    venv/bin/python tests/data/make_stacking.py
"""
import json
import pathlib

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression

LEAST = 1e-7


def member(rng, labels, classes, skill):
    logits = rng.normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += skill
    p = np.exp(2 * logits)
    return (p / p.sum(1, keepdims=True)).astype(np.float32)


def main():
    rng = np.random.default_rng(2018)
    classes, n = 4, 90
    labels = rng.choice(classes, size=n, p=[0.4, 0.3, 0.2, 0.1])
    members = [member(rng, labels, classes, skill) for skill in (1.5, 1.0, 0.3)]
    members[1][3, :] = [1, 0, 0, 0]  # one that is sure: logarithms are of at least LEAST
    x = np.concatenate([np.log(np.maximum(m.astype(np.float64), LEAST)) for m in members], axis=1)
    cases = []
    for c in (0.01, 1.0, 30.0):
        model = LogisticRegression(C=c, tol=1e-10, max_iter=100000).fit(x, labels)
        cases.append({"c": c, "weights": model.coef_.ravel().tolist(),
                      "probabilities": model.predict_proba(x).ravel().tolist()})
    golden = {
        "scikit_learn": sklearn.__version__,
        "classes": classes,
        "labels": labels.tolist(),
        # The shortest text of each float32, so that the reader gets its very bits back.
        "members": [[float(np.format_float_positional(v, unique=True)) for v in m.ravel()] for m in members],
        "cases": cases,
    }
    path = pathlib.Path(__file__).with_name("stacking_golden.json")
    path.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
