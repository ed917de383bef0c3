r"""What every family promises, on every kind of data, with and without labels."""

import copy
import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fromnoise as fn
from contract_cases import CASES, CLASSES, NUMBERS, N, fitted, make
from fromnoise import families
from fromnoise.data import n_rows, take
from fromnoise.metrics import energy_distance
from fromnoise.persistence import read_bundle, write_bundle


def plain(X: Any) -> np.ndarray:
    r"""Return rows as one array that can be compared bit by bit."""
    if isinstance(X, pd.DataFrame | pd.Series):
        return X.astype(object).map(repr).to_numpy()
    return X.numpy() if isinstance(X, torch.Tensor) else np.asarray(X)


def equal(a: Any, b: Any) -> bool:
    return plain(a).shape == plain(b).shape and bool((plain(a) == plain(b)).all())


def arguments(model: Any) -> dict[str, Any]:
    r"""Return what a model was made with; a model among them by its text."""
    given = {k: v for k, v in model.get_params().items() if not k.endswith("callbacks")}
    return {k: repr(v) if isinstance(v, BaseEstimator) else v for k, v in given.items()}


def test_every_registered_family_is_under_contract() -> None:
    assert {families.PRESETS[name][0] for name in families.PRESETS} == set(families.FAMILIES)
    assert all(make(name).family == name for name in families.FAMILIES)


def test_input_is_never_modified(family: str, case: str) -> None:
    X, y = copy.deepcopy((CASES[case].X, CASES[case].y))
    model = make(family).fit(X, y)
    if hasattr(model, "score_samples"):
        model.score_samples(X, y)
    if hasattr(model, "encode"):
        model.encode(X, y)
    assert equal(X, CASES[case].X)
    assert y is None or equal(y, CASES[case].y)


def test_global_random_states_are_untouched(family: str, case: str) -> None:
    before = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state())
    model = make(family).fit(CASES[case].X, CASES[case].y)
    model.sample(3)
    after = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state())
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_an_int_seed_repeats_and_none_does_not(family: str, case: str) -> None:
    model = fitted(family, case)
    assert equal(model.sample(5, random_state=3), model.sample(5, random_state=3))
    assert not equal(model.sample(5, random_state=3), model.sample(5, random_state=4))
    assert not equal(model.sample(5), model.sample(5))


def test_the_same_seed_fits_the_same_model(family: str, case: str) -> None:
    again = make(family).fit(CASES[case].X, CASES[case].y)
    assert equal(again.sample(5, random_state=0), fitted(family, case).sample(5, random_state=0))


def test_the_first_rows_do_not_depend_on_how_many_are_drawn(family: str, case: str) -> None:
    model = fitted(family, case)
    n = 20 if case.startswith("images") else 1030  # 1030 crosses a block of noise
    many = model.sample(n, random_state=1)
    for k in (1, 7, n - 5):
        assert equal(model.sample(k, random_state=1), take(many, np.arange(k)))


@pytest.mark.parametrize("case", ["vectors", "table-classes"])
def test_sample_iter_yields_the_rows_of_sample(family: str, case: str) -> None:
    model = fitted(family, case)
    blocks = list(model.sample_iter(1030, random_state=1))
    many = model.sample(1030, random_state=1)
    assert [n_rows(block) for block in blocks] == [1024, 6]
    assert equal(blocks[1], take(many, np.arange(1024, 1030)))


def test_samples_come_back_as_the_data_came(family: str, case: str) -> None:
    X = CASES[case].X
    drawn = fitted(family, case).sample(4, random_state=0)
    assert type(drawn) is type(X)
    if isinstance(X, pd.DataFrame):
        assert list(drawn.columns) == list(X.columns)
        assert (drawn.dtypes == X.dtypes).all()
    else:
        assert drawn.dtype == X.dtype
        assert drawn.shape[1:] == X.shape[1:]


def test_a_row_alone_scores_and_codes_as_in_a_batch(family: str, case: str) -> None:
    model, X, y = fitted(family, case), CASES[case].X, CASES[case].y
    one = np.array([17])
    label = None if y is None else take(y, one)
    if hasattr(model, "score_samples"):
        assert model.score_samples(X, y)[17] == model.score_samples(take(X, one), label)[0]
    if hasattr(model, "encode"):
        assert equal(model.encode(X, y)[17:18], model.encode(take(X, one), label))


@pytest.mark.parametrize("case", ["vectors", "vectors-torch", "table-classes", "images-colour"])
def test_imputing_leaves_what_is_seen_and_repeats(
    family: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in (("IMPUTE_STEPS", 4), ("PARTICLES", 2), ("IMAGE_PARTICLES", 2)):
        monkeypatch.setattr(f"fromnoise.base.transport.{name}", few)
    monkeypatch.setattr("fromnoise.base.latent_imputing.TURNS", 2)
    model, some = fitted(family, case), np.arange(6)
    if not hasattr(model, "impute"):
        pytest.skip("no impute")
    X, y = take(CASES[case].X, some), CASES[case].y
    y = None if y is None else take(y, some)
    mask = np.random.default_rng(5).random(np.shape(X)) < 0.4
    given = copy.deepcopy(X)
    filled = model.impute(X, y, mask=mask, random_state=0)
    assert equal(X, given)
    assert type(filled) is type(X)
    assert (
        (filled.dtypes == X.dtypes).all()
        if case.startswith("table")
        else (filled.dtype == X.dtype)
    )
    assert (plain(filled) == plain(X))[~mask].all()
    assert (plain(filled) != plain(X))[mask].any()
    assert equal(model.impute(X, y, mask=mask, random_state=0), filled)
    assert not equal(model.impute(X, y, mask=mask, random_state=1), filled)
    two = np.arange(2)
    label = None if y is None else take(y, two)
    assert equal(
        model.impute(take(X, two), label, mask=mask[:2], random_state=0), take(filled, two)
    )
    assert equal(model.impute(X, y, mask=mask & False), X)


def test_order_of_rows_does_not_matter(family: str, case: str) -> None:
    model, X, y = fitted(family, case), CASES[case].X, CASES[case].y
    back = np.arange(N)[::-1].copy()
    if hasattr(model, "score_samples"):
        label = None if y is None else take(y, back)
        turned = model.score_samples(take(X, back), label)[::-1]
        # Where in a block a row stands may change the last bits of a sum.
        bits = 1e-12 if family == "gmm" else 1e-5
        np.testing.assert_allclose(turned, model.score_samples(X, y), rtol=bits, atol=bits)


def test_decode_inverts_encode(family: str, case: str) -> None:
    model, X, y = fitted(family, case), CASES[case].X, CASES[case].y
    if not hasattr(model, "encode"):
        pytest.skip("no codes")
    if family == "ddpm":
        pytest.skip("beside pure noise, errors of predicted noise are many times those of data")
    z = model.encode(X, y)
    assert z.shape[0] == N
    assert np.isfinite(z).all()
    back = model.decode(z, y)
    if hasattr(model, "reconstruct"):  # a code shorter than the row must lose something
        assert equal(back, model.reconstruct(X, y))
    elif isinstance(X, pd.DataFrame):
        for name in X.select_dtypes(["category", "bool"]):
            assert (back[name].to_numpy() == X[name].to_numpy()).all()
    else:
        x = plain(X).astype(float)
        assert np.abs(plain(back) - x).max() <= 1e-3 * (np.ptp(x) + 1) + 0.5 * (
            plain(X).dtype.kind in "iu"
        )


def test_saved_and_loaded_models_are_the_same(family: str, case: str, tmp_path: Any) -> None:
    model, X, y = fitted(family, case), CASES[case].X, CASES[case].y
    loaded = fn.load(model.save(tmp_path / "run"))
    assert type(loaded) is type(model)
    assert equal(loaded.sample(5, random_state=2), model.sample(5, random_state=2))
    assert type(loaded.sample(2)) is type(model.sample(2))
    if hasattr(model, "score_samples"):
        assert equal(loaded.score_samples(X, y), model.score_samples(X, y))
    if hasattr(model, "encode"):
        assert equal(loaded.encode(X, y), model.encode(X, y))
    assert arguments(loaded) == arguments(model)
    with pytest.raises(FileExistsError, match="exists"):
        model.save(tmp_path / "run")
    model.save(tmp_path / "run", overwrite=True)


CHANGES = {
    "gmm": {"n_components": 7, "covariance_type": "spherical"},
    "autoencoder": {"latent_dim": 1, "prior": None},
    "vae": {"latent_dim": 5, "prior": "vamp", "likelihood": "bernoulli"},
    "gan": {"latent_dim": 9, "spectral_norm": True},
    "diffusion": {"network": "large", "prediction": "noise"},
    "flow": {"network": "large", "path": "vp-cosine"},
}


def test_what_is_saved_is_what_was_fitted(family: str, tmp_path: Any) -> None:
    model = make(family).fit(CASES["vectors"].X)
    before = model.sample(5, random_state=0)
    loaded = fn.load(model.set_params(**CHANGES[family]).save(tmp_path / "run"))
    assert equal(loaded.sample(5, random_state=0), before)
    again = fn.load(loaded.save(tmp_path / "again"))
    assert equal(again.sample(5, random_state=0), before)


def test_weights_that_are_not_finite_are_refused(family: str, tmp_path: Any) -> None:
    fitted(family, "vectors").save(tmp_path / "run")
    tree = read_bundle(tmp_path / "run")
    learnt = tree["learnt"]
    weights = learnt if family == "gmm" else learnt["networks"]
    name = next(name for name in weights if name == "means" or name.endswith(".weight"))
    weights[name] = np.full_like(weights[name], np.nan)
    write_bundle(tmp_path / "run", tree, overwrite=True)
    with pytest.raises(fn.ArtifactError, match="NaN or infinity"):
        fn.load(tmp_path / "run")


def test_a_failed_fit_leaves_the_model_of_before_or_none(family: str, tmp_path: Any) -> None:
    model = make(family)
    with pytest.raises(fn.DataError):
        model.fit(CASES["vectors"].X, CLASSES[:5])
    with pytest.raises(NotFittedError):
        model.sample(2)
    before = {**vars(model.fit(CASES["vectors"].X))}
    model.run_dir = tmp_path / "run"
    with pytest.raises(fn.DataError):
        model.fit(CASES["vectors"].X, CLASSES[:5])
    after, learnt = vars(model), [name for name in before if name.endswith("_")]
    assert after.keys() == before.keys() and all(after[name] is before[name] for name in learnt)
    assert not model.run_dir.exists()


def test_refitting_forgets(family: str) -> None:
    fresh = make(family).fit(CASES["vectors"].X)
    used = make(family).fit(CASES["vectors-classes"].X, CLASSES).fit(CASES["vectors"].X)
    assert equal(used.sample(5, random_state=0), fresh.sample(5, random_state=0))
    assert vars(used).keys() == vars(fresh).keys()


def test_a_fitted_model_lists_what_it_has(family: str) -> None:
    model = make(family).fit(CASES["vectors"].X)
    listed = dir(model)
    assert {"encoding_", "fit"} <= {*listed}
    for name in ("sample", "score_samples", "encode", "impute", "reconstruct"):
        assert (name in listed) == hasattr(model, name)


def test_a_list_of_names_computes_nothing(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(family).fit(CASES["vectors"].X)

    def costly(self: Any) -> None:
        raise ValueError

    monkeypatch.setattr(type(model), "n_evaluations", property(costly), raising=False)
    assert "n_evaluations" in dir(model)


def test_clone_params_and_repr(family: str) -> None:
    model = make(family)
    assert arguments(clone(model)) == arguments(model)
    assert set(model.get_params(deep=False)) == {*type(model)._get_param_names()}
    assert type(model).__name__ in repr(model)
    assert model.set_params(random_state=5).random_state == 5
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(no_such_argument=1)


def test_constructors_take_keywords_only_and_store_them_untouched(family: str) -> None:
    with pytest.raises(TypeError):
        families.FAMILIES[family]("auto")
    budget = object()
    assert make(family, budget=budget).budget is budget


@pytest.mark.parametrize("method", ["sample", "score_samples", "encode", "save", "sample_iter"])
def test_nothing_works_before_fit(family: str, method: str, tmp_path: Any) -> None:
    model = make(family)
    if not hasattr(model, method):
        return
    argument: dict[str, Any] = {"sample": 1, "save": tmp_path / "x", "sample_iter": 1}
    with pytest.raises(NotFittedError):
        result = getattr(model, method)(argument.get(method, CASES["vectors"].X))
        list(result)


@pytest.mark.parametrize(
    "name", ["score_samples", "score", "encode", "decode", "transform", "impute"]
)
def test_what_a_model_cannot_do_is_absent_and_says_why(family: str, case: str, name: str) -> None:
    model = fitted(family, case)
    if hasattr(model, name):
        return
    with pytest.raises(AttributeError, match=rf"(?s){type(model).__name__} has no {name}.*has"):
        getattr(model, name)


def test_the_kind_of_score_exists_where_a_score_does(family: str, case: str) -> None:
    model = fitted(family, case)
    assert hasattr(model, "score_kind_") == hasattr(model, "score_samples")


def test_labels_choose_the_distribution(family: str) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    X = rng.normal(size=(400, 2)) * 0.3 + np.where(y, 3, -3)[:, None]
    model = make(family, **({"budget": "300 steps"} if family != "gmm" else {})).fit(X, y)
    assert (model.sample(50, y=1, random_state=0).mean(0) > 1).all()
    assert (model.sample(50, y=0, random_state=0).mean(0) < -1).all()
    drawn, labels = model.sample(200, random_state=0, return_y=True)
    assert labels.dtype == y.dtype
    assert 0.3 < labels.mean() < 0.7
    assert ((drawn.mean(1) > 0) == labels).mean() > 0.9


def test_labels_may_be_one_for_all_or_one_a_row(family: str) -> None:
    model = fitted(family, "vectors-classes")
    each = model.sample(3, y=np.array(["a", "a", "a"]), random_state=0)
    assert equal(model.sample(3, y="a", random_state=0), each)
    with pytest.raises(fn.DataError, match="'z'"):
        model.sample(3, y="z")
    with pytest.raises(fn.DataError, match="3"):
        model.sample(3, y=np.array(["a", "b"]))
    with pytest.raises(fn.DataError, match="without labels"):
        fitted(family, "vectors").sample(3, y="a")


def test_classes_are_summed_where_no_label_is_given(family: str) -> None:
    if not hasattr(make(family), "score_samples"):
        pytest.skip("no density")
    model, X = fitted(family, "vectors-classes"), CASES["vectors"].X
    each = np.stack([model.score_samples(X, np.full(N, label)) for label in "abc"])
    share = np.array([(label == CLASSES).mean() for label in "abc"])[:, None]
    total = np.log((share * np.exp(each)).sum(0))
    np.testing.assert_allclose(model.score_samples(X), total, rtol=1e-6)


def test_continuous_labels_are_one_vector_for_all_or_one_a_row(family: str) -> None:
    model = fitted(family, "vectors-numbers")
    assert equal(
        model.sample(3, y=NUMBERS[0], random_state=0),
        model.sample(3, y=np.tile(NUMBERS[0], (3, 1)), random_state=0),
    )


def test_scores_are_in_the_units_of_the_data(family: str) -> None:
    if not hasattr(make(family), "score_samples"):
        pytest.skip("no density")
    X = CASES["vectors"].X
    plain_units = {"reg_covar": 0} if family == "gmm" else {}  # the only argument with a unit
    narrow, wide = make(family, **plain_units).fit(X), make(family, **plain_units).fit(1000 * X)
    shift = wide.score_samples(1000 * X) - narrow.score_samples(X)
    tolerance = 1e-8 if family == "gmm" else 1e-3  # networks see float32
    np.testing.assert_allclose(shift, -3 * np.log(1000), atol=tolerance)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"budget": "soon"}, "budget"),
        ({"missing": "modle"}, "Did you mean 'model'"),
        ({"random_state": -1}, "random_state"),
        ({"verbose": np.ones(2)}, r"verbose takes no array, got one of shape \(2,\)"),
    ],
)
def test_bad_arguments_are_refused_before_training(
    family: str, bad: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(family, **bad).fit(CASES["vectors"].X)


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "3"])
def test_a_bad_number_of_samples_is_refused(family: str, n: Any) -> None:
    with pytest.raises(ValueError, match="n_samples"):
        fitted(family, "vectors").sample(n)


def closeness(model: Any, X: Any, y: Any = None) -> float:
    r"""Judge a model without a density by its samples."""
    return -float(energy_distance(X, model.sample(len(X), random_state=0)))


def test_grid_search_and_pipeline(family: str) -> None:
    X, model = CASES["vectors"].X, make(family)
    names = {"gmm": "n_components", "autoencoder": "prior__n_components"}
    name = names.get(family, "batch_size")
    scoring = None if hasattr(model, "score") else closeness
    search = GridSearchCV(model, {name: [1, 16]}, cv=2, scoring=scoring).fit(X)
    assert search.best_params_[name] in (1, 16)
    pipeline = Pipeline([("scale", StandardScaler()), ("model", make(family))]).fit(X)
    assert pipeline[-1].sample(2).shape == (2, 3)
    for method in ("score_samples", "score", "transform"):
        if hasattr(model, method):
            assert np.isfinite(getattr(pipeline, method)(X)).all()


def test_transform_is_encode_in_a_pipeline(family: str) -> None:
    model = fitted(family, "vectors")
    if not hasattr(model, "transform"):
        pytest.skip("no codes")
    X = CASES["vectors"].X
    assert equal(model.transform(X), model.encode(X))
    assert equal(model.inverse_transform(model.encode(X)), model.decode(model.encode(X)))


@pytest.mark.parametrize("case", list(CASES))
def test_an_autoencoder_without_a_prior_does_all_but_sample(case: str, tmp_path: Any) -> None:
    X, y = CASES[case].X, CASES[case].y
    model = make("autoencoder", prior=None).fit(X, y)
    assert not hasattr(model, "sample")
    assert not hasattr(model, "sample_iter")
    with pytest.raises(AttributeError, match="nothing puts a distribution on its codes"):
        model.sample(2)
    back = model.reconstruct(X, y)
    assert type(back) is type(X)
    assert back.shape == X.shape
    assert (model.reconstruction_error(X, y) >= 0).all()
    loaded = fn.load(model.save(tmp_path / "run"))
    assert equal(loaded.reconstruct(X, y), back)
    assert not hasattr(loaded, "sample")


# The seeding of k-means draws rows one after another, so repeated rows meet other random numbers
# than weighted ones, here as in scikit-learn's KMeans; the optimum is the same, not the start.
#
# Codes for a later step are learnt without the labels that it has to predict, so
# fit_transform(X, y) is not fit(X, y).transform(X), as with scikit-learn's own TargetEncoder.
CODES = dict.fromkeys(
    ("check_transformer_general", "check_transformer_data_not_an_array"),
    "fit_transform leaves y alone",
)
EXEMPT = {
    "AutoEncoder": CODES,
    "VAE": CODES,
    "GaussianMixture": {
        "check_sample_weight_equivalence_on_dense_data": "the start is random",
    },
}


@parametrize_with_checks(
    [*(make(name) for name in families.FAMILIES), make("autoencoder", prior=None)],
    expected_failed_checks=lambda model: EXEMPT.get(type(model).__name__, {}),
)
def test_scikit_learn_agrees(estimator: Any, check: Any) -> None:
    check(estimator)
