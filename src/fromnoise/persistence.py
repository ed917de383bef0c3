r"""Bundles: a folder of JSON and tensors, written so that a crash can never leave half of one.

A bundle holds a *tree*: nested dictionaries and lists of JSON scalars whose leaves may also be
NumPy arrays. Arrays go to one safetensors file, everything else into ``manifest.json``, where a
leaf ``{"__tensor__": "a/b"}`` stands for the array of that name.

The manifest is the commit point. The tensor file carries its SHA-256 in its name and is written
and synced first; then the manifest is written beside, synced, renamed into place, the folder
synced, and the whole read back. A folder without a manifest is no bundle; a reader sees the old
bundle or the new one, never a mixture.

Reading trusts nothing: strict JSON (no duplicate keys, no NaN), only plain files inside the
folder, sizes and hashes (the manifest's own too) checked before any tensor is built, non-finite
weights refused on request. There is no pickle anywhere on this path, and no name in a manifest
is ever imported.
"""

__all__ = ["FORMAT", "Tree", "read_bundle", "write_bundle", "write_text"]

import hashlib
import json
import math
import os
import stat
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from fromnoise.errors import ArtifactError, shown

Tree = dict[str, Any]
FORMAT = 1
_MANIFEST = "manifest.json"
_TENSOR = "__tensor__"
_SEAL = "sha256"
_MAX_DEPTH = 40
_MAX_JSON = 256 * 2**20
# Flags that some systems lack: Windows knows neither of the first, and only there the last.
_PLAIN = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
)
_DTYPES = {"BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64", "F16", "F32", "F64"}


def write_bundle(path: str | Path, tree: Tree, *, overwrite: bool = False) -> Path:
    r"""Write ``tree`` as a bundle at ``path``.

    Args:
        path: Folder to make; its parent is made too.
        tree: Nested dictionaries and lists of JSON scalars and NumPy arrays.
        overwrite: Whether an existing bundle may be replaced.

    Returns:
        The folder.

    Raises:
        FileExistsError: If ``path`` exists, holds anything, and ``overwrite`` is False.
        OSError: If the disk is full or not writable; an older bundle is still whole then.

    Example:
        >>> import numpy as np, tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "bundle"
        >>> _ = write_bundle(folder, {"name": "a", "means": np.arange(3.0)})
        >>> read_bundle(folder)["means"]
        array([0., 1., 2.])
    """
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise FileExistsError(
            f"{folder} exists. Choose another path, or allow it to be replaced (overwrite=True)."
        )
    tensors: dict[str, np.ndarray] = {}
    skeleton = _flatten(tree, "", tensors)
    payload = save_tensors(tensors)
    digest = hashlib.sha256(payload).hexdigest()
    name = f"weights-{digest[:16]}.safetensors"
    manifest: Tree = {
        "format": FORMAT,
        "files": {name: {"sha256": digest, "bytes": len(payload)}},
        "tree": skeleton,
    }
    manifest[_SEAL] = _seal(manifest)
    text = json.dumps(manifest, allow_nan=False, indent=1, ensure_ascii=True)
    # What could not be read again must not replace what can.
    _check_header(payload, folder / name)
    _check_depth(manifest, folder / _MANIFEST)
    if not folder.is_dir():
        folder.mkdir(parents=True)
        _sync_folder(folder.parent)
    _replace_synced(folder / name, payload)
    _replace_synced(folder / _MANIFEST, text.encode())
    read_bundle(folder)
    for stale in [*folder.glob("weights-*.safetensors"), *folder.glob(".*.tmp")]:
        if stale.name != name:
            stale.unlink()
    return folder


def read_bundle(path: str | Path, *, finite: bool = False) -> Tree:
    r"""Read the bundle at ``path``.

    Args:
        path: Folder that :func:`write_bundle` made.
        finite: Whether NaN and infinity in floating tensors are refused.

    Returns:
        The tree that was written.

    Raises:
        ArtifactError: If the bundle is missing, damaged, unsafe or of another format.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder; a saved model is a folder.")
    if not (folder / _MANIFEST).exists():
        raise ArtifactError(f"{folder} holds no {_MANIFEST}, so it is no saved model.")
    manifest = _read_json(folder / _MANIFEST)
    seal = manifest.pop(_SEAL, None) if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or manifest.keys() != {"format", "files", "tree"}:
        raise ArtifactError(f"{folder / _MANIFEST} is no manifest of fromnoise.")
    if seal is not None and seal != _seal(manifest):
        raise ArtifactError(f"{folder / _MANIFEST} is damaged: its SHA-256 is not the one in it.")
    if manifest["format"] != FORMAT:
        raise ArtifactError(
            f"{folder} has format {shown(manifest['format'])}; this version reads format {FORMAT}."
            " Upgrade fromnoise to read it."
        )
    tensors: dict[str, np.ndarray] = {}
    for name, entry in _checked_files(manifest["files"]).items():
        tensors.update(_read_tensors(folder / name, entry, finite))
    tree = _unflatten(manifest["tree"], tensors)
    if not isinstance(tree, dict):
        raise ArtifactError(f"{folder / _MANIFEST} holds no tree.")
    return tree


def write_text(path: str | Path, text: str) -> None:
    r"""Write ``text`` at ``path`` in one atomic, synced step."""
    _replace_synced(Path(path), text.encode("utf-8", "surrogateescape"))


def _seal(manifest: Tree) -> str:
    text = json.dumps(manifest, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _flatten(node: Any, name: str, tensors: dict[str, np.ndarray]) -> Any:
    if isinstance(node, np.ndarray):
        name = _free(name, tensors)
        tensors[name] = np.asarray(node, order="C")
        return {_TENSOR: name}
    if isinstance(node, dict):
        if node.keys() == {_TENSOR}:
            raise ValueError(f"The key {_TENSOR!r} is reserved for arrays; choose another.")
        below = f"{name}/" if name else ""
        return {key: _flatten(value, f"{below}{key}", tensors) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_flatten(value, f"{name}/{i}", tensors) for i, value in enumerate(node)]
    return node.item() if isinstance(node, np.generic) else node


def _free(name: str, taken: dict[str, np.ndarray]) -> str:
    # Keys may hold "/", lone surrogates or a word of safetensors; the name is only a label.
    name = name.encode("ascii", "backslashreplace").decode()
    while name in taken or name == "__metadata__":
        name += "~"
    return name


def _unflatten(node: Any, tensors: dict[str, np.ndarray]) -> Any:
    if isinstance(node, dict):
        if node.keys() == {_TENSOR}:
            name = node[_TENSOR]
            if not isinstance(name, str) or name not in tensors:
                raise ArtifactError(f"The manifest names a tensor that is missing: {shown(node)}.")
            return tensors[name]
        return {key: _unflatten(value, tensors) for key, value in node.items()}
    if isinstance(node, list):
        return [_unflatten(value, tensors) for value in node]
    return node


def _checked_files(files: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(files, dict):
        raise ArtifactError("The manifest's list of files is damaged.")
    for name, entry in files.items():
        plain = name == Path(name).name and name.startswith("weights-")
        if not (plain and name.endswith(".safetensors")):
            raise ArtifactError(f"The manifest names an unsafe file: {shown(name)}.")
        if not isinstance(entry, dict) or entry.keys() != {"sha256", "bytes"}:
            raise ArtifactError(f"The manifest's entry for {shown(name)} is damaged.")
    return files


def _read_json(path: Path) -> Any:
    text = _read_plain(path, _MAX_JSON)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite_float,
        )
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not strict JSON: {error}.") from error
    _check_depth(value, path)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    # Python reads 1e999 as infinity, which JSON cannot hold.
    value = float(text)
    return value if math.isfinite(value) else _no_constant(text)


def _check_depth(value: Any, path: Path) -> None:
    layer, depth = [value] if isinstance(value, dict | list) else [], 0
    while layer:
        depth += 1
        if depth > _MAX_DEPTH:
            raise ArtifactError(f"{path} is nested more than {_MAX_DEPTH} deep.")
        inner = [v.values() if isinstance(v, dict) else v for v in layer]
        layer = [x for values in inner for x in values if isinstance(x, dict | list)]


def _read_plain(path: Path, limit: int) -> bytes:
    # O_NOFOLLOW and O_NONBLOCK: a link leads out of the folder, a FIFO would hang for ever.
    try:
        descriptor = os.open(path, _PLAIN)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ArtifactError(f"{shown(str(path), 200)} cannot be read: {error}.") from error
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        os.close(descriptor)
        raise ArtifactError(f"{path} is not a plain file.")
    with os.fdopen(descriptor, "rb") as file:
        if info.st_size > limit:
            raise ArtifactError(f"{path} has {info.st_size} bytes; at most {limit} were expected.")
        return file.read()


def _read_tensors(path: Path, entry: dict[str, Any], finite: bool) -> dict[str, np.ndarray]:
    if not isinstance(entry["bytes"], int):
        raise ArtifactError(f"The manifest's entry for {path.name} is damaged.")
    payload = _read_plain(path, entry["bytes"])
    digest = hashlib.sha256(payload).hexdigest()
    if digest != entry["sha256"]:
        raise ArtifactError(
            f"{path} is damaged: SHA-256 {digest}, expected {shown(entry['sha256'], 70)}."
        )
    _check_header(payload, path)
    try:
        tensors: dict[str, np.ndarray] = load_tensors(payload)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is no sound safetensors file: {error}.") from error
    if finite:
        _check_finite(tensors, path)
    return tensors


def _check_header(payload: bytes, path: Path) -> None:
    # The library takes the last of two equal keys and any shape; a damaged header stops here.
    try:
        (length,) = struct.unpack("<Q", payload[:8])
        if length > len(payload) - 8:
            raise ValueError("the header is longer than the file")
        header = json.loads(payload[8 : 8 + length], object_pairs_hook=_unique)
        for entry in (header[key] for key in header if key != "__metadata__"):
            if entry["dtype"] not in _DTYPES or any(not 0 <= n < 2**31 for n in entry["shape"]):
                raise ValueError("a tensor has an unknown dtype or an impossible shape")
    except (
        struct.error,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ArtifactError(f"{path} has a damaged header: {error}.") from error


def _check_finite(tensors: dict[str, np.ndarray], path: Path) -> None:
    for name, value in tensors.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ArtifactError(f"{path}: the tensor {shown(name)} holds NaN or infinity.")


def _write_synced(path: Path, payload: bytes) -> None:
    with open(path, "wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def _replace_synced(path: Path, payload: bytes) -> None:
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write_synced(staged, payload)
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    if os.name == "nt":
        return  # Windows opens no folder
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
