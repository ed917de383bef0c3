r"""Whether samples of a class are of that class: Fashion-MNIST with guidance.

    python benchmarks/classes.py [--device cuda] [--steps 6000] [--name diffusion] [--out classes/]

A conditional model draws 1,000 images with the labels of the first test images, at several
strengths of guidance. A classifier of real images (a support vector machine of 64 principal
components, which has seen neither) reads the labels back. Prints Markdown; pictures of ten images
a class go to ``--out``.
"""

import argparse
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gan_images import Judge
from PIL import Image

import fromnoise as fn

N = 1_000
STRENGTHS = (1.0, 1.5, 2.0, 3.0)


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--name", default="diffusion", help="diffusion or flow")
    parser.add_argument("--strengths", type=float, nargs="*", default=STRENGTHS)
    parser.add_argument("--out", type=Path, default=Path("classes"))
    given = parser.parse_args()
    data = fn.data.load("fashion-mnist")
    X, y = np.asarray(data.X[:60_000]), data.y[:60_000]
    model = fn.families.make(
        given.name, budget=f"{given.steps} steps", device=given.device, random_state=0
    ).fit(X, y)
    judge, labels = Judge(data), data.y[60_000 : 60_000 + N]
    print(f"fromnoise {version('fromnoise')}, torch {version('torch')}, {given.name},")
    print(f"{model.n_parameters_ / 1e6:.1f} million parameters, {model.n_steps_:,} steps\n")
    print(f"| guidance | 1000 × KID | Fréchet | coverage | density | label read |\n|{'---|' * 6}")
    print(f"| test images | {judge.row(data.X[60_000:][:N], labels)} |", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    for strength in given.strengths:
        model.set_params(guidance=strength)
        print(f"| {strength:g} | {judge.row(model.sample(N, labels, random_state=1), labels)} |")
        images = model.sample(100, np.repeat(np.arange(10), 10), random_state=2)
        sheet = images.reshape(10, 10, 28, 28).transpose(0, 2, 1, 3).reshape(280, 280)
        Image.fromarray(sheet).resize((840, 840)).save(given.out / f"{strength:g}.png")


if __name__ == "__main__":
    main()
