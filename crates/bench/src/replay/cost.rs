//! What memory costs: bytes that are kept ready, times the seconds for which they are.
//!
//! Nodes cost while they are awake, whether full or not. A Redis with a replica
//! is two processes that are always there, and each is as large as what is held
//! at most.

use serde::Serialize;

const GIB: f64 = (1_u64 << 30) as f64;

/// What a proxy tells of its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeTime {
    /// Seconds that nodes were awake, all together.
    pub awake: f64,
    /// The same if every node always were.
    pub always_on: f64,
    /// The memory of a node, if one is awake to tell.
    pub capacity: Option<f64>,
}

impl NodeTime {
    /// Reads it from the metrics of a proxy; `None` if they are not there.
    pub fn read(metrics: &str) -> Option<Self> {
        let mut capacities = samples(metrics, "infinicache_node_capacity_bytes").peekable();
        let capacity = capacities.peek().is_some().then(|| {
            let (count, sum) =
                capacities.fold((0.0, 0.0), |(count, sum), next| (count + 1.0, sum + next));
            sum / count
        });
        Some(Self {
            awake: samples(metrics, "infinicache_proxy_node_seconds_total").next()?,
            always_on: samples(metrics, "infinicache_proxy_node_always_on_seconds_total").next()?,
            capacity,
        })
    }

    /// What has passed since `before`; `None` if the proxy has been another since.
    pub fn since(self, before: Self) -> Option<Self> {
        let (awake, always_on) = (self.awake - before.awake, self.always_on - before.always_on);
        let capacity = self.capacity.or(before.capacity);
        (awake >= 0.0 && always_on >= 0.0).then_some(Self {
            awake,
            always_on,
            capacity,
        })
    }
}

/// The samples of a metric, in the text format of OpenMetrics.
fn samples<'a>(metrics: &'a str, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once("} ")?.1,
            None => rest.strip_prefix(' ')?,
        };
        let value: f64 = value.split(' ').next()?.parse().ok()?;
        value.is_finite().then_some(value)
    })
}

/// What a replay cost, in GiB of memory times seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Seconds that nodes were awake.
    pub node_seconds: Option<f64>,
    /// The same if all always had been.
    pub always_on_node_seconds: Option<f64>,
    /// The memory of the nodes that were awake.
    pub nodes: Option<f64>,
    /// What was held, without what protects it.
    pub held: f64,
    /// A Redis with a replica, each as large as what was held at most.
    pub redis_with_replica: f64,
}

impl Cost {
    /// The cost of `seconds` in which at most `most` bytes were held.
    pub fn new(nodes: Option<NodeTime>, byte_seconds: f64, most: u64, seconds: f64) -> Self {
        Self {
            node_seconds: nodes.map(|nodes| nodes.awake),
            always_on_node_seconds: nodes.map(|nodes| nodes.always_on),
            nodes: nodes.and_then(|nodes| Some(nodes.awake * nodes.capacity? / GIB)),
            held: byte_seconds / GIB,
            redis_with_replica: 2.0 * most as f64 * seconds / GIB,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
# TYPE infinicache_proxy_node_seconds counter
infinicache_proxy_node_seconds_total 12.5
infinicache_proxy_node_always_on_seconds_total 140 # {} 1
infinicache_node_capacity_bytes{node=\"a } \",instance=\"1\"} 100
infinicache_node_capacity_bytes{node=\"b\",instance=\"2\"} 300
infinicache_node_capacity_bytes_other 7
# EOF
";

    #[test]
    fn node_time_is_read_from_the_metrics() {
        let time = NodeTime::read(METRICS).unwrap();
        assert_eq!(
            time,
            NodeTime {
                awake: 12.5,
                always_on: 140.0,
                capacity: Some(200.0)
            }
        );
        assert_eq!(NodeTime::read(""), None);
        assert_eq!(
            NodeTime::read("infinicache_proxy_node_seconds_total x"),
            None
        );
        let asleep: String = METRICS
            .lines()
            .filter(|line| !line.contains("capacity"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(NodeTime::read(&asleep).unwrap().capacity, None);
    }

    #[test]
    fn the_nodes_cost_what_passed_on_them() {
        let time = |awake, always_on, capacity| NodeTime {
            awake,
            always_on,
            capacity,
        };
        let passed = time(15.0, 200.0, Some(GIB))
            .since(time(5.0, 60.0, None))
            .unwrap();
        assert_eq!(passed, time(10.0, 140.0, Some(GIB)));
        // A proxy that was restarted counts from 0.
        assert_eq!(time(1.0, 1.0, None).since(time(5.0, 60.0, None)), None);
        let cost = Cost::new(Some(passed), GIB, 3 << 30, 10.0);
        assert_eq!(
            (cost.nodes, cost.held, cost.redis_with_replica),
            (Some(10.0), 1.0, 60.0)
        );
        assert_eq!(Cost::new(None, 0.0, 0, 1.0).nodes, None);
    }
}
