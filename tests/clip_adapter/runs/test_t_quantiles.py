import numpy as np
from scipy import stats

from clip_adapter.runs.t_quantiles import T_975


def test_the_stored_quantiles_are_those_of_scipy() -> None:
    expected = stats.t.ppf(0.975, df=np.arange(1, len(T_975) + 1))
    np.testing.assert_allclose(T_975, expected, rtol=1e-12)
