"""What the tests of the registry compare: models to the bit, and the numbers of keys."""

import xarray as xr


def numbers(keys):
    return sorted(key.revision for key in keys)


def same(found, model):
    xr.testing.assert_identical(found, model)
    assert {name: found[name].dtype for name in found.data_vars} == {name: model[name].dtype for name in model}
    assert found.attrs.keys() == model.attrs.keys()
    return True
