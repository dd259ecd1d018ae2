"""Makes the resilience report: for each fault that bookstore must survive, what a run of the fault tests found.

``pytest tests/faults --long --report FILE`` writes the run down, ``python -m ci.resilience FILE …`` makes the page.
What must hold, by which tests and against which mutations, is told once, here.
"""

from __future__ import annotations

import argparse
import json
import re
import string
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent

#: Where the tests are, for whoever runs one.
FOLDER: Final = "tests/faults/"

#: What is made.
PAGE: Final = ROOT / "docs" / "explanation" / "_resilience-rows.md"

HELD, FAILED, PARTLY, NOT_RUN = "held", "**did not hold**", "held as far as run", "**not run**"


#: Figures that count what must never be: any of it is a bar that was missed, whatever became of the test.
MUST_BE_ZERO: Final = ("violations", "lost", "torn", "double", "disorder", "uploaded")


class BrokenReport(Exception):
    """A line of a report is not what the fault tests write."""


@dataclass(frozen=True)
class Proof:
    """One test of a row, and how its figures are told.

    Attributes
    ----------
    says : str
        A sentence with a field for each figure: ``{saves:sum}`` adds what all cases counted; ``min``, ``max``,
        ``range``, ``count`` and ``list`` do what they are called. What stands in brackets is left out where a figure
        is older than it. Without a sentence, the figures are listed by name.
    short, long : str
        The test's two forms, as ``file.py::function``; empty where there is only one.
    """

    says: str
    short: str = ""
    long: str = ""


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes
    ----------
    name : str
        As the tests report it, and as the design has it; one that tests add to after a colon is an example of it.
    bar : str
        What must hold.
    done : str
        What the tests do.
    proofs : tuple of Proof
    mutations : Mapping of str to str
        A test that breaks the product and sees the row's check fail, as ``file.py::function[case]``, by what it breaks.
    is_of_design : bool
        Whether the design asks for it; the others were added.
    """

    name: str
    bar: str
    done: str
    proofs: tuple[Proof, ...]
    mutations: Mapping[str, str]
    is_of_design: bool = True


# One function has both forms.
_DECODER: Final = "test_fuzz.py::test_the_decoder_takes_nothing_but_whole_entries"
_ANSWERS: Final = "test_fuzz.py::test_whatever_s3_answers_a_call_gives_a_value_or_an_error_of_the_store"
_BODIES: Final = "test_fuzz.py::test_whatever_a_client_sends_the_answer_says_what_was_wrong"

ROWS: Final = (
    Row(
        "kill -9 of the server at random points while saving",
        "200 kills, 10,000 acknowledged saves, 0 lost, 0 torn, 0 twice in the history, order kept",
        "Clients save to a real Jupyter server, which is ended with SIGKILL at random moments, while it starts too, "
        "and started again. In the end every acknowledged save is compared with the bucket.",
        (
            Proof(
                "{kills:sum} kills, {killed_at_start:sum} of them during the start; {acknowledged:sum} acknowledged "
                "saves, {unanswered:sum} that were broken off; {lost:sum} lost, {torn:sum} torn, {double:sum} twice, "
                "{disorder:sum} out of order",
                "test_kills.py::test_every_acknowledged_save_survives_kills",
                "test_kills.py::test_every_acknowledged_save_survives_many_kills",
            ),
        ),
        {
            "the answer leaves before the entry is on the disk": (
                "test_kills.py::test_kills_show_what_a_broken_product_does[answers early]"
            ),
            "the entry is removed before the store has answered": (
                "test_kills.py::test_kills_show_what_a_broken_product_does[deletes early]"
            ),
            "what a dead server left is shipped in the opposite order": (
                "test_kills.py::test_kills_show_what_a_broken_product_does[turns the order]"
            ),
            "nobody looks whether the store has it already": (
                "test_kills.py::test_kills_show_what_a_broken_product_does[looks nowhere]"
            ),
        },
    ),
    Row(
        "power loss: every syscall boundary of the outbox",
        "0 lost; the same test without fsync must fail",
        "Every call that changes the outbox is recorded while saves are made and shipped. After each of them the "
        "power is lost: a model of the file system makes the states that a disk may be in then, and a new server "
        "recovers from each.",
        (
            Proof(
                "{boundaries:sum} boundaries, {states:sum} states of the disk; {lost:sum} lost or torn",
                "test_power_loss.py::test_power_loss_at_any_call_loses_nothing",
                "test_power_loss.py::test_power_loss_at_any_call_of_many_stories_loses_nothing",
            ),
            Proof(
                "after one of {calls:sum} calls had failed, with two errors each: {states:sum} states of the disk; "
                "{lost:sum} lost or torn",
                long="test_power_loss.py::test_power_loss_after_any_call_that_failed_loses_nothing",
            ),
        ),
        {
            "no fsync of files": "test_power_loss.py::test_the_check_catches_a_disk_that_is[NoSyncOfFiles]",
            "no fsync of directories": "test_power_loss.py::test_the_check_catches_a_disk_that_is[NoSyncOfDirectories]",
            "no fsync of new directories": (
                "test_power_loss.py::test_the_check_catches_a_disk_that_is[NoSyncOfNewPlaces]"
            ),
            "rename before fsync": "test_power_loss.py::test_the_check_catches_a_disk_that_is[RenamesBeforeSync]",
            "the entry is removed before the store has answered": (
                "test_power_loss.py::test_the_check_catches_deleting_before_the_acknowledgement"
            ),
            "acknowledged before the entry has its name": (
                "test_power_loss.py::test_the_check_catches_acknowledging_before_the_entry_has_its_name"
            ),
        },
    ),
    Row(
        "store down 30 min, 1,000 saves",
        "0 failed saves, p99 of a save ≤ 20 ms above normal at 1 MB, all drained after",
        "Two contents managers take turns, 25 saves at a time: the store of one is up, which tells what is normal; "
        "that of the other refuses connections from its first save to its last. Waits between two tries are a tenth "
        "of the real ones, so that minutes stand for half an hour.",
        (
            Proof(
                "{saves:sum} saves of {bytes:max} bytes with the store down, {failed_saves:sum} failed; 99th "
                "percentile of a save {p99_down_ms:max} ms, with the store up {p99_up_ms:max} ms: "
                "{p99_down_minus_up_ms:max} ms above normal (median {p50_down_ms:max} ms, {p50_up_ms:max} ms)[; held: "
                "the {held_percentile:max}th percentile, {held_minus_up_ms:max} ms above normal, where "
                "{slower_allowed_ms:max} ms are allowed]; all drained after "
                "{drained_after_s:max} s; {violations:sum} violations",
                "test_store_faults.py::test_saves_do_not_notice_an_outage_and_all_arrive_after_it",
                "test_store_faults.py::test_a_thousand_saves_of_a_megabyte_do_not_notice_an_outage",
            ),
        ),
        {
            "a save waits for the store": (
                "test_mutations_outage.py::test_the_check_of_outages_catches_it[a_save_waits_for_the_store-slower than]"
            ),
            "a save fails while the store is away": (
                "test_mutations_outage.py::test_the_check_of_outages_catches_it"
                "[a_save_fails_while_the_store_is_away-saves failed]"
            ),
            "saves are held in memory only": (
                "test_mutations_outage.py::test_the_check_of_outages_catches_it"
                "[everything_is_held_in_memory_only-unprotected]"
            ),
            "the shipper gives up": (
                "test_mutations_outage.py::test_the_check_of_outages_catches_it"
                "[the_shipper_gives_up_when_the_store_is_away-lost]"
            ),
        },
    ),
    Row(
        "50% answers 503 SlowDown; reset; black hole; 1 kB/s; 200 with an error body; answer lost after the PUT; "
        "a PUT that lands late",
        "0 lost, no hang past the timeout, one entry in the history",
        "Saves are shipped through a proxy that does this to requests, then the history of each path is compared with "
        "what was acknowledged. What is late arrives last.",
        (
            Proof(
                "{fault:count} kinds of fault ({fault:list}): {saves:sum} saves, {failed_saves:sum} failed; "
                "{faults:sum} faults struck in {requests:sum} requests, {late:sum} PUTs landed after all was over; "
                "longest attempt {longest_attempt_s:max} s, where the product gives one up after {attempt_limit_s:max} "
                "s[ and the check allows {attempt_allowed_s:max} s]; {violations:sum} violations",
                "test_store_faults.py::test_nothing_is_lost_or_double_whatever_the_store_answers",
                "test_store_faults.py::test_nothing_is_lost_or_double_in_many_saves",
            ),
        ),
        {
            "an error in a 200 passes for success": (
                "test_mutations_store.py::test_the_check_of_faults_catches_it"
                "[an_error_in_a_200_passes_for_success-200 with an error body-lost]"
            ),
            "nobody looks for what may be stored already": (
                "test_mutations_store.py::test_the_check_of_faults_catches_it"
                "[nobody_looks_for_what_may_be_stored_already-answer lost after the PUT-a second time]"
            ),
            "writes have no condition": (
                "test_mutations_store.py::test_the_check_of_faults_catches_it"
                "[writes_have_no_condition-late after the second PUT-a second time]"
            ),
            "a save is skipped while its path is locked": (
                "test_mutations_store.py::test_the_check_of_faults_catches_it"
                "[a_save_is_skipped_while_its_path_is_locked-some answers take long-lost]"
            ),
            "the order of a path's lock is dropped": (
                "test_mutations_store.py::test_the_check_of_faults_catches_it"
                "[saves_are_shipped_without_their_paths_lock-some answers take long-out of order]"
            ),
            "an entry is removed before it is shipped": (
                "test_mutations_store.py::test_the_check_of_faults_catches_it"
                "[an_entry_is_removed_before_it_is_shipped-503 SlowDown-lost]"
            ),
            "no jitter": (
                "test_mutations_store.py::test_the_check_of_waits_catches_that_jitter_is_off[backoff-product_waits]"
            ),
            "no jitter in slow retries": (
                "test_mutations_store.py::test_the_check_of_waits_catches_that_jitter_is_off"
                "[slow_retry-product_waits_slowly]"
            ),
        },
    ),
    Row(
        "ENOSPC, EIO, read-only at each outbox syscall",
        "typed error, visible within 1 s, no partial entry, recovers without restart",
        "From each call of the outbox on, in a run of its own, the disk fails, until it is mended; and at each call "
        "once.",
        (
            Proof(
                "{calls:max} calls, {runs:sum} runs; visible after {visible_after:max} s at most; {lost:sum} lost",
                "test_disk_faults.py::test_a_disk_that_fails_at_any_call_is_told_and_recovers",
                "test_disk_faults.py::test_a_disk_that_fails_in_any_way_at_any_call_is_told_and_recovers",
            ),
        ),
        {
            "trouble is not told": (
                "test_disk_faults.py::test_the_check_catches_a_product_that[_hides_trouble-free_bytes]"
            ),
            "what the disk refuses is dropped": (
                "test_disk_faults.py::test_the_check_catches_a_product_that[_drops_what_the_disk_refuses-rename]"
            ),
            "errors are the system's own": (
                "test_disk_faults.py::test_the_check_catches_a_product_that[_tells_the_system_s_own_errors-write]"
            ),
        },
    ),
    Row(
        "clock set back or forward",
        "order kept",
        "The clock jumps before each save of two servers, of which the first is killed with some of its saves in the "
        "bucket.",
        (
            Proof(
                "{offsets_in_hours:count} ways to jump; order {order:list}, {double:sum} twice",
                "test_disk_faults.py::test_a_clock_that_jumps_does_not_change_the_order",
            ),
        ),
        {"entries are in the order of the clock": "test_disk_faults.py::test_the_check_catches_an_order_by_the_clock"},
    ),
    Row(
        "wrong, expired, rotated credentials",
        "shown ≤ 10 s, picked up without restart, 0 lost",
        "The store rejects the credentials while saves go on, then the file that they are read from gets new ones.",
        (
            Proof(
                "{case:list}: {saves:sum} saves; shown after {shown_after_s:max} s at most, new ones in use after "
                "{taken_up_after_s:max} s at most (waits between two tries: {pace_of_retries:max} of the real ones); "
                "{violations:sum} violations",
                "test_store_faults.py::test_rejected_credentials_are_shown_and_new_ones_taken_up",
                "test_store_faults.py::test_rejected_credentials_are_retried_at_the_real_pace",
            ),
            Proof(
                "{case:list}: shown after {shown_after_s:max} s",
                "test_store_faults.py::test_wrong_credentials_are_shown_before_anybody_saves",
            ),
        ),
        {
            "credentials are never read again": (
                "test_mutations_store.py::test_the_check_of_credentials_catches_that_they_are_never_read_again"
            ),
        },
    ),
    Row(
        "bucket missing, unversioned, versioning suspended while running",
        "named; nothing overwritten but what was in flight",
        "Saves go to such a bucket, which is mended later; and versioning is suspended while saves are shipped.",
        (
            Proof(
                "{case:list}: {saves:sum} saves, named after {shown_after_s:max} s at most; {violations:sum} "
                "violations",
                "test_store_faults.py::test_a_bucket_that_cannot_be_used_is_named_and_left_alone",
            ),
            Proof(
                "{case:list}: {saves:sum} saves, named after {shown_after_s:max} s, {waited:sum} waited until it was "
                "mended, {written_without_version:sum} were written without a version and again later; "
                "{violations:sum} violations",
                "test_store_faults.py::test_suspended_versioning_overwrites_nothing_but_what_was_in_flight",
                "test_store_faults.py::test_suspended_versioning_in_many_saves",
            ),
        ),
        {
            "nobody asks whether the bucket keeps versions": (
                "test_mutations_outage.py::test_the_check_of_unversioned_buckets_catches_that"
                "[nobody_asks_whether_the_bucket_keeps_versions-written although]"
            ),
            "versions do not matter at all": (
                "test_mutations_outage.py::test_the_check_of_unversioned_buckets_catches_that"
                "[versions_do_not_matter_at_all-lost]"
            ),
            "the first null version is ignored": (
                "test_mutations_outage.py::test_the_check_of_suspension_catches_that_the_first_null_version_is_ignored"
            ),
        },
    ),
    Row(
        "two servers, one path, 2 x 500 saves; two servers, one outbox directory (locks off too)",
        "1,000 versions; no entry shipped twice",
        "Real servers save one path at the same time. Three real servers share an outbox while the store is away; "
        "one is killed, and in one of the cases one that lives is taken for dead.",
        (
            Proof(
                "{case:list}: {saves:sum} saves, {versions:sum} versions; {lost_races:sum} times the other server "
                "was faster; {violations:sum} violations",
                "test_two_servers.py::test_two_servers_at_one_path_make_a_version_of_every_save",
                "test_two_servers.py::test_two_servers_at_one_path_make_a_thousand_versions",
            ),
            Proof(
                "{case:list}: {saves:sum} saves, stored by {stored:sum} PUTs; {adoptions:sum} times a server shipped "
                "what another had left; {violations:sum} violations",
                "test_two_servers.py::test_no_entry_of_a_shared_outbox_is_shipped_twice",
                "test_two_servers.py::test_no_entry_of_a_full_outbox_is_shipped_twice",
            ),
        ),
        {
            "a lost race passes for stored": (
                "test_mutations_two_servers.py::test_the_check_of_one_path_catches_a_lost_race_that_passes_for_stored"
            ),
            "two servers ship one entry": (
                "test_mutations_two_servers.py::test_the_check_of_one_outbox_catches_entries_that_two_ship"
            ),
        },
    ),
    Row(
        "a record that can never be stored",
        "set aside with an alarm, its path goes on",
        "The store refuses one save among others for ever.",
        (
            Proof(
                "{set_aside:sum} set aside, alarm: {alarm:list}; {others_stored:sum} others stored",
                "test_disk_faults.py::test_a_save_that_nobody_takes_is_set_aside_and_its_path_goes_on",
            ),
        ),
        {"the path stands still": "test_disk_faults.py::test_the_check_catches_a_path_that_stands_still"},
    ),
    Row(
        "100 MB notebook",
        "event loop blocked ≤ 50 ms by bookstore's own code, memory ≤ 3 times the file",
        "A process of its own saves the notebook with Jupyter's default manager and with archiving, and ships it. "
        "For each step of the event loop the processor time is measured, without the functions of Jupyter that run "
        "there; beside it, how late a tick of the loop came, whatever the reason, but without what other work of the "
        "machine adds: that tells of Jupyter too, so it is judged by its difference to the default manager, which may "
        "be 50 ms, or half of what that one takes if this is more. Memory is the peak of the process above what it "
        "held before. Of several rounds the median of each measure counts, of the ticks the least: what a "
        "program does to its event loop it does in each.",
        (
            Proof(
                "{megabytes:max} MB: longest step of bookstore's on the event loop {busy_ms:max} ms; latest tick "
                "{stall_ms:max} ms, without archiving {stall_without_ms:max} ms[ (a difference of {stall_more_ms:max} "
                "ms, where {stall_more_allowed_ms:max} ms are allowed)]; memory {memory:max} times the file, "
                "without archiving {memory_without:max} times[; {rounds:max} rounds]; {violations:sum} "
                "violations",
                "test_big_notebook.py::test_a_large_notebook_blocks_nobody_and_fits_into_memory",
            ),
        ),
        {
            "it is hashed on the event loop": (
                "test_big_notebook.py::test_the_check_of_a_large_notebook_catches_a_product_that[hashes on the loop]"
            ),
            "it is encoded on the event loop": (
                "test_big_notebook.py::test_the_check_of_a_large_notebook_catches_a_product_that[encodes on the loop]"
            ),
            "the event loop waits for the disk": (
                "test_big_notebook.py::test_the_check_of_a_large_notebook_catches_a_product_that"
                "[waits for the disk on the loop]"
            ),
            "copies are kept": (
                "test_big_notebook.py::test_the_check_of_a_large_notebook_catches_a_product_that[keeps copies]"
            ),
        },
    ),
    Row(
        "10,000 entries queued",
        "start ≤ 2 s more, memory flat, fair",
        "A dead server left nine tenths of a backlog for one path, the rest for as many others. A start takes all of "
        "it over, with the store away; then it is shipped. Starts over the backlog and starts over nothing take turns, "
        "and their medians are compared. The bar is held against processor time, which other work on the machine does "
        "not change; of the short form less is allowed in proportion, though never less than a floor, and the clock "
        "is looked at too.",
        (
            Proof(
                "{entries:max} entries: all taken over {start_seconds:max} s after the start (without entries "
                "{start_without_seconds:max} s)[, of which {start_by_the_clock:list}; it took "
                "{start_more_processor_s:max} s more processor time, where {start_allowed_s:max} s are allowed (floor: "
                "{start_floor_s:max} s)]; {peak_mib:max} MiB more memory at most; the last of the other paths was "
                "shipped as number {last_of_the_others_at:max}",
                "test_disk_faults.py::test_a_backlog_is_adopted_and_drained_fairly_in_little_memory",
                "test_disk_faults.py::test_a_long_backlog_is_adopted_and_drained_fairly_in_little_memory",
            ),
            Proof(
                "{case:list}, {entries:max} entries: answers {start_seconds:max} s after its start (without entries "
                "{start_without_seconds:max} s)[; until all is taken over, {start_more_processor_s:max} s more "
                "processor time, where {start_allowed_s:max} s are allowed]",
                long="test_disk_faults.py::test_jupyter_itself_starts_over_a_long_backlog",
            ),
        ),
        {
            "the start takes its time over each entry": (
                "test_disk_faults.py::test_the_check_catches_a_start_that_takes_its_time_over_each_entry"
            ),
            "the start computes over each entry": (
                "test_disk_faults.py::test_the_check_catches_a_start_that_computes_over_each_entry"
            ),
            "who has much to do goes first": "test_disk_faults.py::test_the_check_catches_an_unfair_line",
            "everything is read at once": "test_disk_faults.py::test_the_check_catches_reading_everything_at_once",
        },
    ),
    Row(
        "flipped bits in entries",
        "all quarantined, none uploaded",
        "Among whole entries lie some with a flipped bit, each region of an entry in turn, torn ones, and ones with "
        "zeros.",
        (
            Proof(
                "{altered:sum} altered entries, {quarantined:sum} in quarantine, {uploaded:sum} uploaded",
                "test_disk_faults.py::test_altered_entries_are_set_aside_and_never_uploaded",
                "test_disk_faults.py::test_many_altered_entries_are_set_aside_and_never_uploaded",
            ),
        ),
        {
            "the content is not looked at": (
                "test_disk_faults.py::test_the_check_catches_a_decoder_that_does_not_look_at_the_content"
            ),
        },
    ),
    Row(
        "paths: unicode, spaces, `..`, 1,024-byte keys, case, Windows separators",
        "key↔path injective",
        "Notebooks of such names, chosen and random ones, are saved, archived, looked up in the bucket, deleted and "
        "restored. SeaweedFS takes a backslash in a key for a slash, so what has one goes to another server. (The "
        "property test of the mapping itself is in `tests/unit/test_s3_paths.py`.)",
        (
            Proof(
                "{case:list}: {paths:sum} paths, {keys:sum} keys, the longest of {longest_key:max} bytes; "
                "{set_aside:sum} that can have no key set aside and told; {violations:sum} violations",
                "test_paths.py::test_every_path_has_a_key_of_its_own_and_comes_back",
                "test_paths.py::test_every_one_of_many_paths_has_a_key_of_its_own_and_comes_back",
            ),
        ),
        {
            "case is folded": "test_paths.py::test_the_check_of_paths_catches_a_key_that[folds case]",
            "Unicode is composed": "test_paths.py::test_the_check_of_paths_catches_a_key_that[composes characters]",
            "quotes are undone twice": "test_paths.py::test_the_check_of_paths_catches_a_key_that[unquotes twice]",
            "backslashes become slashes": (
                "test_paths.py::test_the_check_of_paths_catches_a_key_that[takes backslashes for slashes]"
            ),
            "long keys are cut off": "test_paths.py::test_the_check_of_paths_catches_a_key_that[cuts long keys off]",
        },
    ),
    Row(
        "fuzzing",
        "nothing hangs, nothing wrong is kept, errors are bookstore's own",
        "Outbox entries, answers of S3 and bodies of REST requests that are nearly right, or nothing of the kind.",
        (
            Proof("{examples:sum} outbox entries", _DECODER, _DECODER),
            Proof("{examples:sum} answers of S3", _ANSWERS, _ANSWERS),
            Proof("{examples:sum} REST bodies", _BODIES, _BODIES),
        ),
        {
            "the decoder takes what it gets": (
                "test_fuzz.py::test_the_check_catches_a_decoder_that_takes_what_it_gets"
            ),
            "the store believes any receipt": (
                "test_fuzz.py::test_the_check_catches_a_store_that_believes_any_receipt"
            ),
        },
        is_of_design=False,
    ),
    Row(
        "state machine",
        "at every moment, bucket and outbox hold what the model says",
        "Hypothesis makes up stories: saves, crashes, outages, restores, renames, several servers. A model says what "
        "must be where.",
        (
            Proof(
                "{form:count} kinds of world: {examples:sum} stories of {steps:sum} steps in all, {versions:sum} "
                "versions; all was where it must be",
                "test_state_machine.py::test_every_story_ends_with_all_that_was_saved_in_the_bucket",
                "test_state_machine.py::test_many_long_stories_end_with_all_that_was_saved_in_the_bucket",
            ),
        ),
        {
            "entries are removed before the store has them": (
                "test_state_machine.py::test_the_machine_finds_entries_removed_before_the_store_has_them"
            ),
            "a path is shipped out of order": (
                "test_state_machine.py::test_the_machine_finds_a_path_shipped_out_of_order"
            ),
            "what was left is shipped in the opposite order": (
                "test_state_machine.py::test_the_machine_finds_what_was_left_shipped_in_the_opposite_order"
            ),
            "nobody looks for one's own record": (
                "test_state_machine.py::test_the_machine_finds_that_nobody_looks_for_ones_own_record"
            ),
            "saves are acknowledged before they are entries": (
                "test_state_machine.py::test_the_machine_finds_saves_acknowledged_before_they_are_entries"
            ),
            "a new server overtakes the dead one": (
                "test_state_machine.py::test_the_machine_finds_a_new_server_that_overtakes_the_dead_one"
            ),
            "saves are skipped that are not the newest": (
                "test_state_machine.py::test_the_machine_finds_saves_skipped_that_are_not_the_newest"
            ),
            "the status tells less than waits": (
                "test_state_machine.py::test_the_machine_finds_a_status_that_tells_less_than_waits"
            ),
            "a history ends at a rename": (
                "test_state_machine.py::test_the_machine_finds_a_history_that_ends_at_a_rename"
            ),
            "a living server's entries are claimed": (
                "test_state_machine.py::test_the_machine_finds_a_claim_on_what_a_living_server_holds"
            ),
        },
        is_of_design=False,
    ),
    Row(
        "soak",
        "nothing is lost, memory, descriptors, threads and tasks do not grow",
        "A real server is used as people use it, while faults of the store come and go; see below.",
        (
            Proof(
                "{minutes:sum} minutes, {saves:sum} saves, {versions:sum} versions; {storms:sum} times the store was "
                "in trouble, {struck:sum} requests met a fault; {violations:sum} violations",
                "test_soak.py::test_seconds_of_mixed_work_lose_nothing_and_leave_nothing_behind",
                "test_soak.py::test_an_hour_of_mixed_work_loses_nothing_and_leaves_nothing_behind",
            ),
        ),
        {
            "every save leaves something behind, every tenth is dropped": (
                "test_soak.py::test_a_soak_shows_what_leaks_and_what_is_lost"
            ),
        },
        is_of_design=False,
    ),
)


# -- what a run wrote --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """What one test measured.

    Attributes
    ----------
    test : str
        As pytest names it, below the folder of the fault tests.
    row : Row
    proof : Proof
    values : Mapping of str to object
    seed : int or None
    is_long : bool
    """

    test: str
    row: Row
    proof: Proof
    values: Mapping[str, Any]
    seed: int | None
    is_long: bool

    @property
    def missed(self) -> list[str]:
        """What it counted that must never be."""
        values = ((name, self.values.get(name)) for name in MUST_BE_ZERO)
        return [f"{value} {name}" for name, value in values if isinstance(value, (int, float)) and value > 0]

    @property
    def case(self) -> str:
        """What tells the test from the others of its function, and not its forms from each other."""
        return re.sub(r"\b(short|long)\b", "", self.test.partition("[")[2])


@dataclass
class Run:
    """What runs of the fault tests wrote; the last word on each test counts.

    Attributes
    ----------
    figures : dict of tuple to Figure
        By test and case.
    passed : dict of str to bool
        By test; one that was begun and of which nothing more was heard is missing.
    skipped : dict of str to str
        Tests that cannot run there, and why; those of which only the long form was not asked for are none of them.
    collected : dict of str to set of str
        All tests of a function, by its name, of each function that a run found whole.
    is_new : bool
        Whether what is added was measured by these very tests, so that nothing may be missing.
    """

    figures: dict[tuple[str, str], Figure] = field(default_factory=dict)
    passed: dict[str, bool] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    collected: dict[str, set[str]] = field(default_factory=dict)
    is_new: bool = False

    def add(self, line: Mapping[str, Any]) -> None:
        """Take one line.

        Raises
        ------
        BrokenReport
            It is not what the fault tests write.
        """
        if not isinstance(line, dict):
            raise BrokenReport(f"it holds {line!r}, which is no object")
        if "collected" in line:
            self._collected(line["collected"])
            return
        kind = next((name for name in ("row", "skipped") if name in line), "passed")
        kinds: dict[str, dict[str, type]] = {
            "row": {"test": str, "row": str, "figure": dict, "command": str},
            "skipped": {"test": str, "skipped": str},
            "passed": {"test": str, "passed": bool},
        }
        for name, wanted in kinds[kind].items():
            if not isinstance(line.get(name), wanted):
                raise BrokenReport(f"{name!r} is {line.get(name)!r}, which is no {wanted.__name__}")
        test = _below(line["test"])
        if kind == "row":
            self._measured(test, line)
        else:
            known: dict[str, Any] = self.passed if kind == "passed" else self.skipped
            known[test] = line[kind]

    def _collected(self, tests: object) -> None:
        if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
            raise BrokenReport(f"'collected' is {tests!r}, which is no list of tests")
        found: dict[str, set[str]] = {}
        for test in map(_below, tests):
            found.setdefault(test.partition("[")[0], set()).add(test)
        # Cases that a function had in an older run are no longer asked for.
        self.collected |= found

    def _measured(self, test: str, line: Mapping[str, Any]) -> None:
        figure = figure_of(test, line)
        tell([figure], whole=self.is_new)
        if test in self.passed:
            # It runs once more: neither its verdict nor its figures are known yet.
            del self.passed[test]
            self.figures = {key: known for key, known in self.figures.items() if known.test != test}
        self.figures[test, str(line["figure"].get("case", ""))] = figure


def _below(test: str) -> str:
    if not test.startswith(FOLDER):
        raise BrokenReport(f"{test!r} is not in {FOLDER}")
    return test.removeprefix(FOLDER)


def figure_of(test: str, line: Mapping[str, Any]) -> Figure:
    """The figure that a line holds.

    Raises
    ------
    BrokenReport
        No row knows it.
    """
    row, proof = proof_of(test)
    if line["row"] != row.name and not line["row"].startswith(f"{row.name}: "):
        raise BrokenReport(f"{test} reports the row {line['row']!r}, but belongs to {row.name!r}")
    return Figure(test, row, proof, line["figure"], line.get("seed"), "--long" in line["command"].split())


def proof_of(test: str) -> tuple[Row, Proof]:
    """The row and the proof to which a test belongs.

    Raises
    ------
    BrokenReport
        None.
    """
    function = test.partition("[")[0]
    for row in ROWS:
        for proof in row.proofs:
            if function in (proof.short, proof.long):
                return row, proof
    raise BrokenReport(f"{function} reports a figure, but no row in ci/resilience.py names it")


def read(lines: Iterable[str], name: str = "the report", run: Run | None = None) -> Run:
    """What a run wrote, added to what earlier ones did.

    Raises
    ------
    BrokenReport
        A line is not what the fault tests write; the error names it.
    """
    run = run or Run()
    for number, text in enumerate(lines, 1):
        try:
            run.add(json.loads(text))
        except (BrokenReport, ValueError) as e:
            raise BrokenReport(f"{name}, line {number}: {e}") from e
    return run


# -- in words ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Values:
    """What all cases of a proof say of one thing; a format tells how they are brought together."""

    all: tuple[Any, ...]

    def __format__(self, how: str) -> str:
        """``sum``, ``min``, ``max``, ``range``, ``count`` or ``list``."""
        if how == "count":
            return f"{len(self.all)}"
        if how == "list":
            return ", ".join(dict.fromkeys({True: "yes", False: "no"}.get(value, str(value)) for value in self.all))
        numbers = [value for value in self.all if isinstance(value, (int, float))]
        if len(numbers) != len(self.all):
            raise BrokenReport(f"{self.all!r} has no {how}: not all of it are numbers")
        least, most = min(numbers), max(numbers)
        told = {
            "sum": _number(sum(numbers)),
            "min": _number(least),
            "max": _number(most),
            "range": _number(least) if least == most else f"{_number(least)} to {_number(most)}",
        }
        return told[how]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{round(value, 2):,}"


def tell(figures: Sequence[Figure], *, whole: bool = False) -> str:
    """The figures of one proof in words; with ``whole``, what stands in brackets may not be missing either.

    Raises
    ------
    BrokenReport
        One lacks what the words tell of.
    """
    names = dict.fromkeys(name for figure in figures for name in figure.values)
    found = {name: Values(tuple(f.values[name] for f in figures if name in f.values)) for name in names}
    # By name: words and cases are listed, numbers added.
    kinds = {name: "list" if isinstance(figures[0].values.get(name), str) else "sum" for name in names}
    says = figures[0].proof.says or ", ".join(f"{name} {{{name}:{how}}}" for name, how in kinds.items())
    try:
        return _OPTIONAL.sub(lambda part: part[1] if whole or _has(part[1], found) else "", says).format_map(found)
    except KeyError as e:
        raise BrokenReport(f"{figures[0].test} tells nothing of {e}") from e


_OPTIONAL: Final = re.compile(r"\[([^\]]*)\]")


def _has(words: str, found: Mapping[str, Values]) -> bool:
    return {name for _, name, _, _ in string.Formatter().parse(words) if name} <= found.keys()


def chosen(row: Row, run: Run) -> dict[Proof, list[Figure]]:
    """The figures of each proof of a row: those of the long form, for each case that it has run."""
    found: dict[Proof, list[Figure]] = {}
    for proof in row.proofs:
        cases: dict[str, Figure] = {}
        for figure in run.figures.values():
            if figure.proof is proof and (figure.is_long or not (known := cases.get(figure.case)) or not known.is_long):
                cases[figure.case] = figure
        found[proof] = list(cases.values())
    return found


def mark(row: Row, run: Run) -> str:
    """What a run says of a row, in a word or two."""
    figures = [figure for figure in run.figures.values() if figure.row is row]
    if not figures:
        return NOT_RUN
    # A test that reported and of which nothing more was heard was broken off.
    tests = {figure.test for figure in figures} | _ran_of(row, run)
    if not all(run.passed.get(test, False) for test in tests) or any(figure.missed for figure in figures):
        return FAILED
    is_whole = all(is_complete(proof, run) for proof in row.proofs)
    return HELD if is_whole and set(row.mutations.values()) <= run.passed.keys() else PARTLY


def is_complete(proof: Proof, run: Run) -> bool:
    """Whether all cases of both forms were run; not where nobody wrote down which there are."""
    is_known = all(function in run.collected for function in _forms(proof))
    return is_known and not not_run(proof, run) and any(figure.proof is proof for figure in run.figures.values())


def not_run(proof: Proof, run: Run) -> list[str]:
    """The cases that a run has found, could have run, and has not finished."""
    found = (test for function in _forms(proof) for test in run.collected.get(function, ()))
    return sorted({test for test in found if test not in run.passed and test not in run.skipped})


def _forms(proof: Proof) -> list[str]:
    return [name for name in dict.fromkeys((proof.short, proof.long)) if name]


def _ran_of(row: Row, run: Run) -> set[str]:
    functions = {name for proof in row.proofs for name in _forms(proof)} | set(row.mutations.values())
    return {test for test in run.passed if test in functions or test.partition("[")[0] in functions}


# -- the page ----------------------------------------------------------------------------------------------------------


def page(run: Run) -> str:
    """The rows as Markdown: a table of all, then each by itself."""
    parts = []
    for title, is_of_design in (("What must survive", True), ("Beyond that", False)):
        rows = [row for row in ROWS if row.is_of_design is is_of_design]
        table = "".join(f"| {_cell(row.name)} | {_cell(row.bar)} | {mark(row, run)} |\n" for row in rows)
        parts.append(f"## {title}\n\n| fault | what must hold | this run |\n|-|-|-|\n{table}")
        parts += [section(row, run) for row in rows]
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def section(row: Row, run: Run) -> str:
    """One row by itself."""
    found = chosen(row, run)
    lines = [f"### {row.name[0].upper()}{row.name[1:]}", "", row.done, "", f"*Must hold:* {row.bar}.", ""]
    lines += [f"*This run:* {mark(row, run)}.", ""]
    for proof, figures in found.items():
        name = f"`{proof.long or proof.short}`"
        lines += [f"- {tell(figures)}." if figures else f"- {NOT_RUN}: {name}"]
        if figures:
            lines += [f"  - {_seeds(figures)}", f"  - `{command(figures)}`"]
        lines += [f"  - {what}" for what in _gaps(proof, run)]
    lines += ["", "Broken on purpose, and what became of it:", ""]
    for what, test in row.mutations.items():
        verdict = {True: "caught", False: "**not caught**", None: NOT_RUN}[run.passed.get(test)]
        lines.append(f"- {what}: {verdict} (`{test}`)")
    return "\n".join([*lines, ""])


def _gaps(proof: Proof, run: Run) -> list[str]:
    """What is missing of a proof, or speaks against it though its tests passed."""
    cases = [test for function in _forms(proof) for test in run.collected.get(function, ())]
    told = [f"`{f.test}`: {', '.join(f.missed)}" for f in run.figures.values() if f.proof is proof and f.missed]
    if missing := not_run(proof, run):
        told.append(f"{NOT_RUN}: {len(missing)} of {len(cases)} cases")
    elif not cases:
        told.append("which cases there are was not written down")
    reasons = dict.fromkeys(run.skipped[test] for test in sorted(cases) if test in run.skipped.keys() - run.passed)
    return told + [f"skipped: {reason}" for reason in reasons]


def _seeds(figures: Sequence[Figure]) -> str:
    seeds = [figure.seed for figure in figures if figure.seed is not None]
    if not seeds:
        return "No chance in it, or the same in every run."
    return f"Seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}."


def command(figures: Sequence[Figure]) -> str:
    """What repeats these figures: each test chooses the same seed again by itself."""
    tests = {figure.test for figure in figures}
    test = tests.pop() if len(tests) == 1 else figures[0].test.partition("[")[0]
    quoted = f"'{FOLDER}{test}'" if any(c in test for c in " [") else f"{FOLDER}{test}"
    return f"pytest {quoted}{' --long' if any(figure.is_long for figure in figures) else ''}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m ci.resilience", description=__doc__.partition("\n")[0])
    said = "what pytest --report wrote; of several, the later one's word on a test counts"
    parser.add_argument("reports", type=Path, metavar="REPORT.jsonl", nargs="+", help=said)
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (default: %(default)s)")
    given = parser.parse_args(arguments)
    run = Run()
    try:
        for file in given.reports:
            read(file.read_text(encoding="utf-8").splitlines(), str(file), run)
    except (BrokenReport, OSError) as e:
        print(e, file=sys.stderr)
        return 1
    given.output.write_text(page(run), encoding="utf-8")
    for row in ROWS:
        print(f"{mark(row, run).strip('*'):>16}  {row.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
