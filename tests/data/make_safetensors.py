#!/usr/bin/env python3
"""Writes tiny.safetensors with the reference implementation (pip install safetensors==0.8.0 numpy ml_dtypes), so that the
reader is held against a file that others wrote. Run it in this folder. The order of the metadata differs from run to run."""

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

save_file(
    {
        "features.0.0.weight": np.arange(-6, 6, dtype=np.float32).reshape(2, 3, 2) / 4,
        "half": np.array([1.0, -0.5, 65504.0, 6e-8], dtype=np.float16),
        "brain": np.array([[1.0], [-2.5], [3.140625]], dtype=ml_dtypes.bfloat16),
        "step": np.array(-(2**40), dtype=np.int64),
        "nothing": np.zeros((0, 7), dtype=np.float32),
        "bytes": np.array([0, 127, 255], dtype=np.uint8),
        "läsion": np.array([7], dtype=np.int32),
    },
    "tiny.safetensors",
    {"format": "pt", "mean": "0.5,0.5,0.5", "note": 'quotes " and ü'},
)
