"""Which unit goes to whom on a cluster, without one."""

from amix.loaders.precompute.scheduler.ray.ledger import Ledger, Member


def member(name: str, node: str) -> Member:
    return Member(name, node=node, where=node, wants=True)


def test_new_units_come_in_order_without_those_that_are_done() -> None:
    one = member("1", "a")
    ledger = Ledger([one], {0, 2})
    assert ledger.next_for(one) == 1
    one.wants = True
    assert ledger.next_for(one) == 3
    ledger.end()
    for unit in (1, 3):
        assert not ledger.is_finished
        ledger.came_back(one, unit)
    assert ledger.is_finished
    assert ledger.next_for(one) is None


def test_a_failed_unit_goes_to_another_node_and_has_the_worker_for_itself() -> None:
    one, two, three = members = [member("1", "a"), member("2", "a"), member("3", "b")]
    ledger = Ledger(members, ())
    assert [ledger.next_for(each) for each in members] == [0, 1, 2]
    ledger.failed(one, 0)
    ledger.came_back(one, 0)
    assert ledger.next_for(one) == 3
    assert ledger.next_for(two) == 4
    assert ledger.next_for(three) is None  # it keeps the unit until it has no other
    assert three.kept == 0
    ledger.came_back(three, 2)
    assert ledger.next_for(three) == 0
    assert three.alone


def test_a_unit_that_has_been_on_every_node_goes_to_another_worker_and_then_to_any() -> None:
    one, two = members = [member("1", "a"), member("2", "a")]
    ledger = Ledger(members, ())
    assert ledger.next_for(one) == 0
    ledger.failed(one, 0)
    ledger.came_back(one, 0)
    assert ledger.next_for(one) == 1
    assert ledger.next_for(two) == 0
    assert len(ledger.failed(two, 0)) == 2
    ledger.came_back(two, 0)
    assert ledger.next_for(two) == 0


def test_a_lost_worker_gives_up_the_unit_that_it_keeps() -> None:
    one, two = members = [member("1", "a"), member("2", "b")]
    ledger = Ledger(members, ())
    assert [ledger.next_for(each) for each in members] == [0, 1]
    ledger.failed(one, 0)
    ledger.came_back(one, 0)
    assert ledger.next_for(two) is None
    ledger.failed(two, 1)
    ledger.came_back(two, 1)
    ledger.lost(two)
    ledger.end()
    assert two.kept is None
    for unit in (1, 0):
        assert not ledger.is_finished
        assert ledger.next_for(one) == unit
        assert ledger.next_for(one) is None
        ledger.came_back(one, unit)
    assert ledger.is_finished


def test_there_is_an_end_only_when_no_unit_is_out() -> None:
    one, two = members = [member("1", "a"), member("2", "b")]
    ledger = Ledger(members, ())
    assert [ledger.next_for(each) for each in members] == [0, 1]
    ledger.came_back(two, 1)
    ledger.end()
    ledger.failed(one, 0)
    ledger.came_back(one, 0)
    assert not ledger.is_finished
    assert ledger.next_for(two) == 0
    ledger.came_back(two, 0)
    assert ledger.is_finished
