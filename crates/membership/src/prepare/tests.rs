use infinicache_wire::ViewId;

use super::*;

const PATIENCE: PrepareTimeouts = PrepareTimeouts {
    lease: Duration::from_secs(5),
    straggler_grace: STRAGGLING,
    deadline: Duration::from_secs(20),
    dead_after: DEAD_AFTER,
    leader_lease: Duration::from_secs(5),
};
const DEAD_AFTER: Duration = Duration::from_secs(600);
const STRAGGLING: Duration = Duration::from_secs(1);

fn entry(instance: u64) -> ViewMember {
    ViewMember {
        node: format!("node-{}", instance % 100),
        instance: InstanceId(instance),
    }
}

fn view(number: u64, members: impl IntoIterator<Item = u64>) -> MembershipView {
    MembershipView {
        id: ViewId { epoch: 1, number },
        parity: 2,
        members: members.into_iter().map(entry).collect(),
        old_members: Vec::new(),
    }
}

/// An instance tells of a view, and of a lease that it gave so long ago.
fn tell(
    prepare: &mut Prepare,
    instance: u64,
    view: Option<&MembershipView>,
    followed_ms: Option<u64>,
    now: Instant,
) {
    let promise = PromiseInfo {
        view: view.cloned(),
        told_ms: 0,
        followed_ms,
    };
    let ViewMember { node, instance } = entry(instance);
    prepare.heard(&node, &pod(instance.0), instance, promise, now);
}

fn pod(instance: u64) -> String {
    format!("pod-{instance}")
}

/// The platform has told of all pods of `names` nodes: those of these instances.
fn told(names: u64, running: impl IntoIterator<Item = u64>) -> Pods {
    let mut pods: Pods = (0..names)
        .map(|name| (entry(name).node, BTreeSet::new()))
        .collect();
    for instance in running {
        pods.entry(entry(instance).node)
            .or_default()
            .insert(pod(instance));
    }
    pods
}

/// A prepare phase of 14 names, of which these instances have told of a view.
fn prepare(view: &MembershipView, heard: impl IntoIterator<Item = u64>) -> (Prepare, Instant) {
    let start = Instant::now();
    let mut prepare = Prepare::new(14, PATIENCE, start);
    for instance in heard {
        tell(&mut prepare, instance, Some(view), None, start);
    }
    (prepare, start)
}

#[test]
fn a_view_all_of_whose_members_were_heard_is_believed_at_once() {
    let (prepare, now) = prepare(&view(1, 0..14), 0..14);
    assert_eq!(prepare.status(now), PrepareStatus::Ready);
    assert_eq!(prepare.view(), Some(view(1, 0..14)));
}

#[test]
fn the_latest_view_is_believed_whoever_tells_of_it() {
    let (mut prepare, now) = prepare(&view(1, 0..14), 0..13);
    let latest = view(2, 1..14);
    tell(&mut prepare, 13, Some(&latest), None, now);
    assert_eq!(prepare.status(now), PrepareStatus::Ready);
    assert_eq!(prepare.view(), Some(latest));
}

#[test]
fn a_proposal_that_too_few_know_of_is_not_believed_once_that_is_known() {
    let old_members = view(1, 0..4);
    let proposal = MembershipView {
        old_members: old_members.members.clone(),
        ..view(2, 1..4)
    };
    let (mut prepare, now) = prepare(&old_members, 0..1);
    tell(&mut prepare, 1, Some(&proposal), None, now);
    let told = |prepare: &Prepare| prepare.view().unwrap().members;
    assert_eq!(
        told(&prepare),
        proposal.members,
        "three of four may know of it"
    );
    tell(&mut prepare, 2, Some(&old_members), None, now);
    assert_eq!(told(&prepare), old_members.members);
    let settled = view(2, 1..4);
    tell(&mut prepare, 3, Some(&settled), None, now);
    assert_eq!(told(&prepare), settled.members, "it was committed");
}

#[test]
fn members_that_do_not_dial_are_waited_for_until_the_deadline() {
    let (prepare, now) = prepare(&view(1, 0..14), 0..12);
    assert!(matches!(prepare.status(now), PrepareStatus::Wait(_)));
    assert_eq!(
        prepare.status(now + PATIENCE.deadline),
        PrepareStatus::Ready
    );
}

#[test]
fn a_member_whose_name_has_another_instance_is_not_waited_for_long() {
    let (mut prepare, now) = prepare(&view(1, 0..14), 0..13);
    tell(&mut prepare, 113, None, None, now);
    assert_eq!(prepare.status(now), PrepareStatus::Wait(now + STRAGGLING));
    assert_eq!(prepare.status(now + STRAGGLING), PrepareStatus::Ready);
}

#[test]
fn too_few_members_decide_nothing() {
    let (prepare, now) = prepare(&view(1, 0..14), 0..6);
    for at in [now, now + PATIENCE.deadline, now + DEAD_AFTER / 2] {
        let status = prepare.status(at);
        assert!(
            matches!(status, PrepareStatus::Wait(until) if until > at),
            "not looked at again at once: {status:?}"
        );
    }
    assert_eq!(prepare.status(now + DEAD_AFTER), PrepareStatus::NoQuorum);
}

#[test]
fn members_that_values_cannot_do_without_are_waited_for_until_they_are_taken_for_dead() {
    let (mut prepare, now) = prepare(&view(1, 0..14), 0..11);
    let late = now + PATIENCE.deadline;
    assert!(matches!(prepare.status(late), PrepareStatus::Wait(_)));
    assert_eq!(prepare.status(now + DEAD_AFTER), PrepareStatus::Ready);
    tell(&mut prepare, 111, None, None, now);
    assert_eq!(
        prepare.status(late),
        PrepareStatus::Ready,
        "two are missing"
    );
}

#[test]
fn a_run_that_is_led_by_another_is_one_too_many() {
    let (mut prepare, now) = prepare(&view(1, 0..14), 0..6);
    let at = |seconds| now + Duration::from_secs(seconds);
    prepare.other_leader(at(1));
    assert!(matches!(prepare.status(at(1)), PrepareStatus::Wait(_)));
    prepare.other_leader(at(5));
    assert!(matches!(prepare.status(at(5)), PrepareStatus::Wait(_)));
    prepare.other_leader(at(6));
    assert_eq!(prepare.status(at(6)), PrepareStatus::OtherLeader);
}

#[test]
fn a_leader_that_was_heard_of_once_may_have_ended_since() {
    let (mut prepare, now) = prepare(&view(1, 0..14), []);
    let at = |seconds| now + Duration::from_secs(seconds);
    prepare.other_leader(at(1));
    prepare.other_leader(at(60));
    assert!(matches!(prepare.status(at(60)), PrepareStatus::Wait(_)));
}

#[test]
fn a_pool_that_another_run_leads_is_not_one_of_nobody() {
    let start = Instant::now();
    let mut prepare = Prepare::new(2, PATIENCE, start);
    let late = start + PATIENCE.deadline;
    tell(&mut prepare, 0, None, None, start);
    prepare.other_leader(late);
    assert!(matches!(prepare.status(late), PrepareStatus::Wait(_)));
}

#[test]
fn one_of_three_decides_when_the_others_were_succeeded() {
    let (mut prepare, now) = prepare(&view(1, 0..3), 0..1);
    assert_eq!(prepare.status(now + DEAD_AFTER), PrepareStatus::NoQuorum);
    tell(&mut prepare, 101, None, None, now);
    tell(&mut prepare, 102, None, None, now);
    assert_eq!(prepare.status(now + STRAGGLING), PrepareStatus::Ready);
}

#[test]
fn the_leases_that_members_gave_are_waited_out() {
    let (_, start) = prepare(&view(1, 0..3), []);
    let mut prepare = Prepare::new(14, PATIENCE, start);
    let view = view(1, 0..3);
    for (instance, followed_ms) in [(0, Some(4000)), (1, Some(1000)), (2, None)] {
        tell(&mut prepare, instance, Some(&view), followed_ms, start);
    }
    let end = start + Duration::from_secs(4);
    assert_eq!(prepare.status(start), PrepareStatus::Wait(end));
    assert_eq!(prepare.status(end), PrepareStatus::Ready);
}

#[test]
fn a_member_that_dials_again_does_not_prolong_its_lease() {
    let start = Instant::now();
    let mut prepare = Prepare::new(14, PATIENCE, start);
    let view = view(1, 0..1);
    tell(&mut prepare, 0, Some(&view), Some(0), start);
    let later = start + Duration::from_secs(3);
    tell(&mut prepare, 0, Some(&view), Some(0), later);
    assert_eq!(prepare.status(start + PATIENCE.lease), PrepareStatus::Ready);
}

#[test]
fn a_proposal_is_believed_only_if_nobody_before_it_can_still_give_a_lease() {
    let proposal = MembershipView {
        old_members: (0..3).map(entry).collect(),
        ..view(2, 3..14)
    };
    let (mut prepare, now) = prepare(&proposal, 3..14);
    let late = now + DEAD_AFTER;
    assert_eq!(prepare.status(late), PrepareStatus::NoQuorum);
    tell(&mut prepare, 0, Some(&proposal), None, now);
    assert_eq!(prepare.status(late), PrepareStatus::NoQuorum);
    tell(&mut prepare, 1, Some(&proposal), None, now);
    assert_eq!(prepare.status(now), PrepareStatus::Ready);
}

#[test]
fn a_pool_that_never_had_a_member_is_one_of_nobody() {
    let start = Instant::now();
    let mut prepare = Prepare::new(2, PATIENCE, start);
    tell(&mut prepare, 0, None, None, start);
    assert_eq!(
        prepare.status(start),
        PrepareStatus::Wait(start + PATIENCE.deadline)
    );
    tell(&mut prepare, 1, None, None, start);
    let lease_ends = start + PATIENCE.lease;
    assert_eq!(prepare.status(start), PrepareStatus::Wait(lease_ends));
    assert_eq!(prepare.status(lease_ends), PrepareStatus::Empty);
}

#[test]
fn instances_that_know_of_nobody_may_have_succeeded_some_who_do() {
    let start = Instant::now();
    let mut prepare = Prepare::new(2, PATIENCE, start);
    let late = start + PATIENCE.lease;
    tell(&mut prepare, 0, None, None, start);
    tell(&mut prepare, 1, None, None, late);
    assert_eq!(prepare.status(late), PrepareStatus::Wait(late + STRAGGLING));
    let view = view(1, 100..102);
    let mut straggled = Prepare::new(2, PATIENCE, start);
    for (instance, told) in [(0, None), (1, None), (100, Some(&view)), (101, Some(&view))] {
        tell(&mut straggled, instance, told, None, start);
    }
    assert_eq!(straggled.status(late), PrepareStatus::Ready);
    assert_eq!(prepare.status(late + STRAGGLING), PrepareStatus::Empty);
}

#[test]
fn a_pool_of_which_some_were_heard_in_time_is_one_of_nobody_too() {
    let start = Instant::now();
    let mut prepare = Prepare::new(2, PATIENCE, start);
    let late = start + PATIENCE.deadline;
    assert!(matches!(prepare.status(late), PrepareStatus::Wait(_)));
    tell(&mut prepare, 0, None, None, start);
    assert_eq!(prepare.status(late), PrepareStatus::Empty);
}

#[test]
fn a_pool_without_pods_is_one_of_nobody_once_no_earlier_run_can_hold_a_lease() {
    let start = Instant::now();
    let mut prepare = Prepare::new(14, PATIENCE, start);
    prepare.set_expected(14, told(14, []));
    let lease_ends = start + PATIENCE.lease;
    assert_eq!(prepare.status(start), PrepareStatus::Wait(lease_ends));
    assert_eq!(prepare.status(lease_ends), PrepareStatus::Empty);
    assert!(prepare.is_absent("node-3") && !prepare.is_absent("another"));
}

#[test]
fn a_pool_each_of_whose_pods_was_heard_has_nobody_who_may_straggle() {
    let start = Instant::now();
    let late = start + PATIENCE.lease;
    let mut prepare = Prepare::new(3, PATIENCE, start);
    // One is asleep, and one is about to be replaced.
    prepare.set_expected(3, told(3, [0, 1, 101]));
    tell(&mut prepare, 0, None, None, late);
    tell(&mut prepare, 101, None, None, late);
    assert_eq!(prepare.status(late), PrepareStatus::Wait(late + STRAGGLING));
    tell(&mut prepare, 1, None, None, late);
    assert_eq!(prepare.progress(), (2, 2));
    assert_eq!(prepare.status(late), PrepareStatus::Empty);
}

#[test]
fn a_member_that_has_no_pod_is_not_waited_for() {
    let (mut prepare, now) = prepare(&view(1, 0..14), 0..12);
    prepare.set_expected(14, told(14, 0..13));
    assert!(matches!(prepare.status(now), PrepareStatus::Wait(_)));
    prepare.set_expected(14, told(14, 0..12));
    assert_eq!(prepare.status(now), PrepareStatus::Ready);
}

#[test]
fn a_member_all_of_whose_pods_are_those_of_others_is_not_waited_for() {
    let (mut prepare, now) = prepare(&view(1, 0..14), 0..13);
    prepare.set_expected(14, told(14, (0..14).chain([113])));
    tell(&mut prepare, 113, None, None, now);
    assert_eq!(prepare.status(now), PrepareStatus::Wait(now + STRAGGLING));
    prepare.set_expected(14, told(14, (0..13).chain([113])));
    assert_eq!(prepare.status(now), PrepareStatus::Ready);
}

#[test]
fn what_those_without_a_pod_have_known_is_unknown() {
    // Those that are gone may have agreed on a view without these.
    let (mut prepare, now) = prepare(&view(1, 0..14), 0..6);
    prepare.set_expected(14, told(14, 0..6));
    assert!(matches!(prepare.status(now), PrepareStatus::Wait(_)));
    let end = now + PATIENCE.deadline;
    assert_eq!(prepare.status(end), PrepareStatus::NoQuorum);
}

#[test]
fn names_of_which_the_platform_has_not_told_are_waited_for() {
    let start = Instant::now();
    let mut prepare = Prepare::new(2, PATIENCE, start);
    prepare.set_expected(2, told(1, []));
    let late = start + PATIENCE.lease;
    assert_eq!(prepare.progress(), (0, 1));
    assert!(matches!(prepare.status(late), PrepareStatus::Wait(at) if at > late));
    tell(&mut prepare, 1, None, None, late);
    assert_eq!(prepare.status(late), PrepareStatus::Wait(late + STRAGGLING));
    assert_eq!(prepare.status(late + STRAGGLING), PrepareStatus::Empty);
}

#[test]
fn under_another_epoch_everybody_has_to_be_heard_anew() {
    let (mut prepare, now) = prepare(&view(1, 0..3), 0..3);
    assert_eq!(prepare.status(now), PrepareStatus::Ready);
    prepare.restart(now);
    assert_eq!(prepare.view(), None);
}
