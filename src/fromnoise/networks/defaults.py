r"""The only place that chooses a network.

The choice is a fixed table of the data's shape, the number of training rows, the device and a
size, never a measurement, so that the same call builds the same network:

    rows      size        width  depth        pixels         size     width  depth  heads
    vectors   small          64      2        images         small       96      3      3
              medium        128      3                       medium     192      5      6
              large         512      5                       large      384     10      6

``"auto"`` is small below 300 rows, and for images without a GPU; medium elsewhere. Vectors and
tables of more than 32 columns get twice the width. The patch of an image is the smallest of 2,
4, 8, 16, … that leaves at most 64 tokens (1 for images of at most 64 pixels with a side below 4).

Between rows and codes, encoder and decoder are perceptrons of twice the width. Medium and large
ones of images of at least 256 pixels are convolutions, with 32 channels after the first halving
and 1 residual block at each size, or 64 and 2.

How to train is fixed in the same way: :func:`training_table` and :func:`auto_steps`; so are the
rows of a padded block in evaluation, :func:`evaluation_rows`.
"""

__all__ = [
    "NETWORK_SIZES",
    "adversarial_rate",
    "adversarial_steps",
    "auto_steps",
    "default_adversaries",
    "default_decoder",
    "default_encoder",
    "default_latent_dim",
    "default_network",
    "default_noise",
    "default_size",
    "evaluation_rows",
    "patch_size",
    "training_table",
]

import math
from typing import Literal

from torch import nn

from fromnoise.networks.adversarial import (
    ImageCritic,
    ImageGenerator,
    VectorCritic,
    VectorGenerator,
    critic_features,
)
from fromnoise.networks.conv import ConvDecoder, ConvEncoder
from fromnoise.networks.layers import ConditionEmbedding
from fromnoise.networks.mlp import ResidualMLP
from fromnoise.networks.transformer import PatchTransformer

Size = Literal["small", "medium", "large"]
NETWORK_SIZES: tuple[Size, ...] = ("small", "medium", "large")
_MLP: dict[Size, tuple[int, int]] = {"small": (64, 2), "medium": (128, 3), "large": (512, 5)}
_TRANSFORMER: dict[Size, tuple[int, int, int]] = {
    "small": (96, 3, 3),
    "medium": (192, 5, 6),
    "large": (384, 10, 6),
}
# On a processor, where "small" is the default, a perceptron is ahead for most of a minute at 28 x
# 28 pixels, and for many minutes at 64 x 64: a convolution takes 5 to 10 times as long for a step.
_CONV: dict[Size, tuple[int, int]] = {"medium": (32, 1), "large": (64, 2)}
_FEW_PIXELS = 256
_FEW_ROWS = 300
_WIDE = 32
_TOKENS = 64


def default_size(shape: tuple[int, ...], *, n_rows: int, device: str) -> Size:
    r"""Return the size that ``"auto"`` stands for.

    Example:
        >>> default_size((1, 28, 28), n_rows=60_000, device="cpu")
        'small'
    """
    slow = len(shape) > 1 and not device.startswith("cuda")
    return "small" if n_rows < _FEW_ROWS or slow else "medium"


def default_network(
    shape: tuple[int, ...],
    size: Size,
    *,
    n_classes: int = 0,
    n_columns: int = 0,
    n_times: int = 1,
) -> nn.Module:
    r"""Return a network from data, time and condition to a tensor shaped like the data.

    Args:
        shape: Of one row: ``(d,)`` or ``(C, H, W)``.
        size: A row of the table above.
        n_classes: Number of classes of y; 0 if y is not classes.
        n_columns: Columns of a continuous y; 0 if y is not continuous.
        n_times: Times a row; more than one for vectors and tables only.

    Returns:
        A module called as ``(x, t)``, with y appended when conditional.

    Example:
        >>> type(default_network((1, 8, 8), "small")).__name__
        'PatchTransformer'
    """
    if len(shape) == 1:
        return _mlp(shape[0], size, n_classes, n_columns, n_times)
    width, depth, heads = _TRANSFORMER[size]
    return PatchTransformer(
        (shape[0], shape[1], shape[2]),
        patch=patch_size(shape[1], shape[2]),
        width=width,
        depth=depth,
        heads=heads,
        condition=_embedding(n_classes, n_columns, width),
    )


def default_latent_dim(shape: tuple[int, ...]) -> int:
    r"""Return the length of a code: half the columns, at most 32; a pixel in four, at most 64.

    Example:
        >>> [default_latent_dim(shape) for shape in ((5,), (1, 8, 8), (1, 28, 28))]
        [3, 16, 64]
    """
    share, most = (2, 32) if len(shape) == 1 else (4, 64)
    return min(most, max(1, -(-math.prod(shape) // share)))


def default_encoder(shape: tuple[int, ...], size: Size, n_out: int) -> nn.Module:
    r"""Return a network from rows ``(n, *shape)`` to ``(n, n_out)``.

    Args:
        shape: Of one row.
        size: A row of the table above.
        n_out: Numbers a row.

    Returns:
        A module called as ``(x)``.

    Example:
        >>> import torch
        >>> default_encoder((1, 8, 8), "small", 6)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 6])
    """
    if _is_convolutional(shape, size):
        width, depth = _CONV[size]
        return ConvEncoder((shape[0], shape[1], shape[2]), n_out, width=width, depth=depth)
    width, depth = _MLP[size]
    return ResidualMLP(math.prod(shape), n_out, width=2 * width, depth=depth)


def default_decoder(
    n_in: int,
    shape: tuple[int, ...],
    size: Size,
    *,
    n_classes: int = 0,
    n_columns: int = 0,
) -> nn.Module:
    r"""Return a network from codes ``(n, n_in)`` to ``(n, *shape)``.

    Args:
        n_in: Length of a code.
        shape: Of what is returned for a row.
        size: A row of the table above.
        n_classes: Number of classes of y; 0 if y is not classes.
        n_columns: Columns of a continuous y; 0 if y is not continuous.

    Returns:
        A module called as ``(z)``, with y appended when conditional.

    Example:
        >>> import torch
        >>> default_decoder(6, (1, 8, 8), "small")(torch.zeros(2, 6)).shape
        torch.Size([2, 1, 8, 8])
    """
    convolutional = _is_convolutional(shape, size)
    width, depth = _CONV[size] if convolutional else _MLP[size]
    condition = _embedding(n_classes, n_columns, 2 * width)
    if convolutional:
        image = shape[0], shape[1], shape[2]
        return ConvDecoder(n_in, image, width=width, depth=depth, condition=condition)
    return ResidualMLP(n_in, shape, width=2 * width, depth=depth, condition=condition)


def _is_convolutional(shape: tuple[int, ...], size: Size) -> bool:
    return size in _CONV and len(shape) == 3 and shape[1] * shape[2] >= _FEW_PIXELS


def patch_size(height: int, width: int) -> int:
    r"""Return the side of a patch, in pixels.

    Example:
        >>> patch_size(8, 8), patch_size(28, 28), patch_size(30, 45), patch_size(3, 9)
        (2, 4, 8, 1)
    """
    patch = 1 if min(height, width) < 4 else 2
    while -(-height // patch) * -(-width // patch) > _TOKENS:
        patch *= 2
    return patch


def evaluation_rows(shape: tuple[int, ...], device: str = "cpu") -> int:
    r"""Return the rows of a block in evaluation: 256; for images as many as make 1,024 tokens.

    For images a power of two, at least 8; 256 on a GPU, which small blocks leave idle.

    Example:
        >>> evaluation_rows((5,)), evaluation_rows((1, 8, 8)), evaluation_rows((3, 64, 64))
        (256, 64, 16)
        >>> evaluation_rows((3, 64, 64), "cuda")
        256
    """
    if len(shape) == 1 or device.startswith("cuda"):
        return 256
    patch = patch_size(shape[1], shape[2])
    tokens = -(-shape[1] // patch) * -(-shape[2] // patch)
    return max(8, 2 ** int(math.log2(1024 / tokens)))


def _mlp(columns: int, size: Size, n_classes: int, n_columns: int, n_times: int) -> ResidualMLP:
    width, depth = _MLP[size]
    width = 2 * width if columns > _WIDE else width
    return ResidualMLP(
        columns,
        columns,
        width=width,
        depth=depth,
        timed=True,
        n_times=n_times,
        condition=_embedding(n_classes, n_columns, width),
    )


def _embedding(n_classes: int, n_columns: int, width: int) -> ConditionEmbedding | None:
    if n_classes == n_columns == 0:
        return None
    return ConditionEmbedding(n_classes, n_columns, width)


def training_table(
    n_parameters: int, images: bool, device: str
) -> tuple[int, float, Literal["float32", "bfloat16"]]:
    r"""Return batch size, peak learning rate and precision.

    Batches have 256 rows, 64 for images. The learning rate is 4e-3 below 500,000 parameters,
    2e-3 below two million, 1e-3 beyond, and half of that for images. Precision is
    bfloat16 for images on a GPU.

    Example:
        >>> training_table(50_000, images=False, device="cpu")
        (256, 0.004, 'float32')
    """
    rate = 4e-3 if n_parameters < 500_000 else 2e-3 if n_parameters < 2_000_000 else 1e-3
    if not images:
        return 256, rate, "float32"
    return 64, rate / 2, "bfloat16" if device.startswith("cuda") else "float32"


def auto_steps(network: nn.Module, n_rows: int, batch_size: int) -> int:
    r"""Return the number of steps of ``budget="auto"``: about two minutes on two cores.

    A step is reckoned as 2 ms and 6 floating-point operations for every multiplication by a
    parameter: one a row, one a token in a transformer, one a place in a convolution; at
    40 GFLOP/s, twice that for convolutions. At least 500 steps, at most 20,000, and at most 2,000
    passes over the rows.

    Args:
        network: The networks.
        n_rows: Training rows.
        batch_size: Rows a step.

    Returns:
        Steps.

    Example:
        >>> auto_steps(nn.Linear(10, 10), n_rows=10_000, batch_size=256)
        20000
    """
    tokens = max(
        [m.rows * m.columns for m in network.modules() if isinstance(m, PatchTransformer)] or [1]
    )
    parameters = sum(p.numel() for p in network.parameters())
    convolutions = [m for m in network.modules() if isinstance(m, ConvEncoder | ConvDecoder)]
    each = sum(m.multiplications for m in convolutions) / 2 or parameters * tokens
    seconds = 2e-3 + 6 * each * batch_size / 4e10
    steps = min(round(120 / seconds), 20_000, 2_000 * n_rows // batch_size)
    return max(steps, 500)


# --- generators and critics -------------------------------------------------------------------

_ADVERSARIES: dict[Size, tuple[int, int]] = {
    "small": (64, 3),
    "medium": (128, 3),
    "large": (512, 4),
}
_IMAGE_ADVERSARIES: dict[Size, tuple[int, int]] = {
    "small": (16, 1),
    "medium": (32, 2),
    "large": (64, 2),
}


def default_noise(shape: tuple[int, ...]) -> int:
    r"""Return the length of a generator's noise: as many as columns, 2 to 64; 32 for images.

    Example:
        >>> default_noise((1,)), default_noise((20,)), default_noise((1, 8, 8))
        (2, 20, 32)
    """
    return 32 if len(shape) > 1 else min(max(shape[0], 2), 64)


def default_adversaries(
    n_in: int,
    shape: tuple[int, ...],
    size: Size,
    *,
    n_classes: int = 0,
    n_columns: int = 0,
) -> tuple[nn.Module, nn.Module]:
    r"""Return a generator from noise ``(n, n_in)`` to rows, and a critic from rows to scores.

    Args:
        n_in: Length of the noise.
        shape: Of one row: ``(d,)`` or ``(C, H, W)``.
        size: Of the networks. Vectors: width 64, 128 or 512, depth 3, 3 or 4, and twice the
            width beyond 32 columns. Images: 16, 32 or 64 channels at full size, 1, 2 or 2
            residual blocks at each size.
        n_classes: Number of classes of y; 0 if y is not classes.
        n_columns: Columns of a continuous y; 0 if y is not continuous.

    Returns:
        Two modules, called as ``(z)`` and ``(x)``, with y appended when conditional.

    Example:
        >>> generator, critic = default_adversaries(8, (2,), "small")
        >>> type(generator).__name__, type(critic).__name__
        ('VectorGenerator', 'VectorCritic')
    """
    if len(shape) == 1:
        width, depth = _ADVERSARIES[size]
        width = 2 * width if shape[0] > _WIDE else width
        first, second = (_embedding(n_classes, n_columns, width) for _ in range(2))
        return (
            VectorGenerator(n_in, shape[0], width=width, depth=depth, condition=first),
            VectorCritic(shape[0], width=width, depth=depth, condition=second),
        )
    image = shape[0], shape[1], shape[2]
    width, depth = _IMAGE_ADVERSARIES[size]
    features = critic_features(image, width)
    first, second = (_embedding(n_classes, n_columns, features) for _ in range(2))
    return (
        ImageGenerator(n_in, image, width=width, depth=depth, condition=first),
        ImageCritic(image, width=width, depth=depth, condition=second),
    )


def adversarial_rate(images: bool) -> float:
    r"""Return the peak learning rate of generator and critic: 2e-3; for images 1e-3.

    Example:
        >>> adversarial_rate(images=True)
        0.001
    """
    return 1e-3 if images else 2e-3


def adversarial_steps(networks: nn.Module, n_rows: int, batch_size: int) -> int:
    r"""Return the number of steps of ``budget="auto"`` for a generator and a critic.

    A step is reckoned as 5 ms and, for every multiplication that the networks do for a row, 20
    floating-point operations at 60 GFLOP/s, 20 for images. As many as fit into three minutes (ten
    for images), at least 500, at most 20,000, and at most 2,000 passes over the rows.

    Args:
        networks: Both networks.
        n_rows: Training rows.
        batch_size: Rows a step.

    Returns:
        Steps.

    Example:
        >>> adversarial_steps(nn.Linear(10, 10), n_rows=10_000, batch_size=256)
        20000
    """
    images = [m for m in networks.modules() if isinstance(m, ImageGenerator | ImageCritic)]
    each = sum(m.multiplications for m in images) or sum(p.numel() for p in networks.parameters())
    seconds = 5e-3 + 20 * each * batch_size / (2e10 if images else 6e10)
    steps = min(round((600 if images else 180) / seconds), 20_000, 2_000 * n_rows // batch_size)
    return max(steps, 500)
