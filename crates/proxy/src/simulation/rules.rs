//! The rules that the protocol rests on, each of which can be left out.
//!
//! A simulation that cannot tell a broken protocol from a sound one shows
//! nothing. So each rule has a switch, and a test that the checker notices when
//! it is off.

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident,)*) => {
        /// Which rules hold.
        #[derive(Clone, Copy, Debug)]
        pub(super) struct Rules {
            $($(#[$doc])* pub(super) $rule: bool,)*
        }

        impl Rules {
            /// All of them.
            pub(super) const SOUND: Self = Self { $($rule: true,)* };

            /// All but those named, separated by commas; `None` if there is no such rule.
            pub(super) fn without(names: &str) -> Option<Self> {
                let mut rules = Self::SOUND;
                for name in names.split(',') {
                    match name {
                        $(stringify!($rule) => rules.$rule = false,)*
                        _ => return None,
                    }
                }
                Some(rules)
            }
        }
    };
}

rules! {
    /// A roster is in force when a quorum has stored it, not the first member.
    roster_quorum,
    /// A change of the roster is awaited before anybody it expels is left out.
    expulsion_in_force,
    /// No more members are expelled than the parity.
    no_more_expelled_than_parity,
    /// A run changes its roster no more once a node says that it obeys a later one.
    superseded_keeps_its_roster,
    /// A new run has a roster of its own in force before it frees or serves anything.
    first_roster_in_force,
    /// An expelled member is reconciled after its expulsion is in force, not before.
    return_after_expulsion,
    /// An instance that is a new member counts once it has been emptied.
    emptied_first,
    /// A member that returns is reconciled with the metadata.
    reconcile,
    /// A member that comes back after it was expelled is nobody's place of an open write.
    open_writes_let_go,
    /// A delete, and an overwrite, wait until the value is gone from all who count.
    farewell,
    /// They wait for earlier values of the key as well.
    earlier_farewells,
    /// A value is not evicted while earlier ones of its key are on their way out.
    earlier_stay_covered,
    /// Chunks that were taken off an object are remembered until they are freed.
    strays,
    /// A write that is given up after a Finish is unknown until it is removed.
    given_up_is_removed,
    /// A change of expiry waits until too few are left that have not heard of it.
    expiry_acknowledged,
    /// The later change of expiry counts.
    expiry_sequence,
    /// A rebuilt chunk is told of the change of expiry before it counts.
    rebuilt_expiry,
    /// A node that hears from a run that leads does not turn to another.
    leader_is_kept,
    /// A member that is silent is not lost by that alone.
    silence_is_no_loss,
    /// What a member held is lost once a roster without it is in force.
    loss_in_force,
    /// A run answers only while it holds a lease.
    lease,
    /// A run without members, and with nobody to tell it that its time is over, goes if it was
    /// held up for a lease.
    unvouched_for_a_lease_only,
    /// A run that was left without members by silence does not answer before one obeys it.
    bereft,
    /// The lease is looked at again before a change is acknowledged.
    lease_again,
    /// A new run waits until the lease of the one before it has ended.
    lease_waited_out,
    /// A new run takes the testimony of a node that obeys it already.
    testimony_after_welcome,
    /// Nodes obey the highest epoch only.
    highest_epoch,
    /// A node drops what is not complete when it turns to a higher epoch.
    forget_unfinished,
    /// No two runs have the same epoch.
    distinct_epochs,
    /// A run that rises above another while it takes over begins anew.
    evidence_of_one_epoch,
    /// Only the chunks of members count.
    members_only,
    /// Chunks count by distinct index.
    distinct_indexes,
    /// The highest version wins.
    highest_version,
    /// What a new run found and does not need is gone before its key is said to be empty.
    leftovers_part,
    /// A value is complete on members that count before it is the value of its key.
    holders_in_force,
    /// Conditions are checked when nothing else changes the key.
    one_change_at_a_time,
    /// A repair looks whether the value is still current before it completes a chunk.
    repair_if_current,
    /// Members are not silent while the proxy itself is frozen.
    own_pauses,
    /// A proxy's time is never below what it stored on nodes.
    told_time,
}
