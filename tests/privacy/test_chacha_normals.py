"""The fast normals beside slow ones: ChaCha by its definition, Box-Muller in float64, and the normal law."""

import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray
from scipy import stats

from accord.core.streams import stream
from accord.privacy.chacha_normals import NO_GRIDS, add_normals, box_muller, chacha8, compile_cached, key_of

WORD = 2**32


def naive_block(key: list[int], tensor: int, count: int) -> list[int]:
    """Bernstein 2008, section 3, with 8 rounds."""
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key, count, 0, tensor, 0]
    x = list(start)

    def add_turn(a: int, b: int, d: int, by: int) -> None:
        x[a] = (x[a] + x[b]) % WORD
        turned = x[d] ^ x[a]
        x[d] = (turned << by | turned >> (32 - by)) % WORD

    for _ in range(4):
        for column in range(8):
            a, turn = column % 4, column // 4
            b, c, d = (4 * row + (a + turn * row) % 4 for row in (1, 2, 3))
            add_turn(a, b, d, 16)
            add_turn(c, d, b, 12)
            add_turn(a, b, d, 8)
            add_turn(c, d, b, 7)
    return [(one + other) % WORD for one, other in zip(x, start, strict=True)]


def naive_pair(high: int, low: int, turn: int) -> tuple[float, float]:
    u = (high * WORD + low + 0.5) / WORD**2
    log = math.log(u) if u < 0.5 else math.log1p(-(((WORD - 1 - high) * WORD + (WORD - 1 - low) + 0.5) / WORD**2))
    quadrant, part = divmod(turn, WORD // 4)
    part = part - WORD // 4 if part >= WORD // 8 else part
    angle = (quadrant + part / (WORD // 4)) * math.pi / 2
    radius = math.sqrt(-2 * log)
    return radius * math.cos(angle), radius * math.sin(angle)


def words(key: NDArray[np.uint32], tensor: int, first: int, blocks: int) -> NDArray[np.uint32]:
    out = np.zeros((16, blocks), dtype=np.uint32)
    chacha8(key, np.uint32(tensor), np.uint32(first), out, blocks)
    return out


def normals(count: int, key: NDArray[np.uint32], tensor: int = 0) -> NDArray[np.float32]:
    out = np.zeros(count, dtype=np.float32)
    add_normals(key.reshape(1, 8), tensor, 1.0, *NO_GRIDS, out.reshape(1, -1))
    return out


def test_the_published_test_vector() -> None:
    """ChaCha8, a key and a nonce of zeros (draft-strombergson-chacha-test-vectors, TC1)."""
    block = words(np.zeros(8, dtype=np.uint32), 0, 0, 1)[:, 0]
    assert (
        block.astype("<u4")
        .tobytes()
        .hex()
        .startswith("3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e")
    )


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.lists(st.integers(0, WORD - 1), min_size=8, max_size=8), st.integers(0, WORD - 1), st.integers(0, WORD - 40))
def test_the_bits_are_chachas(key: list[int], tensor: int, first: int) -> None:
    found = words(np.array(key, dtype=np.uint32), tensor, first, 37)
    for i in (0, 1, 36):
        assert found[:, i].tolist() == naive_block(key, tensor, first + i)


EDGES = [0, 1, 2**20, 2**29 - 1, 2**29, 2**30 - 1, 2**30, 2**31, 3037000499, 3037000500, 2**32 - 2**29, 2**32 - 1]


@settings(derandomize=True, deadline=None, max_examples=2000)
@given(*(st.one_of(st.sampled_from(EDGES), st.integers(0, WORD - 1)) for _ in range(3)))
def test_each_pair_is_box_mullers(high: int, low: int, turn: int) -> None:
    """Relative to the radius, within a few units of float32's last place, from the tail's end to next to nothing."""
    first, second = np.zeros(1, dtype=np.float32), np.zeros(1, dtype=np.float32)
    u, v, w = (np.array([word], dtype=np.uint32) for word in (high, low, turn))
    box_muller(u, v, w, np.float32(1), first, second)
    expected = naive_pair(high, low, turn)
    bound = 5e-7 * math.hypot(*expected)
    assert abs(first[0] - expected[0]) <= bound
    assert abs(second[0] - expected[1]) <= bound


def test_the_tail_ends_past_nine() -> None:
    first, second = np.zeros(1, dtype=np.float32), np.zeros(1, dtype=np.float32)
    none = np.zeros(1, dtype=np.uint32)
    box_muller(none, none, none, np.float32(1), first, second)
    assert first[0] == pytest.approx(math.sqrt(2 * 65 * math.log(2)), rel=1e-6)
    assert second[0] == 0


def test_the_lower_bits_of_the_tail_are_a_word_of_their_own() -> None:
    """A key, found by trying millions, whose fourth pair lies so far out that u's lower 32 bits show in a float32."""
    key = [1_050_356, 0, 0, 0, 0, 0, 0, 0]
    high, low, turn = naive_block(key, 0, 0)[9:12]
    assert high == 154
    found = normals(10, np.array(key, dtype=np.uint32))
    assert found[6:8].tolist() == pytest.approx(naive_pair(high, low, turn), rel=1e-6)
    assert found[6:8].tolist() != pytest.approx(naive_pair(high, high, turn), rel=1e-5)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(0, 6000), st.floats(-100, 100).filter(lambda x: abs(x) > 1e-3))
def test_every_number_gets_its_own(count: int, scale: float) -> None:
    """Whole tiles, broken ones, and nothing past the end; each normal from words no other has."""
    key = key_of(stream(1, "noise"))
    out = np.ones(count + 3, dtype=np.float32)
    add_normals(key.reshape(1, 8), 2, scale, *NO_GRIDS, out[:count].reshape(1, -1))
    assert (out[count:] == 1).all()
    expected, blocks = [], -(-count // 10)
    for start in range(0, blocks, 256):
        n = min(256, blocks - start)
        block = words(key, 2, start, n)
        for five in range(5):
            pairs = [naive_pair(*(int(word) for word in block[3 * five : 3 * five + 3, i])) for i in range(n)]
            expected += [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
    np.testing.assert_allclose(out[:count], 1 + scale * np.array(expected[:count]), rtol=2e-6, atol=2e-5 * abs(scale))


def test_rows_are_as_if_alone() -> None:
    rng = stream(9, "noise")
    keys = np.stack([key_of(rng) for _ in range(3)])
    out = np.zeros((3, 2571), dtype=np.float32)
    add_normals(keys, 4, -2.0, *NO_GRIDS, out)
    for key, row in zip(keys, out, strict=True):
        np.testing.assert_array_equal(row, -2 * normals(2571, key, 4))


def test_keys_and_tensors_are_independent() -> None:
    rng = stream(3, "noise")
    key, other = key_of(rng), key_of(rng)
    draws = [normals(100_000, key), normals(100_000, key, 1), normals(100_000, other)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(draws[a], draws[b])[0, 1]) < 4 / np.sqrt(100_000)


def test_the_law_is_normal() -> None:
    """Of thirty million draws as many lie beyond each bound as should, on both sides; and their moments."""
    rng = stream(6, "noise")
    bounds = (0.01, 1.0, 2.0, 3.9, 4.0, 5.0, 5.8)
    counts = dict.fromkeys([*bounds, *(-bound for bound in bounds)], 0)
    power = np.zeros(4)
    for _ in range(30):
        draws = normals(1_000_003, key_of(rng)).astype(np.float64)
        for bound in bounds:
            counts[bound] += int((draws > bound).sum())
            counts[-bound] += int((draws < -bound).sum())
        power += [(draws**k).sum() for k in (1, 2, 3, 4)]
    n = 30 * 1_000_003
    for bound, found in counts.items():
        expected = n * float(stats.norm.sf(abs(bound)))
        assert abs(found - expected) < 4 * np.sqrt(expected) + 1, bound
    for moment, mean, spread in zip(power / n, (0, 1, 0, 3), (1, 2, 15, 96), strict=True):
        assert abs(moment - mean) < 4 * math.sqrt(spread / n)


def test_the_law_is_normal_near_nought_and_in_the_tail() -> None:
    rng = stream(7, "noise")
    draws = np.concatenate([normals(1_000_000, key_of(rng)) for _ in range(40)]).astype(np.float64)
    assert stats.kstest(draws[:5_000_000], "norm").pvalue > 0.001
    for side in (draws, -draws):
        far = side[side > 4.0]
        assert stats.kstest(stats.norm.sf(far) / stats.norm.sf(4.0), "uniform").pvalue > 0.001
        near = side[(side >= 0) & (side < 1e-3)]
        assert stats.kstest(near / 1e-3, "uniform").pvalue > 0.001


def test_it_runs_where_nothing_compiled_can_be_kept(tmp_path: Path) -> None:
    """A folder that cannot be written, and no home: compiled for this process alone, and the same bits."""
    code = (
        "import numba.core.caching as c\n"
        "c.CacheImpl._locator_classes = []\n"
        "import numpy as np\n"
        "from accord.privacy.chacha_normals import add_normals\n"
        "x = np.zeros(25, dtype=np.float32)\n"
        "add_normals(np.arange(8, dtype=np.uint32).reshape(1, 8), 0, 1.0, 0.0, 0.0, x.reshape(1, -1))\n"
        "print(x.tobytes().hex())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.strip() == normals(25, np.arange(8, dtype=np.uint32)).tobytes().hex(), done.stderr


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("no locator"),
        OSError("disk full"),
        EOFError(),
        pickle.UnpicklingError("truncated"),
        AttributeError("of another version: Can't get attribute 'Layout'"),
    ],
)
def test_a_kept_kernel_that_cannot_be_read_or_written_is_compiled_for_the_run(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiler(signature: str, *, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise fault
        return njit(signature, **options)

    monkeypatch.setattr("accord.privacy.chacha_normals.njit", compiler)
    assert compile_cached("float64(float64)", lambda x: x + 1)(2.0) == 3.0


@pytest.mark.slow
def test_a_truncated_kernel_on_the_disk_does_not_end_a_run(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", "import accord.privacy.chacha_normals"]
    subprocess.run(command, env=environment, check=True)
    files = list(tmp_path.rglob("*.nbc"))
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:1000])
    subprocess.run(command, env=environment, check=True)
