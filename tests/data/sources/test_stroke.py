import numpy as np

from accord.data.sources.stroke import stroke_groups


def test_heavy_is_above_the_training_median() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.integers(256, size=(101, 4, 4)), rng.integers(256, size=(30, 4, 4))
    columns = stroke_groups(train, test)
    threshold = sorted(image.sum() for image in train)[50]
    for images, column in zip((train, test), columns, strict=True):
        assert column.names == ("light", "heavy")
        assert column.codes.tolist() == [int(image.sum() > threshold) for image in images]


def test_sums_of_bytes_do_not_wrap_around() -> None:
    images = np.full((3, 28, 28), 255, dtype=np.uint8)
    images[0] = 1
    assert stroke_groups(images, images)[0].codes.tolist() == [0, 0, 0]
    assert stroke_groups(images[:1], images)[1].codes.tolist() == [0, 1, 1]
