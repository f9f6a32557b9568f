import pytest

from mmjoint.functional.schedules import epoch_at, lagging_epoch, poly_after


def test_values_worked_out_by_hand():
    assert poly_after(0, base=2.0, total_steps=10) == 2.0
    assert poly_after(5, base=2.0, total_steps=10, power=1.0) == 1.0
    assert poly_after(5, base=2.0, total_steps=10, power=2.0) == 0.5
    # Decay from step 4 on, counted from step 3: at 4 one of 7 steps is done.
    after = dict(base=7.0, total_steps=10, change_step=4, power=1.0)
    assert [poly_after(step, **after) for step in (0, 3, 4, 5, 9)] == pytest.approx([7, 7, 6, 5, 1])


def test_the_floor_holds_at_every_step():
    assert poly_after(9.99, base=1.0, total_steps=10, floor=0.2) == 0.2
    assert poly_after(0, base=0.1, total_steps=10, change_step=5, floor=0.2) == 0.2
    assert poly_after(11, base=1.0, total_steps=10) == 0.0


def test_a_change_beyond_the_end_never_decays():
    assert poly_after(9, base=1.0, total_steps=10, change_step=30) == 1.0


def test_nothing_to_decay_over():
    with pytest.raises(ValueError, match='start 10, end 10'):
        poly_after(11, base=1.0, total_steps=10, change_step=11)


def test_late_epochs():
    assert [lagging_epoch(epoch) for epoch in range(4)] == [0, 0, 1, 2]
    assert [lagging_epoch(epoch, lag=2) for epoch in range(4)] == [0, 0, 0, 1]


def test_epoch_of_a_share():
    for total in (1, 3, 7, 301):  # quotients that are not exact
        assert [epoch_at(e / total, total) for e in range(total + 1)] == list(range(total + 1))
    assert epoch_at(0.99, 10) == 9 and epoch_at(0.05, 10) == 0
