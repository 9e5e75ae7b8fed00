use super::*;

const TIMING: Timing = Timing {
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
fn active() -> (Life, Instant) {
    let start = Instant::now();
    let mut life = Life::new(TIMING, 1);
    assert_eq!(life.wanted(start), Some(Action::Wake));
    assert_eq!(life.joined(OLD, FIRST, start), None);
    (life, start)
}

#[test]
fn however_many_want_a_sleeping_node_it_is_woken_once() {
    let now = Instant::now();
    let mut life = Life::new(TIMING, 1);
    assert_eq!(life.state(), NodeState::Asleep);
    assert_eq!(life.wanted(now), Some(Action::Wake));
    assert_eq!(life.wanted(now), None);
    assert_eq!(life.state(), NodeState::Waking);
    life.joined(OLD, FIRST, now);
    assert_eq!(life.wanted(now), None);
    assert_eq!(life.active(), Some(FIRST));
}

#[test]
fn a_wake_that_nobody_answers_fails_and_is_not_repeated_at_once() {
    let start = Instant::now();
    let mut life = Life::new(TIMING, 1);
    life.wanted(start);
    assert!(life.tick(start + seconds(4), false).is_empty());
    assert_eq!(life.tick(start + seconds(5), false), [Action::NeverDialled]);
    assert_eq!(life.state(), NodeState::Lost);
    assert_eq!(life.failure(), Some(WakeFailure::NeverDialled));
    assert!(!life.is_usable(start + seconds(5)));
    assert_eq!(life.wanted(start + seconds(5)), None);
    assert!(life.is_usable(start + seconds(6)));
    assert_eq!(life.wanted(start + seconds(6)), Some(Action::Wake));
    life.wake_failed(REFUSED, start + seconds(6));
    assert_eq!(
        life.wanted(start + seconds(7)),
        None,
        "the back-off doubles"
    );
    assert_eq!(life.wanted(start + seconds(8)), Some(Action::Wake));
}

#[test]
fn a_silent_member_is_pinged_and_then_suspected() {
    let (mut life, start) = active();
    assert_eq!(life.tick(start + seconds(1), false), [Action::Ping(FIRST)]);
    life.heard_of(FIRST, start + seconds(1));
    for second in 2..11 {
        assert_eq!(
            life.tick(start + seconds(second), false),
            [Action::Ping(FIRST)]
        );
    }
    let suspected = [Action::Suspect(FIRST), Action::Ping(FIRST)];
    assert_eq!(life.tick(start + seconds(11), false), suspected);
    assert_eq!(life.state(), NodeState::Active, "it may come back");
}

#[test]
fn a_suspected_member_is_lost_if_the_pool_can_do_without_it_and_it_is_still_silent() {
    let (mut life, start) = active();
    assert!(!life.lost_in_silence(FIRST, start + seconds(9)));
    assert!(!life.lost_in_silence(SECOND, start + seconds(10)));
    assert!(life.lost_in_silence(FIRST, start + seconds(10)));
    assert_eq!(life.state(), NodeState::Asleep);
}

#[test]
fn a_member_that_is_silent_for_very_long_is_dead() {
    let (mut life, start) = active();
    let almost = start + seconds(899);
    assert!(!life.tick(almost, true).contains(&Action::Lost(FIRST)));
    assert_eq!(life.tick(start + seconds(900), true), [Action::Lost(FIRST)]);
    assert_eq!(life.state(), NodeState::Asleep);
}

#[test]
fn a_suspected_member_with_data_is_woken_so_that_a_successor_tells_if_it_is_dead() {
    let (mut life, start) = active();
    let actions = life.tick(start + seconds(10), true);
    assert!(actions.contains(&Action::Wake), "{actions:?}");
    assert!(!life.tick(start + seconds(11), true).contains(&Action::Wake));
    assert_eq!(
        life.joined(NEW, SECOND, start + seconds(12)),
        Some(Action::Vacate(FIRST))
    );
}

#[test]
fn only_a_node_with_data_is_kept_awake() {
    let (mut life, start) = active();
    life.heard_of(FIRST, start + seconds(30));
    let with_data = life.tick(start + seconds(20), true);
    assert!(with_data.contains(&Action::KeepAwake));
    assert!(
        !life
            .tick(start + seconds(21), true)
            .contains(&Action::KeepAwake)
    );
    assert!(
        !life
            .tick(start + seconds(40), false)
            .contains(&Action::KeepAwake)
    );
}

#[test]
fn a_process_that_dials_again_is_the_member_that_it_was() {
    let (mut life, start) = active();
    assert_eq!(life.unlinked(FIRST, start), Some(Action::Wake));
    assert_eq!(life.active(), None);
    assert_eq!(life.member(), Some((FIRST, OLD)));
    assert_eq!(life.joined(OLD, FIRST, start), None);
    assert_eq!(life.active(), Some(FIRST));
}

#[test]
fn a_successor_of_a_dead_process_ends_its_membership() {
    let (mut life, start) = active();
    life.unlinked(FIRST, start);
    assert_eq!(life.joined(NEW, SECOND, start), Some(Action::Lost(FIRST)));
    assert_eq!(life.active(), Some(SECOND));
    life.heard_of(FIRST, start + seconds(5));
    assert_eq!(life.heard(), Some(start), "the old one has no say any more");
}

#[test]
fn a_successor_of_a_live_process_takes_over_what_that_one_holds() {
    let (mut life, start) = active();
    assert_eq!(life.joined(NEW, SECOND, start), Some(Action::Vacate(FIRST)));
    assert_eq!(life.active(), Some(SECOND));
}

#[test]
fn an_unlinked_member_that_stays_away_is_suspected() {
    let (mut life, start) = active();
    life.unlinked(FIRST, start);
    life.wake_failed(REFUSED, start);
    let actions = life.tick(start + seconds(10), true);
    assert!(actions.contains(&Action::Suspect(FIRST)), "{actions:?}");
}

#[test]
fn an_unlinked_member_with_data_is_woken_again_and_again() {
    let (mut life, start) = active();
    assert_eq!(life.unlinked(FIRST, start), Some(Action::Wake));
    assert!(life.tick(start + seconds(1), true).is_empty(), "under way");
    life.wake_failed(REFUSED, start + seconds(1));
    assert!(life.tick(start + seconds(1), true).is_empty(), "backed off");
    assert!(
        life.tick(start + seconds(2), false).is_empty(),
        "not needed"
    );
    assert_eq!(life.tick(start + seconds(2), true), [Action::Wake]);
    assert_eq!(life.joined(NEW, SECOND, start), Some(Action::Lost(FIRST)));
}

#[test]
fn a_draining_member_takes_no_chunks_and_lives_beside_its_successor() {
    let (mut life, start) = active();
    life.leaving(FIRST);
    assert_eq!(life.state(), NodeState::Draining);
    assert_eq!(life.active(), None);
    assert!(life.is_usable(start), "its name can have a successor");
    assert_eq!(life.wanted(start), Some(Action::Wake));
    assert_eq!(life.joined(NEW, SECOND, start), None);
    assert_eq!(life.active(), Some(SECOND));
    assert_eq!(
        life.unlinked(FIRST, start),
        None,
        "no longer this life's concern"
    );
}

#[test]
fn back_offs_are_spread_over_their_second_half() {
    let start = Instant::now();
    let waits: Vec<Duration> = (0..100)
        .map(|seed| {
            let mut life = Life::new(TIMING, seed);
            life.wanted(start);
            assert!(life.wake_failed(REFUSED, start));
            let retry = (0..).find(|millis| life.is_usable(start + Duration::from_millis(*millis)));
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
    let (mut life, start) = active();
    assert!(!life.wake_failed(WakeFailure::TimedOut, start));
    assert_eq!(life.failure(), None);
    assert!(life.is_usable(start));
}

#[test]
fn why_a_wake_failed_is_told_until_one_succeeds() {
    let start = Instant::now();
    let mut life = Life::new(TIMING, 1);
    life.wanted(start);
    life.wake_failed(WakeFailure::Superseded, start);
    assert_eq!(life.failure(), Some(WakeFailure::Superseded));
    life.wanted(start + seconds(1));
    assert_eq!(life.failure(), Some(WakeFailure::Superseded));
    life.joined(OLD, FIRST, start + seconds(1));
    assert_eq!(life.failure(), None);
}

#[test]
fn a_member_that_was_heard_of_lately_is_relied_on_without_a_preflight() {
    let (mut life, start) = active();
    let just_fresh = start + seconds(2) - Duration::from_millis(1);
    assert!(life.is_fresh(just_fresh));
    assert_eq!(life.relied_on(just_fresh), None);
    life.heard_of(FIRST, start + seconds(1));
    assert_eq!(life.relied_on(start + seconds(2)), None);
    assert_eq!(
        life.relied_on(start + seconds(3)),
        Some(Action::Preflight(FIRST, start + seconds(3)))
    );
}

#[test]
fn however_many_rely_on_a_silent_member_it_is_pinged_once() {
    let (mut life, start) = active();
    let sent = start + seconds(2);
    assert!(!life.is_fresh(sent));
    assert_eq!(life.relied_on(sent), Some(Action::Preflight(FIRST, sent)));
    assert_eq!(life.relied_on(sent), None);
    life.heard_of(FIRST, sent + Duration::from_millis(1));
    assert!(life.is_fresh(sent + seconds(1)));
    assert!(!life.unanswered(FIRST, sent), "answered");
    assert_eq!(
        life.relied_on(sent + seconds(3)),
        Some(Action::Preflight(FIRST, sent + seconds(3)))
    );
}

#[test]
fn a_member_that_does_not_answer_a_preflight_is_woken_and_stays_a_member() {
    let (mut life, start) = active();
    let sent = start + seconds(2);
    life.relied_on(sent);
    assert!(life.unanswered(FIRST, sent));
    let late = sent + seconds(1);
    assert_eq!(life.doubted(FIRST, late), Some(Action::Wake));
    assert_eq!(life.active(), Some(FIRST), "the link may only be slow");
    assert_eq!(life.doubted(FIRST, late), None, "it is being woken");
    assert_eq!(life.relied_on(late), Some(Action::Preflight(FIRST, late)));

    assert_eq!(life.joined(OLD, FIRST, late), None);
    assert!(life.is_fresh(late));
    assert_eq!(life.tick(late + seconds(5), false), [Action::Ping(FIRST)]);
    assert_eq!(life.failure(), None);
}

#[test]
fn a_member_whose_preflight_wakes_another_instance_is_left_to_that() {
    let (mut life, start) = active();
    let sent = start + seconds(2);
    life.relied_on(sent);
    assert!(life.unanswered(FIRST, sent));
    life.doubted(FIRST, sent);
    assert_eq!(life.joined(NEW, SECOND, sent), Some(Action::Vacate(FIRST)));
    assert!(!life.unanswered(FIRST, sent));
    assert_eq!(life.doubted(FIRST, sent), None);
}

#[test]
fn a_wake_of_a_silent_member_that_fails_is_backed_off() {
    let (mut life, start) = active();
    let sent = start + seconds(2);
    life.relied_on(sent);
    life.unanswered(FIRST, sent);
    life.doubted(FIRST, sent);
    assert!(life.wake_failed(WakeFailure::TimedOut, sent));
    assert_eq!(life.doubted(FIRST, sent), None);
    assert_eq!(life.doubted(FIRST, sent + seconds(1)), Some(Action::Wake));
    assert_eq!(life.failure(), Some(WakeFailure::TimedOut));
}

#[test]
fn a_draining_member_that_answers_in_its_successors_place_goes_on_draining() {
    let (mut life, start) = active();
    life.leaving(FIRST);
    assert_eq!(life.wanted(start), Some(Action::Wake));
    assert_eq!(life.joined(OLD, FIRST, start), None);
    assert_eq!(life.state(), NodeState::Draining);
    assert_eq!(life.active(), None);
    assert!(
        !life.is_usable(start),
        "not before it is gone, or some time has passed"
    );
    assert!(life.is_usable(start + seconds(2)));
}

#[test]
fn a_member_that_knows_nothing_of_its_end_may_dial_again_and_goes_on_draining() {
    let (mut life, start) = active();
    life.leaving(FIRST);
    assert_eq!(life.wanted(start), Some(Action::Wake));
    // It is woken in its successor's place, and closes its link before it dials.
    assert_eq!(life.unlinked(FIRST, start), None);
    assert_eq!(life.joined(OLD, FIRST, start), None);
    assert_eq!(life.state(), NodeState::Draining);

    assert_eq!(life.unlinked(FIRST, start), None, "backed off");
    let actions = life.tick(start + TIMING.lost_after, true);
    assert!(actions.contains(&Action::Suspect(FIRST)), "{actions:?}");
}

#[test]
fn a_member_that_said_goodbye_is_gone_once_its_link_is() {
    let (mut life, start) = active();
    life.leaving(FIRST);
    life.departs(FIRST);
    assert!(!life.stays(FIRST));
    assert_eq!(life.wanted(start), Some(Action::Wake));
    assert_eq!(life.unlinked(FIRST, start), Some(Action::Lost(FIRST)));
}

#[test]
fn a_successor_takes_the_place_of_one_whose_link_is_gone() {
    let (mut life, start) = active();
    life.leaving(FIRST);
    assert_eq!(life.unlinked(FIRST, start), Some(Action::Wake));
    assert_eq!(life.joined(NEW, SECOND, start), Some(Action::Lost(FIRST)));
    assert!(life.stays(SECOND) && !life.stays(FIRST));
}

#[test]
fn a_draining_member_is_pinged_but_not_woken() {
    let (mut life, start) = active();
    life.leaving(FIRST);
    let sent = start + seconds(2);
    assert_eq!(life.relied_on(sent), Some(Action::Preflight(FIRST, sent)));
    assert!(life.unanswered(FIRST, sent));
    assert_eq!(life.doubted(FIRST, sent), None);
}

#[test]
fn a_member_that_rests_is_woken_once_when_it_is_relied_on() {
    let (mut life, start) = active();
    assert_eq!(life.relied_on(start), None);
    life.rests(FIRST);
    assert!(life.is_resting());
    assert_eq!(life.active(), Some(FIRST), "it serves as before");
    assert_eq!(life.relied_on(start), Some(Action::Resume));
    assert!(!life.is_resting());
    assert_eq!(life.relied_on(start), None);
    life.renewed();
    assert_eq!(life.relied_on(start), None);
    life.rests(SECOND);
    assert!(!life.is_resting(), "somebody else");
}

#[test]
fn a_goodbye_that_crosses_the_wake_after_it_is_out_of_date() {
    let (mut life, start) = active();
    life.rests(FIRST);
    life.relied_on(start);
    life.rests(FIRST);
    assert!(!life.is_resting());
}

#[test]
fn a_member_that_cannot_be_resumed_is_tried_again_after_a_while() {
    let (mut life, start) = active();
    life.rests(FIRST);
    life.relied_on(start);
    life.renewal_failed(REFUSED, start);
    assert_eq!(life.failure(), Some(REFUSED));
    assert_eq!(life.active(), Some(FIRST));
    assert_eq!(life.relied_on(start), None, "backed off");
    assert_eq!(life.relied_on(start + seconds(1)), Some(Action::Resume));
    life.renewed();
    assert_eq!(life.failure(), None);
}

#[test]
fn a_member_that_rests_is_kept_awake_for_what_it_holds() {
    let (mut life, start) = active();
    life.rests(FIRST);
    life.heard_of(FIRST, start + seconds(20));
    let actions = life.tick(start + seconds(20), true);
    assert!(actions.contains(&Action::KeepAwake));
    assert!(!life.is_resting());
}

#[test]
fn while_a_wake_is_held_open_no_other_is_needed_and_then_the_member_rests() {
    let (mut life, start) = active();
    life.held_open();
    life.heard_of(FIRST, start + seconds(50));
    let keeps_awake = |life: &mut Life, at| life.tick(start + seconds(at), true);
    assert!(!keeps_awake(&mut life, 40).contains(&Action::KeepAwake));
    life.let_go(start + seconds(45));
    assert!(life.is_resting());
    life.heard_of(FIRST, start + seconds(64));
    assert!(!keeps_awake(&mut life, 64).contains(&Action::KeepAwake));
    assert!(keeps_awake(&mut life, 65).contains(&Action::KeepAwake));
}

#[test]
fn a_response_that_a_later_one_took_over_from_ends_no_session() {
    let (mut life, start) = active();
    life.held_open();
    life.held_open();
    life.let_go(start);
    assert!(!life.is_resting());
    life.let_go(start);
    assert!(life.is_resting());
}

#[test]
fn one_wake_for_a_session_is_under_way_at_a_time() {
    let (mut life, start) = active();
    life.heard_of(FIRST, start + seconds(40));
    let first = life.tick(start + seconds(20), true);
    assert!(first.contains(&Action::KeepAwake));
    let second = life.tick(start + seconds(40), true);
    assert!(!second.contains(&Action::KeepAwake));
    life.rests(FIRST);
    assert_eq!(life.relied_on(start + seconds(40)), None);
}

#[test]
fn an_instance_that_answers_in_a_members_place_gets_a_session_of_its_own() {
    let (mut life, start) = active();
    assert_eq!(life.usurped(start), Some(Action::Wake));
    assert_eq!(life.usurped(start), None);
    assert_eq!(life.failure(), Some(WakeFailure::OtherInstance));
    assert_eq!(life.joined(NEW, SECOND, start), Some(Action::Vacate(FIRST)));
    assert_eq!(life.failure(), None);
}

#[test]
fn a_proxy_that_was_held_up_gives_nobody_up_for_it() {
    let (mut life, start) = active();
    let gap = seconds(60);
    life.held_up(gap);
    assert!(life.is_fresh(start + gap));
    let actions = life.tick(start + gap, true);
    assert!(!actions.contains(&Action::Suspect(FIRST)), "{actions:?}");
    let silent = life.tick(start + gap + TIMING.lost_after, true);
    assert!(silent.contains(&Action::Suspect(FIRST)), "{silent:?}");
}

#[test]
fn a_node_whose_wakes_fail_is_doubtful_until_one_succeeds() {
    let now = Instant::now();
    let mut life = Life::new(TIMING, 1);
    assert!(!life.is_doubtful(now));
    life.wanted(now);
    life.wake_failed(REFUSED, now);
    let later = now + seconds(5);
    assert!(life.is_usable(later) && life.is_doubtful(later));
    life.wanted(later);
    life.joined(OLD, FIRST, later);
    assert!(!life.is_doubtful(later));
    assert!(life.is_doubtful(later + seconds(3)), "silent");
}
