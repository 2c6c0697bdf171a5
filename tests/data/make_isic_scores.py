#!/usr/bin/env python3
"""Writes isic_scores_golden.json: files of truth and predictions, and what the ISIC challenges' scorer makes of them.

    python3.11 -m venv venv
    venv/bin/pip install isic-challenge-scoring==5.6.0 pandas==1.5.3 numpy==1.24.4 scikit-learn==1.2.2 'scipy<1.12'
    venv/bin/python tests/data/make_isic_scores.py

pandas 1.5 is of the package's time: with pandas 3 it fails on every file. Truth files are sorted by image: of others
the package hands weights to the wrong images (it sorts truth and predictions, and not the weights).

Where the package itself fails on a figure (a class without images has no ROC curve) the figure is null here, found by
calling the package's functions one by one.
"""
import io
import json
import pathlib
import warnings

import isic_challenge_scoring
import numpy as np
import pandas as pd
from isic_challenge_scoring import metrics
from isic_challenge_scoring.classification import ClassificationMetric, ClassificationScore
from isic_challenge_scoring.confusion import create_binary_confusion_matrix
from isic_challenge_scoring.load_csv import parse_csv, parse_truth_csv, sort_rows, validate_rows
from isic_challenge_scoring.types import ScoreError

warnings.simplefilter("ignore")
CLASSES = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
FIGURES = {
    "accuracy": metrics.binary_accuracy,
    "sensitivity": metrics.binary_sensitivity,
    "specificity": metrics.binary_specificity,
    "dice": metrics.binary_dice,
    "ppv": metrics.binary_ppv,
    "npv": metrics.binary_npv,
}
RANKED = {
    "auc": metrics.auc,
    "auc_sens_80": lambda t, p, w: metrics.auc_above_sensitivity(t, p, w, 0.80),
    "ap": metrics.average_precision,
}


def names(n, first=1):
    return [f"ISIC_{first + i:07d}" for i in range(n)]


def csv(images, classes, values, extra=None):
    lines = [",".join(["image", *classes, *(extra or {})])]
    for i, image in enumerate(images):
        cells = [v if isinstance(v, str) else repr(float(v)) for v in values[i]]
        lines.append(",".join([image, *cells, *(repr(float(column[i])) for column in (extra or {}).values())]))
    return "\n".join(lines) + "\n"


def or_null(function, *arguments):
    try:
        value = float(function(*arguments))
    except ValueError:
        return None
    return None if np.isnan(value) else value


def one_by_one(truth_csv, predictions_csv):
    """The figures from the package's functions, with null where one of them fails."""
    truth, weights = parse_truth_csv(io.StringIO(truth_csv))
    predictions = parse_csv(io.StringIO(predictions_csv), truth.columns)
    validate_rows(truth, predictions)
    sort_rows(truth)
    sort_rows(predictions)
    rows = {}
    for name in truth.columns:
        matrix = create_binary_confusion_matrix(
            truth[name].gt(0.5).to_numpy(), predictions[name].gt(0.5).to_numpy(), weights.score_weight.to_numpy())
        rows[name] = {figure: or_null(function, matrix) for figure, function in FIGURES.items()}
        for figure, function in RANKED.items():
            rows[name][figure] = or_null(function, truth[name], predictions[name], weights.score_weight)
    mean = lambda values: float(np.mean(values)) if values else None
    defined = lambda figure: [row[figure] for row in rows.values() if row[figure] is not None]
    macro = {figure: mean(defined(figure)) for figure in [*FIGURES, *RANKED]}
    balanced = or_null(metrics.balanced_multiclass_accuracy, truth, predictions, weights.score_weight)
    overall, validation = {"balanced_accuracy": balanced}, {}
    validation["balanced_accuracy"] = or_null(
        metrics.balanced_multiclass_accuracy, truth, predictions, weights.validation_weight)
    for figure in ["auc", "ap"]:
        overall[figure] = macro[figure]
        values = [or_null(RANKED[figure], truth[c], predictions[c], weights.validation_weight) for c in truth.columns]
        validation[figure] = mean([v for v in values if v is not None])
    return {
        "per_category": {figure: {c: rows[c][figure] for c in rows} for figure in macro},
        "macro_average": macro,
        "aggregate": {"balanced_accuracy": balanced},
        "overall": overall,
        "validation": validation,
    }


def whole(truth_csv, predictions_csv):
    """The same from the package's own entry; None where it fails."""
    result = None
    for metric in ClassificationMetric:
        try:
            score = ClassificationScore.from_stream(io.StringIO(truth_csv), io.StringIO(predictions_csv), metric)
        except ValueError:
            return None
        figures = json.loads(json.dumps(score.to_dict(rocs=False)))
        if result is None:
            result = {k: figures[k] for k in ["per_category", "macro_average", "aggregate"]}
            result |= {"overall": {}, "validation": {}}
        result["overall"][metric.value] = figures["overall"]
        result["validation"][metric.value] = figures["validation"]
    return result


def close(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    return a == b or (a is None and np.isnan(b)) or abs(a - b) < 1e-12


def case(name, truth_csv, predictions_csv):
    figures, direct = one_by_one(truth_csv, predictions_csv), whole(truth_csv, predictions_csv)
    assert direct is None or close(figures, direct), name
    return {"name": name, "truth": truth_csv, "predictions": predictions_csv,
            "package_fails": direct is None, "figures": figures}


def onehot(labels, classes):
    return np.eye(classes)[labels]


def drawn(rng, n, classes, prior, skill, decimals=None):
    labels = rng.choice(classes, size=n, p=prior)
    logits = rng.normal(size=(n, classes)) + skill * onehot(labels, classes)
    p = np.exp(logits)
    p /= p.sum(1, keepdims=True)
    return labels, p if decimals is None else np.round(p, decimals)


def cases(rng):
    prior = np.array([0.11, 0.67, 0.05, 0.03, 0.11, 0.01, 0.02])
    even = np.full(7, 1 / 7)
    labels, p = drawn(rng, 60, 7, prior, 1.5)
    labels[:7] = range(7)
    yield case("random, as frequent as in life", csv(names(60), CLASSES, onehot(labels, 7)), csv(names(60), CLASSES, p))

    labels, p = drawn(rng, 50, 7, even, 1.0, decimals=1)
    labels[:7] = range(7)
    yield case("ties: predictions of one decimal", csv(names(50), CLASSES, onehot(labels, 7)),
               csv(names(50), CLASSES, p))

    labels, p = drawn(rng, 40, 7, even, 1.0)
    labels[:7] = range(7)
    p[5:20] = 0
    p[20:24] = 1
    p[24:28] = 0.5
    yield case("rows of zeros, of ones and of halves", csv(names(40), CLASSES, onehot(labels, 7)),
               csv(names(40), CLASSES, p))

    labels, p = drawn(rng, 40, 7, even, 1.0)
    labels[:7] = range(7)
    columns = {"score_weight": rng.choice([0.0, 0.25, 1.0, 3.0], size=40), "validation_weight": rng.random(40).round(3)}
    columns["score_weight"][:7] = 1.0
    yield case("weights", csv(names(40), CLASSES, onehot(labels, 7), columns), csv(names(40), CLASSES, p))

    labels, p = drawn(rng, 40, 7, even, 1.0, decimals=2)
    labels[:7] = range(7)
    tenths = {"score_weight": rng.integers(1, 10, size=40) / 10, "validation_weight": (rng.random(40) < 0.5) * 1.0}
    yield case("weights whose sums round", csv(names(40), CLASSES, onehot(labels, 7), tenths),
               csv(names(40), CLASSES, p))

    # Sensitivity 4/5 exactly, reached below a long row of false positives.
    labels = np.array([0] * 5 + [1] * 10)
    p = np.array([0.9, 0.85, 0.8, 0.7, 0.1, 0.88, 0.6, 0.5, 0.4, 0.3, 0.2, 0.05, 0.04, 0.03, 0.02])
    yield case("a sensitivity of exactly 0.8", csv(names(15), ["A", "B"], onehot(labels, 2)),
               csv(names(15), ["A", "B"], np.stack([p, 1 - p], 1)))
    tenth = {"score_weight": np.full(15, 0.1), "validation_weight": np.ones(15)}
    yield case("a sensitivity of 0.8 from sums that round", csv(names(15), ["A", "B"], onehot(labels, 2), tenth),
               csv(names(15), ["A", "B"], np.stack([p, 1 - p], 1)))

    labels, p = drawn(rng, 30, 7, even, 2.0)
    labels[labels == 5] = 1
    labels[labels == 6] = 0
    labels[:5] = range(5)
    yield case("classes without images", csv(names(30), CLASSES, onehot(labels, 7)), csv(names(30), CLASSES, p))

    labels, p = drawn(rng, 12, 3, np.full(3, 1 / 3), 1.0)
    yield case("images of one class alone", csv(names(12), ["A", "B", "C"], onehot(np.ones(12, int), 3)),
               csv(names(12), ["A", "B", "C"], p))

    labels, p = drawn(rng, 20, 3, np.full(3, 1 / 3), 1.0)
    labels[:3] = range(3)
    truth = onehot(labels, 3)
    truth[3] = 0
    truth[4] = 1
    yield case("truths of no class and of all", csv(names(20), ["A", "B", "C"], truth),
               csv(names(20), ["A", "B", "C"], p))

    images = names(20, first=35060)  # ISIC_0035068 among them, which counts nothing
    labels, p = drawn(rng, 20, 7, even, 1.0)
    labels[:7] = range(7)
    order = rng.permutation(20)
    columns = rng.permutation(7)
    yield case("the image taken out; rows and columns in another order, .JPG behind names",
               csv(images, CLASSES, onehot(labels, 7)),
               csv([images[i] + ".JPG" for i in order], [CLASSES[c] for c in columns], p[order][:, columns]))

    labels = np.arange(4) % 2
    yield case("always right", csv(names(4), ["A", "B"], onehot(labels, 2)), csv(names(4), ["A", "B"], onehot(labels, 2)))
    yield case("always wrong", csv(names(4), ["A", "B"], onehot(labels, 2)),
               csv(names(4), ["A", "B"], 1 - onehot(labels, 2)))
    yield case("nothing predicted: equal rows", csv(names(4), ["A", "B"], onehot(labels, 2)),
               csv(names(4), ["A", "B"], np.full((4, 2), 0.25)))
    forms = [["1e-3", ".5"], ["1.", " 0.25"], ["+0.5", "1E-400"], ["1", "0.0"]]
    yield case("numbers as they may be written", csv(names(4), ["A", "B"], onehot(labels, 2)),
               csv(names(4), ["A", "B"], forms))


def refusals():
    truth = csv(names(3), ["A", "B"], onehot(np.array([0, 1, 0]), 2))
    good = csv(names(3), ["A", "B"], np.array([[0.5, 0.5], [0.2, 0.8], [1.0, 0.0]]))
    bad = {
        "an image missing": good.replace("ISIC_0000002,0.2,0.8\n", ""),
        "an image twice": good + "ISIC_0000002,0.2,0.8\n",
        "an image twice, once with .jpg": good + "ISIC_0000002.jpg,0.2,0.8\n",
        "an image that is unknown": good + "ISIC_0000009,0.2,0.8\n",
        "another extension": good.replace("ISIC_0000002", "ISIC_0000002.png"),
        "a column missing": "image,A\nISIC_0000001,0.5\nISIC_0000002,0.5\nISIC_0000003,0.5\n",
        "a column too many": csv(names(3), ["A", "B", "C"], np.full((3, 3), 0.5)),
        "a column twice": csv(names(3), ["A", "B", "B"], np.full((3, 3), 0.5)),
        "a class in small letters": good.replace("A,B", "a,B"),
        "no column of images": good.replace("image", "name"),
        "a text": good.replace("0.2", "much"),
        "a value missing": good.replace("0.2", ""),
        "not a number": good.replace("0.2", "nan"),
        "NA": good.replace("0.2", "NA"),
        "infinite": good.replace("0.2", "inf"),
        "beyond every double": good.replace("0.2", "1e999"),
        "below 0": good.replace("0.2", "-0.0001"),
        "above 1": good.replace("0.2", "1.0001"),
        "a column of whole numbers": csv(names(3), ["A", "B"], [["1", 0.5], ["0", 0.5], ["1", 0.5]]),
        "a column of truth values": csv(names(3), ["A", "B"], [["True", 0.5], ["False", 0.5], ["True", 0.5]]),
        "a row too short": good.replace("0.2,0.8", "0.2"),
        "hexadecimal": good.replace("0.2", "0x1p-3"),
        "a comma in place of the point": good.replace("0.2,0.8", '"0,2",0.8'),
        "empty": "",
        "a header alone": "image,A,B\n",
        "one line": "image,A,B",
        "no rows that count": "\n\n\n",
    }
    for name, text in bad.items():
        try:
            parsed_truth, _ = parse_truth_csv(io.StringIO(truth))
            validate_rows(parsed_truth, parse_csv(io.StringIO(text), parsed_truth.columns))
        except ScoreError as error:
            yield {"name": name, "truth": truth, "predictions": text, "package": str(error)}
        else:
            raise SystemExit(f"the package takes '{name}'")


def main():
    rng = np.random.default_rng(2018)
    data = {"package": "isic-challenge-scoring 5.6.0", "cases": list(cases(rng)), "refusals": list(refusals())}
    path = pathlib.Path(__file__).with_name("isic_scores_golden.json")
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")
    for c in data["cases"]:
        print(f"{c['name']}: {c['figures']['aggregate']} {'(the package fails)' if c['package_fails'] else ''}")
    for r in data["refusals"]:
        print(f"{r['name']}: {r['package']}")


main()
