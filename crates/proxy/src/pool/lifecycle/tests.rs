use super::*;

const TIMING: LifecycleTimings = LifecycleTimings {
    ping_every: Duration::from_secs(1),
    lost_after: Duration::from_secs(10),
    dead_after: Duration::from_secs(900),
    preflight_freshness: Duration::from_secs(2),
    wake_deadline: Duration::from_secs(5),
    wake_backoff: Duration::from_secs(1),
    keep_awake_every: Duration::from_secs(20),
};
const FIRST: MemberId = MemberId(1);
const SECOND: MemberId = MemberId(2);
const OLD: InstanceId = InstanceId(1);
const NEW: InstanceId = InstanceId(2);
const REFUSED: WakeFailure = WakeFailure::Refused;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A node whose first instance has just joined.
fn active() -> (Lifecycle, Instant) {
    let start = Instant::now();
    let mut lifecycle = Lifecycle::new(TIMING, 1);
    assert_eq!(lifecycle.wanted(start), Some(LifecycleAction::Wake));
    assert_eq!(lifecycle.joined(OLD, FIRST, start), None);
    (lifecycle, start)
}

fn heard_of(lifecycle: &mut Lifecycle, then: Instant) {
    if let Some(it) = lifecycle.current_if(FIRST) {
        it.heard_of(then);
    }
}

fn unanswered(lifecycle: &mut Lifecycle, sent: Instant) -> bool {
    let current = lifecycle.current_if(FIRST);
    current.is_some_and(|it| it.unanswered(sent))
}

fn stays(lifecycle: &Lifecycle, member: MemberId) -> bool {
    let current = lifecycle.current();
    current.is_some_and(|it| it.id == member && !it.is_draining())
}

#[test]
fn however_many_want_a_sleeping_node_it_is_woken_once() {
    let now = Instant::now();
    let mut lifecycle = Lifecycle::new(TIMING, 1);
    assert_eq!(lifecycle.state(), NodeState::Asleep);
    assert_eq!(lifecycle.wanted(now), Some(LifecycleAction::Wake));
    assert_eq!(lifecycle.wanted(now), None);
    assert_eq!(lifecycle.state(), NodeState::Waking);
    lifecycle.joined(OLD, FIRST, now);
    assert_eq!(lifecycle.wanted(now), None);
    assert_eq!(lifecycle.active(), Some(FIRST));
}

#[test]
fn a_wake_that_nobody_answers_fails_and_is_not_repeated_at_once() {
    let start = Instant::now();
    let mut lifecycle = Lifecycle::new(TIMING, 1);
    lifecycle.wanted(start);
    assert!(lifecycle.tick(start + seconds(4), false).is_empty());
    assert_eq!(
        lifecycle.tick(start + seconds(5), false),
        [LifecycleAction::NeverDialled]
    );
    assert_eq!(lifecycle.state(), NodeState::Lost);
    assert_eq!(
        lifecycle.backoff().failure(),
        Some(WakeFailure::NeverDialled)
    );
    assert!(!lifecycle.is_usable(start + seconds(5)));
    assert_eq!(lifecycle.wanted(start + seconds(5)), None);
    assert!(lifecycle.is_usable(start + seconds(6)));
    assert_eq!(
        lifecycle.wanted(start + seconds(6)),
        Some(LifecycleAction::Wake)
    );
    lifecycle.wake_failed(REFUSED, start + seconds(6));
    assert_eq!(
        lifecycle.wanted(start + seconds(7)),
        None,
        "the back-off doubles"
    );
    assert_eq!(
        lifecycle.wanted(start + seconds(8)),
        Some(LifecycleAction::Wake)
    );
}

#[test]
fn a_silent_member_is_pinged_and_then_suspected() {
    let (mut lifecycle, start) = active();
    assert_eq!(
        lifecycle.tick(start + seconds(1), false),
        [LifecycleAction::Ping(FIRST)]
    );
    heard_of(&mut lifecycle, start + seconds(1));
    for second in 2..11 {
        assert_eq!(
            lifecycle.tick(start + seconds(second), false),
            [LifecycleAction::Ping(FIRST)]
        );
    }
    let suspected = [
        LifecycleAction::Suspect(FIRST),
        LifecycleAction::Ping(FIRST),
    ];
    assert_eq!(lifecycle.tick(start + seconds(11), false), suspected);
    assert_eq!(lifecycle.state(), NodeState::Active, "it may come back");
}

#[test]
fn a_suspected_member_is_lost_if_the_pool_can_do_without_it_and_it_is_still_silent() {
    let (mut lifecycle, start) = active();
    assert!(!lifecycle.lost_in_silence(FIRST, start + seconds(9)));
    assert!(!lifecycle.lost_in_silence(SECOND, start + seconds(10)));
    assert!(lifecycle.lost_in_silence(FIRST, start + seconds(10)));
    assert_eq!(lifecycle.state(), NodeState::Asleep);
}

#[test]
fn a_member_that_is_silent_for_very_long_is_dead() {
    let (mut lifecycle, start) = active();
    let almost = start + seconds(899);
    assert!(
        !lifecycle
            .tick(almost, true)
            .contains(&LifecycleAction::Lost(FIRST))
    );
    assert_eq!(
        lifecycle.tick(start + seconds(900), true),
        [LifecycleAction::Lost(FIRST)]
    );
    assert_eq!(lifecycle.state(), NodeState::Asleep);
}

#[test]
fn a_suspected_member_with_data_is_woken_so_that_a_successor_tells_if_it_is_dead() {
    let (mut lifecycle, start) = active();
    let actions = lifecycle.tick(start + seconds(10), true);
    assert!(actions.contains(&LifecycleAction::Wake), "{actions:?}");
    assert!(
        !lifecycle
            .tick(start + seconds(11), true)
            .contains(&LifecycleAction::Wake)
    );
    assert_eq!(
        lifecycle.joined(NEW, SECOND, start + seconds(12)),
        Some(LifecycleAction::Evacuate(FIRST))
    );
}

#[test]
fn only_a_node_with_data_is_kept_awake() {
    let (mut lifecycle, start) = active();
    heard_of(&mut lifecycle, start + seconds(30));
    let with_data = lifecycle.tick(start + seconds(20), true);
    assert!(with_data.contains(&LifecycleAction::KeepAwake));
    assert!(
        !lifecycle
            .tick(start + seconds(21), true)
            .contains(&LifecycleAction::KeepAwake)
    );
    assert!(
        !lifecycle
            .tick(start + seconds(40), false)
            .contains(&LifecycleAction::KeepAwake)
    );
}

#[test]
fn a_process_that_dials_again_is_the_member_that_it_was() {
    let (mut lifecycle, start) = active();
    assert_eq!(
        lifecycle.unlinked(FIRST, start),
        Some(LifecycleAction::Wake)
    );
    assert_eq!(lifecycle.active(), None);
    assert!(
        lifecycle
            .current()
            .is_some_and(|it| (it.id, it.instance) == (FIRST, OLD))
    );
    assert_eq!(lifecycle.joined(OLD, FIRST, start), None);
    assert_eq!(lifecycle.active(), Some(FIRST));
}

#[test]
fn a_successor_of_a_dead_process_ends_its_membership() {
    let (mut lifecycle, start) = active();
    lifecycle.unlinked(FIRST, start);
    assert_eq!(
        lifecycle.joined(NEW, SECOND, start),
        Some(LifecycleAction::Lost(FIRST))
    );
    assert_eq!(lifecycle.active(), Some(SECOND));
    heard_of(&mut lifecycle, start + seconds(5));
    assert_eq!(
        lifecycle.current().map(|it| it.heard),
        Some(start),
        "the old one has no say any more"
    );
}

#[test]
fn a_successor_of_a_live_process_takes_over_what_that_one_holds() {
    let (mut lifecycle, start) = active();
    assert_eq!(
        lifecycle.joined(NEW, SECOND, start),
        Some(LifecycleAction::Evacuate(FIRST))
    );
    assert_eq!(lifecycle.active(), Some(SECOND));
}

#[test]
fn an_unlinked_member_that_stays_away_is_suspected() {
    let (mut lifecycle, start) = active();
    lifecycle.unlinked(FIRST, start);
    lifecycle.wake_failed(REFUSED, start);
    let actions = lifecycle.tick(start + seconds(10), true);
    assert!(
        actions.contains(&LifecycleAction::Suspect(FIRST)),
        "{actions:?}"
    );
}

#[test]
fn an_unlinked_member_with_data_is_woken_again_and_again() {
    let (mut lifecycle, start) = active();
    assert_eq!(
        lifecycle.unlinked(FIRST, start),
        Some(LifecycleAction::Wake)
    );
    assert!(
        lifecycle.tick(start + seconds(1), true).is_empty(),
        "under way"
    );
    lifecycle.wake_failed(REFUSED, start + seconds(1));
    assert!(
        lifecycle.tick(start + seconds(1), true).is_empty(),
        "backed off"
    );
    assert!(
        lifecycle.tick(start + seconds(2), false).is_empty(),
        "not needed"
    );
    assert_eq!(
        lifecycle.tick(start + seconds(2), true),
        [LifecycleAction::Wake]
    );
    assert_eq!(
        lifecycle.joined(NEW, SECOND, start),
        Some(LifecycleAction::Lost(FIRST))
    );
}

#[test]
fn a_draining_member_takes_no_chunks_and_lives_beside_its_successor() {
    let (mut lifecycle, start) = active();
    lifecycle.current_if(FIRST).unwrap().start_draining();
    assert_eq!(lifecycle.state(), NodeState::Draining);
    assert_eq!(lifecycle.active(), None);
    assert!(lifecycle.is_usable(start), "its name can have a successor");
    assert_eq!(lifecycle.wanted(start), Some(LifecycleAction::Wake));
    assert_eq!(lifecycle.joined(NEW, SECOND, start), None);
    assert_eq!(lifecycle.active(), Some(SECOND));
    assert_eq!(
        lifecycle.unlinked(FIRST, start),
        None,
        "no longer this life's concern"
    );
}

#[test]
fn back_offs_are_spread_over_their_second_half() {
    let start = Instant::now();
    let waits: Vec<Duration> = (0..100)
        .map(|seed| {
            let mut lifecycle = Lifecycle::new(TIMING, seed);
            lifecycle.wanted(start);
            assert!(lifecycle.wake_failed(REFUSED, start));
            let retry =
                (0..).find(|millis| lifecycle.is_usable(start + Duration::from_millis(*millis)));
            Duration::from_millis(retry.unwrap())
        })
        .collect();
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*least >= TIMING.wake_backoff / 2);
    assert!(*most <= TIMING.wake_backoff);
    assert!(
        *most - *least > TIMING.wake_backoff / 3,
        "{least:?} {most:?}"
    );
}

#[test]
fn a_failure_that_comes_after_the_node_dialled_counts_for_nothing() {
    let (mut lifecycle, start) = active();
    assert!(!lifecycle.wake_failed(WakeFailure::TimedOut, start));
    assert_eq!(lifecycle.backoff().failure(), None);
    assert!(lifecycle.is_usable(start));
}

#[test]
fn why_a_wake_failed_is_told_until_one_succeeds() {
    let start = Instant::now();
    let mut lifecycle = Lifecycle::new(TIMING, 1);
    lifecycle.wanted(start);
    lifecycle.wake_failed(WakeFailure::Fenced, start);
    assert_eq!(lifecycle.backoff().failure(), Some(WakeFailure::Fenced));
    lifecycle.wanted(start + seconds(1));
    assert_eq!(lifecycle.backoff().failure(), Some(WakeFailure::Fenced));
    lifecycle.joined(OLD, FIRST, start + seconds(1));
    assert_eq!(lifecycle.backoff().failure(), None);
}

#[test]
fn a_member_that_was_heard_of_lately_is_relied_on_without_a_preflight() {
    let (mut lifecycle, start) = active();
    let just_fresh = start + seconds(2) - Duration::from_millis(1);
    assert!(lifecycle.is_fresh(just_fresh));
    assert_eq!(lifecycle.relied_on(just_fresh), None);
    heard_of(&mut lifecycle, start + seconds(1));
    assert_eq!(lifecycle.relied_on(start + seconds(2)), None);
    assert_eq!(
        lifecycle.relied_on(start + seconds(3)),
        Some(LifecycleAction::Preflight(FIRST, start + seconds(3)))
    );
}

#[test]
fn however_many_rely_on_a_silent_member_it_is_pinged_once() {
    let (mut lifecycle, start) = active();
    let sent = start + seconds(2);
    assert!(!lifecycle.is_fresh(sent));
    assert_eq!(
        lifecycle.relied_on(sent),
        Some(LifecycleAction::Preflight(FIRST, sent))
    );
    assert_eq!(lifecycle.relied_on(sent), None);
    heard_of(&mut lifecycle, sent + Duration::from_millis(1));
    assert!(lifecycle.is_fresh(sent + seconds(1)));
    assert!(!unanswered(&mut lifecycle, sent), "answered");
    assert_eq!(
        lifecycle.relied_on(sent + seconds(3)),
        Some(LifecycleAction::Preflight(FIRST, sent + seconds(3)))
    );
}

#[test]
fn a_member_that_does_not_answer_a_preflight_is_woken_and_stays_a_member() {
    let (mut lifecycle, start) = active();
    let sent = start + seconds(2);
    lifecycle.relied_on(sent);
    assert!(unanswered(&mut lifecycle, sent));
    let late = sent + seconds(1);
    assert_eq!(lifecycle.doubted(FIRST, late), Some(LifecycleAction::Wake));
    assert_eq!(lifecycle.active(), Some(FIRST), "the link may only be slow");
    assert_eq!(lifecycle.doubted(FIRST, late), None, "it is being woken");
    assert_eq!(
        lifecycle.relied_on(late),
        Some(LifecycleAction::Preflight(FIRST, late))
    );

    assert_eq!(lifecycle.joined(OLD, FIRST, late), None);
    assert!(lifecycle.is_fresh(late));
    assert_eq!(
        lifecycle.tick(late + seconds(5), false),
        [LifecycleAction::Ping(FIRST)]
    );
    assert_eq!(lifecycle.backoff().failure(), None);
}

#[test]
fn a_member_whose_preflight_wakes_another_instance_is_left_to_that() {
    let (mut lifecycle, start) = active();
    let sent = start + seconds(2);
    lifecycle.relied_on(sent);
    assert!(unanswered(&mut lifecycle, sent));
    lifecycle.doubted(FIRST, sent);
    assert_eq!(
        lifecycle.joined(NEW, SECOND, sent),
        Some(LifecycleAction::Evacuate(FIRST))
    );
    assert!(!unanswered(&mut lifecycle, sent));
    assert_eq!(lifecycle.doubted(FIRST, sent), None);
}

#[test]
fn a_wake_of_a_silent_member_that_fails_is_backed_off() {
    let (mut lifecycle, start) = active();
    let sent = start + seconds(2);
    lifecycle.relied_on(sent);
    unanswered(&mut lifecycle, sent);
    lifecycle.doubted(FIRST, sent);
    assert!(lifecycle.wake_failed(WakeFailure::TimedOut, sent));
    assert_eq!(lifecycle.doubted(FIRST, sent), None);
    assert_eq!(
        lifecycle.doubted(FIRST, sent + seconds(1)),
        Some(LifecycleAction::Wake)
    );
    assert_eq!(lifecycle.backoff().failure(), Some(WakeFailure::TimedOut));
}

#[test]
fn a_draining_member_that_answers_in_its_successors_place_goes_on_draining() {
    let (mut lifecycle, start) = active();
    lifecycle.current_if(FIRST).unwrap().start_draining();
    assert_eq!(lifecycle.wanted(start), Some(LifecycleAction::Wake));
    assert_eq!(lifecycle.joined(OLD, FIRST, start), None);
    assert_eq!(lifecycle.state(), NodeState::Draining);
    assert_eq!(lifecycle.active(), None);
    assert!(
        !lifecycle.is_usable(start),
        "not before it is gone, or some time has passed"
    );
    assert!(lifecycle.is_usable(start + seconds(2)));
}

#[test]
fn a_member_that_knows_nothing_of_its_end_may_dial_again_and_goes_on_draining() {
    let (mut lifecycle, start) = active();
    lifecycle.current_if(FIRST).unwrap().start_draining();
    assert_eq!(lifecycle.wanted(start), Some(LifecycleAction::Wake));
    // It is woken in its successor's place, and closes its link before it dials.
    assert_eq!(lifecycle.unlinked(FIRST, start), None);
    assert_eq!(lifecycle.joined(OLD, FIRST, start), None);
    assert_eq!(lifecycle.state(), NodeState::Draining);

    assert_eq!(lifecycle.unlinked(FIRST, start), None, "backed off");
    let actions = lifecycle.tick(start + TIMING.lost_after, true);
    assert!(
        actions.contains(&LifecycleAction::Suspect(FIRST)),
        "{actions:?}"
    );
}

#[test]
fn a_member_that_said_goodbye_is_gone_once_its_link_is() {
    let (mut lifecycle, start) = active();
    lifecycle.current_if(FIRST).unwrap().start_draining();
    lifecycle.current_if(FIRST).unwrap().says_bye();
    assert!(!stays(&lifecycle, FIRST));
    assert_eq!(lifecycle.wanted(start), Some(LifecycleAction::Wake));
    assert_eq!(
        lifecycle.unlinked(FIRST, start),
        Some(LifecycleAction::Lost(FIRST))
    );
}

#[test]
fn a_successor_takes_the_place_of_one_whose_link_is_gone() {
    let (mut lifecycle, start) = active();
    lifecycle.current_if(FIRST).unwrap().start_draining();
    assert_eq!(
        lifecycle.unlinked(FIRST, start),
        Some(LifecycleAction::Wake)
    );
    assert_eq!(
        lifecycle.joined(NEW, SECOND, start),
        Some(LifecycleAction::Lost(FIRST))
    );
    assert!(stays(&lifecycle, SECOND) && !stays(&lifecycle, FIRST));
}

#[test]
fn a_draining_member_is_pinged_but_not_woken() {
    let (mut lifecycle, start) = active();
    lifecycle.current_if(FIRST).unwrap().start_draining();
    let sent = start + seconds(2);
    assert_eq!(
        lifecycle.relied_on(sent),
        Some(LifecycleAction::Preflight(FIRST, sent))
    );
    assert!(unanswered(&mut lifecycle, sent));
    assert_eq!(lifecycle.doubted(FIRST, sent), None);
}

#[test]
fn a_member_that_rests_is_woken_once_when_it_is_relied_on() {
    let (mut lifecycle, start) = active();
    assert_eq!(lifecycle.relied_on(start), None);
    lifecycle.rests(FIRST);
    assert!(lifecycle.current().is_some_and(|it| it.resting));
    assert_eq!(lifecycle.active(), Some(FIRST), "it serves as before");
    assert_eq!(lifecycle.relied_on(start), Some(LifecycleAction::Resume));
    assert!(!lifecycle.current().is_some_and(|it| it.resting));
    assert_eq!(lifecycle.relied_on(start), None);
    lifecycle.renewed();
    assert_eq!(lifecycle.relied_on(start), None);
    lifecycle.rests(SECOND);
    assert!(
        !lifecycle.current().is_some_and(|it| it.resting),
        "somebody else"
    );
}

#[test]
fn a_goodbye_that_crosses_the_wake_after_it_is_out_of_date() {
    let (mut lifecycle, start) = active();
    lifecycle.rests(FIRST);
    lifecycle.relied_on(start);
    lifecycle.rests(FIRST);
    assert!(!lifecycle.current().is_some_and(|it| it.resting));
}

#[test]
fn a_member_that_cannot_be_resumed_is_tried_again_after_a_while() {
    let (mut lifecycle, start) = active();
    lifecycle.rests(FIRST);
    lifecycle.relied_on(start);
    lifecycle.renewal_failed(REFUSED, start);
    assert_eq!(lifecycle.backoff().failure(), Some(REFUSED));
    assert_eq!(lifecycle.active(), Some(FIRST));
    assert_eq!(lifecycle.relied_on(start), None, "backed off");
    assert_eq!(
        lifecycle.relied_on(start + seconds(1)),
        Some(LifecycleAction::Resume)
    );
    lifecycle.renewed();
    assert_eq!(lifecycle.backoff().failure(), None);
}

#[test]
fn a_member_that_rests_is_kept_awake_for_what_it_holds() {
    let (mut lifecycle, start) = active();
    lifecycle.rests(FIRST);
    heard_of(&mut lifecycle, start + seconds(20));
    let actions = lifecycle.tick(start + seconds(20), true);
    assert!(actions.contains(&LifecycleAction::KeepAwake));
    assert!(!lifecycle.current().is_some_and(|it| it.resting));
}

#[test]
fn while_a_wake_is_held_open_no_other_is_needed_and_then_the_member_rests() {
    let (mut lifecycle, start) = active();
    lifecycle.held_open();
    heard_of(&mut lifecycle, start + seconds(50));
    let keeps_awake = |lifecycle: &mut Lifecycle, at| lifecycle.tick(start + seconds(at), true);
    assert!(!keeps_awake(&mut lifecycle, 40).contains(&LifecycleAction::KeepAwake));
    lifecycle.let_go(start + seconds(45));
    assert!(lifecycle.current().is_some_and(|it| it.resting));
    heard_of(&mut lifecycle, start + seconds(64));
    assert!(!keeps_awake(&mut lifecycle, 64).contains(&LifecycleAction::KeepAwake));
    assert!(keeps_awake(&mut lifecycle, 65).contains(&LifecycleAction::KeepAwake));
}

#[test]
fn a_response_that_a_later_one_took_over_from_ends_no_session() {
    let (mut lifecycle, start) = active();
    lifecycle.held_open();
    lifecycle.held_open();
    lifecycle.let_go(start);
    assert!(!lifecycle.current().is_some_and(|it| it.resting));
    lifecycle.let_go(start);
    assert!(lifecycle.current().is_some_and(|it| it.resting));
}

#[test]
fn one_wake_for_a_session_is_under_way_at_a_time() {
    let (mut lifecycle, start) = active();
    heard_of(&mut lifecycle, start + seconds(40));
    let first = lifecycle.tick(start + seconds(20), true);
    assert!(first.contains(&LifecycleAction::KeepAwake));
    let second = lifecycle.tick(start + seconds(40), true);
    assert!(!second.contains(&LifecycleAction::KeepAwake));
    lifecycle.rests(FIRST);
    assert_eq!(lifecycle.relied_on(start + seconds(40)), None);
}

#[test]
fn an_instance_that_answers_in_a_members_place_gets_a_session_of_its_own() {
    let (mut lifecycle, start) = active();
    assert_eq!(
        lifecycle.renewal_failed(WakeFailure::OtherInstance, start),
        Some(LifecycleAction::Wake)
    );
    assert_eq!(
        lifecycle.renewal_failed(WakeFailure::OtherInstance, start),
        None
    );
    assert_eq!(
        lifecycle.backoff().failure(),
        Some(WakeFailure::OtherInstance)
    );
    assert_eq!(
        lifecycle.joined(NEW, SECOND, start),
        Some(LifecycleAction::Evacuate(FIRST))
    );
    assert_eq!(lifecycle.backoff().failure(), None);
}

#[test]
fn a_proxy_that_was_held_up_gives_nobody_up_for_it() {
    let (mut lifecycle, start) = active();
    let gap = seconds(60);
    lifecycle.held_up(gap);
    assert!(lifecycle.is_fresh(start + gap));
    let actions = lifecycle.tick(start + gap, true);
    assert!(
        !actions.contains(&LifecycleAction::Suspect(FIRST)),
        "{actions:?}"
    );
    let silent = lifecycle.tick(start + gap + TIMING.lost_after, true);
    assert!(
        silent.contains(&LifecycleAction::Suspect(FIRST)),
        "{silent:?}"
    );
}

#[test]
fn a_node_whose_wakes_fail_is_doubtful_until_one_succeeds() {
    let now = Instant::now();
    let mut lifecycle = Lifecycle::new(TIMING, 1);
    assert!(!lifecycle.is_doubtful(now));
    lifecycle.wanted(now);
    lifecycle.wake_failed(REFUSED, now);
    let later = now + seconds(5);
    assert!(lifecycle.is_usable(later) && lifecycle.is_doubtful(later));
    lifecycle.wanted(later);
    lifecycle.joined(OLD, FIRST, later);
    assert!(!lifecycle.is_doubtful(later));
    assert!(lifecycle.is_doubtful(later + seconds(3)), "silent");
}
