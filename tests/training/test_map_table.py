"""The choice of a size by the table of many maps."""

import pandas as pd
import pytest

from som_dask.errors import ParameterError
from som_dask.training.map_table import choose_size


def test_the_smallest_size_within_one_standard_error_of_the_best_is_chosen():
    table = pd.DataFrame(
        [
            (size, size, error)
            for size, errors in ((4, (1.5, 1.6)), (6, (1.04, 1.08)), (8, (0.9, 1.1)), (9, (1.2, 1.0)))
            for error in errors
        ],
        columns=["rows", "cols", "held_out_quantization_error"],
    )
    assert choose_size(table) == (6, 6)  # 1.06 is within 1.0 + 0.1
    table["held_out_quantization_error"] **= 3
    assert choose_size(table[table["rows"] != 6]) == (8, 8)
    assert choose_size(table.groupby("rows").head(1)) == (8, 8)
    with pytest.raises(ParameterError, match="`holdout`"):
        choose_size(table.drop(columns="held_out_quantization_error"))
