"""Which tests of the campaign begin first, so that none of the processes it shares out its tests to is alone with a long one at its end."""

#: From half a minute on a machine with two cores; those that mostly wait stand between those that mostly compute.
LONG = (
    "test_every_posting_comes_to_its_end_and_is_there_once",
    "test_work_goes_on_after_whatever_happens_to_the_broker",
    "test_work_in_turns_for_three_businesses_stays_apart",
    "test_many_processes_stay_within_what_the_provider_allows",
    "test_every_address_answers_everybody_as_expected",
    "test_process_stopped_beyond_its_lease_at_any_point_loses_and_repeats_nothing",
    "test_calls_in_every_trouble_lose_and_repeat_nothing",
    "test_killed_processes_lose_and_repeat_nothing",
    "test_new_release_comes_in_while_the_old_one_works",
    "test_first_sync_of_one_business_does_not_hold_up_another",
    "test_no_address_fails_where_the_simulators_are_gone",
    "test_lost_answers_of_two_ledgers_lose_and_repeat_nothing",
    "test_writes_in_both_directions_cause_no_write_back",
    "test_whatever_happens_to_the_database_loses_and_repeats_nothing",
    "test_worker_paused_right_before_taking_back_takes_nothing_back_twice",
    "test_process_stopped_while_it_writes_to_quickbooks_loses_and_repeats_nothing",
    "test_tokens_are_what_a_plain_model_says",
    "test_process_killed_at_any_point_loses_and_repeats_nothing",
    "test_dump_restored_on_another_server_sends_nothing_again",
)
_PLACES = {name: place for place, name in enumerate(LONG)}


def place_of(test: str) -> int:
    """Those that are not named come after those that are."""
    return _PLACES.get(test, len(LONG))
