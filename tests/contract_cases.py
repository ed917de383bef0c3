r"""Every registered family, tiny, and data of every kind, with and without labels."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch

from fromnoise import families

TINY = {
    "gmm": {"n_components": 2, "max_iter": 5, "tol": 1.0},
    "autoencoder": {
        "budget": "20 steps",
        "network": "small",
        "latent_dim": 2,
        "prior": families.GaussianMixture(n_components=2, max_iter=5, tol=1.0),
    },
    "diffusion": {"budget": "8 steps", "network": "small", "steps": 3},
    "vae": {
        "budget": "8 steps",
        "network": "small",
        "latent_dim": 2,
        "n_importance_train": 1,
        "n_importance_score": 7,
    },
    "iwae": {"n_importance_train": 3},
    "ddpm": {"steps": 3},
    "gan": {"budget": "8 steps", "network": "small"},
    "flow": {"budget": "8 steps", "network": "small", "steps": 3},
}
N = 80


@dataclass
class Case:
    r"""Rows of one kind, and their labels or None."""

    X: Any
    y: Any = None
    unseen: Any = field(default=None)


def _vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 3)) * [1, 10, 0.1] + [0, 100, 5]


def _table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    income = rng.lognormal(8, 1, N)
    income[:5] = np.nan
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, N),
            "income": income,
            "city": pd.Categorical(rng.choice(["Oslo", "Rome"], N), categories=["Rome", "Oslo"]),
            "member": rng.random(N) < 0.3,
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, N), "D"),
        }
    )


def _images(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(2)
    pixels = rng.random((N, *shape))
    return (pixels * 255).astype(dtype) if dtype == "uint8" else pixels.astype(dtype)


CLASSES = np.array(["b", "a", "c", "a"])[np.arange(N) % 4]
NUMBERS = np.random.default_rng(3).normal(size=(N, 2))
CASES = {
    "vectors": Case(_vectors()),
    "vectors-float32": Case(_vectors().astype(np.float32)),
    "vectors-int": Case(np.random.default_rng(4).poisson(20, (N, 3))),
    "vectors-torch": Case(torch.from_numpy(_vectors().astype(np.float32))),
    "vectors-classes": Case(_vectors(), CLASSES),
    "vectors-numbers": Case(_vectors(), NUMBERS),
    "table": Case(_table()),
    "table-classes": Case(_table().drop(columns="city"), _table()["city"]),
    "images-uint8": Case(_images((3, 5), "uint8")),
    "images-colour": Case(_images((5, 6, 3), "uint8"), np.arange(N) % 3),
    "images-float": Case(_images((1, 2), "float32")),
}


def make(family: str, **arguments: Any) -> Any:
    name, preset = families.PRESETS[family]
    tiny = {k: v for k, v in TINY[name].items() if k not in preset} | TINY.get(family, {})
    return families.make(family, **{**tiny, "random_state": 0, **arguments})


@lru_cache
def fitted(family: str, case: str) -> Any:
    r"""A fitted model that no test may change."""
    return make(family).fit(CASES[case].X, CASES[case].y)
