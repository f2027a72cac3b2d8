import pytest

from transferflow.spec.sections.normalization import adapt_statistics

RGB = ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))


def test_as_many_values_as_channels_stay():
    assert adapt_statistics(*RGB, 3) == RGB


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_any_other_number_is_averaged(channels):
    mean, std = adapt_statistics(*RGB, channels)
    assert mean == pytest.approx((0.5,) * channels)
    assert std == pytest.approx((0.2,) * channels)


def test_one_value_stands_for_all():
    assert adapt_statistics((0.5,), (0.25,), 3) == ((0.5,) * 3, (0.25,) * 3)
