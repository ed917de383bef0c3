r"""Fashion-MNIST by adversarial models, at an equal budget of processor time.

    python benchmarks/gan_images.py [--minutes 20] [--out pictures/]

The default GAN, WGAN-GP and WGAN, all conditional on the class and with the same networks, train
on the 60,000 training images on one thread, at the family's learning rate. Each gets as many steps
as its first ones say fit into ``--minutes`` of processor time, which other work on the machine
stretches a little, not much. Then
5,000 samples with the labels of the first test images are set against the 10,000 test images:
KID and Fréchet distance of EfficientNet-Lite0's features, coverage and density of 64 principal
components, and how often a classifier of real images reads the label that was asked for. Rows of
real training images, and of a Gaussian a class, stand beside. Prints Markdown; pictures of ten
samples a class go to ``--out``.
"""

import argparse
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.svm import SVC

import fromnoise as fn
from fromnoise import metrics
from fromnoise.metrics.enetlite0 import EnetLite0
from fromnoise.metrics.features import PixelPCA

N, PROBE = 5000, 200
UNREAD = slice(20_000, 20_000 + N)  # training images that the classifier has not seen
NAMES = ("gan", "wgan-gp", "wgan")


def fitted(name: str, X: Any, y: Any, minutes: float) -> tuple[Any, float]:
    r"""Return a fitted model, and the minutes of processor time that its fit took."""
    _cost(name, X, y, 1)  # what is loaded once
    each = (_cost(name, X, y, 2 * PROBE) - _cost(name, X, y, PROBE)) / PROBE
    started = time.process_time()
    steps = round(60 * minutes / each)
    model = fn.families.make(name, random_state=0, budget=f"{steps} steps").fit(X, y)
    return model, (time.process_time() - started) / 60


def _cost(name: str, X: Any, y: Any, steps: int) -> float:
    started = time.process_time()
    fn.families.make(name, random_state=0, budget=f"{steps} steps").fit(X, y)
    return time.process_time() - started


class Judge:
    r"""The numbers of a set of images whose labels are known, against the test images."""

    def __init__(self, data: fn.data.Data) -> None:
        self.X, self.y = data.X[60_000:], data.y[60_000:]
        self.deep, self.pixels = EnetLite0.fit(data.X[:60_000]), PixelPCA.fit(data.X[:60_000])
        self.real = self.deep(self.X), self.pixels(self.X)
        rows = self.pixels(data.X[:60_000])
        self.reader = SVC(C=10).fit(rows[: UNREAD.start], data.y[: UNREAD.start])

    def row(self, images: np.ndarray, labels: np.ndarray) -> str:
        r"""Return cells of a table."""
        deep, pixels = self.deep(images), self.pixels(images)
        kid = metrics.mmd(self.real[0], deep, kernel="cubic")
        covered = metrics.coverage(self.real[1][: len(pixels)], pixels)
        dense = metrics.density(self.real[1][: len(pixels)], pixels)
        read = (self.reader.predict(pixels) == labels).mean()
        return (
            f"{1000 * kid.value:.0f} ({1000 * kid.low:.0f} to {1000 * kid.high:.0f})"
            f" | {metrics.frechet_distance(self.real[0], deep).value:.1f}"
            f" | {covered.value:.2f} | {dense.value:.2f} | {read:.3f}"
        )


def gaussian(data: fn.data.Data, labels: np.ndarray) -> np.ndarray:
    r"""Return an image a label, from one Gaussian a class."""
    X, y = data.X[:60_000], data.y[:60_000]
    drawn = np.empty((len(labels), *X.shape[1:]), X.dtype)
    for label in np.unique(labels):
        rows = X[y == label].reshape((y == label).sum(), -1).astype(np.float64)
        model = fn.GaussianMixture(n_components=1, random_state=0).fit(rows)
        some = model.sample(int((labels == label).sum()), random_state=1)
        some = np.clip(np.rint(some), 0, 255).astype(X.dtype)
        drawn[labels == label] = some.reshape(-1, *X.shape[1:])
    return drawn


def picture(model: Any, path: Path) -> None:
    r"""Save ten samples a class."""
    images = model.sample(100, np.repeat(np.arange(10), 10), random_state=2)
    sheet = images.reshape(10, 10, 28, 28).transpose(0, 2, 1, 3).reshape(280, 280)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).resize((840, 840), Image.Resampling.NEAREST).save(path)


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--names", nargs="*", default=NAMES)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = fn.data.load("fashion-mnist")
    judge, labels = Judge(data), data.y[60_000 : 60_000 + N]
    print(f"fromnoise {version('fromnoise')}, torch {version('torch')}, one thread,")
    print(f"{given.minutes:g} minutes of processor time a model\n")
    head = "1000 x KID | Fréchet | coverage | density | label read | steps | minutes | status"
    print(f"| images | {head} |\n|{'---|' * 9}")
    print(f"| training images | {judge.row(data.X[UNREAD], data.y[UNREAD])} | | | |", flush=True)
    print(f"| Gaussian a class | {judge.row(gaussian(data, labels), labels)} | | | |", flush=True)
    for name in given.names:
        model, minutes = fitted(name, data.X[:60_000], data.y[:60_000], given.minutes)
        cells = judge.row(model.sample(N, labels, random_state=1), labels)
        last = f"{model.n_steps_} | {minutes:.1f} | {model.status_}"
        print(f"| {name} | {cells} | {last} |", flush=True)
        print(name, model.status_reason_, model.history_[-1], file=sys.stderr, flush=True)
        if given.out:
            picture(model, given.out / f"{name}.png")


if __name__ == "__main__":
    main()
