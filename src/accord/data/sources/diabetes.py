"""`diabetes`: scikit-learn's bundled diabetes patients (Efron, Hastie, Johnstone and Tibshirani 2004), 442 rows.

Rows are scaled by ranges that adults' measurements can be expected in, fixed here. These ranges were not read off the
rows, as scikit-learn's own scaled columns are. Under privacy that would be a release nobody accounted for.
"""

from collections.abc import Mapping

import numpy as np
import torch

from accord.config.data import DiabetesData
from accord.core.errors import DataError
from accord.data.feature_columns import NumberColumn
from accord.data.federated import DataSet, GroupColumn, Rows, Table
from accord.data.preprocessing import Preprocessing, TableInput
from accord.data.sources.base import Facts, Source
from accord.data.sources.target import scaled_target

RANGES: Mapping[str, tuple[float, float]] = {
    "age": (0, 100),
    "bmi": (10, 50),
    "bp": (50, 150),
    "s1": (80, 320),
    "s2": (20, 260),
    "s3": (10, 110),
    "s4": (1, 10),
    "s5": (2, 7),
    "s6": (50, 150),
}
"""The values that become -1 and 1. The columns are age in years, body mass index, mean blood pressure (mm Hg), total
cholesterol, LDL and HDL (mg/dl), total cholesterol by HDL, logarithm of triglycerides, blood sugar (mg/dl)."""
SEX = ("1", "2")
"""The codes of the published file, which does not say which is which."""
_ABOUT = (
    "442 diabetes patients, bundled with scikit-learn: progression of the disease one year after ten baseline "
    "measurements (Efron, Hastie, Johnstone and Tibshirani 2004, Least Angle Regression)."
)


def load_diabetes(settings: DiabetesData) -> DataSet:
    """Loads the patients, with a fixed cut into training and test rows.

    `x` has shape `[n, 9]` (with `keep_protected` 10, sex as -1 or 1 last), float32, the columns of `RANGES` in order.
    `y` is the progression, 25 to 346, or what `target_range` makes of it. The cut is stratified by sex and depends on
    `test_fraction` only, never on the study's seed. Both parts keep the order of the file. The group column is `sex`.

    Raises:
        DataError: `test_fraction` leaves a part without a row of each sex, or a target is outside of its range.
    """
    # Imported here: it takes as long as torch, and studies of other data never need it.
    from sklearn.datasets import load_diabetes as bundled
    from sklearn.model_selection import train_test_split

    source = bundled(scaled=False)
    columns = dict(zip(source.feature_names, source.data.T, strict=True))
    # The file's codes are 1 and 2.
    sex = columns["sex"].astype(np.int64) - 1
    try:
        train, test = train_test_split(
            np.arange(len(sex)), test_size=settings.test_fraction, stratify=sex, random_state=0
        )
    except ValueError as error:
        raise DataError(
            f"data.test_fraction: {settings.test_fraction} leaves training or test rows without a row of each sex; "
            "choose it between 0.01 and 0.99"
        ) from error
    features = [2 * (columns[name] - low) / (high - low) - 1 for name, (low, high) in RANGES.items()]
    if settings.keep_protected:
        features.append(2.0 * sex - 1)
    x = np.stack(features, axis=1).astype(np.float32)
    every = np.arange(len(sex))
    # Over all rows before the cut: the range is the study's, so nothing is read off either part.
    y = scaled_target(source.target, settings.target_range, every, lambda row: f"data diabetes: row {row}: progression")

    def table(rows: Rows) -> Table:
        groups = {"sex": GroupColumn(sex[rows], SEX)}
        return Table(torch.from_numpy(x[rows]), torch.from_numpy(y[rows]), groups)

    # The same map as of the training rows above, for rows that come later.
    inputs = [NumberColumn(name, bounds, (-1.0, 1.0), outside="extend") for name, bounds in RANGES.items()]
    if settings.keep_protected:
        inputs.append(NumberColumn("sex", (1.0, 2.0), (-1.0, 1.0)))
    others = ("progression",) if settings.keep_protected else ("progression", "sex")
    bounds = settings.target_range
    preprocessing = Preprocessing(
        TableInput(tuple(inputs), others), (), "progression", (bounds[0], bounds[1]) if bounds else None
    )
    return DataSet("diabetes", table(np.sort(train)), table(np.sort(test)), (), _ABOUT, preprocessing=preprocessing)


SOURCE = Source(
    DiabetesData,
    lambda settings, seed: load_diabetes(settings),
    Facts(
        "diabetes",
        "Progression of diabetes a year after ten measurements (Efron, Hastie, Johnstone and Tibshirani 2004)",
        "not stated",
        "353 + 89",
        "9",
        "a number",
        "sex",
        "nothing to get: bundled with scikit-learn",
    ),
)
