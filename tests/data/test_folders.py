r"""Folders of images, in which any file may be hostile."""

import contextlib
import os
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import fromnoise as fn
from fromnoise.data import fit_encoding, load
from fromnoise.data.sinks import open_sink
from fromnoise.errors import DataError


def rng():
    return np.random.default_rng(0)


def round_trip(encoding, X):
    return encoding.decode(encoding.encode(encoding.check(X)))


@pytest.fixture
def folder(tmp_path):
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        for i in range(3):
            picture(size=(8, 6)).save(tmp_path / kind / f"{i}.png")
    return tmp_path


def picture(mode="RGB", size=(8, 6)):
    noise = rng().integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(noise[..., :3]).convert(mode)


def listed(folder, name):
    r"""Return the reason the error gives for a file, which must be the only one listed."""
    with pytest.raises(DataError) as caught:
        load(folder)
    message = str(caught.value)
    assert message.startswith("1 file cannot be used") and message.count("\n") == 1
    assert name in message
    return message


def test_a_folder_with_classes(folder):
    data = load(folder)
    assert data.kind == "images" and data.X.shape == (6, 6, 8, 3) and data.X.dtype == np.uint8
    assert data.y.tolist() == ["cat"] * 3 + ["dog"] * 3 and data.name == folder.name
    assert np.array_equal(data.X[0], np.asarray(picture())) and data.note == ()


def test_a_folder_without_classes_and_with_other_files(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.jpeg", "d.webp", "e.bmp"):
        picture().save(tmp_path / name)
    for name in ("readme.txt", ".hidden.png", "none"):
        (tmp_path / name).write_text("x")
    data = load(str(tmp_path))
    assert data.X.shape == (5, 6, 8, 3) and data.y is None
    assert data.note == ("3 files with other endings left alone",)
    assert np.array_equal(data.X[1], np.asarray(picture()))


def test_one_sub_folder_gives_no_labels_and_mixed_levels_are_refused(folder):
    for path in (folder / "dog").iterdir():
        path.unlink()
    data = load(folder)
    assert data.y is None and data.note == ("a single sub-folder, 'cat', gives no labels",)
    picture().save(folder / "loose.png")
    with pytest.raises(DataError, match="images beside sub-folders"):
        load(folder)


def test_sizes_that_differ_are_listed_and_resized_on_request(folder):
    picture(size=(20, 30)).save(folder / "cat" / "large.png")
    with pytest.raises(DataError, match=r"8 x 6 \(6 files\), 20 x 30 \(1 file\).*--image-size"):
        load(folder)
    assert load(folder, image_size=5).X.shape == (7, 5, 5, 3)
    assert load(folder, image_size=(4, 7)).X.shape == (7, 4, 7, 3)
    for wrong in (0, (1, 2, 3), "5", 2.5):
        with pytest.raises(DataError, match="image_size must be"):
            load(folder, image_size=wrong)


def test_resizing_is_antialiased_and_crops_the_centre(tmp_path):
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    assert np.abs(load(tmp_path, image_size=8).X.astype(float) - 127.5).max() < 8
    wide = np.zeros((20, 60), np.uint8)
    wide[:, 20:40] = 200
    Image.fromarray(wide).save(tmp_path / "board.png")
    assert (load(tmp_path, image_size=20).X == 200).all()


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        load(tmp_path)


def test_tiny_coloured_images_say_where_their_channels_are(tmp_path):
    picture(size=(3, 3)).save(tmp_path / "a.png")
    picture(size=(3, 3)).save(tmp_path / "b.png")
    assert fit_encoding(load(tmp_path).X).shape == (3, 3, 3)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.bmp"])
def test_d1_truncated_files_are_found(folder, name):
    whole = folder / name
    picture(size=(64, 48)).save(whole)
    (folder / "cat" / name).write_bytes(whole.read_bytes()[: int(0.6 * whole.stat().st_size)])
    whole.unlink()
    assert f"cat/{name}" in listed(folder, name)


def test_d2_bombs_are_refused_before_they_are_unpacked(folder):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    for side, reason in ((8001, "8001 x 8001 pixels"), (9500, "pixels"), (60_000, "pixels")):
        head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        pixels = zlib.compress(b"\0" * 1000)
        raw = (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", head)
            + chunk(b"IDAT", pixels)
            + chunk(b"IEND", b"")
        )
        (folder / "cat" / "bomb.png").write_bytes(raw)
        assert reason in listed(folder, "cat/bomb.png")
    text = zlib.compress(b"x" * 2**26, 9)
    head = struct.pack(">IIBBBBB", 8, 6, 8, 0, 0, 0, 0)
    raw = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"zTXt", b"k\0\0" + text)
    (folder / "cat" / "bomb.png").write_bytes(raw + chunk(b"IEND", b""))
    listed(folder, "cat/bomb.png")


def test_d3_sixteen_bits_are_scaled_by_65535(tmp_path):
    deep = rng().integers(0, 65_536, (6, 8), dtype=np.uint16)
    deep[0, :2] = 0, 65_535
    Image.fromarray(deep).save(tmp_path / "a.png")
    X = load(tmp_path).X
    assert X.dtype == np.float32 and X.shape == (1, 6, 8)
    np.testing.assert_allclose(X[0], deep / 65_535, atol=1e-6)
    small = load(tmp_path, image_size=3).X
    assert small.shape == (1, 3, 3) and small.min() >= 0 and small.max() <= 1
    picture("L").save(tmp_path / "b.png")
    both = load(tmp_path).X
    np.testing.assert_allclose(both[1], np.asarray(picture("L")) / 255, atol=1e-6)
    picture("RGB").save(tmp_path / "c.png")
    np.testing.assert_allclose(
        load(tmp_path).X[0], (deep / 65_535)[..., None].repeat(3, 2), atol=1e-6
    )


@pytest.mark.parametrize(
    ("mode", "name", "channels"),
    [
        ("L", "png", 0),
        ("1", "png", 0),
        ("P", "png", 3),
        ("CMYK", "jpg", 3),
        ("RGB", "png", 3),
        ("RGBA", "png", 4),
        ("LA", "png", 2),
    ],
)
def test_d4_modes(tmp_path, mode, name, channels):
    image = picture(mode)
    for i in range(2):
        image.save(
            tmp_path / f"{i}.{name}",
            **({"quality": 100, "subsampling": 0} if name == "jpg" else {}),
        )
    X = load(tmp_path).X
    assert X.shape == ((2, 6, 8, channels) if channels else (2, 6, 8))
    plain = {"1": "L", "P": "RGB", "CMYK": "RGB"}.get(mode, mode)
    expected = np.asarray(image.convert(plain)).astype(int)
    assert np.abs(X[0].astype(int) - expected).max() <= (16 if name == "jpg" else 0)


@pytest.mark.parametrize(
    ("mode", "name", "channels"),
    [
        ("RGB", "a.webp", 3),
        ("RGBA", "a.webp", 4),
        ("L", "a.webp", 3),  # the format has no grey
        ("1", "a.bmp", 0),
        ("L", "a.bmp", 0),
        ("P", "a.bmp", 3),
        ("RGB", "a.bmp", 3),
        ("L", "a.jpg", 0),
        ("YCbCr", "a.jpeg", 3),
    ],
)
def test_d4_modes_of_every_format(tmp_path, mode, name, channels):
    image = picture(mode, size=(40, 30))
    if mode == "RGBA":
        image.putalpha(picture("L", size=(40, 30)))
    image.save(tmp_path / name, lossless=True, exact=True, quality=100, subsampling=0)
    X = load(tmp_path).X
    assert X.dtype == np.uint8 and X.shape == (1, 30, 40, channels)[: 4 if channels else 3]
    plain = {0: "L", 3: "RGB", 4: "RGBA"}[channels]
    off = np.abs(X[0].astype(int) - np.asarray(image.convert(plain)).astype(int))
    assert off.max() <= (20 if name.startswith("a.j") else 0)


@pytest.mark.parametrize(
    ("mode", "clear"), [("1", 255), ("L", 200), ("RGB", (200, 10, 10)), ("P", 0)]
)
def test_d4_one_shade_may_be_transparent_in_every_mode(tmp_path, mode, clear):
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:, :4] = (200, 10, 10) if mode == "RGB" else 200 if mode != "1" else 255
    image = Image.fromarray(pixels)
    image = image.quantize(2) if mode == "P" else image.convert(mode)
    clear = image.getpixel((0, 0)) if mode == "P" else clear
    image.save(tmp_path / "a.png", transparency=clear)
    X = load(tmp_path).X
    assert X.shape == (1, 6, 8, 4 if mode in ("RGB", "P") else 2)
    assert (X[0, :, :4, -1] == 0).all() and (X[0, :, 4:, -1] == 255).all()
    picture("RGB").save(tmp_path / "b.png")
    X = load(tmp_path).X
    assert (X[0, :, :4] == 255).all() and (X[0, :, 4:] == 0).all()


def test_d4_what_sixteen_bits_cannot_show_is_refused(folder):
    deep = Image.fromarray(np.full((6, 8), 500, np.uint16))
    deep.save(folder / "cat" / "x.png", transparency=500)
    assert "is grey of 16 bits with a transparent shade" in listed(folder, "cat/x.png")


def test_d4_floats_are_refused(folder, monkeypatch):
    def opened(image):
        image.im, image._mode = picture("F").im, "F"
        return image

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", opened)
    with pytest.raises(DataError, match="has pixels of mode F"):
        load(folder)


def test_d4_grey_among_colours_becomes_colour(tmp_path):
    picture("L").save(tmp_path / "a.png")
    picture("RGB").save(tmp_path / "b.png")
    X = load(tmp_path).X
    assert X.shape == (2, 6, 8, 3)
    assert np.array_equal(X[0], np.asarray(picture("L"))[..., None].repeat(3, 2))
    assert np.array_equal(X[1], np.asarray(picture("RGB")))
    assert load(tmp_path).note == ("1 of 2 files grey, made colour like the others",)


def test_d4_what_was_done_to_a_mixed_folder_is_said(tmp_path):
    for i, mode in enumerate(("L", "RGBA", "RGB")):
        picture(mode).save(tmp_path / f"{i}.png")
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(tmp_path / "deep.png")
    assert load(tmp_path).note == (
        "2 of 4 files grey, made colour like the others",
        "1 of 4 files transparent, laid over white, as not all are",
        "1 of 4 files of 16 bits; so all pixels are floats from 0 to 1",
    )
    for i in (0, 2):
        (tmp_path / f"{i}.png").unlink()
    (tmp_path / "deep.png").unlink()
    assert load(tmp_path).note == ()  # all are alike: nothing was done


def test_d4_alpha_is_laid_over_white_unless_every_file_has_it(tmp_path):
    clear = np.zeros((6, 8, 4), np.uint8)
    clear[..., 0], clear[:, 4:, 3], clear[:, 2:4, 3] = 200, 255, 51
    Image.fromarray(clear).save(tmp_path / "a.png")
    assert np.array_equal(load(tmp_path).X[0], clear)
    picture("RGB").save(tmp_path / "b.png")
    X = load(tmp_path).X
    assert X.shape == (2, 6, 8, 3)
    assert X[0, 0, 0].tolist() == [255, 255, 255] and X[0, 0, 7].tolist() == [200, 0, 0]
    assert X[0, 0, 3].tolist() == [244, 204, 204]
    (tmp_path / "b.png").unlink()
    Image.fromarray(clear[..., [0, 3]]).save(tmp_path / "c.png")
    X = load(tmp_path).X
    assert X.shape == (2, 6, 8, 4) and X[1, 0, 2].tolist() == [200, 200, 200, 51]


def test_d4_a_transparent_palette_keeps_no_hidden_colour(tmp_path):
    palette = Image.fromarray(np.array([[0, 1]] * 5, np.uint8).repeat(5, 1), mode=None).convert(
        "P"
    )
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "a.png", transparency=0)
    palette.save(tmp_path / "b.png", transparency=bytes([0, 128]))
    X = load(tmp_path).X
    assert X.shape == (2, 5, 10, 4) and X[0, 0, 0, 3] == 0 and X[1, 0, 9, 3] == 128
    picture("L", (10, 5)).save(tmp_path / "c.png")
    X = load(tmp_path).X
    assert X[0, 0, 0].tolist() == [255, 255, 255] and X[0, 0, 9].tolist() == [0, 0, 255]


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_d5_exif_orientation_is_applied_in_every_format(tmp_path, name):
    image = Image.fromarray(np.arange(64, dtype=np.uint8).repeat(32).reshape(64, 32).T * 4)
    tag = Image.Exif()
    tag[0x0112] = 3  # upside down
    image.convert("RGB").save(tmp_path / name, exif=tag, quality=100)
    X = load(tmp_path).X.astype(int)
    assert X.shape == (1, 32, 64, 3)
    assert np.abs(X[0, ..., 0] - np.rot90(np.asarray(image), 2)).max() < 12


def test_d5_exif_orientation_is_applied(tmp_path):
    image = picture(size=(64, 32))
    tag = Image.Exif()
    tag[0x0112] = 6
    image.save(tmp_path / "a.png", exif=tag)
    X = load(tmp_path).X
    assert X.shape == (1, 64, 32, 3)
    assert np.array_equal(X[0], np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize("name", ["x.png", "x.webp"])
def test_d6_animated_files_are_refused(folder, name):
    frames = [Image.new("RGB", (8, 6), (shade, 0, 0)) for shade in (0, 80, 160, 240)]
    frames[0].save(folder / "cat" / name, save_all=True, append_images=frames[1:])
    assert "is animated" in listed(folder, f"cat/{name}")


def test_d6_a_photograph_with_a_thumbnail_behind_it_is_none(tmp_path):
    picture().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[picture(size=(4, 3))])
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO" and image.is_animated
    assert load(tmp_path).X.shape == (1, 6, 8, 3)


def test_d7_other_content_and_other_formats_are_refused_by_name(folder):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n"
    for name, content, reason in [
        ("empty.png", b"", "holds no PNG, JPEG, WEBP or BMP image"),
        ("text.png", b"hello", "holds no PNG"),
        ("eps.png", eps, "holds no PNG"),
        ("x.eps", eps, "is EPS: convert it to PNG"),
        ("x.gif", b"GIF89a", "is GIF"),
        ("x.TIFF", b"II*\0", "is TIFF"),
    ]:
        path = folder / "dog" / name
        path.write_bytes(content)
        assert reason in listed(folder, f"dog/{name}")
        path.unlink()
    picture().save(folder / "x.tif")
    (folder / "x.tif").rename(folder / "dog" / "x.png")
    assert "holds no PNG" in listed(folder, "dog/x.png")


def test_all_bad_files_are_listed_in_a_table(folder):
    for i in range(25):
        (folder / "cat" / f"bad{i:02}.png").write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        load(folder)
    lines = str(caught.value).splitlines()
    assert lines[0] == "25 files cannot be used; mend or remove:" and len(lines) == 22
    assert lines[1].split(maxsplit=1) == [
        "'cat/bad00.png'",
        "holds no PNG, JPEG, WEBP or BMP image",
    ]
    assert lines[-1] == "  and 5 more"


def test_d8_hostile_names_are_read_and_escaped(folder):
    for name in (b"\xff\xfe.png", b"new\nline.png", b"-rf.png", "‮gnp.png".encode(), b"<b>.png"):
        with open(os.path.join(os.fsencode(folder / "cat"), name), "wb") as file:
            picture().save(file, "PNG")
    assert load(folder).X.shape == (11, 6, 8, 3)
    with open(os.path.join(os.fsencode(folder / "cat"), b"\xff\n.png"), "wb") as file:
        file.write(b"x")
    message = listed(folder, r"\udcff\n.png")
    assert message.isascii()


def test_d8_links_and_pipes_are_never_opened(folder):
    os.mkfifo(folder / "cat" / "pipe.png")
    assert "is no regular file" in listed(folder, "pipe.png")
    (folder / "cat" / "pipe.png").unlink()
    (folder / "cat" / "loop.png").symlink_to("loop.png")
    assert "is a link" in listed(folder, "loop.png")
    (folder / "cat" / "loop.png").unlink()
    (folder / "more").symlink_to(folder / "cat")
    assert "is a link" in listed(folder, "more")


def test_d8_a_name_of_255_bytes_a_dash_and_a_socket(folder):
    name = "x" * 251 + ".png"
    picture().save(folder / "cat" / name)
    assert load(folder).X.shape == (7, 6, 8, 3)
    with socket.socket(socket.AF_UNIX) as sock, contextlib.chdir(folder / "dog"):
        sock.bind("s.png")
    assert "is no regular file" in listed(folder, "dog/s.png")


def test_d8_hostile_names_of_classes_survive_a_model_its_folder_and_its_samples(tmp_path):
    names = [b"\xff\xfe", b"new\nline", b"-rf", "‮gnp".encode(), b"<b>"]
    for name in names:
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
        for i in range(2):
            place = os.path.join(os.fsencode(tmp_path), name, b"%d.png" % i)
            with open(place, "wb") as file:
                picture("L").save(file, "PNG")
    data = load(tmp_path)
    labels = sorted({os.fsencode(label) for label in data.y.tolist()})
    assert labels == sorted(names)
    model = fn.VAE(network="small", budget="1 steps", random_state=0).fit(data.X, data.y)
    model.save(tmp_path.with_name("model"))
    assert (
        fn.load(tmp_path.with_name("model")).condition_.classes_.tolist()
        == np.unique(data.y).tolist()
    )
    with open_sink(tmp_path.with_name("drawn"), kind="images", n_rows=5) as sink:
        sink.write(model.sample(5, y=np.unique(data.y), random_state=0), np.unique(data.y))
    drawn = sorted(path.parent.name for path in tmp_path.with_name("drawn").rglob("*.png"))
    assert drawn == ["%3Cb%3E", "%5Cudcff%5Cudcfe", "%E2%80%AEgnp", "-rf", "new%0Aline"]


def test_d9_a_file_that_vanishes_while_it_is_read_is_listed(folder, monkeypatch):
    opened = Image.open

    def vanishes(path, **how):
        if path.name == "1.png":
            path.unlink(missing_ok=True)
        return opened(path, **how)

    monkeypatch.setattr(Image, "open", vanishes)
    with pytest.raises(DataError) as caught:
        load(folder)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("2 files cannot be used")
    assert [line.split()[0] for line in lines[1:]] == ["'cat/1.png'", "'dog/1.png'"]
    assert "No such file" in lines[1]


def test_d9_what_happens_to_files_after_they_were_read_does_not_matter(folder):
    data = load(folder)
    before = data.X.copy()
    for path in folder.rglob("*.png"):
        path.unlink()
    encoding = fit_encoding(data.X)
    assert np.array_equal(round_trip(encoding, data.X), before)
