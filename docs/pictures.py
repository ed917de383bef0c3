r"""Draw the pictures of the documentation: ``python docs/pictures.py``."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

import fromnoise as fn
from fromnoise.transport.solvers import RUNGE_KUTTA, integrate

IMAGES = Path(__file__).parent / "images"
INK, DATA, NOISE = "#777777", "#2f6fde", "#b8bec9"


def figure(columns: int) -> tuple[Figure, Any]:
    r"""Return a figure with square, bare axes side by side."""
    canvas = Figure(figsize=(2.4 * columns, 2.6), dpi=150, layout="constrained")
    axes = canvas.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.set_aspect("equal")
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
    return canvas, axes


def save(canvas: Figure, name: str) -> None:
    r"""Write a picture with a transparent background, readable in light and dark."""
    IMAGES.mkdir(exist_ok=True)
    canvas.savefig(IMAGES / f"{name}.png", transparent=True)


def dots(axis: Any, x: np.ndarray, title: str, colour: str = DATA) -> None:
    r"""Draw points."""
    axis.scatter(*x.T, s=2, c=colour, alpha=0.5, linewidths=0)
    axis.set_title(title, fontsize=9, color=INK)


def flow_matching(X: np.ndarray) -> None:
    r"""Noise on its way to data, and the paths of a few points."""
    model = fn.FlowMatching(budget="3000 steps", random_state=0).fit(X)
    z = torch.randn(1500, 2, generator=torch.Generator().manual_seed(0))
    canvas, axes = figure(5)
    paths = [model.moments.restore(z)]
    with torch.no_grad():
        for start in np.linspace(0, 1, 21)[:-1]:
            times = torch.linspace(start, start + 0.05, 3)
            z = integrate(lambda x, t: model.velocity(x, t, None), z, times, RUNGE_KUTTA["rk4"])
            paths.append(model.moments.restore(z))
    steps = torch.stack(paths).numpy()  # (21, n, 2)
    for axis, i in zip(axes, (0, 10, 15, 20), strict=False):
        dots(axis, steps[i], f"t = {i / 20:g}", NOISE if i == 0 else DATA)
    dots(axes[4], steps[0], "paths", NOISE)
    axes[4].plot(steps[:, :60, 0], steps[:, :60, 1], c=DATA, lw=0.5, alpha=0.7)
    save(canvas, "flow-matching")


def gaussian_mixture(X: np.ndarray) -> None:
    r"""Data, components, samples."""
    model = fn.GaussianMixture(random_state=0).fit(X)
    canvas, axes = figure(3)
    dots(axes[0], X[:1500], "data", NOISE)
    dots(axes[1], X[:1500], f"{len(model.weights_)} components, chosen by BIC", NOISE)
    for mean, covariance in zip(model.means_, model.covariances_, strict=True):
        values, vectors = np.linalg.eigh(covariance)
        angle = np.degrees(np.arctan2(*vectors[::-1, 1]))
        width, height = 4 * np.sqrt(values[::-1])
        axes[1].add_patch(Ellipse(mean, width, height, angle=angle, fill=False, ec=DATA))
    dots(axes[2], model.sample(1500, random_state=0), "samples")
    save(canvas, "gaussian-mixture")


def main() -> None:
    r"""Draw all of them."""
    flow_matching(fn.data.load("8gaussians").X)
    gaussian_mixture(fn.data.load("moons").X)


if __name__ == "__main__":
    main()
