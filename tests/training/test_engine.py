r"""The loop against a plain one, its clock, its skips, its signals, and what it keeps."""

import itertools
import math
import random
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fromnoise.training import Budget, Clock, Objective, Settings, numpy_rng, torch_rng, train
from fromnoise.training import budget as module
from fromnoise.training.engine import _STEP, _batches
from fromnoise.training.state import Average, ema_decay, learning_rate_factor


class Rows:
    r"""A table, and what the engine asked of it."""

    def __init__(self, n=40, d=3, labels=False):
        self.X = numpy_rng(n, d).normal(size=(n, d)).astype(np.float32)
        self.y = np.arange(n) % 3 if labels else None
        self.taken, self.noises = [], []

    def __len__(self):
        return len(self.X)

    def take(self, index, rng):
        self.taken.append(index.copy())
        self.noises.append(rng.random())
        return torch.from_numpy(self.X[index]), (
            None if self.y is None else torch.from_numpy(self.y[index])
        )


def new_net(d=3):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.ModuleDict({"net": nn.Sequential(nn.Linear(d, 4), nn.Tanh(), nn.Linear(4, d))})


def weights(module):
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def noisy(x, y, generator):
    return torch.randn(x.shape, generator=generator), x


def regression(net):
    r"""A loss that uses the batch, the noise made ahead, and the generator of the step."""

    def loss(batch, y, progress, generator):
        z, x = batch
        target = x.cumsum(1) + torch.randn(x.shape, generator=generator)
        return 20 * (net["net"](x + 0.1 * z) - target).square().mean()

    return loss


def fit(
    net,
    objectives=None,
    rows=None,
    budget="30 steps",
    validate=None,
    observe=dict,
    callbacks=(),
    **how,
):
    rows = rows or Rows()
    settings = Settings(**{"batch_size": 8, "learning_rate": 1e-2} | how)
    if not isinstance(objectives, list):
        objectives = [Objective(objectives or regression(net), [*net.parameters()])]
    budget = Budget.parse(budget)
    countdown = itertools.count(0, -1)
    return train(
        net,
        objectives,
        rows,
        Clock(budget, budget.steps(len(rows), min(settings.batch_size, len(rows)))),
        settings,
        prepare=noisy,
        validate=validate or (lambda _: float(next(countdown))),  # the last average is the best
        observe=observe,
        callbacks=callbacks,
    )


def plain(n_steps, seed=0, stop=None, ema="auto", clip=1.0):
    r"""The same training as one page of PyTorch: no thread, no clock, no skipping."""
    net, rows = new_net(), Rows()
    settings = Settings(batch_size=8, learning_rate=1e-2, seed=seed)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
    )
    loss, mean = regression(net), [p.detach().clone() for p in net.parameters()]
    batches = _batches(rows, settings, noisy)
    for step in range(stop or n_steps):
        progress = step / n_steps
        rate = (
            0.05 + 0.95 * progress / 0.02
            if progress < 0.02
            else 0.5 * (1 + math.cos(math.pi * (progress - 0.02) / 0.98))
        )
        optimizer.param_groups[0]["lr"] = 1e-2 * rate
        batch, y = next(batches)
        optimizer.zero_grad()
        loss(batch, y, progress, torch_rng(seed, _STEP, step)).backward()
        nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        decay = (1 - 1 / (step + 1)) ** 17.97 if ema == "auto" else ema
        with torch.no_grad():
            for m, p in zip(mean, net.parameters(), strict=True):
                m.lerp_(p, 1 - decay)
    return torch.cat([m.flatten() for m in mean])


# --- the same bits ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"seed": 3}, {"ema": 0.9}, {"clip": 0.1}])
def test_training_is_the_plain_loop_to_the_bit(how):
    net = new_net()
    outcome = fit(net, budget="120 steps", **how)
    assert torch.equal(weights(net), plain(120, **how))
    assert outcome.n_steps == 120 and outcome.status == "ok"


def test_one_seed_gives_the_same_bits_and_another_does_not():
    runs = []
    for seed in (0, 0, 1):
        net = new_net()
        outcome = fit(net, seed=seed)
        history = [{k: v for k, v in line.items() if k != "seconds"} for line in outcome.history]
        runs.append((weights(net), history))
    assert torch.equal(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]
    assert (runs[0][0] - runs[2][0]).abs().max() > 1e-3


def test_a_slow_or_a_fast_reader_changes_nothing():
    class Slow(Rows):
        def take(self, index, rng):
            time.sleep(0.004)
            return super().take(index, rng)

    def slowly(batch, y, progress, generator):
        time.sleep(0.004)
        return regression(net)(batch, y, progress, generator)

    net = new_net()
    fit(net, rows=Slow())
    other, net = weights(net), new_net()
    fit(net, slowly)
    assert torch.equal(other, weights(net))
    assert torch.equal(other, plain(30))


def test_global_random_states_are_untouched():
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    fit(new_net())
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


# --- the order of the data --------------------------------------------------------------------


def order(n, size, steps, seed=0):
    rows = Rows(n)
    settings = Settings(batch_size=size, learning_rate=1.0, seed=seed)
    for _ in itertools.islice(_batches(rows, settings, noisy), steps):
        pass
    return np.concatenate(rows.taken), rows


@pytest.mark.parametrize(("n", "size"), [(10, 4), (12, 12), (7, 1), (9, 8)])
def test_each_row_comes_once_an_epoch_and_epochs_differ(n, size):
    taken, rows = order(n, size, 3 * n)
    epochs = taken[: 3 * n].reshape(3, n)
    assert (np.sort(epochs, axis=1) == np.arange(n)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert {len(batch) for batch in rows.taken} == {size}


def test_order_is_a_function_of_seed_epoch_and_position():
    assert np.array_equal(order(30, 7, 20)[0], order(30, 7, 20)[0])
    assert not np.array_equal(order(30, 7, 20)[0], order(30, 7, 20, seed=1)[0])
    # Whatever the batch, epoch 1 holds the same rows in the same places.
    a, b = order(30, 7, 20)[0], order(30, 10, 14)[0]
    assert np.array_equal(a, b)


def test_the_noise_of_the_rows_is_fresh_each_step_and_the_same_each_run():
    first, again = order(10, 5, 40)[1].noises, order(10, 5, 40)[1].noises
    assert first == again and len(set(first)) == 40


def test_a_batch_is_all_rows_where_there_are_fewer():
    rows = Rows(5)
    outcome = fit(new_net(), rows=rows, budget="4 epochs", batch_size=64)
    assert outcome.n_steps == 4 and {len(index) for index in rows.taken} == {5}


def test_labels_travel_with_their_rows():
    rows, seen = Rows(labels=True), []

    def loss(batch, y, progress, generator):
        seen.append((batch[1], y))
        return regression(net)(batch, y, progress, generator)

    net = new_net()
    fit(net, loss, rows=rows)
    for (x, y), index in zip(seen, rows.taken, strict=False):
        assert np.array_equal(x, rows.X[index]) and np.array_equal(y, rows.y[index])


# --- schedules --------------------------------------------------------------------------------


def test_row_31_learning_rate_at_every_step():
    for step in range(1001):
        p = step / 1000
        exact = 0.05 + 47.5 * p if p < 0.02 else math.cos(math.pi / 2 * (p - 0.02) / 0.98) ** 2
        assert learning_rate_factor(p) == pytest.approx(exact, abs=1e-12)
    assert learning_rate_factor(1) == pytest.approx(0, abs=1e-12)


def test_each_player_follows_the_schedule_from_its_own_peak(monkeypatch):
    rates = {1e-2: [], 3e-3: []}
    step = torch.optim.AdamW.step

    def spy(self, closure=None):
        group = self.param_groups[0]
        rates[1e-2 if group["betas"] == (0.9, 0.99) else 3e-3].append(group["lr"])
        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    a, b = new_net(), new_net()
    players = [
        Objective(regression(a), [*a.parameters()]),
        Objective(regression(b), [*b.parameters()], learning_rate=3e-3, betas=(0.5, 0.9)),
    ]
    outcome = fit(nn.ModuleDict({"a": a, "b": b}), players, budget="50 steps")
    for peak, found in rates.items():
        exact = [peak * learning_rate_factor(k / 50) for k in range(50)]
        assert found == pytest.approx(exact, abs=1e-12)
    line = outcome.history[10]
    assert line["learning_rate"] == 1e-2 * learning_rate_factor(line["progress"])


def test_row_30_average_of_a_constant_target():
    net = nn.ModuleDict({"net": nn.Linear(3, 3)})
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    average = Average(net)
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1.0)
    for step in range(1, 1001):
        average.update(ema_decay(step, 0.9999))
    exact = 1 - 0.9999**1000
    assert all(m.dtype == torch.float32 for m in average.mean)
    assert average.mean[0].numpy() == pytest.approx(exact, rel=1e-5)


def test_the_power_law_window_spans_five_percent_of_the_steps():
    share, times = np.zeros(4000), np.arange(1, 4001) / 4000
    for step in range(1, 4001):
        share *= ema_decay(step, "auto")
        share[step - 1] = 1 - ema_decay(step, "auto")
    assert share.sum() == pytest.approx(1, rel=1e-12)
    # Karras 2024: weights proportional to t^γ, γ = 16.97, whose relative spread is 0.05.
    mean = (share * times).sum()
    assert mean == pytest.approx(17.97 / 18.97, rel=1e-3)
    assert math.sqrt((share * (times - mean) ** 2).sum()) == pytest.approx(0.05, rel=1e-2)


def test_progress_reaches_the_loss():
    seen = []

    def loss(batch, y, progress, generator):
        seen.append(progress)
        return regression(net)(batch, y, progress, generator)

    net = new_net()
    fit(net, loss, budget="8 steps")
    assert seen == [k / 8 for k in range(8)]


# --- players ----------------------------------------------------------------------------------


def test_players_take_turns_and_move_only_their_own_parameters():
    nets, calls = nn.ModuleDict({"a": new_net(), "b": new_net()}), []

    def player(name, other):
        def loss(batch, y, progress, generator):
            calls.append((name, weights(nets["a"]), weights(nets["b"])))
            both = nets["a"]["net"](batch[1]) * nets["b"]["net"](batch[1])
            return (both - batch[0]).square().mean()

        return loss

    after = []
    players = [
        Objective(
            player("a", "b"), [*nets["a"].parameters()], after_step=lambda: after.append("a")
        ),
        Objective(
            player("b", "a"),
            [*nets["b"].parameters()],
            every=3,
            after_step=lambda: after.append("b"),
        ),
    ]
    fit(nets, players, budget="7 steps")
    names = [name for name, _, _ in calls]
    assert "".join(names) == "ab" + "a" + "a" + "ab" + "a" + "a" + "ab"
    assert after == names
    for (name, a, b), (_, next_a, next_b) in itertools.pairwise(calls):
        moved = {"a": not torch.equal(a, next_a), "b": not torch.equal(b, next_b)}
        assert moved == {"a": name == "a", "b": name == "b"}


def test_a_net_that_does_not_play_gets_no_gradient():
    nets = nn.ModuleDict({"a": new_net(), "b": new_net()})

    def loss(batch, y, progress, generator):
        return (nets["b"]["net"](nets["a"]["net"](batch[1])) - batch[0]).square().mean()

    fit(nets, [Objective(loss, [*nets["a"].parameters()])], budget="2 steps")
    assert all(p.grad is None for p in nets["b"].parameters())


def test_after_step_sees_and_changes_the_weights_just_made():
    net = new_net()

    def clip():
        with torch.no_grad():
            for p in net.parameters():
                p.clamp_(-0.01, 0.01)

    player = Objective(regression(net), [*net.parameters()], after_step=clip)
    fit(net, [player], budget="20 steps", ema=0.0)
    assert 0 < weights(net).abs().max() <= 0.01


def test_bfloat16_reaches_the_networks_and_not_the_weights():
    net, seen = new_net(), []

    def loss(batch, y, progress, generator):
        out = net["net"](batch[1])
        seen.append(out.dtype)
        return (out.float() - batch[0]).square().mean()

    fit(net, loss, precision="bfloat16", budget="3 steps")
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_betas_may_change_with_progress(monkeypatch):
    seen, step = [], torch.optim.AdamW.step

    def spy(self, closure=None):
        seen.append(self.param_groups[0]["betas"])
        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    net = new_net()
    player = Objective(
        regression(net), [*net.parameters()], betas=lambda progress: (0.0, 0.9 + progress / 20)
    )
    fit(net, [player], budget="4 steps")
    assert seen == [(0.0, 0.9 + p / 20) for p in (0.0, 0.25, 0.5, 0.75)]


@pytest.mark.parametrize(("clip", "same"), [(None, 1.0), (0.01, 0.01), (math.inf, 1e30)])
def test_a_player_may_clip_for_itself(clip, same):
    net = new_net()
    fit(net, [Objective(regression(net), [*net.parameters()], clip=clip)], budget="5 steps")
    assert torch.equal(weights(net), plain(5, clip=same))


def test_named_players_have_their_loss_and_gradient_in_the_history():
    net, other = new_net(), new_net()

    def steep(batch, y, progress, generator):
        return 3 * next(other.parameters()).sum() + 0 * other["net"](batch[1]).sum()

    players = [
        Objective(regression(net), [*net.parameters()], name="plain"),
        Objective(steep, [*other.parameters()], every=2, name="steep"),
    ]
    nets = nn.ModuleDict({"a": net, "b": other})
    history = fit(nets, players, budget="4 steps").history
    first = next(other.parameters())
    assert history[0]["steep_gradient"] == pytest.approx(3 * math.sqrt(first.numel()), rel=1e-6)
    assert history[0]["plain_loss"] + history[0]["steep_loss"] == pytest.approx(history[0]["loss"])
    assert history[1]["plain_loss"] == history[1]["loss"]
    assert "steep_loss" not in history[1]  # not due at this step
    unnamed = fit(new_net(), budget="2 steps").history[0]
    assert not any(key.endswith("gradient") for key in unnamed)


def test_what_is_observed_stands_in_every_record():
    net, count = new_net(), itertools.count(1)
    history = fit(net, budget="5 steps", observe=lambda: {"seen": float(next(count))}).history
    assert [line["seen"] for line in history] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert "more" not in history[0]


# --- what is not finite -----------------------------------------------------------------------


def broken(net, bad_steps, how):
    r"""A regression whose loss or gradient is not finite at some steps; records the weights."""
    seen, steps = [], itertools.count()

    def loss(batch, y, progress, generator):
        seen.append(weights(net))
        value = regression(net)(batch, y, progress, generator)
        if next(steps) not in bad_steps:
            return value
        if how == "gradient":  # a finite value whose slope is 0 · ∞
            return value + (0 * net["net"][0].weight).abs().sqrt().sum()
        return value * (torch.nan if how == "nan" else torch.inf)

    return loss, seen


@pytest.mark.parametrize("how", ["nan", "inf", "gradient"])
def test_a_step_that_is_not_finite_is_skipped_and_training_goes_on(how):
    net = new_net()
    loss, seen = broken(net, {4, 5, 9}, how)
    after = []
    player = Objective(loss, [*net.parameters()], after_step=lambda: after.append(len(seen)))
    outcome = fit(net, [player], budget="20 steps")
    assert outcome.status == "ok" and outcome.n_steps == 20
    assert after == [k + 1 for k in range(20) if k not in {4, 5, 9}]
    for k in range(19):
        assert torch.equal(seen[k], seen[k + 1]) == (k in {4, 5, 9})
    assert weights(net).isfinite().all()
    assert all(math.isfinite(line["loss"]) for line in outcome.history)


@pytest.mark.parametrize("how", ["nan", "inf", "gradient"])
def test_ten_in_a_row_end_as_diverged_with_the_first_weights(how):
    net = new_net()
    loss, _ = broken(net, range(100), how)
    outcome = fit(net, loss)
    assert outcome.status == "diverged" and outcome.n_steps == 10
    assert "10 steps in a row" in outcome.reason
    assert torch.equal(weights(net), weights(new_net()))


def test_diverging_later_keeps_the_average_of_the_sound_steps():
    net = new_net()
    loss, _ = broken(net, range(25, 100), "nan")
    outcome = fit(net, loss, budget="60 steps")
    assert outcome.status == "diverged" and outcome.n_steps == 35
    assert torch.equal(weights(net), plain(60, stop=25))


def test_nine_in_a_row_are_forgiven():
    net = new_net()
    loss, _ = broken(net, {*range(5, 14), *range(15, 24)}, "nan")
    outcome = fit(net, loss)
    assert outcome.status == "ok" and outcome.n_steps == 30


def test_one_player_that_is_not_finite_does_not_stop_the_other():
    nets = nn.ModuleDict({"a": new_net(), "b": new_net()})
    bad, seen = broken(nets["a"], {3}, "nan")
    good, seen_b = broken(nets["b"], set(), "nan")
    players = [
        Objective(bad, [*nets["a"].parameters()]),
        Objective(good, [*nets["b"].parameters()]),
    ]
    assert fit(nets, players, budget="8 steps").status == "ok"
    assert torch.equal(seen[3], seen[4]) and not torch.equal(seen_b[3], seen_b[4])


# --- the clock --------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [0.0, 0.05])
def test_a_budget_in_seconds_is_never_overrun_by_more_than_a_step(check):
    net, begun = new_net(), []

    def loss(batch, y, progress, generator):
        begun.append(time.monotonic())
        time.sleep(0.01)
        return regression(net)(batch, y, progress, generator)

    def validate(_):
        time.sleep(check)
        return 1.0

    start = time.monotonic()
    outcome = fit(net, loss, budget="0.6s", validate=validate)
    spent = time.monotonic() - start
    step = max(np.diff(begun))
    assert spent <= 1.05 * 0.6 + step + check
    assert outcome.seconds <= spent
    assert outcome.n_steps >= 5 and outcome.seconds > 0.3
    progress = [line["progress"] for line in outcome.history]
    assert progress == sorted(progress) and progress[-1] <= 1


@pytest.mark.parametrize("check", [0.0, 0.05, 0.2])
def test_a_budget_in_seconds_leaves_time_for_the_last_check(monkeypatch, check):
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    net, progress = new_net(), []

    def loss(batch, y, share, generator):
        now[0] += 0.01
        progress.append(share)
        return regression(net)(batch, y, share, generator)

    def validate(_):
        now[0] += check
        return -now[0]

    outcome = fit(net, loss, budget="10s", validate=validate)
    assert outcome.seconds == pytest.approx(now[0])
    assert 0.95 * 10 <= outcome.seconds <= 10 + 0.011  # one step
    assert progress[0] == 0 and progress == sorted(progress)
    assert outcome.history[-1]["learning_rate"] < 1e-4


def test_time_before_training_counts():
    net = new_net()
    clock = Clock(Budget(0.2, "seconds"), None)
    clock.born -= 10
    outcome = train(
        net,
        [Objective(regression(net), [*net.parameters()])],
        Rows(),
        clock,
        Settings(batch_size=8, learning_rate=1e-2),
        prepare=noisy,
        validate=lambda _: 0.0,
    )
    assert outcome.n_steps == 1 and outcome.seconds > 10


# --- what is kept -----------------------------------------------------------------------------


def test_validation_judges_averages_and_chooses_the_best():
    net, seen, values = new_net(), [], iter([5.0, 3.0, 1.0, 2.0, math.nan, *[4.0] * 100])
    live = []

    def validate(_):
        seen.append(weights(net))
        return next(values)

    def loss(batch, y, progress, generator):
        live.append(weights(net))
        return regression(net)(batch, y, progress, generator)

    outcome = fit(net, loss, budget="200 steps", validate=validate)
    assert torch.equal(weights(net), seen[2])
    assert 18 <= len(seen) <= 21
    assert not any(torch.equal(s, w) for s in seen for w in live)
    judged = [line["validation"] for line in outcome.history if line["validation"] is not None]
    assert judged[:4] == [5.0, 3.0, 1.0, 2.0] and len(judged) == len(seen)


def test_validation_does_not_disturb_training():
    net, other = new_net(), new_net()
    fit(net, validate=lambda _: 0.0, budget="100 steps")
    fit(other, budget="100 steps")
    assert torch.equal(weights(net), weights(other))


@pytest.mark.parametrize("steps", [1, 3, 20, 100, 130, 200])
def test_the_last_average_is_judged_whatever_the_number_of_steps(steps):
    net, judged = new_net(), []

    def validate(_):
        judged.append(weights(net))
        return -float(len(judged))

    outcome = fit(net, budget=f"{steps} steps", validate=validate)
    assert torch.equal(weights(net), plain(steps))
    assert outcome.history[-1]["step"] == steps and outcome.history[-1]["progress"] == 1
    assert outcome.history[-1]["validation"] == -float(len(judged))


def test_history_has_about_a_hundred_records_and_callbacks_see_them_all():
    seen, losses = [], []

    def loss(batch, y, progress, generator):
        value = regression(net)(batch, y, progress, generator)
        losses.append(value.item())
        return value

    net = new_net()
    outcome = fit(net, loss, budget="400 steps", callbacks=[seen.append])
    assert [record.to_dict() for record in seen] == outcome.history
    assert 80 <= len(seen) <= 101
    steps = [0, *(record.step for record in seen)]
    assert steps == sorted(set(steps)) and steps[-1] == 400
    for (low, high), record in zip(itertools.pairwise(steps), seen, strict=True):
        assert record.loss == pytest.approx(np.mean(losses[low:high]), rel=1e-12)


def test_the_losses_of_several_players_are_summed():
    net = nn.ModuleDict({"a": nn.Linear(3, 1), "b": nn.Linear(3, 1)})
    players = [
        Objective(lambda *_: 2 + 0 * net["a"].weight.sum(), [*net["a"].parameters()][:1]),
        Objective(lambda *_: 5 + 0 * net["b"].weight.sum(), [*net["b"].parameters()][:1]),
    ]
    assert {line["loss"] for line in fit(net, players).history} == {7.0}


# --- threads and signals ----------------------------------------------------------------------


def test_rows_are_prepared_one_batch_ahead_in_a_thread():
    threads, behind = set(), []

    class Watched(Rows):
        def take(self, index, rng):
            threads.add(threading.current_thread())
            return super().take(index, rng)

    rows, net = Watched(), new_net()

    def loss(batch, y, progress, generator):
        behind.append(len(rows.taken) - len(behind))
        return regression(net)(batch, y, progress, generator)

    fit(net, loss, rows=rows)
    assert threading.current_thread() not in threads and len(threads) == 1
    assert not any(thread.is_alive() for thread in threads)
    assert max(behind) <= 2


@pytest.mark.parametrize("where", ["rows", "loss", "callback", "validate"])
def test_an_error_anywhere_comes_out_and_leaves_no_thread(where):
    def fail(*_):
        raise ZeroDivisionError(where)

    rows, net, before = Rows(), new_net(), threading.active_count()
    if where == "rows":
        rows.take = fail
    with pytest.raises(ZeroDivisionError, match=where):
        fit(
            net,
            fail if where == "loss" else None,
            rows=rows,
            callbacks=[fail] if where == "callback" else (),
            validate=fail if where == "validate" else None,
        )
    assert threading.active_count() == before


@pytest.fixture
def interruptible():
    r"""Give the test Python's own handler; a background job may have inherited another."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


def interrupting(net, at, times=1):
    done = []

    def loss(batch, y, progress, generator):
        value = regression(net)(batch, y, progress, generator)
        if len(done) == at:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        done.append(progress)
        return value

    return loss, done


@pytest.mark.parametrize("at", [0, 2, 6, 29])
def test_ctrl_c_lets_the_step_end_keeps_the_weights_and_is_delivered_later(interruptible, at):
    net = new_net()
    loss, done = interrupting(net, at)
    outcome = fit(net, loss, budget="100 steps")
    assert outcome.n_steps == len(done) == at + 1
    assert outcome.status == "ok" and outcome.interrupts.received == signal.SIGINT
    assert torch.equal(weights(net), plain(100, stop=at + 1))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        outcome.interrupts.again()


def test_a_second_ctrl_c_acts_at_once(interruptible):
    net = new_net()
    loss, done = interrupting(net, 3, times=2)
    with pytest.raises(KeyboardInterrupt):
        fit(net, loss)
    assert len(done) == 3 and weights(net).isfinite().all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_training_in_a_thread_installs_no_handler(interruptible):
    seen, net = [], new_net()

    def loss(batch, y, progress, generator):
        seen.append(signal.getsignal(signal.SIGINT))
        return regression(net)(batch, y, progress, generator)

    thread = threading.Thread(target=fit, args=(net, loss), kwargs={"budget": "3 steps"})
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler] * 3


def test_a_fit_is_checked_at_twentieths_of_the_budget_and_ten_steps_apart():
    def checks(steps):
        history = fit(new_net(), budget=f"{steps} steps", validate=lambda _: 1.0).history
        return [line["step"] for line in history if line["validation"] is not None]

    assert checks(31) == [2, 12, 22, 31]
    many = checks(400)
    assert 15 <= len(many) <= 20 and np.diff([0, *many])[:-1].min() >= 20


def test_a_slow_validation_is_not_done_twice_for_the_same_weights(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def loss(batch, y, progress, generator):
        now[0] += 1.0
        return regression(net)(batch, y, progress, generator)

    def validate(_):
        now[0] += 5.0
        return 1.0

    net = new_net()
    outcome = fit(net, loss, budget="10s", validate=validate)
    # A second step would leave no time to judge it.
    assert (outcome.n_steps, outcome.seconds) == (1, 6.0)
    assert outcome.history[-1]["validation"] == 1.0
