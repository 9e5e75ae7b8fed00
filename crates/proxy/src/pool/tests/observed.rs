//! Nodes that the platform tells of.

use infinicache_discovery::{Observation, PodSeen, ServiceSeen, Site};
use infinicache_membership::prepare::{Prepare, PrepareTimeouts};
use tracing::{
    Dispatch, Event as Record, Level, Metadata, Subscriber,
    span::{Attributes, Id, Record as Values},
};

use super::*;

/// Counts what is logged as alarming about wakes, by whatever runs on this thread.
#[derive(Clone, Default)]
struct Alarms(Arc<AtomicUsize>);

impl Subscriber for Alarms {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().ends_with("::wake_attempt")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Values<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, record: &Record<'_>) {
        if *record.metadata().level() <= Level::WARN {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Pool {
    /// The node, as its platform tells of it.
    fn service(&self) -> ServiceSeen {
        ServiceSeen {
            url: self.url.clone(),
            ready: true,
        }
    }

    fn sees(&self, services: &[(&str, ServiceSeen)], pods: &[(&str, PodSeen)]) {
        self.observes(services, pods, false);
    }

    fn observes(&self, services: &[(&str, ServiceSeen)], pods: &[(&str, PodSeen)], all_pods: bool) {
        fn owned<T: Clone>(seen: &[(&str, T)]) -> BTreeMap<String, T> {
            let entry = |(name, seen): &(&str, T)| (String::from(*name), seen.clone());
            seen.iter().map(entry).collect()
        }
        self.nodes.observer().observe(Observation {
            services: owned(services),
            pods: owned(pods),
            all_pods,
        });
    }

    /// Begins to find out what there is.
    fn begin_prepare(&self) {
        let timeouts = PrepareTimeouts {
            lease: Duration::from_secs(5),
            straggler_grace: Duration::from_secs(12),
            deadline: Duration::from_secs(60),
            dead_after: Duration::from_secs(900),
            leader_lease: Duration::from_secs(5),
        };
        let prepare = Prepare::new(0, timeouts, Instant::now());
        self.nodes.prepare_phase().begin(prepare);
    }
}

fn pod(node: &str, leaving: bool) -> PodSeen {
    PodSeen {
        node: node.into(),
        site: Site {
            host: "host-1".into(),
            zone: "zone-1".into(),
        },
        leaving,
    }
}

#[tokio::test]
async fn a_name_that_is_observed_joins_and_can_be_woken() {
    let pool = Pool::found(TIMING, false).await;
    assert!(pool.nodes.availability().usable().is_empty());
    pool.sees(&[("n", pool.service())], &[]);
    pool.nodes
        .platform()
        .until_observed(Observed::Services)
        .await;
    assert_eq!(pool.nodes.list().listed(), 1);
    let member = pool.awake().await;
    assert_eq!(*pool.nodes.list().name(member.node), *"n");
    pool.sees(&[("m", pool.service()), ("n", pool.service())], &[]);
    assert_eq!(pool.nodes.list().listed(), 2);
    assert_eq!(
        *pool.nodes.list().name(member.node),
        *"n",
        "an index means one name for ever"
    );
}

#[tokio::test]
async fn a_name_that_is_gone_is_emptied_and_forgotten_once_it_is() {
    let soon_lost = LifecycleTimings {
        lost_after: Duration::from_secs(1),
        ..TIMING
    };
    let pool = Pool::found(soon_lost, false).await;
    pool.sees(&[("n", pool.service())], &[]);
    let member = pool.awake().await;
    pool.sees(&[], &[]);
    assert!(member.must_evacuate());
    let told = pool.nodes.events().take();
    assert!(told.is_some_and(|told| told.0 == PoolEvent::Draining && told.1.id == member.id));
    assert!(pool.nodes.availability().usable().is_empty());
    assert_eq!(
        pool.view().state,
        NodeState::Draining,
        "it still holds what it held"
    );
    member.link().unwrap().mux().close();
    pool.until("it is gone", |pool| pool.nodes.list().states().is_empty())
        .await;
    assert!(pool.nodes.availability().status().is_empty());
    assert_eq!(pool.whims.wakes(), 1, "what is gone is not woken");

    let before = member.node;
    pool.sees(&[("n", pool.service())], &[]);
    assert_eq!(pool.awake().await.node, before, "it is what it was");
}

#[tokio::test]
async fn nobody_wakes_a_name_that_is_gone() {
    let pool = Pool::found(TIMING, false).await;
    pool.sees(&[("n", pool.service())], &[]);
    pool.sees(&[], &[]);
    pool.nodes.wakes().wake_all();
    assert!(pool.ensure(Duration::from_secs(30)).await.is_none());
    assert_eq!(pool.whims.wakes(), 0);
}

#[tokio::test]
async fn a_name_that_is_not_ready_is_listed_and_not_used_until_it_is() {
    let pool = Pool::found(TIMING, false).await;
    let unready = ServiceSeen {
        ready: false,
        ..pool.service()
    };
    pool.sees(&[("n", unready.clone())], &[]);
    assert_eq!(pool.view().name, "n");
    assert!(pool.nodes.availability().usable().is_empty());
    assert!(pool.ensure(Duration::from_secs(30)).await.is_none());
    pool.sees(&[("n", pool.service())], &[]);
    pool.awake().await;
    pool.sees(&[("n", unready)], &[]);
    assert_eq!(
        pool.nodes.availability().usable().len(),
        1,
        "what is linked needs no platform"
    );
}

#[tokio::test]
async fn a_wake_that_fails_before_the_platform_is_ready_alarms_nobody() {
    // Where there is but one, tracing asks the thread that comes by first, which may be another.
    let _beside = Dispatch::new(Alarms::default());
    let alarms = Alarms::default();
    let _guard = tracing::subscriber::set_default(alarms.clone());
    let pool = Pool::found(TIMING, false).await;
    let nowhere = |ready| ServiceSeen {
        url: "http://127.0.0.1:1".parse().unwrap(),
        ready,
    };
    let failures = "infinicache_proxy_wake_failures_total{reason=\"unreachable\"}";
    for (ready, alarmed) in [(false, 0), (true, 1)] {
        pool.sees(&[("n", nowhere(ready))], &[]);
        let before = pool.counted(failures);
        pool.until("it can be tried", |pool| {
            pool.nodes.wakes().wake_all();
            pool.counted(failures) > before
        })
        .await;
        let alarms = alarms.0.load(Relaxed);
        assert_eq!(alarms.min(1), alarmed, "ready: {ready}");
    }
}

#[tokio::test]
async fn a_new_run_wakes_the_names_that_have_pods_and_those_of_which_it_does_not_know() {
    let pool = Pool::found(TIMING, false).await;
    pool.begin_prepare();
    pool.observes(&[("n", pool.service())], &[], true);
    pool.nodes.platform().until_observed(Observed::Pods).await;
    pool.nodes.wakes().wake_all();
    assert_eq!(pool.view().state, NodeState::Asleep, "it has no pod");
    pool.observes(
        &[("n", pool.service())],
        &[("n-pod", pod("n", false))],
        true,
    );
    pool.nodes.wakes().wake_all();
    assert_eq!(pool.view().state, NodeState::Waking);

    let pool = Pool::found(TIMING, false).await;
    pool.begin_prepare();
    pool.observes(&[("n", pool.service())], &[], false);
    pool.nodes.wakes().wake_all();
    assert_eq!(pool.view().state, NodeState::Waking, "it may have one");

    let pool = Pool::new(TIMING).await;
    pool.begin_prepare();
    pool.observes(&[("n", pool.service())], &[], true);
    pool.nodes.wakes().wake_all();
    let state = pool.view().state;
    assert_eq!(state, NodeState::Waking, "its platform is another");
}

#[tokio::test]
async fn it_is_known_for_how_long_a_pool_has_had_no_names() {
    let pool = Pool::found(TIMING, false).await;
    assert!(
        pool.nodes.platform().empty_for().is_zero(),
        "nothing was seen yet"
    );
    pool.sees(&[("n", pool.service())], &[]);
    assert!(pool.nodes.platform().empty_for().is_zero());
    let deleted = Instant::now();
    pool.sees(&[], &[]);
    pool.until("time passes", |pool| {
        !pool.nodes.platform().empty_for().is_zero()
    })
    .await;
    pool.sees(&[], &[]);
    assert!(pool.nodes.platform().empty_for() <= deleted.elapsed());
    pool.sees(&[("n", pool.service())], &[]);
    assert!(pool.nodes.platform().empty_for().is_zero());
}

#[tokio::test]
async fn a_name_that_is_not_ready_can_be_used_once_a_wake_has_succeeded() {
    let pool = Pool::found(TIMING, false).await;
    let unready = ServiceSeen {
        ready: false,
        ..pool.service()
    };
    pool.sees(&[("n", unready)], &[]);
    // A new run asks every member what it holds.
    pool.nodes.wakes().wake_all();
    pool.until("it is used", |pool| {
        pool.nodes.availability().usable().len() == 1
    })
    .await;
}

#[tokio::test]
async fn wakes_go_to_the_url_that_was_seen_last() {
    let pool = Pool::found(TIMING, false).await;
    let elsewhere = ServiceSeen {
        url: "http://127.0.0.1:1".parse().unwrap(),
        ready: true,
    };
    pool.sees(&[("n", elsewhere)], &[]);
    assert!(pool.ensure(Duration::from_millis(200)).await.is_none());
    assert_eq!(pool.whims.wakes(), 0);
    pool.sees(&[("n", pool.service())], &[]);
    pool.until("it can be tried again", |pool| {
        !pool.nodes.availability().usable().is_empty()
    })
    .await;
    pool.awake().await;
}

#[tokio::test]
async fn what_is_configured_stays_whatever_is_observed() {
    let pool = Pool::new(TIMING).await;
    let elsewhere = ServiceSeen {
        url: "http://127.0.0.1:1".parse().unwrap(),
        ready: false,
    };
    pool.sees(&[("n", elsewhere)], &[]);
    pool.sees(&[], &[]);
    let member = pool.awake().await;
    assert!(!member.must_evacuate());
}

#[tokio::test]
async fn a_member_is_where_its_pod_is() {
    let pool = Pool::new(TIMING).await;
    pool.sees(
        &[],
        &[("n-pod", pod("n", false)), ("other", pod("n", true))],
    );
    let member = pool.awake().await;
    assert_eq!(
        member.site(),
        pod("n", false).site,
        "it joined after its pod was seen"
    );
    assert_eq!(pool.view().host, "host-1");
    let elsewhere = PodSeen {
        site: Site {
            host: "host-2".into(),
            zone: String::new(),
        },
        ..pod("n", false)
    };
    pool.sees(&[], &[("n-pod", elsewhere)]);
    assert_eq!(pool.view().host, "host-2");
    assert_eq!(
        pool.view().zone,
        "zone-1",
        "what is not known stays as it was"
    );
    assert!(!member.must_evacuate());
}

#[tokio::test]
async fn a_member_whose_pod_is_deleted_takes_no_chunks_and_is_to_be_emptied() {
    let pool = Pool::new(TIMING).await;
    let member = pool.awake().await;
    pool.sees(&[], &[("n-pod", pod("m", true)), ("m-pod", pod("n", true))]);
    assert!(!member.must_evacuate(), "they are the pods of others");
    for _ in 0..2 {
        pool.sees(&[], &[("n-pod", pod("n", true))]);
    }
    assert!(member.must_evacuate());
    assert_eq!(pool.view().state, NodeState::Draining);
    assert!(member.link().is_some(), "it can be read and copied from");
    let told = pool.nodes.events().take();
    assert!(told.is_some_and(|told| told.0 == PoolEvent::Draining && told.1.id == member.id));
    assert!(pool.nodes.events().take().is_none(), "it is told once");
    // Its process is still there, so a wake brings no other.
    assert!(pool.ensure(Duration::from_millis(200)).await.is_none());
    assert_eq!(pool.view().state, NodeState::Draining);
}

#[tokio::test]
async fn a_member_that_joins_from_a_pod_that_is_deleted_leaves_at_once() {
    let pool = Pool::new(TIMING).await;
    pool.sees(&[], &[("n-pod", pod("n", true))]);
    assert!(pool.ensure(Duration::from_millis(500)).await.is_none());
    pool.until("it is to be emptied", |pool| {
        pool.nodes
            .members()
            .all()
            .iter()
            .all(|member| member.must_evacuate())
            && !pool.nodes.members().all().is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_member_that_was_succeeded_is_asked_for_signs_of_life_and_let_go_once_it_holds_nothing() {
    let pool = Pool::new(TIMING).await;
    let old = pool.awake().await;
    old.memory.take(1);
    pool.sees(&[], &[("n-pod", pod("n", true))]);
    pool.whims.before.store(1, Relaxed);
    let new = pool.awake().await;
    assert_ne!(old.instance, new.instance);
    let succeeded = Instant::now();
    let heard = || old.link().expect("it is linked").mux().heard();
    pool.until("it gives signs of life", |_| heard() > succeeded)
        .await;
    assert_eq!(pool.nodes.members().all().len(), 2);
    assert_eq!(pool.nodes.membership().view().0, 2);
    old.memory.give_back(1);
    pool.until("it is let go", |pool| pool.nodes.members().all().len() == 1)
        .await;
    pool.until("it does not count", |pool| {
        pool.nodes.membership().view().0 == 1
    })
    .await;
    assert!(new.link().is_some());
}
