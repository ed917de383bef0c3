r"""Fashion-MNIST by ours and by two peers' U-Nets, at an equal budget of processor time.

    python benchmarks/images.py --peer-python PEER/bin/python [--minutes 24] [--out images/]

All train without labels, on one thread, for ``--minutes`` of processor time (24 are 12 minutes of
two cores): ours get as many steps as their first ones say fit, the peers stop by the clock. Then
samples are set against the 10,000 test images by the features of EfficientNet-Lite0. The unbiased
KID does not depend on how many samples there are, only its interval does: 5,000 of ours, 1,000 of
the peers, whose U-Nets take minutes for each 1,000. Prints Markdown; pictures of 64 samples, and
what the peers drew, go to ``--out``, and peers that are there already are not run again.
"""

import argparse
import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan_images import fitted
from PIL import Image

import fromnoise as fn
from fromnoise import metrics
from fromnoise.metrics.enetlite0 import EnetLite0

N, UNREAD = 5000, slice(20_000, 25_000)
NAMES = ("latent-flow", "diffusion")
PEERS = ("torchcfm", "diffusers")


class Judge:
    r"""The distance of images from the test images."""

    def __init__(self, train: np.ndarray, test: np.ndarray) -> None:
        self.features = EnetLite0.fit(train)
        self.real = self.features(test)

    def cells(self, images: np.ndarray) -> str:
        r"""Return KID with its interval, and Fréchet's distance."""
        deep = self.features(images)
        kid = metrics.mmd(self.real, deep, kernel="cubic")
        return (
            f"{1000 * kid.value:.0f} ({1000 * kid.low:.0f} to {1000 * kid.high:.0f})"
            f" | {metrics.frechet_distance(self.real, deep).value:.1f} | {len(images):,}"
        )


def ours(name: str, X: np.ndarray, minutes: float) -> tuple[np.ndarray, str]:
    r"""Return samples, and cells that say how they were made."""
    model, taken = fitted(name, X, None, minutes)
    started = time.process_time()
    images: Any = model.sample(N, random_state=1)
    seconds = (time.process_time() - started) * 1000 / N
    steps = model.n_steps_ + getattr(getattr(model, "prior_", None), "n_steps_", 0)
    return images, f"{steps:,} | {model.n_parameters_ / 1e6:.1f} | {taken:.1f} | {seconds:.1f}"


def peers(name: str, python: str, out: Path, minutes: float) -> tuple[np.ndarray, str]:
    r"""Return a peer's samples, and cells that say how they were made."""
    drawn = out / f"{name}.npz"
    if not drawn.exists():
        script = str(Path(__file__).with_name("images_peer.py"))
        words = [python, script, name, str(out / "train.npy"), str(drawn)]
        subprocess.run([*words, "--minutes", str(minutes)], check=True, stdout=sys.stderr)
    found = np.load(drawn)
    about = json.loads(str(found["about"]))
    print(about["version"], file=sys.stderr)
    return found["images"][:, :, :, None], (
        f"{about['steps']:,} | {about['parameters'] / 1e6:.1f} | {minutes:.1f}"
        f" | {about['sample_seconds']:.1f}"
    )


def picture(images: np.ndarray, path: Path) -> None:
    r"""Save 64 samples."""
    sheet = images[:64].reshape(8, 8, 28, 28).transpose(0, 2, 1, 3).reshape(224, 224)
    Image.fromarray(sheet).resize((672, 672), Image.Resampling.NEAREST).save(path)


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="an interpreter with torchcfm and diffusers")
    parser.add_argument("--minutes", type=float, default=24)
    parser.add_argument("--names", nargs="*", default=NAMES)
    parser.add_argument("--peers", nargs="*", default=PEERS)
    parser.add_argument("--out", type=Path, default=Path("images"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    X = np.asarray(fn.data.load("fashion-mnist").X)
    train, test = X[:60_000], X[60_000:]
    np.save(given.out / "train.npy", train.reshape(-1, 28, 28))
    judge = Judge(train, test)
    print(f"fromnoise {version('fromnoise')}, torch {version('torch')}, one thread\n")
    made = "steps | million parameters | minutes | s for 1,000"
    print(f"| images | 1000 × KID | Fréchet | n | {made} |\n|{'---|' * 8}")
    print(f"| training images | {judge.cells(train[UNREAD])} | | | | |", flush=True)
    for name in given.names:
        images, cells = ours(name, train, given.minutes)
        print(f"| {name} | {judge.cells(images)} | {cells} |", flush=True)
        picture(images, given.out / f"{name}.png")
    for name in given.peers if given.peer_python else ():
        images, cells = peers(name, given.peer_python, given.out, given.minutes)
        print(f"| {name} | {judge.cells(images)} | {cells} |", flush=True)
        picture(images, given.out / f"{name}.png")


if __name__ == "__main__":
    main()
