//! A life on a clock that only the tests move.

use super::*;

const START: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);
const TERM_DELAY: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(20);
const STOP_GRACE: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

/// A life, and the time.
struct Scene {
    processes: NodeProcesses,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ProcessTimings)) -> Self {
        let mut timing = ProcessTimings {
            start: START,
            idle_window: IDLE,
            term_delay: TERM_DELAY,
            grace: GRACE,
            stop_grace: STOP_GRACE,
            ..ProcessTimings::default()
        };
        change(&mut timing);
        Self {
            processes: NodeProcesses::new(timing),
            now: Instant::now(),
        }
    }

    /// With a first process that has one request in flight.
    fn serving() -> Self {
        let mut scene = Self::new();
        assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Launch(1)]);
        assert_eq!(
            scene.on(ProcessEvent::Healthy(1)),
            [ProcessAction::Admit(1)]
        );
        scene
    }

    /// With a first process that has been told to go.
    fn leaving() -> Self {
        let mut scene = Self::serving();
        scene.on(ProcessEvent::Ended(1));
        assert_eq!(scene.after(IDLE), []);
        assert_eq!(scene.after(TERM_DELAY), [ProcessAction::Terminate(1)]);
        scene
    }

    fn on(&mut self, event: ProcessEvent) -> Vec<ProcessAction> {
        self.processes.on(self.now, event)
    }

    fn exit(&mut self, serial: Serial) -> Vec<ProcessAction> {
        self.on(ProcessEvent::Exited(serial, "exit status: 3".into()))
    }

    fn after(&mut self, time: Duration) -> Vec<ProcessAction> {
        self.now += time;
        self.processes.tick(self.now)
    }

    fn serials(&self) -> Vec<Serial> {
        self.processes
            .processes()
            .iter()
            .map(|p| p.serial)
            .collect()
    }
}

#[test]
fn a_name_without_requests_has_no_process_and_no_timer() {
    let mut scene = Scene::new();
    assert_eq!(scene.after(IDLE * 100), []);
    assert_eq!(scene.processes.deadline(), None);
    assert_eq!(scene.processes.started(), 0);
}

#[test]
fn requests_at_once_start_one_process_and_are_admitted_together() {
    let mut scene = Scene::new();
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Launch(1)]);
    assert_eq!(scene.on(ProcessEvent::Request), []);
    assert_eq!(
        scene.on(ProcessEvent::Healthy(1)),
        [ProcessAction::Admit(1)]
    );
    let ProcessPhase::Serving { in_flight, .. } = scene.processes.processes()[0].phase else {
        panic!("{:?}", scene.processes);
    };
    assert_eq!(in_flight, 2);
}

#[test]
fn a_request_for_a_serving_process_is_admitted_at_once() {
    let mut scene = Scene::serving();
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Admit(1)]);
    assert_eq!(scene.processes.started(), 1);
}

#[test]
fn a_process_with_a_request_in_flight_is_never_idle() {
    let mut scene = Scene::serving();
    assert_eq!(scene.processes.deadline(), None);
    assert_eq!(scene.after(IDLE * 10), []);
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Admit(1)]);
    scene.on(ProcessEvent::Ended(1));
    assert_eq!(
        scene.processes.deadline(),
        None,
        "the other one is in flight"
    );
}

#[test]
fn the_idle_window_begins_when_the_last_request_ends() {
    let mut scene = Scene::serving();
    scene.after(IDLE);
    scene.on(ProcessEvent::Ended(1));
    assert_eq!(scene.processes.deadline(), Some(scene.now + IDLE));
}

#[test]
fn a_request_within_the_idle_window_begins_it_anew() {
    let mut scene = Scene::serving();
    scene.on(ProcessEvent::Ended(1));
    scene.after(IDLE - MOMENT);
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Admit(1)]);
    scene.on(ProcessEvent::Ended(1));
    assert_eq!(scene.after(IDLE - MOMENT), []);
    assert_eq!(scene.after(MOMENT), []);
    assert_eq!(scene.after(TERM_DELAY), [ProcessAction::Terminate(1)]);
}

#[test]
fn a_process_whose_requests_left_before_it_was_healthy_becomes_idle() {
    let mut scene = Scene::new();
    scene.on(ProcessEvent::Request);
    scene.on(ProcessEvent::Healthy(1));
    scene.on(ProcessEvent::Ended(1));
    scene.after(IDLE);
    assert_eq!(scene.after(TERM_DELAY), [ProcessAction::Terminate(1)]);
}

#[test]
fn an_idle_process_is_told_to_go_after_the_delay_and_made_to_after_its_grace() {
    let mut scene = Scene::serving();
    scene.on(ProcessEvent::Ended(1));
    assert_eq!(scene.after(IDLE - MOMENT), []);
    assert_eq!(scene.after(MOMENT), []);
    assert_eq!(scene.after(TERM_DELAY - MOMENT), []);
    assert_eq!(scene.after(MOMENT), [ProcessAction::Terminate(1)]);
    assert_eq!(scene.after(GRACE - MOMENT), []);
    assert_eq!(scene.after(MOMENT), [ProcessAction::Kill(1)]);
    assert_eq!(scene.processes.deadline(), None);
    assert_eq!(scene.serials(), [1], "it is there until it has exited");
    assert_eq!(scene.exit(1), []);
    assert!(scene.serials().is_empty());
}

#[test]
fn without_a_delay_an_idle_process_is_told_to_go_at_once() {
    let mut scene = Scene::with(|timing| timing.term_delay = Duration::ZERO);
    scene.on(ProcessEvent::Request);
    scene.on(ProcessEvent::Healthy(1));
    scene.on(ProcessEvent::Ended(1));
    assert_eq!(scene.after(IDLE), [ProcessAction::Terminate(1)]);
}

#[test]
fn a_process_that_goes_in_time_is_not_killed() {
    let mut scene = Scene::leaving();
    assert_eq!(scene.exit(1), []);
    assert_eq!(scene.processes.deadline(), None);
    assert_eq!(scene.after(GRACE), []);
}

#[test]
fn a_request_during_the_delay_starts_a_new_process_beside_the_old_one() {
    let mut scene = Scene::serving();
    scene.on(ProcessEvent::Ended(1));
    assert_eq!(scene.after(IDLE), []);
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Launch(2)]);
    assert_eq!(scene.serials(), [1, 2]);
    assert_eq!(
        scene.on(ProcessEvent::Healthy(2)),
        [ProcessAction::Admit(2)]
    );
    assert_eq!(scene.after(TERM_DELAY), [ProcessAction::Terminate(1)]);
}

#[test]
fn a_request_during_the_grace_starts_a_new_process_and_the_old_one_keeps_its_grace() {
    let mut scene = Scene::leaving();
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Launch(2)]);
    assert_eq!(
        scene.on(ProcessEvent::Healthy(2)),
        [ProcessAction::Admit(2)]
    );
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Admit(2)]);
    assert_eq!(scene.after(GRACE), [ProcessAction::Kill(1)]);
    assert_eq!(scene.exit(1), []);
    assert_eq!(scene.serials(), [2]);
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Admit(2)]);
}

#[test]
fn the_new_process_can_grow_idle_while_the_old_one_is_still_leaving() {
    let mut scene = Scene::with(|timing| timing.grace = IDLE * 10);
    for serial in 1..=3 {
        assert_eq!(
            scene.on(ProcessEvent::Request),
            [ProcessAction::Launch(serial)]
        );
        scene.on(ProcessEvent::Healthy(serial));
        scene.on(ProcessEvent::Ended(serial));
        scene.after(IDLE);
        assert_eq!(scene.after(TERM_DELAY), [ProcessAction::Terminate(serial)]);
    }
    assert_eq!(scene.serials(), [1, 2, 3]);
}

#[test]
fn a_crashed_process_is_replaced_at_the_next_request() {
    let mut scene = Scene::serving();
    assert_eq!(scene.exit(1), []);
    assert!(scene.serials().is_empty());
    scene.on(ProcessEvent::Ended(1));
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Launch(2)]);
}

#[test]
fn a_process_that_fails_to_start_refuses_who_waits_and_the_next_request_starts_another() {
    let mut scene = Scene::new();
    scene.on(ProcessEvent::Request);
    scene.on(ProcessEvent::Request);
    assert_eq!(
        scene.exit(1),
        [ProcessAction::Refuse(Refusal::Failed(
            "exit status: 3".into()
        ))]
    );
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Launch(2)]);
}

#[test]
fn a_process_that_is_never_healthy_is_killed_and_who_waits_refused() {
    let mut scene = Scene::new();
    scene.on(ProcessEvent::Request);
    assert_eq!(scene.after(START - MOMENT), []);
    assert_eq!(
        scene.after(MOMENT),
        [
            ProcessAction::Kill(1),
            ProcessAction::Refuse(Refusal::Late(START))
        ]
    );
    assert_eq!(scene.on(ProcessEvent::Healthy(1)), [], "too late");
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Launch(2)]);
    assert_eq!(scene.exit(1), [], "who waits for the other is not refused");
    assert_eq!(
        scene.on(ProcessEvent::Healthy(2)),
        [ProcessAction::Admit(2)]
    );
}

#[test]
fn stopping_tells_every_process_to_go_and_makes_it_soon() {
    let mut scene = Scene::leaving();
    scene.on(ProcessEvent::Request);
    assert_eq!(
        scene.on(ProcessEvent::Stop),
        [
            ProcessAction::Refuse(Refusal::Stopping),
            ProcessAction::Terminate(2)
        ]
    );
    assert!(!scene.processes.is_over());
    assert_eq!(
        scene.after(STOP_GRACE),
        [ProcessAction::Kill(1), ProcessAction::Kill(2)]
    );
    scene.exit(1);
    scene.exit(2);
    assert!(scene.processes.is_over());
}

#[test]
fn stopping_never_prolongs_a_grace() {
    let mut scene = Scene::leaving();
    scene.after(GRACE - MOMENT);
    scene.on(ProcessEvent::Stop);
    assert_eq!(scene.after(MOMENT), [ProcessAction::Kill(1)]);
}

#[test]
fn a_request_after_the_stop_is_refused() {
    let mut scene = Scene::new();
    assert_eq!(scene.on(ProcessEvent::Stop), []);
    assert!(scene.processes.is_over());
    assert_eq!(
        scene.on(ProcessEvent::Request),
        [ProcessAction::Refuse(Refusal::Stopping)]
    );
}

#[test]
fn news_of_a_process_that_is_gone_changes_nothing() {
    let mut scene = Scene::serving();
    scene.exit(1);
    assert_eq!(scene.exit(1), []);
    assert_eq!(scene.on(ProcessEvent::Healthy(1)), []);
    assert_eq!(scene.on(ProcessEvent::Ended(1)), []);
    assert!(scene.serials().is_empty());
}

#[test]
fn a_replaced_process_has_a_successor_at_once_and_hears_of_it_after_the_delay() {
    let mut scene = Scene::serving();
    assert_eq!(scene.on(ProcessEvent::Replace), [ProcessAction::Launch(2)]);
    assert_eq!(
        scene.on(ProcessEvent::Request),
        [],
        "it waits for the new one"
    );
    assert_eq!(
        scene.on(ProcessEvent::Healthy(2)),
        [ProcessAction::Admit(2)]
    );
    assert_eq!(scene.after(TERM_DELAY - MOMENT), []);
    assert_eq!(
        scene.after(MOMENT),
        [ProcessAction::Terminate(1)],
        "although its request is in flight"
    );
    assert_eq!(scene.serials(), [1, 2]);
    assert_eq!(scene.after(GRACE), [ProcessAction::Kill(1)]);
}

#[test]
fn a_successor_that_nobody_asks_for_anything_grows_idle_like_any_other() {
    let mut scene = Scene::serving();
    scene.on(ProcessEvent::Replace);
    scene.on(ProcessEvent::Healthy(2));
    assert_eq!(scene.after(TERM_DELAY), [ProcessAction::Terminate(1)]);
    scene.exit(1);
    assert_eq!(scene.after(IDLE - TERM_DELAY), []);
    assert_eq!(scene.after(TERM_DELAY), [ProcessAction::Terminate(2)]);
}

#[test]
fn a_process_that_terminates_unasked_is_succeeded_at_the_next_request() {
    let mut scene = Scene::serving();
    assert_eq!(scene.on(ProcessEvent::Terminating(1)), []);
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Launch(2)]);
    assert_eq!(
        scene.on(ProcessEvent::Healthy(2)),
        [ProcessAction::Admit(2)]
    );
    assert_eq!(scene.serials(), [1, 2]);
    scene.on(ProcessEvent::Ended(1));
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Admit(2)]);
}

#[test]
fn a_process_that_terminates_unasked_has_the_grace_of_any_other() {
    let mut scene = Scene::serving();
    scene.on(ProcessEvent::Terminating(1));
    scene.after(MOMENT);
    scene.on(ProcessEvent::Terminating(1));
    assert_eq!(scene.after(GRACE - 2 * MOMENT), []);
    assert_eq!(scene.after(MOMENT), [ProcessAction::Kill(1)]);
}

#[test]
fn replacing_what_is_asleep_or_new_changes_nothing() {
    let mut scene = Scene::new();
    assert_eq!(scene.on(ProcessEvent::Replace), []);
    scene.on(ProcessEvent::Request);
    assert_eq!(scene.on(ProcessEvent::Replace), []);
    assert_eq!(scene.serials(), [1]);
}

#[test]
fn a_process_that_starts_slowly_is_healthy_when_its_time_has_come() {
    let mut scene = Scene::new();
    scene.on(ProcessEvent::Starts(Start::SlowMs(700)));
    scene.on(ProcessEvent::Request);
    scene.after(MOMENT);
    assert_eq!(scene.on(ProcessEvent::Healthy(1)), []);
    assert_eq!(scene.after(Duration::from_millis(698)), []);
    assert_eq!(scene.after(MOMENT), [ProcessAction::Admit(1)]);
}

#[test]
fn a_process_that_is_slower_than_it_may_be_is_killed() {
    let mut scene = Scene::new();
    scene.on(ProcessEvent::Starts(Start::SlowMs(3_600_000)));
    scene.on(ProcessEvent::Request);
    scene.on(ProcessEvent::Healthy(1));
    assert_eq!(
        scene.after(START),
        [
            ProcessAction::Kill(1),
            ProcessAction::Refuse(Refusal::Late(START))
        ]
    );
}

#[test]
fn a_start_that_shall_fail_ends_the_process_before_it_is_healthy() {
    let mut scene = Scene::new();
    scene.on(ProcessEvent::Starts(Start::Fails));
    assert_eq!(
        scene.on(ProcessEvent::Request),
        [ProcessAction::Launch(1), ProcessAction::Kill(1)]
    );
    assert_eq!(scene.on(ProcessEvent::Healthy(1)), []);
    assert!(matches!(
        scene.exit(1)[..],
        [ProcessAction::Refuse(Refusal::Failed(_))]
    ));
    scene.on(ProcessEvent::Starts(Start::Well));
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Launch(2)]);
}

#[test]
fn a_start_that_shall_hang_is_given_up_in_time_though_the_process_is_healthy() {
    let mut scene = Scene::new();
    scene.on(ProcessEvent::Starts(Start::Hangs));
    scene.on(ProcessEvent::Request);
    assert_eq!(scene.on(ProcessEvent::Healthy(1)), []);
    assert_eq!(
        scene.after(START),
        [
            ProcessAction::Kill(1),
            ProcessAction::Refuse(Refusal::Late(START))
        ]
    );
}

#[test]
fn what_starts_suffer_does_not_change_processes_that_have_started() {
    let mut scene = Scene::serving();
    assert_eq!(scene.on(ProcessEvent::Starts(Start::Fails)), []);
    assert_eq!(scene.on(ProcessEvent::Request), [ProcessAction::Admit(1)]);
}
