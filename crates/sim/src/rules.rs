//! The rules that the protocol rests on, each of which has a [fail point](infinicache_host::fail_point)
//! where the programs follow it, and can be left out.

/// Each rule, and what it says.
pub const RULES: &[(&str, &str)] = &[
    (
        "no_lease_after_losing_all",
        "a run that was left without members by silence does not answer before one follows it",
    ),
    ("distinct_epochs", "no two runs have the same epoch"),
    ("distinct_indexes", "chunks count by distinct index"),
    (
        "earlier_tombstones",
        "a change waits for earlier values of its key too",
    ),
    (
        "tombstones_stay_covered",
        "a value does not go while earlier ones of its key are on their way out",
    ),
    (
        "emptied_before_joining",
        "an instance that is a new member counts once it has been emptied",
    ),
    (
        "evidence_of_one_epoch",
        "a run that rises above another while it takes over begins anew",
    ),
    (
        "expiry_acknowledged",
        "a change of expiry waits until too few are left that have not heard of it",
    ),
    ("expiry_sequence", "the later change of expiry counts"),
    (
        "removal_committed",
        "a change of the view is awaited before anybody it removes is left out",
    ),
    (
        "delete_quorum",
        "a delete, and an overwrite, wait until the value is gone from all who count",
    ),
    (
        "first_view_committed",
        "a new run has a view of its own committed before it frees or serves anything",
    ),
    (
        "forget_unfinished",
        "a node drops what is not complete when it turns to a higher epoch",
    ),
    (
        "freed_stays_freed",
        "a node keeps no unit that comes after its chunk was freed",
    ),
    (
        "given_up_is_removed",
        "a write that is given up after a Finish is on its way out until it is removed",
    ),
    ("highest_epoch", "nodes follow the highest epoch only"),
    ("highest_version", "the highest version wins"),
    (
        "holders_in_force",
        "a value is complete on members that count before it is the value of its key",
    ),
    (
        "leader_is_kept",
        "a node that hears from a run that leads does not turn to another",
    ),
    ("lease", "a run answers only while it holds a lease"),
    (
        "lease_again",
        "the lease is looked at again before a change is acknowledged",
    ),
    (
        "lease_waited_out",
        "a new run waits until the lease of the one before it has ended",
    ),
    (
        "leftovers_get_tombstones",
        "what a new run found and does not need is gone before its key is said to be empty",
    ),
    (
        "loss_committed",
        "what a member held is lost once a view without it is committed",
    ),
    ("members_only", "only the chunks of members count"),
    (
        "no_more_removed_than_parity",
        "no more members are removed than the parity",
    ),
    (
        "one_change_at_a_time",
        "conditions are checked when nothing else changes the key",
    ),
    (
        "one_chunk_a_node",
        "no two chunks of a write are on the same node",
    ),
    (
        "moved_chunks_not_kept",
        "a chunk of an open write that has moved elsewhere is not kept by who comes back",
    ),
    (
        "own_pauses",
        "members are not silent while the proxy itself is frozen",
    ),
    (
        "rebuilt_expiry",
        "a rebuilt chunk is told of the change of expiry before it counts",
    ),
    (
        "reconcile",
        "a member that returns is reconciled with the metadata",
    ),
    (
        "repair_if_current",
        "a repair looks whether the value is still current before it completes a chunk",
    ),
    (
        "readmitted_after_removal",
        "an removed member is reconciled after its expulsion is committed, not before",
    ),
    (
        "view_quorum",
        "a view is committed when a quorum has stored it, not the first member",
    ),
    (
        "silence_is_no_loss",
        "a member that is silent is not lost by that alone",
    ),
    (
        "orphans",
        "chunks that were taken off an object are remembered until they are freed",
    ),
    (
        "fenced_keeps_its_view",
        "a run changes its view no more once a node says that it follows a later one",
    ),
    (
        "told_time",
        "a proxy's time is never below what an earlier one stored on nodes",
    ),
    (
        "memberless_for_a_lease_only",
        "a run without members goes if it was paused for a lease",
    ),
];
