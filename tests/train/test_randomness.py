"""Streams without state: what each draw depends on, its distribution, and that it never changes between versions."""

import numpy as np
import pytest
import torch
from scipy import stats

from tinyablate.train import randomness
from tinyablate.train.randomness import (
    batch_random,
    epoch_order,
    image_hash,
    image_uniform,
    pixel_noise,
    stream_key,
    table_uniform,
)

KEY = stream_key(0, "hflip", 1)
MANY = np.arange(100_000)


def test_the_hash_is_splitmix64() -> None:
    """All three implementations give the published output of splitmix64 for the state 1234567."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    states = [1234567 + step * randomness._GAMMA & (1 << 64) - 1 for step in (1, 2, 3)]
    assert [randomness._mix_int(state) for state in states] == expected
    assert randomness._mix(np.array(states, dtype=np.uint64)).tolist() == expected
    signed = torch.tensor([randomness._signed(state) for state in states])
    assert randomness._torch_mix(signed).numpy().view(np.uint64).tolist() == expected


def test_draws_never_change() -> None:
    """Pinned values of every stream: stored trials stay comparable only as long as these hold."""
    ids = np.array([0, 1, 99_999])
    assert stream_key(7, "mix", 3, 11) == 0x31EEDEE7B818BBBD
    assert image_hash(KEY, ids, 2, 1).tolist() == [0xBE70D18B04D82023, 0x6BAB344DD207D2F3, 0xFDC9DB91DAFB1A70]
    assert image_uniform(KEY, ids, 2, 1).tolist() == [0.7439089741136233, 0.420581120490197, 0.9913613539783735]
    assert epoch_order(0, 1, 12).tolist() == [5, 7, 0, 9, 1, 4, 3, 2, 8, 10, 6, 11]
    assert batch_random(0, "mix", 1, 5).randint(0, 1000, 4).tolist() == [85, 968, 804, 627]
    assert batch_random(0, "mix", 1, 5).beta(0.8, 0.8) == pytest.approx(0.34307490840496935, rel=1e-14)
    noise = pixel_noise(stream_key(0, "n", 1), torch.tensor([5]), (3,))
    assert noise.tolist()[0] == pytest.approx([0.2556535303592682, -0.4884847998619079, 1.388024568557739], rel=1e-5)
    rows = np.array([1, 2**63], dtype=np.uint64)
    assert table_uniform(stream_key(0, "drop-path", 1), rows, 1).ravel().tolist() == [
        0.5671383228322864,
        0.5884489672266823,
    ]


def test_a_stream_key_depends_on_each_of_its_parts() -> None:
    """Seed, stream and every index give keys of their own, and digits do not run into one another."""
    keys = {stream_key(0, "mix", 1, 11), stream_key(1, "mix", 1, 11), stream_key(0, "erase", 1, 11)}
    keys |= {stream_key(0, "mix", 11, 1), stream_key(0, "mix", 111), stream_key(0, "mix1", 11), stream_key(0, "mix")}
    assert len(keys) == 7
    assert all(0 <= key < 1 << 64 for key in keys)


def test_an_images_draw_depends_on_no_other_image() -> None:
    """The draws of a few images, in any order and shape, are those that they have among all."""
    everyone = image_uniform(KEY, MANY)
    chosen = np.array([[70_000, 3], [3, 99_999]])
    assert (image_uniform(KEY, chosen) == everyone[chosen]).all()


def test_uniform_draws_are_uniform_and_independent() -> None:
    """Draws, repeats, epochs and neighbouring images are uniform in [0, 1) and uncorrelated."""
    streams = [
        image_uniform(KEY, MANY),
        image_uniform(KEY, MANY, draw=1),
        image_uniform(KEY, MANY, repeat=1),
        image_uniform(stream_key(0, "hflip", 2), MANY),
        np.roll(image_uniform(KEY, MANY), 1),
        table_uniform(KEY, np.arange(100, dtype=np.uint64), 1000).ravel(),
        table_uniform(KEY, np.arange(1000, dtype=np.uint64), 100).T.ravel(),
    ]
    for stream in streams:
        assert 0 <= stream.min() < 1e-3
        assert 1 - 1e-3 < stream.max() < 1
        assert stats.kstest(stream, "uniform").pvalue > 1e-4
    correlations = np.corrcoef(streams)[np.triu_indices(len(streams), 1)]
    assert abs(correlations).max() < 0.016  # five standard errors of 100,000 draws


def test_a_table_row_depends_on_no_other_row_or_column() -> None:
    """A row's draws are the same alone, among others, and in a wider table."""
    rows = np.array([11, 12, 13], dtype=np.uint64)
    assert (table_uniform(KEY, rows, 9)[1:2, :4] == table_uniform(KEY, rows[1:2], 4)).all()


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own() -> None:
    """The order is a permutation that depends on seed and epoch."""
    order = epoch_order(3, 1, 1000)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(1000))
    assert (order == epoch_order(3, 1, 1000)).all()
    for other in (epoch_order(3, 2, 1000), epoch_order(4, 1, 1000), np.arange(1000)):
        assert abs(stats.spearmanr(order, other).statistic) < 0.16


def test_a_part_of_the_set_keeps_its_order() -> None:
    """With fewer images, those that remain follow one another as before."""
    order = epoch_order(0, 1, 1000)
    assert (order[order < 300] == epoch_order(0, 1, 300)).all()


def test_a_batch_has_a_generator_of_its_own() -> None:
    """The generator depends on seed, stream, epoch and step, and not on numpy's global state."""
    first = batch_random(0, "mix", 1, 2).random_sample()
    np.random.seed(5)
    assert batch_random(0, "mix", 1, 2).random_sample() == first
    others = {(1, "mix", 1, 2), (0, "x", 1, 2), (0, "mix", 2, 2), (0, "mix", 1, 3), (0, "mix", 2, 1)}
    assert len({batch_random(*key).random_sample() for key in others} | {first}) == 6


def test_pixel_noise_is_standard_normal() -> None:
    """Noise over many images has the normal distribution, independent between pixels and images."""
    noise = pixel_noise(KEY, torch.arange(50), (3, 32, 32))
    assert noise.dtype == torch.float32
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 1e-4
    flat = noise.reshape(50, -1)
    half = flat.shape[1] // 2  # the pixels whose normals come from one hash
    assert abs(np.corrcoef(flat[:, :half].flatten(), flat[:, half:].flatten())[0, 1]) < 0.02
    assert abs(np.corrcoef(flat.numpy())[np.triu_indices(50, 1)]).max() < 0.1


def test_pixel_noise_depends_on_no_other_image() -> None:
    """An image's noise has the same bits alone, in any batch, and whatever the passes it is computed in."""
    shape = (3, 151, 151)  # more pixels than one pass takes, and an odd number
    together = pixel_noise(KEY, torch.arange(7), shape)
    assert torch.equal(pixel_noise(KEY, torch.tensor([6, 2]), shape), together[[6, 2]])
    small = pixel_noise(KEY, torch.arange(9_000), (3,))
    assert torch.equal(pixel_noise(KEY, torch.tensor([8_999]), (3,))[0], small[8_999])
    assert pixel_noise(KEY, torch.arange(0), (3, 4, 4)).shape == (0, 3, 4, 4)


def test_pixel_noise_starts_where_the_images_hash_is() -> None:
    """torch and numpy agree on every bit of an image's state, so one stream means the same in both."""
    states = randomness._torch_states(KEY, torch.arange(1000)).numpy().view(np.uint64)
    assert (states == image_hash(KEY, np.arange(1000))).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pixel_noise_is_the_same_on_a_gpu() -> None:
    """The integers have the same bits on CPU and CUDA, the noise agrees to rounding."""
    ids = torch.arange(64)
    assert torch.equal(randomness._torch_states(KEY, ids.cuda()).cpu(), randomness._torch_states(KEY, ids))
    there, here = pixel_noise(KEY, ids.cuda(), (3, 65, 65)).cpu(), pixel_noise(KEY, ids, (3, 65, 65))
    torch.testing.assert_close(there, here, rtol=1e-5, atol=2e-6)
