r"""Bundles: what goes in comes out, a crash leaves the old one, and damage is refused."""

import hashlib
import inspect
import json
import os
import pickle
import random
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fromnoise import persistence
from fromnoise.errors import ArtifactError
from fromnoise.persistence import read_bundle, write_bundle, write_text

OLD = {"name": "old", "weights": np.arange(6.0).reshape(2, 3), "ids": np.arange(4)}
NEW = {"name": "new", "weights": np.ones((5, 5), np.float32)}
SAME_ARRAYS = OLD | {"name": "new"}  # the file of tensors has the same hash, so the same name


def same(a, b):
    r"""Compare trees strictly: types, dtypes, shapes and bits; a tuple comes back as a list."""
    if isinstance(a, np.ndarray):
        native = a.dtype.newbyteorder("=")
        equal = isinstance(b, np.ndarray) and (b.dtype, b.shape) == (native, a.shape)
        return equal and a.astype(native).tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def old(tmp_path):
    return write_bundle(tmp_path / "bundle", OLD)


def edit(folder, change):
    r"""Change the manifest as JSON, as somebody would who means it."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("sha256", None)  # it detects damage, not malice
    change(manifest)
    path.write_text(json.dumps(manifest))


def forge(folder, payload):
    r"""Put ``payload`` in place of the tensors, with a manifest that vouches for it."""
    for path in folder.glob("weights-*"):
        path.unlink()
    digest = hashlib.sha256(payload).hexdigest()
    name = f"weights-{digest[:16]}.safetensors"
    (folder / name).write_bytes(payload)
    entry = {name: {"sha256": digest, "bytes": len(payload)}}
    edit(folder, lambda manifest: manifest.update(files=entry))
    return name


def header(text, data=b""):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw + data


# --- round trips ------------------------------------------------------------------------------

dtypes = st.sampled_from(
    ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">f8", ">i4"]
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
keys = st.text(max_size=4) | st.sampled_from(["a", "a/b", "a/0", "", "/", "__metadata__", "../.."])
nodes = st.recursive(
    scalars | arrays,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)
trees = st.dictionaries(keys, nodes, max_size=4)


@settings(max_examples=60)
@given(trees)
def test_what_goes_in_comes_out(tree):
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(folder, tree)
        assert same(tree, read_bundle(folder))


@pytest.mark.parametrize(
    "tree",
    [
        {"scalar": np.array(3.0), "none": np.zeros((0, 3))},
        {"a/b": np.zeros(1), "a": {"b": np.ones(1)}, "": {"a/b": np.full(1, 2.0)}},
        {"__metadata__": np.zeros(2), "\ud800": np.ones(2), "\0": np.ones(3)},
        {"view": np.arange(12).reshape(3, 4).T[::-1, ::2], "fortran": np.ones((2, 3), order="F")},
        {"values": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])},
        {"pair": (1, (2.5, "x")), "text": 'é\n\u2028"\\\ud800', "big": 2**200, "tiny": 5e-324},
        {},
    ],
)
def test_corners_come_back(tmp_path, tree):
    assert same(tree, read_bundle(write_bundle(tmp_path / "x", tree)))


def test_numpy_scalars_become_json(tmp_path):
    tree = {"a": np.float64(0.1), "b": np.int64(3), "c": np.bool_(True), "d": np.float32(0.5)}
    back = read_bundle(write_bundle(tmp_path / "x", tree))
    assert same({"a": 0.1, "b": 3, "c": True, "d": 0.5}, back)


def test_arrays_read_back_are_independent_of_what_was_written(tmp_path):
    tree = {"a": np.arange(3)}
    back = read_bundle(write_bundle(tmp_path / "x", tree))
    tree["a"][0] = 99
    assert back["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "tree",
    [
        {"a": float("nan")},
        {"a": [float("inf")]},
        {"a": object()},
        {"a": {1, 2}},
        {"a": np.array([None])},
        {"a": np.array(["text"])},
        {"a": np.zeros(2, np.complex64)},
        {"a": np.array(["2020-01-01"], "M8[D]")},
        {"a": {"__tensor__": "x"}},
    ],
)
def test_what_cannot_be_read_again_is_not_written(old, tree):
    with pytest.raises(Exception, match=r"."):
        write_bundle(old, tree, overwrite=True)
    assert same(OLD, read_bundle(old)) and len(names(old)) == 2


def test_a_tree_too_deep_to_read_is_not_written(old):
    tree = {}
    for _ in range(50):
        tree = {"a": tree}
    with pytest.raises(ArtifactError, match="deep"):
        write_bundle(old, tree, overwrite=True)
    assert same(OLD, read_bundle(old))


def test_a_bundle_is_two_files_and_the_hash_is_in_the_name(old):
    (weights,) = old.glob("weights-*.safetensors")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert names(old) == ["manifest.json", f"weights-{digest[:16]}.safetensors"]
    manifest = json.loads((old / "manifest.json").read_text())
    assert manifest["format"] == persistence.FORMAT == 1
    assert manifest["files"][weights.name]["sha256"] == digest


def test_the_same_tree_gives_the_same_bytes(tmp_path):
    for name in "ab":
        write_bundle(tmp_path / name, OLD)
    for file in names(tmp_path / "a"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


# --- permission -------------------------------------------------------------------------------


def test_nothing_is_replaced_without_permission(old, tmp_path):
    before = {name: (old / name).read_bytes() for name in names(old)}
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_bundle(old, NEW)
    assert before == {name: (old / name).read_bytes() for name in names(old)}
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        write_bundle(stranger, NEW)
    assert names(stranger) == ["thesis.txt"]
    with pytest.raises(FileExistsError):
        write_bundle(stranger / "thesis.txt", NEW)
    with pytest.raises(FileExistsError):
        write_bundle(stranger / "thesis.txt", NEW, overwrite=True)
    assert (stranger / "thesis.txt").read_text() == "mine"


def test_an_empty_or_missing_folder_needs_none(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "deep" / "er"):
        assert write_bundle(folder, NEW) == folder
        assert same(NEW, read_bundle(folder))


def test_with_permission_the_old_tensors_go_and_strangers_stay(old):
    (old / "README.md").write_text("card")
    write_bundle(old, NEW, overwrite=True)
    assert same(NEW, read_bundle(old))
    assert len(names(old)) == 3 and (old / "README.md").read_text() == "card"


def test_leftovers_of_a_killed_writer_are_swept(old):
    (old / ".manifest.json.1.tmp").write_text("half")
    write_bundle(old, NEW, overwrite=True)
    assert len(names(old)) == 2


def test_names_never_become_paths(tmp_path):
    tree = {"../../escape": np.zeros(2), "/etc": {"x\0y": np.ones(1)}, "..": np.ones(2)}
    back = read_bundle(write_bundle(tmp_path / "in" / "bundle", tree))
    assert same(tree, back)
    assert names(tmp_path) == ["in"] and names(tmp_path / "in") == ["bundle"]
    assert len(names(tmp_path / "in" / "bundle")) == 2


# --- crashes ----------------------------------------------------------------------------------


class Watched:
    r"""A file that calls ``act(what)`` before each write and half-way through it."""

    def __init__(self, file, act):
        self.file, self.act = file, act

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, payload):
        self.act("write")
        self.file.write(payload[: len(payload) // 2])
        self.file.flush()
        self.act("half")
        self.file.write(payload[len(payload) // 2 :])


def failpoints(module, os, patch, act):
    r"""Call ``act(what)`` before each step by which ``module`` changes the disk."""

    def before(what, call):
        return lambda *arguments: (act(what), call(*arguments))[1]

    def watched_open(path, mode):
        act("open")
        return Watched(open(path, mode), act)

    patch(module, "open", watched_open)
    patch(os, "fsync", before("fsync", os.fsync))
    patch(os, "replace", before("replace", os.replace))


def counted(n, fail):
    left = [n]

    def act(what):
        left[0] -= 1
        if left[0] == 0:
            fail()

    return act


STEPS = 12  # open, write, half, fsync, replace, fsync the folder; for tensors and manifest


@pytest.mark.parametrize("new", [NEW, SAME_ARRAYS], ids=["new-arrays", "same-arrays"])
@pytest.mark.parametrize("n", range(1, STEPS + 1))
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_at_any_step_leaves_a_whole_bundle(old, monkeypatch, new, n, error):
    def fail():
        raise error

    with monkeypatch.context() as context:
        context.setattr(persistence, "open", open, raising=False)
        failpoints(persistence, os, context.setattr, counted(n, fail))
        with pytest.raises(type(error)):
            write_bundle(old, new, overwrite=True)
    # The rename of the manifest is step 11; only its own sync can fail after it.
    assert same(new if n == STEPS else OLD, read_bundle(old))
    assert not list(old.glob(".*.tmp"))
    write_bundle(old, new, overwrite=True)
    assert same(new, read_bundle(old)) and len(names(old)) == 2


def test_there_are_no_more_steps_than_were_tried(old, monkeypatch):
    seen = []
    monkeypatch.setattr(persistence, "open", open, raising=False)
    failpoints(persistence, os, monkeypatch.setattr, seen.append)
    write_bundle(old, NEW, overwrite=True)
    assert seen == 2 * ["open", "write", "half", "fsync", "replace", "fsync"]


KILLED = """
import os, sys
from fromnoise import persistence
{tools}
failpoints(persistence, os, setattr, counted(int(sys.argv[2]), lambda: os._exit(9)))
tree = persistence.read_bundle(sys.argv[1])
tree["name"] = "new"
if sys.argv[3] == "other":
    tree["weights"] = tree["weights"] + 1
persistence.write_bundle(sys.argv[1], tree, overwrite=True)
"""


@pytest.mark.parametrize("arrays", ["same", "other"])
@pytest.mark.parametrize("n", [2, 3, 5, 9, 11, 12])
def test_a_killed_writer_leaves_a_whole_bundle(old, arrays, n):
    code = KILLED.format(tools="\n".join(map(inspect.getsource, (Watched, failpoints, counted))))
    source = str(Path(persistence.__file__).parents[1])
    process = subprocess.run(
        [sys.executable, "-c", code, str(old), str(n), arrays],
        env=os.environ | {"PYTHONPATH": source},
        timeout=60,
    )
    assert process.returncode == 9
    assert read_bundle(old)["name"] == ("new" if n == 12 else "old")
    assert len(list(old.glob(".*.tmp"))) <= 1
    write_bundle(old, NEW, overwrite=True)
    assert same(NEW, read_bundle(old)) and len(names(old)) == 2


def test_everything_is_synced_before_it_is_named(tmp_path, monkeypatch):
    events = []
    real_sync, real_replace = os.fsync, os.replace

    def fsync(descriptor):
        info = os.fstat(descriptor)
        events.append(("folder", info.st_ino) if stat.S_ISDIR(info.st_mode) else info.st_size)
        real_sync(descriptor)

    def replace(source, target):
        events.append((Path(source).stat().st_size, Path(target).name))
        assert Path(source).parent == Path(target).parent
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    folder = write_bundle(tmp_path / "bundle", OLD)
    (weights,) = folder.glob("weights-*")
    sizes = weights.stat().st_size, (folder / "manifest.json").stat().st_size
    inside, outside = ("folder", folder.stat().st_ino), ("folder", tmp_path.stat().st_ino)
    assert events == [
        outside,  # the new folder itself
        sizes[0],
        (sizes[0], weights.name),
        inside,
        sizes[1],
        (sizes[1], "manifest.json"),
        inside,
    ]


def test_write_text_replaces_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "card.md"
    write_text(path, "old\n")
    with monkeypatch.context() as context:
        context.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "no")))
        with pytest.raises(OSError):
            write_text(path, "new\n")
    assert path.read_text() == "old\n" and names(tmp_path) == ["card.md"]
    write_text(path, "né\udcff\n")
    assert path.read_bytes() == b"n\xc3\xa9\xff\n"


# --- damage -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_pickle(monkeypatch):
    r"""No unpickler may be built while anything here runs."""

    def refuse(*_, **__):
        raise AssertionError("something reached for pickle")

    for name in ("Unpickler", "load", "loads"):
        monkeypatch.setattr(pickle, name, refuse)


def refused(folder, words=None):
    with pytest.raises(ArtifactError, match=words) as caught:
        read_bundle(folder)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def test_what_is_no_bundle_is_refused(tmp_path, old):
    refused(tmp_path / "missing", "not a folder")
    refused(old / "manifest.json", "not a folder")
    (old / "manifest.json").unlink()
    refused(old, "holds no manifest.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        "null",
        '{"format": 1}',
        '{"format": 1, "format": 1, "files": {}, "tree": {}}',
        '{"format": 1, "files": {}, "tree": {"a": {"b": 1, "b": 1}}}',
        '{"format": 1, "files": {}, "tree": {"a": NaN}}',
        '{"format": 1, "files": {}, "tree": {"a": -Infinity}}',
        '{"format": 1, "files": {}, "tree": {"a": 1e999}}',
        '{"format": 1, "files": {}, "tree": {}, "extra": 0}',
        '{"format": 1, "files": {}, "tree": []}',
        '{"format": 1, "files": {}, "tree": 3}',
        '{"format": 1, "files": [], "tree": {}}',
        '{"format": 1, "files": {}, "tree": {"a": {"__tensor__": "a"}}}',
        '{"format": 1, "files": {}, "tree": {"a": {"__tensor__": ["a"]}}}',
        '{"format": 1, "files": {}, "tree": {"a": {"__tensor__": {}}}}',
        '{"format": 1, "files": {}, "tree": {}} trailing',
        '{"format": 1, "files": {}, "tree": {"a": ' + "9" * 5000 + "}}",
        '{"format": 1, "files": {}, "tree": {"a": ' + 45 * "[" + 45 * "]" + "}}",
        '{"format": 1, "files": {}, "tree": {"a": ' + 45 * '{"a":' + "1" + 45 * "}" + "}}",
        100_000 * "[",
        100_000 * '{"a":',
    ],
)
def test_a_manifest_that_is_not_strict_is_refused(old, text):
    (old / "manifest.json").write_text(text)
    refused(old)


def test_a_manifest_that_is_no_text_is_refused(old):
    for content in (b"\xff\xfe\x00", pickle.dumps({"a": 1}), b"\0" * 100):
        (old / "manifest.json").write_bytes(content)
        refused(old)


@pytest.mark.parametrize("version", [2, 999, "1", None, [1], {}])
def test_another_format_asks_for_an_upgrade(old, version):
    edit(old, lambda manifest: manifest.update(format=version))
    refused(old, "this version reads format 1. Upgrade fromnoise")


def test_every_truncation_of_the_tensors_is_refused_with_both_hashes(old):
    (weights,) = old.glob("weights-*")
    whole = weights.read_bytes()
    for length in range(0, len(whole), 7):
        weights.write_bytes(whole[:length])
        message = refused(old, "damaged: SHA-256")
        assert weights.name in message
        assert hashlib.sha256(whole).hexdigest() in message
        assert hashlib.sha256(whole[:length]).hexdigest() in message
    weights.write_bytes(whole + b"\0")
    refused(old, "bytes")
    weights.unlink()
    refused(old, "cannot be read")


def test_every_flipped_bit_of_the_tensors_is_refused(old):
    (weights,) = old.glob("weights-*")
    whole = weights.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 200):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        weights.write_bytes(damaged)
        refused(old, "SHA-256")


def test_a_flipped_bit_anywhere_in_the_manifest_is_refused(old):
    path = old / "manifest.json"
    sound = path.read_bytes()
    for position in range(0, len(sound), 5):
        content = bytearray(sound)
        content[position] ^= 1 << position % 7
        path.write_bytes(bytes(content))
        with pytest.raises(ArtifactError):
            read_bundle(old)


def test_truncations_of_the_manifest_are_refused(old):
    path = old / "manifest.json"
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 11):
        path.write_bytes(whole[:length])
        refused(old)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        {"sha256": "0" * 64},
        {"sha256": "0" * 64, "bytes": 10**6},
        {"sha256": 5, "bytes": 10**6},
        {"sha256": ["x"], "bytes": 10**6},
        {"sha256": "0" * 64, "bytes": "9"},
        {"sha256": "0" * 64, "bytes": -1},
        {"sha256": "0" * 64, "bytes": 1.5},
        {"sha256": "0" * 64, "bytes": 10**6, "url": "http://127.0.0.1/"},
    ],
)
def test_a_damaged_entry_or_a_wrong_hash_is_refused(old, entry):
    (weights,) = old.glob("weights-*")
    edit(old, lambda manifest: manifest.update(files={weights.name: entry}))
    refused(old)


@pytest.mark.parametrize(
    "name",
    [
        "../weights-x.safetensors",
        "/etc/weights-x.safetensors",
        "weights-a/../../weights-x.safetensors",
        "weights-a/x.safetensors",
        "./weights-x.safetensors",
        "weights-\0.safetensors",
        "weights-\ud800.safetensors",
        "weights-" + 300 * "a" + ".safetensors",
        "weights-x.pt",
        "manifest.json",
        "..",
        "",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(old, name):
    (weights,) = old.glob("weights-*")
    outside = old.parent / "weights-x.safetensors"
    outside.write_bytes(weights.read_bytes())  # what a reader that follows would find

    def change(manifest):
        manifest["files"] = {name: manifest["files"][weights.name]}

    edit(old, change)
    refused(old)


@pytest.mark.parametrize("which", ["weights", "manifest"])
@pytest.mark.parametrize("kind", ["link", "loop", "fifo", "folder"])
def test_only_plain_files_are_read(old, which, kind):
    (path,) = old.glob(f"{which}*")
    outside = path.rename(old.parent / "outside")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(outside if kind == "link" else path)
    before = len(os.listdir("/dev/fd"))
    errors = []

    def read():
        try:
            read_bundle(old)
        except ArtifactError as error:
            errors.append(error)

    thread = threading.Thread(target=read, daemon=True)  # a reader that hangs must not hang us
    thread.start()
    thread.join(10)
    assert not thread.is_alive() and len(errors) == 1
    assert len(os.listdir("/dev/fd")) <= before


def claim(name="a", dtype='"F64"', shape="[1]", start=0, end=8):
    r"""Return what a header says of one tensor."""
    return f'"{name}": {{"dtype": {dtype}, "shape": {shape}, "data_offsets": [{start}, {end}]}}'


LIES = {
    "empty": b"",
    "short": b"\1\0\0",
    "zero": b"\0" * 8,
    "length": struct.pack("<Q", 2**63) + b"{}",
    "longer than the file": struct.pack("<Q", 100) + b"{}",
    "no JSON": header("{"),
    "no text": header(b"\xff\xff"),
    "list": header("[]"),
    "number": header("3"),
    "deep": header(100_000 * "["),
    "equal keys": header(f"{{{claim()}, {claim()}}}", bytes(8)),
    "equal inner keys": header(f'{{{claim()[:-1]}, "shape": [1]}}}}', bytes(8)),
    "huge and empty": header(f"{{{claim(shape=f'[0, {2**62}]', end=0)}}}"),
    "negative": header(f"{{{claim(shape='[-1]')}}}", bytes(8)),
    "overflow": header(f"{{{claim(shape=str([2**31 - 1] * 3))}}}", bytes(8)),
    "more than the data": header(f"{{{claim(shape='[1000000]', end=8_000_000)}}}", bytes(8)),
    "less than the data": header(f"{{{claim(shape='[1]', end=16)}}}", bytes(16)),
    "text as shape": header(f"{{{claim(shape=json.dumps('11'))}}}", bytes(8)),
    "number as shape": header(f"{{{claim(shape='1')}}}", bytes(8)),
    "unknown dtype": header(f"{{{claim(dtype=json.dumps('C64'))}}}", bytes(8)),
    "list as dtype": header(f"{{{claim(dtype='[]')}}}", bytes(8)),
    "null": header('{"a": null}'),
    "nothing": header('{"a": {}}'),
    "trailing": header(f"{{{claim()}}}", bytes(9)),
    "overlap": header(f"{{{claim()}, {claim('b', start=4, end=12)}}}", bytes(12)),
    "gap": header(f"{{{claim()}, {claim('b', start=9, end=17)}}}", bytes(17)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(old, lie):
    name = forge(old, LIES[lie])
    edit(old, lambda manifest: manifest.update(tree={}))
    assert name in refused(old)


def test_an_empty_tensor_of_an_impossible_shape_never_reaches_the_library(old):
    forge(old, LIES["huge and empty"])
    refused(old, "impossible shape")


def test_an_honest_header_written_by_hand_is_read(old):
    forge(old, header(f"{{{claim()}}}", struct.pack("<d", 2.5)))
    edit(old, lambda manifest: manifest.update(tree={"x": {"__tensor__": "a"}}))
    assert same({"x": np.array([2.5])}, read_bundle(old))


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_a_pickle_in_disguise_runs_nothing(old, tmp_path):
    marker = tmp_path / "ran"
    forge(old, pickle.dumps(Bomb(marker)))
    refused(old, "header")
    (old / "manifest.json").write_bytes(pickle.dumps(Bomb(marker)))
    refused(old)
    assert not marker.exists()


def test_names_in_the_manifest_are_never_imported(old):
    def change(manifest):
        manifest["tree"]["family"] = "os.system"
        manifest["tree"]["__class__"] = {"__reduce__": ["os.system", "exit"]}

    edit(old, change)
    assert read_bundle(old)["family"] == "os.system"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_weights_that_are_not_finite_are_refused_on_request(tmp_path, value, dtype):
    tree = {"good": np.zeros(3), "bad": {"w": np.array([0, 1, value], dtype)}}
    folder = write_bundle(tmp_path / "x", tree)
    assert same(tree, read_bundle(folder))
    with pytest.raises(ArtifactError, match="'bad/w' holds NaN or infinity"):
        read_bundle(folder, finite=True)


def test_finite_weights_pass(old, tmp_path):
    assert same(OLD, read_bundle(old, finite=True))
    tree = {"i": np.array([2**63 - 1]), "b": np.array([True]), "none": np.zeros(0)}
    assert same(tree, read_bundle(write_bundle(tmp_path / "y", tree), finite=True))


def test_a_damaged_file_costs_no_memory_beyond_its_size(old):
    # The manifest's size is checked against the file before a byte is read.
    (weights,) = old.glob("weights-*")
    with open(weights, "r+b") as file:
        file.truncate(2**40)  # sparse: a terabyte that takes no room
    refused(old, f"has {2**40} bytes")
    with open(old / "manifest.json", "r+b") as file:
        file.truncate(2**40)
    refused(old, f"has {2**40} bytes")
