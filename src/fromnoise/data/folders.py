r"""Folders of image files, read into one array.

A folder is read whole before anything is trained, every file to its last byte, because a header
may look sound where the pixels are cut off. Files are hostile until proven otherwise: only four
formats are tried, sizes are capped before pixels are unpacked, links and pipes are not opened.
All that is wrong with a folder is said at once, in a table of files and reasons.
"""

__all__ = ["pixels_of", "read_folder"]

import stat
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fromnoise.data.images import images
from fromnoise.errors import DataError, shown

if TYPE_CHECKING:
    from PIL import Image

Array = NDArray[Any]

PIXEL_CAP = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_UNSUPPORTED = {".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF", ".eps": "EPS"}
_MODES = {  # mode of a file -> mode read, and that where there is transparency
    **dict.fromkeys(("1", "L", "LA"), ("L", "LA")),
    **dict.fromkeys(("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"), ("RGB", "RGBA")),
}


def read_folder(
    root: Path, image_size: int | tuple[int, int] | None = None
) -> tuple[Any, Array | None, tuple[str, ...]]:
    r"""Read a folder of PNG, JPEG, WEBP and BMP files.

    All grey files give one channel, else three. Transparency is kept if every file has it, else
    laid over white. If any file has 16 bits, pixels are floats from 0 to 1, else uint8.

    Args:
        root: The folder; the first level of sub-folders, if there are several, gives labels.
        image_size: Side, or (height, width), to resize and centre-crop to.

    Returns:
        Images ``(n, H, W)`` or ``(n, H, W, C)``, labels ``(n,)`` or None, and remarks.

    Raises:
        DataError: If any file is damaged, animated or of another format (all are listed), if
            sizes differ and no ``image_size`` is given, or if there is no image.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for shade in (0, 255):
        ...     Image.new("L", (5, 6), shade).save(folder / f"{shade}.png")
        >>> read_folder(folder)[0].shape
        (2, 6, 5)
    """
    size = _checked_size(image_size)
    paths, bad, others = _sorted_out(root)
    pictures = []
    for path in paths:
        picture = _read_file(path, size)
        if isinstance(picture, str):
            bad.append((path, picture))
        else:
            pictures.append(picture)
    _refuse_bad(root, bad, len(paths))
    _refuse_sizes(root, pictures)
    array, done = _together(pictures)
    ambiguous = array.ndim == 4 and array.shape[1] <= 4
    labels, note = _labels(root, paths)
    note += done
    if others:
        note += (f"{others} file{'s' if others > 1 else ''} with other endings left alone",)
    return (images(array, "last") if ambiguous else array), labels, note


def pixels_of(image: "Image.Image", size: tuple[int, int] | None = None) -> Array:
    r"""Return the pixels of a picture, turned as it was taken.

    Args:
        image: Of any mode that a PNG, JPEG, WEBP or BMP has.
        size: (Height, width) to resize and centre-crop to.

    Returns:
        uint8, or float32 from 0 to 1 where there are 16 bits; ``(H, W)``, or ``(H, W, C)`` for
        colours and transparency.

    Raises:
        ValueError: If it is too large, animated, or of another mode.

    Example:
        >>> from PIL import Image
        >>> pixels_of(Image.new("1", (3, 2), 1)).tolist()
        [[255, 255, 255], [255, 255, 255]]
    """
    from PIL import ImageOps
    from PIL.Image import Resampling

    if image.width * image.height > PIXEL_CAP:
        raise ValueError(f"has {image.width} x {image.height} pixels, more than 64 million")
    # A phone's MPO is a still JPEG with a second picture, such as a thumbnail, behind it.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ValueError("is animated: save one frame of it")
    plain = _converted(ImageOps.exif_transpose(image))
    if size is not None:
        plain = ImageOps.fit(plain, size[::-1], Resampling.LANCZOS)
    array = np.asarray(plain)
    return array if array.dtype == np.uint8 else np.clip(array, 0, 65_535) / np.float32(65_535)


def _checked_size(image_size: Any) -> tuple[int, int] | None:
    if image_size is None:
        return None
    sides = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise DataError(
            f"image_size must be a positive integer or (height, width), got {shown(image_size)}."
        )
    return sides[0], sides[1]


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".")
        if not hidden and stat.S_ISDIR(path.lstat().st_mode):
            yield from _walk(path)
        else:
            yield path


def _sorted_out(root: Path) -> tuple[list[Path], list[tuple[Path, str]], int]:
    r"""Return files to read, those that cannot be with the reason, and how many are no images."""
    paths: list[Path] = []
    bad: list[tuple[Path, str]] = []
    others = 0
    for path in _walk(root):
        ending, mode = path.suffix.lower(), path.lstat().st_mode
        image = ending in _ENDINGS and not path.name.startswith(".")
        if stat.S_ISLNK(mode) and (image or path.is_dir()):
            bad.append((path, "is a link: put the file itself here"))
        elif image and not stat.S_ISREG(mode):
            bad.append((path, "is no regular file"))
        elif ending in _UNSUPPORTED:
            bad.append((path, f"is {_UNSUPPORTED[ending]}: convert it to PNG"))
        elif image:
            paths.append(path)
        else:
            others += 1
    return paths, bad, others


def _read_file(path: Path, size: tuple[int, int] | None) -> Array | str:
    r"""Return pixels, or what is wrong with the file."""
    from PIL import Image, UnidentifiedImageError

    try:
        # Pillow only warns of bombs and of some damage.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(path, formats=FORMATS) as image:
                return pixels_of(image, size)
    except UnidentifiedImageError:
        return f"holds no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"
    except Exception as error:  # decoders raise anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        return reason if reason.isprintable() else ascii(reason)


def _converted(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I"):
        if "transparency" in image.info:
            raise ValueError("is grey of 16 bits with a transparent shade: save it with 8 bits")
        # Pillow's own conversion of 16 bits to 8 clips nearly everything to white.
        return Image.fromarray(np.asarray(image).astype(np.float32))
    if image.mode not in _MODES:
        raise ValueError(f"has pixels of mode {image.mode}, which is not supported")
    opaque, transparent = _MODES[image.mode]
    alpha = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    return image.convert(transparent if alpha else opaque)


def _refuse_bad(root: Path, bad: list[tuple[Path, str]], good: int) -> None:
    if not bad and good:
        return
    if not bad:
        raise DataError(
            f"{shown(str(root), 120)} holds no image: expected PNG, JPEG, WEBP or BMP files, in "
            "the folder or in one sub-folder a class."
        )
    rows = [(shown(str(path.relative_to(root)), 60), reason) for path, reason in bad[:20]]
    width = max(len(name) for name, _ in rows)
    table = "\n".join(f"  {name:{width}}  {reason}" for name, reason in rows)
    more = f"\n  and {len(bad) - 20} more" if len(bad) > 20 else ""
    count = "1 file" if len(bad) == 1 else f"{len(bad)} files"
    raise DataError(f"{count} cannot be used; mend or remove:\n{table}{more}")


def _refuse_sizes(root: Path, pictures: list[Array]) -> None:
    sizes = Counter(picture.shape[:2] for picture in pictures)
    if len(sizes) > 1:
        listed = ", ".join(
            f"{width} x {height} ({count} file{'s' if count > 1 else ''})"
            for (height, width), count in sizes.most_common(10)
        )
        raise DataError(
            f"The images of {shown(str(root), 120)} differ in size (width x height): {listed}"
            f"{', …' if len(sizes) > 10 else ''}. Say what to resize them to by image_size="
            " (--image-size)."
        )


def _together(pictures: list[Array]) -> tuple[Array, tuple[str, ...]]:
    r"""Bring all pictures to the same channels and dtype; say what that took."""
    channels = [picture.shape[2] if picture.ndim == 3 else 1 for picture in pictures]
    clear, grey, deep = (
        [count in (2, 4) for count in channels],
        [count in (1, 2) for count in channels],
        [picture.dtype != np.uint8 for picture in pictures],
    )
    alike = [
        _alike(picture.reshape(*picture.shape[:2], -1), all(clear), all(grey), any(deep))
        for picture in pictures
    ]
    array = np.stack(alike)
    done = (
        _some(grey, "grey, made colour like the others"),
        _some(clear, "transparent, laid over white, as not all are"),
        _some(deep, "of 16 bits; so all pixels are floats from 0 to 1"),
    )
    return array[..., 0] if array.shape[-1] == 1 else array, tuple(filter(None, done))


def _some(which: list[bool], what: str) -> str:
    r"""Return a remark on files that differ from the others; empty if none or all are such."""
    return f"{sum(which)} of {len(which)} files {what}" if 0 < sum(which) < len(which) else ""


def _alike(picture: Array, alpha: bool, grey: bool, deep: bool) -> Array:
    if not alpha and picture.shape[2] in (2, 4):
        opacity = picture[..., -1:] / 255
        picture = np.rint(255 + opacity * (picture[..., :-1] - 255.0)).astype(np.uint8)
    if not grey and picture.shape[2] < 3:
        picture = np.concatenate([picture[..., :1].repeat(3, 2), picture[..., 1:]], axis=2)
    return picture / np.float32(255) if deep and picture.dtype == np.uint8 else picture


def _labels(root: Path, paths: list[Path]) -> tuple[Array | None, tuple[str, ...]]:
    parts = [path.relative_to(root).parts for path in paths]
    folders = [part[0] for part in parts if len(part) > 1]
    if not folders:
        return None, ()
    if len(folders) < len(parts):
        raise DataError(
            f"{shown(str(root), 120)} holds images beside sub-folders with images: put each into "
            "the sub-folder of its class, or all into one folder."
        )
    if len(set(folders)) == 1:
        return None, (f"a single sub-folder, {shown(folders[0])}, gives no labels",)
    return np.array(folders), ()
