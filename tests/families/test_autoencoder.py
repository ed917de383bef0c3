r"""The auto-encoder against principal components, closed forms, and codes drawn blindly."""

import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

import fromnoise as fn
from fromnoise.metrics import energy_distance

LAMBDA = np.array([3.0, 1.6, 0.8, 0.4, 0.2])


def small(**arguments: Any) -> fn.AutoEncoder:
    given = {"network": "small", "random_state": 0, "budget": "20 steps", "batch_size": 64}
    return fn.AutoEncoder(**{**given, **arguments})


def linear(k: int = 2, d: int = 5, **arguments: Any) -> fn.AutoEncoder:
    r"""A linear auto-encoder, trained on all rows at every step."""
    given = {"budget": "1200 steps", "batch_size": 10**6, "learning_rate": 0.01, **arguments}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pair = (nn.Linear(d, k), nn.Linear(k, d))
    return small(network=pair, validation_fraction=0.0, **given)


def gaussian(n: int = 1000) -> np.ndarray:
    r"""Rows whose columns have unit variance and whose correlation has eigenvalues LAMBDA."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n, 5))
    Z = (Z - Z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(Z.T, bias=True))).T
    # Rotations in planes bring a diagonal to ones and keep its eigenvalues (Horn's theorem).
    Q = np.eye(5)
    for _ in range(5):
        C = Q.T @ np.diag(LAMBDA * 5 / LAMBDA.sum()) @ Q
        i, j = np.argmin(np.diag(C)), np.argmax(np.diag(C))
        if C[j, j] - C[i, i] < 1e-12:
            break
        a, b, c = C[i, i] - 1, C[i, j], C[j, j] - 1
        t = (-b + np.sqrt(b**2 - a * c)) / c
        turn = np.eye(5)
        turn[i, i] = turn[j, j] = 1 / np.hypot(1, t)
        turn[j, i], turn[i, j] = t / np.hypot(1, t), -t / np.hypot(1, t)
        Q = Q @ turn
    return Z * np.sqrt(LAMBDA * 5 / LAMBDA.sum()) @ Q


def spectrum(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Eigenvalues of the correlation matrix, falling, and their directions as columns."""
    values, vectors = np.linalg.eigh(np.corrcoef(X.T))
    return values[::-1], vectors[:, ::-1]


def linear_map(model: fn.AutoEncoder) -> np.ndarray:
    r"""The matrix A of x̂ = A x, in standardised columns."""
    encoder, decoder = model.networks_["encoder"], model.networks_["decoder"]
    return (decoder.weight @ encoder.weight).double().numpy()


def tabular(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    x = rng.normal(size=n)
    gaps = np.where(rng.random(n) < 0.3, np.nan, x**2 + 0.1 * rng.normal(size=n))
    return pd.DataFrame(
        {"a": x, "b": gaps, "c": np.where(x > 0, "up", "down"), "d": rng.choice([*"xyz"], n)}
    )


# --- oracles: linear networks -----------------------------------------------------------------


def test_row_9_a_linear_autoencoder_is_pca() -> None:
    X = gaussian() * [1, 10, 0.1, 5, 2] + [0, 100, 5, 1, 2]
    values, vectors = spectrum(X)
    np.testing.assert_allclose(values, LAMBDA * 5 / LAMBDA.sum(), rtol=1e-9)
    model = linear().fit(X)
    decoder = model.networks_["decoder"].weight.double().numpy()
    assert subspace_angles(decoder, vectors[:, :2]).max() <= 1e-2
    error = model.reconstruction_error(X)
    assert error.mean() == pytest.approx(values[2:].sum(), rel=1e-3)

    Z = (X - X.mean(0)) / X.std(0)
    pca = PCA(2).fit(Z)
    back = pca.inverse_transform(pca.transform(Z))
    np.testing.assert_allclose(error, ((Z - back) ** 2).sum(1), atol=1e-2)
    ours = (model.reconstruct(X) - X.mean(0)) / X.std(0)
    np.testing.assert_allclose(ours, back, atol=1e-2)


def test_the_loss_is_the_error_by_column() -> None:
    X = gaussian()
    model = linear(budget="10 steps").fit(X)
    rows = torch.from_numpy(model.encoding_.pack(model.encoding_.encode(X)))
    loss = model.loss((rows, torch.ones(1)), None, 1.0, torch.Generator())
    assert loss.item() == pytest.approx(model.reconstruction_error(X).mean() / 5, rel=1e-5)


def test_linear_denoising_shrinks_as_the_closed_form_says() -> None:
    X, s = gaussian(), 0.8
    values, vectors = spectrum(X)
    model = linear(noise=s, budget="1500 steps").fit(X)
    shrunk = values[:2] / (values[:2] + s**2)
    expected = vectors[:, :2] * shrunk @ vectors[:, :2].T
    np.testing.assert_allclose(linear_map(model), expected, atol=0.03)
    clean = (values[:2] * (1 - shrunk) ** 2).sum() + values[2:].sum()  # the target was clean
    assert model.reconstruction_error(X).mean() == pytest.approx(clean, rel=0.02)


def test_linear_penalties_shrink_as_the_closed_form_says() -> None:
    X, a, b = gaussian(), 0.3, 0.2
    values, vectors = spectrum(X)
    model = linear(code_l2=a, decoder_l2=b).fit(X)
    # min over e, d of λ (1 − d e)² + a λ e² + b d² in each direction: d² = √(λ a / b) − a
    squares = np.sqrt(values[:2] * a / b) - a
    found = np.linalg.svd(model.networks_["decoder"].weight.double().numpy())[1]
    np.testing.assert_allclose(found**2, squares, rtol=5e-3)
    expected = vectors[:, :2] * (squares / (squares + a)) @ vectors[:, :2].T
    np.testing.assert_allclose(linear_map(model), expected, atol=5e-3)


def test_the_gradient_penalty_of_a_linear_decoder_is_its_squared_weights() -> None:
    # With a constant Jacobian the two penalties are one.
    X, a, b = gaussian(), 0.3, 0.2
    model = linear(code_l2=a, decoder_gradient=b).fit(X)
    squares = np.sqrt(spectrum(X)[0][:2] * a / b) - a
    found = np.linalg.svd(model.networks_["decoder"].weight.double().numpy())[1]
    np.testing.assert_allclose(found**2, squares, rtol=0.05)


def test_the_gradient_penalty_is_the_jacobian() -> None:
    X = gaussian()
    model = small(latent_dim=2, decoder_gradient=1.0).fit(X)
    z = torch.from_numpy(model.encode(X[:1]))
    jacobian = torch.func.jacrev(lambda z: model.generate(z[None], None)[0])(z[0])
    many = z.repeat(20_000, 1)
    found = model._steepness(many, None, torch.Generator().manual_seed(0))
    assert found.item() == pytest.approx(jacobian.square().sum().item(), rel=0.05)


def test_penalties_add_up() -> None:
    X = gaussian()
    model = small(latent_dim=2).fit(X)
    rows = torch.from_numpy(model.encoding_.pack(model.encoding_.encode(X)))

    def loss(**arguments: float) -> float:
        model.set_params(code_l2=0.0, decoder_l2=0.0).set_params(**arguments)
        return 5 * model.loss((rows, torch.ones(1)), None, 1.0, torch.Generator()).item()

    codes = np.square(model.encode(X), dtype=float).sum(1).mean()
    weights = sum(w.square().sum().item() for w in model.networks_["decoder"].parameters())
    assert loss(code_l2=2.0) - loss() == pytest.approx(2 * codes, rel=1e-3)
    assert loss(decoder_l2=2.0) - loss() == pytest.approx(2 * weights, rel=1e-3)


def test_noise_meets_the_encoder_and_not_the_target() -> None:
    model = small(latent_dim=2, noise=3.0).fit(gaussian())
    seen: list[Tensor] = []
    model.networks_["encoder"].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    x = torch.zeros(4000, 5)
    loss = model.loss((x, torch.ones(1)), None, 1.0, torch.Generator().manual_seed(0))
    assert model.moments.restore(seen[0]).std().item() == pytest.approx(3.0, rel=0.02)
    model.encode(gaussian(300))
    assert seen[1].std() < 1.5  # none after training
    z = model.networks_["encoder"](seen[0])
    expected = (x - model.generate(z, None)).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


# --- learning ---------------------------------------------------------------------------------


def test_it_bends_where_pca_cannot() -> None:
    t = np.random.default_rng(0).uniform(-1, 1, 1500)
    X = np.stack([t, t**2, np.sin(3 * t)], 1)
    model = small(budget="200 steps")
    curve = model.explained_variance_curve(X, [1, 3])
    assert curve["latent_dim"].tolist() == [1, 3]
    assert curve["autoencoder"][0] < 0.15 * curve["pca"][0]
    assert curve["pca"][1] == pytest.approx(0, abs=1e-9)
    assert 2.5 < curve["mean"] < 3.5  # three standardised columns
    assert not hasattr(model, "networks_")


def test_the_curve_of_pca_is_scikit_learns() -> None:
    X = gaussian() * [1, 10, 0.1, 5, 2]
    curve = small(budget="1 steps").explained_variance_curve(X, [2, 4])
    order = fn.training.numpy_rng(0, 27).permutation(1000)  # the model's own split
    train, test = X[np.sort(order[:800])], X[np.sort(order[800:])]
    encoding = small(budget="1 steps").fit(train).encoding_
    rows, held_out = (encoding.encode(part).values for part in (train, test))
    for k, found in zip((2, 4), curve["pca"], strict=True):
        pca = PCA(k).fit(rows)
        back = pca.inverse_transform(pca.transform(held_out))
        assert found == pytest.approx(((held_out - back) ** 2).sum(1).mean(), rel=1e-4)


@pytest.mark.parametrize(
    "X", [tabular(), np.random.default_rng(0).random((60, 4, 5)), [[1.0, 2]] * 5 + [[3.0, 1]] * 9]
)
def test_a_curve_for_every_kind_of_data(X: Any) -> None:
    curve = small(budget="5 steps", prior=fn.GaussianMixture()).explained_variance_curve(X, [1, 9])
    assert all(np.isfinite(curve[name]).all() for name in curve)
    again = small(budget="5 steps").explained_variance_curve(X, (1,))
    assert again["autoencoder"][0] == curve["autoencoder"][0]  # with a prior or without
    assert curve["pca"][1] <= curve["pca"][0] <= curve["mean"] + 1e-6


@pytest.mark.parametrize("dims", [[], [0], [1.5], [True], ["1"]])
def test_bad_lengths_of_a_curve(dims: list[Any]) -> None:
    with pytest.raises(ValueError, match="latent_dims must be positive ints"):
        small().explained_variance_curve(gaussian(), dims)


def test_a_curve_needs_rows_and_networks_of_any_length() -> None:
    with pytest.raises(fn.DataError, match="at least 10 rows, got 9"):
        small().explained_variance_curve(gaussian()[:9], [1])
    with pytest.raises(ValueError, match="one length of code"):
        linear().explained_variance_curve(gaussian(), [1])


def test_a_prior_on_the_codes_beats_codes_drawn_blindly() -> None:
    X = fn.data.load("8gaussians").X[:3000]
    train, test = X[:2000], X[2000:]
    prior = fn.GaussianMixture(n_components=8)
    model = small(latent_dim=2, prior=prior, budget="500 steps").fit(train)
    z = np.random.default_rng(0).normal(size=(1000, 2))
    ours = energy_distance(test, model.sample(1000, random_state=0))
    blind = energy_distance(test, model.decode(z))
    assert ours.high < blind.low
    # The law of the codes is all that is asked of it, so it may be no worse than in the data.
    direct = energy_distance(test, fn.GaussianMixture(n_components=8).fit(train).sample(1000))
    assert ours.value < max(5 * direct.value, 0.05)


# --- tables -----------------------------------------------------------------------------------


def test_what_is_missing_has_no_error_and_is_not_seen() -> None:
    X = tabular()
    model = small(latent_dim=2, noise=0.5).fit(X)
    packed = model.encoding_.encode(X)
    one = torch.from_numpy(model.encoding_.pack(packed, np.random.default_rng(0)))
    two = torch.from_numpy(model.encoding_.pack(packed, np.random.default_rng(1)))
    gaps = torch.from_numpy(X["b"].isna().to_numpy(copy=True))
    assert (one[gaps, 1] != two[gaps, 1]).all()  # two draws of the fillers
    generator = torch.Generator()
    (x_1, seen_1), (x_2, _) = (model.prepare(x, None, generator) for x in (one, two))
    assert torch.equal(x_1[:, 1], x_2[:, 1])
    assert not x_1[gaps, 1].any()
    assert torch.equal(seen_1[:, 1] == 0, gaps)
    assert seen_1.sum() == seen_1.numel() - gaps.sum()
    far = x_1.clone()
    far[gaps, 1] += 100.0
    assert torch.equal(
        model._errors(x_1, far, seen_1)[gaps], model._errors(x_1, x_1, seen_1)[gaps]
    )
    seen: list[Tensor] = []
    model.networks_["encoder"].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    model.loss((x_1, seen_1), None, 1.0, generator)
    assert not model.moments.restore(seen[0])[gaps, 1].abs().max() > 1e-5  # no noise on them


def test_the_error_of_categories_is_their_cross_entropy() -> None:
    X = tabular()
    model = small(latent_dim=2).fit(X)
    encoded = model.encoding_.encode(X)
    x, seen = model.prepare(torch.from_numpy(model.encoding_.pack(encoded)), None, None)
    x_hat = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(encoded.observed) * (x - x_hat)[:, :2] ** 2
    total, start = expected.sum(1), 2
    for part, size in enumerate(model.encoding_.cardinalities):
        log_p = x_hat[:, start : start + size].log_softmax(1)
        total = total - log_p[torch.arange(len(X)), torch.from_numpy(encoded.codes[:, part])]
        start += size
    torch.testing.assert_close(model._errors(x, x_hat, seen), total)


def test_it_learns_a_table_with_gaps() -> None:
    X = tabular()
    prior = fn.GaussianMixture(n_components=8)
    model = small(latent_dim=4, budget="700 steps", prior=prior).fit(X)
    back = model.reconstruct(X)
    assert (back["b"].isna() == X["b"].isna()).mean() > 0.97
    assert (back["c"] == X["c"]).mean() > 0.97
    assert (back["d"] == X["d"]).mean() > 0.97
    assert np.corrcoef(back["a"], X["a"])[0, 1] > 0.95
    both = ~back["b"].isna() & ~X["b"].isna()
    assert np.corrcoef(back["b"][both], X["b"][both])[0, 1] > 0.9
    drawn = model.sample(500, random_state=0)
    assert list(drawn.dtypes) == list(X.dtypes)
    assert 0.15 < drawn["b"].isna().mean() < 0.45
    assert ((drawn["a"] > 0) == (drawn["c"] == "up")).mean() > 0.85


# --- labels -----------------------------------------------------------------------------------


def test_classes_reach_the_decoder_and_the_prior() -> None:
    rng = np.random.default_rng(0)
    y = np.where(rng.random(600) < 0.5, "left", "right")
    X = rng.normal(size=(600, 3)) * 0.3 + np.where(y == "left", -3, 3)[:, None]
    prior = fn.GaussianMixture(n_components=1)
    model = small(latent_dim=1, prior=prior, budget="400 steps").fit(X, y)
    assert (model.sample(100, y="left", random_state=0).mean(1) < -1).all()
    assert (model.sample(100, y="right", random_state=0).mean(1) > 1).all()
    z = model.encode(X)
    assert (z == model.encode(X, y)).all()  # the encoder sees rows alone
    other = np.where(y == "left", "right", "left")
    assert (
        model.reconstruction_error(X, y).mean() < 0.5 * model.reconstruction_error(X, other).mean()
    )
    with pytest.raises(fn.DataError, match="Pass y"):
        model.reconstruct(X)
    with pytest.raises(fn.DataError, match="Pass y"):
        model.reconstruction_error(X)
    with pytest.raises(fn.DataError, match="'up'"):
        model.encode(X, np.full(600, "up"))


def test_numbers_reach_the_decoder_and_the_prior() -> None:
    rng = np.random.default_rng(0)
    y = rng.uniform(-1, 1, 800)
    X = np.stack([5 * y, -5 * y, rng.normal(size=800)], 1) + 0.1 * rng.normal(size=(800, 3))
    prior = fn.GaussianMixture(n_components=2)
    model = small(latent_dim=1, prior=prior, budget="500 steps").fit(X, y)
    for value in (-0.7, 0.6):
        drawn = model.sample(200, y=value, random_state=0)
        np.testing.assert_allclose(drawn.mean(0)[:2], [5 * value, -5 * value], atol=0.6)


# --- what it cannot do, and why ---------------------------------------------------------------


def test_without_a_prior_there_is_nothing_to_sample_from() -> None:
    for model in (small(), small().fit(gaussian())):
        assert not hasattr(model, "sample")
        assert not hasattr(model, "sample_iter")
        with pytest.raises(AttributeError) as error:
            model.sample(5)
        for way in (
            "AutoEncoder(prior=GaussianMixture(n_components=10))",
            "AutoEncoder(prior=FlowMatching())",
            "VAE()",
            "nothing puts a distribution on its codes",
        ):
            assert way in str(error.value)
    assert model.reconstruct(gaussian()[:3]).shape == (3, 5)


def test_there_is_no_density_with_or_without_a_prior() -> None:
    for model in (small(), small(prior=fn.GaussianMixture(n_components=2)).fit(gaussian())):
        assert not hasattr(model, "score_samples")
        with pytest.raises(AttributeError, match=r"has no score_samples.*GaussianMixture has"):
            model.score_samples(gaussian())
        with pytest.raises(AttributeError, match=r"has no score:.*scoring="):
            model.score(gaussian())


def test_a_prior_set_after_the_fit_was_not_learnt(tmp_path: Any) -> None:
    model = small().fit(gaussian()).set_params(prior=fn.GaussianMixture())
    with pytest.raises(AttributeError, match=r"set after the fit.*Fit it again"):
        model.sample(1)
    assert not hasattr(fn.load(model.save(tmp_path / "run")), "sample")
    fitted = small(prior=fn.GaussianMixture(n_components=1)).fit(gaussian())
    assert fitted.set_params(prior=None).sample(2).shape == (2, 5)  # it was learnt


@pytest.fixture
def interruptible() -> Iterator[None]:
    r"""Undo that a background job's children ignore Ctrl-C."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


class Interrupt:
    def __call__(self, record: Any) -> None:
        if record.step >= 3:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_fit_keeps_what_it_has() -> None:
    X = gaussian()
    model = small(prior=fn.GaussianMixture(n_components=1), callbacks=(Interrupt(),))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.interrupted_
    assert model.reconstruct(X[:2]).shape == (2, 5)
    with pytest.raises(AttributeError, match="interrupted before"):
        model.sample(1)
    late = small(prior=fn.FlowMatching(network="small", callbacks=(Interrupt(),)))
    with pytest.raises(KeyboardInterrupt):
        late.fit(X)
    assert late.interrupted_
    assert late.n_steps_ == 12
    assert late.prior_.n_steps_ < 8
    assert late.sample(2).shape == (2, 5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"latent_dim": 0}, "latent_dim"),
        ({"latent_dim": 2.0}, "latent_dim"),
        ({"latent_dim": True}, "latent_dim"),
        ({"latent_dim": "ten"}, "latent_dim"),
        ({"prior": "gmm"}, "prior must be None or a model"),
        ({"prior": fn.GaussianMixture}, "prior must be None or a model"),
        ({"prior": fn.GaussianMixture(budget="3s")}, "The prior's budget must not be set"),
        ({"prior": fn.FlowMatching(device="cpu")}, "The prior's device must not be set"),
        ({"prior": fn.AutoEncoder()}, r"AutoEncoder\(\) cannot be sampled from"),
        ({"prior": fn.GaussianMixture(n_components=-1)}, "n_components"),
        ({"noise": -0.1}, "noise must be a number, 0 or more, got -0.1"),
        ({"noise": True}, "noise"),
        ({"code_l2": float("nan")}, "code_l2"),
        ({"decoder_l2": float("inf")}, "decoder_l2"),
        ({"decoder_gradient": "1"}, "decoder_gradient"),
        ({"network": "smal"}, "Did you mean 'small'"),
        ({"network": nn.Linear(5, 2)}, r"pair of torch.nn.Module \(encoder, decoder\)"),
        ({"network": (nn.Linear(5, 2),)}, r"pair of torch.nn.Module \(encoder, decoder\)"),
    ],
)
def test_bad_arguments_get_clear_errors(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**bad).fit(gaussian())


# --- networks of one's own --------------------------------------------------------------------


def test_a_pair_of_ones_own_is_copied_trained_and_asked_for_again(tmp_path: Any) -> None:
    X = gaussian()
    pair = (nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)), nn.Linear(3, 5))
    before = [v.clone() for part in pair for v in part.state_dict().values()]
    model = small(network=pair).fit(X)
    assert model.latent_dim_ == 3
    after = [v for part in pair for v in part.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    model.save(tmp_path / "run")
    with pytest.raises(fn.ArtifactError, match="network=module"):
        fn.load(tmp_path / "run")
    loaded = fn.load(tmp_path / "run", network=pair)
    assert (loaded.reconstruct(X) == model.reconstruct(X)).all()
    for wrong in (pair[0], (nn.Linear(5, 3), nn.Linear(3, 5)), (pair[0], nn.Linear(2, 5))):
        with pytest.raises(fn.ArtifactError):
            fn.load(tmp_path / "run", network=wrong)


@pytest.mark.parametrize(
    ("pair", "arguments", "message"),
    [
        ((nn.Linear(4, 2), nn.Linear(2, 5)), {}, r"The encoder cannot be called with .*\(2, 5\)"),
        (
            (nn.Linear(5, 2), nn.Linear(2, 5)),
            {"latent_dim": 3},
            r"The encoder, .* must return the shape \(2, 3\), got \(2, 2\)",
        ),
        ((nn.Linear(5, 2), nn.Linear(3, 5)), {}, r"The decoder cannot be called .*\(2, 2\)"),
        (
            (nn.Linear(5, 2), nn.Linear(2, 4)),
            {},
            r"The decoder, .* must return the shape \(2, 5\), got \(2, 4\)",
        ),
    ],
)
def test_shapes_that_do_not_meet(pair: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(fn.DataError, match=message):
        small(network=pair, **arguments).fit(gaussian())


def test_a_decoder_of_ones_own_is_given_y() -> None:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.net = nn.Embedding(2, 5), nn.Linear(2, 5)

        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            return self.net(z) + self.table(y)

    X, y = gaussian(), np.arange(1000) % 2
    model = small(network=(nn.Linear(5, 2), Decoder())).fit(X, y)
    assert model.reconstruct(X, y).shape == X.shape
    with pytest.raises(fn.DataError, match=r"The decoder cannot be called"):
        small(network=(nn.Linear(5, 2), nn.Linear(2, 5))).fit(X, y)


# --- a good citizen of scikit-learn -----------------------------------------------------------


def test_codes_feed_a_classifier() -> None:
    digits = fn.data.load("digits")
    X, y = digits.X.reshape(-1, 64)[:, 1:-1], digits.y
    pipeline = make_pipeline(
        small(latent_dim=8, budget="300 steps"), LogisticRegression(max_iter=1000)
    ).fit(X[:1200], y[:1200])
    assert pipeline.score(X[1200:], y[1200:]) > 0.75  # chance is 0.1
    # A decoder that is told the digit would leave it out of the code.
    assert pipeline[0].condition_ is None
    assert pipeline[:-1].transform(X[:3]).shape == (3, 8)


def test_codes_have_names_and_come_as_a_frame() -> None:
    model = small(latent_dim=2).fit(gaussian())
    assert list(model.get_feature_names_out()) == ["autoencoder0", "autoencoder1"]
    frame = model.set_output(transform="pandas").transform(tabular_free := gaussian()[:3])
    assert list(frame.columns) == ["autoencoder0", "autoencoder1"]
    np.testing.assert_array_equal(frame, model.encode(tabular_free))
    assert model.fit_transform(gaussian()).shape == (1000, 2)


def test_grid_search_over_the_prior_takes_a_distance_of_samples() -> None:
    X = fn.data.load("8gaussians").X[:1000]

    def closeness(model: fn.AutoEncoder, X: np.ndarray, y: Any = None) -> float:
        return -float(energy_distance(X, model.sample(len(X), random_state=0)))

    model = small(latent_dim=2, prior=fn.GaussianMixture(n_components=4), budget="60 steps")
    search = GridSearchCV(model, {"prior__n_components": [1, 8]}, scoring=closeness, cv=2).fit(X)
    assert search.best_params_ == {"prior__n_components": 8}
    assert len(search.best_estimator_.prior_.weights_) == 8
    assert model.prior.n_components == 4  # cloned, never fitted in place
    assert not hasattr(model.prior, "means_")

    def nearness(model: fn.AutoEncoder, X: np.ndarray) -> float:
        return -float(model.reconstruction_error(X).mean())

    search = GridSearchCV(small(budget="30 steps"), {"latent_dim": [1, 2]}, scoring=nearness, cv=2)
    assert search.fit(X).best_params_ == {"latent_dim": 2}


@pytest.mark.parametrize("prior", ["gmm", "flow", None])
def test_a_saved_model_brings_its_prior(prior: str | None, tmp_path: Any) -> None:
    quick = {"gmm": fn.GaussianMixture(n_components=3), "flow": fn.FlowMatching(network="small")}
    given = None if prior is None else quick[prior]
    model = small(latent_dim=2, prior=given, noise=0.1, code_l2=0.1).fit(gaussian())
    loaded = fn.load(model.save(tmp_path / "run"))
    assert (loaded.reconstruct(gaussian()) == model.reconstruct(gaussian())).all()
    assert loaded.n_parameters_ == model.n_parameters_
    assert (loaded.noise, loaded.code_l2) == (0.1, 0.1)
    if prior is None:
        assert not hasattr(loaded, "sample")
    else:
        assert type(loaded.prior) is type(given)
        drawn = model.sample(9, random_state=0)
        assert (loaded.sample(9, random_state=0) == drawn).all()
        assert loaded.n_evaluations == model.n_evaluations


def test_names() -> None:
    model = fn.families.make("latent-flow", latent_dim=3)
    assert isinstance(model, fn.AutoEncoder)
    assert isinstance(model.prior, fn.FlowMatching)
    assert isinstance(fn.families.make("autoencoder", prior="gmm").prior, fn.GaussianMixture)


def test_a_diverged_fit_says_so_and_stays_usable() -> None:
    class Exploding(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + (torch.inf if self.training else 0.0)

    model = small(network=(nn.Linear(5, 2), Exploding(2, 5)), budget="100 steps").fit(gaussian())
    assert model.status_ == "diverged"
    assert np.isfinite(model.reconstruct(gaussian())).all()
