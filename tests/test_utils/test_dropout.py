import pytest

from mmjoint.utils.dropout import dropout_is_off, without_dropout


def test_nested_and_after_an_error():
    assert not dropout_is_off()
    with without_dropout():
        with without_dropout():
            assert dropout_is_off()
        assert dropout_is_off()
    assert not dropout_is_off()
    with pytest.raises(RuntimeError), without_dropout():
        raise RuntimeError
    assert not dropout_is_off()
